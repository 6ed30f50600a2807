//! Orders on the deployed stack, from the cart to the money given back.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::shelf::{order, place, product};
use crate::support::{
    api::{Answer, Role, call},
    people,
    stack::unique,
};

/// How long an order may take to become what it is to become.
const PATIENCE: Duration = Duration::from_mins(2);

/// An order's path, and who asks.
struct Placed {
    path: String,
    token: String,
}

impl Placed {
    /// Places an order of two of a product, to be paid by `method`.
    fn new(sku: &str, method: &str) -> Self {
        let token = people::another_customer();
        let mut order = order(&json!([{"sku": sku, "quantity": 2}]));
        order["payment_method"] = json!(method);
        let answer = place(&token, &unique(), &order).expect(202);
        let path = answer.header("location").expect("it says where").to_owned();
        assert_eq!(answer.json()["status"], "pending");
        Self { path, token }
    }

    fn get(&self, path: &str) -> Value {
        let call = call("GET", &format!("{}{path}", self.path));
        call.token(&self.token).send().expect(200).json()
    }

    fn staff(&self, action: &str, body: &Value) -> Answer {
        call("POST", &format!("{}/{action}", self.path))
            .role(Role::Admin)
            .header("Idempotency-Key", &unique())
            .body("application/json", body.to_string())
            .send()
    }

    /// The order, once it is as `is_so` says.
    fn once(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let order = self.get("");
            if is_so(&order) {
                return order;
            }
            assert!(begun.elapsed() < PATIENCE, "{order}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn once_paid(&self) -> Value {
        self.once(|order| order["saga"] == "completed")
    }

    fn once_cancelled(&self) -> Value {
        self.once(|order| order["status"] == "cancelled")
    }

    /// What happened, in the customer's words.
    fn track(&self) -> Vec<String> {
        let timeline = self.get("/track")["timeline"].clone();
        let moments = timeline.as_array().expect("a timeline is a list");
        let what = |moment: &Value| moment["what"].as_str().unwrap().to_owned();
        moments.iter().map(what).collect()
    }
}

fn stock(sku: &str) -> Value {
    let call = call("GET", &format!("/api/catalog/stock/{sku}"));
    let stock = call.role(Role::Admin).send().expect(200).json();
    json!([stock["available"], stock["reserved"], stock["sold"]])
}

#[test]
fn an_order_is_paid_fulfilled_and_given_back() {
    let sku = product(5);
    let order = Placed::new(&sku, "sandbox-approve");
    let paid = order.once_paid();
    assert_eq!(
        (&paid["status"], &paid["payment"]["captured"]["amount"]),
        (&json!("confirmed"), &json!("23.20"))
    );
    assert_eq!(stock(&sku), json!([3, 0, 2]));
    order
        .staff("ship", &json!({}))
        .problem(409, "illegal-transition");
    order.staff("process", &json!({})).expect(200);
    let shipment = json!({"carrier": "SingPost", "tracking_number": "RX1"});
    order.staff("ship", &shipment).expect(200);
    order.staff("deliver", &json!({})).expect(200);

    let one = json!({"lines": [{"sku": sku, "quantity": 1}], "restock": true, "reason": "Broken"});
    let refund = order.staff("refunds", &one).expect(202).json();
    assert_eq!(
        (&refund["status"], &refund["amount"]["amount"]),
        (&json!("pending"), &json!("11.60"))
    );
    order.once(|order| order["refunds"][0]["status"] == "done");
    assert_eq!(stock(&sku), json!([4, 0, 1]));
    order.staff("refunds", &json!({})).expect(202);
    let refunded = order.once(|order| order["status"] == "refunded");
    assert_eq!(refunded["payment"]["refunded"]["amount"], "23.20");
    order
        .staff("refunds", &json!({}))
        .problem(409, "illegal-transition");
    assert_eq!(
        order.track(),
        [
            "placed",
            "items-reserved",
            "payment-authorised",
            "confirmed",
            "paid",
            "processing",
            "shipped",
            "delivered",
            "refund-started",
            "refunded",
            "refund-started",
            "refunded",
        ]
    );
    let spent = call("GET", "/api/orders/spending")
        .token(&order.token)
        .send();
    let months = spent.expect(200).json()["months"].clone();
    let last = months.as_array().and_then(|months| months.last()).cloned();
    let last = last.expect("the last month is this one");
    assert_eq!(
        (&last["orders"], &last["spent"][0]["amount"]),
        (&json!(1), &json!("0.00"))
    );
}

#[test]
fn a_declined_payment_and_too_little_stock_cancel_an_order_and_leave_nothing_behind() {
    let sku = product(5);
    let declined = Placed::new(&sku, "sandbox-insufficient-funds");
    let order = declined.once_cancelled();
    assert_eq!(
        (
            &order["cancellation"]["reason"],
            &order["payment"]["decline_code"]
        ),
        (&json!("payment-declined"), &json!("insufficient-funds"))
    );
    assert_eq!(stock(&sku), json!([5, 0, 0]));

    let scarce = product(1);
    let short = Placed::new(&scarce, "sandbox-approve").once_cancelled();
    assert_eq!(
        short["cancellation"]["shortages"],
        json!([{"sku": scarce, "wanted": 2, "available": 1}])
    );
    assert_eq!(stock(&scarce), json!([1, 0, 0]));
}

#[test]
fn a_paid_order_is_cancelled_and_its_money_and_stock_go_back() {
    let sku = product(5);
    let order = Placed::new(&sku, "sandbox-approve");
    order.once_paid();
    let cancel = || {
        call("POST", &format!("{}/cancel", order.path))
            .token(&order.token)
            .body(
                "application/json",
                json!({"reason": "Ordered twice"}).to_string(),
            )
            .send()
    };
    cancel().expect(202);
    let cancelled = order.once_cancelled();
    assert_eq!(cancelled["payment"]["refunded"]["amount"], "23.20");
    assert_eq!(cancelled["cancellation"]["note"], "Ordered twice");
    assert_eq!(stock(&sku), json!([5, 0, 0]));
    assert_eq!(cancel().expect(202).json(), cancelled);
}
