//! What readings cost in table units, counted by the database, not estimated. The figures are
//! printed; the tests hold what the README promises.

use std::env;

use jiff::SignedDuration;
use shared::sensors::{
    model::{Day, DeviceId, Metric},
    readings::{Reading, Readings},
    store::SensorStore,
};
use tests::generate::sensors::{METRIC, Plan};

use super::world::{World, deliver, ms};
use crate::support::faults;

const BEGIN: &str = "2026-03-02T00:00:00Z";

/// How many devices send: the more there are in one run of the writer, the less the log costs each.
/// `make bench` asks for more than the few of every run of the tests.
fn devices() -> u32 {
    let asked = env::var("COST_DEVICES").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(6)
}

/// Thermometers sampled every five seconds, each batch sent once and in time.
fn plan(hours: u32, batch_seconds: u32) -> Plan {
    Plan {
        start_ms: ms(BEGIN),
        seconds: hours * 3600,
        batch_seconds,
        late_share: 0.0,
        duplicate_share: 0.0,
        ..Plan::new(devices(), 7)
    }
}

/// Units of the writes and the reads of a process.
#[derive(Debug, Clone, Copy, Default)]
struct Units {
    written: f64,
    read: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a test spends few units")]
fn units(store: &SensorStore) -> Units {
    Units {
        written: store.meter().write_halves() as f64 / 2.0,
        read: store.meter().read_halves() as f64 / 2.0,
    }
}

struct Spent {
    readings: f64,
    requests: u32,
    storing: Units,
    aggregating: Units,
    world: World,
}

/// Stores a plan's batches in order of arrival, one of each device a run, and aggregates each minute
/// that something was stored, then until all is settled.
async fn spend(plan: &Plan, aggregate: bool) -> Spent {
    let mut world = World::start(BEGIN).await;
    let none = faults::Plan::none();
    let (storing, aggregating) = (world.storing(&none), world.aggregating(&none));
    let (mut accepted, mut requests, mut messages) = (0_u32, 0, Vec::new());
    for batch in plan.batches() {
        let behind = plan.start_ms + batch.arrives_after_ms - world.now();
        if behind > 0 {
            world.clock.advance(SignedDuration::from_millis(behind));
        }
        let mut readings = Readings::default();
        for (timestamp, value) in batch.readings {
            accepted += 1;
            readings.push(Reading {
                device: &batch.device_id,
                metric: METRIC,
                timestamp,
                value,
                is_valid: true,
                unit: "",
                metadata: "",
            });
        }
        requests += 1;
        messages.extend(world.messages(readings));
        if messages.len() == plan.devices as usize {
            deliver(&storing, &messages).await;
            messages.clear();
            if aggregate {
                world.aggregate(&aggregating).await;
            }
        }
    }
    deliver(&storing, &messages).await;
    if aggregate {
        for _ in 0..30 {
            world.clock.advance(SignedDuration::from_hours(1));
            world.aggregate(&aggregating).await;
        }
    }
    Spent {
        readings: f64::from(accepted),
        requests,
        storing: units(&storing.store),
        aggregating: units(&aggregating.store),
        world,
    }
}

#[tokio::test]
async fn a_write_unit_takes_four_hundred_readings_where_a_batch_holds_an_hour() {
    let spent = spend(&plan(3, 3600), false).await;
    let readings = spent.readings / spent.storing.written;
    println!("hour batches: {readings:.0} readings a write unit, log included");
    assert!(readings >= 400.0, "{readings}");
}

#[tokio::test]
async fn five_minute_batches_are_stored_compacted_and_rolled_up_within_their_units() {
    let spent = spend(&plan(24, 300), true).await;
    let store = spent.world.store(&faults::Plan::none());
    let device: DeviceId = "thermometer-0000".parse().unwrap();
    let metric: Metric = METRIC.parse().unwrap();
    let day = Day::of(ms(BEGIN));

    let mut bytes = 0;
    let mut readings = 0_u32;
    for hour in store.day_chunks(&device, day, None).await.unwrap() {
        assert!(!hour.needs_compaction());
        readings += u32::try_from(hour.union.len()).unwrap();
        bytes += hour
            .union
            .encode()
            .unwrap()
            .iter()
            .map(Vec::len)
            .sum::<usize>();
    }
    let bytes = f64::from(u32::try_from(bytes).unwrap()) / f64::from(readings);
    println!("compacted hours: {bytes:.2} bytes a reading");
    assert!(bytes <= 1.5, "{bytes}");

    // A compacted hour is one unit: its frame and keys are below a KiB.
    let compaction = f64::from(devices()) * 24.0;
    let stored = spent.readings / (spent.storing.written + compaction);
    let whole = spent.readings / (spent.storing.written + spent.aggregating.written);
    println!(
        "5-minute batches: {stored:.1} readings a write unit with log and compaction, \
         {whole:.1} with roll-ups and the log's removal; {:.1} readings a read unit of the aggregator",
        spent.readings / spent.aggregating.read,
    );
    assert!(stored >= 40.0, "{stored}");

    let shown = spent.world.store(&faults::Plan::none());
    let now = spent.world.now();
    let hours = shown.day_chunks(&device, day, Some(now)).await.unwrap();
    assert_eq!(hours.len(), 24);
    println!(
        "a device-day of raw data: {} read units",
        units(&shown).read
    );
    assert!(units(&shown).read <= 4.0);

    let shown = spent.world.store(&faults::Plan::none());
    let days = shown.days(&device, &metric, day, day).await.unwrap();
    let rollup = days[0].1.get(2).expect("the second of the month");
    assert_eq!(rollup.count(), u64::from(readings));
    assert!(units(&shown).read <= 0.5, "{}", units(&shown).read);

    let shown = spent.world.store(&faults::Plan::none());
    let minutes = shown
        .minutes(&device, &metric, day.hour(0), day.hour(23))
        .await
        .unwrap();
    assert_eq!(minutes.len(), 24);
    println!("a day of minutes: {} read units", units(&shown).read);
    price(&spent);
}

/// Prints what a million readings cost at the list prices of us-east-1 in November 2026, from the
/// units and requests counted here; the time of the functions is left to `make bench`.
/// <https://aws.amazon.com/dynamodb/pricing/on-demand/>, <https://aws.amazon.com/sqs/pricing/>,
/// <https://aws.amazon.com/api-gateway/pricing/>, <https://aws.amazon.com/lambda/pricing/>
fn price(spent: &Spent) {
    const WRITES: f64 = 0.625;
    const READS: f64 = 0.125;
    const GATEWAY: f64 = 3.5;
    const SQS: f64 = 0.4;
    const LAMBDA: f64 = 0.2;
    let millions = spent.readings / 1e6;
    let written = spent.storing.written + spent.aggregating.written;
    let read = spent.storing.read + spent.aggregating.read;
    let table = (written * WRITES + read * READS) / 1e6 / millions;
    let requests = f64::from(spent.requests) / 1e6 / millions;
    // Sent, received, deleted; authorized, accepted and, fifty messages at a time, stored.
    let messages = requests * SQS * (1.0 + 2.0 / 10.0);
    let invocations = requests * LAMBDA * (2.0 + 1.0 / 50.0);
    println!(
        "a million readings, {:.0} a request: table ${table:.3} ({written:.0} write and {read:.0} read units here), \
         API requests ${:.3}, messages ${messages:.3}, invocations ${invocations:.3}",
        spent.readings / f64::from(spent.requests),
        requests * GATEWAY,
    );
}
