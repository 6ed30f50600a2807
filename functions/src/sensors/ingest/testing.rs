//! Ingest over an embedded table and a queue that is a list.

use std::sync::{Arc, Mutex};

use aws_sdk_sqs::config::retry::RetryConfig;
use axum::body::Body;
use http::Request;
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use serde_json::{Value, json};
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{RawRetention, ReadingsQueue},
        http::App,
        ids::Random,
    },
    sensors::{
        batch::Batch,
        device::{model::parse_new, rules, store::DeviceStore},
        key::{
            model::{DeviceKey, Grant, KeyId, SecretHash, new_secret},
            remembered::RememberedKeys,
            store::KeyStore,
        },
    },
    testing::{Database, Table, answering},
};

use super::{api::router, context::Context, queue::BatchQueue, registry::Registry};

const TABLE: &str = "Sensors";

/// 2026-11-20T16:00:00Z.
pub const NOW: i64 = 1_795_190_400_000;

/// What the queue does with a message: takes it, or says that it will not.
pub type Behaviour = fn(call: usize, entry: usize) -> Answer;

/// What the queue says of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Busy,
    Wrong,
    /// Of the whole call: the service is down.
    Down,
}

/// A queue that remembers the calls it got, each the bodies it took.
#[derive(Clone, Debug, Default)]
pub struct FakeQueue(Arc<Mutex<Vec<Vec<Value>>>>);

impl FakeQueue {
    /// A sender to it.
    pub fn sender(&self, behaviour: Behaviour) -> BatchQueue {
        let calls = self.0.clone();
        let http = answering(move |request| {
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let mut calls = calls.lock().unwrap();
            let call = calls.len();
            let (mut taken, mut successful, mut failed) = (vec![], vec![], vec![]);
            let mut is_down = false;
            for (at, entry) in body["Entries"].as_array().unwrap().iter().enumerate() {
                let id = entry["Id"].clone();
                match behaviour(call, at) {
                    Answer::Taken => {
                        successful
                            .push(json!({"Id": id, "MessageId": "m", "MD5OfMessageBody": ""}));
                        taken.push(entry.clone());
                    }
                    Answer::Busy => failed.push(json!({
                        "Id": id, "SenderFault": false, "Code": "InternalError"
                    })),
                    Answer::Wrong => failed.push(json!({
                        "Id": id, "SenderFault": true, "Code": "InvalidMessageContents"
                    })),
                    Answer::Down => is_down = true,
                }
            }
            calls.push(taken);
            let (status, body) = if is_down {
                (503, json!({"__type": "ServiceUnavailable"}))
            } else {
                (200, json!({"Successful": successful, "Failed": failed}))
            };
            http::Response::builder()
                .status(status)
                .body(body.to_string())
                .unwrap()
        });
        let client = Connection::to_emulator("http://queue.invalid", http).sqs();
        let once = client
            .config()
            .to_builder()
            .retry_config(RetryConfig::disabled());
        BatchQueue {
            client: aws_sdk_sqs::Client::from_conf(once.build()),
            queue: ReadingsQueue::new("http://queue.invalid/readings"),
        }
    }

    /// The entries taken, by call.
    pub fn calls(&self) -> Vec<Vec<Value>> {
        self.0.lock().unwrap().clone()
    }

    /// The batches in it.
    pub fn batches(&self) -> Vec<Batch> {
        let bodies = self.calls().into_iter().flatten();
        bodies
            .map(|entry| Batch::decode_message(entry["MessageBody"].as_str().unwrap()).unwrap())
            .collect()
    }
}

/// Ingest with the devices `a` and `b`, the inactive `off`, and three keys.
pub struct World {
    database: Database,
    app: App,
    pub clock: Clock,
    pub queue: FakeQueue,
}

impl World {
    /// The key for every device.
    pub const ALL: u8 = 1;
    /// The key for `a` only.
    pub const ONLY_A: u8 = 2;
    /// The key that is revoked.
    pub const REVOKED: u8 = 3;

    pub async fn new() -> Self {
        Self::with_queue(|_, _| Answer::Taken).await
    }

    pub async fn with_queue(behaviour: Behaviour) -> Self {
        let table = Table::new(TABLE)
            .index("devices", "devices_pk", "devices_sk")
            .index("keys", "keys_pk", "keys_sk");
        let database = Database::start(&[table]).await;
        let clock = Clock::fixed(Timestamp::from_millisecond(NOW).unwrap());
        let now = clock.now();
        for (seed, devices) in [(Self::ALL, "*"), (Self::ONLY_A, "a"), (Self::REVOKED, "*")] {
            let hash = SecretHash::of(new_secret([seed; 26]).expose()).unwrap();
            let grant = Grant::new("test", &[devices.to_owned()]).unwrap();
            let mut key = DeviceKey::pending(hash, grant, now).activated("g".to_owned());
            if seed == Self::REVOKED {
                key = key.revoked(now);
            }
            keys(&database).create(&key).await.unwrap();
        }
        let queue = FakeQueue::default();
        let context = Context {
            keys: RememberedKeys::new(keys(&database), &clock),
            registry: Registry::new(devices(&database), &clock),
            queue: queue.sender(behaviour),
            retention: RawRetention::new(90).unwrap(),
            clock: clock.clone(),
            random: Random::seeded(1),
        };
        let world = Self {
            app: App::with(router(context), clock.clone(), Random::seeded(2)),
            database,
            clock,
            queue,
        };
        world.register("a", true).await;
        world.register("b", true).await;
        world.register("off", false).await;
        world
    }

    /// Registers a device, or changes whether it is active.
    pub async fn register(&self, id: &str, is_active: bool) {
        let body = json!({
            "device_id": id, "name": id, "type": "custom", "is_active": is_active
        });
        let (id, attributes) = parse_new(&body).unwrap();
        let store = devices(&self.database);
        let now = self.clock.now();
        let (device, expected) = match store.find(&id).await.unwrap() {
            Some(current) => (
                rules::update(&current, &json!({"is_active": is_active}), now).unwrap(),
                current.version,
            ),
            None => (rules::create(None, id, attributes, now).unwrap(), 0),
        };
        store.save(&device, expected).await.unwrap();
    }

    /// Sends a request; the answer's status, headers and body.
    pub async fn send(
        &self,
        key: Option<u8>,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> (u16, http::HeaderMap, Value) {
        let mut request = Request::post(target).header("x-correlation-id", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).unwrap();
        if let Some(seed) = key {
            let mut context =
                lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext::default();
            let key = json!(key_id(seed).to_string());
            context.authorizer.fields.insert("key".to_owned(), key);
            request
                .extensions_mut()
                .insert(RequestContext::ApiGatewayV1(context));
        }
        let (parts, body) = self.app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        };
        (parts.status.as_u16(), parts.headers, body)
    }

    /// Sends a body of a type with the key for every device; the answer's status and body.
    pub async fn bulk(&self, kind: &str, body: impl Into<Body>) -> (u16, Value) {
        let target = "/api/sensors/readings/bulk";
        let headers = [("content-type", kind)];
        let (status, _, body) = self.send(Some(Self::ALL), target, &headers, body).await;
        (status, body)
    }

    /// Writes lines with the key for every device; the answer's status and body.
    pub async fn write(&self, body: impl Into<Body>) -> (u16, Value) {
        let target = "/api/v2/write?org=o&bucket=b&precision=ms";
        let (status, _, body) = self.send(Some(Self::ALL), target, &[], body).await;
        (status, body)
    }

    /// The readings in the queue, as `device metric timestamp value`.
    pub fn queued(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for batch in self.queue.batches() {
            for row in 0..batch.readings.len() {
                let reading = batch.readings.get(row);
                rows.push(format!(
                    "{} {} {} {}",
                    reading.device, reading.metric, reading.timestamp, reading.value
                ));
            }
        }
        rows
    }
}

fn key_id(seed: u8) -> KeyId {
    SecretHash::of(new_secret([seed; 26]).expose())
        .unwrap()
        .id()
}

fn keys(database: &Database) -> KeyStore {
    KeyStore::new(database.client(), TABLE.to_owned())
}

fn devices(database: &Database) -> DeviceStore {
    DeviceStore::new(database.client(), TABLE.to_owned())
}
