//! The sensors table, a queue and the two functions between them, without anything deployed.

use std::sync::{Arc, Mutex};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use functions::sensors::{aggregator, storage};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde_json::json;
use shared::{
    platform::{
        aws::{Connection, http_client},
        batch::FailedMessages,
        clock::Clock,
        config::RawRetention,
        ids::Random,
    },
    sensors::{
        batch::{Batch, MOST_MESSAGE_BYTES},
        readings::{Reading, Readings},
        store::SensorStore,
    },
    testing::{Database, Table},
};
use uuid::Uuid;

use crate::support::faults::Plan;

/// What became of messages that failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failed {
    /// Reasons of those that were buried.
    pub(crate) buried: Arc<Mutex<Vec<String>>>,
}

impl FailedMessages for Failed {
    async fn bury(&self, _: &SqsMessage, reason: &str) -> bool {
        self.buried.lock().unwrap().push(reason.to_owned());
        true
    }

    async fn hide(&self, _: &SqsMessage, _: u32) {}
}

/// A table, the time, and what processes need to work with them.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
    pub(crate) failed: Failed,
    batches: u64,
}

impl World {
    pub(crate) async fn start(now: &str) -> Self {
        Self {
            database: Database::start(&[Table::new("Sensors")
                .index("devices", "devices_pk", "devices_sk")
                .index("keys", "keys_pk", "keys_sk")])
            .await,
            clock: Clock::fixed(now.parse().unwrap()),
            failed: Failed::default(),
            batches: 0,
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// The store of a process whose calls on the table go by `plan`.
    pub(crate) fn store(&self, plan: &Arc<Plan>) -> SensorStore {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        let aws = Connection::to_emulator(self.database.endpoint(), http);
        SensorStore::new(aws.dynamodb(), "Sensors".into())
    }

    /// A storing process.
    pub(crate) fn storing(&self, plan: &Arc<Plan>) -> storage::Context<Failed> {
        storage::Context {
            store: self.store(plan),
            failed: self.failed.clone(),
            retention: RawRetention::new(90).unwrap(),
            clock: self.clock.clone(),
            random: Random::system(),
            noted: storage::Noted::default(),
        }
    }

    /// An aggregating process.
    pub(crate) fn aggregating(&self, plan: &Arc<Plan>) -> aggregator::Context {
        aggregator::Context {
            store: self.store(plan),
            retention: RawRetention::new(90).unwrap(),
            clock: self.clock.clone(),
            random: Random::system(),
        }
    }

    /// The messages of a batch that arrives now, a millisecond after the one before.
    pub(crate) fn messages(&mut self, readings: Readings) -> Vec<String> {
        self.clock.advance(SignedDuration::from_millis(1));
        self.batches += 1;
        let batch = Batch {
            id: Uuid::from_u128(self.batches.into()),
            arrived: self.now(),
            readings,
        };
        batch.encode_messages(MOST_MESSAGE_BYTES).unwrap()
    }

    /// A run of the aggregator with plenty of time.
    pub(crate) async fn aggregate(&self, process: &aggregator::Context) -> aggregator::Report {
        let stop = self.clock.now() + SignedDuration::from_mins(1);
        Box::pin(aggregator::run(process, stop)).await.unwrap()
    }
}

/// Delivers messages in one batch.
pub(crate) async fn deliver(
    process: &storage::Context<Failed>,
    bodies: &[String],
) -> SqsBatchResponse {
    let records: Vec<_> = (0..)
        .zip(bodies)
        .map(|(id, body): (u32, _)| json!({"messageId": id.to_string(), "body": body}))
        .collect();
    let event: SqsEvent = serde_json::from_value(json!({ "Records": records })).unwrap();
    let event = LambdaEvent::new(event, lambda_runtime::Context::default());
    Box::pin(storage::handle(process, event)).await.unwrap()
}

/// One reading of a device without unit or metadata.
pub(crate) fn reading<'r>(
    device: &'r str,
    metric: &'r str,
    timestamp: i64,
    value: f64,
) -> Reading<'r> {
    Reading {
        device,
        metric,
        timestamp,
        value,
        is_valid: true,
        unit: "",
        metadata: "",
    }
}

/// Milliseconds of Unix time of an RFC 3339 text.
pub(crate) fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}
