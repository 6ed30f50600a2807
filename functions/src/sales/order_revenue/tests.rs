use std::sync::Mutex;

use jiff::{Timestamp, civil::date};
use serde_json::{Value, json};
use shared::testing::{Database, Table, answering};

use super::*;

/// What became of messages that failed.
#[derive(Debug, Default)]
struct Failed(Mutex<Vec<(String, String)>>);

impl FailedMessages for Failed {
    async fn bury(&self, message: &SqsMessage, reason: &str) -> bool {
        let id = message.message_id.clone().unwrap();
        self.0.lock().unwrap().push((id, reason.to_owned()));
        true
    }

    async fn hide(&self, _: &SqsMessage, _: u32) {}
}

fn context(client: aws_sdk_dynamodb::Client) -> Context<Failed> {
    Context {
        store: OrderRevenueStore::new(client, "Sales".into()),
        failed: Failed::default(),
        clock: Clock::fixed(Timestamp::constant(1_795_190_400, 0)),
        random: Random::seeded(1),
    }
}

fn delivery(sequence: u64, kind: &str, day: &str, data: &Value) -> String {
    let (source, order) = ("/millrace/orders", "ORD-20261120-7K3M9Q2D");
    json!({
        "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "detail-type": kind,
        "source": "millrace.orders", "account": "123456789012", "time": "2026-11-20T16:00:01Z",
        "region": "us-east-1", "resources": [],
        "detail": {
            "specversion": "1.0", "id": format!("order:{order}:{sequence}"), "source": source, "type": kind,
            "subject": order, "time": format!("{day}T16:00:00.000Z"), "datacontenttype": "application/json",
            "data": data, "sequence": sequence.to_string(), "sequencetype": "Integer", "correlationid": "c-1",
        },
    })
    .to_string()
}

fn amount(amount: &str, currency: &str) -> Value {
    json!({"amount": amount, "currency": currency})
}

fn paid(sequence: u64, day: &str, paid: &str) -> String {
    delivery(
        sequence,
        "order.paid",
        day,
        &json!({"amount": amount(paid, "SGD"), "lines": 2}),
    )
}

async fn run(context: &Context<Failed>, bodies: &[String]) -> Vec<String> {
    let records: Vec<_> = (0..)
        .zip(bodies)
        .map(|(n, body)| json!({"messageId": n.to_string(), "receiptHandle": "r", "body": body}))
        .collect();
    let event = serde_json::from_value(json!({"Records": records})).unwrap();
    let event = LambdaEvent::new(event, lambda_runtime::Context::default());
    let response = Box::pin(handle(context, event)).await.unwrap();
    let failures = response.batch_item_failures.into_iter();
    failures.map(|failure| failure.item_identifier).collect()
}

#[tokio::test]
async fn a_batch_is_counted_by_day_and_what_cannot_be_is_put_aside_with_its_reason() {
    let database = Database::start(&[Table::new("Sales")]).await;
    let context = context(database.client());
    let refund = json!({"refund_id": "r-1", "amount": amount("4.88", "SGD")});
    let cancelled = json!({"refund_id": "cancellation", "amount": amount("1", "SGD"), "lines": 2});
    let batch = [
        paid(6, "2026-11-20", "34.88"),
        delivery(9, "order.refunded", "2026-11-21", &refund),
        delivery(
            6,
            "order.paid",
            "2026-11-20",
            &json!({"amount": amount("1", "USD"), "lines": 1}),
        ),
        "{}".to_owned(),
        paid(6, "2026-11-20", "34.88"),
        paid(16, "2026-11-20", "1"),
        delivery(19, "order.refunded", "2026-11-21", &cancelled),
    ];
    for _ in 0..2 {
        assert_eq!(Box::pin(run(&context, &batch)).await, [""; 0]);
    }
    let totals = context
        .store
        .totals(date(2026, 11, 1), date(2026, 11, 30))
        .await
        .unwrap();
    let shown: Vec<_> = totals
        .iter()
        .map(|day| {
            (
                day.date.day(),
                day.revenue.to_string(),
                day.orders,
                day.rows,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (20, "35.88".to_owned(), 2, 4),
            (21, "-5.88".to_owned(), -1, -2)
        ]
    );
    let buried = context.failed.0.lock().unwrap();
    let buried: Vec<_> = buried
        .iter()
        .map(|(id, reason)| (id.as_str(), reason.as_str()))
        .collect();
    let unreadable = ("3", "not a CloudEvent");
    assert_eq!(
        buried, [unreadable; 2],
        "another currency is no fault of the event"
    );
}

#[tokio::test]
async fn an_event_that_no_table_takes_is_put_aside_alone() {
    let database = Database::start(&[Table::new("Sales")]).await;
    let context = context(database.client());
    let good = paid(6, "2026-11-20", "1");
    let endless = good.replace("ORD-20261120-7K3M9Q2D", &"x".repeat(2_500));
    let batch = [good, endless, paid(16, "2026-11-20", "2")];
    assert_eq!(Box::pin(run(&context, &batch)).await, [""; 0]);
    let (buried, day) = (context.failed.0.lock().unwrap().clone(), date(2026, 11, 20));
    assert_eq!(buried.len(), 1, "{buried:?}");
    assert_eq!(buried[0].0, "1");
    let totals = context.store.totals(day, day).await.unwrap();
    assert_eq!(
        (totals[0].revenue.to_string(), totals[0].orders),
        ("3".into(), 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_down_brings_its_messages_again_and_they_count_then() {
    let down = answering(|_| {
        http::Response::builder()
            .status(500)
            .body(String::new())
            .unwrap()
    });
    let client = Connection::to_emulator("http://127.0.0.1:9", down).dynamodb();
    let batch = [paid(6, "2026-11-20", "1"), "{}".to_owned()];
    assert_eq!(Box::pin(run(&context(client), &batch)).await, ["0"]);
}
