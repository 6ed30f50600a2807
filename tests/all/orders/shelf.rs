//! Products of the deployed stack, and orders of them.

use serde_json::{Value, json};

use crate::support::{
    api::{Answer, Call, Role, call},
    stack::unique,
};

const JSON: &str = "application/json";

/// The sku of a new product at 10.00 SGD, of which there are `units`.
pub(crate) fn product(units: u32) -> String {
    let sku = unique();
    let price = json!({"amount": "10.00", "currency": "SGD"});
    let product = json!({"sku": sku, "name": "A test's", "price": price});
    let admin = |path: &str, body: &Value| {
        let call = call("POST", path).role(Role::Admin);
        let call = call.header("Idempotency-Key", &unique());
        call.body(JSON, body.to_string()).send()
    };
    admin("/api/catalog/products", &product).expect(201);
    let delta = json!({"delta": units, "reason": "a test's"});
    admin(&format!("/api/catalog/stock/{sku}/adjust"), &delta).expect(200);
    sku
}

/// The body of an order of `items`.
pub(crate) fn order(items: &Value) -> Value {
    json!({
        "items": items,
        "shipping_address": {"recipient": "A Test", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"},
        "payment_method": "sandbox-approve",
    })
}

/// Places an order, or waits for the same request to be answered.
pub(crate) fn place(token: &str, key: &str, order: &Value) -> Answer {
    request(token, key, order).send()
}

/// The request by which an order is placed.
pub(crate) fn request(token: &str, key: &str, order: &Value) -> Call {
    call("POST", "/api/orders")
        .token(token)
        .header("Idempotency-Key", key)
        .header("Prefer", "wait=10")
        .body(JSON, order.to_string())
}
