use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::sensors::ingest::testing::{Answer, NOW, World};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const LINES: &str = "text/plain";

fn readings(device: &str, readings: &Value) -> String {
    json!({"device_id": device, "readings": readings}).to_string()
}

fn codes(body: &Value) -> Vec<(u64, &str)> {
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| {
            (
                error["index"].as_u64().unwrap(),
                error["code"].as_str().unwrap(),
            )
        })
        .collect()
}

fn refused(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap())
}

#[tokio::test]
async fn good_readings_are_queued_and_bad_ones_told_with_their_place() {
    let world = World::new().await;
    let body = readings(
        "a",
        &json!([
            {"metric": "t", "timestamp": "2026-11-20T15:59:00Z", "value": 21.5},
            {"value": "warm"},
            {"timestamp": NOW + 600_001, "value": 1},
            {"timestamp": NOW - 90 * 86_400_000 - 1, "value": 1},
            {"value": 3},
        ]),
    );
    let (status, answer) = world.bulk(JSON, body).await;
    assert_eq!(status, 202);
    assert_eq!(
        (answer["accepted"].as_u64(), answer["rejected"].as_u64()),
        (Some(2), Some(3))
    );
    assert_eq!(
        codes(&answer),
        [(1, "invalid-value"), (2, "in-the-future"), (3, "too-late")]
    );
    assert_eq!(
        world.queued(),
        [
            format!("a t {} 21.5", NOW - 60_000),
            format!("a value {NOW} 3")
        ]
    );
    let batch = world.queue.batches().remove(0);
    assert_eq!(answer["batch_id"], json!(batch.id.to_string()));
    assert_eq!(batch.arrived, NOW);
}

#[tokio::test]
async fn every_format_says_the_same() {
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let expected = [format!("a t {} 21.5", NOW - 1000), format!("a t {NOW} 22")];
    let time = NOW - 1000;
    let json = readings(
        "a",
        &json!([
            {"metric": "t", "timestamp": time, "value": 21.5}, {"metric": "t", "value": 22}
        ]),
    );
    let ndjson = format!(
        "{{\"device_id\":\"a\",\"metric\":\"t\",\"timestamp\":{time},\"value\":21.5}}\n\n\
         {{\"device_id\":\"a\",\"metric\":\"t\",\"value\":22}}\n"
    );
    let lines = format!("# c\nm,device_id=a t=21.5 {time}000000\nm,device_id=a t=22\n");
    for (kind, body) in [(JSON, json), (NDJSON, ndjson), (LINES, lines)] {
        for body in [body.clone().into_bytes(), gzip(&body)] {
            let world = World::new().await;
            let (status, answer) = world.bulk(kind, body).await;
            assert_eq!(
                (status, answer["accepted"].as_u64()),
                (202, Some(2)),
                "{kind}"
            );
            assert_eq!(world.queued(), expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_reading_twice_in_one_request_is_queued_once_with_its_last_value() {
    let world = World::new().await;
    let body = format!("m,device_id=a t=1 {NOW}000000\nm,device_id=a t=2 {NOW}000000");
    let (status, answer) = world.bulk(LINES, body).await;
    assert_eq!((status, answer["accepted"].as_u64()), (202, Some(2)));
    assert_eq!(world.queued(), [format!("a t {NOW} 2")]);
}

#[tokio::test]
async fn a_request_of_nothing_but_bad_readings_is_unprocessable() {
    let world = World::new().await;
    let answer = world
        .bulk(JSON, readings("a", &json!([{}, {"value": null}])))
        .await;
    assert_eq!(refused(&answer), (422, "no-valid-readings"));
    let pointers: Vec<_> = answer.1["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["pointer"])
        .collect();
    assert_eq!(pointers, ["/readings/0", "/readings/1"]);
    let answer = world.bulk(JSON, readings("a", &json!([]))).await;
    assert_eq!(refused(&answer), (422, "no-readings"));
    assert_eq!(
        refused(&world.bulk(LINES, "# nothing\n").await),
        (422, "no-readings")
    );
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn a_json_body_for_a_device_that_cannot_be_written_to_is_refused_whole() {
    let world = World::new().await;
    let one = json!([{"value": 1}, {"value": "x"}]);
    assert_eq!(
        refused(&world.bulk(JSON, readings("new", &one)).await),
        (404, "unknown-device")
    );
    assert_eq!(
        refused(&world.bulk(JSON, readings("off", &one)).await),
        (404, "inactive-device")
    );
    let target = "/api/sensors/readings/bulk";
    let headers = [("content-type", JSON)];
    for device in ["b", "new"] {
        let body = readings(device, &one);
        let (status, _, answer) = world
            .send(Some(World::ONLY_A), target, &headers, body)
            .await;
        assert_eq!(
            (status, &answer["code"]),
            (403, &json!("device-not-allowed"))
        );
    }
    assert!(world.queued().is_empty());
}

#[tokio::test]
async fn lines_for_devices_that_cannot_be_written_to_are_refused_alone() {
    let world = World::new().await;
    let body =
        "m,device_id=new t=1\n\nm,device_id=a t=2\nm,device_id=off t=3\nm,device_id=a x=\"s\"";
    let (status, answer) = world.bulk(LINES, body).await;
    assert_eq!(status, 202);
    assert_eq!(
        codes(&answer),
        [
            (0, "unknown-device"),
            (2, "inactive-device"),
            (3, "not-a-number")
        ]
    );
    assert_eq!(world.queued(), [format!("a t {NOW} 2")]);

    let target = "/api/sensors/readings/bulk";
    let headers = [("content-type", LINES)];
    let both = "m,device_id=a t=4\nm,device_id=b t=5";
    let (status, _, answer) = world
        .send(Some(World::ONLY_A), target, &headers, both)
        .await;
    assert_eq!(
        (status, codes(&answer)),
        (202, vec![(1, "device-not-allowed")])
    );
}

#[tokio::test]
async fn lines_of_which_none_names_a_device_that_can_be_written_to_say_so_by_status() {
    let world = World::new().await;
    for (body, expected) in [
        ("m,device_id=new t=1", (404, "unknown-device")),
        (
            "m,device_id=off t=1\nm,device_id=off t=2",
            (404, "inactive-device"),
        ),
        (
            "m,device_id=new t=1\nm,device_id=off t=1",
            (404, "unknown-device"),
        ),
        ("m,device_id=new t=1\nm t=1", (422, "no-valid-readings")),
    ] {
        let answer = world.bulk(LINES, body).await;
        assert_eq!(refused(&answer), expected, "{body}");
        assert!(!answer.1["errors"].as_array().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_backfill_takes_readings_of_any_age() {
    let world = World::new().await;
    let target = "/api/sensors/readings/bulk/?backfill=true&precision=s";
    let headers = [("content-type", "text/plain; charset=utf-8")];
    let body = "m,device_id=a t=1 0";
    let (status, ..) = world.send(Some(World::ALL), target, &headers, body).await;
    assert_eq!((status, world.queued()), (202, vec!["a t 0 1".to_owned()]));
}

#[tokio::test]
async fn a_request_that_cannot_be_read_says_why() {
    let world = World::new().await;
    let bulk = "/api/sensors/readings/bulk";
    let many = vec![json!({"value": 1}); 10_001];
    for (target, kind, body, expected) in [
        (
            bulk,
            "application/xml",
            String::new(),
            (415, "unsupported-media-type"),
        ),
        (
            bulk,
            "text/plain; charset=latin1",
            String::new(),
            (415, "unsupported-media-type"),
        ),
        (bulk, JSON, "{".to_owned(), (400, "malformed-json")),
        (bulk, JSON, "[]".to_owned(), (422, "invalid-body")),
        (
            bulk,
            JSON,
            readings("a b", &json!([])),
            (422, "invalid-body"),
        ),
        (
            bulk,
            JSON,
            readings("a", &json!(many)),
            (413, "too-many-readings"),
        ),
        (bulk, LINES, " ".repeat(5 << 20), (413, "body-too-large")),
        (
            "/api/sensors/readings/bulk?precision=h",
            LINES,
            String::new(),
            (400, "invalid-query"),
        ),
        (
            "/api/sensors/readings/bulk?precision=s",
            JSON,
            String::new(),
            (400, "invalid-query"),
        ),
        (
            "/api/sensors/readings/bulk?org=x",
            LINES,
            String::new(),
            (400, "invalid-query"),
        ),
    ] {
        let headers = [("content-type", kind)];
        let (status, _, answer) = world.send(Some(World::ALL), target, &headers, body).await;
        assert_eq!(
            (status, answer["code"].as_str().unwrap()),
            expected,
            "{target} {kind}"
        );
    }
}

#[tokio::test]
async fn nobody_writes_without_an_active_key() {
    let world = World::new().await;
    for key in [None, Some(World::REVOKED), Some(99)] {
        let target = "/api/sensors/readings/bulk";
        let headers = [("content-type", LINES)];
        let (status, ..) = world.send(key, target, &headers, "m,device_id=a t=1").await;
        assert_eq!(status, 401, "{key:?}");
    }
}

#[tokio::test]
async fn a_new_device_is_known_at_once_and_an_inactive_one_after_a_minute() {
    let world = World::new().await;
    let body = readings("c", &json!([{"value": 1}]));
    assert_eq!(world.bulk(JSON, body.clone()).await.0, 404);
    world.register("c", true).await;
    assert_eq!(world.bulk(JSON, body.clone()).await.0, 202);
    world.register("c", false).await;
    assert_eq!(world.bulk(JSON, body.clone()).await.0, 202);
    world.clock.advance(SignedDuration::from_secs(60));
    assert_eq!(world.bulk(JSON, body).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_queue_nothing_is_accepted() {
    for (answer, status) in [
        (Answer::Down, 503),
        (Answer::Busy, 503),
        (Answer::Wrong, 500),
    ] {
        let world = World::with_queue(match answer {
            Answer::Down => |_, _| Answer::Down,
            Answer::Busy => |_, _| Answer::Busy,
            _ => |_, _| Answer::Wrong,
        })
        .await;
        let target = "/api/sensors/readings/bulk";
        let headers = [("content-type", LINES)];
        let body = "m,device_id=a t=1";
        let (found, headers, _) = world.send(Some(World::ALL), target, &headers, body).await;
        assert_eq!(found, status, "{answer:?}");
        assert_eq!(
            headers.contains_key("retry-after"),
            status == 503,
            "{answer:?}"
        );
    }
}
