//! A customer's life, end to end: signing up, the profile and its addresses, and erasure.

use serde_json::{Value, json};

use crate::support::api::{Answer, Call, call};
use crate::support::lambda::invoke;
use crate::support::people::Pool;
use crate::support::stack::{unique, variable};

const ME: &str = "/api/customers/me";
const ADDRESSES: &str = "/api/customers/me/addresses";

fn sent(call: Call, etag: Option<&str>, body: Option<&Value>) -> Answer {
    let call = match etag {
        Some(etag) => call.header("If-Match", etag),
        None => call,
    };
    match body {
        Some(body) => call.body("application/json", body.to_string()).send(),
        None => call.send(),
    }
}

fn address(kind: &str) -> Value {
    json!({"type": kind, "recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore",
        "postal_code": "048616", "country": "SG", "phone": "6123 4567"})
}

#[test]
fn who_signs_up_has_a_profile_and_addresses_until_they_are_erased() {
    let person = Pool::of_the_stack().signed_up();
    let token = person.token();
    let me = |method: &str| call(method, ME).token(&token);
    let profile = me("GET").send().expect(200);
    assert_eq!(profile.header("etag"), Some("\"v1\""));
    assert_eq!(profile.json()["email"], person.name.as_str());

    let patch = json!({"name": "Jane Tan", "phone": "+65 6123 4567", "locale": "en-SG"});
    let patched = sent(me("PATCH"), Some("\"v1\""), Some(&patch)).expect(200);
    assert_eq!(patched.json()["phone"], "+6561234567");
    let stolen = json!({"email": "x@example.com", "customer_id": "u-1", "groups": ["admin"]});
    let problem = sent(me("PATCH"), Some("\"v2\""), Some(&stolen)).problem(422, "invalid-body");
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(pointers, ["/customer_id", "/email", "/groups"]);

    let post = |body: &Value| sent(call("POST", ADDRESSES).token(&token), None, Some(body));
    let first = post(&address("shipping")).expect(201);
    let place = first.header("location").unwrap().to_owned();
    let mut chosen = address("shipping");
    chosen["is_default"] = true.into();
    let second = post(&chosen).expect(201);
    let unset = call("GET", &place).token(&token).send().expect(200);
    assert_eq!(unset.json()["is_default"], false);
    let removed = call("DELETE", second.header("location").unwrap()).token(&token);
    sent(removed, Some("\"v4\""), None).expect(204);
    let left = call("GET", ADDRESSES)
        .token(&token)
        .send()
        .expect(200)
        .json();
    assert_eq!(left["data"], json!([first.json()]));

    sent(me("DELETE"), None, None).problem(428, "if-match-required");
    sent(me("DELETE"), Some("\"v1\""), None).problem(412, "stale-version");
    sent(me("DELETE"), Some("\"v5\""), None).expect(204);
    for (method, path, body) in [
        ("GET", ME, None),
        ("PATCH", ME, Some(&patch)),
        ("DELETE", ME, None),
        ("GET", ADDRESSES, None),
        ("POST", ADDRESSES, Some(&address("billing"))),
        ("GET", &place, None),
    ] {
        let call = call(method, path).token(&token);
        sent(call, Some("*"), body).problem(404, "customer-erased");
    }
    assert!(!person.can_sign_in());
}

#[test]
fn the_trigger_of_a_sign_up_makes_the_profile_with_what_the_pool_knows() {
    let person = Pool::of_the_stack().signed_up();
    let event = json!({
        "version": "1", "region": "us-east-1", "userPoolId": variable("MILLRACE_USER_POOL_ID"),
        "userName": person.sub, "callerContext": {"awsSdkVersion": "1", "clientId": unique()},
        "triggerSource": "PostConfirmation_ConfirmSignUp",
        "request": {"userAttributes": {"sub": person.sub, "email": person.name, "email_verified": "true", "name": "Jane Tan", "locale": "en_SG"}},
        "response": {},
    });
    for _ in 0..2 {
        assert_eq!(
            invoke(&variable("MILLRACE_SIGNUP_FUNCTION"), &event),
            Ok(event.clone())
        );
    }
    let profile = call("GET", ME)
        .token(&person.token())
        .send()
        .expect(200)
        .json();
    let told = ["name", "locale", "version"].map(|name| profile[name].clone());
    assert_eq!(told, [json!("Jane Tan"), json!("en-SG"), json!(1)]);
}
