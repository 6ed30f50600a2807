use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use shared::{
    events::model::Aggregate,
    platform::{aws::Connection, table::Table},
    testing::answering,
};

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOW: i64 = 1_795_204_103_193;

/// A bus and a poison queue: each entry whose id is in `troubles` gets these answers first.
#[derive(Clone, Default)]
struct Aws {
    troubles: Arc<Mutex<HashMap<String, Vec<&'static str>>>>,
    deaf_queue: bool,
    calls: Arc<Mutex<Vec<Vec<String>>>>,
    bus: Arc<Mutex<Vec<String>>>,
    entries: Arc<Mutex<Vec<Value>>>,
    poison: Arc<Mutex<Vec<Value>>>,
}

impl Aws {
    fn with(troubles: &[(&str, &[&'static str])]) -> Self {
        let aws = Self::default();
        *aws.troubles.lock().unwrap() = troubles
            .iter()
            .map(|(id, answers)| ((*id).to_owned(), answers.iter().rev().copied().collect()))
            .collect();
        aws
    }

    fn put(&self, entry: &Value) -> Value {
        let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        let id = detail["id"].as_str().unwrap().to_owned();
        if let Some(code) = self
            .troubles
            .lock()
            .unwrap()
            .get_mut(&id)
            .and_then(Vec::pop)
        {
            return json!({"ErrorCode": code, "ErrorMessage": "no"});
        }
        self.entries.lock().unwrap().push(entry.clone());
        self.bus.lock().unwrap().push(id.clone());
        json!({ "EventId": id })
    }

    fn answer(&self, target: &str, body: &Value) -> (u16, Value) {
        if target.ends_with("SendMessage") {
            if self.deaf_queue {
                return (400, json!({"__type": "AccessDenied"}));
            }
            let message = body["MessageBody"].as_str().unwrap();
            let mut poison = self.poison.lock().unwrap();
            poison.push(serde_json::from_str(message).unwrap());
            return (200, json!({"MessageId": "m"}));
        }
        assert_eq!(target, "AWSEvents.PutEvents");
        let entries = body["Entries"].as_array().unwrap();
        let size = |entry: &Value| {
            let length = |name: &str| entry[name].as_str().unwrap().len();
            14 + length("Source") + length("DetailType") + length("Detail")
        };
        assert!(entries.len() <= 10 && entries.iter().map(size).sum::<usize>() <= 262_144);
        let results: Vec<_> = entries.iter().map(|entry| self.put(entry)).collect();
        let ids = entries.iter().map(|entry| {
            let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
            detail["id"].as_str().unwrap().to_owned()
        });
        self.calls.lock().unwrap().push(ids.collect());
        let failed = results
            .iter()
            .filter(|r| r["ErrorCode"].is_string())
            .count();
        (200, json!({"FailedEntryCount": failed, "Entries": results}))
    }

    fn context(&self) -> Context {
        let aws = self.clone();
        let http = answering(move |request| {
            let target = request.headers()["x-amz-target"].to_str().unwrap();
            let body = request.body().bytes().unwrap();
            let (status, answer) = aws.answer(target, &serde_json::from_slice(body).unwrap());
            let response = http::Response::builder().status(status);
            response.body(answer.to_string()).unwrap()
        });
        let connection = Connection::to_emulator("http://127.0.0.1:1", http);
        Context {
            eventbridge: connection.eventbridge(),
            bus: EventBus::new("millrace-test"),
            sqs: connection.sqs(),
            poison: EventPoison::new("http://127.0.0.1:1/poison"),
            clock: Clock::fixed(Timestamp::from_millisecond(NOW).unwrap()),
            random: Random::seeded(1),
        }
    }

    fn bus(&self) -> Vec<String> {
        self.bus.lock().unwrap().clone()
    }

    fn poison(&self) -> Vec<Value> {
        self.poison.lock().unwrap().clone()
    }
}

fn event(order: &str, sequence: u64) -> Event {
    let at = Timestamp::from_millisecond(NOW).unwrap();
    let data = json!({"sequence": sequence});
    Event::new(
        Aggregate::Order,
        order,
        sequence,
        "order.reserved",
        at,
        data,
    )
}

/// The record by which the stream tells of `event`, as the table would hold it.
fn record(event: &Event, number: usize) -> Value {
    let connection = Connection::to_emulator("http://127.0.0.1:1", answering(|_| unreachable!()));
    let table = Table::new(connection.dynamodb(), "Commerce".to_owned());
    let put = store::append(&table, event).unwrap().put.unwrap();
    let image: HashMap<_, _> = put
        .item
        .into_iter()
        .map(|(name, value)| (name, json!({"S": value.as_s().unwrap()})))
        .collect();
    json!({
        "eventID": format!("e{number}"), "eventName": "INSERT", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_204_103.0,
            "Keys": {"pk": image["pk"], "sk": image["sk"]}, "NewImage": image,
            "SequenceNumber": number.to_string(), "SizeBytes": 1,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    })
}

fn records(events: &[Event]) -> Vec<Value> {
    let records = events.iter().enumerate();
    records.map(|(at, event)| record(event, 100 + at)).collect()
}

async fn run(
    aws: &Aws,
    records: Vec<Value>,
) -> Result<DynamoDbEventResponse, MissingSequenceNumber> {
    run_until(aws, records, NOW + 60_000).await
}

async fn run_until(
    aws: &Aws,
    records: Vec<Value>,
    deadline: i64,
) -> Result<DynamoDbEventResponse, MissingSequenceNumber> {
    let mut lambda = lambda_runtime::Context::default();
    lambda.deadline = u64::try_from(deadline).unwrap();
    let batch = serde_json::from_value(json!({ "Records": records })).unwrap();
    handle(&aws.context(), LambdaEvent::new(batch, lambda)).await
}

async fn failed(aws: &Aws, events: &[Event]) -> Option<String> {
    let mut response = run(aws, records(events)).await.unwrap();
    assert!(response.batch_item_failures.len() <= 1);
    response.batch_item_failures.pop()?.item_identifier
}

#[tokio::test]
async fn an_event_goes_onto_the_bus_as_a_cloud_event() {
    let aws = Aws::default();
    let mut event = event("A", 3).with_private(json!({"note": "ring twice"}));
    event.trace_parent = Some(PARENT.parse().unwrap());
    event.correlation_id = Some("abc".parse().unwrap());
    assert_eq!(failed(&aws, &[event.clone()]).await, None);
    let entry = aws.entries.lock().unwrap()[0].clone();
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    event.private = None;
    assert_eq!(cloud_event::parse(&detail).unwrap(), event);
    insta::assert_json_snapshot!(entry, { ".Detail" => "[the event]" }, @r#"
    {
      "Detail": "[the event]",
      "DetailType": "order.reserved",
      "EventBusName": "millrace-test",
      "Source": "millrace.orders",
      "Time": 1795204103.193
    }
    "#);
}

#[tokio::test]
async fn a_batch_that_is_relayed_answers_an_empty_list() {
    let response = run(&Aws::default(), records(&[event("A", 1)]))
        .await
        .unwrap();
    insta::assert_json_snapshot!(response, @r#"
    {
      "batchItemFailures": []
    }
    "#);
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_reported_and_only_it() {
    let aws = Aws::with(&[
        ("order:B:1", &["ThrottlingException"; 4]),
        ("order:C:1", &["InternalFailure"; 4]),
    ]);
    let events = [event("A", 1), event("B", 1), event("C", 1), event("D", 1)];
    let response = run(&aws, records(&events)).await.unwrap();
    insta::assert_json_snapshot!(response, @r#"
    {
      "batchItemFailures": [
        {
          "itemIdentifier": "101"
        }
      ]
    }
    "#);
    assert_eq!(aws.bus(), ["order:A:1", "order:D:1"]);
    assert_eq!(aws.poison(), Vec::<Value>::new());
}

#[tokio::test]
async fn only_new_items_that_are_events_are_relayed() {
    let aws = Aws::default();
    let mut records = records(&[event("A", 1), event("A", 2), event("A", 3), event("A", 4)]);
    records[0]["eventName"] = json!("REMOVE");
    records[1]["eventName"] = json!("MODIFY");
    records[2]["dynamodb"]["Keys"]["sk"] = json!({"S": "META"});
    run(&aws, records).await.unwrap();
    assert_eq!(aws.bus(), ["order:A:4"]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_fails_for_a_while_is_sent_again_before_what_follows_it() {
    let aws = Aws::with(&[("order:A:1", &["ThrottlingException"; 3])]);
    let events = [event("A", 1), event("A", 2), event("B", 1), event("A", 3)];
    assert_eq!(failed(&aws, &events).await, None);
    assert_eq!(
        aws.bus(),
        ["order:B:1", "order:A:1", "order:A:2", "order:A:3"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_aggregate_whose_entry_failed_holds_back_what_follows_it() {
    let aws = Aws::with(&[("order:A:2", &["AccessDeniedException"; 4])]);
    let events = [event("A", 1), event("A", 2), event("B", 1), event("A", 3)];
    assert_eq!(failed(&aws, &events).await.as_deref(), Some("101"));
    assert_eq!(aws.bus(), ["order:A:1", "order:B:1"]);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_takes_nothing_has_everything_come_again() {
    let deaf = answering(|_| {
        let response = http::Response::builder().status(400);
        response
            .body(r#"{"__type":"AccessDenied"}"#.to_owned())
            .unwrap()
    });
    let connection = Connection::to_emulator("http://127.0.0.1:1", deaf);
    let context = Context {
        eventbridge: connection.eventbridge(),
        ..Aws::default().context()
    };
    let batch = json!({"Records": records(&[event("A", 1), event("A", 2)])});
    let mut lambda = lambda_runtime::Context::default();
    lambda.deadline = u64::MAX;
    let event = LambdaEvent::new(serde_json::from_value(batch).unwrap(), lambda);
    let response = handle(&context, event).await.unwrap();
    let failure = response.batch_item_failures[0].item_identifier.as_deref();
    assert_eq!(failure, Some("100"));
}

#[tokio::test]
async fn what_can_never_be_relayed_is_told_to_the_poison_queue_and_the_rest_goes_on() {
    let aws = Aws::with(&[("order:B:1", &["MalformedDetail"])]);
    let large = Event {
        data: json!("x".repeat(MOST_BYTES)),
        ..event("C", 1)
    };
    let mut records = records(&[
        event("A", 1),
        event("B", 1),
        large,
        event("A", 2),
        event("B", 2),
    ]);
    records[0]["dynamodb"]["NewImage"]["data"] = json!({"S": "{"});
    let response = run(&aws, records).await.unwrap();
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(aws.bus(), ["order:A:2", "order:B:2"]);
    let mut poison = aws.poison();
    poison.sort_by_key(|message| message["sequence_number_first"].to_string());
    insta::assert_json_snapshot!(poison, @r#"
    [
      {
        "event": {
          "pk": "ORDER#A",
          "sk": "EV#0000000001"
        },
        "event_source_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
        "reason": "attribute data of ORDER#A cannot be read",
        "sequence_number_first": "100",
        "sequence_number_last": "100"
      },
      {
        "event": {
          "pk": "ORDER#B",
          "sk": "EV#0000000001"
        },
        "event_source_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
        "reason": "the event bus answered MalformedDetail",
        "sequence_number_first": "101",
        "sequence_number_last": "101"
      },
      {
        "event": {
          "pk": "ORDER#C",
          "sk": "EV#0000000001"
        },
        "event_source_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
        "reason": "event has 262412 bytes on the bus, 262144 are allowed",
        "sequence_number_first": "102",
        "sequence_number_last": "102"
      }
    ]
    "#);
}

#[tokio::test]
async fn poison_that_cannot_be_told_of_comes_again() {
    let aws = Aws {
        deaf_queue: true,
        ..Aws::with(&[("order:B:1", &["InvalidArgument"])])
    };
    let events = [
        event("A", 1),
        event("B", 1),
        event("C", 1),
        event("B", 2),
        event("C", 2),
        event("D", 1),
        event("D", 2),
    ];
    let mut records = records(&events);
    records[5]["dynamodb"]["NewImage"]["data"] = json!({"S": "{"});
    let response = run(&aws, records).await.unwrap();
    let failure = response.batch_item_failures[0].item_identifier.as_deref();
    assert_eq!(failure, Some("101"));
    let after = "nothing overtakes what has to come again";
    assert_eq!(
        aws.bus(),
        ["order:A:1", "order:C:1", "order:C:2"],
        "{after}"
    );
}

#[tokio::test]
async fn a_run_without_time_sends_nothing_and_reports_all() {
    let aws = Aws::default();
    let records = records(&[event("A", 1), event("B", 1)]);
    let response = run_until(&aws, records, NOW + MARGIN).await.unwrap();
    let failure = response.batch_item_failures[0].item_identifier.as_deref();
    assert_eq!((failure, aws.bus()), (Some("100"), Vec::new()));
}

#[tokio::test]
async fn a_record_without_a_sequence_number_fails_the_batch_before_any_work() {
    let aws = Aws::default();
    let mut records = records(&[event("A", 1), event("B", 1)]);
    let change = records[1]["dynamodb"].as_object_mut().unwrap();
    change.remove("SequenceNumber");
    assert_eq!(run(&aws, records).await.unwrap_err(), MissingSequenceNumber);
    assert_eq!(aws.bus(), Vec::<String>::new());
}

#[tokio::test]
async fn calls_are_no_larger_than_the_bus_takes() {
    let aws = Aws::default();
    let many: Vec<_> = (0..23).map(|n| event(&format!("N{n}"), 1)).collect();
    let large = (0..3).map(|n| Event {
        data: json!("x".repeat(100_000)),
        ..event(&format!("L{n}"), 1)
    });
    let events: Vec<_> = many.into_iter().chain(large).collect();
    assert_eq!(failed(&aws, &events).await, None);
    let sizes: Vec<_> = aws.calls.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!((sizes, aws.bus().len()), (vec![10, 10, 5, 1], 26));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However entries fail, those of an aggregate get onto the bus in their order and without a gap
    /// but for poison, and the report names the first that is missing.
    #[test]
    fn no_event_overtakes_another_of_its_aggregate_and_none_is_lost(
        orders in prop::collection::vec(0_usize..4, 0..30),
        failures in prop::collection::vec((0_usize..30, 0_usize..6, any::<bool>()), 0..10),
    ) {
        let mut counts = [0; 4];
        let events: Vec<_> = orders.iter().map(|&order| {
            counts[order] += 1;
            event(&order.to_string(), counts[order])
        }).collect();
        let aws = Aws::default();
        for (at, times, is_poison) in failures {
            if let Some(event) = events.get(at) {
                let mut answers = vec!["InternalFailure"; times];
                if is_poison {
                    answers.insert(0, "InvalidArgument");
                }
                aws.troubles.lock().unwrap().insert(event.id(), answers);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all().start_paused(true).build().unwrap();
        let reported = runtime.block_on(failed(&aws, &events));
        let (bus, poison) = (aws.bus(), aws.poison());
        let place = |event: &Event| bus.iter().position(|id| *id == event.id());
        let is_poison = |number: usize| {
            let number = json!(number.to_string());
            poison.iter().any(|told| told["sequence_number_first"] == number)
        };
        let mut first_missing = None;
        for (at, event) in events.iter().enumerate() {
            let is_missing = place(event).is_none() && !is_poison(100 + at);
            if is_missing {
                first_missing = first_missing.or(Some((100 + at).to_string()));
            }
            for earlier in events[..at].iter().filter(|e| e.aggregate_id == event.aggregate_id) {
                if let (Some(before), Some(after)) = (place(earlier), place(event)) {
                    prop_assert!(before < after);
                }
            }
        }
        prop_assert_eq!(reported, first_missing);
    }
}

#[tokio::test]
async fn the_example_of_a_batch_is_relayed() {
    let example = include_str!("../../../../events/events/relay-stream.json");
    let records: Value = serde_json::from_str(example).unwrap();
    let aws = Aws::default();
    let records = records["Records"].as_array().unwrap().clone();
    let response = run(&aws, records).await.unwrap();
    assert!(response.batch_item_failures.is_empty());
    assert_eq!(aws.bus(), ["order:ORD-20261120-7K3M9Q2D:1"]);
}
