//! Files put into the bucket, and what the imports they start come to.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;
use shared::platform::aws::Connection;
use tests::generate::sales::{Expected, Plan};

use super::api::{Answer, encoded, get};
use super::stack::{stack, unique};

/// The header of the export.
pub(crate) const HEADER: &str = "Sale Date,Client ID,Sale ID,Item name,Batch #,Sales Notes,Location,Notes,Color,Size,\
    Item price (excluding tax),Quantity,Subtotal (excluding tax),Discount %,Discount amount,Tax,Item Total,\
    Total Paid w/ Payment Method,Payment Method";

/// How long an import may take before a test gives it up.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs an SDK call to its end.
pub(crate) fn block_on<T>(call: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime needs no resources that tests lack")
        .block_on(call)
}

/// The SDK's way to the stack.
pub(crate) fn connection() -> Connection {
    // Panics with how to run the tests, which the SDK's own complaint would not say.
    let _ = stack();
    Connection::from_env().expect("with_stack.py sets the variables of the SDK")
}

/// Years that are left to tests that name theirs.
const NAMED_YEARS: RangeInclusive<i16> = 2000..=2100;

/// A year that no other test of this run uses and in which nothing is stored; revenue of it is the
/// test's own.
pub(crate) fn empty_year() -> i16 {
    static NEXT: AtomicI16 = AtomicI16::new(1900);
    loop {
        let year = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(
            year < 2900,
            "every year is used: begin with a fresh stack (make down, make up)"
        );
        if !NAMED_YEARS.contains(&year) && year_revenue(year)["row_count"] == 0 {
            return year;
        }
    }
}

/// Revenue as v1 tells it.
pub(crate) fn revenue(start: &str, end: &str) -> Value {
    get(&format!("/api/metrics/v1/revenue?start={start}&end={end}"))
        .send()
        .expect(200)
        .json()
}

/// Revenue of a whole year.
pub(crate) fn year_revenue(year: i16) -> Value {
    revenue(&format!("{year}-01-01"), &format!("{year}-12-31"))
}

/// A generated pair of files within `year`.
pub(crate) fn generated(year: i16, rows: u64, bad_rows: u64) -> Plan {
    let first = jiff::civil::date(year, 1, 1);
    let first_day = i64::from(
        first
            .since(jiff::civil::date(1970, 1, 1))
            .expect("both are dates")
            .get_days(),
    );
    // The second file goes on after the first, and stays in the year too.
    Plan {
        first_day,
        days: 300,
        bad_rows,
        ..Plan::new(rows, u64::from(year.unsigned_abs()))
    }
}

/// The generated file and its figures.
pub(crate) fn written(plan: &Plan) -> (Vec<u8>, Expected) {
    let mut file = Vec::new();
    let expected = plan.write_file(&mut file).expect("a Vec takes every write");
    (file, expected)
}

/// A key under `imports/` that nobody else uses.
pub(crate) fn unique_key(name: &str) -> String {
    format!("imports/test/{}/{name}", unique())
}

/// Puts `file` at `key`.
pub(crate) fn put(key: &str, file: impl Into<Vec<u8>>) {
    let s3 = || connection().s3();
    let body = ByteStream::from(file.into());
    let put = async {
        s3().put_object()
            .bucket(&stack().bucket)
            .key(key)
            .body(body)
            .send()
            .await
    };
    block_on(put).expect("the bucket takes the file");
}

/// Puts `file` under `imports/` and waits for the report on its import.
pub(crate) fn import(name: &str, file: impl Into<Vec<u8>>) -> Value {
    let key = unique_key(name);
    put(&key, file);
    ended(&key)
}

/// The one import of a key, once it has ended, as its own route tells it.
pub(crate) fn ended(key: &str) -> Value {
    let path = format!("/api/sales/imports?key={}", encoded(key));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = get(&path).send().expect(200).json();
        if let Some(import) = list["data"].get(0) {
            assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
            let id = import["id"].as_str().expect("an import has an id");
            return ended_by_id(id);
        }
        wait(deadline, &list);
    }
}

/// The newest import of a key that has been put again, once there are `count` and it has ended.
pub(crate) fn newest_ended(key: &str, count: usize) -> Value {
    let path = format!("/api/sales/imports?key={}", encoded(key));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = get(&path).send().expect(200).json();
        if list["data"].as_array().map(Vec::len) == Some(count) {
            return ended_by_id(id(&list["data"][0]));
        }
        wait(deadline, &list);
    }
}

/// An import once it has ended.
pub(crate) fn ended_by_id(id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let import = report(id).expect(200).json();
        let status = import["status"].as_str().expect("an import has a status");
        if matches!(
            status,
            "completed" | "completed-with-errors" | "failed" | "deleted"
        ) {
            return import;
        }
        wait(deadline, &import);
    }
}

fn wait(deadline: Instant, last: &Value) {
    assert!(Instant::now() < deadline, "the import does not end: {last}");
    thread::sleep(Duration::from_millis(100));
}

/// The report on an import.
pub(crate) fn report(id: &str) -> Answer {
    get(&format!("/api/sales/imports/{id}")).send()
}

/// What became of an import's rows: imported, duplicate, rejected.
pub(crate) fn counts(import: &Value) -> (u64, u64, u64) {
    let count = |name: &str| import["counts"][name].as_u64().expect("counts are numbers");
    (count("imported"), count("duplicate"), count("rejected"))
}

/// The identifier of an import.
pub(crate) fn id(import: &Value) -> &str {
    import["id"].as_str().expect("an import has an id")
}

/// A row of the export.
pub(crate) fn row(date: &str, sale: &str, item: &str, total: &str) -> String {
    format!(
        "{date},100002649,{sale},{item},---,,Golf - experience,,---,---,32,1,32,0,0,2.88,{total},{total},Cash\r\n"
    )
}

/// A file of these rows.
pub(crate) fn file(rows: &[String]) -> Vec<u8> {
    format!("{HEADER}\r\n{}", rows.concat()).into_bytes()
}
