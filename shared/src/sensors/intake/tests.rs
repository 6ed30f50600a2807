use insta::assert_snapshot;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sensors::model::{DeviceId, EARLIEST_MS, LATEST_MS, Metric};
use crate::sensors::readings::Reading;

const NOW: i64 = 1_795_000_000_000;
const DAY: i64 = 86_400_000;
const LINES: Format = Format::LineProtocol {
    precision: Precision::Milliseconds,
};

const fn rules() -> Rules {
    Rules {
        now_ms: NOW,
        oldest_ms: Some(NOW - 90 * DAY),
        latest_ms: NOW + 600_000,
        most_readings: 1_000,
    }
}

const fn backfill() -> Rules {
    Rules {
        oldest_ms: None,
        ..rules()
    }
}

#[track_caller]
fn taken(format: Format, body: impl AsRef<[u8]>) -> Intake {
    parse(format, body.as_ref(), &rules()).expect("the body as a whole is good")
}

/// The codes of the rejected rows with their index.
fn codes(intake: &Intake) -> Vec<(usize, &'static str)> {
    let errors = intake.errors.iter();
    errors.map(|error| (error.index, error.code)).collect()
}

/// The errors, one a line.
fn listed(intake: &Intake) -> String {
    let line = |error: &RowError| {
        let RowError {
            index,
            line,
            code,
            detail,
        } = error;
        format!("{index} line {line} {code}: {detail}\n")
    };
    intake.errors.iter().map(line).collect()
}

fn reading(
    device: &'static str,
    metric: &'static str,
    timestamp: i64,
    value: f64,
) -> Reading<'static> {
    Reading {
        device,
        metric,
        timestamp,
        value,
        is_valid: true,
        unit: "",
        metadata: "",
    }
}

fn all(intake: &Intake) -> Vec<Reading<'_>> {
    intake.readings.iter().collect()
}

#[test]
fn a_json_body_is_a_device_and_its_readings() {
    let body = r#" {
        "device_id": "pump-1",
        "readings": [
            {"value": 1},
            {"metric": "flow", "timestamp": "2026-11-18T10:00:00.5Z", "value": -2.5e1, "unit": "l/s",
             "is_valid": false, "metadata": { "site" : "a b", "tags": [1, 2] }},
            {"timestamp": 1794990000000, "value": 0.1, "metric": null, "unit": null,
             "is_valid": null, "metadata": null},
            {"timestamp": null, "value": 3, "unit": ""}
        ]
    } "#;
    let intake = taken(Format::Json, body);
    assert_eq!(intake.errors, []);
    assert_eq!(
        all(&intake),
        [
            reading("pump-1", "value", NOW, 1.0),
            Reading {
                is_valid: false,
                unit: "l/s",
                metadata: r#"{"site":"a b","tags":[1,2]}"#,
                ..reading("pump-1", "flow", 1_794_996_000_500, -25.0)
            },
            reading("pump-1", "value", 1_794_990_000_000, 0.1),
            reading("pump-1", "value", NOW, 3.0),
        ]
    );
}

#[test]
fn readings_may_stand_before_their_device() {
    let before = r#"{"readings":[{"value":1},{"value":"x"}],"device_id":"a"}"#;
    let behind = r#"{"device_id":"a","readings":[{"value":1},{"value":"x"}]}"#;
    assert_eq!(taken(Format::Json, before), taken(Format::Json, behind));
}

#[test]
fn names_with_escapes_are_names() {
    let body = r#"{"d\u0065vice_id":"a\u002d1","readings":[{"m\u0065tric":"\u00b0C \ud83c\udf21","value":1}]}"#;
    assert_eq!(
        all(&taken(Format::Json, body)),
        [reading("a-1", "°C 🌡", NOW, 1.0)]
    );
}

#[test]
fn a_body_that_is_not_readings_of_a_device_is_refused() {
    for (body, code, pointer) in [
        ("", "malformed-json", ""),
        ("{", "malformed-json", ""),
        (
            r#"{"device_id":"a","readings":[{"value":NaN}]}"#,
            "malformed-json",
            "",
        ),
        (
            r#"{"device_id":"a","readings":[{"value":1}]}x"#,
            "malformed-json",
            "",
        ),
        (
            r#"{"device_id":"a","readings":[{"value":1}"#,
            "malformed-json",
            "",
        ),
        (
            r#"{"device_id":"a","readings":[{"value":1},]}"#,
            "malformed-json",
            "",
        ),
        ("[]", "not-an-object", ""),
        (r#"{"readings":[]}"#, "missing-field", "/device_id"),
        (
            r#"{"device_id":null,"readings":[]}"#,
            "missing-field",
            "/device_id",
        ),
        (r#"{"device_id":"a"}"#, "missing-field", "/readings"),
        (
            r#"{"device_id":"a","readings":null}"#,
            "invalid-readings",
            "/readings",
        ),
        (
            r#"{"device_id":"a","readings":{}}"#,
            "invalid-readings",
            "/readings",
        ),
        (
            r#"{"device_id":"a b","readings":[]}"#,
            "invalid-device-id",
            "/device_id",
        ),
        (
            r#"{"device_id":7,"readings":[]}"#,
            "invalid-device-id",
            "/device_id",
        ),
        (
            r#"{"device_id":"a","device_id":"a","readings":[]}"#,
            "duplicate-field",
            "/device_id",
        ),
        (
            r#"{"device_id":"a","readings":[],"readings":[]}"#,
            "duplicate-field",
            "/readings",
        ),
        (
            r#"{"device_id":"a","readings":[],"more":1}"#,
            "unknown-field",
            "",
        ),
    ] {
        let error = parse(Format::Json, body.as_bytes(), &rules()).expect_err(body);
        assert_eq!((error.code(), error.pointer()), (code, pointer), "{body}");
    }
    let error = parse(Format::Json, b"{\"device_id\":\"\xff\"}", &rules());
    assert_eq!(error, Err(BodyError::InvalidUtf8 { offset: 14 }));
    let error = parse(Format::Json, b"{\"device_id\" 1}", &rules()).expect_err("no colon");
    assert_eq!(
        error.to_string(),
        "body is not JSON: expected a colon at byte 13"
    );
}

#[test]
fn no_readings_are_no_error() {
    for (format, body) in [
        (Format::Json, r#"{"device_id":"a","readings":[]}"#),
        (Format::Ndjson, "\n \r\n\t\n"),
        (Format::Ndjson, ""),
        (LINES, "# nothing\n\n   # more\r\n"),
        (LINES, ""),
    ] {
        assert_eq!(taken(format, body), Intake::default(), "{body}");
    }
}

/// Readings, a line each, behind what must come of them.
const READINGS: &str = r#"
ok                     {"value":1}
missing-value          {}
missing-value          {"value":null}
invalid-value          {"value":"1"}
invalid-value          {"value":true}
invalid-value          {"value":[1,{"a":2}]}
number-out-of-range    {"value":1e309}
number-out-of-range    {"value":-1e999999999999}
ok                     {"value":1.7976931348623157e308}
ok                     {"value":1e-400}
not-an-object          7
not-an-object          []
not-an-object          null
unknown-field          {"value":1,"unti":"C"}
unknown-field          {"value":1,"device_id":"b"}
duplicate-field        {"value":1,"value":1}
duplicate-field        {"value":1,"v\u0061lue":1}
duplicate-field        {"unit":null,"value":1,"unit":"C"}
invalid-metric         {"value":1,"metric":""}
invalid-metric         {"value":1,"metric":"a#b"}
invalid-metric         {"value":1,"metric":"a\nb"}
invalid-metric         {"value":1,"metric":5}
invalid-unit           {"value":1,"unit":5}
invalid-unit           {"value":1,"unit":"a\u0000"}
invalid-is-valid       {"value":1,"is_valid":"true"}
invalid-is-valid       {"value":1,"is_valid":0}
invalid-timestamp      {"value":1,"timestamp":"yesterday"}
invalid-timestamp      {"value":1,"timestamp":"2016-12-31T23:59:60Z"}
invalid-timestamp      {"value":1,"timestamp":1.5}
invalid-timestamp      {"value":1,"timestamp":1e3}
invalid-timestamp      {"value":1,"timestamp":true}
timestamp-out-of-range {"value":1,"timestamp":99999999999999999999}
timestamp-out-of-range {"value":1,"timestamp":"1899-12-31T23:59:59.999Z"}
timestamp-out-of-range {"value":1,"timestamp":"9999-12-31T23:00:00-01:00"}
invalid-metadata       {"value":1,"metadata":[]}
invalid-metadata       {"value":1,"metadata":"text"}
invalid-metadata       {"value":1,"metadata":{"a":1e999}}
ok                     {"value":1,"metadata":{"a":[[[[[[[]]]]]]]}}
invalid-metadata       {"value":1,"metadata":{"a":[[[[[[[[]]]]]]]]}}
"#;

#[test]
fn a_wrong_reading_is_rejected_alone() {
    let member = |name: &str, value: String| format!(r#"{{"value":1,"{name}":{value}}}"#);
    let text = |bytes: usize| format!(r#""{}""#, "x".repeat(bytes));
    let filled = |bytes: usize| format!(r#"{{"a": {}}}"#, text(bytes - 8));
    let mut rows: Vec<(&str, String)> = READINGS
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(code, row)| (code, row.trim_start().to_owned()))
        .collect();
    rows.extend([
        ("ok", member("metric", text(100))),
        ("invalid-metric", member("metric", text(101))),
        ("ok", member("unit", text(32))),
        ("invalid-unit", member("unit", text(33))),
        ("ok", member("metadata", filled(1_024))),
        ("metadata-too-large", member("metadata", filled(1_025))),
    ]);
    let bodies: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
    let body = format!(r#"{{"device_id":"a","readings":[{}]}}"#, bodies.join(",\n"));
    let intake = taken(Format::Json, &body);
    let expected: Vec<(usize, &str)> = rows
        .iter()
        .enumerate()
        .filter(|(_, (code, _))| *code != "ok")
        .map(|(index, (code, _))| (index, *code))
        .collect();
    assert_eq!(codes(&intake), expected);
    assert_eq!(intake.rejected, expected.len());
    assert_eq!(intake.readings.len(), rows.len() - expected.len());
    let mut errors = intake.errors.iter();
    assert!(errors.all(|error| error.line == error.index + 1));
}

#[test]
fn times_must_lie_within_what_is_kept() {
    let oldest = NOW - 90 * DAY;
    let rows = [
        (oldest, None),
        (oldest - 1, Some("too-late")),
        (NOW + 600_000, None),
        (NOW + 600_001, Some("in-the-future")),
        (EARLIEST_MS, Some("too-late")),
        (EARLIEST_MS - 1, Some("timestamp-out-of-range")),
        (LATEST_MS, Some("in-the-future")),
        (LATEST_MS + 1, Some("timestamp-out-of-range")),
        (i64::MIN, Some("timestamp-out-of-range")),
        (i64::MAX, Some("timestamp-out-of-range")),
    ];
    for (timestamp, code) in rows {
        let ndjson = format!(r#"{{"device_id":"a","value":1,"timestamp":{timestamp}}}"#);
        let line = format!("m,device_id=a f=1 {timestamp}");
        for (format, body) in [(Format::Ndjson, ndjson), (LINES, line)] {
            let found = codes(&taken(format, &body));
            assert_eq!(found.first().map(|(_, code)| *code), code, "{body}");
            let found = parse(format, body.as_bytes(), &backfill()).expect("the body is good");
            let is_too_late = code == Some("too-late");
            assert_eq!(found.rejected == 0, code.is_none() || is_too_late, "{body}");
        }
    }
}

#[test]
fn each_line_of_ndjson_is_read_alone() {
    let body = concat!(
        "{\"device_id\":\"a\",\"value\":1}\r\n",
        "\n",
        "{\"device_id\":\"a\",\"value\":2} {}\n",
        "{\"device_id\":\"a\",\"value\":3\n",
        " \t\n",
        "{\"value\":4}\n",
        "{\"device_id\":\"a b\",\"value\":5}\n",
        "{\"device_id\":null,\"value\":5}\n",
        "{\"device_id\":[],\"value\":5}\n",
        "null\n",
        "  {\"value\":6,\"device_id\":\"b\"}  ",
    );
    let mut body = body.as_bytes().to_vec();
    body.extend_from_slice(b"\n{\"device_id\":\"a\",\"unit\":\"\xff\",\"value\":7}\n*{}");
    let intake = taken(Format::Ndjson, body);
    assert_eq!(
        all(&intake),
        [
            reading("a", "value", NOW, 1.0),
            reading("b", "value", NOW, 6.0)
        ]
    );
    assert_snapshot!(listed(&intake), @r"
    1 line 3 malformed-json: line is not JSON: {}
    2 line 4 malformed-json: line is not JSON
    3 line 6 missing-device: device_id is missing
    4 line 7 invalid-device-id: device_id is not 1 to 100 letters, digits, dots, underscores, colons or hyphens: a b
    5 line 8 missing-device: device_id is missing
    6 line 9 invalid-device-id: device_id is not 1 to 100 letters, digits, dots, underscores, colons or hyphens: []
    7 line 10 not-an-object: reading is not an object: null
    9 line 12 invalid-utf-8: line is not valid UTF-8
    10 line 13 malformed-json: line is not JSON: *{}
    ");
}

#[test]
fn line_protocol_is_read_with_its_types_and_escapes() {
    let body = concat!(
        "weather,device_id=a,room=1 t=1.5,h=40i,p=7u,on=true,off=F,neg=-3,e=1e3 1794996000500\n",
        "# a comment with a \"quote, x=\"\n",
        "m\\ x\\,y,a\\=b=c\\ d,device_id=a\\:1 wind\\ speed\\,\\=\\\\x=2\n",
        "   m,device_id=a f=3  1794996000501  \r\n",
        "m,device_id=a f=\"text, with \\\"quotes\\\" = and\nline breaks\",g=4 1794996000502\n",
        "m,device_id=a f=5",
    );
    let intake = taken(LINES, body);
    let at = 1_794_996_000_500;
    assert_eq!(
        all(&intake),
        [
            reading("a", "t", at, 1.5),
            reading("a", "h", at, 40.0),
            reading("a", "p", at, 7.0),
            reading("a", "on", at, 1.0),
            reading("a", "off", at, 0.0),
            reading("a", "neg", at, -3.0),
            reading("a", "e", at, 1000.0),
            reading("a", "f", at + 1, 3.0),
            reading("a", "g", at + 2, 4.0),
            reading("a", "f", NOW, 5.0),
        ]
    );
    assert_snapshot!(listed(&intake), @r#"
    1 line 3 invalid-device-id: device_id is not 1 to 100 letters, digits, dots, underscores, colons or hyphens: a\:1
    3 line 5 not-a-number: field is a string, not a number: "text, with \"quotes\" = and�line breaks…
    "#);
}

#[test]
fn a_wrong_line_is_rejected_alone_and_a_wrong_field_too() {
    let rows = [
        ("m,device_id=a f=1", 1, vec![]),
        ("m,device_id=a f=1,g=\"x\",h=2", 2, vec!["not-a-number"]),
        (
            "m,device_id=a f=NaN,g=-inf,h=Infinity,i=1",
            1,
            vec!["not-finite"; 3],
        ),
        ("m,device_id=a f=1e309,g=1", 1, vec!["number-out-of-range"]),
        (
            "m,device_id=a f=9007199254740992i,g=-9007199254740992i",
            2,
            vec![],
        ),
        (
            "m,device_id=a f=9007199254740993i,g=9007199254740993u,h=1",
            1,
            vec!["integer-too-large"; 2],
        ),
        (
            "m,device_id=a f=99999999999999999999999i",
            0,
            vec!["integer-too-large"],
        ),
        ("m,device_id=a a#b=1,c=1", 1, vec!["invalid-metric"]),
        ("m,device_id=a\\ b f=1,g=2", 0, vec!["invalid-device-id"; 2]),
        ("m f=1", 0, vec!["missing-device"]),
        ("m,room=1 f=1,g=2", 0, vec!["missing-device"]),
        ("m,device_id=a,device_id=a f=1", 0, vec!["duplicate-field"]),
        (
            "m,device_id=a f=1 99999999999999999999",
            0,
            vec!["timestamp-out-of-range"],
        ),
        ("m,device_id=a", 0, vec!["malformed-line"]),
        ("m,device_id=a ", 0, vec!["malformed-line"]),
        ("m,device_id= f=1", 0, vec!["malformed-line"]),
        ("m,device_id f=1", 0, vec!["malformed-line"]),
        ("m, f=1", 0, vec!["malformed-line"]),
        (",device_id=a f=1", 0, vec!["malformed-line"]),
        ("m,device_id=a f", 0, vec!["malformed-line"]),
        ("m,device_id=a f=", 0, vec!["malformed-line"]),
        ("m,device_id=a =1", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1,", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1,g=x", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1 g=2", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1 1.5", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1 -", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1.5i", 0, vec!["malformed-line"]),
        ("m,device_id=a f=-1u", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1x", 0, vec!["malformed-line"]),
        ("m,device_id=a f=tru", 0, vec!["malformed-line"]),
        ("m,device_id=a f=+1", 0, vec!["malformed-line"]),
        ("m,device_id=a f\\", 0, vec!["malformed-line"]),
        ("m,device_id=a f\\=1", 0, vec!["malformed-line"]),
        ("m,device_id=a\tf=1", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1", 1, vec![]),
        ("m,device_id=a f=\"never closed", 0, vec!["malformed-line"]),
        ("m,device_id=a f=1", 1, vec![]),
    ];
    let lines: Vec<&str> = rows.iter().map(|(line, ..)| *line).collect();
    let intake = taken(LINES, lines.join("\n"));
    let expected: Vec<(usize, &str)> = rows
        .iter()
        .enumerate()
        .flat_map(|(index, (_, _, codes))| codes.iter().map(move |code| (index, *code)))
        .collect();
    assert_eq!(codes(&intake), expected);
    let accepted: usize = rows.iter().map(|(_, accepted, _)| accepted).sum();
    assert_eq!(intake.readings.len(), accepted);
}

#[test]
fn times_of_line_protocol_are_rounded_down_to_milliseconds() {
    for (name, time, expected) in [
        ("ns", "1794996000500999999", 1_794_996_000_500),
        ("us", "1794996000500999", 1_794_996_000_500),
        ("ms", "1794996000500", 1_794_996_000_500),
        ("s", "1794996000", 1_794_996_000_000),
        ("ns", "-1", -1),
        ("us", "-1001", -2),
        ("ms", "-1", -1),
        ("s", "-1", -1_000),
    ] {
        let precision = Precision::from_name(name).expect("it is a precision");
        let body = format!("m,device_id=a f=1 {time}");
        let intake = parse(
            Format::LineProtocol { precision },
            body.as_bytes(),
            &backfill(),
        );
        let intake = intake.expect("the body is good");
        assert_eq!(all(&intake), [reading("a", "f", expected, 1.0)], "{name}");
    }
    assert_eq!(Precision::from_name("m"), None);
}

#[test]
fn lines_that_are_not_utf8_are_rejected_alone() {
    let intake = taken(
        LINES,
        b"m,device_id=a f=1\nm,device_id=a,x=\xff f=1\nm,device_id=a f=2",
    );
    assert_eq!(codes(&intake), [(1, "invalid-utf-8")]);
    assert_eq!(intake.readings.len(), 2);
}

#[test]
fn quotes_that_are_never_closed_cost_no_more_than_one_search() {
    let body = "m,device_id=a f=\"\\\"\n".repeat(100_000) + "m,device_id=a f=1";
    let generous = Rules {
        most_readings: usize::MAX,
        ..rules()
    };
    let intake = parse(LINES, body.as_bytes(), &generous).expect("the body is good");
    assert_eq!(intake.readings.len(), 1);
    assert_eq!(intake.errors.len(), MOST_ERRORS);
}

#[test]
fn bodies_with_too_many_readings_are_refused_and_full_ones_are_not() {
    let rules = Rules {
        most_readings: 3,
        ..rules()
    };
    let json = |rows: usize| {
        let row = |at| {
            if at == 1 {
                json!({"value": "x"})
            } else {
                json!({"value": 1})
            }
        };
        json!({"device_id": "a", "readings": (0..rows).map(row).collect::<Vec<_>>()}).to_string()
    };
    let ndjson = |rows: usize| {
        "\n{\"device_id\":\"a\",\"value\":1}\n\n{\n{}\n{}"
            .lines()
            .take(rows + 2)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let fields = |rows: usize| {
        format!(
            "m,device_id=a {}",
            ["a=1", "b=2", "c=\"\"", "d=4"][..rows].join(",")
        )
    };
    for (rows, is_too_many) in [(3, false), (4, true)] {
        for (format, body) in [
            (Format::Json, json(rows)),
            (Format::Ndjson, ndjson(rows)),
            (LINES, fields(rows)),
        ] {
            let error = parse(format, body.as_bytes(), &rules).err();
            let expected = is_too_many.then_some(BodyError::TooManyReadings { limit: 3 });
            assert_eq!(error, expected, "{body}");
        }
    }
}

#[test]
fn a_device_has_a_limited_number_of_metrics_in_one_body() {
    let line = |device: &str, metric: usize| format!("m,device_id={device} f{metric}=1\n");
    let mut body: String = (0..1_001).map(|metric| line("a", metric)).collect();
    body += &(line("a", 7) + &line("a", 1_001) + &line("b", 1_001));
    let generous = Rules {
        most_readings: 2_000,
        ..rules()
    };
    let intake = parse(LINES, body.as_bytes(), &generous).expect("the body is good");
    assert_eq!(
        codes(&intake),
        [(1_000, "too-many-metrics"), (1_002, "too-many-metrics")]
    );
    assert_eq!(intake.readings.len(), 1_002);
}

#[test]
fn all_errors_are_counted_and_the_first_ones_kept() {
    let intake = taken(Format::Ndjson, "{}\n".repeat(500));
    assert_eq!((intake.rejected, intake.errors.len()), (500, MOST_ERRORS));
}

#[test]
fn an_error_repeats_little_of_the_input() {
    let long = "x".repeat(10_000);
    let ndjson = [
        format!("{{\"{long}\":1}}"),
        format!("{{\"device_id\":\"{long}\",\"value\":1}}"),
        format!("{{\"device_id\":\"a\",\"value\":1,\"timestamp\":\"\u{1b}{long}\"}}"),
        format!("{{\"device_id\":\"a\",\"value\":1,\"timestamp\":\"\\u001b{long}\"}}"),
    ];
    let lines = [
        format!("m,device_id=a {long}"),
        format!("m,device_id=a f=1 {}", "9".repeat(10_000)),
        format!("m,device_id=a f\u{1b}{long}=1"),
    ];
    for intake in [
        taken(Format::Ndjson, ndjson.join("\n")),
        taken(LINES, lines.join("\n")),
    ] {
        assert!(intake.errors.len() >= 3);
        for error in intake.errors {
            assert!(error.detail.chars().count() < 140, "{}", error.detail);
            assert!(!error.detail.contains(char::is_control), "{}", error.detail);
        }
    }
}

#[test]
fn nested_bombs_are_refused_without_a_stack() {
    let bomb = "[".repeat(5_000_000);
    let body = format!(r#"{{"device_id":"a","readings":[{{"value":{bomb}"#);
    let error = parse(Format::Json, body.as_bytes(), &rules()).expect_err("it is too deep");
    assert_eq!(error.code(), "malformed-json");
    let intake = taken(
        Format::Ndjson,
        format!("{{\"metadata\":{bomb}\n{{\"a\":{bomb}"),
    );
    assert_eq!(
        codes(&intake),
        [(0, "malformed-json"), (1, "malformed-json")]
    );
}

/// As crate `influxdb-line-protocol` reads it: for each line, its device, time and fields.
mod oracle {
    use influxdb_line_protocol::{FieldValue, parse_lines};

    pub(super) type Line = Option<(Option<String>, Option<i64>, Vec<(String, Option<u64>)>)>;

    /// The value in bits; a string has none.
    fn value(value: &FieldValue<'_>) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "larger integers are not generated"
        )]
        let value = match value {
            FieldValue::F64(value) => *value,
            FieldValue::I64(value) => *value as f64,
            FieldValue::U64(value) => *value as f64,
            FieldValue::Boolean(value) => f64::from(u8::from(*value)),
            FieldValue::String(_) => return None,
        };
        Some(value.to_bits())
    }

    pub(super) fn lines(body: &str) -> Vec<Line> {
        parse_lines(body)
            .map(|line| {
                let line = line.ok()?;
                let fields = line.field_set.iter();
                Some((
                    line.tag_value("device_id").map(ToString::to_string),
                    line.timestamp,
                    fields
                        .map(|(key, field)| (key.to_string(), value(field)))
                        .collect(),
                ))
            })
            .collect()
    }
}

/// A device, a metric, a time, and a value in bits.
type Row = (String, String, i64, u64);

/// What must come of a body, if the oracle reads it so: its readings, and its rows' errors.
fn expected_of(lines: Vec<oracle::Line>) -> (Vec<Row>, Vec<(usize, &'static str)>) {
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for (index, line) in lines.into_iter().enumerate() {
        let Some((device, timestamp, fields)) = line else {
            errors.push((index, "malformed-line"));
            continue;
        };
        let Some(device) = device else {
            errors.push((index, "missing-device"));
            continue;
        };
        for (metric, value) in fields {
            match value {
                None => errors.push((index, "not-a-number")),
                Some(value) if !f64::from_bits(value).is_finite() => {
                    errors.push((index, "number-out-of-range"));
                }
                Some(_) if !DeviceId::is_valid(&device) => {
                    errors.push((index, "invalid-device-id"));
                }
                Some(_) if !Metric::is_valid(&metric) => errors.push((index, "invalid-metric")),
                Some(value) => rows.push((device.clone(), metric, timestamp.unwrap_or(NOW), value)),
            }
        }
    }
    (rows, errors)
}

#[track_caller]
fn agrees_with_the_oracle(body: &str) {
    let rules = Rules {
        oldest_ms: None,
        latest_ms: LATEST_MS,
        ..rules()
    };
    let found = parse(LINES, body.as_bytes(), &rules).expect("the body is good");
    let (rows, errors) = expected_of(oracle::lines(body));
    assert_eq!(codes(&found), errors, "{body:?}");
    let readings = found.readings.iter();
    let found: Vec<_> = readings
        .map(|row| {
            (
                row.device.to_owned(),
                row.metric.to_owned(),
                row.timestamp,
                row.value.to_bits(),
            )
        })
        .collect();
    assert_eq!(found, rows, "{body:?}");
}

/// A name with everything escaped that must be.
fn name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9é:/\"'-]{1,6}",
        Just("\\ ".to_owned()),
        Just("\\,".to_owned()),
        Just("\\=".to_owned()),
        Just("\\\\a".to_owned()),
        Just("\\x".to_owned()),
    ];
    vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

fn field_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_filter_map("finite", |value| value
            .is_finite()
            .then(|| format!("{value:e}"))),
        "-?[0-9]{1,8}(\\.[0-9]{1,20})?",
        "[0-9]{1,3}(\\.[0-9]{1,3})?[eE][+-]?[0-9]{1,2}",
        "-?[1-9][0-9]{0,14}i",
        "[0-9]{1,15}u",
        "t|T|true|True|TRUE|f|F|false|False|FALSE",
        r#""([a-z ,=#\n]|\\"|\\\\){0,8}""#,
    ]
}

fn line() -> impl Strategy<Value = String> {
    let pairs = |pairs: Vec<(String, String)>| {
        let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",")
    };
    let tags = vec((name(), name()), 0..3).prop_map(pairs);
    let device = prop_oneof![4 => "device_id=[a-z]{1,3}", 1 => Just(String::new())];
    let fields = vec((name(), field_value()), 1..4).prop_map(pairs);
    let time = proptest::option::of(EARLIEST_MS..LATEST_MS);
    (name(), tags, device, fields, time).prop_map(|(measurement, tags, device, fields, time)| {
        let mut parts = vec![measurement, tags, device];
        parts.retain(|part| !part.is_empty());
        let time = time.map(|time| format!(" {time}")).unwrap_or_default();
        format!("{} {fields}{time}", parts.join(","))
    })
}

proptest! {
    #[test]
    fn line_protocol_is_read_as_others_read_it(
        lines in vec(prop_oneof![6 => line(), 1 => Just("# a comment".to_owned())], 0..8)
    ) {
        agrees_with_the_oracle(&lines.join("\n"));
    }

    #[test]
    fn broken_line_protocol_is_refused_as_others_refuse_it(
        line in line().prop_filter("one line", |line| !line.contains('\n')),
        at in any::<prop::sample::Index>(),
        patch in "[ ,=\"a]{0,2}",
        cut in 0..3usize,
    ) {
        let characters: Vec<char> = line.chars().collect();
        let at = at.index(characters.len());
        let (head, tail) = (&characters[..at], &characters[(at + cut).min(characters.len())..]);
        let patch: Vec<char> = patch.chars().collect();
        let text: String = [head, &patch, tail].concat().iter().collect();
        // The other one reads over a comma that nothing follows, and minds a space at the end.
        prop_assume!(!text.contains(", ") && !text.ends_with([',', ' ']));
        // A point without digits on both sides is taken here, as InfluxDB itself takes it.
        let is_digit = |c: char| c.is_ascii_digit();
        prop_assume!(text.split('.').skip(1).all(|behind| behind.starts_with(is_digit)));
        prop_assume!(text.rsplit('.').skip(1).all(|before| before.ends_with(is_digit)));
        agrees_with_the_oracle(&text);
    }

    #[test]
    fn any_body_is_read_or_refused_within_its_limits(
        body in vec(any::<u8>(), 0..300),
        text in "[{}\\[\\]\":,a-z0-9\\\\ \\n=#-]{0,200}",
    ) {
        for format in [Format::Json, Format::Ndjson, LINES] {
            for body in [body.as_slice(), text.as_bytes()] {
                if let Ok(intake) = parse(format, body, &rules()) {
                    prop_assert!(intake.readings.len() + intake.rejected <= body.len());
                    prop_assert_eq!(intake.errors.len(), intake.rejected.min(MOST_ERRORS));
                }
            }
        }
    }

    #[test]
    fn what_any_producer_of_json_writes_is_read_back(
        rows in vec((
            proptest::option::of("[^\\p{C}#]{1,20}"),
            proptest::option::of(NOW - DAY..NOW),
            any::<f64>().prop_filter("finite", |value| value.is_finite()),
            proptest::option::of(any::<bool>()),
            proptest::option::of("[^\\p{C}]{1,8}"),
            proptest::option::of(("[^\\p{C}]{0,9}", any::<i32>())),
        ), 0..20),
        pretty in any::<bool>(),
        as_text in any::<bool>(),
    ) {
        let time = |ms: i64| {
            if as_text {
                let time = jiff::Timestamp::from_millisecond(ms);
                json!(time.expect("it is in the calendar").to_string())
            } else {
                json!(ms)
            }
        };
        let objects: Vec<serde_json::Value> = rows
            .iter()
            .map(|(metric, timestamp, value, is_valid, unit, metadata)| {
                let metadata = metadata.as_ref().map(|(key, value)| json!({key: value}));
                json!({"metric": metric, "timestamp": timestamp.map(time), "value": value,
                    "is_valid": is_valid, "unit": unit, "metadata": metadata})
            })
            .collect();
        let body = json!({"device_id": "a", "readings": objects});
        let body = if pretty { format!("{body:#}") } else { body.to_string() };
        let json = taken(Format::Json, &body);
        prop_assert_eq!(&json.errors, &[]);

        let mut lines = Vec::new();
        for mut object in objects {
            object["device_id"] = json!("a");
            lines.push(object.to_string());
        }
        let ndjson = lines.join("\r\n");
        prop_assert_eq!(&json, &taken(Format::Ndjson, &ndjson));

        for (found, row) in json.readings.iter().zip(&rows) {
            let (metric, timestamp, value, is_valid, unit, metadata) = row;
            prop_assert_eq!(found.metric, metric.as_deref().unwrap_or("value"));
            prop_assert_eq!(found.timestamp, timestamp.unwrap_or(NOW));
            prop_assert_eq!(found.value.to_bits(), value.to_bits());
            prop_assert_eq!(found.is_valid, is_valid.unwrap_or(true));
            prop_assert_eq!(found.unit, unit.as_deref().unwrap_or_default());
            let expected = metadata.as_ref().map(|(key, value)| json!({key: value}).to_string());
            prop_assert_eq!(found.metadata, expected.unwrap_or_default());
        }
        prop_assert_eq!(json.readings.len(), rows.len());
    }
}
