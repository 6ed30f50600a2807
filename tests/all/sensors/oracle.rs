//! Whatever the order, repetition, delay and split of batches, and wherever processes die: what is
//! stored in the end is a plain fold over the distinct readings.

use std::{collections::BTreeMap, env};

use jiff::SignedDuration;
use proptest::{collection::vec, option, prelude::*, test_runner::TestCaseError};
use shared::sensors::{
    model::{Day, DeviceId, Hour, MINUTE_MS, Metric},
    readings::{Reading, Readings},
    rollup::{Percentile, Rollup, Sum},
    store::SensorStore,
};

use super::world::{World, deliver};
use crate::support::faults::{Fault, Plan};

pub(crate) const DEVICES: [&str; 3] = ["pump-1", "pump-2", "roof:a"];
pub(crate) const METRICS: [&str; 2] = ["value", "flow"];

/// Near the end of a month, so that hours, days and months all end on the way.
const BEGIN: &str = "2026-01-31T20:50:00Z";

/// A reading as the oracle knows it; its value is `hundredths / 100`.
#[derive(Debug, Clone, Copy)]
struct Measured {
    device: usize,
    metric: usize,
    seconds_ago: i64,
    hundredths: i64,
    is_valid: bool,
}

#[derive(Debug, Clone)]
enum Step {
    /// A request is accepted: its message is in the queue.
    Accept(Vec<Measured>),
    /// Messages are delivered, counted from the oldest, and stay in the queue if `again`.
    Deliver {
        first: usize,
        count: usize,
        reversed: bool,
        again: bool,
        fault: Option<(Fault, usize)>,
    },
    Aggregate {
        fault: Option<(Fault, usize)>,
    },
    AggregateTwice,
    Wait {
        minutes: i64,
    },
}

fn measured() -> impl Strategy<Value = Measured> {
    let seconds_ago = prop_oneof![
        4 => 0_i64..600,
        2 => (0_i64..40).prop_map(|quarter| quarter * 900),
        1 => 0_i64..130_000,
        1 => -590_i64..0,
    ];
    let hundredths = prop_oneof![
        6 => 1900_i64..2300,
        1 => -300_i64..300,
        1 => -1_000_000_000_i64..1_000_000_000,
    ];
    (
        0..DEVICES.len(),
        0..METRICS.len(),
        seconds_ago,
        hundredths,
        prop::bool::weighted(0.9),
    )
        .prop_map(
            |(device, metric, seconds_ago, hundredths, is_valid)| Measured {
                device,
                metric,
                seconds_ago,
                hundredths,
                is_valid,
            },
        )
}

fn fault() -> impl Strategy<Value = Option<(Fault, usize)>> {
    let kind = prop_oneof![
        3 => Just(Fault::DeathBefore),
        4 => Just(Fault::DeathAfter),
        1 => Just(Fault::LostReply),
    ];
    option::weighted(0.4, (kind, 0_usize..12))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => vec(measured(), 1..36).prop_map(Step::Accept),
        4 => (0_usize..4, 1_usize..4, any::<bool>(), prop::bool::weighted(0.2), fault()).prop_map(
            |(first, count, reversed, again, fault)| Step::Deliver { first, count, reversed, again, fault }
        ),
        3 => fault().prop_map(|fault| Step::Aggregate { fault }),
        1 => Just(Step::AggregateTwice),
        2 => prop_oneof![1_i64..20, 20_i64..400].prop_map(|minutes| Step::Wait { minutes }),
    ]
}

/// The distinct readings: value in hundredths and validity by device, metric and time.
pub(crate) type Distinct = BTreeMap<(usize, usize), BTreeMap<i64, (i64, bool)>>;

#[derive(Debug, Default)]
struct Seen {
    distinct: Distinct,
    accepted: usize,
    faults: usize,
}

async fn play(steps: Vec<Step>) -> Result<Seen, TestCaseError> {
    let mut world = World::start(BEGIN).await;
    let mut seen = Seen::default();
    let mut queue: Vec<String> = Vec::new();
    // A sandbox that lives on, and remembers what it noted.
    let warm = world.storing(&Plan::none());
    for step in steps {
        match step {
            Step::Accept(all) => {
                let now = world.now() + 1;
                let mut readings = Readings::default();
                for one in &all {
                    let timestamp = now - one.seconds_ago * 1000;
                    seen.accepted += 1;
                    seen.distinct
                        .entry((one.device, one.metric))
                        .or_default()
                        .insert(timestamp, (one.hundredths, one.is_valid));
                    readings.push(Reading {
                        device: DEVICES[one.device],
                        metric: METRICS[one.metric],
                        timestamp,
                        value: value(one.hundredths),
                        is_valid: one.is_valid,
                        unit: "",
                        metadata: "",
                    });
                }
                queue.extend(world.messages(readings.deduplicate()));
            }
            Step::Deliver {
                first,
                count,
                reversed,
                again,
                fault,
            } => {
                let first = first.min(queue.len());
                let last = (first + count).min(queue.len());
                let mut bodies = queue[first..last].to_vec();
                if reversed {
                    bodies.reverse();
                }
                let done = match fault {
                    None => Some(deliver(&warm, &bodies).await),
                    Some((fault, at)) => {
                        seen.faults += 1;
                        let plan = Plan::new(fault, at);
                        plan.survive(deliver(&world.storing(&plan), &bodies)).await
                    }
                };
                if let Some(response) = done {
                    prop_assert!(response.batch_item_failures.is_empty(), "{:?}", response);
                    if !again {
                        queue.drain(first..last);
                    }
                }
            }
            Step::Aggregate { fault: None } => {
                world.aggregate(&world.aggregating(&Plan::none())).await;
            }
            Step::Aggregate {
                fault: Some((fault, at)),
            } => {
                seen.faults += 1;
                let plan = Plan::new(fault, at);
                let process = world.aggregating(&plan);
                plan.survive(world.aggregate(&process)).await;
            }
            Step::AggregateTwice => {
                let (one, other) = (
                    world.aggregating(&Plan::none()),
                    world.aggregating(&Plan::none()),
                );
                tokio::join!(world.aggregate(&one), world.aggregate(&other));
            }
            Step::Wait { minutes } => world.clock.advance(SignedDuration::from_mins(minutes)),
        }
    }
    let process = world.aggregating(&Plan::none());
    deliver(&warm, &queue).await;
    let report = world.aggregate(&process).await;
    prop_assert_eq!((report.left, report.failed, report.lag_seconds), (0, 0, 0));
    let store = world.store(&Plan::none());
    minutes_agree(&store, &seen.distinct).await?;
    world.clock.advance(SignedDuration::from_hours(30));
    world.aggregate(&process).await;
    minutes_agree(&store, &seen.distinct).await?;
    hours_and_days_agree(&store, &seen.distinct).await?;
    raw_data_agrees(world.now(), &store, &seen.distinct).await?;
    let idle = world.aggregate(&process).await;
    prop_assert_eq!(
        (idle.entries, idle.hours),
        (0, 0),
        "the log is empty in the end"
    );
    Ok(seen)
}

#[expect(clippy::cast_precision_loss, reason = "hundredths are below 2^53")]
pub(crate) fn value(hundredths: i64) -> f64 {
    hundredths as f64 / 100.0
}

fn names((device, metric): (usize, usize)) -> (DeviceId, Metric) {
    (
        DEVICES[device].parse().unwrap(),
        METRICS[metric].parse().unwrap(),
    )
}

/// Readings of each bucket, in order of time.
fn buckets(
    readings: &BTreeMap<i64, (i64, bool)>,
    bucket: impl Fn(i64) -> i64,
) -> BTreeMap<i64, Vec<(i64, bool)>> {
    let mut buckets: BTreeMap<i64, Vec<(i64, bool)>> = BTreeMap::new();
    for (&timestamp, &reading) in readings {
        buckets.entry(bucket(timestamp)).or_default().push(reading);
    }
    buckets
}

pub(crate) async fn minutes_agree(
    store: &SensorStore,
    distinct: &Distinct,
) -> Result<(), TestCaseError> {
    for (&series, readings) in distinct {
        let (device, metric) = names(series);
        let (from, to) = (Hour::new(0), Hour::of(i64::from(i32::MAX) * 1000));
        let mut stored = BTreeMap::new();
        for (hour, rollups) in store.minutes(&device, &metric, from, to).await.unwrap() {
            for (minute, rollup) in rollups.iter() {
                stored.insert(hour.start() + i64::from(minute) * MINUTE_MS, rollup.clone());
            }
        }
        agree(
            &stored,
            &buckets(readings, |ms| ms.div_euclid(MINUTE_MS) * MINUTE_MS),
        )?;
    }
    Ok(())
}

pub(crate) async fn hours_and_days_agree(
    store: &SensorStore,
    distinct: &Distinct,
) -> Result<(), TestCaseError> {
    for (&series, readings) in distinct {
        let (device, metric) = names(series);
        let (from, to) = (Day::new(0), Day::of(i64::from(i32::MAX) * 1000));
        let mut hours = BTreeMap::new();
        for (day, rollups) in store.hours(&device, &metric, from, to).await.unwrap() {
            for (hour, rollup) in rollups.iter() {
                hours.insert(day.hour(hour).start(), rollup.clone());
            }
        }
        agree(&hours, &buckets(readings, |ms| Hour::of(ms).start()))?;
        let mut days = BTreeMap::new();
        for (month, rollups) in store.days(&device, &metric, from, to).await.unwrap() {
            for (day, rollup) in rollups.iter() {
                days.insert(
                    Day::new(month.number() + i64::from(day) - 1).start(),
                    rollup.clone(),
                );
            }
        }
        agree(&days, &buckets(readings, |ms| Day::of(ms).start()))?;
    }
    Ok(())
}

/// Stored roll-ups are those of the readings: exactly, but for percentiles and the deviation.
fn agree(
    stored: &BTreeMap<i64, Rollup>,
    buckets: &BTreeMap<i64, Vec<(i64, bool)>>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        stored.keys().collect::<Vec<_>>(),
        buckets.keys().collect::<Vec<_>>()
    );
    for (rollup, readings) in stored.values().zip(buckets.values()) {
        let valid: Vec<i64> = readings
            .iter()
            .filter(|(_, valid)| *valid)
            .map(|(h, _)| *h)
            .collect();
        prop_assert_eq!(rollup.count(), readings.len() as u64);
        prop_assert_eq!(rollup.valid_count(), valid.len() as u64);
        let bits = |value: Option<f64>| value.map(|value| (value + 0.0).to_bits());
        let of = |hundredths: Option<i64>| hundredths.map(|hundredths| value(hundredths).to_bits());
        prop_assert_eq!(bits(rollup.first()), of(valid.first().copied()));
        prop_assert_eq!(bits(rollup.last()), of(valid.last().copied()));
        prop_assert_eq!(bits(rollup.min()), of(valid.iter().min().copied()));
        prop_assert_eq!(bits(rollup.max()), of(valid.iter().max().copied()));
        let sum: i64 = valid.iter().sum();
        prop_assert_eq!(bits(rollup.sum().map(Sum::to_f64)), of(Some(sum)));
        if valid.is_empty() {
            continue;
        }
        let mut sorted: Vec<f64> = valid.iter().map(|&hundredths| value(hundredths)).collect();
        sorted.sort_by(f64::total_cmp);
        for text in ["5", "50", "95", "99"] {
            let percentile: Percentile = text.parse().unwrap();
            let rank = usize::try_from(percentile.rank(valid.len() as u64)).unwrap();
            let (found, exact) = (rollup.percentile(percentile).unwrap(), sorted[rank]);
            prop_assert!(
                (found - exact).abs() <= exact.abs() * 0.010_001,
                "{} {} {}",
                text,
                found,
                exact
            );
        }
        deviation_agrees(rollup, &sorted)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "there are few readings")]
fn deviation_agrees(rollup: &Rollup, values: &[f64]) -> Result<(), TestCaseError> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / values.len() as f64).sqrt();
    let scale = values
        .iter()
        .fold(1.0_f64, |most, value| most.max(value.abs()));
    let found = rollup.stddev().unwrap();
    prop_assert!(
        (found - deviation).abs() <= scale * 1e-6,
        "{} {}",
        found,
        deviation
    );
    Ok(())
}

pub(crate) async fn raw_data_agrees(
    now: i64,
    store: &SensorStore,
    distinct: &Distinct,
) -> Result<(), TestCaseError> {
    let mut raw: Distinct = BTreeMap::new();
    for (device, name) in DEVICES.iter().enumerate() {
        let name: DeviceId = name.parse().unwrap();
        let (mut day, last) = (Day::of(now - 5 * 86_400_000), Day::of(now));
        while day <= last {
            for hour in store.day_chunks(&name, day, Some(now)).await.unwrap() {
                for row in hour.union.rows() {
                    let metric = METRICS
                        .iter()
                        .position(|metric| *metric == row.metric)
                        .unwrap();
                    #[expect(clippy::cast_possible_truncation, reason = "values are hundredths")]
                    let hundredths = (row.value * 100.0).round() as i64;
                    raw.entry((device, metric))
                        .or_default()
                        .insert(row.timestamp, (hundredths, row.is_valid));
                }
            }
            day = day.next();
        }
    }
    prop_assert_eq!(&raw, distinct);
    Ok(())
}

/// How many schedules are played: few in every run of the tests, a thousand and more at night.
fn schedules() -> u32 {
    let asked = env::var("ORACLE_SCHEDULES").ok();
    asked.and_then(|count| count.parse().ok()).unwrap_or(24)
}

#[test]
fn what_is_stored_is_a_plain_fold_over_the_distinct_readings() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut config = ProptestConfig::with_cases(schedules());
    config.failure_persistence = None;
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let totals = std::cell::Cell::new((0, 0));
    let outcome = runner.run(&vec(step(), 4..40), |steps| {
        let seen = runtime.block_on(Box::pin(play(steps)))?;
        let (accepted, faults) = totals.get();
        totals.set((accepted + seen.accepted, faults + seen.faults));
        Ok(())
    });
    let (accepted, faults) = totals.get();
    println!(
        "{} schedules, {accepted} readings, {faults} faults",
        schedules()
    );
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(faults > 0, "some processes must have died");
}
