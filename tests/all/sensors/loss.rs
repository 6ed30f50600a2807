//! Nothing that was accepted is lost: not when functions are killed, and not beside a message that
//! nobody can read.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::platform::ids::Random;
use shared::sensors::batch::{Batch, MOST_MESSAGE_BYTES};
use shared::sensors::readings::{Reading, Readings};
use uuid::Uuid;

use crate::support::bucket::{block_on, connection};
use crate::support::lambda::invoke;
use crate::support::processes::{kill, processes};
use crate::support::queue::ShortVisibility;
use crate::support::sensors::{
    NDJSON, aggregate, bulk, csv_rows, dead_letters, device, eventually, points, range, stored,
};
use crate::support::stack::{stack, unique};

const DEVICES: usize = 20;
const BATCHES: usize = 200;
const READINGS_OF_A_BATCH: usize = 500;
/// So many batches hold the readings of one device.
const BATCHES_OF_A_DEVICE: usize = BATCHES / DEVICES;
const SENDERS: usize = 4;

/// 2025-06-01T00:00:00Z in milliseconds of Unix time.
const START: i64 = 1_748_736_000_000;
const EVERY_MS: i64 = 3_000;

/// Processes of a function that are killed at most: a message that is cut off five times would be
/// given up on, as it should.
const MOST_KILLED: usize = 40;

/// Kills one of a function's processes at a time, at random, until told to stop.
fn kill_at_random(name: &str, is_over: &AtomicBool) -> usize {
    let random = Random::system();
    let mut killed = 0;
    while !is_over.load(Ordering::Relaxed) && killed < MOST_KILLED {
        let found = processes(name);
        if let Some(last) = found.len().checked_sub(1) {
            let last = u32::try_from(last).expect("there are few");
            let process = &found[random.up_to(last) as usize];
            killed += usize::from(kill(process));
        }
        thread::sleep(Duration::from_millis(50 + u64::from(random.up_to(200))));
    }
    killed
}

/// The readings of a device's batch, every tenth of another order, as lines.
fn batch(device: &str, part: usize) -> String {
    let lines: Vec<String> = (0..READINGS_OF_A_BATCH)
        .map(|at| {
            let at = at * BATCHES_OF_A_DEVICE + part;
            let timestamp = START + i64::try_from(at).expect("it is small") * EVERY_MS;
            json!({"device_id": device, "timestamp": timestamp, "value": at}).to_string()
        })
        .collect();
    lines.join("\n")
}

#[test]
fn every_accepted_reading_is_counted_once_although_functions_are_killed_at_random() {
    let devices: Vec<String> = (0..DEVICES).map(|_| device()).collect();
    let readings = BATCHES_OF_A_DEVICE * READINGS_OF_A_BATCH;
    let end = START + i64::try_from(readings).expect("it is small") * EVERY_MS;
    let time = |ms: i64| {
        Timestamp::from_millisecond(ms)
            .expect("it is a time")
            .to_string()
    };
    let visibility = ShortVisibility::of(&stack().readings_queue_url);
    let (is_over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    let killed = thread::scope(|scope| {
        let killers = ["sensor-store", "sensor-aggregate"].map(|name| {
            scope.spawn({
                let is_over = &is_over;
                move || kill_at_random(name, is_over)
            })
        });
        let aggregator = scope.spawn(|| {
            let mut cut_short = 0;
            while !is_over.load(Ordering::Relaxed) {
                cut_short += usize::from(invoke(&stack().aggregate_function, &json!({})).is_err());
            }
            cut_short
        });
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= BATCHES {
                            return;
                        }
                        let body = batch(&devices[number % DEVICES], number / DEVICES);
                        let report = bulk("?backfill=true", NDJSON, body).send();
                        let report = report.expect(202).json();
                        assert_eq!(report["accepted"], READINGS_OF_A_BATCH);
                    }
                })
            })
            .collect();
        let sent: Vec<_> = senders
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        is_over.store(true, Ordering::Relaxed);
        let cut_short = aggregator.join().expect("it only invokes");
        assert!(sent.iter().all(Result::is_ok), "a sender failed");
        let [stores, aggregates] = killers.map(|killer| killer.join().expect("it only kills"));
        (stores, aggregates, cut_short)
    });
    let (stores, aggregates, cut_short) = killed;
    assert!(stores > 0 && aggregates > 0 && cut_short > 0, "{killed:?}");

    for device in &devices {
        let rows = stored(device, &time(START), &time(end), readings);
        let values = rows.iter().map(|row| row.split(',').nth(2));
        let expected: Vec<String> = (0..readings).map(|at| format!("{at}.0")).collect();
        assert!(
            values.eq(expected.iter().map(|value| Some(value.as_str()))),
            "{} rows of {device}",
            rows.len()
        );
    }
    drop(visibility);
    aggregate();
    for device in &devices {
        for (interval, millis) in [("1hour", 3_600_000), ("1min", 60_000)] {
            let query = range(
                &time(START),
                &time(end),
                &format!("&interval={interval}&stats=count,sum"),
            );
            let expected: Vec<Value> = (START..end)
                .step_by(millis)
                .map(|start| {
                    let last = (start + i64::try_from(millis).expect("it is small")).min(end);
                    let (first, last) = ((start - START) / EVERY_MS, (last - START) / EVERY_MS);
                    let start = Timestamp::from_millisecond(start).expect("it is a time");
                    json!([
                        format!("{start:.3}"),
                        last - first,
                        (first..last).sum::<i64>()
                    ])
                })
                .collect();
            assert_eq!(
                points(device, &query, &["count", "sum"]),
                expected,
                "{device}"
            );
        }
    }
    let lost: Vec<String> = dead_letters()
        .iter()
        .filter_map(|message| Batch::decode_message(message.body()?).ok())
        .map(|batch| format!("{} readings", batch.readings.len()))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_message_that_is_no_batch_is_put_aside_with_its_reason_and_the_others_are_stored() {
    let id = device();
    let mut readings = Readings::new();
    let timestamps = [START, START + 1];
    for timestamp in timestamps {
        readings.push(Reading {
            device: &id,
            metric: "value",
            timestamp,
            value: 1.0,
            is_valid: true,
            unit: "",
            metadata: "",
        });
    }
    let batch = Batch {
        id: Uuid::from_u128(1),
        arrived: Timestamp::now().as_millisecond(),
        readings,
    };
    let good = batch
        .encode_messages(MOST_MESSAGE_BYTES)
        .expect("it is small");
    let poison = [
        format!("poison {}", unique()),
        STANDARD_NO_PAD.encode(format!("poison {}", unique())),
    ];
    let bodies = [&poison[0], &good[0], &poison[1]];
    let entries = bodies.iter().enumerate().map(|(at, body)| {
        let entry = SendMessageBatchRequestEntry::builder().id(at.to_string());
        entry.message_body(*body).build().expect("it is whole")
    });
    let client = connection().sqs();
    let batch = client
        .send_message_batch()
        .queue_url(&stack().readings_queue_url)
        .set_entries(Some(entries.collect()));
    let sent = block_on(batch.send()).expect("the queue answers");
    assert_eq!(sent.successful().len(), bodies.len());
    let time = |ms| {
        Timestamp::from_millisecond(ms)
            .expect("it is a time")
            .to_string()
    };
    let (start, end) = (time(START), time(START + 1000));
    assert_eq!(stored(&id, &start, &end, 2).len(), 2);
    let mut reasons = Vec::new();
    eventually("both are given up on", || {
        reasons.extend(dead_letters().into_iter().filter_map(|message| {
            let is_ours = poison
                .iter()
                .any(|body| Some(body.as_str()) == message.body());
            let reason = message.message_attributes?.remove("failure-reason")?;
            is_ours.then_some(reason.string_value?)
        }));
        reasons.len() >= poison.len()
    });
    reasons.sort();
    assert_eq!(
        reasons,
        ["the message is not a batch", "the message is not base64"],
        "each says what is wrong with it"
    );
    assert_eq!(csv_rows(&id, &start, &end).len(), 2);
}
