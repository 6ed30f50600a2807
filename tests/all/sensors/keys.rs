//! Device keys: who may write, for which devices, and how often.

use aws_sdk_apigateway::types::{ApiStage, QuotaPeriodType, QuotaSettings, ThrottleSettings};
use serde_json::{Value, json};
use shared::platform::aws::Connection;

use crate::support::api::{Answer, Call, Role, call, get};
use crate::support::bucket::{block_on, connection};
use crate::support::sensors::{
    BULK, JSON, KEYS, LINES, NDJSON, device, device_id, new_key, secret,
};
use crate::support::stack::{stack, unique};

fn send(secret: &str, device: &str) -> Answer {
    let body = json!({"device_id": device, "readings": [{"value": 1}]});
    call("POST", BULK)
        .header("x-api-key", secret)
        .body(JSON, body.to_string())
        .send()
}

fn revoke(id: &str) -> Call {
    call("DELETE", &format!("{KEYS}/{id}")).role(Role::Admin)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().expect("the member is text")
}

#[test]
fn the_secret_of_a_key_is_shown_once() {
    let made = new_key(&["line4.*", "pump-1"]);
    let location = made.header("location").expect("a key has an address");
    let mut key = made.json();
    assert_eq!(location, format!("{KEYS}/{}", text(&key, "id")));
    let secret = key["secret"].take();
    let secret = secret.as_str().expect("a new key has its secret");
    assert!(secret.starts_with("mr_") && secret.len() >= 40, "{secret}");
    key.as_object_mut().expect("it is one").remove("secret");

    let got = get(location).send().expect(200);
    assert_eq!(got.json(), key);
    assert_eq!(got.header("etag"), made.header("etag"));
    assert_eq!(
        (&key["status"], &key["devices"], &key["revoked_at"]),
        (
            &json!("active"),
            &json!(["line4.*", "pump-1"]),
            &Value::Null
        )
    );
    let list = get(&format!("{KEYS}?limit=100")).send().expect(200);
    let keys = list.json()["data"].as_array().expect("a list").clone();
    assert!(keys.contains(&key), "new keys come first: {keys:?}");
    assert!(!list.text().contains("mr_") && !got.text().contains("mr_"));

    let repeated = call("POST", KEYS)
        .role(Role::Admin)
        .header("Idempotency-Key", &unique())
        .body(JSON, r#"{"name": "a", "devices": ["*"]}"#);
    repeated.send().problem(400, "idempotency-key-refused");
}

#[test]
fn a_key_with_bad_patterns_is_not_made() {
    for body in [
        json!({"name": "", "devices": ["*"]}),
        json!({"name": "a", "devices": []}),
        json!({"name": "a", "devices": ["a*b"]}),
        json!({"name": "a", "devices": ["no spaces"]}),
        json!({"name": "a", "devices": vec!["a"; 101]}),
        json!({"name": "a", "devices": ["a"], "secret": "mr_1"}),
    ] {
        let call = call("POST", KEYS).role(Role::Admin);
        call.body(JSON, body.to_string())
            .send()
            .problem(422, "invalid-body");
    }
}

#[test]
fn a_key_writes_for_its_devices_only() {
    let (own, other) = (device(), device());
    let secret = secret(&[&own]);
    send(&secret, &own).expect(202);
    send(&secret, &other).problem(403, "device-not-allowed");
    send(&secret, &device_id()).problem(403, "device-not-allowed");
    let lines = [&own, &other].map(|id| json!({"device_id": id, "value": 1}).to_string());
    let both = call("POST", BULK).header("x-api-key", &secret);
    let report = both
        .body(NDJSON, lines.join("\n"))
        .send()
        .expect(202)
        .json();
    assert_eq!(
        (&report["accepted"], &report["rejected"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    assert_eq!(
        (&report["errors"][0]["index"], &report["errors"][0]["code"]),
        (&json!(1), &json!("device-not-allowed"))
    );
    let token = format!("Token {secret}");
    let write = |id: &str| {
        call("POST", "/api/v2/write")
            .header("Authorization", &token)
            .body(LINES, format!("m,device_id={id} v=1"))
            .send()
    };
    write(&own).expect(204);
    assert_eq!(write(&other).expect(403).json()["code"], "forbidden");
}

#[test]
fn a_key_for_a_prefix_writes_for_devices_to_come() {
    let prefix = format!("hall-{}.", unique());
    let secret = secret(&[&format!("{prefix}*")]);
    let id = format!("{prefix}7");
    send(&secret, &id).problem(404, "unknown-device");
    let body = json!({"device_id": id, "name": "New", "type": "custom"});
    crate::support::sensors::register(&body).send().expect(201);
    send(&secret, &id).expect(202);
}

/// Functions remember a key for a minute, so this one is revoked before it is first used.
#[test]
fn a_revoked_key_lets_nobody_in() {
    let (made, id) = (new_key(&["*"]), device());
    let key = made.json();
    let etag = made.header("etag").expect("a key has an entity tag");
    revoke(text(&key, "id"))
        .send()
        .problem(428, "if-match-required");
    revoke(text(&key, "id"))
        .header("If-Match", "\"v99\"")
        .send()
        .problem(412, "stale-version");
    let revoked = revoke(text(&key, "id")).header("If-Match", etag).send();
    let revoked = revoked.expect(200);
    assert_eq!(revoked.json()["status"], "revoked");
    assert!(revoked.json()["revoked_at"].is_string());
    let again = revoked.header("etag").expect("it has a new one");
    let again = revoke(text(&key, "id")).header("If-Match", again).send();
    assert_eq!(again.expect(200).json(), revoked.json());

    let answer = send(text(&key, "secret"), &id);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    answer.problem(401, "unauthorized");
    let token = format!("Token {}", text(&key, "secret"));
    let write = call("POST", "/api/v2/write").header("Authorization", &token);
    let answer = write.body(LINES, format!("m,device_id={id} v=1")).send();
    assert!(answer.clone().problem(401, "unauthorized")["message"].is_string());
}

#[test]
fn nobody_writes_without_a_key_or_with_a_person_s_token() {
    let (id, stack) = (device(), stack());
    let line = format!("m,device_id={id} v=1");
    let unknown = format!("mr_{}", "0".repeat(40));
    let identities = [
        None,
        Some(("x-api-key", String::new())),
        Some(("x-api-key", unknown.clone())),
        Some(("x-api-key", stack.admin_token.clone())),
        Some(("Authorization", format!("Token {unknown}"))),
        Some(("Authorization", format!("Bearer {}", stack.admin_token))),
        Some(("Authorization", format!("Token {}", stack.admin_token))),
        Some(("Authorization", stack.device_key.clone())),
        Some(("Authorization", format!("Basic {}", stack.device_key))),
    ];
    for identity in identities {
        for route in [BULK, "/api/v2/write"] {
            let mut call = call("POST", route).body(LINES, line.clone());
            if let Some((name, value)) = &identity {
                call = call.header(name, value);
            }
            let answer = call.send();
            assert_eq!(answer.status, 401, "{route} with {identity:?}");
            let problem = answer.problem(401, "unauthorized");
            assert!(problem["message"].is_string(), "{problem}");
        }
    }
}

#[test]
fn a_key_may_stand_in_either_header_in_any_case() {
    let id = device();
    let key = &stack().device_key;
    for (name, value) in [
        ("authorization", format!("Token {key}")),
        ("AUTHORIZATION", format!("token {key}")),
        ("Authorization", format!("Bearer {key}")),
        ("X-API-KEY", key.clone()),
    ] {
        let call = call("POST", "/api/v2/write").header(name, &value);
        call.body(LINES, format!("m,device_id={id} v=1"))
            .send()
            .expect(204);
    }
}

/// A key that a usage plan of its own allows so much.
fn key_with(quota: Option<i32>, throttle: Option<i32>) -> String {
    let made = new_key(&["*"]).json();
    let id = text(&made, "id").to_owned();
    let gateway = Connection::apigateway(&connection());
    // http://…/_aws/execute-api/{api}/{stage}
    let mut parts = stack().api_url.rsplit('/');
    let (stage, api) = (parts.next(), parts.next());
    let name = format!("test-{}", unique());
    block_on(async {
        let keys = gateway.get_api_keys().limit(500).send().await.unwrap();
        let key = keys
            .items()
            .iter()
            .find(|key| key.name().is_some_and(|name| name.ends_with(&id)))
            .and_then(|key| key.id())
            .expect("the gateway has a copy of the key");
        // A stage takes a key through one plan only.
        let plans = gateway.get_usage_plans().key_id(key).send().await.unwrap();
        for plan in plans.items() {
            let remove = gateway.delete_usage_plan_key().key_id(key);
            let plan = plan.id().expect("a plan has an id");
            remove.usage_plan_id(plan).send().await.unwrap();
        }
        let stage = ApiStage::builder()
            .set_api_id(api.map(str::to_owned))
            .set_stage(stage.map(str::to_owned))
            .build();
        let quota = quota.map(|limit| {
            let quota = QuotaSettings::builder().limit(limit);
            quota.period(QuotaPeriodType::Day).build()
        });
        let throttle = throttle.map(|burst| {
            let throttle = ThrottleSettings::builder().burst_limit(burst);
            throttle.rate_limit(0.000_1).build()
        });
        let plan = gateway
            .create_usage_plan()
            .name(name)
            .api_stages(stage)
            .set_quota(quota)
            .set_throttle(throttle)
            .send()
            .await
            .unwrap();
        gateway
            .create_usage_plan_key()
            .usage_plan_id(plan.id().expect("a plan has an id"))
            .key_id(key)
            .key_type("API_KEY")
            .send()
            .await
            .unwrap();
    });
    text(&made, "secret").to_owned()
}

#[test]
fn a_key_is_held_to_its_quota_and_its_rate() {
    let id = device();
    for (secret, code) in [
        (key_with(Some(2), None), "quota-exceeded"),
        (key_with(None, Some(2)), "too-many-requests"),
    ] {
        send(&secret, &id).expect(202);
        send(&secret, &id).expect(202);
        let refused = send(&secret, &id);
        assert!(refused.header("retry-after").is_some(), "{code}");
        let problem = refused.problem(429, code);
        assert!(problem["message"].is_string(), "{problem}");
    }
}
