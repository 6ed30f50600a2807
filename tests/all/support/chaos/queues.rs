//! Queues in memory behind the protocol of SQS, and what Lambda does with them: it delivers, deletes what
//! was done, and has the rest come again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::{platform::clock::Clock, testing::answering};

/// Deliveries after which a message goes to the dead-letter queue, as the template says of every queue.
const MOST_RECEIVES: u32 = 5;

/// What a message that was taken is hidden for, unless its receiver says otherwise: the template's
/// longest, so that nothing relies on less.
const HIDDEN: SignedDuration = SignedDuration::from_secs(5_400);

/// A message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    id: u64,
    pub(crate) body: String,
    attributes: Value,
    receives: u32,
    visible_at: Timestamp,
}

#[derive(Debug, Default)]
struct Stored {
    queues: BTreeMap<String, Vec<Message>>,
    /// Messages given up after too many deliveries.
    given_up: Vec<Message>,
    sent: u64,
}

/// All the queues of a world, each under its URL.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    stored: Arc<Mutex<Stored>>,
    clock: Clock,
}

impl Queues {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            stored: Arc::default(),
            clock: clock.clone(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Stored) -> T) -> T {
        work(&mut self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a message in as a service of AWS would.
    pub(crate) fn put(&self, url: &str, body: impl Into<String>) {
        let now = self.clock.now();
        self.with(|stored| stored.put(url, body.into(), Value::Null, now));
    }

    /// Bodies of the messages in a queue, whether they can be seen or not.
    pub(crate) fn bodies(&self, url: &str) -> Vec<String> {
        let bodies = |messages: &Vec<Message>| {
            let bodies = messages.iter().map(|message| message.body.clone());
            bodies.collect()
        };
        self.with(|stored| stored.queues.get(url).map(bodies).unwrap_or_default())
    }

    /// Messages that were given up.
    pub(crate) fn given_up(&self) -> usize {
        self.with(|stored| stored.given_up.len())
    }

    /// Takes up to `most` messages that can be seen, as Lambda does, and makes an event of them.
    pub(crate) fn receive(&self, url: &str, most: usize) -> Option<Value> {
        let now = self.clock.now();
        let taken = self.with(|stored| stored.receive(url, most, now));
        let records: Vec<Value> = taken.iter().map(record).collect();
        (!records.is_empty()).then(|| json!({ "Records": records }))
    }

    /// Deletes the messages of an event but for those that failed, by what the function answered.
    pub(crate) fn settle(&self, url: &str, event: &Value, answer: &Value) {
        let failed = answer["batchItemFailures"].as_array().into_iter().flatten();
        let failed: Vec<&Value> = failed.map(|one| &one["itemIdentifier"]).collect();
        let records = event["Records"].as_array().into_iter().flatten();
        let done: Vec<u64> = records
            .map(|record| &record["messageId"])
            .filter(|id| !failed.contains(id))
            .map(|id| id.as_str().unwrap().parse().unwrap())
            .collect();
        self.with(|stored| {
            if let Some(queue) = stored.queues.get_mut(url) {
                queue.retain(|message| !done.contains(&message.id));
            }
        });
    }

    /// The service for the SDK to talk to.
    pub(crate) fn service(&self) -> SharedHttpClient {
        let queues = self.clone();
        answering(move |request| {
            let target = request.headers()["x-amz-target"].to_str().unwrap();
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let now = queues.clock.now();
            let answer = queues.with(|stored| match target.rsplit('.').next().unwrap() {
                "SendMessage" => stored.send(&body["QueueUrl"], &body, now),
                "SendMessageBatch" => {
                    let entries = body["Entries"].as_array().unwrap().iter();
                    let taken = entries.map(|entry| {
                        let mut one = stored.send(&body["QueueUrl"], entry, now);
                        one["Id"] = entry["Id"].clone();
                        one
                    });
                    json!({"Successful": taken.collect::<Vec<_>>(), "Failed": []})
                }
                "ChangeMessageVisibility" => stored.hide(&body, now),
                other => panic!("{other} is no operation of these queues"),
            });
            http::Response::new(answer.to_string())
        })
    }
}

impl Stored {
    fn put(&mut self, url: &str, body: String, attributes: Value, visible_at: Timestamp) {
        self.sent += 1;
        let message = Message {
            id: self.sent,
            body,
            attributes,
            receives: 0,
            visible_at,
        };
        self.queues.entry(url.to_owned()).or_default().push(message);
    }

    fn send(&mut self, url: &Value, message: &Value, now: Timestamp) -> Value {
        let delay = SignedDuration::from_secs(message["DelaySeconds"].as_i64().unwrap_or(0));
        let body = message["MessageBody"].as_str().unwrap().to_owned();
        let attributes = message["MessageAttributes"].clone();
        self.put(url.as_str().unwrap(), body, attributes, now + delay);
        json!({"MessageId": self.sent.to_string(), "MD5OfMessageBody": ""})
    }

    fn hide(&mut self, asked: &Value, now: Timestamp) -> Value {
        let id: u64 = asked["ReceiptHandle"].as_str().unwrap().parse().unwrap();
        let seconds = asked["VisibilityTimeout"].as_i64().unwrap();
        let queue = self.queues.get_mut(asked["QueueUrl"].as_str().unwrap());
        let messages = queue.into_iter().flatten();
        for message in messages.filter(|message| message.id == id) {
            message.visible_at = now + SignedDuration::from_secs(seconds);
        }
        json!({})
    }

    fn receive(&mut self, url: &str, most: usize, now: Timestamp) -> Vec<Message> {
        let Some(queue) = self.queues.get_mut(url) else {
            return Vec::new();
        };
        let (over, kept) = std::mem::take(queue)
            .into_iter()
            .partition(|message| message.visible_at <= now && message.receives >= MOST_RECEIVES);
        *queue = kept;
        self.given_up.extend::<Vec<Message>>(over);
        let visible = queue.iter_mut().filter(|message| message.visible_at <= now);
        let taken = visible.take(most).map(|message| {
            message.receives += 1;
            message.visible_at = now + HIDDEN;
            message.clone()
        });
        taken.collect()
    }
}

fn record(message: &Message) -> Value {
    let attributes = message.attributes.as_object().into_iter().flatten();
    let attributes: serde_json::Map<String, Value> = attributes
        .map(|(name, value)| {
            let value = json!({
                "stringValue": value["StringValue"], "dataType": value["DataType"],
                "stringListValues": [], "binaryListValues": [],
            });
            (name.clone(), value)
        })
        .collect();
    json!({
        "messageId": message.id.to_string(),
        "receiptHandle": message.id.to_string(),
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": message.receives.to_string()},
        "messageAttributes": attributes,
        "eventSource": "aws:sqs",
    })
}
