//! Readings on their way: into the queue, out of it into the table, and into roll-ups.

use std::{cell::Cell, sync::Arc};

use functions::sensors::{
    aggregator,
    ingest::{api::router, context::Context as Ingest, queue::BatchQueue, registry::Registry},
    storage,
};
use jiff::SignedDuration;
use lambda_runtime::LambdaEvent;
use serde_json::json;
use shared::{
    platform::{
        aws::{Connection, http_client},
        batch,
        caller::Caller,
        clock::Clock,
        config::{RawRetention, ReadingsQueue},
        ids::Random,
    },
    sensors::{
        batch::{Batch, MOST_MESSAGE_BYTES},
        device::{model::parse_new, rules, store::DeviceStore},
        key::{
            model::{DeviceKey, Grant, KeyId, SecretHash, new_secret},
            remembered::RememberedKeys,
            store::KeyStore,
        },
        readings::{Reading, Readings},
        store::SensorStore,
    },
    testing::{Database, Table},
};
use uuid::Uuid;

use super::{
    driver::{Delivery, Report, Scenario, block_on},
    outside::Outside,
    state::{State, dump},
    trigger::{Ask, Messages, context},
};
use crate::support::{
    faults::Plan,
    gauntlet::{seed, sized},
};

pub(super) const TABLE: &str = "Sensors";

/// The table and services of sensors.
pub(super) struct Plant {
    pub(super) database: Database,
    pub(super) outside: Outside,
    pub(super) clock: Clock,
    /// The time by which claims run out.
    pub(super) leases: Clock,
    processes: Cell<u64>,
}

impl Plant {
    pub(super) async fn start() -> Self {
        let table = Table::new(TABLE)
            .index("devices", "devices_pk", "devices_sk")
            .index("keys", "keys_pk", "keys_sk");
        let now = "2026-11-20T12:30:00Z".parse().expect("it is a time");
        Self {
            database: Database::start(&[table]).await,
            outside: Outside::default(),
            clock: Clock::fixed(now),
            leases: Clock::fixed(now),
            processes: Cell::new(0),
        }
    }

    /// Randomness of a process of its own.
    pub(super) fn random(&self) -> Random {
        self.processes.set(self.processes.get() + 1);
        Random::seeded(seed() ^ (self.processes.get() << 40))
    }

    pub(super) fn client(&self, plan: &Arc<Plan>) -> aws_sdk_dynamodb::Client {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        Connection::to_emulator(self.database.endpoint(), http).dynamodb()
    }

    fn ingest(&self, plan: &Arc<Plan>) -> Ingest {
        let (client, name) = (self.client(plan), || TABLE.to_owned());
        Ingest {
            keys: RememberedKeys::new(KeyStore::new(client.clone(), name()), &self.clock),
            registry: Registry::new(DeviceStore::new(client, name()), &self.clock),
            queue: BatchQueue {
                client: self.outside.connection(plan).sqs(),
                queue: ReadingsQueue::new("http://services.invalid/readings"),
            },
            retention: retention(),
            clock: self.clock.clone(),
            random: self.random(),
        }
    }

    async fn store(&self, plan: &Arc<Plan>, messages: &Messages, nth: u32) -> Delivery {
        let function = storage::Context {
            store: SensorStore::new(self.client(plan), TABLE.to_owned()),
            failed: batch::Queues {
                sqs: self.outside.connection(plan).sqs(),
                queue_url: "http://services.invalid/readings".to_owned(),
                dead_letter_url: "http://services.invalid/dead-letters".to_owned(),
            },
            retention: retention(),
            clock: self.clock.clone(),
            random: self.random(),
            noted: storage::Noted::default(),
        };
        let event = LambdaEvent::new(messages.event(nth), context(&self.clock));
        let response = Box::pin(storage::handle(&function, event)).await;
        messages.settle(&response.expect("all have ids"))
    }

    async fn aggregate(&self, plan: &Arc<Plan>) -> Option<aggregator::Report> {
        let function = aggregator::Context {
            store: SensorStore::new(self.client(plan), TABLE.to_owned()),
            retention: retention(),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let event = LambdaEvent::new(json!({}), context(&self.clock));
        Box::pin(aggregator::handle(&function, event)).await.ok()
    }

    /// Has whatever the log says be worked off, also what is looked at only once its hours are settled.
    pub(super) async fn settle(&self) {
        for _ in 0..3 {
            self.clock.advance(SignedDuration::from_hours(30));
            let report = self
                .aggregate(&Plan::none())
                .await
                .expect("the table answers");
            assert_eq!((report.failed, report.left), (0, 0));
            let items = dump(&self.database.client(), TABLE).await;
            let mut keys = items.iter().filter_map(|item| item["pk"].as_s().ok());
            if !keys.any(|pk| pk.starts_with("DIRTY#")) {
                return;
            }
        }
        panic!("the log is never empty");
    }

    /// The table, and what is in the queues of messages that cannot be handled: each is buried before its
    /// queue learns of it, so whoever dies in between buries it again.
    pub(super) async fn add_to(&self, state: &mut State) {
        state.add_table(&self.database, TABLE, |_| {}).await;
        for (queue, body) in &self.outside.books().messages {
            state.add_once(format!("{queue}: {body}"));
        }
    }

    /// Registers a device.
    async fn register(&self, id: &str) {
        let body = json!({"device_id": id, "name": id, "type": "custom"});
        let (id, attributes) = parse_new(&body).expect("it is a device");
        let device = rules::create(None, id, attributes, self.clock.now()).expect("it is new");
        let devices = DeviceStore::new(self.database.client(), TABLE.to_owned());
        devices.save(&device, 0).await.expect("the table takes it");
    }

    /// Makes a key for every device.
    async fn key(&self) -> KeyId {
        let hash = SecretHash::of(new_secret([1; 26]).expose()).expect("it looks like one");
        let grant = Grant::new("test", &["*".to_owned()]).expect("it is a grant");
        let key = DeviceKey::pending(hash, grant, self.clock.now()).activated("g".to_owned());
        let keys = KeyStore::new(self.database.client(), TABLE.to_owned());
        keys.create(&key).await.expect("the table takes it");
        key.id()
    }
}

fn retention() -> RawRetention {
    RawRetention::new(90).expect("it is not too long")
}

/// Readings of some devices in two hours, one of which is settled, in as many batches.
pub(super) fn batches(plant: &Plant, batches: u64) -> Vec<String> {
    let now = plant.clock.now().as_millisecond();
    let mut bodies = Vec::new();
    for n in 0..batches {
        let mut readings = Readings::default();
        for (device, hour) in [("a", 0), ("b", 0), ("a", 5)] {
            let minute = i64::try_from(n).expect("there are few");
            readings.push(Reading {
                device,
                metric: "heat",
                timestamp: now - (hour * 60 + minute) * 60_000,
                value: 20.5,
                is_valid: true,
                unit: "",
                metadata: "",
            });
        }
        let batch = Batch {
            id: Uuid::from_u128(n.into()),
            arrived: now,
            readings,
        };
        bodies.extend(batch.encode_messages(MOST_MESSAGE_BYTES).expect("they fit"));
    }
    bodies
}

enum Readers {
    Ingest,
    Store,
    Aggregate,
}

/// The plant, and what the queue brings or a device sends.
struct Metered {
    plant: Plant,
    messages: Messages,
    ask: Option<Ask>,
}

impl Scenario for Readers {
    type World = Metered;

    fn name(&self) -> String {
        let name = match self {
            Self::Ingest => "sensor-ingest, POST readings/bulk",
            Self::Store => "sensor-store, messages",
            Self::Aggregate => "sensor-aggregate, schedule",
        };
        name.to_owned()
    }

    fn most(&self) -> u32 {
        5
    }

    async fn world(&self) -> Metered {
        let plant = Plant::start().await;
        let (mut messages, mut ask) = (Messages::new([]), None);
        match self {
            Self::Ingest => {
                plant.register("a").await;
                plant.register("b").await;
                let key = plant.key().await;
                let reading = |device: &str, second: u32| json!({"device_id": device, "timestamp": format!("2026-11-20T12:29:{second:02}Z"), "value": 1.5});
                let lines = (0..20).map(|n| reading(["a", "b"][n as usize % 2], n).to_string());
                let lines = lines.collect::<Vec<_>>().join("\n");
                let post = Ask::post(
                    Caller::new("device", []),
                    "/api/sensors/readings/bulk",
                    &json!({}),
                );
                ask = Some(post.body("application/x-ndjson", lines).of_key(key));
            }
            Self::Store => {
                let poison = "no batch".to_owned();
                messages = Messages::new(batches(&plant, sized(2, 6)).into_iter().chain([poison]));
            }
            Self::Aggregate => {
                let stored = Messages::new(batches(&plant, sized(2, 6)));
                let delivery = plant.store(&Plan::none(), &stored, 1).await;
                assert_eq!(delivery, Delivery::Done);
                plant.clock.advance(SignedDuration::from_mins(2));
            }
        }
        Metered {
            plant,
            messages,
            ask,
        }
    }

    async fn deliver(&self, world: &Metered, plan: &Arc<Plan>, nth: u32) -> Delivery {
        let Metered {
            plant,
            messages,
            ask,
        } = world;
        match self {
            Self::Ingest => {
                let ask = ask.as_ref().expect("a device asks");
                let answer = ask.of(router(plant.ingest(plan)), &plant.clock).await;
                assert_eq!(answer.status, 202, "{answer:?}");
                answer.delivery()
            }
            Self::Store => plant.store(plan, messages, nth).await,
            Self::Aggregate => Delivery::done(plant.aggregate(plan).await.is_some()),
        }
    }

    async fn finish(&self, world: &Metered) {
        let plant = &world.plant;
        // What was sent twice is in the queue twice.
        let queued = Messages::new(plant.outside.take("/readings"));
        if matches!(self, Self::Ingest) {
            let delivery = plant.store(&Plan::none(), &queued, 1).await;
            assert_eq!(delivery, Delivery::Done);
        }
        plant.settle().await;
    }

    async fn state(&self, world: &Metered, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        world.plant.add_to(&mut state).await;
        state
    }
}

#[test]
fn whoever_carries_readings_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for reader in [Readers::Ingest, Readers::Store, Readers::Aggregate] {
            report.play(&reader).await;
        }
        report.tell("readings");
    });
}
