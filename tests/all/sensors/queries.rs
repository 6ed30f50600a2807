//! What the readings of a device come to: their roll-ups, however late they were, and themselves.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::api::{Role, call, encoded, get};
use crate::support::bucket::{block_on, connection};
use crate::support::sensors::{
    DEVICES, JSON, LINES, aggregate, backfill, bulk, device, points, range, reading, series, stored,
};
use crate::support::stack::stack;

/// A day's readings of one metric, one each ten minutes, as line protocol in milliseconds.
fn day_of_readings(id: &str, metric: &str, day: &str) -> (Vec<u8>, Vec<(Timestamp, f64)>) {
    let start: Timestamp = format!("{day}T00:00:00Z").parse().expect("it is a day");
    let readings: Vec<(Timestamp, f64)> = (0..144_i32)
        .map(|at| {
            let time = start + SignedDuration::from_mins(10 * i64::from(at));
            (time, f64::from(at * 37 % 144) / 4.0 + 1.0)
        })
        .collect();
    let lines: Vec<String> = readings
        .iter()
        .map(|(time, value)| {
            let time = time.as_millisecond();
            format!("m,device_id={id} {metric}={value} {time}")
        })
        .collect();
    (lines.join("\n").into_bytes(), readings)
}

/// A device with the day's readings of the metric `t`, stored and rolled up.
fn device_with_day(day: &str) -> (String, Vec<(Timestamp, f64)>) {
    let id = device();
    let (body, readings) = day_of_readings(&id, "t", day);
    let call = bulk("?backfill=true&precision=ms", LINES, body);
    call.send().expect(202);
    stored(&id, &whole(day).0, &whole(day).1, readings.len());
    aggregate();
    (id, readings)
}

/// A day's start and end.
fn whole(day: &str) -> (String, String) {
    let start: Timestamp = format!("{day}T00:00:00Z").parse().expect("it is a day");
    (
        start.to_string(),
        (start + SignedDuration::from_hours(24)).to_string(),
    )
}

fn of_day(day: &str, rest: &str) -> String {
    let (start, end) = whole(day);
    range(&start, &end, rest)
}

fn number(point: &Value, name: &str) -> f64 {
    point[name].as_f64().expect("the member is a number")
}

#[test]
fn aggregates_are_those_of_the_readings() {
    let day = "2025-05-06";
    let (id, readings) = device_with_day(day);
    let mut values: Vec<f64> = readings.iter().map(|(_, value)| *value).collect();
    let sum: f64 = values.iter().sum();
    for (interval, buckets) in [("1min", 144), ("5min", 144), ("1hour", 24), ("1day", 1)] {
        let query = of_day(day, &format!("&interval={interval}&metric=t"));
        let body = series(&id, &query);
        assert_eq!(
            (&body["device_id"], &body["metric"], &body["interval"]),
            (&json!(id), &json!("t"), &json!(interval))
        );
        let data = body["data"].as_array().expect("a series has data");
        let total = |name: &str| data.iter().map(|point| number(point, name)).sum::<f64>();
        assert_eq!(
            json!([data.len(), total("count"), total("sum")]),
            json!([buckets, 144.0, sum]),
            "{interval}"
        );
        assert!(data.iter().all(|point| point.get("partial").is_none()));
    }
    let query = of_day(
        day,
        "&interval=1day&metric=t&stats=count,min,max,avg,stddev,first,last,p0,p50,p95,p100",
    );
    let point = series(&id, &query)["data"][0].clone();
    let mean = sum / 144.0;
    let variance: f64 = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / 144.0;
    assert!((number(&point, "avg") - mean).abs() < 1e-9, "{point}");
    assert!((number(&point, "stddev") - variance.sqrt()).abs() < 1e-9);
    assert_eq!(
        json!([point["first"], point["last"]]),
        json!([readings[0].1, readings[143].1])
    );
    values.sort_by(f64::total_cmp);
    for (name, rank) in [("p0", 0), ("p50", 71), ("p95", 135), ("p100", 143)] {
        let error = number(&point, name) / values[rank] - 1.0;
        assert!(error.abs() <= 0.01, "{name} of {point}");
    }
    assert_eq!(
        (number(&point, "min"), number(&point, "max")),
        (values[0], values[143])
    );
    let empty = series(&id, &of_day(day, "&interval=1day"));
    assert_eq!(
        empty["data"],
        json!([]),
        "no reading is of the metric value"
    );
}

#[test]
fn readings_that_the_device_does_not_trust_are_counted_and_nothing_more() {
    let id = device();
    let (start, end) = ("2025-05-06T07:00:00Z", "2025-05-06T08:00:00Z");
    let at = |minute: u32, value: f64, is_valid: bool| {
        json!({
            "timestamp": format!("2025-05-06T07:{minute:02}:00Z"), "value": value,
            "is_valid": is_valid,
        })
    };
    backfill(
        &id,
        &[
            at(1, 1.0, true),
            at(2, 1e9, false),
            at(3, 3.0, true),
            at(9, -1e9, false),
        ],
    );
    stored(&id, start, end, 4);
    aggregate();
    let members = ["count", "valid_count", "min", "max", "avg", "first", "last"];
    let query = |interval: &str| range(start, end, &format!("&interval={interval}"));
    assert_eq!(
        points(&id, &query("1hour"), &members),
        [json!([
            "2025-05-06T07:00:00.000Z",
            4,
            2,
            1.0,
            3.0,
            2.0,
            1.0,
            3.0
        ])]
    );
    assert_eq!(
        points(&id, &query("5min"), &members)[1],
        json!([
            "2025-05-06T07:05:00.000Z",
            1,
            0,
            null,
            null,
            null,
            null,
            null
        ])
    );
}

#[test]
fn late_data_changes_exactly_the_buckets_it_falls_into() {
    let day = "2025-05-07";
    let (id, _) = device_with_day(day);
    let intervals = ["1min", "5min", "1hour", "1day"];
    let all = || {
        intervals.map(|interval| {
            let query = of_day(day, &format!("&interval={interval}&metric=t&fill=null"));
            series(&id, &query)["data"]
                .as_array()
                .expect("it is one")
                .clone()
        })
    };
    let before = all();
    let late = json!({"metric": "t", "timestamp": "2025-05-07T13:41:30Z", "value": 1000});
    backfill(&id, &[late]);
    stored(&id, &whole(day).0, &whole(day).1, 145);
    aggregate();
    let starts = ["13:41", "13:40", "13:00", "00:00"];
    for ((before, after), start) in before.iter().zip(all()).zip(starts) {
        assert_eq!(before.len(), after.len());
        let changed: Vec<&Value> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .map(|(_, after)| after)
            .collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(changed[0]["start"], format!("{day}T{start}:00.000Z"));
        assert_eq!(changed[0]["max"], 1000.0);
    }
}

#[test]
fn a_local_day_is_as_long_as_its_clocks_make_it() {
    let id = device();
    let lines: Vec<String> = (0..72_i64)
        .map(|hour| {
            let start: Timestamp = "2025-03-29T00:30:00Z".parse().expect("it is a time");
            let time = start + SignedDuration::from_hours(hour);
            format!("m,device_id={id} value=1 {}", time.as_second())
        })
        .collect();
    let call = bulk("?backfill=true&precision=s", LINES, lines.join("\n"));
    call.send().expect(202);
    stored(&id, "2025-03-29T00:00:00Z", "2025-04-01T00:00:00Z", 72);
    aggregate();
    let query = "interval=1day&start=2025-03-29&end=2025-04-01&tz=Europe/Berlin";
    assert_eq!(series(&id, query)["tz"], "Europe/Berlin");
    assert_eq!(
        points(&id, query, &["end", "count"]),
        [
            json!(["2025-03-28T23:00:00.000Z", "2025-03-29T23:00:00.000Z", 23]),
            json!(["2025-03-29T23:00:00.000Z", "2025-03-30T22:00:00.000Z", 23]),
            json!(["2025-03-30T22:00:00.000Z", "2025-03-31T22:00:00.000Z", 24]),
        ]
    );
    let utc = "interval=1day&start=2025-03-29&end=2025-04-01";
    let counts = points(&id, utc, &["count"]);
    assert!(counts.iter().all(|point| point[1] == 24), "{counts:?}");
}

#[test]
fn gaps_are_filled_as_asked_and_no_further_than_allowed() {
    let id = device();
    let at = |minute: u32, value: f64| reading(&format!("2025-05-08T09:{minute:02}:10Z"), value);
    backfill(&id, &[at(1, 10.0), at(4, 40.0), at(9, 90.0)]);
    let (start, end) = ("2025-05-08T09:00:00Z", "2025-05-08T09:11:00Z");
    stored(&id, start, end, 3);
    aggregate();
    let averages = |rest: &str| {
        let query = range(start, end, &format!("&interval=1min&stats=avg{rest}"));
        points(&id, &query, &["avg"])
            .iter()
            .map(|point| point[1].as_f64())
            .collect::<Vec<_>>()
    };
    let given = |values: [f64; 11]| {
        values
            .map(|value| Some(value).filter(|_| value > 0.0))
            .to_vec()
    };
    assert_eq!(averages(""), [Some(10.0), Some(40.0), Some(90.0)]);
    let gaps = [0.0, 10.0, 0.0, 0.0, 40.0, 0.0, 0.0, 0.0, 0.0, 90.0, 0.0];
    assert_eq!(averages("&fill=null"), given(gaps));
    let previous = [
        0.0, 10.0, 10.0, 10.0, 40.0, 40.0, 40.0, 40.0, 40.0, 90.0, 90.0,
    ];
    assert_eq!(averages("&fill=previous"), given(previous));
    let linear = [
        0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 0.0,
    ];
    assert_eq!(averages("&fill=linear"), given(linear));
    let short = [0.0, 10.0, 20.0, 30.0, 40.0, 0.0, 0.0, 0.0, 0.0, 90.0, 0.0];
    assert_eq!(averages("&fill=linear&max_gap=2m"), given(short));
    let filled = series(&id, &range(start, end, "&interval=1min&fill=linear"));
    assert_eq!(
        (&filled["data"][2]["filled"], &filled["data"][2]["count"]),
        (&json!(true), &json!(0))
    );
}

#[test]
fn a_range_of_too_many_points_is_told_an_interval_that_fits() {
    let id = device();
    let ask = |query: &str| get(&format!("{DEVICES}/{id}/aggregates?{query}")).send();
    for (start, end, interval, fits) in [
        ("2025-01-01", "2025-01-03", "1min", "interval=5min"),
        ("2025-01-01", "2025-02-01", "1min", "interval=1hour"),
        ("2025-01-01", "2025-12-31", "1hour", "interval=1day"),
        ("2015-01-01", "2025-12-31", "1day", "shorter range"),
    ] {
        let query = format!("interval={interval}&start={start}&end={end}");
        let problem = ask(&query).problem(400, "too-many-points");
        let detail = problem["detail"].as_str().expect("it has one");
        assert!(detail.contains(fits), "{detail}");
    }
    ask("interval=1min&start=2025-01-01&end=2025-01-02").expect(200);
    let problem = ask("interval=2min&start=now&end=2025-01-01T00:00:00&stats=p101&fill=0&tz=X")
        .problem(400, "invalid-query");
    let errors = problem["errors"].as_array().expect("it names them");
    assert_eq!(errors.len(), 6, "{problem}");
}

#[test]
fn the_open_bucket_is_marked_and_holds_what_has_just_arrived() {
    let id = device();
    let now = Timestamp::now();
    let body = json!({"device_id": id, "readings": [reading(&now.to_string(), 2.5)]});
    bulk("", JSON, body.to_string()).send().expect(202);
    let end = now + SignedDuration::from_millis(1);
    let start = now - SignedDuration::from_millis(1);
    stored(&id, &start.to_string(), &end.to_string(), 1);
    for interval in ["1hour", "1day"] {
        let query = range(
            &now.to_string(),
            &end.to_string(),
            &format!("&interval={interval}"),
        );
        let point = series(&id, &query)["data"][0].clone();
        assert_eq!(
            (&point["partial"], &point["count"], number(&point, "max")),
            (&json!(true), &json!(1), 2.5),
            "{point}"
        );
    }
}

#[test]
fn the_watermark_follows_the_runs_of_the_aggregator() {
    let id = device();
    let watermark = || -> Timestamp {
        let body = series(&id, "interval=1day&start=2025-01-01&end=2025-01-02");
        let text = body["watermark"].as_str().expect("there has been a run");
        text.parse().expect("it is a time")
    };
    aggregate();
    let first = watermark();
    let before = Timestamp::now();
    aggregate();
    let second = watermark();
    assert!(first <= second, "{first} {second}");
    // It stays behind by what a writer may take from its clock to the log.
    assert!(second >= before - SignedDuration::from_mins(2), "{second}");
    assert!(second < Timestamp::now());
}

#[test]
fn readings_come_out_as_csv_just_as_they_went_in() {
    let day = "2025-05-09";
    let id = device();
    let (body, readings) = day_of_readings(&id, "t", day);
    let call = bulk("?backfill=true&precision=ms", LINES, body);
    call.send().expect(202);
    let (start, end) = whole(day);
    let rows = stored(&id, &start, &end, readings.len());
    let expected: Vec<String> = readings
        .iter()
        .map(|(time, value)| format!("{time:.3},t,{value:?},true,,"))
        .collect();
    assert_eq!(rows, expected);

    // In pages as well, and as JSON.
    let first = format!(
        "{DEVICES}/{id}/readings?{}&limit=60&metric=t",
        range(&start, &end, "")
    );
    let (mut path, mut pages, mut seen) = (first.clone(), 0, Vec::new());
    loop {
        let page = get(&path).send().expect(200).json();
        pages += 1;
        for reading in page["data"].as_array().expect("a page has data") {
            let (time, value) = (&reading["timestamp"], number(reading, "value"));
            let time = time.as_str().expect("a time is text");
            seen.push(format!("{time},t,{value:?},true,,"));
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("{first}&cursor={}", encoded(cursor));
    }
    assert_eq!((pages, seen), (3, expected));
    let other = format!(
        "{DEVICES}/{id}/readings?{}&metric=h",
        range(&start, &end, "")
    );
    assert_eq!(get(&other).send().expect(200).json()["data"], json!([]));
    aggregate();
    let series = call_csv(&id, &of_day(day, "&interval=1day&metric=t&stats=count,max"));
    assert_eq!(
        series,
        format!(
            "start,end,partial,filled,count,max\r\n{day}T00:00:00.000Z,2025-05-10T00:00:00.000Z,false,false,144,36.75\r\n"
        )
    );
}

fn call_csv(id: &str, query: &str) -> String {
    let path = format!("{DEVICES}/{id}/aggregates?{query}");
    let answer = call("GET", &path).role(Role::Analyst);
    let answer = answer.header("Accept", "text/csv").send().expect(200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/csv; charset=utf-8")
    );
    answer.text().to_owned()
}

/// Removes the roll-ups of a device's metric from the table, as no function ever does.
fn lose_rollups(id: &str, metric: &str) -> usize {
    let client = connection().dynamodb();
    let table = &stack().sensors_table;
    block_on(async {
        let found = client
            .query()
            .table_name(table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(format!("AGG#{id}#{metric}")))
            .send()
            .await
            .expect("the table answers");
        for item in found.items() {
            let delete = client.delete_item().table_name(table);
            let delete = delete.key("pk", item["pk"].clone());
            let delete = delete.key("sk", item["sk"].clone());
            delete.send().await.expect("the table takes it");
        }
        found.items().len()
    })
}

#[test]
fn recomputation_makes_roll_ups_of_what_is_stored_as_often_as_it_is_asked_for() {
    let day = "2025-05-10";
    let (id, _) = device_with_day(day);
    let all = || {
        ["1min", "1hour", "1day"].map(|interval| {
            let query = of_day(day, &format!("&interval={interval}&metric=t"));
            series(&id, &query)["data"].clone()
        })
    };
    let before = all();
    // 24 of minutes, one of hours, one of days.
    assert_eq!(lose_rollups(&id, "t"), 26);
    assert_eq!(all(), [json!([]), json!([]), json!([])]);
    let path = format!("{DEVICES}/{id}/aggregates/recompute");
    let recompute = |start: &str, end: &str| {
        let body = json!({"start": start, "end": end}).to_string();
        call("POST", &path)
            .role(Role::Admin)
            .body(JSON, body)
            .send()
    };
    let (start, end) = whole(day);
    for _ in 0..2 {
        let answer = recompute(&start, &end).expect(202).json();
        assert_eq!(answer, json!({"device_id": id, "hours": 24}));
        aggregate();
        assert_eq!(all(), before);
    }
    recompute("2025-05-01T00:00:00Z", "2025-06-01T00:00:00.001Z").problem(422, "invalid-body");
    recompute(&end, &start).problem(422, "invalid-body");
}

#[test]
fn two_runs_of_the_aggregator_at_once_come_to_what_one_does() {
    let id = device();
    let (start, end) = ("2025-05-11T00:00:00Z", "2025-05-12T00:00:00Z");
    for part in 0..6_u32 {
        let readings: Vec<Value> = (0..100_u32)
            .map(|at| {
                let second = at * 6 + part;
                let time = format!("2025-05-11T06:{:02}:{:02}Z", second / 60, second % 60);
                reading(&time, f64::from(second))
            })
            .collect();
        backfill(&id, &readings);
        std::thread::scope(|scope| {
            scope.spawn(aggregate);
            scope.spawn(aggregate);
        });
    }
    stored(&id, start, end, 600);
    aggregate();
    let query = range(start, end, "&interval=1day");
    assert_eq!(
        points(&id, &query, &["count", "min", "max", "first", "last"]),
        [json!([
            "2025-05-11T00:00:00.000Z",
            600,
            0.0,
            599.0,
            0.0,
            599.0
        ])]
    );
}
