//! Taking readings in: parse, validate and pack for the queue, beside a Python function that does
//! the same with pydantic and boto3.
//!
//! Prints readings a second of CPU time for each format, and the ratio to the peer in the same run.

#[path = "../../tests/src/generate/sensors.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the bench sends some batches; it needs no command line, no expectations and no tests"
)]
mod generate;

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use generate::Plan;
use shared::sensors::batch::{Batch, MOST_MESSAGE_BYTES};
use shared::sensors::intake::{Format, Intake, Precision, Rules, parse};
use uuid::Uuid;

const LINES: Format = Format::LineProtocol {
    precision: Precision::Nanoseconds,
};

/// Two hours of samples every five seconds from 32 devices: a request of lines as a gateway of many
/// devices sends it.
const PLAN: Plan = Plan {
    seconds: 7_200,
    late_share: 0.0,
    duplicate_share: 0.0,
    ..Plan::new(32, 1)
};

/// Nearly 14 hours of samples from one device: a JSON request as large as may be.
const PLAN_OF_ONE: Plan = Plan {
    devices: 1,
    seconds: 50_000,
    batch_seconds: 50_000,
    ..PLAN
};

static LINE_PROTOCOL: LazyLock<String> = LazyLock::new(|| {
    let mut body = String::new();
    PLAN.batches()
        .for_each(|batch| batch.write_line_protocol(&mut body));
    body
});

static NDJSON: LazyLock<String> = LazyLock::new(|| {
    let mut body = String::new();
    PLAN.batches()
        .for_each(|batch| batch.write_ndjson(&mut body));
    body
});

static JSON: LazyLock<String> = LazyLock::new(|| {
    let batches = PLAN_OF_ONE.batches().map(|batch| batch.to_json());
    batches.collect()
});

const fn now_ms() -> i64 {
    PLAN.start_ms + 86_400_000
}

fn read(format: Format, body: &str) -> Intake {
    let rules = Rules {
        now_ms: now_ms(),
        oldest_ms: Some(now_ms() - 90 * 86_400_000),
        latest_ms: now_ms() + 600_000,
        most_readings: format.most_readings(),
    };
    let intake = parse(format, body.as_bytes(), &rules).expect("the body is good");
    assert_eq!(intake.rejected, 0);
    intake
}

/// What an ingest request costs between the body and the queue.
fn take(format: Format, body: &str) -> usize {
    let readings = read(format, body).readings.deduplicate();
    let rows = readings.len();
    let batch = Batch {
        id: Uuid::nil(),
        arrived: now_ms(),
        readings,
    };
    let messages = batch.encode_messages(MOST_MESSAGE_BYTES);
    black_box(messages.expect("the readings are within the limits"));
    rows
}

#[divan::bench]
fn line_protocol(bencher: Bencher) {
    run(bencher, LINES, &LINE_PROTOCOL);
}

#[divan::bench]
fn ndjson(bencher: Bencher) {
    run(bencher, Format::Ndjson, &NDJSON);
}

#[divan::bench]
fn json(bencher: Bencher) {
    run(bencher, Format::Json, &JSON);
}

fn run(bencher: Bencher, format: Format, body: &'static str) {
    bencher
        .counter(ItemsCount::new(read(format, body).readings.len()))
        .counter(BytesCount::of_str(body))
        .bench(|| take(format, black_box(body)));
}

/// Seconds of CPU that one call takes on this thread, so that a busy machine does not count; of
/// wall-clock time where the system does not tell.
fn cpu_seconds(mut call: impl FnMut()) -> f64 {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    call();
    let (before, clock) = (on_cpu(), Instant::now());
    let mut calls = 0;
    while clock.elapsed() < Duration::from_millis(1_500) {
        call();
        calls += 1;
    }
    let spent = match (before, on_cpu()) {
        (Some(before), Some(after)) => Duration::from_nanos(after - before),
        _ => clock.elapsed(),
    };
    spent.as_secs_f64() / f64::from(calls)
}

/// Seconds of CPU that the Python function takes for a body.
struct Peer {
    /// As far as validated readings as `DynamoDB`'s types.
    typed: f64,
    /// As far as requests that only have to be sent.
    whole: f64,
}

/// Runs the Python function on a body of that many readings.
fn peer(form: &str, body: &str, rows: usize) -> io::Result<Peer> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("intake.{form}"));
    std::fs::write(&file, body)?;
    let now = jiff::Timestamp::from_millisecond(now_ms()).map_err(io::Error::other)?;
    let output = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("tests/peers/intake.py"))
        .arg(&file)
        .args(["--form", form, "--now", &now.to_string()])
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(message));
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if answer["puts"].as_u64() != u64::try_from(rows).ok() {
        return Err(io::Error::other("the peer did not put every reading"));
    }
    let seconds = |name: &str| {
        let seconds = answer[name].as_f64();
        seconds.ok_or_else(|| io::Error::other("the peer tells no figures"))
    };
    Ok(Peer {
        typed: seconds("typed_seconds")?,
        whole: seconds("seconds")?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "50,000 is exact")]
fn report() {
    for (name, format, body, form) in [
        ("line protocol", LINES, &*LINE_PROTOCOL, None),
        ("NDJSON", Format::Ndjson, &*NDJSON, Some("ndjson")),
        ("JSON", Format::Json, &*JSON, Some("json")),
    ] {
        let rows = read(format, body).readings.len();
        let parsed = cpu_seconds(|| drop(black_box(read(format, body))));
        let packed = cpu_seconds(|| _ = black_box(take(format, body)));
        let rate = |seconds: f64| rows as f64 / seconds / 1e6;
        println!(
            "{name}: {rows} readings of {:.0} bytes; parsed and validated {:.2} M/s; packed for the queue as well {:.2} M/s",
            body.len() as f64 / rows as f64,
            rate(parsed),
            rate(packed),
        );
        match form.map(|form| peer(form, body, rows)) {
            None => {}
            Some(Ok(peer)) => println!(
                "  pydantic to DynamoDB's types {:.4} M/s, ratio {:.0}; boto3's requests as well {:.4} M/s, ratio {:.0}",
                rate(peer.typed),
                peer.typed / parsed,
                rate(peer.whole),
                peer.whole / packed,
            ),
            Some(Err(error)) => println!("  no peer: {error}"),
        }
    }
}

fn main() {
    divan::main();
    // cargo test runs benches to see that they work; figures of a debug build mean nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        report();
    }
}
