//! The queue of what orders bring in.

use std::collections::{BTreeMap, BTreeSet};

use functions::sales::order_revenue::{Context, handle};
use jiff::{Timestamp, civil::date};
use lambda_runtime::LambdaEvent;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shared::{
    platform::{
        aws::{Connection, http_client},
        batch,
        clock::Clock,
        ids::Random,
    },
    sales::order_revenue::store::OrderRevenueStore,
    testing::{Database, Table},
};

use super::{
    poison::{self, Poison},
    refusals::{KINDS, Met, Trouble},
    sqs::{Delivery, Sqs},
};
use crate::support::gauntlet;

const CHECK: &str = "queues: OrderRevenueQueue";
const DAYS: [&str; 4] = ["2025-12-31", "2026-01-01", "2026-11-20", "2026-11-21"];

/// Calls of a run among which the one is that goes wrong.
const CALLS: u32 = 4;

/// An event of an order that brings money in, or takes it away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moved {
    order: String,
    sequence: u32,
    day: usize,
    kind: &'static str,
    hundredths: u32,
    currency: &'static str,
    lines: Option<u32>,
}

impl Moved {
    /// As the bus delivers it.
    fn body(&self) -> String {
        let digits = format!("{:03}", self.hundredths);
        let (whole, fraction) = digits.split_at(digits.len() - 2);
        let amount = json!({"amount": format!("{whole}.{fraction}"), "currency": self.currency});
        let mut data = json!({ "amount": amount });
        match (self.kind, self.lines) {
            ("order.paid", lines) => data["lines"] = json!(lines),
            (_, lines) => {
                let id = lines.map_or(format!("r-{}", self.sequence), |_| "cancellation".into());
                data["refund_id"] = json!(id);
                data["lines"] = json!(lines);
            }
        }
        let time = format!("{}T{:02}:00:00.000Z", DAYS[self.day], self.sequence % 24);
        delivery(self.kind, &self.order, self.sequence, &time, &data)
    }
}

fn delivery(kind: &str, order: &str, sequence: u32, time: &str, data: &Value) -> String {
    let detail = json!({
        "specversion": "1.0", "id": format!("order:{order}:{sequence}"), "source": "/millrace/orders",
        "type": kind, "subject": order, "time": time, "datacontenttype": "application/json",
        "data": data, "sequence": sequence.to_string(), "sequencetype": "Integer",
        "correlationid": format!("c-{order}"),
    });
    json!({
        "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "detail-type": kind,
        "source": "millrace.orders", "account": "123456789012", "time": time, "region": "us-east-1",
        "resources": [], "detail": detail,
    })
    .to_string()
}

/// What happens to as many orders.
fn history(random: &Random, events: usize) -> Vec<Moved> {
    let mut moved = Vec::new();
    while moved.len() < events {
        let order = format!("ORD-20261120-{:08}", moved.len());
        let lines = 1 + random.up_to(4);
        let currency = if random.up_to(19) == 0 { "USD" } else { "SGD" };
        let hundredths = random.up_to(10_000_000);
        let day = random.up_to(3) as usize;
        let paid = Moved {
            order,
            sequence: 6,
            day,
            kind: "order.paid",
            hundredths,
            currency,
            lines: Some(lines),
        };
        let refund = |sequence: u32, hundredths, lines| Moved {
            sequence,
            day: random.up_to(3) as usize,
            kind: "order.refunded",
            hundredths,
            lines,
            ..paid.clone()
        };
        match random.up_to(4) {
            0 => moved.push(refund(9, hundredths, Some(lines))),
            1 => {
                moved.push(refund(11, hundredths / 3, None));
                moved.push(refund(13, hundredths / 7, None));
            }
            _ => {}
        }
        moved.push(paid);
    }
    moved
}

/// Hundredths, orders and rows by day, of the distinct events.
fn reference(moved: &[Moved]) -> BTreeMap<String, (i64, i64, i64)> {
    let mut days = BTreeMap::new();
    for one in moved.iter().filter(|one| one.currency == "SGD") {
        let sign = if one.kind == "order.paid" { 1 } else { -1 };
        let day: &mut (i64, i64, i64) = days.entry(DAYS[one.day].to_owned()).or_default();
        day.0 += sign * i64::from(one.hundredths);
        day.1 += sign * i64::from(one.lines.is_some());
        day.2 += sign * i64::from(one.lines.unwrap_or(0));
    }
    days
}

/// Poison that looks more like events than the common one.
fn near_misses() -> Vec<Poison> {
    const ORDER: &str = "ORD-20261120-7K3M9Q2D";
    const TIME: &str = "2026-11-20T10:00:00.000Z";
    let data = json!({"amount": {"amount": "1.00", "currency": "SGD"}, "lines": 1});
    let with = |pointer: &str, value: Value| {
        let body = delivery("order.paid", ORDER, 6, TIME, &data);
        let mut body: Value = serde_json::from_str(&body).unwrap();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    let bodies = [
        with("/detail/specversion", json!("0.3")),
        with("/detail/sequence", json!("7")),
        with("/detail/id", json!("stock:ORD-20261120-7K3M9Q2D:6")),
        with("/detail/type", json!("order.shipped")),
        with("/detail/time", json!("2026-02-30T10:00:00Z")),
        with("/detail/data", json!({})),
        with("/detail/data/amount/amount", json!("-1.00")),
        with("/detail/data/amount/amount", json!(1.5)),
        with("/detail/data/amount/amount", json!("1e3")),
        with("/detail/data/amount/amount", json!("9".repeat(29))),
        with("/detail/data/amount/currency", json!("XXX")),
        with("/detail/data/lines", json!(-1)),
        // An order's number that no table takes as a key.
        delivery("order.paid", &"x".repeat(2_500), 6, TIME, &data),
    ];
    bodies.map(|body| (body, true)).to_vec()
}

#[tokio::test]
async fn what_orders_bring_in_is_counted_once_however_it_comes_and_poison_alone_is_set_aside() {
    let clock = Clock::fixed(Timestamp::constant(1_795_190_400, 0));
    let sqs = Sqs::of("OrderRevenueQueue", &clock);
    let random = sqs.random.clone();
    let database = Database::start(&[Table::new("Sales")]).await;
    let moved = history(&random, gauntlet::sized(300, 3_000));
    let distinct: BTreeSet<&Moved> = moved.iter().collect();
    assert_eq!(distinct.len(), moved.len());
    let mut messages: Vec<String> = moved.iter().map(Moved::body).collect();
    // The bus has an event twice where its relay was cut off.
    let twice = messages.iter().step_by(20).cloned().collect::<Vec<_>>();
    messages.extend(twice);
    let kinds = [poison::common(), near_misses()].concat();
    let poison = poison::fill(&sqs, messages, &kinds);

    let process = |trouble: &Trouble| -> Context<batch::Queues> {
        let http = trouble.over(http_client(Some(database.endpoint())));
        let aws = Connection::to_emulator(database.endpoint(), http);
        Context {
            store: OrderRevenueStore::new(aws.dynamodb(), "Sales".into()),
            failed: sqs.failed(),
            clock: clock.clone(),
            random: random.clone(),
        }
    };
    let met = Met::default();
    let warm = process(&Trouble::none());
    sqs.drain(async |delivery: Delivery| {
        let event = serde_json::from_value(delivery.event).unwrap();
        let event = LambdaEvent::new(event, lambda_runtime::Context::default());
        if !delivery.is_disturbed {
            let reply = Box::pin(handle(&warm, event)).await;
            return Some(json!(reply.unwrap()));
        }
        let trouble = met.pick(&random, CALLS);
        let process = process(&trouble);
        let reply = trouble.survive(Box::pin(handle(&process, event))).await;
        met.count(&trouble);
        reply.map(|reply| json!(reply.unwrap()))
    })
    .await;

    sqs.account(&poison);
    met.report(CHECK, &KINDS);
    let totals = warm
        .store
        .totals(date(2025, 1, 1), date(2026, 12, 31))
        .await;
    let found: BTreeMap<_, _> = totals
        .unwrap()
        .into_iter()
        .map(|day| (day.date.to_string(), (day.revenue, day.orders, day.rows)))
        .collect();
    let expected: BTreeMap<_, _> = reference(&moved)
        .into_iter()
        .map(|(day, (hundredths, orders, rows))| (day, (Decimal::new(hundredths, 2), orders, rows)))
        .collect();
    assert_eq!(found, expected, "GAUNTLET_SEED={}", gauntlet::seed());
    let sum: Decimal = expected.values().map(|(revenue, ..)| *revenue).sum();
    gauntlet::figure(CHECK, "events", moved.len());
    gauntlet::figure(CHECK, "revenue found = revenue expected (SGD)", sum);
}
