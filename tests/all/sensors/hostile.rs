//! Bodies that no device sends: each is answered with what is wrong with it, and the good readings
//! beside the bad ones are taken.

use serde_json::{Value, json};

use crate::support::sensors::{JSON, LINES, NDJSON, bulk, device, gzip, stored, write};

/// 2025-02-03T04:05:06.789Z in milliseconds of Unix time.
const AT: i64 = 1_738_555_506_789;

#[test]
fn a_reading_with_anything_wrong_is_rejected_alone() {
    let id = device();
    let long = |bytes: usize| "m".repeat(bytes);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(9), "}".repeat(9));
    let bad = [
        ("1", "not-an-object"),
        ("null", "not-an-object"),
        (r#"[{"value":1}]"#, "not-an-object"),
        ("{}", "missing-value"),
        (r#"{"value":null}"#, "missing-value"),
        (r#"{"value":"1"}"#, "invalid-value"),
        (r#"{"value":true}"#, "invalid-value"),
        (r#"{"value":[1]}"#, "invalid-value"),
        (r#"{"value":{"value":1}}"#, "invalid-value"),
        (r#"{"value":1e309}"#, "number-out-of-range"),
        (r#"{"value":-1e999999999999}"#, "number-out-of-range"),
        (r#"{"value":1,"value":2}"#, "duplicate-field"),
        (r#"{"value":1,"v\u0061lue":2}"#, "duplicate-field"),
        (r#"{"value":1,"valeu":2}"#, "unknown-field"),
        (r#"{"value":1,"device_id":"a"}"#, "unknown-field"),
        (
            r#"{"value":1,"timestamp":"yesterday"}"#,
            "invalid-timestamp",
        ),
        (
            r#"{"value":1,"timestamp":"2025-02-29T00:00:00Z"}"#,
            "invalid-timestamp",
        ),
        (
            r#"{"value":1,"timestamp":"2025-02-03T04:05:06"}"#,
            "invalid-timestamp",
        ),
        (r#"{"value":1,"timestamp":1.5}"#, "invalid-timestamp"),
        (r#"{"value":1,"timestamp":true}"#, "invalid-timestamp"),
        (
            r#"{"value":1,"timestamp":-2208988800001}"#,
            "timestamp-out-of-range",
        ),
        (
            r#"{"value":1,"timestamp":253402300800000}"#,
            "timestamp-out-of-range",
        ),
        (r#"{"value":1,"timestamp":-2208988800000}"#, "too-late"),
        (
            r#"{"value":1,"timestamp":253402300799999}"#,
            "in-the-future",
        ),
        (r#"{"value":1,"metric":""}"#, "invalid-metric"),
        (r#"{"value":1,"metric":7}"#, "invalid-metric"),
        (r#"{"value":1,"metric":"a#b"}"#, "invalid-metric"),
        (r#"{"value":1,"metric":"a\u0000b"}"#, "invalid-metric"),
        (
            &format!(r#"{{"value":1,"metric":"{}"}}"#, long(101)),
            "invalid-metric",
        ),
        (r#"{"value":1,"unit":5}"#, "invalid-unit"),
        (
            &format!(r#"{{"value":1,"unit":"{}"}}"#, long(33)),
            "invalid-unit",
        ),
        (r#"{"value":1,"is_valid":"no"}"#, "invalid-is-valid"),
        (r#"{"value":1,"is_valid":0}"#, "invalid-is-valid"),
        (r#"{"value":1,"metadata":[]}"#, "invalid-metadata"),
        (
            &format!(r#"{{"value":1,"metadata":{deep}}}"#),
            "invalid-metadata",
        ),
        (
            &format!(r#"{{"value":1,"metadata":{{"a":"{}"}}}}"#, long(1024)),
            "metadata-too-large",
        ),
    ];
    let good = r#"{"value":1}"#;
    let readings = bad
        .map(|(reading, _)| format!("{reading},{good}"))
        .join(",");
    let body = format!(r#"{{"device_id":"{id}","readings":[{readings}]}}"#);
    let report = bulk("", JSON, body).send().expect(202).json();
    let expected = bad.iter().enumerate();
    let expected = expected.map(|(at, (_, code))| (json!(2 * at), json!(code)));
    assert_eq!(places(&report), expected.collect::<Vec<_>>());
    assert_eq!(report["accepted"], bad.len());
}

#[test]
fn a_body_that_is_no_json_of_readings_is_refused_whole() {
    let id = device();
    let of = |readings: &str| format!(r#"{{"device_id":"{id}","readings":{readings}}}"#);
    for (body, status, code) in [
        (String::new(), 400, "malformed-json"),
        ("{".to_owned(), 400, "malformed-json"),
        (of("[{\"value\":NaN}]"), 400, "malformed-json"),
        (of("[{\"value\":-Infinity}]"), 400, "malformed-json"),
        (of("[{\"value\":01}]"), 400, "malformed-json"),
        (of("[{\"value\":1},]"), 400, "malformed-json"),
        (of("[{\"value\":1}]") + "{}", 400, "malformed-json"),
        (of(&"[".repeat(1_000_000)), 400, "malformed-json"),
        (r#"{"a":"#.repeat(200_000), 422, "unknown-field"),
        (
            of(&format!(
                r#"[{{"value":1,"metadata":{}"#,
                r#"{"a":"#.repeat(100_000)
            )),
            400,
            "malformed-json",
        ),
        ("[]".to_owned(), 422, "not-an-object"),
        ("null".to_owned(), 422, "not-an-object"),
        ("{}".to_owned(), 422, "missing-field"),
        (of("null"), 422, "invalid-readings"),
        (
            of("null").replace("readings", "reading"),
            422,
            "unknown-field",
        ),
        (of("{}"), 422, "invalid-readings"),
        (
            of("[]").replace('}', r#","readings":[]}"#),
            422,
            "duplicate-field",
        ),
        (
            of("[]").replace('}', r#","key":"mr_"}"#),
            422,
            "unknown-field",
        ),
        (of("[]").replace(&id, "a b"), 422, "invalid-device-id"),
        (
            of("[]").replace(&format!("\"{id}\""), "5"),
            422,
            "invalid-device-id",
        ),
        (
            of(&format!("[{}{{}}]", "{\"value\":1},".repeat(10_000))),
            413,
            "too-many-readings",
        ),
    ] {
        let answer = bulk("", JSON, body.clone()).send();
        assert_eq!(answer.status, status, "{body:.200}: {}", answer.text());
        let problem = answer.json();
        let found = [&problem["code"], &problem["errors"][0]["code"]];
        assert!(found.contains(&&json!(code)), "{body:.200}: {problem}");
    }
    for at in [0, 20, of("[]").len() - 1] {
        let mut body = of("[]").into_bytes();
        body.insert(at, 0xff);
        bulk("", JSON, body).send().problem(400, "invalid-utf-8");
    }
}

#[test]
fn a_bad_line_is_rejected_alone() {
    let id = device();
    let mut body = Vec::new();
    let mut expected = Vec::new();
    let good = format!(r#"{{"device_id":"{id}","value":1}}"#);
    for (line, code) in [
        (good.clone().into_bytes(), None),
        (b"{".to_vec(), Some("malformed-json")),
        (b"[]".to_vec(), Some("not-an-object")),
        (b"null".to_vec(), Some("not-an-object")),
        (
            format!("{good} {good}").into_bytes(),
            Some("malformed-json"),
        ),
        (
            good.replace(":1", ":NaN").into_bytes(),
            Some("malformed-json"),
        ),
        (
            good.replace(":1", ":1e309").into_bytes(),
            Some("number-out-of-range"),
        ),
        (b"{\"value\":1}".to_vec(), Some("missing-device")),
        (
            b"{\"value\":1,\"device_id\":\"\xff\"}".to_vec(),
            Some("invalid-utf-8"),
        ),
        (
            b"{\"value\":1,\"device_id\":\"a/b\"}".to_vec(),
            Some("invalid-device-id"),
        ),
        ("[".repeat(500_000).into_bytes(), Some("malformed-json")),
        (vec![0; 1000], Some("malformed-json")),
        (good.into_bytes(), None),
    ] {
        if let Some(code) = code {
            expected.push((json!(expected.len() + 1), json!(code)));
        }
        body.extend_from_slice(&line);
        body.extend_from_slice(b"\r\n \n");
    }
    let report = bulk("", NDJSON, body).send().expect(202).json();
    assert_eq!(places(&report), expected);
    assert_eq!(report["accepted"], 2);
}

/// Index and code of each error.
fn places(report: &Value) -> Vec<(Value, Value)> {
    let errors = report["errors"].as_array().expect("a report has errors");
    errors
        .iter()
        .map(|error| (error["index"].clone(), error["code"].clone()))
        .collect()
}

#[test]
fn line_protocol_is_read_with_its_escapes_comments_and_kinds_of_fields() {
    let id = device();
    let body = format!(
        "# a comment, device_id={id} v=1\n\
         weather\\ station\\,1,site=a\\,b\\=c\\ d,device_id={id} temp\\ in\\,\\=x=-1.5e1,n=40i,u=7u,on=t,off=FALSE {AT}\n\
         \t\r\n\
         m,device_id={id} text=\"a \\\" b, c=1\nd\",n=41 {at_1}\r\n\
         m,device_id={id} n=NaN,nan=+Inf,i=9007199254740993i {at_1}\n\
         m,device_id={id},device_id={id} n=1\n\
         m,site=a n=1\n\
         m,device_id={id} n=1 12:00\n\
         m,device_id={id} n=1 99999999999999999999\n\
         m,device_id=a\\ b n=1\n\
         m,device_id={id}\n\
         ,device_id={id} n=1\n\
         m,device_id={id} =1\n\
         m,device_id={id} n=0x10\n",
        at_1 = AT + 1,
    );
    let call = bulk("?precision=ms&backfill=true", LINES, body);
    let report = call.send().expect(202).json();
    let expected = [
        (1, "not-a-number"),
        (2, "not-finite"),
        (2, "not-finite"),
        (2, "integer-too-large"),
        (3, "duplicate-field"),
        (4, "missing-device"),
        (5, "malformed-line"),
        (6, "timestamp-out-of-range"),
        (7, "invalid-device-id"),
        (8, "malformed-line"),
        (9, "malformed-line"),
        (10, "malformed-line"),
        (11, "malformed-line"),
    ];
    assert_eq!(
        places(&report),
        expected.map(|(index, code)| (json!(index), json!(code)))
    );
    let rows = stored(&id, "2025-02-03T04:00:00Z", "2025-02-03T05:00:00Z", 6);
    let time = "2025-02-03T04:05:06.789Z";
    assert_eq!(
        rows,
        [
            format!("{time},n,40.0,true,,"),
            format!("{time},off,0.0,true,,"),
            format!("{time},on,1.0,true,,"),
            format!("{time},\"temp in,=x\",-15.0,true,,"),
            format!("{time},u,7.0,true,,"),
            "2025-02-03T04:05:06.790Z,n,41.0,true,,".to_owned(),
        ]
    );
}

#[test]
fn times_of_every_precision_are_read_to_both_limits() {
    let id = device();
    // Nanoseconds in 64 bits end in 2262 and begin in 1677.
    let last_s = 1_738_555_506_i64;
    for (precision, first, last, before) in [
        ("s", -2_208_988_800, last_s, -2_208_988_801),
        ("ms", -2_208_988_800_000, last_s * 1_000, -2_208_988_800_001),
        (
            "us",
            -2_208_988_800_000_000,
            last_s * 1_000_000,
            -2_208_988_800_000_001,
        ),
        (
            "ns",
            -2_208_988_800_000_000_000,
            last_s * 1_000_000_000,
            -2_208_988_800_000_000_001,
        ),
    ] {
        let future = match precision {
            "s" => 253_402_300_799,
            "ms" => 253_402_300_799_999,
            "us" => 253_402_300_799_999_999,
            _ => i64::MAX,
        };
        let outside = |time: i64| {
            if precision == "ns" && time == i64::MAX {
                "in-the-future"
            } else {
                "timestamp-out-of-range"
            }
        };
        let lines: Vec<String> = [first, last, before, future, i64::MIN, i64::MAX]
            .map(|time| format!("m,device_id={id} {precision}=1 {time}"))
            .to_vec();
        let call = bulk(
            &format!("?backfill=true&precision={precision}"),
            LINES,
            lines.join("\n"),
        );
        let report = call.send().expect(202).json();
        assert_eq!(
            places(&report),
            [
                (json!(2), json!("timestamp-out-of-range")),
                (json!(3), json!("in-the-future")),
                (json!(4), json!("timestamp-out-of-range")),
                (json!(5), json!(outside(i64::MAX))),
            ],
            "{precision}"
        );
    }
    let rows = stored(&id, "1900-01-01T00:00:00Z", "1900-01-01T00:00:01Z", 4);
    assert_eq!(rows.len(), 4, "{rows:?}");
    let rows = stored(&id, "2025-02-03T04:05:06Z", "2025-02-03T04:05:07Z", 4);
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[test]
fn bodies_beyond_the_limit_are_refused_however_they_are_packed() {
    let id = device();
    let line = format!("{{\"device_id\":\"{id}\",\"value\":1}}\n");
    let five_mib = line.repeat((5 << 20) / line.len());
    let ten_mb = " ".repeat(10_000_000);
    for (kind, body) in [(NDJSON, five_mib.into_bytes()), (JSON, ten_mb.into_bytes())] {
        let compressed = gzip(&body);
        let answer = bulk("", kind, body).send();
        assert_eq!(answer.status, 413, "{}", answer.text());
        bulk("", kind, compressed)
            .send()
            .problem(413, "body-too-large");
    }
    // A gigabyte in one megabyte: members one after the other are one file (RFC 1952, section 2.2).
    let bomb = gzip(&vec![b' '; 1 << 20]).repeat(1024);
    for kind in [JSON, NDJSON, LINES] {
        let answer = bulk("", kind, bomb.clone()).header("Content-Encoding", "gzip");
        answer.send().problem(413, "body-too-large");
    }
    let answer = write("", bomb).header("Content-Encoding", "gzip").send();
    assert_eq!(answer.expect(413).json()["code"], "request too large");
}

#[test]
fn gzip_that_is_none_is_refused() {
    let id = device();
    let whole = gzip(format!("m,device_id={id} v=1").as_bytes());
    let with = |at: usize, byte: u8| {
        let mut body = whole.clone();
        body[at] ^= byte;
        body
    };
    for body in [
        whole[..whole.len() - 1].to_vec(),
        whole[..10].to_vec(),
        b"\x1f\x8b".to_vec(),
        with(2, 1),
        with(whole.len() - 8, 1),
        with(whole.len() - 1, 1),
        [&whole[..], b"and more"].concat(),
    ] {
        bulk("", LINES, body).send().problem(400, "malformed-gzip");
    }
    let twice = gzip(&whole);
    bulk("", LINES, twice)
        .send()
        .problem(422, "no-valid-readings");
}
