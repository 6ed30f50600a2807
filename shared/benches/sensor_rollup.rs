//! Roll-ups of a sensor's readings: bytes an item, and CPU time to fold, encode, decode and
//! assemble, beside the crate sketches-ddsketch doing its part of the same.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^53"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use shared::sensors::model::{Day, Hour};
use shared::sensors::rollup::{Percentile, Rollup, Rollups};
use shared::sensors::series::{Fetched, Parameters, Plan, Points, SeriesQuery};
use sketches_ddsketch::{Config, DDSketch};

const STEP_S: usize = 5;
const MINUTE: usize = 60 / STEP_S;
const HOUR: usize = 60 * MINUTE;
const DAY: usize = 24 * HOUR;

fn main() {
    report("temperature, 2 decimals", temperature);
    report("temperature, all digits of a double", |row| {
        temperature(row) + noise(row) * 1e-9
    });
    report("counter that rises", |row| (row * 3 + row % 7) as f64);
    report("switch", |row| f64::from(noise(row) > 0.4));
    report_series();
    divan::main();
}

/// A day of minutes with all the usual statistics, from the stored bytes to the points.
fn report_series() {
    let (query, items) = day_of_minutes();
    let whole = cpu_nanos(|| drop(black_box(assemble(&query, &decode(&items))))) / 1e3;
    let decoded = decode(&items);
    let assembled = cpu_nanos(|| drop(black_box(assemble(&query, &decoded)))) / 1e3;
    println!(
        "a day of {} points of {} statistics: {whole:.0} us with decoding, {assembled:.0} us without",
        query.buckets().len(),
        query.stats().len(),
    );
}

fn report(name: &str, value: impl Fn(usize) -> f64 + Copy) {
    println!("{name}, a reading each {STEP_S} s");
    for (item, slots, size) in [
        ("minutes", 60, MINUTE),
        ("hours", 24, HOUR),
        ("days", 31, DAY),
    ] {
        let rollups = rollups(slots, size, value);
        let bytes = rollups.encode();
        let decode = cpu_nanos(|| drop(black_box(Rollups::decode(&bytes)))) / 1e3;
        let encode = cpu_nanos(|| drop(black_box(rollups.encode()))) / 1e3;
        println!(
            "  {slots} {item}: {} bytes, {:.1} a slot; decode {decode:.1} us, encode {encode:.1} us",
            bytes.len(),
            bytes.len() as f64 / f64::from(slots),
        );
    }
    let values: Vec<f64> = (0..DAY).map(value).collect();
    let ours = cpu_nanos(|| drop(black_box(fold(&values))));
    let peer = cpu_nanos(|| drop(black_box(peer_fold(&values))));
    println!(
        "  fold {:.1} M readings/s with all statistics, {:.2} of the CPU time of sketches-ddsketch alone",
        DAY as f64 * 1e3 / ours,
        ours / peer,
    );
    let parts: Vec<Rollup> = values.chunks(MINUTE).map(fold).collect();
    let peer_parts: Vec<DDSketch> = values.chunks(MINUTE).map(peer_fold).collect();
    let ours = cpu_nanos(|| drop(black_box(merge(&parts))));
    let peer = cpu_nanos(|| drop(black_box(peer_merge(&peer_parts))));
    println!(
        "  merge of {} minutes {:.1} us, {:.2} of the CPU time of sketches-ddsketch alone",
        parts.len(),
        ours / 1e3,
        ours / peer,
    );
}

/// A number from -0.5 to 0.5 that looks random (the finaliser of `SplitMix64`).
fn noise(row: usize) -> f64 {
    let mut bits = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ bits >> 31) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// A day's swing of 10 degrees about 21, and noise of 0.2.
fn temperature(row: usize) -> f64 {
    let hour = row as f64 * std::f64::consts::TAU / DAY as f64;
    ((21.0 + 5.0 * hour.sin() + 0.2 * noise(row)) * 100.0).round() / 100.0
}

fn rollups(slots: u8, size: usize, value: impl Fn(usize) -> f64) -> Rollups {
    let mut rollups = Rollups::new();
    for slot in 0..slots {
        let start = usize::from(slot) * size;
        for row in start..start + size {
            rollups.slot(slot).add(value(row), true);
        }
    }
    rollups
}

fn day_of_minutes() -> (SeriesQuery, Vec<(Hour, Vec<u8>)>) {
    let query = SeriesQuery::parse(&Parameters {
        interval: "1min",
        start: "2026-11-20",
        end: "2026-11-21",
        ..Parameters::default()
    })
    .expect("a query");
    let day = Day::of(query.start());
    let hours = (0..24).map(|hour| {
        let start = usize::from(hour) * HOUR;
        let minutes = rollups(60, MINUTE, |row| temperature(start + row));
        (day.hour(hour), minutes.encode())
    });
    (query, hours.collect())
}

fn decode(items: &[(Hour, Vec<u8>)]) -> Fetched {
    let minutes = |(hour, bytes): &(Hour, Vec<u8>)| {
        let rollups = Rollups::decode(bytes).expect("as encoded");
        (*hour, rollups)
    };
    Fetched {
        minutes: items.iter().map(minutes).collect(),
        ..Fetched::default()
    }
}

fn assemble(query: &SeriesQuery, fetched: &Fetched) -> Points {
    let now = query.end() + 3_600_000;
    let plan = Plan::of(query, now, Some(now));
    Points::assemble(query, &plan, fetched, now)
}

fn fold(values: &[f64]) -> Rollup {
    let mut rollup = Rollup::new();
    for &value in values {
        rollup.add(value, true);
    }
    rollup
}

fn merge(parts: &[Rollup]) -> Rollup {
    let mut total = Rollup::new();
    for part in parts {
        total.merge(part);
    }
    total
}

fn peer_fold(values: &[f64]) -> DDSketch {
    let mut sketch = DDSketch::new(Config::new(0.01, 2_048, 1e-9));
    for &value in values {
        sketch.add(value);
    }
    sketch
}

fn peer_merge(parts: &[DDSketch]) -> DDSketch {
    let mut total = DDSketch::new(Config::new(0.01, 2_048, 1e-9));
    for part in parts {
        total.merge(part).expect("of one configuration");
    }
    total
}

/// Nanoseconds of CPU that one call takes on this thread, so that a busy machine does not count;
/// of wall-clock time where the system does not tell.
fn cpu_nanos(mut call: impl FnMut()) -> f64 {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (began, start) = (on_cpu(), Instant::now());
    let mut calls = 0u32;
    while start.elapsed() < Duration::from_millis(300) {
        for _ in 0..10 {
            call();
        }
        calls += 10;
    }
    let nanos = match (began, on_cpu()) {
        (Some(began), Some(ended)) => (ended - began) as f64,
        _ => start.elapsed().as_nanos() as f64,
    };
    nanos / f64::from(calls)
}

#[divan::bench]
fn fold_an_hour(bencher: Bencher<'_, '_>) {
    let values: Vec<f64> = (0..HOUR).map(temperature).collect();
    bencher
        .counter(ItemsCount::new(HOUR))
        .bench(|| fold(black_box(&values)));
}

#[divan::bench]
fn decode_60_minutes(bencher: Bencher<'_, '_>) {
    let bytes = rollups(60, MINUTE, temperature).encode();
    bencher.bench(|| Rollups::decode(black_box(&bytes)));
}

#[divan::bench]
fn assemble_a_day_of_minutes(bencher: Bencher<'_, '_>) {
    let (query, items) = day_of_minutes();
    let fetched = decode(&items);
    bencher.bench(|| assemble(&query, black_box(&fetched)));
}

#[divan::bench]
fn percentile_of_a_day(bencher: Bencher<'_, '_>) {
    let day = fold(&(0..DAY).map(temperature).collect::<Vec<_>>());
    bencher.bench(|| black_box(&day).percentile(Percentile::P95));
}
