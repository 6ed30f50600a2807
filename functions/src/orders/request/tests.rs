use proptest::prelude::*;
use serde_json::json;
use shared::platform::money::Currency;

use super::*;

fn address() -> Value {
    json!({"recipient": "Ada Tan", "line1": "1 Orchard Road", "city": "Singapore", "country": "SG"})
}

fn body(items: &Value) -> Value {
    json!({"items": items, "shipping_address": address(), "payment_method": "sandbox-approve"})
}

fn with(member: &str, value: Value) -> Value {
    let mut body = body(&json!([{"sku": "A", "quantity": 1}]));
    body[member] = value;
    body
}

fn faults<T>(read: Read<T>) -> Vec<(String, String)> {
    let told = |error: FieldError| (error.pointer, error.code.into_owned());
    let errors = read.err().unwrap_or_default();
    errors.into_iter().map(told).collect()
}

fn fault(pointer: &str, code: &str) -> Vec<(String, String)> {
    vec![(pointer.to_owned(), code.to_owned())]
}

#[test]
fn equal_skus_are_summed_at_their_first_place() {
    let items = json!([
        {"sku": "B", "quantity": 1}, {"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 40},
    ]);
    let wanted = |sku: &str, quantity, at| Wanted {
        sku: sku.parse().unwrap(),
        quantity,
        at,
    };
    assert_eq!(
        order(&body(&items)).unwrap().items,
        [wanted("B", 41, 0), wanted("A", 2, 1)]
    );
}

#[test]
fn a_quantity_is_a_whole_number_from_1_to_a_million() {
    for text in ["1", "1000000"] {
        let quantity: Value = serde_json::from_str(text).unwrap();
        assert!(
            order(&body(&json!([{"sku": "A", "quantity": quantity}]))).is_ok(),
            "{text}"
        );
    }
    for text in [
        "0",
        "-1",
        "1.5",
        "1.0",
        "1e3",
        "\"1\"",
        "true",
        "[1]",
        "1000001",
        "4294967297",
        "18446744073709551616",
        "1e400",
        "-0",
        "NaN",
    ] {
        let Ok(quantity) = serde_json::from_str::<Value>(text) else {
            continue;
        };
        let read = order(&body(&json!([{"sku": "A", "quantity": quantity}])));
        assert_eq!(
            faults(read),
            fault("/items/0/quantity", "invalid-quantity"),
            "{text}"
        );
    }
    let halves = json!([{"sku": "A", "quantity": 600_000}, {"sku": "A", "quantity": 400_001}]);
    assert_eq!(
        faults(order(&body(&halves))),
        fault("/items/0/quantity", "invalid-quantity")
    );
}

#[test]
fn an_order_has_at_most_45_distinct_skus() {
    let items = |n: usize| -> Value {
        let item = |n| json!({"sku": format!("S-{n}"), "quantity": 1});
        (0..n).map(item).collect()
    };
    assert_eq!(order(&body(&items(45))).unwrap().items.len(), 45);
    for n in [46, 201] {
        assert_eq!(
            faults(order(&body(&items(n)))),
            fault("/items", "too-many-items")
        );
    }
    let same: Value = (0..200)
        .map(|_| json!({"sku": "A", "quantity": 1}))
        .collect();
    assert_eq!(order(&body(&same)).unwrap().items[0].quantity, 200);
    for none in [json!([]), json!({}), json!("A"), json!(3)] {
        assert_eq!(
            faults(order(&body(&none))),
            fault("/items", "invalid-value"),
            "{none}"
        );
    }
    assert_eq!(
        faults(order(&body(&Value::Null))),
        fault("/items", "missing-field")
    );
}

#[test]
fn what_is_not_the_callers_to_say_is_refused() {
    for member in [
        "price",
        "status",
        "total",
        "totals",
        "currency",
        "id",
        "customer_id",
        "tax",
        "Items",
    ] {
        let read = order(&with(member, json!("0.01")));
        assert_eq!(faults(read), fault(&format!("/{member}"), "unknown-field"));
    }
    for member in ["unit_price", "price", "name", "tax_rate"] {
        let mut item = json!({"sku": "A", "quantity": 1});
        item[member] = json!("0.01");
        let pointer = format!("/items/0/{member}");
        assert_eq!(
            faults(order(&body(&json!([item])))),
            fault(&pointer, "unknown-field")
        );
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let body = json!({
        "items": [{"sku": "a b", "quantity": 1}, {"quantity": 0}, 7, {"sku": "A", "quantity": 1, "status": "paid"}],
        "billing_address": {"country": "XX"},
        "payment_method": "a b",
        "notes": 5,
    });
    let faults = faults(order(&body));
    let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/items/0/sku",
            "/items/1/sku",
            "/items/1/quantity",
            "/items/2",
            "/items/3/status",
            "/shipping_address",
            "/billing_address/recipient",
            "/billing_address/line1",
            "/billing_address/city",
            "/billing_address/country",
            "/payment_method",
            "/notes",
        ]
    );
    for whole in [json!([]), json!(null), json!("x")] {
        assert_eq!(super::order(&whole).unwrap_err()[0].pointer, "");
    }
}

#[test]
fn notes_are_any_text_of_2000_characters() {
    for notes in ["äöü 😀 中文\n\tمرحبا", &"😀".repeat(2_000)] {
        let read = order(&with("notes", json!(notes))).unwrap();
        assert_eq!(read.notes.as_deref(), Some(notes));
    }
    for notes in [
        "",
        " ",
        "a\u{0}b",
        "\u{1b}[31m",
        "a\rb",
        &"ä".repeat(2_001),
        &"x".repeat(65_536),
    ] {
        assert_eq!(
            faults(order(&with("notes", json!(notes)))),
            fault("/notes", "invalid-value")
        );
    }
}

#[test]
fn a_payment_method_is_a_word() {
    for method in ["", " ", "a/b", "pm\n", &"x".repeat(65)] {
        let read = order(&with("payment_method", json!(method)));
        assert_eq!(
            faults(read),
            fault("/payment_method", "invalid-value"),
            "{method:?}"
        );
    }
}

#[test]
fn a_refund_is_of_an_amount_or_of_lines_or_of_everything() {
    let of = |body: Value| refund(&body).map(|refund| refund.of);
    let amount = json!({"amount": "3.50", "currency": "SGD"});
    let units = Units {
        sku: "A".parse().unwrap(),
        quantity: 2,
    };
    assert_eq!(of(json!({})), Ok(RefundOf::Everything));
    assert_eq!(
        of(json!({"amount": amount})),
        Ok(RefundOf::Amount(
            Money::parse("3.50", Currency::SGD).unwrap()
        ))
    );
    let lines = json!([{"sku": "A", "quantity": 2}]);
    assert_eq!(
        of(json!({"lines": lines})),
        Ok(RefundOf::Lines(vec![units]))
    );
    for (body, pointer) in [
        (json!({"amount": amount, "lines": lines}), "/lines"),
        (json!({"amount": null}), "/amount"),
        (json!({"lines": null}), "/lines"),
        (json!({"amount": null, "lines": lines}), "/amount"),
        (json!({"amount": 3.5}), "/amount"),
        (
            json!({"amount": {"amount": 3.5, "currency": "SGD"}}),
            "/amount",
        ),
        (
            json!({"amount": {"amount": "1e3", "currency": "SGD"}}),
            "/amount",
        ),
        (json!({"lines": []}), "/lines"),
        (
            json!({"lines": [{"sku": "A", "quantity": -1}]}),
            "/lines/0/quantity",
        ),
        (json!({"restock": "yes"}), "/restock"),
        (json!({"reason": "x".repeat(501)}), "/reason"),
        (json!({"refund_id": "mine"}), "/refund_id"),
    ] {
        assert_eq!(refund(&body).unwrap_err()[0].pointer, pointer, "{body}");
    }
}

#[test]
fn small_bodies_are_read_strictly() {
    assert_eq!(cancel(&json!({})), Ok(None));
    assert_eq!(
        cancel(&json!({"reason": " late "})),
        Ok(Some("late".to_owned()))
    );
    assert_eq!(
        faults(cancel(&json!({"status": "cancelled"}))),
        fault("/status", "unknown-field")
    );
    assert_eq!(nothing(&json!({})), Ok(()));
    assert_eq!(
        faults(nothing(&json!({"force": true}))),
        fault("/force", "unknown-field")
    );
    let shipped = shipment(&json!({"carrier": "SingPost"})).unwrap();
    assert_eq!(shipped.carrier.as_deref(), Some("SingPost"));
    assert_eq!(
        faults(shipment(&json!({"tracking_number": "a\nb"}))),
        fault("/tracking_number", "invalid-value")
    );
}

proptest! {
    #[test]
    fn sums_do_not_depend_on_the_order_of_items(
        items in proptest::collection::vec((0_u8..10, 1_u32..=5_000), 1..=200)
    ) {
        let read = |items: &[(u8, u32)]| {
            let item = |(sku, quantity): &(u8, u32)| json!({"sku": format!("S-{sku}"), "quantity": quantity});
            let items: Value = items.iter().map(item).collect();
            let mut wanted = order(&body(&items)).unwrap().items;
            wanted.sort_by(|one, other| one.sku.cmp(&other.sku));
            wanted.into_iter().map(|wanted| (wanted.sku, wanted.quantity)).collect::<Vec<_>>()
        };
        let mut turned = items.clone();
        turned.reverse();
        let sums = read(&items);
        prop_assert_eq!(&sums, &read(&turned));
        let total: u32 = items.iter().map(|(_, quantity)| quantity).sum();
        prop_assert_eq!(sums.iter().map(|(_, quantity)| quantity).sum::<u32>(), total);
    }
}
