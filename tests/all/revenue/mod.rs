//! Revenue queries, end to end. Their sales lie in years that no other test writes to; importing
//! them again adds nothing, so these tests may run on any stack.

mod orders;

use std::sync::OnceLock;

use crate::support::api::{Answer, Role, call};
use crate::support::bucket::{self, file, row};

/// Three days of January 2001, one of February, one of March, and the last of 2000.
fn sales() {
    static IMPORTED: OnceLock<()> = OnceLock::new();
    IMPORTED.get_or_init(|| {
        let import = bucket::import(
            "revenue.csv",
            file(&[
                row("12/31/2000", "1", "Ball", "100"),
                row("01/01/2001", "2", "Ball", "34.88"),
                row("1/1/2001", "2", "Tee", "0.654"),
                row("1/1/2001", "3", "Ball", "-34.88"),
                row("2001-01-07", "4", "Ball", "10"),
                row("1/8/2001", "5", "Ball", "0.005"),
                row("2/28/2001", "6", "Ball", "1288.5"),
                row("3/1/2001", "7", "Ball", "0"),
            ]),
        );
        assert_eq!(import["counts"]["rejected"], 0, "{import}");
    });
}

fn get(path: &str) -> Answer {
    sales();
    call("GET", path).role(Role::Analyst).send()
}

/// The answer without what differs from call to call.
fn told(path: &str) -> String {
    let answer = get(path);
    let text = answer.snapshot();
    match answer.header("x-correlation-id") {
        Some(id) => text.replace(id, "…"),
        None => text,
    }
}

#[test]
fn the_legacy_total_is_printed_to_the_digit() {
    insta::assert_snapshot!(told("/api/metrics/revenue/?start=1/1/2001&end=12/31/2001"), @r#"
    200
    {"status":200,"message":"success","data":{"total_revenue_sgd":1299.159,"average_order_value_sg":185.59}}
    "#);
}

#[test]
fn both_ends_are_included() {
    insta::assert_snapshot!(told("/api/metrics/revenue?start=2000-12-31&end=2001-01-01"), @r#"
    200
    {"status":200,"message":"success","data":{"total_revenue_sgd":100.654,"average_order_value_sg":25.16}}
    "#);
    insta::assert_snapshot!(told("/api/metrics/revenue?start=2001-02-28&end=2001-02-28"), @r#"
    200
    {"status":200,"message":"success","data":{"total_revenue_sgd":1288.5,"average_order_value_sg":1288.5}}
    "#);
}

#[test]
fn an_empty_range_is_zeros() {
    insta::assert_snapshot!(told("/api/metrics/revenue/?start=1/2/2001&end=1/6/2001"), @r#"
    200
    {"status":200,"message":"success","data":{"total_revenue_sgd":0,"average_order_value_sg":0}}
    "#);
    insta::assert_snapshot!(told("/api/metrics/revenue/daily/?start=1/2/2001&end=1/6/2001"), @r#"
    200
    {"status":200,"message":"success","data":[]}
    "#);
    insta::assert_snapshot!(told("/api/metrics/v1/revenue?start=2001-01-02&end=2001-01-06&group_by=day"), @r#"
    200
    {"start":"2001-01-02","end":"2001-01-06","source":"all","total_revenue":{"amount":"0","currency":"SGD"},"row_count":0,"order_count":0,"average_order_value":{"amount":"0","currency":"SGD"},"groups":[]}
    "#);
}

#[test]
fn the_legacy_days_come_in_order_and_only_those_with_sales() {
    insta::assert_snapshot!(told("/api/metrics/revenue/daily?start=12/31/2000&end=3/31/2001"), @r#"
    200
    {"status":200,"message":"success","data":[{"date":"2000-12-31","revenue_sgd":100},{"date":"2001-01-01","revenue_sgd":0.654},{"date":"2001-01-07","revenue_sgd":10},{"date":"2001-01-08","revenue_sgd":0.005},{"date":"2001-02-28","revenue_sgd":1288.5},{"date":"2001-03-01","revenue_sgd":0}]}
    "#);
}

#[test]
fn dates_are_taken_in_both_spellings_and_wrong_ones_are_told() {
    let expected = told("/api/metrics/revenue/?start=2001-01-01&end=2001-01-31");
    for (start, end) in [
        ("1/1/2001", "1/31/2001"),
        ("01/01/2001", "2001-01-31"),
        ("%201/1/2001", "1%2F31%2F2001"),
    ] {
        assert_eq!(
            told(&format!("/api/metrics/revenue/?start={start}&end={end}")),
            expected,
            "{start} {end}"
        );
    }
    insta::assert_snapshot!(told("/api/metrics/revenue/?start=1/1/2001"), @r#"
    400
    {"type":"https://errors.invalid/missing-date","title":"Bad Request","status":400,"detail":"Missing start or end","instance":"/api/metrics/revenue/","code":"missing-date","correlation_id":"…","errors":[{"pointer":"/query/end","code":"missing","detail":"end is required"}]}
    "#);
    insta::assert_snapshot!(told("/api/metrics/revenue/"), @r#"
    400
    {"type":"https://errors.invalid/missing-date","title":"Bad Request","status":400,"detail":"Missing start or end","instance":"/api/metrics/revenue/","code":"missing-date","correlation_id":"…","errors":[{"pointer":"/query/start","code":"missing","detail":"start is required"},{"pointer":"/query/end","code":"missing","detail":"end is required"}]}
    "#);
    insta::assert_snapshot!(told("/api/metrics/revenue/daily/?start=2001-02-30&end=2001-03-01"), @r#"
    400
    {"type":"https://errors.invalid/invalid-date","title":"Bad Request","status":400,"detail":"Invalid date format","instance":"/api/metrics/revenue/daily/","code":"invalid-date","correlation_id":"…","errors":[{"pointer":"/query/start","code":"invalid-date","detail":"not a date, expected M/D/YYYY or YYYY-MM-DD"}]}
    "#);
    insta::assert_snapshot!(told("/api/metrics/revenue/?start=2001-02-01&end=2001-01-01"), @r#"
    400
    {"type":"https://errors.invalid/end-before-start","title":"Bad Request","status":400,"detail":"end is before start","instance":"/api/metrics/revenue/","code":"end-before-start","correlation_id":"…"}
    "#);
    for wrong in [
        "13/1/2001",
        "1-1-2001",
        "2001/01/01",
        "20010101",
        "yesterday",
        "1/1/01",
        "2001-1-1T00:00:00Z",
        "%00",
    ] {
        for path in ["revenue", "revenue/daily", "v1/revenue"] {
            let problem = get(&format!("/api/metrics/{path}?start={wrong}&end=2001-01-01"))
                .problem(400, "invalid-date");
            assert_eq!(problem["detail"], "Invalid date format", "{wrong}");
        }
    }
    get("/api/metrics/v1/revenue?start=1900-01-01&end=2100-01-01").problem(400, "range-too-long");
}

#[test]
fn v1_adds_orders_rows_and_their_average() {
    insta::assert_snapshot!(told("/api/metrics/v1/revenue/?start=1/1/2001&end=12/31/2001"), @r#"
    200
    {"start":"2001-01-01","end":"2001-12-31","source":"all","total_revenue":{"amount":"1299.159","currency":"SGD"},"row_count":7,"order_count":6,"average_order_value":{"amount":"216.53","currency":"SGD"}}
    "#);
}

#[test]
fn v1_groups_by_any_period_and_weeks_begin_on_monday() {
    for period in ["day", "week", "month", "year"] {
        let path =
            format!("/api/metrics/v1/revenue?start=2000-12-31&end=2001-03-01&group_by={period}");
        insta::assert_snapshot!(format!("groups_by_{period}"), told(&path));
    }
}

#[test]
fn v1_fills_the_periods_between_with_zeros() {
    insta::assert_snapshot!(told("/api/metrics/v1/revenue?start=2001-01-06&end=2001-01-09&group_by=day&fill=zero"), @r#"
    200
    {"start":"2001-01-06","end":"2001-01-09","source":"all","total_revenue":{"amount":"10.005","currency":"SGD"},"row_count":2,"order_count":2,"average_order_value":{"amount":"5","currency":"SGD"},"groups":[{"period":"2001-01-06","total_revenue":{"amount":"0","currency":"SGD"},"row_count":0,"order_count":0,"average_order_value":{"amount":"0","currency":"SGD"}},{"period":"2001-01-07","total_revenue":{"amount":"10","currency":"SGD"},"row_count":1,"order_count":1,"average_order_value":{"amount":"10","currency":"SGD"}},{"period":"2001-01-08","total_revenue":{"amount":"0.005","currency":"SGD"},"row_count":1,"order_count":1,"average_order_value":{"amount":"0.01","currency":"SGD"}},{"period":"2001-01-09","total_revenue":{"amount":"0","currency":"SGD"},"row_count":0,"order_count":0,"average_order_value":{"amount":"0","currency":"SGD"}}]}
    "#);
    insta::assert_snapshot!(told("/api/metrics/v1/revenue?start=2001-03-01&end=2001-05-15&group_by=month&fill=zero"), @r#"
    200
    {"start":"2001-03-01","end":"2001-05-15","source":"all","total_revenue":{"amount":"0","currency":"SGD"},"row_count":1,"order_count":1,"average_order_value":{"amount":"0","currency":"SGD"},"groups":[{"period":"2001-03-01","total_revenue":{"amount":"0","currency":"SGD"},"row_count":1,"order_count":1,"average_order_value":{"amount":"0","currency":"SGD"}},{"period":"2001-04-01","total_revenue":{"amount":"0","currency":"SGD"},"row_count":0,"order_count":0,"average_order_value":{"amount":"0","currency":"SGD"}},{"period":"2001-05-01","total_revenue":{"amount":"0","currency":"SGD"},"row_count":0,"order_count":0,"average_order_value":{"amount":"0","currency":"SGD"}}]}
    "#);
}

#[test]
fn v1_tells_imports_from_orders() {
    let revenue = |source: &str| {
        let path =
            format!("/api/metrics/v1/revenue?start=2001-01-01&end=2001-01-01&source={source}");
        let body = get(&path).expect(200).json();
        assert_eq!(body["source"], source);
        body["total_revenue"].clone()
    };
    assert_eq!(
        revenue("import"),
        serde_json::json!({"amount": "0.654", "currency": "SGD"})
    );
    assert_eq!(revenue("all"), revenue("import"));
    assert_eq!(revenue("orders")["amount"], "0");
}

#[test]
fn v1_refuses_what_it_does_not_know() {
    for query in [
        "group_by=hour",
        "source=refunds",
        "fill=null",
        "fill=",
        "limit=1",
        "group_by=day&group_by=week",
    ] {
        get(&format!(
            "/api/metrics/v1/revenue?start=2001-01-01&end=2001-01-01&{query}"
        ))
        .problem(400, "invalid-query");
    }
}

#[test]
fn a_century_is_answered_by_its_days() {
    let body =
        get("/api/metrics/v1/revenue?start=2001-01-01&end=2100-12-31&group_by=year&fill=zero")
            .expect(200)
            .json();
    assert_eq!(body["groups"].as_array().map(Vec::len), Some(100));
}
