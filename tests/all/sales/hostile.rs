//! Objects that are not sales files: a failed import with its reason, never less and never more.

use serde_json::{Value, json};

use crate::support::bucket::{self, HEADER, counts, empty_year, file, row, year_revenue};
use crate::support::lambda;
use crate::support::stack::unique;

/// A good row in front, so that a partial import would show.
fn begun(year: i16) -> Vec<u8> {
    file(&[row(&format!("1/2/{year}"), "1", "Ball", "10")])
}

fn with(year: i16, rest: &[u8]) -> Vec<u8> {
    [&begun(year), rest].concat()
}

#[track_caller]
fn fails(name: &str, content: Vec<u8>, code: &str) {
    let import = bucket::import(name, content);
    assert_failed(&import, code);
}

#[track_caller]
fn assert_failed(import: &Value, code: &str) {
    assert_eq!(
        (&import["status"], &import["failure"]["code"]),
        (&json!("failed"), &json!(code)),
        "{import}"
    );
    assert!(
        import["failure"]["message"]
            .as_str()
            .is_some_and(|message| message.len() > 10),
        "{import}"
    );
    assert_eq!(
        (counts(import), &import["days"]),
        ((0, 0, 0), &Value::Null),
        "{import}"
    );
}

/// A file that fails although its first rows are good.
#[track_caller]
fn fails_late(name: &str, rest: &[u8], code: &str) {
    let year = empty_year();
    fails(name, with(year, rest), code);
    assert_eq!(
        year_revenue(year)["row_count"],
        0,
        "a failed import stores nothing"
    );
}

#[test]
fn nothing_at_all() {
    fails("empty.csv", Vec::new(), "empty-file");
    fails("blank.csv", b"\r\n\n\r\n".to_vec(), "empty-file");
}

#[test]
fn other_headers() {
    fails(
        "headers.csv",
        b"Date;Amount\n3/1/2001;1\n".to_vec(),
        "missing-headers",
    );
    fails(
        "no-headers.csv",
        row("3/1/2001", "1", "Ball", "10").into_bytes(),
        "missing-headers",
    );
    fails(
        "twice.csv",
        b"Sale Date,Sale ID,Item name,Total Paid, sale id \n".to_vec(),
        "duplicate-header",
    );
}

#[test]
fn other_formats() {
    fails(
        "report.pdf.csv",
        b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n1 0 obj\n".to_vec(),
        "not-a-csv-file",
    );
    fails(
        "sales.xlsx",
        b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00".to_vec(),
        "not-a-csv-file",
    );
    fails(
        "sales.csv.gz",
        b"\x1F\x8B\x08\x00\x00\x00\x00\x00\x00\x03".to_vec(),
        "not-a-csv-file",
    );
    fails(
        "sales.xls",
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\x00\x00".to_vec(),
        "not-a-csv-file",
    );
    let noise: Vec<u8> = (0..=u8::MAX).cycle().take(4096).collect();
    fails("noise.csv", noise, "binary-file");
}

#[test]
fn other_encodings() {
    for (name, mark, big) in [
        ("le.csv", b"\xFF\xFE", false),
        ("be.csv", b"\xFE\xFF", true),
    ] {
        let units = String::from_utf8(begun(2001)).expect("rows are UTF-8");
        let bytes = units.encode_utf16().flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        });
        fails(
            name,
            mark.iter().copied().chain(bytes).collect(),
            "unsupported-encoding",
        );
    }
    let promised = [
        b"\xEF\xBB\xBF".as_slice(),
        HEADER.as_bytes(),
        b"\r\n\xFF\xFE\xFD\r\n",
    ]
    .concat();
    fails("promised.csv", promised, "invalid-utf-8");
}

#[test]
fn a_nul_byte() {
    fails_late("nul.csv", b"3/1/2001,1,\0,a\r\n", "binary-file");
}

#[test]
fn a_quote_that_is_never_closed() {
    fails_late(
        "quote.csv",
        b"3/1/2001,1,2,\"Ball,---\r\nand so on\r\n",
        "unclosed-quote",
    );
}

#[test]
fn a_carriage_return_alone() {
    fails_late(
        "mac.csv",
        b"3/1/2001,1,2,Ball\r3/1/2001,1,2,Ball\r",
        "lone-carriage-return",
    );
    fails(
        "old-mac.csv",
        format!("{HEADER}\r3/1/2001,1\r").into_bytes(),
        "lone-carriage-return",
    );
}

/// 100 MB differ from 8 MB only in how long they would be read if nobody stopped.
#[test]
fn an_endless_row() {
    let cell = vec![b'x'; 8 << 20];
    fails_late(
        "quoted.csv",
        &[b"3/1/2001,1,2,\"".as_slice(), &cell].concat(),
        "record-too-large",
    );
    fails_late(
        "row.csv",
        &[b"3/1/2001,1,2,".as_slice(), &cell].concat(),
        "record-too-large",
    );
    fails("header.csv", cell, "record-too-large");
}

#[test]
fn a_million_columns() {
    let row = ",".repeat(1_000_000);
    fails_late("row.csv", row.as_bytes(), "too-many-columns");
    let header = format!("{HEADER}{row}\r\n");
    let import = bucket::import("header.csv", header.into_bytes());
    let code = import["failure"]["code"]
        .as_str()
        .expect("it failed")
        .to_owned();
    assert!(
        ["too-many-columns", "record-too-large"].contains(&code.as_str()),
        "{import}"
    );
    assert_failed(&import, &code);
}

#[test]
fn rows_that_are_all_bad_are_rejected_one_by_one() {
    let content = format!("{HEADER}\r\n{}", "x,y\r\n".repeat(250));
    let import = bucket::import("bad.csv", content);
    assert_eq!(
        (&import["status"], counts(&import)),
        (&json!("completed-with-errors"), (0, 0, 250))
    );
    assert_eq!(
        import["errors"].as_array().map(Vec::len),
        Some(100),
        "a report carries the first hundred"
    );
}

/// No disk has to hold the file: what S3 says of it is enough.
#[test]
fn more_than_5_gib() {
    let key = bucket::unique_key("huge.csv");
    lambda::import(&lambda::object_created(
        &key,
        (5 << 30) + 1,
        "0123456789abcdef0123456789abcdef",
        &unique(),
    ))
    .expect("the event is handled");
    assert_failed(&bucket::ended(&key), "file-too-large");
}

#[test]
fn an_object_that_is_gone_or_another_by_now() {
    let gone = bucket::unique_key("gone.csv");
    lambda::import(&lambda::object_created(
        &gone,
        10,
        "0123456789abcdef0123456789abcdef",
        &unique(),
    ))
    .expect("the event is handled");
    assert_failed(&bucket::ended(&gone), "file-missing");

    let key = bucket::unique_key("replaced.csv");
    bucket::put(&key, begun(2001).split_at(20).0.to_vec());
    let first = bucket::id(&bucket::ended(&key)).to_owned();
    let event = lambda::object_created(&key, 20, "0123456789abcdef0123456789abcdef", &unique());
    lambda::import(&event).expect("the event is handled");
    let list = crate::support::api::get(&format!("/api/sales/imports?key={key}"))
        .send()
        .expect(200)
        .json();
    let second = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(bucket::id)
        .find(|id| *id != first);
    assert_failed(
        &bucket::ended_by_id(second.expect("the event began an import")),
        "file-replaced",
    );
}

#[test]
fn keys_of_any_spelling() {
    for name in [
        "März & April (1).csv",
        "a+b%20c.csv",
        "'quoted' \"twice\".csv",
        "ノート.csv",
    ] {
        let import = bucket::import(name, Vec::new());
        assert_failed(&import, "empty-file");
        assert!(
            import["key"]
                .as_str()
                .is_some_and(|key| key.ends_with(name)),
            "{import}"
        );
    }
}

#[test]
fn events_that_are_none_of_ours_do_nothing() {
    let outside = lambda::object_created("errors/x/errors.csv", 1, "e", "1");
    assert_eq!(lambda::import(&outside), Ok(Value::Null));
    let folder = lambda::object_created("imports/folder/", 0, "e", "1");
    assert_eq!(lambda::import(&folder), Ok(Value::Null));
    let mut removed = lambda::object_created("imports/a.csv", 1, "e", "1");
    removed["Records"][0]["eventName"] = json!("ObjectRemoved:Delete");
    assert_eq!(lambda::import(&removed), Ok(Value::Null));
    // What S3 sends when a notification is set up.
    assert_eq!(
        lambda::import(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent"})),
        Ok(Value::Null)
    );
    let error = lambda::import(&json!({"hello": "world"})).expect_err("nobody sends this");
    assert_eq!(error["errorType"], "UnknownEvent");
}
