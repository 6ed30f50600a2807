//! The sales API: uploads, lists and rows as callers see them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::api::{Answer, Call, Role, call, encoded, get};
use crate::support::bucket::{
    self, HEADER, counts, empty_year, file, generated, row, written, year_revenue,
};
use crate::support::people::another_admin;
use crate::support::stack::unique;

const UPLOAD: &str = "/api/sales/import-sales/";
const IMPORTS: &str = "/api/sales/imports";

fn upload(path: &str, file: &[u8]) -> Answer {
    call("POST", path)
        .role(Role::Admin)
        .form(&[], Some(file))
        .send()
}

fn announce() -> Call {
    call("POST", IMPORTS)
        .role(Role::Admin)
        .header("Idempotency-Key", &unique())
}

/// The list of the imports of a key, of which there are two: it was put twice.
fn list_of_two() -> String {
    let key = bucket::unique_key("twice.csv");
    bucket::put(&key, file(&[]));
    bucket::ended(&key);
    bucket::put(&key, format!("{HEADER}\n"));
    let path = format!("{IMPORTS}?key={}", encoded(&key));
    for _ in 0..600 {
        if get(&path).send().expect(200).json()["data"]
            .as_array()
            .is_some_and(|imports| imports.len() == 2)
        {
            return path;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the second import of {key} never begins")
}

#[test]
fn an_upload_answers_in_the_legacy_envelope_with_what_it_added() {
    let year = empty_year();
    let sales = file(&[
        row(&format!("03/01/{year}"), "1", "Ball", "34.88"),
        row(&format!("3/2/{year}"), "2", "Tee", "0.654"),
    ]);
    let answer = upload(UPLOAD, &sales).expect(201);
    assert_eq!(
        answer.text(),
        r#"{"status":201,"message":"success","data":{"imported_row":2}}"#
    );
    let location = answer
        .header("location")
        .expect("the import has an address")
        .to_owned();
    let report = get(&location).send().expect(200);
    assert_eq!(report.header("etag"), answer.header("etag"));
    let report = report.json();
    assert_eq!(
        (report["status"].as_str(), counts(&report)),
        (Some("completed"), (2, 0, 0))
    );
    assert_eq!(
        report["days"],
        json!({"first": format!("{year}-03-01"), "last": format!("{year}-03-02")})
    );
    assert_eq!(
        report["bytes"],
        json!({"done": sales.len(), "total": sales.len()})
    );
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "35.534");

    let again = upload(UPLOAD, &sales).expect(201);
    assert_eq!(
        again.text(),
        r#"{"status":201,"message":"success","data":{"imported_row":0}}"#
    );
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "35.534");
}

#[test]
fn a_dry_run_counts_as_the_import_then_does_and_stores_nothing() {
    let year = empty_year();
    let sales = file(&[
        row(&format!("3/1/{year}"), "1", "Ball", "1.50"),
        row(&format!("3/1/{year}"), "1", "Ball", "1.5"),
        row("2/30/2001", "2", "=Tee", "1"),
    ]);
    let rehearsal = upload(&format!("{UPLOAD}?dry_run=true"), &sales)
        .expect(200)
        .json();
    insta::assert_json_snapshot!(rehearsal);
    assert_eq!(year_revenue(year)["row_count"], 0);
    assert_eq!(
        upload(UPLOAD, &sales).expect(201).json()["data"]["imported_row"],
        rehearsal["data"]["imported_row"]
    );
    let rehearsal = upload(&format!("{UPLOAD}?dry_run=true"), &sales)
        .expect(200)
        .json();
    assert_eq!(
        (
            &rehearsal["data"]["imported_row"],
            &rehearsal["data"]["duplicate_row"]
        ),
        (&json!(0), &json!(2))
    );
    assert_eq!(
        upload(&format!("{UPLOAD}?dry_run=true"), b"a,b\n1,2\n").problem(422, "missing-headers")["status"],
        422
    );
}

#[test]
fn a_form_that_is_none_is_told_what_is_wrong_with_it() {
    let post = || call("POST", UPLOAD).role(Role::Admin);
    post()
        .body("application/json", "{}")
        .send()
        .problem(415, "unsupported-media-type");
    post()
        .body("multipart/form-data", "x")
        .send()
        .problem(415, "unsupported-media-type");
    post()
        .body("multipart/form-data; boundary=b", "no boundary here")
        .send()
        .problem(400, "malformed-form");
    post()
        .form(&[("note", "no file")], None)
        .send()
        .problem(400, "missing-file");
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n";
    let twice = format!("{part}{part}--b--\r\n");
    post()
        .body("multipart/form-data; boundary=b", twice)
        .send()
        .problem(400, "several-files");
    upload("/api/sales/import-sales?dry_run=maybe", b"x").problem(400, "invalid-query");
    let problem = upload("/api/sales/import-sales?dryrun=true", b"x").problem(400, "invalid-query");
    assert_eq!(problem["errors"][0]["pointer"], "/query/dryrun");
}

#[test]
fn a_file_over_4_mib_is_refused_and_one_of_4_mib_is_not() {
    let most = 4 * 1024 * 1024;
    let mut sales = format!("{HEADER}\r\n").into_bytes();
    sales.resize(most, b'\n');
    upload(&format!("{UPLOAD}?dry_run=true"), &sales).expect(200);
    sales.push(b'\n');
    upload(&format!("{UPLOAD}?dry_run=true"), &sales).problem(413, "body-too-large");
}

#[test]
fn what_is_not_a_sales_file_is_refused_with_its_reason() {
    for (content, code) in [
        (b"".as_slice(), "empty-file"),
        (b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n", "not-a-csv-file"),
        (b"Date,Amount\n3/1/2001,1\n", "missing-headers"),
        (
            b"Sale Date,Sale ID,Item name,Total Paid\n3/1/2001,1,\"a,1\n",
            "unclosed-quote",
        ),
    ] {
        let problem = upload(UPLOAD, content).problem(422, code);
        assert_eq!(problem["instance"], UPLOAD);
    }
}

#[test]
fn an_idempotency_key_replays_the_first_answer_and_no_other_files() {
    let year = empty_year();
    let key = unique();
    let post = |sale: &str| {
        let sales = file(&[row(&format!("5/5/{year}"), sale, "Ball", "2")]);
        call("POST", UPLOAD)
            .role(Role::Admin)
            .header("Idempotency-Key", &key)
            .form(&[], Some(&sales))
            .send()
    };
    let first = post("1").expect(201);
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = post("1").expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(
        (again.text(), again.header("location")),
        (first.text(), first.header("location"))
    );
    assert_eq!(first.json()["data"]["imported_row"], 1);
    post("2").problem(422, "idempotency-key-reused");
    assert_eq!(year_revenue(year)["row_count"], 1);
}

#[test]
fn announcing_an_import_needs_a_key_and_answers_the_same_once_more() {
    let post = || call("POST", IMPORTS).role(Role::Admin);
    post().send().problem(400, "idempotency-key-missing");
    post()
        .header("Idempotency-Key", &"k".repeat(256))
        .send()
        .problem(400, "idempotency-key-invalid");
    post()
        .header("Idempotency-Key", "two words")
        .send()
        .problem(400, "idempotency-key-invalid");
    let key = unique();
    let first = post().header("Idempotency-Key", &key).send().expect(201);
    let body = first.json();
    assert_eq!(body["status"], "pending");
    assert_eq!(body["key"], body["upload"]["fields"]["key"]);
    let location = format!("{IMPORTS}/{}", bucket::id(&body));
    assert_eq!(
        (first.header("location"), first.header("etag")),
        (Some(location.as_str()), Some("\"v1\""))
    );
    // A quoted string is the same key (draft-ietf-httpapi-idempotency-key-header).
    let again = post()
        .header("Idempotency-Key", &format!("\"{key}\""))
        .send()
        .expect(201);
    assert_eq!(
        (again.json(), again.header("idempotent-replayed")),
        (body, Some("true"))
    );
    assert_eq!(
        (again.header("location"), again.header("etag")),
        (first.header("location"), first.header("etag"))
    );
    call("POST", &format!("{IMPORTS}?dry_run=true"))
        .role(Role::Admin)
        .header("Idempotency-Key", &key)
        .send()
        .problem(422, "idempotency-key-reused");
}

#[test]
fn announcing_an_import_takes_no_body_but_an_empty_object() {
    let with = |kind, body| announce().body(kind, body).send();
    with("application/json", "{}").expect(201);
    with("application/json", "{bad").problem(400, "malformed-json");
    with("application/json", "{\"a\":1}").problem(422, "invalid-body");
    with("text/plain", "{}").problem(415, "unsupported-media-type");
}

#[test]
fn a_page_of_rows_whose_day_has_changed_since_is_refused_not_guessed() {
    let year = empty_year();
    let day = format!("5/6/{year}");
    let rows = [row(&day, "1", "Ball", "10"), row(&day, "2", "Ball", "10")];
    bucket::import("first.csv", file(&rows));
    let path = format!("/api/sales?start={year}-05-06&end={year}-05-06&limit=1");
    let page = get(&path).send().expect(200).json();
    let cursor = encoded(page["next_cursor"].as_str().expect("there is one more"));
    let next = format!("{path}&cursor={cursor}");
    assert_eq!(
        get(&next).send().expect(200).json()["data"][0]["sale_id"],
        "2"
    );
    bucket::import("second.csv", file(&[row(&day, "3", "Ball", "10")]));
    get(&next).send().problem(409, "list-changed");
}

#[test]
fn a_list_is_paged_to_its_end_without_gap_or_repeat() {
    let made: Vec<String> = (0..3)
        .map(|_| bucket::id(&announce().send().expect(201).json()).to_owned())
        .collect();
    let mut path = format!("{IMPORTS}?limit=2");
    let mut seen = Vec::new();
    // Others announce imports too; ours are among the newest.
    for _ in 0..50 {
        let page = get(&path).send().expect(200);
        let body = page.json();
        let data = body["data"].as_array().expect("a list has data");
        assert!(data.len() <= 2);
        seen.extend(data.iter().map(|import| bucket::id(import).to_owned()));
        let Some(cursor) = body["next_cursor"].as_str() else {
            break;
        };
        let link = page
            .header("link")
            .expect("a page with a next one links to it");
        assert_eq!(
            link,
            format!("<?limit=2&cursor={}>; rel=\"next\"", encoded(cursor))
        );
        path = format!("{IMPORTS}?limit=2&cursor={}", encoded(cursor));
        if made.iter().all(|id| seen.contains(id)) {
            break;
        }
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "an import came twice");
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first: {seen:?}");
    assert!(
        made.iter().all(|id| seen.contains(id)),
        "{made:?} in {seen:?}"
    );
}

#[test]
fn a_cursor_opens_only_for_the_query_and_caller_it_was_made_for() {
    announce().send().expect(201);
    announce().send().expect(201);
    let page = get(&format!("{IMPORTS}?limit=1")).send().expect(200).json();
    let cursor = page["next_cursor"].as_str().expect("there are more");
    let with =
        |query: &str, cursor: &str| get(&format!("{IMPORTS}?{query}cursor={}", encoded(cursor)));
    with("", cursor).send().expect(200);
    with("limit=7&", cursor).send().expect(200);
    with("fields=id&", cursor)
        .send()
        .problem(400, "invalid-cursor");
    with("key=imports/a.csv&", cursor)
        .send()
        .problem(400, "invalid-cursor");
    let mut tampered = cursor.to_owned();
    let last = tampered.pop().expect("a cursor is not empty");
    tampered.push(if last == 'A' { 'Q' } else { 'A' });
    for wrong in [
        tampered.as_str(),
        "",
        "AAAA",
        "not base64!",
        &cursor[..cursor.len() - 4],
        &cursor.repeat(200),
    ] {
        with("", wrong).send().problem(400, "invalid-cursor");
    }
    let other_list = format!(
        "/api/sales?start=2001-01-01&end=2001-01-02&cursor={}",
        encoded(cursor)
    );
    get(&other_list).send().problem(400, "invalid-cursor");
    let path = format!("{IMPORTS}?cursor={}", encoded(cursor));
    call("GET", &path)
        .token(&another_admin())
        .send()
        .problem(400, "invalid-cursor");
    call("GET", IMPORTS)
        .token(&another_admin())
        .send()
        .expect(200);
}

#[test]
fn limits_and_parameters_that_do_not_fit_are_refused() {
    for (query, code) in [
        ("limit=0", "invalid-query"),
        ("limit=101", "invalid-query"),
        ("limit=-1", "invalid-query"),
        ("limit=1e1", "invalid-query"),
        ("limit=", "invalid-query"),
        ("sort=up", "invalid-query"),
        ("limit=1&limit=2", "invalid-query"),
        ("fields=secret", "unknown-field"),
        ("fields=", "unknown-field"),
        ("fields=counts.secret", "unknown-field"),
    ] {
        get(&format!("{IMPORTS}?{query}")).send().problem(400, code);
    }
}

#[test]
fn only_the_fields_asked_for_come() {
    let path = list_of_two();
    let body = get(&format!("{path}&fields=id,counts.imported"))
        .send()
        .expect(200)
        .json();
    for import in body["data"].as_array().expect("a list has data") {
        let members: Vec<&str> = import
            .as_object()
            .expect("an import is an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            (members, &import["counts"]),
            (vec!["counts", "id"], &json!({"imported": 0}))
        );
    }
    let id = bucket::id(&body["data"][0]).to_owned();
    let one = get(&format!("{IMPORTS}/{id}?fields=status"))
        .send()
        .expect(200);
    assert_eq!(one.text(), r#"{"status":"completed"}"#);
    get(&format!("{IMPORTS}/{id}?fields=object"))
        .send()
        .problem(400, "unknown-field");
}

#[test]
fn a_reader_who_has_the_current_version_gets_304() {
    let body = announce().send().expect(201).json();
    let path = format!("{IMPORTS}/{}", bucket::id(&body));
    let first = get(&path).send().expect(200);
    let tag = first
        .header("etag")
        .expect("an import has a tag")
        .to_owned();
    assert_eq!(tag, "\"v1\"");
    for known in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let unchanged = get(&path)
            .header("If-None-Match", &known)
            .send()
            .expect(304);
        assert_eq!(
            (unchanged.text(), unchanged.header("etag")),
            ("", Some(tag.as_str())),
            "{known}"
        );
    }
    get(&path)
        .header("If-None-Match", "\"v0\"")
        .send()
        .expect(200);
}

#[test]
fn an_import_that_does_not_exist_is_not_found() {
    for id in [
        "01K9T2V5M8Q4R7S1X3Z6B9D0F2",
        "1",
        "a%20b",
        "%C3%A9",
        &"z".repeat(300),
    ] {
        get(&format!("{IMPORTS}/{id}"))
            .send()
            .problem(404, "not-found");
    }
}

/// The records of a CSV text in the order of their bytes. A line feed inside a cell does not end one.
fn records(csv: &str) -> Vec<&str> {
    let mut records: Vec<&str> = csv.split_terminator("\r\n").collect();
    records.sort_unstable();
    records
}

#[test]
fn rows_come_back_as_csv_with_every_cell_as_it_came() {
    let year = empty_year();
    let plan = generated(year, 250, 0);
    let (sales, expected) = written(&plan);
    assert_eq!(
        counts(&bucket::import("rows.csv", sales.clone())),
        (expected.imported, 0, 0)
    );
    let sales = String::from_utf8(sales).expect("the generator writes UTF-8");

    let mut path = format!("/api/sales?start={year}-01-01&end={year}-12-31&limit=100");
    let (mut header, mut found) = (None, Vec::new());
    for pages in 1.. {
        let page = get(&path).header("Accept", "text/csv").send().expect(200);
        assert_eq!(page.header("content-type"), Some("text/csv; charset=utf-8"));
        let (first, rows) = page.text().split_once("\r\n").expect("a page has a header");
        assert_eq!(first, HEADER);
        header = Some(first.to_owned());
        found.push(rows.to_owned());
        let Some(link) = page.header("link") else {
            assert_eq!(pages, 3);
            break;
        };
        let query = link
            .strip_prefix("<?")
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path = format!("/api/sales?{}", query.expect("the link is a query"));
    }
    let found = format!(
        "{}\r\n{}",
        header.expect("there was a page"),
        found.concat()
    );
    assert_eq!(records(&found), records(&sales));
    let whole = get(&format!("/api/sales/?start=1/1/{year}&end=12/31/{year}"))
        .header("Accept", "text/csv")
        .send();
    assert_eq!(
        whole.expect(200).text(),
        found,
        "one page of many rows has the same rows in the same order"
    );
}

#[test]
fn rows_come_back_as_json_with_every_cell_by_name() {
    let year = empty_year();
    let import = bucket::import(
        "json.csv",
        file(&[row(
            &format!("03/09/{year}"),
            "0071",
            " Ball, \"red\"",
            "1,288.50",
        )
        .replace(" Ball, \"red\"", "\" Ball, \"\"red\"\"\"")
        .replace("1,288.50", "\"1,288.50\"")]),
    );
    assert_eq!(counts(&import), (1, 0, 0), "{import}");
    let path = format!("/api/sales?start={year}-03-09&end={year}-03-09");
    let mut body = get(&path).send().expect(200).json();
    assert_eq!(body["data"][0]["import"], import["id"]);
    assert_eq!(body["data"][0]["date"], format!("{year}-03-09"));
    assert_eq!(body["data"][0]["sale_date"], format!("03/09/{year}"));
    for name in ["import", "date", "sale_date"] {
        body["data"][0][name] = Value::from("…");
    }
    insta::assert_json_snapshot!(body);
    let fields = get(&format!("{path}&fields=sale_id,total_paid"))
        .send()
        .expect(200);
    assert_eq!(
        fields.text(),
        r#"{"data":[{"sale_id":"0071","total_paid":"1,288.50"}],"next_cursor":null}"#
    );
}

#[test]
fn rows_of_a_range_that_is_none_are_refused() {
    for (query, code) in [
        ("", "invalid-query"),
        ("start=2001-01-01", "invalid-query"),
        ("start=2001-02-01&end=2001-01-01", "invalid-query"),
        ("start=yesterday&end=today", "invalid-query"),
        ("start=2001-01-01&end=2001-01-02&limit=101", "invalid-query"),
    ] {
        get(&format!("/api/sales?{query}"))
            .send()
            .problem(400, code);
    }
    let empty = get("/api/sales?start=2999-01-01&end=2999-12-31")
        .send()
        .expect(200);
    assert_eq!(empty.text(), r#"{"data":[],"next_cursor":null}"#);
    let csv = get("/api/sales?start=2999-01-01&end=2999-12-31")
        .header("Accept", "text/csv")
        .send()
        .expect(200);
    assert_eq!(csv.text(), format!("{HEADER}\r\n"));
}

#[test]
fn every_answer_carries_the_security_headers() {
    let answers = [
        (200, get(IMPORTS)),
        (200, call("GET", "/health/live")),
        (201, announce()),
        (400, get("/api/sales")),
        (401, call("GET", IMPORTS)),
        (403, call("GET", IMPORTS).role(Role::Analyst)),
        (404, get(&format!("{IMPORTS}/01K9T2V5M8Q4R7S1X3Z6B9D0F2"))),
        (404, get("/api/nowhere")),
        (415, call("POST", UPLOAD).role(Role::Admin)),
        (
            428,
            call("DELETE", &format!("{IMPORTS}/01K9T2V5M8Q4R7S1X3Z6B9D0F2")).role(Role::Admin),
        ),
    ];
    for (status, call) in answers {
        let answer = call.send().expect(status);
        for (name, value) in [
            (
                "strict-transport-security",
                "max-age=31536000; includeSubDomains; preload",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} of {status}");
        }
    }
}

#[test]
fn a_correlation_id_comes_back_and_a_bad_one_is_replaced() {
    let sent = |id: &str| get(IMPORTS).header("X-Correlation-Id", id).send();
    let echoed = |answer: &Answer| {
        answer
            .header("x-correlation-id")
            .expect("every answer has one")
            .to_owned()
    };
    for good in ["a", "A-1_b.c", &"x".repeat(128)] {
        assert_eq!(echoed(&sent(good)), good);
        let path = format!("{IMPORTS}/1");
        let problem = get(&path)
            .header("X-Correlation-Id", good)
            .send()
            .problem(404, "not-found");
        assert_eq!(problem["correlation_id"], good);
    }
    let mut made = BTreeSet::new();
    for bad in ["a b", "é", "a/b", "", &"x".repeat(129)] {
        let id = echoed(&sent(bad));
        assert_eq!(
            (id.len(), id.as_bytes()[14]),
            (36, b'7'),
            "{id} is a UUIDv7"
        );
        made.insert(id);
    }
    assert_eq!(made.len(), 5);
}
