//! The registry of devices as administrators and analysts see it.

use serde_json::{Value, json};

use crate::support::api::{Answer, Call, Role, call, encoded, get};
use crate::support::sensors::{
    DEVICES, JSON, backfill, bulk, device_id, reading, register, stored,
};
use crate::support::stack::unique;

fn path(id: &str) -> String {
    format!("{DEVICES}/{id}")
}

fn change(method: &str, id: &str, etag: &str) -> Call {
    call(method, &path(id))
        .role(Role::Admin)
        .header("If-Match", etag)
}

fn etag(answer: &Answer) -> &str {
    answer.header("etag").expect("a device has an entity tag")
}

#[test]
fn a_device_goes_by_versions_from_its_registration_to_its_deletion_and_back() {
    let id = device_id();
    let body = json!({
        "device_id": id, "name": "Boiler, return pipe", "type": "temperature", "location": "Cellar",
        "latitude": 1.29, "longitude": 103.85, "unit": "°C", "metadata": {"floor": -1},
    });
    let made = register(&body).send().expect(201);
    assert_eq!(made.header("location"), Some(path(&id).as_str()));
    assert_eq!(etag(&made), "\"v1\"");
    let mut expected = body.clone();
    for (name, value) in [
        ("is_active", json!(true)),
        ("version", json!(1)),
        ("created_at", made.json()["created_at"].clone()),
        ("updated_at", made.json()["created_at"].clone()),
    ] {
        expected[name] = value;
    }
    assert_eq!(made.json(), expected);
    register(&body).send().problem(409, "device-exists");

    let got = get(&path(&id)).send().expect(200);
    assert_eq!((etag(&got), got.json()), ("\"v1\"", expected));
    let known = get(&path(&id)).header("If-None-Match", "\"v1\"").send();
    assert!(known.expect(304).body.is_empty());

    let patch = json!({"location": null, "metadata": {"line": 4}}).to_string();
    let merge = "application/merge-patch+json";
    call("PATCH", &path(&id))
        .role(Role::Admin)
        .body(merge, patch.clone())
        .send()
        .problem(428, "if-match-required");
    let patched = change("PATCH", &id, "\"v1\"").body(merge, patch.clone());
    let patched = patched.send().expect(200);
    assert_eq!(etag(&patched), "\"v2\"");
    assert_eq!(patched.json()["metadata"], json!({"floor": -1, "line": 4}));
    assert_eq!(
        (&patched.json()["location"], &patched.json()["name"]),
        (&Value::Null, &body["name"])
    );
    change("PATCH", &id, "\"v1\"")
        .body(merge, patch)
        .send()
        .problem(412, "stale-version");

    let replacement = json!({"name": "Boiler", "type": "custom"}).to_string();
    let replaced = change("PUT", &id, "\"v2\"").body(JSON, replacement);
    let replaced = replaced.send().expect(200);
    assert_eq!(etag(&replaced), "\"v3\"");
    assert_eq!(
        (&replaced.json()["unit"], &replaced.json()["metadata"]),
        (&Value::Null, &json!({}))
    );

    let (start, end) = ("2025-01-02T03:00:00Z", "2025-01-02T04:00:00Z");
    backfill(&id, &[reading(start, 1.0)]);
    stored(&id, start, end, 1);
    let gone = change("DELETE", &id, "\"v3\"").send().expect(204);
    assert_eq!(etag(&gone), "\"v4\"");
    get(&path(&id)).send().problem(404, "not-found");
    let queries = ["readings?", "aggregates?interval=1hour&"];
    for query in queries {
        let query = format!("{}/{query}start={start}&end={end}", path(&id));
        get(&query).send().problem(404, "not-found");
    }
    let back = register(&body).send().expect(201);
    assert_eq!(etag(&back), "\"v5\"");
    assert_eq!(back.json()["created_at"], made.json()["created_at"]);
    assert_eq!(
        stored(&id, start, end, 1).len(),
        1,
        "its readings are there"
    );
}

#[test]
fn every_bad_member_of_a_device_is_named_at_once() {
    let body = json!({
        "device_id": "no spaces", "name": "", "type": "smell", "location": "x".repeat(201),
        "latitude": 91, "longitude": -181, "unit": "u".repeat(33), "is_active": "yes",
        "metadata": {"much": "m".repeat(4096)}, "colour": "red",
    });
    let problem = register(&body).send().problem(422, "invalid-body");
    let errors = problem["errors"].as_array().expect("it says what is wrong");
    let mut pointers: Vec<&str> = errors
        .iter()
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    pointers.sort_unstable();
    let mut expected: Vec<String> = body
        .as_object()
        .expect("it is one")
        .keys()
        .map(|name| format!("/{name}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(pointers, expected, "{problem}");
    for (kind, body, status, code) in [
        (JSON, "{\"device_id\":", 400, "malformed-json"),
        (JSON, "[]", 422, "invalid-body"),
        ("text/plain", "{}", 415, "unsupported-media-type"),
    ] {
        let call = call("POST", DEVICES).role(Role::Admin).body(kind, body);
        call.send().problem(status, code);
    }
}

#[test]
fn a_repeated_registration_is_answered_as_the_first_was() {
    let (id, key) = (device_id(), unique());
    let body = json!({"device_id": id, "name": "Once", "type": "light"});
    let send = |body: &Value| register(body).header("Idempotency-Key", &key).send();
    let first = send(&body).expect(201);
    let again = send(&body).expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!((again.text(), etag(&again)), (first.text(), etag(&first)));
    let other = json!({"device_id": device_id(), "name": "Once", "type": "light"});
    send(&other).problem(422, "idempotency-key-reused");
}

#[test]
fn lists_go_by_type_then_name_and_page_without_gap_or_repeat() {
    let mark = unique();
    let devices = [
        ("motion", "Door", true),
        ("temperature", "attic", true),
        ("temperature", "Boiler", false),
        ("light", "Übersee", true),
        ("temperature", "cellar", true),
    ];
    for (kind, name, is_active) in devices {
        let name = format!("{mark} {name}");
        let body = json!({
            "device_id": device_id(), "name": name, "type": kind, "is_active": is_active
        });
        register(&body).send().expect(201);
    }
    let list = |query: &str| {
        let mut names = Vec::new();
        let first = format!("{DEVICES}?name_prefix={}{query}", encoded(&mark));
        let mut path = first.clone();
        loop {
            let answer = get(&path).send().expect(200);
            let page = answer.json();
            let data = page["data"].as_array().expect("a list has data");
            assert!(data.len() <= 20);
            names.extend(data.iter().map(|device| {
                let name = device["name"].as_str().expect("a device has a name");
                name.split_once(' ').expect("it was given").1.to_owned()
            }));
            let Some(cursor) = page["next_cursor"].as_str() else {
                return names;
            };
            let link = answer.header("link").expect("there is a next page");
            assert!(link.contains(&encoded(cursor)) && link.ends_with("; rel=\"next\""));
            path = format!("{first}&cursor={}", encoded(cursor));
        }
    };
    let all = ["attic", "Boiler", "cellar", "Door", "Übersee"];
    assert_eq!(list(""), all);
    assert_eq!(list("&limit=2"), all);
    assert_eq!(list("&limit=1&type=temperature"), all[..3]);
    assert_eq!(list("&is_active=false"), ["Boiler"]);
    assert_eq!(
        list("&is_active=true&type=temperature"),
        ["attic", "cellar"]
    );
    let by_prefix = |prefix: &str| {
        let prefix = encoded(&format!("{mark} {prefix}"));
        let path = format!("{DEVICES}?name_prefix={prefix}&fields=type,version");
        get(&path).send().expect(200).json()["data"].clone()
    };
    assert_eq!(
        by_prefix("BOIL"),
        json!([{"type": "temperature", "version": 1}])
    );
    assert_eq!(by_prefix("über"), json!([{"type": "light", "version": 1}]));
    for (query, code) in [
        ("fields=secret", "unknown-field"),
        ("limit=101", "out-of-range"),
        ("cursor=AAAA", "invalid-cursor"),
        ("type=smell", "invalid-parameter"),
        ("kind=light", "unknown-parameter"),
    ] {
        let problem = get(&format!("{DEVICES}?{query}")).send().expect(400).json();
        let found = [&problem["code"], &problem["errors"][0]["code"]];
        assert!(found.contains(&&json!(code)), "{query}: {problem}");
    }
}

#[test]
fn readings_of_a_device_that_is_unknown_inactive_or_deleted_are_not_taken() {
    let send = |id: &str| {
        let body = json!({"device_id": id, "readings": [{"value": 1}]});
        bulk("", JSON, body.to_string()).send()
    };
    let id = device_id();
    send(&id).problem(404, "unknown-device");
    let inactive = json!({"device_id": id, "name": "Off", "type": "custom", "is_active": false});
    register(&inactive).send().expect(201);
    send(&id).problem(404, "inactive-device");
    change("DELETE", &id, "\"v1\"").send().expect(204);
    send(&id).problem(404, "unknown-device");
    let active = json!({"device_id": id, "name": "On", "type": "custom"});
    register(&active).send().expect(201);
    send(&id).expect(202);
}
