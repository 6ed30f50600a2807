//! The queue of readings.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use functions::sensors::{aggregator, storage};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{
    platform::{
        aws::{Connection, http_client},
        batch,
        clock::Clock,
        config::RawRetention,
        ids::Random,
    },
    sensors::{
        batch::{Batch, MOST_MESSAGE_BYTES},
        model::{Day, DeviceId, Hour, MINUTE_MS, Metric},
        readings::{Reading, Readings},
        rollup::Sum,
        store::SensorStore,
    },
    testing::{Database, Table},
};
use uuid::Uuid;

use super::{
    poison::{self, Poison},
    refusals::{CURSED, KINDS, Met, Trouble},
    sqs::{Delivery, Sqs},
};
use crate::support::gauntlet;

const DEVICES: usize = 8;
const METRICS: [&str; 2] = ["value", "flow"];
const UNITS: [&str; 3] = ["", "°C", "bar"];

/// Shortly before a month ends.
const BEGIN: &str = "2026-01-31T23:10:00Z";
/// How far back readings reach, and how far apart they are, in seconds.
const REACH: u32 = 3 * 3600;
const EVERY: u32 = 12;

/// Calls of a run among which the one is that goes wrong.
const CALLS: u32 = 4;

fn device(n: usize) -> String {
    format!("pump-{n}")
}

/// A reading as the reference keeps it: when it came, its value in hundredths, validity and unit.
type Kept = (i64, i32, bool, &'static str);
/// By device, metric and time.
type Reference = BTreeMap<(usize, &'static str, i64), Kept>;

struct World {
    database: Database,
    clock: Clock,
    sqs: Sqs,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::fixed(BEGIN.parse().unwrap());
        Self {
            database: Database::start(&[Table::new("Sensors")]).await,
            sqs: Sqs::of("SensorReadingsQueue", &clock),
            clock,
        }
    }

    fn store(&self, trouble: &Trouble) -> SensorStore {
        let http = trouble.over(http_client(Some(self.database.endpoint())));
        let aws = Connection::to_emulator(self.database.endpoint(), http);
        SensorStore::new(aws.dynamodb(), "Sensors".into())
    }

    fn process(&self, trouble: &Trouble) -> storage::Context<batch::Queues> {
        storage::Context {
            store: self.store(trouble),
            failed: self.sqs.failed(),
            retention: RawRetention::new(90).unwrap(),
            clock: self.clock.clone(),
            random: self.sqs.random.clone(),
            noted: storage::Noted::default(),
        }
    }

    fn event(&self, event: Value) -> LambdaEvent<aws_lambda_events::sqs::SqsEvent> {
        let mut lambda = lambda_runtime::Context::default();
        let deadline = self.clock.now() + SignedDuration::from_mins(1);
        lambda.deadline = deadline.as_millisecond().try_into().unwrap();
        LambdaEvent::new(serde_json::from_value(event).unwrap(), lambda)
    }
}

fn message(n: usize, arrived: i64, readings: Readings) -> String {
    let id = Uuid::from_u128(n as u128);
    let batch = Batch {
        id,
        arrived,
        readings: readings.deduplicate(),
    };
    let mut messages = batch.encode_messages(MOST_MESSAGE_BYTES).unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn value(hundredths: i32) -> f64 {
    f64::from(hundredths) / 100.0
}

/// The messages of as many requests, and what they come to.
fn requests(random: &Random, count: usize, now: i64) -> (Vec<String>, Reference) {
    let mut reference = Reference::new();
    let mut messages = Vec::new();
    for n in 0..count {
        let arrived = now + i64::try_from(n).unwrap();
        let mut readings = Readings::default();
        for _ in 0..=random.up_to(6) {
            let number = random.up_to(7) as usize;
            let metric = METRICS[random.up_to(1) as usize];
            let ago = i64::from(random.up_to(REACH / EVERY) * EVERY) * 1000;
            let hundredths = i32::try_from(random.up_to(4000)).unwrap() - 1000;
            let (is_valid, unit) = (random.up_to(9) > 0, UNITS[random.up_to(2) as usize]);
            let timestamp = now - ago;
            readings.push(Reading {
                device: &device(number),
                metric,
                timestamp,
                value: value(hundredths),
                is_valid,
                unit,
                metadata: "",
            });
            reference.insert(
                (number, metric, timestamp),
                (arrived, hundredths, is_valid, unit),
            );
        }
        messages.push(message(n, arrived, readings));
    }
    (messages, reference)
}

fn one(device: &str) -> Readings {
    let mut readings = Readings::default();
    readings.push(Reading {
        device,
        metric: "value",
        timestamp: BEGIN.parse::<Timestamp>().unwrap().as_millisecond(),
        value: 1.0,
        is_valid: true,
        unit: "",
        metadata: "",
    });
    readings
}

/// Poison that looks more like readings than the common one.
fn near_misses(now: i64) -> Vec<Poison> {
    let good = message(0, now, one("pump-0"));
    let bytes = STANDARD_NO_PAD.decode(&good).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        STANDARD_NO_PAD.encode(bytes)
    };
    let bodies = [
        good[..good.len() / 2].to_owned(),
        changed(1),
        changed(bytes.len() - 1),
        format!("{good}AAAA"),
        message(0, now, one("two words")),
        // What the table refuses for good, beside messages that it would take.
        message(0, now, one(CURSED)),
    ];
    bodies.map(|body| (body, true)).to_vec()
}

#[tokio::test]
async fn readings_that_come_in_any_way_are_stored_once_and_poison_alone_is_set_aside() {
    let world = World::start().await;
    let (sqs, random) = (&world.sqs, world.sqs.random.clone());
    let count = gauntlet::sized(300, 3_000);
    let now = world.clock.now().as_millisecond();
    let (messages, reference) = requests(&random, count, now);
    let kinds = [poison::common(), near_misses(now)].concat();
    let poison = poison::fill(sqs, messages, &kinds);

    let met = Met::default();
    // A sandbox that lives on, and remembers what it noted.
    let warm = world.process(&Trouble::none());
    sqs.drain(async |delivery: Delivery| {
        let event = world.event(delivery.event);
        if !delivery.is_disturbed {
            let reply = Box::pin(storage::handle(&warm, event)).await;
            return Some(json!(reply.unwrap()));
        }
        let trouble = met.pick(&random, CALLS);
        let process = world.process(&trouble);
        let run = Box::pin(storage::handle(&process, event));
        let reply = trouble.survive(run).await;
        met.count(&trouble);
        reply.map(|reply| json!(reply.unwrap()))
    })
    .await;

    sqs.account(&poison);
    met.report("queues: SensorReadingsQueue", &KINDS);
    gauntlet::figure("queues: SensorReadingsQueue", "readings", reference.len());
    raw_data_agrees(&world, &reference).await;
    minutes_agree(&world, &reference).await;
}

fn replay() -> String {
    format!("GAUNTLET_SEED={}", gauntlet::seed())
}

async fn raw_data_agrees(world: &World, reference: &Reference) {
    let store = world.store(&Trouble::none());
    let first = Day::of(reference.keys().map(|key| key.2).min().unwrap());
    let now = world.clock.now().as_millisecond();
    let mut found = Reference::new();
    for number in 0..DEVICES {
        let id: DeviceId = device(number).parse().unwrap();
        let mut day = first;
        while day <= Day::of(now) {
            for hour in store.day_chunks(&id, day, Some(now)).await.unwrap() {
                for row in hour.union.rows() {
                    let metric = METRICS
                        .iter()
                        .find(|metric| **metric == row.metric)
                        .unwrap();
                    let unit = UNITS.iter().find(|unit| **unit == row.unit).unwrap();
                    #[expect(clippy::cast_possible_truncation, reason = "values are hundredths")]
                    let hundredths = (row.value * 100.0).round() as i32;
                    let kept = (row.arrived, hundredths, row.is_valid, *unit);
                    found.insert((number, *metric, row.timestamp), kept);
                }
            }
            day = day.next();
        }
    }
    assert_eq!(found.len(), reference.len(), "{}", replay());
    for (key, kept) in reference {
        assert_eq!(found.get(key), Some(kept), "{key:?}: {}", replay());
    }
}

async fn minutes_agree(world: &World, reference: &Reference) {
    let process = aggregator::Context {
        store: world.store(&Trouble::none()),
        retention: RawRetention::new(90).unwrap(),
        clock: world.clock.clone(),
        random: world.sqs.random.clone(),
    };
    let stop = world.clock.now() + SignedDuration::from_mins(1);
    let report = Box::pin(aggregator::run(&process, stop)).await.unwrap();
    assert_eq!((report.left, report.failed), (0, 0), "{}", replay());
    let mut expected: BTreeMap<_, (u64, i64)> = BTreeMap::new();
    for (&(number, metric, at), &(_, hundredths, is_valid, _)) in reference {
        let minute = at.div_euclid(MINUTE_MS) * MINUTE_MS;
        let (count, sum) = expected.entry((number, metric, minute)).or_default();
        *count += 1;
        *sum += if is_valid { i64::from(hundredths) } else { 0 };
    }
    let mut found = BTreeMap::new();
    let (from, to) = (Hour::new(0), Hour::of(i64::from(i32::MAX) * 1000));
    for number in 0..DEVICES {
        for name in METRICS {
            let (id, metric): (DeviceId, Metric) =
                (device(number).parse().unwrap(), name.parse().unwrap());
            let hours = process.store.minutes(&id, &metric, from, to).await.unwrap();
            for (hour, rollups) in hours {
                for (minute, rollup) in rollups.iter() {
                    let at = hour.start() + i64::from(minute) * MINUTE_MS;
                    let sum = rollup.sum().map_or(0.0, Sum::to_f64);
                    #[expect(clippy::cast_possible_truncation, reason = "sums are hundredths")]
                    let sum = (sum * 100.0).round() as i64;
                    found.insert((number, name, at), (rollup.count(), sum));
                }
            }
        }
    }
    assert_eq!(found, expected, "{}", replay());
}
