//! Tokens that give nobody a right.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::people::{Pool, wait_for_end};
use crate::support::stack::stack;

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .expect("a token's parts are base64url");
    serde_json::from_slice(&bytes).expect("a token's parts are JSON")
}

/// Tokens that are worth nothing, each by what is wrong with it: some that nobody was given, and three
/// real ones of admins: one that has ended, one of another pool, and one that says nothing of its
/// bearer. The local gateway checks what API Gateway does: the issuer, an RS256 signature by a key of
/// the pool, and the times.
pub(super) static WORTHLESS: LazyLock<Vec<(&str, String)>> = LazyLock::new(|| {
    let token = &stack().customer_token;
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        panic!("a token has three parts")
    };
    let mut promoted = decoded(claims);
    promoted["cognito:groups"] = json!(["admin"]);
    let mut renewed = decoded(claims);
    renewed["exp"] = json!(4_000_000_000_u64);
    let mut unsigned = decoded(head);
    unsigned["alg"] = json!("none");
    let mut symmetric = decoded(head);
    symmetric["alg"] = json!("HS256");
    let mut foreign = promoted.clone();
    foreign["iss"] = json!("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_someoneElse");
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let pool = Pool::of_the_stack();
    let brief = pool.with_client("1", "seconds").person(Some("admin"));
    wait_for_end(&decoded(
        brief.id.split('.').nth(1).expect("a token has claims"),
    ));
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
            format!("{head}.{}.{signature}", part(&renewed)),
        ),
        (
            "other issuer",
            format!("{head}.{}.{signature}", part(&foreign)),
        ),
        (
            "other signature",
            format!("{head}.{claims}.{flipped}{}", &signature[1..]),
        ),
        ("no signature", format!("{head}.{claims}.")),
        ("ended", brief.id),
        ("of another pool", Pool::another().person(Some("admin")).id),
        ("access token", pool.person(Some("admin")).access),
    ]
});
