//! Storing and aggregating readings: every reading that was accepted is stored, and the roll-ups are a plain
//! fold over them.

use std::{collections::BTreeMap, sync::Arc};

use functions::sensors::{aggregator, storage};
use futures_util::future::join_all;
use jiff::SignedDuration;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{
    platform::{aws::Connection, batch, clock::Clock, config::RawRetention, ids::Random},
    sensors::{
        batch::{Batch, MOST_MESSAGE_BYTES},
        readings::{Reading, Readings},
        store::SensorStore,
    },
    testing::{InlineDatabase, Table},
};
use uuid::Uuid;

use super::{below, once_in};
use crate::{
    sensors::oracle::{
        DEVICES, Distinct, METRICS, hours_and_days_agree, minutes_agree, raw_data_agrees, value,
    },
    support::{
        chaos::{Chaos, Fault, Queues, paused},
        gauntlet::{figure, seed, sized},
    },
};

const CHECK: &str = "chaos: sensors";
const READINGS: &str = "http://queue.invalid/readings";
const DEAD_LETTERS: &str = "http://queue.invalid/readings-dead-letters";

/// Near the end of a month, so that hours, days and months all end on the way.
const BEGIN: &str = "2026-01-31T20:50:00Z";

struct World {
    chaos: Arc<Chaos>,
    clock: Clock,
    random: Random,
    database: InlineDatabase,
    queues: Queues,
    accepted: Distinct,
    batches: u64,
}

impl World {
    async fn start(seed: u64) -> Self {
        let clock = Clock::fixed(BEGIN.parse().unwrap());
        let chaos = Chaos::start(CHECK, seed, &clock);
        Self {
            database: InlineDatabase::with(&[Table::new("Sensors")]).await,
            queues: Queues::new(&clock),
            random: Random::seeded(seed),
            accepted: BTreeMap::new(),
            batches: 0,
            chaos,
            clock,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    fn store(&self) -> SensorStore {
        let http = self.chaos.over(self.database.http());
        let connection = Connection::to_emulator("http://inline.invalid", http);
        SensorStore::new(connection.dynamodb(), "Sensors".into())
    }

    /// A new process of the storing function.
    fn storing(&self) -> storage::Context {
        let http = self.chaos.over(self.queues.service());
        storage::Context {
            store: self.store(),
            failed: batch::Queues {
                sqs: Connection::to_emulator("http://queue.invalid", http).sqs(),
                queue_url: READINGS.to_owned(),
                dead_letter_url: DEAD_LETTERS.to_owned(),
            },
            retention: RawRetention::new(90).unwrap(),
            clock: self.clock.clone(),
            random: Random::seeded(self.now().unsigned_abs()),
            noted: storage::Noted::default(),
        }
    }

    fn aggregating(&self) -> aggregator::Context {
        aggregator::Context {
            store: self.store(),
            retention: RawRetention::new(90).unwrap(),
            clock: self.clock.clone(),
            random: Random::seeded(self.now().unsigned_abs()),
        }
    }

    /// Some readings arrive: of late, of long ago, and again of a time that has one already.
    fn accept(&mut self) {
        self.clock.advance(SignedDuration::from_millis(1));
        let arrived = self.now();
        let mut readings = Readings::default();
        for _ in 0..=below(&self.random, 20) {
            let seconds_ago = match below(&self.random, 40) {
                0..37 => below(&self.random, 600),
                37 => below(&self.random, 130_000),
                _ => below(&self.random, 40) * 900,
            };
            let (device, metric) = (
                below(&self.random, DEVICES.len()),
                below(&self.random, METRICS.len()),
            );
            let hundredths = 1_900 + i64::from(self.random.up_to(400));
            let is_valid = !once_in(&self.random, 10);
            let timestamp = arrived / 1000 * 1000 - i64::try_from(seconds_ago).unwrap() * 1000;
            let series = self.accepted.entry((device, metric)).or_default();
            series.insert(timestamp, (hundredths, is_valid));
            readings.push(Reading {
                device: DEVICES[device],
                metric: METRICS[metric],
                timestamp,
                value: value(hundredths),
                is_valid,
                unit: "",
                metadata: "",
            });
        }
        self.batches += 1;
        let batch = Batch {
            id: Uuid::from_u128(self.batches.into()),
            arrived,
            readings: readings.deduplicate(),
        };
        for message in batch.encode_messages(MOST_MESSAGE_BYTES).unwrap() {
            self.queues.put(READINGS, message);
            // The queue may deliver any message twice.
            if once_in(&self.random, 20) {
                let again = self.queues.bodies(READINGS).pop().unwrap();
                self.queues.put(READINGS, again);
            }
        }
    }

    /// Hands the storing function what is in the queue, in several runs at once; whether there was any.
    async fn deliver(&self, process: &storage::Context, runs: usize) -> bool {
        let taken = (0..runs).filter_map(|_| {
            let most = 1 + below(&self.random, 2);
            self.queues.receive(READINGS, most)
        });
        let events: Vec<Value> = taken.collect();
        let stored = events.iter().map(|event| async {
            let sent = serde_json::from_value(event.clone()).unwrap();
            let run = |context| storage::handle(process, LambdaEvent::new(sent, context));
            let answer = self.chaos.invoke("SensorStore", run).await;
            let answer = serde_json::to_value(answer.expect("a message has an id")).unwrap();
            // What was done may be delivered again before it is deleted.
            if !once_in(&self.random, 15) {
                self.queues.settle(READINGS, event, &answer);
            }
        });
        join_all(stored).await;
        !events.is_empty()
    }

    /// A run of the aggregator: its report, if it could read and write the log.
    async fn aggregate(&self, process: &aggregator::Context) -> Option<aggregator::Report> {
        let run = |context| aggregator::handle(process, LambdaEvent::new(json!({}), context));
        self.chaos.invoke("SensorAggregate", run).await.ok()
    }

    /// Works off the queue and the log, without faults.
    async fn rest(&self) {
        let (storing, aggregating) = (self.storing(), self.aggregating());
        for _ in 0..50 {
            while self.deliver(&storing, 1).await {}
            let report = self.aggregate(&aggregating).await.expect("nothing fails");
            assert_eq!(report.failed, 0, "{}", self.chaos.replay());
            if self.queues.bodies(READINGS).is_empty() && report.entries == 0 {
                return;
            }
            // What is hidden can be seen again by then, and what failed is due.
            self.clock.advance(SignedDuration::from_mins(95));
        }
        panic!("the log does not come to an end: {}", self.chaos.replay());
    }
}

#[test]
fn readings_accepted_are_stored_and_rolled_up_as_a_plain_fold() {
    paused(async {
        let mut world = World::start(seed()).await;
        let operations = sized(300, 10_000);
        let mut storing = world.storing();
        while world.chaos.invocations() < operations {
            for _ in 0..=below(&world.random, 4) {
                world.accept();
            }
            if once_in(&world.random, 40) {
                storing = world.storing();
            }
            // A log of many partitions is dear to look at, with faults at every call.
            let is_aggregated = once_in(&world.random, 4);
            let aggregators =
                usize::from(is_aggregated) * (1 + usize::from(once_in(&world.random, 4)));
            let aggregating = world.aggregating();
            let runs = (0..aggregators).map(|_| world.aggregate(&aggregating));
            let most = 1 + below(&world.random, 4);
            tokio::join!(world.deliver(&storing, most), join_all(runs));
            let seconds = world.random.up_to(60);
            world
                .clock
                .advance(SignedDuration::from_secs(seconds.into()));
        }
        world.chaos.calm();
        world.rest().await;
        world.clock.advance(SignedDuration::from_hours(30));
        world.rest().await;
        let (store, replay) = (world.store(), world.chaos.replay());
        let accepted = &world.accepted;
        let violations = [
            minutes_agree(&store, accepted).await,
            hours_and_days_agree(&store, accepted).await,
            raw_data_agrees(world.now(), &store, accepted).await,
        ];
        for agreed in violations {
            agreed.unwrap_or_else(|error| panic!("{error}: {replay}"));
        }
        assert_eq!(world.queues.bodies(DEAD_LETTERS).len(), 0, "{replay}");
        assert_eq!(world.queues.given_up(), 0, "{replay}");
        let readings: usize = accepted.values().map(BTreeMap::len).sum();
        figure(CHECK, "distinct readings", readings);
        figure(CHECK, "violations", 0);
        world.chaos.report();
    });
}

#[test]
fn an_outage_is_told_in_time_and_made_up_for() {
    paused(async {
        for outage in Fault::OUTAGES {
            let mut world = World::start(seed()).await;
            for _ in 0..60 {
                world.accept();
            }
            world.chaos.outage(None);
            let (storing, aggregating) = (world.storing(), world.aggregating());
            while world.deliver(&storing, 1).await {
                let half = world.queues.bodies(READINGS).len() < 30;
                world.chaos.outage(half.then_some(outage));
                if half {
                    break;
                }
            }
            let event = world.queues.receive(READINGS, 50).expect("half is left");
            let sent = serde_json::from_value(event).unwrap();
            let run = |context| storage::handle(&storing, LambdaEvent::new(sent, context));
            let _ = world.chaos.invoke("SensorStore", run).await;
            world.aggregate(&aggregating).await;
            world.chaos.outage(None);
            // Who was not hidden comes again after its queue's time.
            world.clock.advance(SignedDuration::from_mins(95));
            world.rest().await;
            let agreed = minutes_agree(&world.store(), &world.accepted).await;
            agreed.unwrap_or_else(|error| panic!("{error}: {outage}"));
        }
    });
}
