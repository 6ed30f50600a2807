//! Files put into the bucket: imported, found again, mended, rehearsed and taken back.

use std::thread;

use serde_json::{Value, json};
use tests::generate::sales::Expected;

use crate::support::api::{Answer, Call, Role, call, get};
use crate::support::bucket::{
    self, block_on, connection, counts, empty_year, ended, ended_by_id, file, generated, id, put,
    row, unique_key, written, year_revenue,
};
use crate::support::lambda;
use crate::support::stack::{stack, unique};

fn delete(import: &str, if_match: &str) -> Answer {
    call("DELETE", &format!("/api/sales/imports/{import}/"))
        .role(Role::Admin)
        .header("If-Match", if_match)
        .send()
}

/// Takes an import back, and waits where the queue has to finish it.
fn take_back(import: &str) -> Value {
    let tag = bucket::report(import)
        .expect(200)
        .header("etag")
        .expect("an import has a tag")
        .to_owned();
    let answer = delete(import, &tag);
    assert!([200, 202].contains(&answer.status), "{}", answer.text());
    ended_by_id(import)
}

/// Asks that revenue of the year is what the files were made of, in all and day by day.
#[track_caller]
fn assert_revenue(year: i16, files: &[&Expected]) {
    let mut days = std::collections::BTreeMap::<String, (i64, u64)>::new();
    for (date, (revenue, rows)) in files.iter().flat_map(|expected| &expected.days) {
        let day = days.entry(date.clone()).or_default();
        *day = (day.0 + revenue, day.1 + rows);
    }
    let expected = Expected {
        days,
        ..Expected::default()
    }
    .to_json();
    let found = year_revenue(year);
    assert_eq!(found["total_revenue"]["amount"], expected["total_revenue"]);
    assert_eq!(
        found["row_count"],
        files.iter().map(|file| file.imported).sum::<u64>()
    );
    let range = format!("start=1/1/{year}&end=12/31/{year}");
    let daily = get(&format!("/api/metrics/v1/revenue/?{range}&group_by=day"))
        .send()
        .expect(200)
        .json();
    let amounts =
        |list: &Value, date: &str, amount: &str, rows: &str| -> Vec<(Value, Value, Value)> {
            let list = list.as_array().expect("a list of days");
            list.iter()
                .map(|day| {
                    (
                        day[date].clone(),
                        day.pointer(amount).cloned().unwrap_or_default(),
                        day[rows].clone(),
                    )
                })
                .collect()
        };
    assert_eq!(
        amounts(
            &daily["groups"],
            "period",
            "/total_revenue/amount",
            "row_count"
        ),
        amounts(&expected["daily"], "date", "/revenue", "rows"),
    );
    // The legacy route prints the exact decimal as a number: it is compared as it was printed.
    let legacy = get(&format!("/api/metrics/revenue/?{range}"))
        .send()
        .expect(200);
    let total = expected["total_revenue"].as_str().expect("a decimal");
    assert!(
        legacy
            .text()
            .contains(&format!("\"total_revenue_sgd\":{total},")),
        "{} {total}",
        legacy.text()
    );
}

fn rejected(expected: &Expected) -> u64 {
    expected.rejected.values().sum()
}

#[test]
fn a_file_is_imported_to_the_digit_and_counted_once_however_often_it_comes() {
    let year = empty_year();
    let plan = generated(year, 3_000, 20);
    let (sales, first) = written(&plan);
    let mut overlapping = Vec::new();
    let second = plan
        .write_overlapping(&mut overlapping)
        .expect("a Vec takes every write");

    let import = bucket::import("sales.csv", sales.clone());
    assert_eq!(import["status"], "completed-with-errors", "{import}");
    assert_eq!(
        counts(&import),
        (first.imported, 0, rejected(&first)),
        "{import}"
    );
    assert_eq!(
        import["bytes"],
        json!({"done": sales.len(), "total": sales.len()})
    );
    assert_eq!(
        import["rows"],
        json!({"done": plan.rows, "total": plan.rows})
    );
    let mut codes = std::collections::BTreeMap::<&str, u64>::new();
    for error in import["errors"].as_array().expect("a report has errors") {
        *codes
            .entry(error["code"].as_str().expect("an error has a code"))
            .or_default() += 1;
    }
    assert_eq!(codes, first.rejected);
    assert_revenue(year, &[&first]);
    let orders = year_revenue(year);
    assert_eq!(orders["order_count"], first.orders);

    let again = bucket::import("sales.csv", sales);
    assert_eq!(
        counts(&again),
        (0, first.imported, rejected(&first)),
        "{again}"
    );
    assert_revenue(year, &[&first]);

    let overlap = bucket::import("overlap.csv", overlapping);
    assert_eq!(
        counts(&overlap),
        (second.imported, second.duplicate, rejected(&second)),
        "{overlap}"
    );
    assert_revenue(year, &[&first, &second]);

    assert_eq!(take_back(id(&overlap))["status"], "deleted");
    assert_revenue(year, &[&first]);
    assert_eq!(take_back(id(&again))["status"], "deleted");
    assert_revenue(year, &[&first]);
    assert_eq!(take_back(id(&import))["status"], "deleted");
    assert_eq!(year_revenue(year)["row_count"], 0);
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "0");
}

#[test]
fn the_errors_file_mended_and_uploaded_again_brings_the_rows() {
    let year = empty_year();
    let good = row(&format!("4/1/{year}"), "1", "Ball", "10.5");
    let bad = row("MENDME", "2", "\"=HYPERLINK(\"\"x\"\", 1)\"", "-2.125")
        .replace("---,,Golf", "---,@note,Golf");
    let import = bucket::import("sales.csv", file(&[good, bad]));
    assert_eq!(counts(&import), (1, 0, 1), "{import}");
    assert_eq!(
        import["errors"],
        json!([{
            "row": 3, "column": "Sale Date", "value": "MENDME", "code": "invalid-date",
            "message": "not a date, expected M/D/YYYY or YYYY-MM-DD",
        }])
    );
    let link = import["errors_url"]
        .as_str()
        .expect("a report with errors links to them");
    let errors = Call::to("GET", link).send().expect(200);
    assert_eq!(
        errors.header("content-disposition"),
        Some("attachment; filename=\"errors.csv\"")
    );
    insta::assert_snapshot!(errors.text().replace('\r', ""));

    let mended = errors.text().replace("MENDME", &format!("4/2/{year}"));
    let second = bucket::import("errors.csv", mended);
    assert_eq!(
        (counts(&second), &second["status"]),
        ((1, 0, 0), &json!("completed")),
        "{second}"
    );
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "8.375");
    let rows = get(&format!("/api/sales?start={year}-04-02&end={year}-04-02"))
        .send()
        .expect(200)
        .json();
    assert_eq!(
        rows["data"][0]["item_name"], "=HYPERLINK(\"x\", 1)",
        "the cell is what it was at first"
    );
    assert_eq!(rows["data"][0]["sales_notes"], "@note");
}

#[test]
fn an_import_is_taken_back_only_by_who_knows_its_version() {
    let year = empty_year();
    let import = bucket::import(
        "sales.csv",
        file(&[row(&format!("4/1/{year}"), "1", "Ball", "10")]),
    );
    let address = format!("/api/sales/imports/{}", id(&import));
    call("DELETE", &address)
        .role(Role::Admin)
        .send()
        .problem(428, "if-match-required");
    delete(id(&import), "\"v1\"").problem(412, "stale-version");
    delete(id(&import), "W/\"v1\"").problem(412, "stale-version");
    delete(id(&import), "v1").problem(400, "malformed-entity-tag");
    assert_eq!(
        year_revenue(year)["row_count"],
        1,
        "nothing has happened so far"
    );

    let tag = bucket::report(id(&import))
        .header("etag")
        .expect("an import has a tag")
        .to_owned();
    let answer = delete(id(&import), &tag).expect(200);
    assert_ne!(
        answer.header("etag"),
        Some(tag.as_str()),
        "the answer carries the new version"
    );
    assert_eq!(
        (&answer.json()["status"], &year_revenue(year)["row_count"]),
        (&json!("deleted"), &json!(0))
    );
    delete(id(&import), &tag).problem(412, "stale-version");
    let now = answer.header("etag").expect("it has a tag").to_owned();
    assert_eq!(
        delete(id(&import), &now).expect(200).json()["version"],
        answer.json()["version"]
    );
    delete("01K9T2V5M8Q4R7S1X3Z6B9D0F2", "*").problem(404, "not-found");
}

#[test]
fn a_file_taken_back_can_be_imported_again() {
    let year = empty_year();
    let sales = file(&[
        row(&format!("4/1/{year}"), "1", "Ball", "10"),
        row(&format!("4/1/{year}"), "1", "Ball", "10"),
    ]);
    let first = bucket::import("sales.csv", sales.clone());
    assert_eq!(
        counts(&first),
        (2, 0, 0),
        "equal lines of one file are separate sales"
    );
    take_back(id(&first));
    let second = bucket::import("sales.csv", sales);
    assert_eq!(
        (
            counts(&second),
            &year_revenue(year)["total_revenue"]["amount"]
        ),
        ((2, 0, 0), &json!("20"))
    );
}

/// Announces an import and uploads `content` by the form that comes back.
fn upload(query: &str, content: &[u8]) -> (String, Answer) {
    let announced = call("POST", &format!("/api/sales/imports{query}"))
        .role(Role::Admin)
        .header("Idempotency-Key", &unique())
        .header("X-Correlation-Id", "form-upload")
        .send()
        .expect(201)
        .json();
    let fields = announced["upload"]["fields"]
        .as_object()
        .expect("a form has fields");
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().expect("fields are text")))
        .collect();
    let url = announced["upload"]["url"]
        .as_str()
        .expect("a form has an address");
    assert_eq!(
        bucket::report(id(&announced)).expect(200).json()["status"],
        "pending"
    );
    (
        id(&announced).to_owned(),
        Call::to("POST", url).form(&fields, Some(content)).send(),
    )
}

#[test]
fn a_file_uploaded_by_the_form_becomes_the_announced_import() {
    let year = empty_year();
    let (import, uploaded) = upload("", &file(&[row(&format!("4/1/{year}"), "1", "Ball", "10")]));
    assert!((200..300).contains(&uploaded.status), "{}", uploaded.text());
    let import = ended_by_id(&import);
    assert_eq!(
        (counts(&import), &import["status"]),
        ((1, 0, 0), &json!("completed")),
        "{import}"
    );
    assert_eq!(year_revenue(year)["row_count"], 1);
    let key = import["key"].as_str().expect("an import has a key");
    let head = async {
        connection()
            .s3()
            .head_object()
            .bucket(&stack().bucket)
            .key(key)
            .send()
            .await
    };
    let metadata = block_on(head)
        .expect("the file is there")
        .metadata
        .unwrap_or_default();
    assert_eq!(
        metadata.get("correlation-id").map(String::as_str),
        Some("form-upload")
    );
}

#[test]
fn a_dry_run_by_the_form_reports_and_stores_nothing() {
    let year = empty_year();
    let sales = file(&[
        row(&format!("4/1/{year}"), "1", "Ball", "10"),
        row("never", "2", "Ball", "10"),
    ]);
    let (rehearsal, _) = upload("?dry_run=true", &sales);
    let rehearsal = ended_by_id(&rehearsal);
    assert_eq!(
        (&rehearsal["dry_run"], counts(&rehearsal)),
        (&json!(true), (1, 0, 1)),
        "{rehearsal}"
    );
    assert_eq!(rehearsal["errors"][0]["code"], "invalid-date");
    assert_eq!(year_revenue(year)["row_count"], 0);
    // The form is good for an hour: a second file is a dry run too.
    let key = rehearsal["key"].as_str().expect("an import has a key");
    bucket::put(key, sales.clone());
    let second = bucket::newest_ended(key, 2);
    assert_ne!(second["id"], rehearsal["id"]);
    assert_eq!(
        (&second["dry_run"], counts(&second)),
        (&json!(true), (1, 0, 1)),
        "{second}"
    );
    assert_eq!(year_revenue(year)["row_count"], 0);
    let (import, _) = upload("", &sales);
    let import = ended_by_id(&import);
    for same in ["counts", "errors", "status", "days", "warnings"] {
        assert_eq!(import[same], rehearsal[same], "{same}");
    }
    assert_eq!(year_revenue(year)["row_count"], 1);
}

/// The local bucket checks the form's policy as S3 does: it is signed over the key and the size.
#[test]
fn the_form_is_good_for_its_own_key_only() {
    let announced = call("POST", "/api/sales/imports")
        .role(Role::Admin)
        .header("Idempotency-Key", &unique());
    let announced = announced.send().expect(201).json();
    let fields = announced["upload"]["fields"]
        .as_object()
        .expect("a form has fields")
        .clone();
    let url = announced["upload"]["url"]
        .as_str()
        .expect("a form has an address");
    let other = unique_key("other.csv");
    for (name, value) in [
        ("key", other.as_str()),
        ("x-amz-signature", "0"),
        ("policy", "e30="),
    ] {
        let mut fields = fields.clone();
        fields.insert(name.to_owned(), json!(value));
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("fields are text")))
            .collect();
        let answer = Call::to("POST", url).form(&fields, Some(b"x")).send();
        assert!(
            (400..500).contains(&answer.status),
            "{name}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert_eq!(bucket::report(id(&announced)).json()["status"], "pending");
}

#[test]
fn the_same_event_twice_at_once_or_late_or_out_of_order_does_nothing_more() {
    let year = empty_year();
    let plan = generated(year, 2_000, 0);
    let (sales, expected) = written(&plan);
    let key = unique_key("sales.csv");
    put(&key, sales.clone());
    let etag = {
        let head = async {
            connection()
                .s3()
                .head_object()
                .bucket(&stack().bucket)
                .key(&key)
                .send()
                .await
        };
        block_on(head)
            .expect("the file is there")
            .e_tag
            .expect("it has a tag")
            .trim_matches('"')
            .to_owned()
    };
    let event = lambda::object_created(&key, sales.len() as u64, &etag, &unique());
    let answers: Vec<_> = thread::scope(|scope| {
        let both = [&event, &event].map(|event| scope.spawn(|| lambda::import(event)));
        both.map(|run| run.join().expect("the invocation ends"))
            .into()
    });
    assert_eq!(answers, [Ok(Value::Null), Ok(Value::Null)]);
    assert_eq!(lambda::import(&event), Ok(Value::Null));

    // The bucket's own event began one import, ours another; between them every row counts once.
    let path = format!("/api/sales/imports?key={key}");
    let list = get(&path).send().expect(200).json();
    let imports: Vec<Value> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|import| ended_by_id(id(import)))
        .collect();
    assert_eq!(imports.len(), 2, "{list}");
    let sums = imports
        .iter()
        .map(counts)
        .fold((0, 0), |sum, (imported, duplicate, _)| {
            (sum.0 + imported, sum.1 + duplicate)
        });
    assert_eq!(sums, (expected.imported, expected.imported), "{imports:?}");
    assert_revenue(year, &[&expected]);

    let before = imports
        .iter()
        .map(|import| import["version"].clone())
        .collect::<Vec<_>>();
    assert_eq!(
        lambda::import(&event),
        Ok(Value::Null),
        "an event for an import that has ended"
    );
    let after = imports
        .iter()
        .map(|import| bucket::report(id(import)).json()["version"].clone())
        .collect::<Vec<_>>();
    assert_eq!(before, after);
}

#[test]
fn two_files_of_the_same_days_at_once_add_up() {
    let year = empty_year();
    let sales = |shop: u32| {
        let rows: Vec<String> = (0..400)
            .map(|at| {
                row(
                    &format!("{}/{}/{year}", at % 12 + 1, at % 28 + 1),
                    &format!("{}", shop * 1000 + at),
                    "Ball",
                    "0.01",
                )
            })
            .collect();
        file(&rows)
    };
    let imports: Vec<Value> = thread::scope(|scope| {
        let runs: Vec<_> = (1..4)
            .map(|shop| scope.spawn(move || bucket::import("shop.csv", sales(shop))))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("the import ends"))
            .collect()
    });
    assert!(
        imports.iter().all(|import| counts(import) == (400, 0, 0)),
        "{imports:?}"
    );
    let revenue = year_revenue(year);
    assert_eq!(
        (&revenue["total_revenue"]["amount"], &revenue["row_count"]),
        (&json!("12"), &json!(1200))
    );
}

#[test]
fn windows_1252_semicolons_and_iso_dates_are_read_with_a_warning_where_due() {
    let year = empty_year();
    let text = format!(
        "SALE ID;total paid;Item Name ;Sale date;Till\n 7 ;\"1,288.50\";Caf\u{e9};{year}-12-31;3\n"
    );
    let bytes: Vec<u8> = text
        .chars()
        .map(|char| u8::try_from(u32::from(char)).expect("all are Latin-1"))
        .collect();
    let import = bucket::import("bank.csv", bytes);
    assert_eq!(counts(&import), (1, 0, 0), "{import}");
    assert_eq!(
        import["warnings"],
        json!([
            "file is not UTF-8 and was read as Windows-1252",
            "columns left out: Till"
        ])
    );
    let rows = get(&format!("/api/sales?start={year}-12-31&end={year}-12-31"))
        .send()
        .expect(200)
        .json();
    assert_eq!(rows["data"][0]["item_name"], "Caf\u{e9}");
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "1288.5");
}

/// A message that no run can ever handle does not come back five times: it is buried with its reason.
#[test]
fn a_message_that_is_no_task_goes_to_the_dead_letters_with_its_reason() {
    let word = format!("no task {}", unique());
    let sqs = || connection().sqs();
    block_on(async {
        sqs()
            .send_message()
            .queue_url(&stack().queue_url)
            .message_body(&word)
            .send()
            .await
    })
    .expect("the queue takes a message");
    let received = async {
        for _ in 0..60 {
            let received = sqs()
                .receive_message()
                .queue_url(&stack().dead_letters_url)
                .message_attribute_names("All")
                .max_number_of_messages(10)
                .visibility_timeout(1)
                .wait_time_seconds(1)
                .send()
                .await
                .expect("the queue answers");
            let found = received
                .messages
                .unwrap_or_default()
                .into_iter()
                .find(|message| message.body() == Some(&word));
            if found.is_some() {
                return found;
            }
        }
        None
    };
    let message = block_on(received).expect("the message is buried");
    let reason = message.message_attributes().and_then(|attributes| {
        attributes.values().find_map(|value| {
            value
                .string_value()
                .filter(|value| *value == "message is not a task")
        })
    });
    assert!(reason.is_some(), "{message:?}");
}

#[test]
fn an_import_ends_once_and_a_key_put_again_is_another_import() {
    let year = empty_year();
    let key = unique_key("daily.csv");
    let put_row = |sale: &str| {
        put(
            &key,
            file(&[row(&format!("6/1/{year}"), sale, "Ball", "1")]),
        );
    };
    put_row("1");
    let first = ended(&key);
    put_row("2");
    for _ in 0..600 {
        if year_revenue(year)["row_count"] == 2 {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "2");
    assert_eq!(
        bucket::report(id(&first)).expect(200).json()["counts"],
        first["counts"]
    );
    take_back(id(&first));
    assert_eq!(year_revenue(year)["total_revenue"]["amount"], "1");
}
