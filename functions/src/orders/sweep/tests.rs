use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use lambda_runtime::Context as LambdaContext;
use serde_json::json;
use shared::{
    orders::{
        model::{Saga, Status},
        store::Created,
        testing,
    },
    stock::model::Sku,
    testing::Database,
};

use super::*;
use crate::orders::execution::tests::Machine;

struct World {
    context: Context,
    machine: Arc<Mutex<Machine>>,
    client: Client,
    _database: Database,
}

impl World {
    async fn new() -> Self {
        let database = Database::start(&[testing::table("Commerce")]).await;
        let (executions, machine) = Machine {
            redrivable: true,
            ..Machine::default()
        }
        .serve();
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        Self {
            context: Context {
                orders: OrderStore::new(database.client(), "Commerce".to_owned()),
                executions,
                clock: Clock::fixed(now),
                random: Random::seeded(1),
            },
            machine,
            client: database.client(),
            _database: database,
        }
    }

    async fn stock_up(&self, sku: &str, units: u64) {
        let put = self.client.put_item().table_name("Commerce");
        let put = put
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("META".into()));
        let counters = [
            ("available", units),
            ("received", units),
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
    }

    async fn take(&self, n: u8) -> Order {
        let now = self.context.clock.now();
        let happened = testing::created("ada", "sandbox-approve", &[("tea", 1)]);
        let order = testing::order(n, &happened, now);
        let trace = TraceContext::resolve(Some(&format!("request-{n}")), None, now, [0; 10]);
        let create = self.context.orders.create(&order, &happened, now, None);
        let created = telemetry::scope(Invocation::begin(None, trace), create).await;
        assert_eq!(created.unwrap(), Created::Done);
        order
    }

    async fn reserve(&self, order: &Order) {
        let now = self.context.clock.now();
        let Decision::Change(reserve) = rules::reserve(order, now).unwrap() else {
            panic!("nothing to reserve");
        };
        let reserved = self.context.orders.commit(order, reserve, now, None).await;
        assert!(matches!(reserved.unwrap(), Committed::Done(_)));
    }

    /// Makes an order's item unreadable.
    async fn break_item_of(&self, order: &Order) {
        let update = self.client.update_item().table_name("Commerce");
        update
            .key("pk", AttributeValue::S(format!("ORDER#{}", order.id)))
            .key("sk", AttributeValue::S("META".into()))
            .update_expression("SET document = :text")
            .expression_attribute_values(":text", AttributeValue::S("{".into()))
            .send()
            .await
            .unwrap();
    }

    async fn sweep(&self) -> Report {
        let event = LambdaEvent::new(json!({}), LambdaContext::default());
        handle(&self.context, event).await.unwrap()
    }

    fn later(&self, minutes: i64) {
        self.context
            .clock
            .advance(SignedDuration::from_mins(minutes));
    }

    fn set(&self, name: &OrderId, status: &'static str) {
        let mut machine = self.machine.lock().unwrap();
        machine.executions.get_mut(name.as_str()).unwrap().1 = status;
    }
}

#[tokio::test]
async fn an_order_whose_execution_was_never_begun_is_begun_once_with_its_request_s_id() {
    let world = World::new().await;
    let order = world.take(1).await;
    assert_eq!(world.sweep().await, Report::default(), "not due yet");
    world.later(2);
    let begun = Report {
        looked_at: 1,
        started: 1,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, begun);
    assert_eq!(world.sweep().await, Report::default(), "seen to");
    let machine = world.machine.lock().unwrap();
    let (input, _) = &machine.executions[order.id.as_str()];
    assert_eq!(input["correlation_id"], "request-1");
}

#[tokio::test]
async fn an_execution_at_work_is_left_alone_and_a_failed_one_goes_on() {
    let world = World::new().await;
    let order = world.take(1).await;
    world.context.executions.begin(&order).await.unwrap();
    world.later(2);
    let left = Report {
        looked_at: 1,
        postponed: 1,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, left);
    world.set(&order.id, "FAILED");
    world.later(5);
    let begun = Report {
        looked_at: 1,
        started: 1,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, begun);
    world.later(60);
    let overdue = Report { overdue: 1, ..left };
    assert_eq!(world.sweep().await, overdue);
}

#[tokio::test]
async fn a_reservation_that_ran_out_before_payment_is_given_up_with_its_stock() {
    let world = World::new().await;
    world.stock_up("tea", 3).await;
    let order = world.take(1).await;
    world.reserve(&order).await;
    world.later(14);
    assert_eq!(world.sweep().await, Report::default(), "it holds");
    world.later(1);
    let expired = Report {
        looked_at: 1,
        expired: 1,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, expired);
    let order = world.context.orders.get(&order.id).await.unwrap().unwrap();
    assert_eq!(
        (order.status, order.saga),
        (Status::Cancelled, Saga::Compensated)
    );
    let stocks = shared::stock::store::StockStore::new(world.client.clone(), "Commerce".into());
    let stock = stocks
        .get(&"tea".parse::<Sku>().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stock.available, stock.reserved), (3, 0));
    assert!(world.machine.lock().unwrap().executions.is_empty());
    world.later(99);
    assert_eq!(world.sweep().await, Report::default());
}

#[tokio::test]
async fn what_cannot_be_seen_to_stops_nothing_else_and_is_tried_again() {
    let world = World::new().await;
    let orders = [world.take(1).await, world.take(2).await];
    world.break_item_of(&orders[0]).await;
    world.later(2);
    world.machine.lock().unwrap().down = true;
    let failed = Report {
        looked_at: 2,
        failed: 2,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, failed);
    world.machine.lock().unwrap().down = false;
    let begun = Report {
        looked_at: 2,
        started: 1,
        failed: 1,
        ..Report::default()
    };
    world.later(6);
    assert_eq!(world.sweep().await, begun);
    assert_eq!(world.machine.lock().unwrap().executions.len(), 1);
    assert_eq!(
        world.sweep().await,
        Report::default(),
        "the unreadable one is left alone for a while"
    );
}

#[tokio::test]
async fn every_due_order_is_looked_at_however_many_fail_before_it() {
    let world = World::new().await;
    let (failing, all) = (ORDERS_AT_ONCE + 10, 2 * ORDERS_AT_ONCE);
    for n in 0..all {
        let order = world.take(u8::try_from(n).unwrap()).await;
        world.context.clock.advance(SignedDuration::from_millis(1));
        if n < failing {
            world.break_item_of(&order).await;
        }
    }
    world.later(2);
    let report = Report {
        looked_at: all,
        failed: failing,
        started: all - failing,
        ..Report::default()
    };
    assert_eq!(world.sweep().await, report);
}
