//! The API's document, and who may call what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::api::{Role, call};
use crate::support::stack::stack;
use crate::support::tree;

const FILE: &str = "infra/openapi.json";

fn document() -> Value {
    serde_json::to_value(functions::openapi::document()).expect("the document is JSON")
}

#[test]
fn the_checked_in_document_is_what_the_code_says() {
    let path = tree::root().join(FILE);
    let fresh = format!("{:#}\n", document());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &fresh).expect("the document can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == fresh,
        "{FILE} is stale; UPDATE_OPENAPI=1 cargo test -p tests --test all openapi writes it"
    );
}

fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let paths = document["paths"]
        .as_object()
        .expect("the document has paths");
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("a path has methods").clone();
        let path = path.clone();
        methods
            .into_iter()
            .map(move |(method, operation)| ((method, path.clone()), operation))
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn every_operation_is_described_and_says_how_it_fails() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    let mut ids = BTreeSet::new();
    for (route, operation) in operations(&document) {
        let id = operation["operationId"]
            .as_str()
            .expect("an operation has an id")
            .to_owned();
        assert!(ids.insert(id), "{route:?}: the id is there twice");
        assert!(operation["summary"].is_string(), "{route:?}");
        assert!(
            operation["tags"][0]
                .as_str()
                .is_some_and(|tag| tags.contains(tag)),
            "{route:?}"
        );
        assert_eq!(
            operation["responses"]["default"],
            json!({"$ref": "#/components/responses/Problem"}),
            "{route:?}"
        );
        assert!(operation["security"].is_array(), "{route:?}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                parameter["description"].is_string(),
                "{route:?}: {parameter}"
            );
        }
        for (status, response) in operation["responses"]
            .as_object()
            .expect("there are responses")
        {
            let is_whole = ["204", "304"].contains(&status.as_str())
                || response.get("$ref").is_some()
                || response["content"].is_object();
            assert!(is_whole, "{route:?}: {status} says nothing of its body");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"), "{found:?}");
    for reference in found {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference}");
    }
}

/// A route, who may call it, and what a call without anything else comes to for those who may.
struct Access {
    method: &'static str,
    path: &'static str,
    groups: &'static [&'static str],
    bare: u16,
}

const fn access(
    method: &'static str,
    path: &'static str,
    groups: &'static [&'static str],
    bare: u16,
) -> Access {
    Access {
        method,
        path,
        groups,
        bare,
    }
}

/// Every route. Admins import, see rows and manage devices; analysts read metrics and sensors; health
/// is everybody's. A token of the pool is no device key.
const ACCESS: &[Access] = &[
    access("post", "/api/sales/import-sales", &["admin"], 415),
    access("post", "/api/sales/imports", &["admin"], 400),
    access("get", "/api/sales/imports", &["admin"], 200),
    access("get", "/api/sales/imports/{id}", &["admin"], 404),
    access("delete", "/api/sales/imports/{id}", &["admin"], 428),
    access("get", "/api/sales", &["admin"], 400),
    access("get", "/api/metrics/revenue", &["analyst", "admin"], 400),
    access(
        "get",
        "/api/metrics/revenue/daily",
        &["analyst", "admin"],
        400,
    ),
    access("get", "/api/metrics/v1/revenue", &["analyst", "admin"], 400),
    access("post", "/api/sensors/devices", &["admin"], 415),
    access("get", "/api/sensors/devices", &["analyst", "admin"], 200),
    access(
        "get",
        "/api/sensors/devices/{id}",
        &["analyst", "admin"],
        404,
    ),
    access("put", "/api/sensors/devices/{id}", &["admin"], 428),
    access("patch", "/api/sensors/devices/{id}", &["admin"], 428),
    access("delete", "/api/sensors/devices/{id}", &["admin"], 428),
    access(
        "get",
        "/api/sensors/devices/{id}/aggregates",
        &["analyst", "admin"],
        400,
    ),
    access(
        "post",
        "/api/sensors/devices/{id}/aggregates/recompute",
        &["admin"],
        415,
    ),
    access(
        "get",
        "/api/sensors/devices/{id}/readings",
        &["analyst", "admin"],
        400,
    ),
    access("post", "/api/sensors/keys", &["admin"], 415),
    access("get", "/api/sensors/keys", &["admin"], 200),
    access("get", "/api/sensors/keys/{id}", &["admin"], 404),
    access("delete", "/api/sensors/keys/{id}", &["admin"], 428),
    access("post", "/api/sensors/readings/bulk", &[], 401),
    access("post", "/api/v2/write", &[], 401),
    access("get", "/health", &[], 200),
    access("get", "/health/live", &[], 200),
    access("get", "/health/ready", &[], 200),
];

#[test]
fn every_route_says_who_may_call_it() {
    let documented: BTreeMap<(String, String), BTreeSet<String>> = operations(&document())
        .into_iter()
        .map(|(route, operation)| {
            let requirements = operation["security"]
                .as_array()
                .expect("a route says who may call it");
            let groups = requirements
                .iter()
                .flat_map(|one| one["token"].as_array().into_iter().flatten());
            (
                route,
                groups
                    .filter_map(|group| group.as_str().map(str::to_owned))
                    .collect(),
            )
        })
        .collect();
    let expected = ACCESS.iter().map(|access| {
        let groups = access
            .groups
            .iter()
            .map(|&group| group.to_owned())
            .collect();
        ((access.method.to_owned(), access.path.to_owned()), groups)
    });
    assert_eq!(
        documented,
        expected.collect(),
        "a route is missing here, or its rights differ"
    );
}

#[test]
fn device_keys_are_for_ingest_and_ingest_is_for_device_keys() {
    let document = document();
    assert_eq!(
        document["components"]["securitySchemes"]["device_key"]["name"],
        "x-api-key"
    );
    let with_key: Vec<String> = operations(&document)
        .into_iter()
        .filter(|(_, operation)| operation["security"].to_string().contains("device_key"))
        .map(|((_, path), operation)| {
            assert_eq!(operation["security"], json!([{"device_key": []}]), "{path}");
            path
        })
        .collect();
    assert_eq!(with_key, ["/api/sensors/readings/bulk", "/api/v2/write"]);
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .expect("a token's parts are base64url");
    serde_json::from_slice(&bytes).expect("a token's parts are JSON")
}

/// Tokens that nobody was given, each by the trick that made it. The local gateway checks what API
/// Gateway does: the issuer, an RS256 signature by a key of the pool, and the times.
static FORGED: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
    let token = &stack().customer_token;
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        panic!("a token has three parts")
    };
    let mut promoted = decoded(claims);
    promoted["cognito:groups"] = json!(["admin"]);
    let mut expired = decoded(claims);
    expired["exp"] = json!(1_000_000_000);
    let mut unsigned = decoded(head);
    unsigned["alg"] = json!("none");
    let mut symmetric = decoded(head);
    symmetric["alg"] = json!("HS256");
    let mut foreign = promoted.clone();
    foreign["iss"] = json!("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_someoneElse");
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    vec![
        ("nonsense", "nonsense".to_owned()),
        ("two dots", "..".to_owned()),
        (
            "alg none, no signature",
            format!("{}.{}.", part(&unsigned), part(&promoted)),
        ),
        (
            "alg none, old signature",
            format!("{}.{}.{signature}", part(&unsigned), part(&promoted)),
        ),
        (
            "other algorithm",
            format!("{}.{}.{signature}", part(&symmetric), part(&promoted)),
        ),
        (
            "more rights",
            format!("{head}.{}.{signature}", part(&promoted)),
        ),
        (
            "other end",
            format!("{head}.{}.{signature}", part(&expired)),
        ),
        (
            "other pool",
            format!("{head}.{}.{signature}", part(&foreign)),
        ),
        (
            "other signature",
            format!("{head}.{claims}.{flipped}{}", &signature[1..]),
        ),
        ("no signature", format!("{head}.{claims}.")),
    ]
});

#[test]
fn who_may_call_what_holds_on_every_route_with_and_without_a_trailing_slash() {
    for access in ACCESS {
        for slash in ["", "/"] {
            let path = format!(
                "{}{slash}",
                access.path.replace("{id}", "01K9T2V5M8Q4R7S1X3Z6B9D0F2")
            );
            let request = || call(&access.method.to_uppercase(), &path);
            let route = format!("{} {path}", access.method);
            let stranger = if access.groups.is_empty() {
                access.bare
            } else {
                401
            };
            let answer = request().send();
            assert_eq!(answer.status, stranger, "{route} without a token");
            if stranger == 401 {
                assert_eq!(
                    answer.header("www-authenticate"),
                    Some("Bearer error=\"invalid_token\""),
                    "{route}"
                );
                answer.problem(401, "unauthorized");
            }
            for (trick, token) in FORGED.iter() {
                assert_eq!(
                    request().token(token).send().status,
                    stranger,
                    "{route} with a forged token: {trick}"
                );
            }
            let roles = [
                (Role::Customer, None),
                (Role::Analyst, Some("analyst")),
                (Role::Admin, Some("admin")),
            ];
            for (role, group) in roles {
                let may = access.groups.is_empty()
                    || group.is_some_and(|group| access.groups.contains(&group));
                let answer = request().role(role).send();
                let expected = if may { access.bare } else { 403 };
                assert_eq!(
                    answer.status,
                    expected,
                    "{route} as {role:?}: {}",
                    answer.text()
                );
                if !may {
                    answer.problem(403, "forbidden");
                }
            }
        }
    }
}

#[test]
fn a_route_or_method_that_does_not_exist_is_told_so() {
    for (method, path) in [
        ("GET", "/api/nowhere"),
        ("GET", "/"),
        ("GET", "/api/sales/imports/a/b"),
        ("PUT", "/api/sales"),
    ] {
        let answer = call(method, path).role(Role::Admin).send();
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{method} {path}"
        );
    }
}

/// Rights come from the authorizer alone.
#[test]
fn nothing_that_a_caller_sends_besides_the_token_gives_rights() {
    let path = "/api/sales/imports";
    let tricks = [
        (
            "X-Amzn-Request-Context",
            r#"{"authorizer":{"claims":{"sub":"a","cognito:groups":"admin"}}}"#,
        ),
        ("X-Forwarded-User", "admin"),
    ];
    for (name, value) in tricks {
        call("GET", path)
            .role(Role::Customer)
            .header(name, value)
            .send()
            .problem(403, "forbidden");
        call("GET", path)
            .header(name, value)
            .send()
            .problem(401, "unauthorized");
    }
    call(
        "GET",
        "/api/metrics/v1/revenue?start=2001-01-01&end=2001-01-02&cognito:groups=admin",
    )
    .role(Role::Customer)
    .send()
    .problem(403, "forbidden");
}
