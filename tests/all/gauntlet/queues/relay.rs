//! The stream of events, on its way to the bus.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use functions::events::relay::{Context, handle};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{EventBus, EventPoison},
        ids::Random,
    },
    testing::answering,
};
use tokio::sync::Notify;

use super::{
    poison::shuffle,
    refusals::Met,
    stream::{Stream, number},
};
use crate::support::gauntlet;

const CHECK: &str = "queues: EventRelaySource";
const SHARDS: usize = 6;
const NOW: i64 = 1_795_204_103_193;
const AGGREGATES: [(&str, &str); 5] = [
    ("CATEGORY", "catalog"),
    ("CUSTOMER", "customers"),
    ("ORDER", "orders"),
    ("PRODUCT", "catalog"),
    ("STOCK", "stock"),
];
/// Bytes that an entry of the bus has at most.
const MOST_ENTRY: usize = 256 * 1024;

/// The names of what the bus and the poison queue get up to.
const MARKS: [&str; 6] = [
    "entries refused for now",
    "calls refused",
    "calls done and not answered",
    "runs cut off at a call",
    "poison queue calls refused",
    "runs without time",
];

/// The bus and the poison queue, and what they got.
#[derive(Default)]
struct Bus {
    state: Mutex<Got>,
    met: Met,
    death: Notify,
}

#[derive(Default)]
struct Got {
    /// Details in the order in which they were taken.
    published: Vec<Value>,
    poison: Vec<Value>,
    /// Ids of events that the bus refuses for good, and how.
    refused: HashMap<String, &'static str>,
    complaints: Vec<String>,
}

impl Bus {
    fn got(&self) -> MutexGuard<'_, Got> {
        self.state.lock().expect("nothing panics while it holds it")
    }

    /// The answer to a call, or nothing where the run is to die.
    fn answer(&self, random: &Random, target: &str, body: &Value) -> (u16, Value) {
        let denied = (400, json!({"__type": "AccessDeniedException"}));
        if target.ends_with("SendMessage") {
            let dice = random.up_to(9);
            if dice == 0 {
                self.met.add("poison queue calls refused");
                return denied;
            }
            let message = body["MessageBody"].as_str().unwrap();
            self.got()
                .poison
                .push(serde_json::from_str(message).unwrap());
            return if dice == 1 {
                denied
            } else {
                (200, json!({"MessageId": "m"}))
            };
        }
        let entries = body["Entries"].as_array().unwrap();
        self.inspect(entries);
        let dice = random.up_to(39);
        if dice == 0 {
            self.met.add("calls refused");
            return denied;
        }
        let results: Vec<Value> = entries
            .iter()
            .map(|entry| self.put(random, entry))
            .collect();
        if dice == 1 {
            self.met.add("runs cut off at a call");
            self.death.notify_one();
        }
        if dice <= 2 {
            self.met.add("calls done and not answered");
            return denied;
        }
        let failed = results
            .iter()
            .filter(|result| result["ErrorCode"].is_string());
        (
            200,
            json!({"FailedEntryCount": failed.count(), "Entries": results}),
        )
    }

    fn put(&self, random: &Random, entry: &Value) -> Value {
        let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        let id = detail["id"].as_str().unwrap().to_owned();
        let mut got = self.got();
        if let Some(code) = got.refused.get(&id) {
            return json!({"ErrorCode": code, "ErrorMessage": "no"});
        }
        if random.up_to(29) == 0 {
            self.met.add("entries refused for now");
            let code = ["ThrottlingException", "InternalFailure"][random.up_to(1) as usize];
            return json!({"ErrorCode": code, "ErrorMessage": "not now"});
        }
        got.published.push(detail);
        json!({ "EventId": id })
    }

    /// Notes what `EventBridge` would not take.
    /// <https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>
    fn inspect(&self, entries: &[Value]) {
        let text = |entry: &Value, name: &str| entry[name].as_str().map_or(0, str::len);
        let size = |entry: &Value| {
            14 + text(entry, "Source") + text(entry, "DetailType") + text(entry, "Detail")
        };
        let is_whole = |entry: &Value| {
            let named = ["Source", "DetailType", "Detail", "EventBusName"];
            named.iter().all(|name| text(entry, name) > 0)
        };
        let bytes: usize = entries.iter().map(size).sum();
        if !(1..=10).contains(&entries.len()) || bytes > MOST_ENTRY || !entries.iter().all(is_whole)
        {
            let complaint = format!("{} entries of {bytes} bytes", entries.len());
            self.got().complaints.push(complaint);
        }
    }

    fn context(self: &Arc<Self>, random: &Random) -> Context {
        let (bus, dice) = (self.clone(), random.clone());
        let http = answering(move |request| {
            let target = request.headers()["x-amz-target"].to_str().unwrap();
            let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let (status, answer) = bus.answer(&dice, target, &body);
            let response = http::Response::builder().status(status);
            response.body(answer.to_string()).unwrap()
        });
        let connection = Connection::to_emulator("http://127.0.0.1:1", http);
        Context {
            eventbridge: connection.eventbridge(),
            bus: EventBus::new("millrace-gauntlet"),
            sqs: connection.sqs(),
            poison: EventPoison::new("http://127.0.0.1:1/poison"),
            clock: Clock::fixed(Timestamp::from_millisecond(NOW).unwrap()),
            random: random.clone(),
        }
    }
}

/// An event as the test knows it.
#[derive(Clone, Debug)]
struct Known {
    pk: String,
    sk: String,
    id: String,
    domain: &'static str,
    aggregate: String,
    sequence: usize,
    data: Value,
}

impl Known {
    fn new(kind: usize, aggregate: usize, sequence: usize, random: &Random) -> Self {
        let (word, domain) = AGGREGATES[kind];
        let id = format!("A-{aggregate}");
        Self {
            pk: format!("{word}#{id}"),
            sk: format!("EV#{sequence:010}"),
            id: format!("{}:{id}:{sequence}", word.to_lowercase()),
            domain,
            aggregate: id,
            sequence,
            data: json!({"n": random.up_to(u32::MAX), "text": "é\u{1f980}\"\\"}),
        }
    }

    fn record(&self) -> Value {
        let text = |value: &str| json!({ "S": value });
        let image = json!({
            "pk": text(&self.pk), "sk": text(&self.sk), "type": text("order.reserved"),
            "time": text("2026-11-20T16:00:00.000Z"), "data": text(&self.data.to_string()),
            "private": text(r#"{"note":"ring twice"}"#), "correlation_id": text("abc"),
        });
        json!({
            "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "eventID": self.id,
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_795_204_103.0,
                "Keys": {"pk": image["pk"], "sk": image["sk"]}, "NewImage": image,
                "SizeBytes": 1, "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        })
    }
}

/// Makes a record poison in the `nth` way; gives what the bus has to say where it is the bus.
fn spoil(record: &mut Value, nth: usize) -> Option<&'static str> {
    let image = &mut record["dynamodb"]["NewImage"];
    match nth % 10 {
        0 => image["data"] = json!({"S": "{"}),
        1 => drop(image.as_object_mut().and_then(|image| image.remove("type"))),
        2 => image["time"] = json!({"S": "yesterday"}),
        3 => image["private"] = json!({"S": "{"}),
        4 => image["type"] = json!({"BOOL": true}),
        5 => image["data"] = json!({"S": json!("x".repeat(MOST_ENTRY)).to_string()}),
        6 => return Some("InvalidArgument"),
        7 => return Some("MalformedDetail"),
        8 => {
            for part in ["Keys", "NewImage"] {
                record["dynamodb"][part]["sk"] = json!({"S": format!("EV#seven-{nth}")});
            }
        }
        _ => {
            for part in ["Keys", "NewImage"] {
                record["dynamodb"][part]["pk"] = json!({"S": format!("PARCEL#{nth}")});
            }
        }
    }
    None
}

struct World {
    bus: Arc<Bus>,
    stream: Stream,
    good: BTreeMap<String, Known>,
    /// Key and sequence number of each poison.
    poison: BTreeSet<(String, String, String)>,
}

/// Events of many aggregates in their shards, with poison and what is no event between them.
fn world(random: &Random, count: usize) -> World {
    let mut shards: Vec<Vec<Known>> = vec![Vec::new(); SHARDS];
    let mut made = 0;
    while made < count {
        let kind = random.up_to(4) as usize;
        let length = (1 + random.up_to(11) as usize).min(count - made);
        let shard = &mut shards[random.up_to(5) as usize];
        let events = (1..=length).map(|sequence| Known::new(kind, made, sequence, random));
        let mut events: Vec<Known> = events.collect();
        // Into the shard so that those of an aggregate keep their order.
        let mut at = shard.len().saturating_sub(random.up_to(60) as usize);
        for event in events.drain(..) {
            shard.insert(at.min(shard.len()), event);
            at += 1 + random.up_to(5) as usize;
        }
        made += length;
    }
    let mut spoilt: Vec<usize> = (0..count).collect();
    shuffle(random, &mut spoilt);
    let spoilt: HashSet<usize> = spoilt.into_iter().take((count / 100).max(30)).collect();
    let mut world = World {
        bus: Arc::default(),
        stream: Stream::new(SHARDS, random),
        good: BTreeMap::new(),
        poison: BTreeSet::new(),
    };
    let (mut place, mut sequence, mut nth) = (0, 1_000_000_u64, 0);
    for (shard, events) in shards.into_iter().enumerate() {
        for event in events {
            let mut record = event.record();
            let mut next = || {
                sequence += 1;
                json!(sequence.to_string())
            };
            if random.up_to(19) == 0 {
                let mut other = record.clone();
                other["dynamodb"]["SequenceNumber"] = next();
                match random.up_to(2) {
                    0 => other["eventName"] = json!("MODIFY"),
                    1 => other["eventName"] = json!("REMOVE"),
                    _ => other["dynamodb"]["Keys"]["sk"] = json!({"S": "META"}),
                }
                world.stream.push(shard, other);
            }
            record["dynamodb"]["SequenceNumber"] = next();
            if spoilt.contains(&place) {
                if let Some(code) = spoil(&mut record, nth) {
                    world.bus.got().refused.insert(event.id.clone(), code);
                }
                nth += 1;
                let key = |name: &str| {
                    let key = record["dynamodb"]["Keys"][name]["S"].as_str();
                    key.unwrap().to_owned()
                };
                let poison = (key("pk"), key("sk"), number(&record).to_owned());
                world.poison.insert(poison);
            } else {
                world.good.insert(event.id.clone(), event);
            }
            place += 1;
            world.stream.push(shard, record);
        }
    }
    world
}

#[tokio::test(start_paused = true)]
async fn every_event_is_published_in_order_however_the_stream_comes_and_poison_alone_is_isolated() {
    let random = Random::seeded(gauntlet::seed());
    let count = gauntlet::sized(600, 10_000);
    let World {
        bus,
        mut stream,
        good,
        poison,
    } = world(&random, count);
    let process = bus.context(&random);
    stream
        .drain(async |batch| {
            let mut lambda = lambda_runtime::Context::default();
            let seconds = if random.up_to(9) == 0 {
                bus.met.add("runs without time");
                10
            } else {
                60
            };
            lambda.deadline = u64::try_from(NOW + seconds * 1000).unwrap();
            let batch = serde_json::from_value(batch).unwrap();
            let run = Box::pin(handle(&process, LambdaEvent::new(batch, lambda)));
            tokio::select! {
                biased;
                () = bus.death.notified() => None,
                reply = run => Some(json!(reply.unwrap())),
            }
        })
        .await;

    let seed = format!("GAUNTLET_SEED={}", gauntlet::seed());
    let got = bus.got();
    assert_eq!(got.complaints, [""; 0], "{seed}");
    in_order(&got.published, &good);
    let isolated: BTreeSet<_> = got.poison.iter().map(isolated).collect();
    assert_eq!(isolated, poison, "{seed}");
    bus.met.report(CHECK, &MARKS);
    let tally = stream.tally;
    for (what, count) in [
        ("events", good.len() as u64),
        ("batches", tally.batches),
        ("records delivered", tally.records),
        ("batches that came back", tally.reported),
        ("runs cut off", tally.cut_off),
        ("batches repeated", tally.repeated),
        ("events published", got.published.len() as u64),
        ("poison = isolated", poison.len() as u64),
    ] {
        gauntlet::figure(CHECK, what, count);
    }
}

/// The place of what a message of the poison queue is about.
fn isolated(message: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(!text(&message["reason"]).is_empty());
    assert!(text(&message["event_source_arn"]).ends_with("/stream/1"));
    let number = text(&message["sequence_number_first"]);
    assert_eq!(number, text(&message["sequence_number_last"]));
    let event = &message["event"];
    (text(&event["pk"]), text(&event["sk"]), number)
}

/// Every good event was published as it is, and none before those of its aggregate that precede it.
fn in_order(published: &[Value], good: &BTreeMap<String, Known>) {
    let seed = format!("GAUNTLET_SEED={}", gauntlet::seed());
    let mut before: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for known in good.values() {
        before.entry(&known.pk).or_default().insert(known.sequence);
    }
    let mut told: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for detail in published {
        let id = detail["id"].as_str().unwrap();
        let known = good
            .get(id)
            .unwrap_or_else(|| panic!("{id} is none: {seed}"));
        assert_eq!(detail["data"], known.data, "{id}: {seed}");
        assert_eq!(
            detail["source"],
            format!("/millrace/{}", known.domain),
            "{id}"
        );
        assert_eq!(detail["subject"], known.aggregate, "{id}");
        assert_eq!(detail["sequence"], known.sequence.to_string(), "{id}");
        assert_eq!(detail.get("private"), None, "{id}: {seed}");
        let already = told.entry(&known.pk).or_default();
        let preceding = before[known.pk.as_str()].range(..known.sequence);
        assert!(
            preceding.clone().all(|earlier| already.contains(earlier)),
            "{id} overtakes: {seed}"
        );
        already.insert(known.sequence);
    }
    for (pk, sequences) in before {
        assert_eq!(told.get(pk), Some(&sequences), "{pk} lost some: {seed}");
    }
}
