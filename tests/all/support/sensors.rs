//! Devices of the stack, their readings on the way in, and what comes out again.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::Message;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::api::{Answer, Call, Role, call, encoded, get};
use super::bucket::{block_on, connection};
use super::lambda::invoke;
use super::stack::{stack, unique};

pub(crate) const BULK: &str = "/api/sensors/readings/bulk";
pub(crate) const DEVICES: &str = "/api/sensors/devices";
pub(crate) const KEYS: &str = "/api/sensors/keys";

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const LINES: &str = "text/plain; charset=utf-8";

/// How long readings may take from their 202 to the table.
const PATIENCE: Duration = Duration::from_mins(2);

/// A new name for a device.
pub(crate) fn device_id() -> String {
    format!("test-{}", unique())
}

/// Asks for a device to be registered.
pub(crate) fn register(body: &Value) -> Call {
    call("POST", DEVICES)
        .role(Role::Admin)
        .body(JSON, body.to_string())
}

/// A device of the caller's own, active and without readings.
pub(crate) fn device() -> String {
    let id = device_id();
    register(&json!({"device_id": id, "name": "A test's", "type": "custom"}))
        .send()
        .expect(201);
    id
}

/// Asks for a device key.
pub(crate) fn new_key(devices: &[&str]) -> Answer {
    let body = json!({"name": "a test's", "devices": devices});
    call("POST", KEYS)
        .role(Role::Admin)
        .body(JSON, body.to_string())
        .send()
        .expect(201)
}

/// The secret of a new device key.
pub(crate) fn secret(devices: &[&str]) -> String {
    let key = new_key(devices).json();
    key["secret"]
        .as_str()
        .expect("a new key has its secret")
        .to_owned()
}

/// Readings on their way in, from a key for every device.
pub(crate) fn bulk(query: &str, kind: &str, body: impl Into<Vec<u8>>) -> Call {
    call("POST", &format!("{BULK}{query}"))
        .header("x-api-key", &stack().device_key)
        .body(kind, body)
}

/// Line protocol as an `InfluxDB` client sends it, from a key for every device.
pub(crate) fn write(query: &str, body: impl Into<Vec<u8>>) -> Call {
    call("POST", &format!("/api/v2/write?org=o&bucket=b{query}"))
        .header("Authorization", &format!("Token {}", stack().device_key))
        .body(LINES, body)
}

/// Sends a device's readings of any age, and takes nothing but all of them accepted.
pub(crate) fn backfill(device: &str, readings: &[Value]) {
    let body = json!({"device_id": device, "readings": readings});
    let answer = bulk("?backfill=true", JSON, body.to_string())
        .send()
        .expect(202)
        .json();
    assert_eq!(
        (&answer["accepted"], &answer["rejected"]),
        (&json!(readings.len()), &json!(0)),
        "{answer}"
    );
}

/// A reading of the default metric.
pub(crate) fn reading(timestamp: &str, value: f64) -> Value {
    json!({"timestamp": timestamp, "value": value})
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}

/// Every reading of a device and a range as CSV, without the header, all pages.
pub(crate) fn csv_rows(device: &str, start: &str, end: &str) -> Vec<String> {
    let first = format!("{DEVICES}/{device}/readings?start={start}&end={end}&limit=10000");
    let mut path = first.clone();
    let mut rows = Vec::new();
    loop {
        let page = get(&path).header("Accept", "text/csv").send().expect(200);
        let mut lines = page.text().split_terminator("\r\n");
        assert_eq!(
            lines.next(),
            Some("timestamp,metric,value,is_valid,unit,metadata")
        );
        rows.extend(lines.map(str::to_owned));
        let Some(link) = page.header("link") else {
            return rows;
        };
        let cursor = link
            .split_once("cursor=")
            .and_then(|(_, rest)| rest.split_once('>'));
        let (cursor, _) = cursor.expect("a link to the next page has its cursor");
        path = format!("{first}&cursor={cursor}");
    }
}

/// The readings of a device and a range once at least `count` are stored.
pub(crate) fn stored(device: &str, start: &str, end: &str, count: usize) -> Vec<String> {
    let mut rows = Vec::new();
    eventually(&format!("{count} readings of {device}"), || {
        rows = csv_rows(device, start, end);
        rows.len() >= count
    });
    rows
}

/// Waits for what comes by itself.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes to this: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Runs the deployed aggregator until it leaves nothing that is due. A run that was killed is begun
/// anew, as the next minute's would be.
pub(crate) fn aggregate() -> Value {
    let mut last = Value::Null;
    eventually("the aggregator leaves nothing", || {
        let Ok(report) = invoke(&stack().aggregate_function, &json!({})) else {
            return false;
        };
        last = report;
        (&last["left"], &last["lag_seconds"]) == (&json!(0), &json!(0))
    });
    assert_eq!(last["failed"], 0, "{last}");
    last
}

/// Every message that was given up on, without taking it away.
pub(crate) fn dead_letters() -> Vec<Message> {
    let client = connection().sqs();
    let mut found: Vec<Message> = Vec::new();
    loop {
        let receive = client
            .receive_message()
            .queue_url(&stack().readings_dead_letters_url)
            .max_number_of_messages(10)
            .visibility_timeout(2)
            .message_attribute_names("All");
        let received = block_on(receive.send()).expect("the queue answers");
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            return found;
        }
        found.extend(messages);
    }
}

/// A series as an analyst sees it.
pub(crate) fn series(device: &str, query: &str) -> Value {
    let path = format!("{DEVICES}/{device}/aggregates?{query}");
    let call = call("GET", &path).role(Role::Analyst);
    call.send().expect(200).json()
}

/// The points of a series, with their starts and those of their members that are named.
pub(crate) fn points(device: &str, query: &str, members: &[&str]) -> Vec<Value> {
    let series = series(device, query);
    let points = series["data"].as_array().expect("a series has data");
    points
        .iter()
        .map(|point| {
            let kept = ["start"].iter().chain(members);
            kept.map(|&name| point[name].clone()).collect()
        })
        .collect()
}

/// `start`, `end` and whatever else of a range of times, as a query.
pub(crate) fn range(start: &str, end: &str, rest: &str) -> String {
    format!("start={}&end={}{rest}", encoded(start), encoded(end))
}
