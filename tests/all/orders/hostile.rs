//! Orders that nobody should be able to place, on the deployed stack.

use serde_json::{Value, json};

use super::shelf::{order, place, product};
use crate::support::{
    api::{Role, call},
    people,
    stack::unique,
};

#[test]
fn what_is_no_order_is_refused_by_member_and_nothing_comes_of_it() {
    let (sku, token) = (product(10), people::another_customer());
    let quantity = |quantity: Value| json!([{"sku": sku, "quantity": quantity}]);
    let many = |n: usize| -> Value {
        (0..n)
            .map(|n| json!({"sku": format!("S-{n}"), "quantity": 1}))
            .collect()
    };
    for (member, value, pointer, code) in [
        (
            "items",
            quantity(json!(-1)),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        (
            "items",
            quantity(json!(0)),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        (
            "items",
            quantity(json!(1.5)),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        (
            "items",
            quantity(json!("1")),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        (
            "items",
            quantity(json!(1e300)),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        (
            "items",
            quantity(json!(u64::MAX)),
            "/items/0/quantity",
            "invalid-quantity",
        ),
        ("items", many(46), "/items", "too-many-items"),
        ("items", many(201), "/items", "too-many-items"),
        ("items", many(1), "/items/0/sku", "unknown-sku"),
        (
            "items",
            json!([{"sku": sku, "quantity": 1, "unit_price": {"amount": "0.01", "currency": "SGD"}}]),
            "/items/0/unit_price",
            "unknown-field",
        ),
        ("status", json!("delivered"), "/status", "unknown-field"),
        (
            "totals",
            json!({"total": "0.01"}),
            "/totals",
            "unknown-field",
        ),
        ("currency", json!("VND"), "/currency", "unknown-field"),
        (
            "notes",
            json!("x".repeat(65_536)),
            "/notes",
            "invalid-value",
        ),
        ("notes", json!("a\u{0}b"), "/notes", "invalid-value"),
        (
            "payment_method",
            json!("../admin"),
            "/payment_method",
            "invalid-value",
        ),
        (
            "shipping_address",
            json!({"country": "SG"}),
            "/shipping_address/recipient",
            "missing-field",
        ),
    ] {
        let mut order = order(&json!([{"sku": sku, "quantity": 1}]));
        order[member] = value;
        let problem = place(&token, &unique(), &order).problem(422, "invalid-body");
        let found = (
            &problem["errors"][0]["pointer"],
            &problem["errors"][0]["code"],
        );
        assert_eq!(found, (&json!(pointer), &json!(code)), "{problem}");
    }
    let list = call("GET", "/api/orders").token(&token).send().expect(200);
    assert_eq!(list.json()["data"], json!([]));
}

#[test]
fn equal_skus_are_one_line_and_notes_are_kept_letter_by_letter() {
    let (sku, token) = (product(10), people::another_customer());
    let items = json!([{"sku": sku, "quantity": 1}, {"sku": sku, "quantity": 2}]);
    let mut order = order(&items);
    let notes = "Ring 🔔 twice\n\t中文 مرحبا e\u{301} \u{202e}";
    order["notes"] = json!(notes);
    let placed = place(&token, &unique(), &order).expect(202).json();
    assert_eq!(placed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(placed["items"][0]["quantity"], 3);
    assert_eq!(placed["totals"]["total"]["amount"], "34.80");
    assert_eq!(placed["notes"], notes);
}

#[test]
fn a_product_that_was_deleted_while_in_the_cart_is_refused() {
    let (sku, token) = (product(10), people::another_customer());
    let order = order(&json!([{"sku": sku, "quantity": 1}]));
    let placed = place(&token, &unique(), &order).expect(202).json();
    let product = placed["items"][0]["product_id"].as_str().unwrap();
    let path = format!("/api/catalog/products/{product}");
    let delete = call("DELETE", &path)
        .role(Role::Admin)
        .header("If-Match", "*");
    delete.send().expect(204);
    let key = unique();
    let problem = place(&token, &key, &order).problem(422, "invalid-body");
    assert_eq!(problem["errors"][0]["code"], "unknown-sku");
    // What was bought before stays what it was.
    let path = format!("/api/orders/{}", placed["id"].as_str().unwrap());
    let kept = call("GET", &path).token(&token).send().expect(200).json();
    assert_eq!(kept["items"], placed["items"]);
    let restore = call("POST", &format!("/api/catalog/products/{product}/restore"));
    restore.role(Role::Admin).send().expect(200);
    // A refusal was not an answer to keep.
    place(&token, &key, &order).expect(202);
}
