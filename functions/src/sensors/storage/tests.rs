use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aws_sdk_dynamodb::config::retry::RetryConfig;
use serde_json::{Value, json};
use shared::{
    platform::table::TableError,
    sensors::{
        batch::MOST_MESSAGE_BYTES,
        readings::{Reading, Readings},
    },
    testing::{Database, Table, answering},
};
use uuid::Uuid;

use super::*;

/// 2026-11-20T16:00:00Z.
const NOW: i64 = 1_795_190_400_000;

const HOUR_MS: i64 = 3_600_000;

/// What became of messages that failed.
#[derive(Debug, Default)]
struct Failed {
    buried: Mutex<Vec<(String, String)>>,
}

impl FailedMessages for Failed {
    async fn bury(&self, message: &SqsMessage, reason: &str) -> bool {
        let id = message.message_id.clone().unwrap();
        self.buried.lock().unwrap().push((id, reason.to_owned()));
        true
    }

    async fn hide(&self, _: &SqsMessage, _: u32) {}
}

fn context(client: aws_sdk_dynamodb::Client) -> Context<Failed> {
    Context {
        store: SensorStore::new(client, "Sensors".to_owned()),
        failed: Failed::default(),
        retention: RawRetention::new(90).unwrap(),
        clock: Clock::fixed(Timestamp::from_millisecond(NOW).unwrap()),
        random: Random::seeded(1),
        noted: Noted::default(),
    }
}

async fn database() -> Database {
    Database::start(&[Table::new("Sensors")]).await
}

/// A table that refuses some writes, by their key, with an error code, and remembers the others.
#[derive(Debug, Clone, Default)]
struct Choosy(Arc<Mutex<Vec<(String, String)>>>);

impl Choosy {
    fn client(
        &self,
        refuses: impl Fn(&str, &str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> aws_sdk_dynamodb::Client {
        let written = self.0.clone();
        let http = answering(move |request| {
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let items = match body["RequestItems"]["Sensors"].as_array() {
                Some(puts) => puts.iter().map(|put| &put["PutRequest"]["Item"]).collect(),
                None => vec![&body["Item"]],
            };
            let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap().to_owned();
            let keys: Vec<_> = items
                .iter()
                .map(|item| (text(item, "pk"), text(item, "sk")))
                .collect();
            let refusal = keys.iter().find_map(|(pk, sk)| refuses(pk, sk));
            let (status, body) = if let Some(code) = refusal {
                (400, json!({"__type": code, "message": "no"}))
            } else {
                written.lock().unwrap().extend(keys);
                (200, json!({}))
            };
            let answer = http::Response::builder().status(status);
            answer.body(body.to_string()).unwrap()
        });
        let client = Connection::to_emulator("http://127.0.0.1:1", http).dynamodb();
        let once = client
            .config()
            .to_builder()
            .retry_config(RetryConfig::disabled());
        aws_sdk_dynamodb::Client::from_conf(once.build())
    }

    /// Takes the keys written so far in a partition that begins so.
    fn take(&self, partition: &str) -> Vec<String> {
        let mut written = self.0.lock().unwrap();
        let of = |(pk, _): &mut (String, String)| pk.starts_with(partition);
        let mut keys: Vec<_> = written.extract_if(.., of).map(|(_, sk)| sk).collect();
        keys.sort();
        keys
    }
}

/// Messages with a reading of a device at each of the times.
fn messages(device: &str, times: impl IntoIterator<Item = i64>) -> Vec<String> {
    let mut readings = Readings::default();
    for timestamp in times {
        readings.push(Reading {
            device,
            metric: "value",
            timestamp,
            value: 21.5,
            is_valid: true,
            unit: "",
            metadata: "",
        });
    }
    let batch = Batch {
        id: Uuid::nil(),
        arrived: NOW,
        readings,
    };
    batch.encode_messages(MOST_MESSAGE_BYTES).unwrap()
}

/// Delivers messages to a run that has until `deadline`; those that come again, by number.
async fn deliver(context: &Context<Failed>, bodies: &[String], deadline: i64) -> Vec<String> {
    let records: Vec<_> = (0..)
        .zip(bodies)
        .map(|(id, body): (u32, _)| json!({"messageId": id.to_string(), "body": body}))
        .collect();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).unwrap();
    let mut lambda = lambda_runtime::Context::default();
    lambda.deadline = deadline.try_into().unwrap();
    let response = Box::pin(handle(context, LambdaEvent::new(event, lambda))).await;
    let failures = response.unwrap().batch_item_failures;
    failures.into_iter().map(|f| f.item_identifier).collect()
}

/// Plenty of time.
const LATER: i64 = NOW + 60_000;

async fn stored(context: &Context<Failed>, device: &str, time: i64) -> usize {
    let (device, hour) = (device.parse().unwrap(), Hour::of(time));
    let chunks = context.store.hour_chunks(&device, hour, NOW);
    chunks.await.unwrap().union.len()
}

/// What the log's part for `lane` says was touched, and is due.
async fn logged(context: &Context<Failed>, lane: Lane) -> Vec<Touched> {
    let mut touched = Vec::new();
    for shard in lane.shards() {
        for entry in context.store.due(shard, NOW, 100).await.unwrap() {
            touched.extend(entry.touched.unwrap());
        }
    }
    touched
}

#[tokio::test]
async fn a_message_that_holds_no_batch_is_buried_and_the_others_are_stored() {
    let database = database().await;
    let context = context(database.client());
    let bodies = [
        messages("a", [NOW]).remove(0),
        "no batch".to_owned(),
        messages("b", [NOW]).remove(0),
    ];
    assert!(deliver(&context, &bodies, LATER).await.is_empty());
    let buried = context.failed.buried.lock().unwrap().clone();
    let reason = "the message is not base64".to_owned();
    assert_eq!(buried, [("1".to_owned(), reason)]);
    for device in ["a", "b"] {
        assert_eq!(stored(&context, device, NOW).await, 1);
    }
    assert_eq!(logged(&context, Lane::Live).await.len(), 2);
}

#[tokio::test]
async fn messages_for_which_no_time_is_left_come_again_and_the_others_are_stored() {
    let database = database().await;
    let context = context(database.client());
    let hours = |count: i64| (1..=count).map(|hour| NOW - (100 + hour) * HOUR_MS);
    let bodies = messages("a", hours(6_001));
    assert_eq!(bodies.len(), 4);
    assert_eq!(deliver(&context, &bodies, NOW + MARGIN).await, ["3"]);
    let oldest = NOW - (100 + 6_001) * HOUR_MS;
    assert_eq!(stored(&context, "a", oldest).await, 0);
    assert_eq!(stored(&context, "a", oldest + HOUR_MS).await, 1);
    let again = &bodies[3..];
    assert!(deliver(&context, again, NOW + MARGIN).await.is_empty());
    assert_eq!(stored(&context, "a", oldest).await, 1);
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_does_not_take_its_group_with_it() {
    let table = Choosy::default();
    let refuses = |pk: &str, _: &str| pk.starts_with("RAW#bad#").then_some("ValidationException");
    let context = context(table.client(refuses));
    let bodies = ["a", "bad", "b"].map(|device| messages(device, [NOW]).remove(0));
    assert!(deliver(&context, &bodies, LATER).await.is_empty());
    let buried = context.failed.buried.lock().unwrap().clone();
    let [(id, reason)] = &buried[..] else {
        panic!("one is buried: {buried:?}");
    };
    assert_eq!(id, "1");
    assert!(reason.contains("ValidationException"), "{reason}");
    assert_eq!(table.take("RAW#").len(), 2);
    assert!(!table.take("DIRTY#").is_empty());
}

#[tokio::test]
async fn a_table_that_is_busy_brings_every_message_back() {
    let table = Choosy::default();
    let busy = |_: &str, _: &str| Some("ProvisionedThroughputExceededException");
    let context = context(table.client(busy));
    let bodies = ["a", "b"].map(|device| messages(device, [NOW]).remove(0));
    assert_eq!(deliver(&context, &bodies, LATER).await, ["0", "1"]);
    assert!(context.failed.buried.lock().unwrap().is_empty());
}

#[tokio::test]
async fn closings_are_noted_again_when_the_entry_after_them_failed_and_once_otherwise() {
    let table = Choosy::default();
    let is_first = AtomicBool::new(true);
    let due_now = format!("{NOW:015}#");
    let context = context(table.client(move |pk, sk| {
        let is_it = pk.starts_with("DIRTY#") && sk.starts_with(&due_now);
        (is_it && is_first.swap(false, Ordering::SeqCst)).then_some("InternalServerError")
    }));
    let dues = |keys: Vec<String>| -> Vec<i64> {
        let due = |key: String| key.split_once('#').unwrap().0.parse().unwrap();
        keys.into_iter().map(due).collect()
    };
    let touched = Touched {
        device: "a".parse().unwrap(),
        metric: "value".parse().ok(),
        hour: Hour::of(NOW),
    };
    let closings: Vec<i64> = closings(&[touched], NOW).into_keys().collect();
    assert_eq!(closings.len(), 2, "its hour and its day");

    let bodies = messages("a", [NOW]);
    assert_eq!(deliver(&context, &bodies, LATER).await, ["0"]);
    assert_eq!(dues(table.take("DIRTY#")), closings);
    assert!(deliver(&context, &bodies, LATER).await.is_empty());
    assert_eq!(dues(table.take("DIRTY#")), [&[NOW], &closings[..]].concat());
    let more = messages("a", [NOW + 1]);
    assert!(deliver(&context, &more, LATER).await.is_empty());
    assert_eq!(dues(table.take("DIRTY#")), [NOW]);
}

#[tokio::test]
async fn history_is_logged_behind_what_is_new() {
    let database = database().await;
    let context = context(database.client());
    let old = NOW - 1000 * HOUR_MS;
    let bodies = messages("a", [old, NOW]);
    assert!(deliver(&context, &bodies, LATER).await.is_empty());
    let hours = async |lane| -> Vec<Hour> {
        let touched = logged(&context, lane).await;
        touched.iter().map(|touched| touched.hour).collect()
    };
    assert_eq!(hours(Lane::Live).await, [Hour::of(NOW)]);
    assert_eq!(hours(Lane::Backlog).await, [Hour::of(old)]);
}

#[test]
fn only_a_failure_that_may_pass_brings_a_message_back() {
    let table = StorageError::from(StoreError::from(TableError::malformed("chunk", "frame")));
    for error in [table, ChunkError::TooMany.into()] {
        assert!(matches!(error.into(), Failure::Permanent { .. }));
    }
}
