//! Revenue from orders, from the event bus to the answer. The orders are of a year that no other test
//! writes to.

use serde_json::{Value, json};

use crate::support::api::{Role, call};
use crate::support::lambda::aws;
use crate::support::sensors::eventually;
use crate::support::stack::{unique, variable};

/// An event of an order as the relay puts it onto the bus.
fn entry(order: &str, sequence: u64, kind: &str, day: &str, data: &Value) -> Value {
    let detail = json!({
        "specversion": "1.0", "id": format!("order:{order}:{sequence}"), "source": "/millrace/orders",
        "type": kind, "subject": order, "time": format!("{day}T23:59:59.999Z"),
        "datacontenttype": "application/json", "data": data, "sequence": sequence.to_string(),
        "sequencetype": "Integer", "correlationid": unique(),
    });
    json!({"EventBusName": variable("MILLRACE_EVENT_BUS"), "Source": "millrace.orders", "DetailType": kind,
        "Detail": detail.to_string()})
}

fn put(entries: &[Value]) {
    let entries = json!(entries).to_string();
    let put = aws(&["events", "put-events", "--entries", &entries]).output();
    let put = put.expect("make venv installs the AWS command line");
    assert!(
        put.status.success(),
        "{}",
        String::from_utf8_lossy(&put.stderr)
    );
}

/// Revenue, orders and rows of orders on the days of 2002.
fn totals() -> Value {
    let path = "/api/metrics/v1/revenue?start=2002-01-01&end=2002-12-31&source=orders&group_by=day";
    let body = call("GET", path)
        .role(Role::Analyst)
        .send()
        .expect(200)
        .json();
    let days = body["groups"].as_array().unwrap().iter().map(|day| {
        let of = |name: &str| day[name].clone();
        json!([
            of("period"),
            day["total_revenue"]["amount"],
            of("order_count"),
            of("row_count")
        ])
    });
    days.collect()
}

#[test]
fn what_is_paid_and_refunded_counts_once_on_its_day_however_often_it_is_told() {
    let money = |amount: &str| json!({"amount": amount, "currency": "SGD"});
    let (first, second) = (unique(), unique());
    let paid = |order: &str, amount: &str, lines: u8| {
        entry(
            order,
            6,
            "order.paid",
            "2002-02-02",
            &json!({"amount": money(amount), "lines": lines}),
        )
    };
    let refund = json!({"refund_id": "r", "amount": money("0.20")});
    let refund = entry(&first, 9, "order.refunded", "2002-02-03", &refund);
    let before = totals();
    assert_eq!(before, json!([]), "the stack has run this test before");
    put(&[
        refund.clone(),
        paid(&first, "0.10", 2),
        paid(&second, "34.78", 1),
    ]);
    put(&[
        paid(&second, "34.78", 1),
        paid(&first, "0.10", 2),
        refund.clone(),
        refund,
    ]);
    let expected = json!([["2002-02-02", "34.88", 2, 3], ["2002-02-03", "-0.2", 0, 0]]);
    eventually("both orders and the refund are counted", || {
        totals() == expected
    });
    // What came twice has been handled once the last of it has.
    put(&[entry(
        &first,
        12,
        "order.refunded",
        "2002-02-04",
        &json!({"refund_id": "s", "amount": money("1")}),
    )]);
    eventually("the last refund is counted", || {
        totals()[2] == json!(["2002-02-04", "-1", 0, 0])
    });
    assert_eq!(json!([totals()[0], totals()[1]]), expected);
}
