//! Whatever is asked of whatever route, the answer has the headers of every answer, and no refusal
//! tells what the functions are made of.

mod inside;
mod operation;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use crate::support::api::{Answer, Call, Role, call};
use crate::support::gauntlet::{figure, is_full, seed};
use crate::support::stack::unique;
use inside::Inside;
use operation::Operation;
use world::World;

const CHECK: &str = "responses";

/// What every answer carries, letter by letter.
const HEADERS: [(&str, &str); 5] = [
    (
        "strict-transport-security",
        "max-age=31536000; includeSubDomains; preload",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
];

/// Calls that are under way at once.
const AT_ONCE: usize = 4;

/// Methods, of which a route has few.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Bytes that no JSON body may have.
const TOO_LARGE: usize = 1024 * 1024 + 1;

/// What strangers put where a name, a number or a time is asked for, encoded for an address.
const HOSTILE: [&str; 12] = [
    "%00",
    "%27%20OR%20%271%27%3D%271",
    "..%2F..%2F..%2Fetc%2Fpasswd",
    "%7B%7B7*7%7D%7D%24%7B7*7%7D",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "DAY%232026-01-01",
    "%F0%9F%92%A5%E2%80%AE",
    "%FF%FE",
    "-1",
    "99999999999999999999999999",
    "NaN",
    "a%0D%0ASet-Cookie:%20a=b",
];

/// Bodies that are not what is asked for; the first three are no JSON.
const STRANGE: [&str; 10] = [
    "{",
    "\u{feff}nonsense",
    "{\"name\": \"\u{0}\"}",
    "null",
    "[]",
    "\"text\"",
    "-1e999",
    "{\"nowhere\": 1}",
    "{\"name\": {\"a\": [1]}, \"items\": 7, \"device_id\": -1, \"price\": \"dear\", \"devices\": {}}",
    "{\"name\": 1.5, \"items\": [[]], \"devices\": [null], \"start\": 1e400, \"quantity\": 4294967296}",
];

/// A request, and how to tell which it was.
struct Way {
    told: String,
    call: Call,
}

/// What was seen of all answers.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, u64>,
    of_operation: BTreeMap<String, BTreeSet<u16>>,
    violations: Vec<String>,
}

/// Those of `of` things whose turn it is: all in the large size, and `count` that follow the seed and
/// the operation in the small one.
fn some(count: usize, of: usize, nth: usize) -> impl Iterator<Item = usize> {
    let turn = usize::try_from(seed() % 1_000_000).unwrap_or_default() + nth;
    (0..of).filter(move |at| is_full() || (at + of - turn % of) % of < count)
}

/// The ways to ask for `operation` and be refused, and some that may be answered.
fn ways(operation: &Operation, world: &World, nth: usize) -> Vec<Way> {
    let mut ways = Vec::new();
    let mut way = |told: &str, call: Call| {
        let told = told.to_owned();
        ways.push(Way { told, call });
    };
    let nobody = operation.filled("nobody-has-this");
    let query = operation.required_query();
    let path = format!("{nobody}{query}");
    let bare = || call(&operation.method, &path);
    let permitted = || operation.permitted(&path, &world.customer);
    let join = if query.is_empty() { "?" } else { "&" };

    way("without a token", bare());
    way("with a worthless token", bare().token("a.b.c"));
    way(
        "with a worthless key",
        bare().header("x-api-key", "mr_nonsense"),
    );
    for role in [Role::Customer, Role::Analyst, Role::Admin] {
        way(&format!("as {role:?}"), bare().role(role));
    }
    way("permitted", permitted());
    let strange_id = permitted().header("X-Correlation-Id", "a b\t<c>");
    way("with a strange correlation id", strange_id);
    let condition = permitted().header("If-Match", "nonsense");
    way("with a condition that is none", condition);
    let key = permitted().header("Idempotency-Key", &"k".repeat(300));
    way("with a key that is none", key);
    let unknown = format!("{path}{join}nowhere=1");
    let unknown = operation.permitted(&unknown, &world.customer);
    way("with an unknown parameter", unknown);
    for at in some(1, HOSTILE.len(), nth) {
        let hostile = HOSTILE[at];
        if operation.names_something() {
            let path = format!("{}{query}", operation.filled(hostile));
            let call = operation.permitted(&path, &world.customer);
            way(&format!("about {hostile}"), call);
        }
        for name in operation.query() {
            let pair = format!("{name}={hostile}");
            let call = operation.permitted(&format!("{nobody}?{pair}"), &world.customer);
            way(&format!("with {pair}"), call);
        }
    }
    for at in some(2, METHODS.len(), nth) {
        let other = METHODS[at];
        way(
            &format!("by {other}"),
            call(other, &nobody).role(Role::Admin),
        );
    }
    bodies(operation, world, nth, way);
    ways
}

/// The path to something that is there.
fn there(operation: &Operation, world: &World) -> String {
    if operation.names_something() {
        operation.filled(world.id(&operation.path))
    } else {
        operation.path.clone()
    }
}

/// The bodies to be refused for, about something that is there: else its absence is all that is told.
fn bodies(operation: &Operation, world: &World, nth: usize, mut way: impl FnMut(&str, Call)) {
    let path = there(operation, world);
    let asked = |version: &str| {
        let call = operation.permitted(&path, &world.customer);
        call.header("If-Match", version)
    };
    let permitted = || asked("*");
    for kind in operation.refused_bodies() {
        way(
            "with a body of another type",
            permitted().body("text/html", "<p>"),
        );
        for at in some(3, STRANGE.len(), nth) {
            let told = format!("with the body {}", STRANGE[at]);
            way(&told, permitted().body(&kind, STRANGE[at]));
        }
        let no_text = vec![0x1f, 0x8b, 0xff, 0x00, 0xfe];
        way(
            "with a body that is no text",
            permitted().body(&kind, no_text),
        );
        let old = asked("\"v999999\"").body(&kind, "{}");
        way("with a stale version", old);
        if some(1, 12, nth).next() == Some(0) || is_full() {
            let large = vec![b' '; TOO_LARGE];
            way("with a body too large", permitted().body(&kind, large));
            let deep = "[".repeat(100_000);
            way("with a body too deep", permitted().body(&kind, deep));
        }
    }
}

/// What is wrong with an answer.
fn faults(answer: &Answer, inside: &Inside) -> Vec<String> {
    let mut found = Vec::new();
    if answer.status >= 500 {
        found.push("is a fault of ours".to_owned());
    }
    for (name, value) in HEADERS {
        if answer.header(name) != Some(value) {
            found.push(format!("{name} is {:?}", answer.header(name)));
        }
    }
    if answer.header("cache-control").is_none() {
        found.push("says nothing of keeping it".to_owned());
    }
    let id = answer.header("x-correlation-id").unwrap_or_default();
    let fits = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    if !(1..=128).contains(&id.len()) || !id.chars().all(fits) {
        found.push(format!("the correlation id is {id:?}"));
    }
    if answer.status < 400 || answer.body.is_empty() {
        return found;
    }
    let text = String::from_utf8_lossy(&answer.body);
    if let Some(word) = inside.found_in(&text) {
        found.push(format!("tells of the inside: {word:?}"));
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // What writes line protocol reads InfluxDB's words.
    let is_influx = body["message"].is_string() && body["type"].is_null();
    if !is_influx {
        if answer.header("content-type") != Some("application/problem+json") {
            found.push(format!("is {:?}", answer.header("content-type")));
        }
        if body["correlation_id"].as_str() != Some(id) {
            found.push("has another correlation id in its body".to_owned());
        }
    }
    if !body["code"].is_string() {
        found.push("has no code".to_owned());
    }
    found
}

fn note(seen: &Mutex<Seen>, operation: &Operation, told: &str, answer: &Answer, faults: &[String]) {
    let mut seen = seen.lock().expect("nobody panics while holding it");
    *seen.statuses.entry(answer.status).or_default() += 1;
    let of_operation = seen.of_operation.entry(operation.id.clone()).or_default();
    of_operation.insert(answer.status);
    let shown: String = String::from_utf8_lossy(&answer.body)
        .chars()
        .take(300)
        .collect();
    for fault in faults {
        let (method, path) = (&operation.method, &operation.path);
        let status = answer.status;
        seen.violations
            .push(format!("{method} {path} {told}: {status} {fault}: {shown}"));
    }
}

fn ask(operations: &[Operation], world: &World, seen: &Mutex<Seen>, inside: &Inside) {
    let share = operations.len().div_ceil(AT_ONCE);
    thread::scope(|scope| {
        for (lane, some) in operations.chunks(share).enumerate() {
            scope.spawn(move || {
                for (at, operation) in some.iter().enumerate() {
                    for way in ways(operation, world, lane * share + at) {
                        let answer = way.call.send();
                        let faults = faults(&answer, inside);
                        note(seen, operation, &way.told, &answer, &faults);
                    }
                }
            });
        }
    });
}

#[test]
fn every_answer_has_the_headers_of_every_answer_and_no_refusal_tells_of_the_inside() {
    let (operations, inside, world) = (operation::all(), Inside::read(), World::make());
    let seen = Mutex::new(Seen::default());
    ask(&operations, &world, &seen, &inside);
    let seen = seen.into_inner().expect("nobody panicked while holding it");
    let answers: u64 = seen.statuses.values().sum();
    figure(CHECK, "operations", operations.len());
    figure(CHECK, "answers", answers);
    figure(CHECK, "statuses met", format!("{:?}", seen.statuses));
    figure(CHECK, "violations", seen.violations.len());
    assert!(
        seen.violations.is_empty(),
        "with seed {}, {} of {answers} answers:\n{}",
        seed(),
        seen.violations.len(),
        seen.violations[..seen.violations.len().min(40)].join("\n")
    );
    for operation in &operations {
        let met = &seen.of_operation[&operation.id];
        assert!(
            operation.is_public() || met.contains(&401),
            "{}: never unauthorized: {met:?}",
            operation.id
        );
        assert!(
            !operation.is_for_groups() || met.contains(&403),
            "{}: never forbidden: {met:?}",
            operation.id
        );
    }
    for status in [200, 400, 401, 403, 404, 412, 413, 415, 422, 428] {
        assert!(
            seen.statuses.contains_key(&status),
            "{status} never came: {:?}",
            seen.statuses
        );
    }
}

/// Operations that come to a conflict in the world as it is made: its order is not paid, and its product
/// not deleted. That they succeed is for `orders::api` and the catalogue's own tests.
const NOT_YET: [&str; 5] = [
    "processOrder",
    "shipOrder",
    "deliverOrder",
    "refundOrder",
    "restoreProduct",
];

/// A request that may succeed, with a correlation id of its own.
fn apt(operation: &Operation, world: &World, correlation_id: &str) -> Call {
    let path = there(operation, world);
    let path = format!("{path}{}", operation.required_query());
    let call = operation
        .permitted(&path, &world.customer)
        .header("If-Match", "*")
        .header("X-Correlation-Id", correlation_id);
    let Some(kind) = operation.bodies().into_iter().next() else {
        return call;
    };
    if kind.starts_with("multipart/") {
        let file =
            "Sale Date,Sale ID,Item name,Total Paid w/ Payment Method\n3/1/2025,1,Rope,1.00\n";
        return call.form(&[], Some(file.as_bytes()));
    }
    let given = world.given(&operation.id);
    match operation.sample(&kind, &given) {
        Value::String(_) => {
            let line = format!("room,device_id={} value=1", world.device);
            call.body(&kind, line)
        }
        body => call.body(&kind, body.to_string()),
    }
}

#[test]
fn every_operation_succeeds_and_answers_under_the_correlation_id_it_was_given() {
    let (mut operations, inside, world) = (operation::all(), Inside::read(), World::make());
    // What takes something away comes last, and a customer after what is theirs.
    let place = |operation: &Operation| match operation.method.as_str() {
        "DELETE" => 1_000 - operation.path.len(),
        _ => 0,
    };
    operations.sort_by_key(place);
    let mut violations = Vec::new();
    for operation in &operations {
        let id = format!("gauntlet-{}", unique());
        let answer = apt(operation, &world, &id).send();
        let is_expected = if NOT_YET.contains(&operation.id.as_str()) {
            answer.status == 409
        } else {
            (200..300).contains(&answer.status)
        };
        let mut faults = faults(&answer, &inside);
        if !is_expected {
            faults.push("did not succeed".to_owned());
        }
        if answer.header("x-correlation-id") != Some(&id) {
            faults.push("answers under another correlation id".to_owned());
        }
        let (name, status) = (&operation.id, answer.status);
        let shown: String = String::from_utf8_lossy(&answer.body)
            .chars()
            .take(300)
            .collect();
        violations.extend(
            faults
                .iter()
                .map(|fault| format!("{name}: {status} {fault}: {shown}")),
        );
    }
    figure(
        CHECK,
        "operations that succeeded",
        operations.len() - NOT_YET.len(),
    );
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// An answer without a fault: one with a body that tells `detail`, and these headers changed or taken away.
fn sample(detail: &str, changes: &[(&str, Option<&str>)]) -> Answer {
    let mut headers: BTreeMap<&str, &str> = HEADERS.into_iter().collect();
    headers.extend([
        ("cache-control", "no-store"),
        ("content-type", "application/problem+json"),
        ("x-correlation-id", "c-1"),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    let body = serde_json::json!({"type": "about:blank", "code": "not-found", "detail": detail,
        "correlation_id": "c-1"});
    Answer::of(404, headers, body.to_string())
}

#[test]
fn an_answer_that_lacks_a_header_or_tells_of_the_inside_is_found_out() {
    let inside = Inside::of(&["millrace-local-sales"], &["SaleRow"]);
    let found = |answer: &Answer| faults(answer, &inside);
    assert_eq!(found(&sample("There is no such order.", &[])), [""; 0]);
    let names = HEADERS.map(|(name, _)| name).into_iter();
    for name in names.chain(["cache-control", "content-type", "x-correlation-id"]) {
        let without = sample("There is no such order.", &[(name, None)]);
        assert_ne!(found(&without), [""; 0], "{name}");
    }
    for change in [
        ("x-frame-options", Some("SAMEORIGIN")),
        ("content-type", Some("text/html")),
        ("x-correlation-id", Some("c-2")),
        ("x-correlation-id", Some("a b")),
    ] {
        let changed = sample("There is no such order.", &[change]);
        assert_ne!(found(&changed), [""; 0], "{change:?}");
    }
    for detail in [
        "ConditionalCheckFailedException",
        "invalid type: map, expected struct Order",
        "no SaleRow",
        "table millrace-local-sales is gone",
        "shared/src/orders/rules.rs:12",
    ] {
        assert_ne!(found(&sample(detail, &[])), [""; 0], "{detail}");
    }
}
