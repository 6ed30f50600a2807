//! Readings from the wire to the table: every format, what is refused, and what the same reading
//! twice comes to.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::api::Call;
use crate::support::sensors::{
    JSON, LINES, NDJSON, aggregate, backfill, bulk, csv_rows, device, device_id, gzip, points,
    range, reading, stored, write,
};

const START: &str = "2025-02-03T04:00:00Z";
const END: &str = "2025-02-03T05:00:00Z";
/// 2025-02-03T04:05:06.789Z in milliseconds of Unix time.
const AT: i64 = 1_738_555_506_789;

#[test]
fn every_format_plain_or_compressed_carries_the_same_readings() {
    let with = |body: String| (body.clone(), gzip(body.as_bytes()));
    let json_of = |id: &str| {
        let readings = json!([
            {"metric": "t", "timestamp": "2025-02-03T04:05:06.789Z", "value": 21.5},
            {"metric": "h", "timestamp": AT, "value": 40},
        ]);
        with(json!({"device_id": id, "readings": readings}).to_string())
    };
    let ndjson_of = |id: &str| {
        let first = json!({"device_id": id, "metric": "t", "timestamp": AT, "value": 21.5});
        let second = json!({
            "value": 4e1, "metric": "h", "timestamp": "2025-02-03T05:05:06.789+01:00",
            "device_id": id,
        });
        with(format!("{first}\n\r\n{second}\r\n"))
    };
    let lines_of = |id: &str| with(format!("m,site=a,device_id={id} t=21.5,h=40i {AT}\n"));
    for is_compressed in [false, true] {
        let chosen = |(plain, compressed): (String, Vec<u8>)| {
            if is_compressed {
                compressed
            } else {
                plain.into_bytes()
            }
        };
        let send = |call: Call, status: u16| {
            let call = if is_compressed {
                call.header("Content-Encoding", "gzip")
            } else {
                call
            };
            call.send().expect(status)
        };
        let ids: [String; 4] = std::array::from_fn(|_| device());
        for (id, query, kind, body) in [
            (&ids[0], "?backfill=true", JSON, json_of(&ids[0])),
            (&ids[1], "/?backfill=true", NDJSON, ndjson_of(&ids[1])),
            (
                &ids[2],
                "?backfill=true&precision=ms",
                LINES,
                lines_of(&ids[2]),
            ),
        ] {
            let report = send(bulk(query, kind, chosen(body)), 202).json();
            assert_eq!(
                (&report["accepted"], &report["rejected"], &report["errors"]),
                (&json!(2), &json!(0), &json!([])),
                "{kind} of {id}"
            );
            assert!(report["batch_id"].is_string());
        }
        let query = "&backfill=true&precision=ms";
        let written = send(write(query, chosen(lines_of(&ids[3]))), 204);
        assert!(written.body.is_empty());
        for id in &ids {
            assert_eq!(
                stored(id, START, END, 2),
                [
                    "2025-02-03T04:05:06.789Z,h,40.0,true,,",
                    "2025-02-03T04:05:06.789Z,t,21.5,true,,",
                ]
            );
        }
    }
}

#[test]
fn all_that_a_reading_says_is_kept() {
    let id = device();
    let said = json!({
        "metric": "temperatur, \"außen\"", "timestamp": "2025-02-03T04:05:06.7899999Z",
        "value": -0.1, "unit": "°C", "is_valid": false, "metadata": {"by": "A, \"B\"", "n": [1.50]},
    });
    backfill(&id, &[said]);
    assert_eq!(
        stored(&id, START, END, 1),
        [concat!(
            "2025-02-03T04:05:06.789Z,\"temperatur, \"\"außen\"\"\",-0.1,false,°C,",
            "\"{\"\"by\"\":\"\"A, \\\"\"B\\\"\"\"\",\"\"n\"\":[1.5]}\""
        )]
    );
}

#[test]
fn a_reading_without_time_or_metric_is_of_its_arrival_and_the_metric_value() {
    let id = device();
    let before = Timestamp::now();
    let body = json!({"device_id": id, "readings": [{"value": 7}]}).to_string();
    bulk("", JSON, body).send().expect(202);
    let after = Timestamp::now();
    let end = after + SignedDuration::from_secs(1);
    let rows = stored(&id, &before.to_string(), &end.to_string(), 1);
    let (time, rest) = rows[0].split_once(',').expect("a row has cells");
    let time: Timestamp = time.parse().expect("the first is a time");
    let margin = SignedDuration::from_millis(1);
    assert!((before - margin..=after).contains(&time), "{time}");
    assert_eq!(rest, "value,7.0,true,,");
}

#[test]
fn the_same_readings_again_count_once_and_of_two_values_the_later_arrival_stands() {
    let id = device();
    let at = |second: u32| format!("2025-02-03T04:00:{second:02}Z");
    let first = [reading(&at(1), 1.0), reading(&at(2), 2.0)];
    backfill(&id, &first);
    stored(&id, START, END, 2);
    // One message carries a request of this size, so with the third reading the others are there.
    backfill(
        &id,
        &[first[0].clone(), first[1].clone(), reading(&at(3), 3.0)],
    );
    let row = |second: u32, value: &str| {
        format!("2025-02-03T04:00:{second:02}.000Z,value,{value},true,,")
    };
    assert_eq!(
        stored(&id, START, END, 3),
        [row(1, "1.0"), row(2, "2.0"), row(3, "3.0")]
    );
    let changed = [
        reading(&at(1), 8.0),
        reading(&at(1), 10.0),
        reading(&at(4), 4.0),
    ];
    backfill(&id, &changed);
    assert_eq!(stored(&id, START, END, 4)[0], row(1, "10.0"));
    aggregate();
    let query = range(START, END, "&interval=1hour");
    let members = ["count", "valid_count", "sum", "max", "first"];
    assert_eq!(
        points(&id, &query, &members),
        [json!(["2025-02-03T04:00:00.000Z", 4, 4, 19, 10.0, 10.0])]
    );
}

#[test]
fn readings_older_than_what_is_kept_are_taken_as_a_backfill_only_and_none_of_the_future() {
    let id = device();
    let now = Timestamp::now();
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let minutes = SignedDuration::from_mins;
    let send = |query: &str, at: Timestamp| {
        let readings = [reading(&at.to_string(), 1.0), json!({"value": 1})];
        let body = json!({"device_id": id, "readings": readings}).to_string();
        let report = bulk(query, JSON, body).send().expect(202).json();
        report["errors"][0]["code"].clone()
    };
    for (query, at, code) in [
        ("", now - days(89), Value::Null),
        ("", now - days(91), json!("too-late")),
        ("?backfill=false", now - days(5000), json!("too-late")),
        ("?backfill=true", now - days(91), Value::Null),
        ("?backfill=true", now - days(5000), Value::Null),
        ("", now + minutes(9), Value::Null),
        ("", now + minutes(12), json!("in-the-future")),
        ("?backfill=true", now + minutes(12), json!("in-the-future")),
    ] {
        assert_eq!(send(query, at), code, "{query} {at}");
    }
    let long_ago = "2013-12-02T21:15:00Z";
    backfill(&id, &[reading(long_ago, 73.967_322_1)]);
    let rows = stored(&id, long_ago, "2013-12-02T21:15:01Z", 1);
    assert_eq!(rows, ["2013-12-02T21:15:00.000Z,value,73.9673221,true,,"]);
}

#[test]
fn a_bad_reading_is_told_with_its_place_and_keeps_no_other_out() {
    let id = device();
    let mut readings = vec![json!({"timestamp": AT, "value": 1})];
    readings.extend(vec![json!({"timestamp": AT}); 150]);
    readings.push(json!({"timestamp": AT + 1, "value": 2}));
    let body = json!({"device_id": id, "readings": readings}).to_string();
    let report = bulk("?backfill=true", JSON, body).send().expect(202).json();
    assert_eq!(
        (&report["accepted"], &report["rejected"]),
        (&json!(2), &json!(150))
    );
    let errors = report["errors"].as_array().expect("there are some");
    assert_eq!(errors.len(), 100);
    assert_eq!(
        errors[99],
        json!({"index": 100, "code": "missing-value", "detail": "value is missing"})
    );
    assert_eq!(stored(&id, START, END, 2).len(), 2);
}

#[test]
fn a_body_without_a_single_good_reading_is_refused_with_the_reasons() {
    let id = device();
    let send = |kind: &str, body: String| bulk("", kind, body).send();
    let body = json!({"device_id": id, "readings": [{"value": "1"}, {}]}).to_string();
    let problem = send(JSON, body).problem(422, "no-valid-readings");
    let errors = &problem["errors"];
    assert_eq!(
        (&errors[0]["pointer"], &errors[0]["code"]),
        (&json!("/readings/0"), &json!("invalid-value"))
    );
    assert_eq!(
        (&errors[1]["pointer"], &errors[1]["code"]),
        (&json!("/readings/1"), &json!("missing-value"))
    );
    for (kind, body) in [
        (JSON, json!({"device_id": id, "readings": []}).to_string()),
        (NDJSON, String::new()),
        (LINES, "# nothing\n\n".to_owned()),
    ] {
        send(kind, body).problem(422, "no-readings");
    }
    let unknown = device_id();
    let line = json!({"device_id": unknown, "value": 1}).to_string();
    send(NDJSON, line.clone()).problem(404, "unknown-device");
    send(LINES, format!("m,device_id={unknown} v=1")).problem(404, "unknown-device");
    let known = json!({"device_id": id, "value": 1});
    let report = send(NDJSON, format!("{line}\n{known}")).expect(202).json();
    assert_eq!(report["errors"][0]["code"], "unknown-device");
}

#[test]
fn what_is_no_request_for_readings_is_told_so() {
    let id = device();
    let line = format!("m,device_id={id} v=1");
    let send = |query: &str, kind: &str| bulk(query, kind, line.clone()).send();
    send("", "text/csv").problem(415, "unsupported-media-type");
    send("", "application/octet-stream").problem(415, "unsupported-media-type");
    send("", "text/plain; charset=iso-8859-1").problem(415, "unsupported-media-type");
    send("?backfill=maybe", LINES).problem(400, "invalid-query");
    send("?precision=h", LINES).problem(400, "invalid-query");
    send("?precision=ms", NDJSON).problem(400, "invalid-query");
    send("?bucket=b", LINES).problem(400, "invalid-query");
    let encoded = bulk("", LINES, line.clone()).header("Content-Encoding", "br");
    encoded.send().problem(415, "unsupported-media-type");
}

#[test]
fn a_write_is_answered_as_influxdb_answers_it() {
    let id = device();
    let body = format!(
        "# header\nm,device_id={id} v=1 {AT}\nm,device_id={id} v={AT}\n\nm,device_id={id} v=2 {}\n",
        AT + 1
    );
    let broken = body.replace(&format!("v={AT}"), "v=");
    let answer = write("&precision=ms&backfill=true", broken).send();
    let error = answer.expect(400).json();
    assert_eq!(
        (&error["code"], &error["line"]),
        (&json!("invalid"), &json!(3)),
        "{error}"
    );
    let message = error["message"].as_str().expect("it says what is wrong");
    assert!(message.contains("line 3"), "{message}");
    assert_eq!(stored(&id, START, END, 2).len(), 2, "good lines are kept");

    for (query, body, status, code) in [
        (
            "&precision=h",
            format!("m,device_id={id} v=1"),
            400,
            "invalid",
        ),
        ("", "m v=1".to_owned(), 400, "invalid"),
        ("", String::new(), 400, "invalid"),
        (
            "",
            format!("m,device_id={} v=1", device_id()),
            404,
            "not found",
        ),
        ("", " ".repeat(5 << 20), 413, "request too large"),
    ] {
        let error = write(query, body).send().expect(status).json();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].is_string(), "{error}");
    }
    let other = write("", "m v=1").header("Content-Encoding", "br").send();
    assert_eq!(other.expect(415).json()["code"], "unsupported media type");
}

#[test]
fn a_request_as_large_as_the_limit_is_stored_whole() {
    let id = device();
    let lines: Vec<String> = (0..50_000)
        .map(|at| format!("m,device_id={id} v={at} {}", AT - AT % 3_600_000 + at * 70))
        .collect();
    let answer = write("&precision=ms&backfill=true", lines.join("\n")).send();
    answer.expect(204);
    let rows = stored(&id, START, END, 50_000);
    assert_eq!(rows.len(), 50_000);
    let value = |row: &String| row.split(',').nth(2).map(str::to_owned);
    let expected = (0..50_000).map(|at| Some(format!("{at}.0")));
    assert!(rows.iter().map(value).eq(expected), "each is there once");
    assert!(csv_rows(&id, END, "2025-02-03T06:00:00Z").is_empty());
}
