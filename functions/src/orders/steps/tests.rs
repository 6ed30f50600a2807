use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::Context as LambdaContext;
use serde_json::json;
use shared::{
    orders::{
        model::{CancelReason, PaymentStanding, Saga},
        store::Created,
        testing,
    },
    payments::{
        gateway::Gateway,
        sandbox::{Sandbox, model::Script},
    },
    stock::{model::Stock, store::StockStore},
    testing::Database,
};

use super::*;

const TABLE: &str = "Commerce";

struct World {
    database: Database,
    clock: Clock,
}

impl World {
    /// A world in which there are so many units of tea.
    async fn new(tea: u64) -> Self {
        let database = Database::start(&[testing::table(TABLE)]).await;
        let put = database.client().put_item().table_name(TABLE);
        let put = put
            .item("pk", AttributeValue::S("STOCK#tea".into()))
            .item("sk", AttributeValue::S("META".into()));
        let counters = [
            ("available", tea),
            ("received", tea),
            ("reserved", 0),
            ("sold", 0),
        ];
        let put = counters
            .into_iter()
            .chain([("version", 1)])
            .fold(put, |put, (name, count)| {
                put.item(name, AttributeValue::N(count.to_string()))
            });
        put.send().await.unwrap();
        Self {
            database,
            clock: Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap()),
        }
    }

    fn orders(&self) -> Orders {
        Orders {
            store: OrderStore::new(self.database.client(), TABLE.to_owned()),
            clock: self.clock.clone(),
            random: Random::seeded(1),
        }
    }

    async fn take(&self, units: u32, script: Script) -> OrderId {
        let now = self.clock.now();
        let happened = testing::created("ada", script.method(), &[("tea", units)]);
        let order = testing::order(1, &happened, now);
        let created = self
            .orders()
            .store
            .create(&order, &happened, now, None)
            .await;
        assert_eq!(created.unwrap(), Created::Done);
        order.id
    }

    async fn send(&self, payload: Value) -> Result<Answer, StepError> {
        let event = LambdaEvent::new(payload.clone(), LambdaContext::default());
        let orders = self.orders();
        match payload["action"].as_str() {
            Some("reserve" | "release") => {
                inventory::handle(&inventory::Context { orders }, event).await
            }
            Some("confirm" | "cancel") => {
                confirm::handle(&confirm::Context { orders }, event).await
            }
            _ => {
                let sandbox = Sandbox::new(self.database.client(), TABLE.to_owned());
                let gateway = Gateway::Sandbox(sandbox);
                payment::handle(&payment::Context { orders, gateway }, event).await
            }
        }
    }

    /// The words of a step: `ok`, or its error's name.
    async fn step(&self, id: &OrderId, action: &str) -> &'static str {
        let payload = json!({"order_id": id, "action": action, "correlation_id": "request-1"});
        self.send(payload)
            .await
            .map_or_else(|error| error.word(), |_| "ok")
    }

    async fn steps(&self, id: &OrderId, actions: &[&str]) -> Vec<&'static str> {
        let mut words = Vec::new();
        for action in actions {
            words.push(self.step(id, action).await);
        }
        words
    }

    /// Carries an order through, and has its customer ask for the money back.
    async fn pay_and_cancel(&self, id: &OrderId) {
        assert_eq!(self.steps(id, &FORWARD).await, ["ok"; 4]);
        let order = self.order(id).await;
        let cancel = rules::request_cancellation(&order, CancelReason::Customer, None).unwrap();
        let decide = |_: &Order, _| Ok(cancel.clone());
        self.orders().record(order, decide).await.unwrap();
    }

    /// Has something happen at the provider, and gives the payment as it is there then.
    async fn alter_payment(&self, id: &OrderId, by: impl FnOnce(&mut Value)) -> Value {
        let client = self.database.client();
        let key = AttributeValue::S(format!("SANDBOX#sandbox:{id}"));
        let get = client.get_item().table_name(TABLE).key("pk", key);
        let get = get.key("sk", AttributeValue::S("META".into()));
        let mut item = get.send().await.unwrap().item.unwrap();
        let mut payment = serde_json::from_str(item["payment"].as_s().unwrap()).unwrap();
        by(&mut payment);
        item.insert("payment".into(), AttributeValue::S(payment.to_string()));
        let put = client.put_item().table_name(TABLE).set_item(Some(item));
        put.send().await.unwrap();
        payment
    }

    async fn order(&self, id: &OrderId) -> Order {
        self.orders().store.get(id).await.unwrap().unwrap()
    }

    async fn stock(&self) -> Stock {
        let stocks = StockStore::new(self.database.client(), TABLE.to_owned());
        stocks.get(&"tea".parse().unwrap()).await.unwrap().unwrap()
    }
}

const FORWARD: [&str; 4] = ["reserve", "authorise", "confirm", "capture"];
const BACK: [&str; 3] = ["undo", "release", "cancel"];

#[tokio::test]
async fn an_order_is_carried_through_by_steps_of_which_each_may_run_again() {
    for script in [Script::Approve, Script::TimeoutAfterCharge] {
        let world = World::new(5).await;
        let id = world.take(2, script).await;
        for action in FORWARD {
            assert_eq!(world.steps(&id, &[action; 2]).await, ["ok"; 2], "{action}");
        }
        let order = world.order(&id).await;
        assert_eq!(
            (order.status, order.saga),
            (Status::Confirmed, Saga::Completed)
        );
        let stock = world.stock().await;
        assert_eq!((stock.available, stock.reserved, stock.sold), (3, 0, 2));
        assert_eq!(world.steps(&id, &FORWARD).await, ["ok"; 4], "late");
        assert_eq!(
            world.steps(&id, &BACK).await,
            ["OrderCompleted"; 3],
            "not asked for"
        );
        assert_eq!(world.order(&id).await, order);
    }
}

#[tokio::test]
async fn each_failure_has_its_name_and_is_undone_to_a_clean_slate() {
    let cases: [(u32, Script, &[&str], CancelReason); 6] = [
        (
            9,
            Script::Approve,
            &["OutOfStock"],
            CancelReason::OutOfStock,
        ),
        (
            2,
            Script::Decline,
            &["ok", "PaymentDeclined"],
            CancelReason::PaymentDeclined,
        ),
        (
            2,
            Script::InsufficientFunds,
            &["ok", "PaymentDeclined"],
            CancelReason::PaymentDeclined,
        ),
        (
            2,
            Script::RequiresAction,
            &["ok", "PaymentDeclined"],
            CancelReason::PaymentDeclined,
        ),
        (2, Script::Flaky, &["ok", "Transient"], CancelReason::Failed),
        (
            2,
            Script::CaptureFails,
            &["ok", "ok", "ok", "CaptureFailed"],
            CancelReason::CaptureFailed,
        ),
    ];
    for (units, script, words, reason) in cases {
        let world = World::new(5).await;
        let id = world.take(units, script).await;
        assert_eq!(
            world.steps(&id, &FORWARD[..words.len()]).await,
            words,
            "{script:?}"
        );
        for action in BACK {
            assert_eq!(
                world.steps(&id, &[action; 2]).await,
                ["ok"; 2],
                "{script:?} {action}"
            );
        }
        let order = world.order(&id).await;
        assert_eq!(
            (order.status, order.saga),
            (Status::Cancelled, Saga::Compensated)
        );
        assert_eq!(order.cancellation.as_ref().unwrap().reason, reason);
        let stock = world.stock().await;
        assert_eq!((stock.available, stock.reserved, stock.sold), (5, 0, 0));
        let late = world.steps(&id, &FORWARD).await;
        assert!(!late.contains(&"ok"), "{script:?}: {late:?}");
        assert_eq!(world.order(&id).await, order, "{script:?}");
    }
}

#[tokio::test]
async fn money_that_was_taken_unnoticed_goes_back_with_the_order() {
    let world = World::new(5).await;
    let id = world.take(2, Script::Approve).await;
    assert_eq!(world.steps(&id, &FORWARD[..3]).await, ["ok"; 3]);
    let order = world.order(&id).await;
    let sandbox = Sandbox::new(world.database.client(), TABLE.to_owned());
    let (reference, total) = (order.payment.unwrap().reference, order.totals.total);
    let charge = shared::payments::model::Charge {
        order_id: id.as_str(),
        amount: total,
        method: Script::Approve.method(),
    };
    sandbox
        .capture(&charge, &reference.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(world.steps(&id, &BACK).await, ["ok"; 3]);
    let payment = world.order(&id).await.payment.unwrap();
    assert_eq!(payment.standing, PaymentStanding::Captured);
    assert_eq!((payment.captured, payment.refunded), (total, total));
    let stock = world.stock().await;
    assert_eq!((stock.available, stock.sold), (5, 0));
}

#[tokio::test]
async fn money_that_people_gave_back_at_the_provider_closes_an_order_that_it_would_not_undo() {
    let world = World::new(5).await;
    let id = world.take(2, Script::RefundFails).await;
    world.pay_and_cancel(&id).await;
    assert_eq!(world.steps(&id, &BACK).await, ["Permanent"; 3]);
    let give_back = |payment: &mut Value| {
        payment["state"]["refunded"] = payment["state"]["captured"].clone();
    };
    world.alter_payment(&id, give_back).await;
    assert_eq!(world.steps(&id, &BACK).await, ["ok"; 3]);
    let stock = world.stock().await;
    assert_eq!((stock.available, stock.sold), (5, 0));
}

#[tokio::test]
async fn a_cancelled_order_s_money_goes_back_under_another_name_than_the_one_that_was_refused() {
    let world = World::new(5).await;
    let id = world.take(2, Script::Approve).await;
    world.pay_and_cancel(&id).await;
    let refuse = |payment: &mut Value| {
        let refused = json!({"amount": payment["amount"], "refused": "insufficient-funds"});
        payment["refunds"] = json!({"cancellation": refused, "cancellation-2": refused});
    };
    world.alter_payment(&id, refuse).await;
    assert_eq!(world.steps(&id, &BACK).await, ["ok"; 3]);
    let payment = world.alter_payment(&id, |_| ()).await;
    assert_eq!(payment["refunds"]["cancellation-3"]["refused"], Value::Null);
    assert_eq!(payment["state"]["refunded"], payment["state"]["captured"]);
    let order = world.order(&id).await;
    assert_eq!(order.payment.unwrap().refunded, order.totals.total);
}

#[tokio::test]
async fn only_what_people_left_is_given_back_of_a_cancelled_order() {
    let world = World::new(5).await;
    let id = world.take(2, Script::Approve).await;
    world.pay_and_cancel(&id).await;
    let give_some_back = |payment: &mut Value| payment["state"]["refunded"]["amount"] = json!("1");
    world.alter_payment(&id, give_some_back).await;
    assert_eq!(world.steps(&id, &BACK).await, ["ok"; 3]);
    let payment = world.alter_payment(&id, |_| ()).await;
    assert_eq!(payment["state"]["refunded"], payment["state"]["captured"]);
    assert_eq!(world.order(&id).await.status, Status::Cancelled);
}

#[tokio::test]
async fn what_no_function_can_do_is_told_to_be_permanent() {
    let world = World::new(5).await;
    let id = world.take(2, Script::Approve).await;
    let other = OrderId::new(world.clock.now(), [9; 5]);
    for payload in [
        json!({"order_id": other, "action": "reserve"}),
        json!({"order_id": "ORD-1", "action": "reserve"}),
        json!({"order_id": id, "action": "fly"}),
        json!({"order_id": id}),
        json!([]),
        json!({"order_id": id, "action": "refund"}),
        json!({"order_id": id, "action": "refund", "refund_id": "R1"}),
    ] {
        let error = world.send(payload.clone()).await.unwrap_err();
        assert_eq!(error.word(), "Permanent", "{payload}");
    }
    let strange = LambdaEvent::new(
        json!({"order_id": id, "action": "capture"}),
        LambdaContext::default(),
    );
    let context = inventory::Context {
        orders: world.orders(),
    };
    let error = inventory::handle(&context, strange).await.unwrap_err();
    assert_eq!(
        (error.word(), error.to_string().as_str()),
        ("Permanent", "no action capture here")
    );
    assert_eq!(
        world.steps(&id, &["capture", "confirm"]).await,
        ["Permanent"; 2],
        "out of order"
    );
}

#[tokio::test]
async fn only_the_last_attempt_of_a_compensation_has_people_look() {
    let world = World::new(5).await;
    let id = world.take(2, Script::Approve).await;
    assert_eq!(world.steps(&id, &FORWARD[..2]).await, ["ok"; 2]);
    let order = world.order(&id).await;
    let cancel = rules::request_cancellation(&order, CancelReason::Customer, None).unwrap();
    let orders = world.orders();
    orders
        .record(order, |_, _| Ok(cancel.clone()))
        .await
        .unwrap();
    let release =
        |attempt: u32| world.send(json!({"order_id": id, "action": "release", "attempt": attempt}));
    for (attempt, saga) in [
        (0, Saga::Compensating),
        (9, Saga::Compensating),
        (10, Saga::CompensationFailed),
    ] {
        let error = release(attempt).await.unwrap_err();
        assert_eq!(error.to_string(), "the payment's undoing comes first");
        assert_eq!(world.order(&id).await.saga, saga, "{attempt}");
    }
    assert_eq!(world.steps(&id, &BACK).await, ["ok"; 3], "redriven");
    assert_eq!(world.order(&id).await.saga, Saga::Compensated);
}

#[test]
fn an_error_s_name_and_words_tell_the_state_machine_and_nobody_s_secrets() {
    let short = |sku: &str| Shortage {
        sku: sku.parse().unwrap(),
        wanted: 2,
        available: None,
    };
    let diagnostic = Diagnostic::from(StepError::OutOfStock(vec![short("tea"), short("cup")]));
    assert_eq!(diagnostic.error_type, "OutOfStock");
    assert_eq!(diagnostic.error_message, "too few units of tea, cup");
    let gateway = |error: fn(String) -> GatewayError| StepError::from(error("why".to_owned()));
    for (error, word) in [
        (gateway(GatewayError::Transient), "Transient"),
        (gateway(GatewayError::Permanent), "Permanent"),
        (gateway(GatewayError::Untrusted), "Permanent"),
        (TableError::claim_lost().into(), "Transient"),
        (
            TableError::malformed("order", "document").into(),
            "Permanent",
        ),
        (StepError::Late, "Transient"),
        (StepError::WrongAmount, "Permanent"),
        (Refusal::OrderCancelled.into(), "OrderCancelled"),
        (Refusal::OrderCompleted.into(), "OrderCompleted"),
        (
            Refusal::PaymentDeclined("expired-card".into()).into(),
            "PaymentDeclined",
        ),
    ] {
        assert_eq!(error.word(), word, "{error}");
    }
}
