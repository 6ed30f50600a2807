use axum::body::Body;
use http::{HeaderMap, Method, Request};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::{
    platform::{
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, RawRetention},
        http::App,
        idempotency::Idempotency,
        ids::Random,
        table::Write,
    },
    sensors::{
        chunk::{Chunk, Row},
        device::store::DeviceStore,
        model::{DAY_MS, Day, HOUR_MS, Hour, MINUTE_MS, Metric},
        rollup::{Rollup, Rollups, Sum},
        rules::{self, Lane, Seen, Tier},
        store::{NewChunk, Period, SensorStore, Stored},
    },
    testing::{Database, Table},
};

use super::router;
use crate::sensors::context::{Context, Recent};

const DEVICES: &str = "/api/sensors/devices";

/// 2026-11-20T16:00:00Z.
const NOW: i64 = 1_795_190_400_000;

struct House {
    _database: Database,
    app: App,
    store: SensorStore,
    clock: Clock,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> (u16, String) {
        let body = self.json();
        (
            self.status,
            body["code"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    async fn new() -> Self {
        let table = Table::new("Sensors").index("devices", "devices_pk", "devices_sk");
        let database = Database::start(&[table]).await;
        let clock = Clock::fixed(Timestamp::from_millisecond(NOW).unwrap());
        let (client, name) = (database.client(), || "Sensors".to_owned());
        let context = Context {
            devices: DeviceStore::new(client.clone(), name()),
            store: SensorStore::new(client.clone(), name()),
            retention: RawRetention::new(90).unwrap(),
            clock: clock.clone(),
            random: Random::seeded(1),
            cursors: CursorKey::new([1; 32]).unwrap(),
            idempotency: Idempotency::new(client.clone(), name(), clock.clone(), Random::seeded(2)),
            recent: Recent::new(&clock),
        };
        Self {
            store: SensorStore::new(client, name()),
            app: App::with(router(context), clock.clone(), Random::seeded(3)),
            clock,
            _database: database,
        }
    }

    /// A house with the device `b-1`.
    async fn with_device() -> Self {
        let house = Self::new().await;
        let made = house.post(DEVICES, &boiler()).await;
        assert_eq!(made.status, 201, "{}", made.body);
        house
    }

    async fn send(
        &self,
        groups: &[Group],
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let caller = Caller::new("u-1", groups);
        let body = Body::from(body.map(Value::to_string).unwrap_or_default());
        let request = request.extension(caller).body(body).unwrap();
        let (parts, body) = self.app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(&[Group::Admin], Method::POST, path, &[], Some(body))
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&[Group::Analyst], Method::GET, path, &[], None)
            .await
    }

    async fn csv(&self, path: &str) -> Answer {
        let accept = [("accept", "text/csv")];
        self.send(&[Group::Analyst], Method::GET, path, &accept, None)
            .await
    }

    async fn change(&self, method: Method, etag: &str, body: Option<&Value>) -> Answer {
        let path = format!("{DEVICES}/b-1");
        self.send(&[Group::Admin], method, &path, &[("if-match", etag)], body)
            .await
    }

    /// Stores readings of `b-1` as the storage function would.
    async fn store(&self, rows: &[Row<'_>]) {
        let mut chunks: Vec<Chunk> = Vec::new();
        for row in rows {
            let hour = Hour::of(row.timestamp);
            if !chunks.iter().any(|chunk| chunk.hour() == hour) {
                chunks.push(Chunk::new(hour));
            }
            let chunk = chunks.iter_mut().find(|chunk| chunk.hour() == hour);
            chunk.unwrap().push(*row).unwrap();
        }
        let mut new = Vec::new();
        for mut chunk in chunks {
            chunk.settle();
            new.extend(chunk.encode().unwrap().into_iter().map(|frame| NewChunk {
                device: "b-1".parse().unwrap(),
                hour: chunk.hour(),
                tier: Tier::of(chunk.hour(), NOW),
                kept: true,
                expires_at: NOW + DAY_MS,
                frame,
            }));
        }
        self.store.put_chunks(new).await.unwrap();
    }

    /// Stores the roll-ups of readings of one metric and day of `b-1`, as the aggregator would.
    async fn roll_up(&self, rows: &[Row<'_>]) {
        let metric: Metric = rows[0].metric.parse().unwrap();
        let day = Day::of(rows[0].timestamp);
        let mut hours = Rollups::new();
        for hour in (0..24).map(|hour| day.hour(hour)) {
            let of = rows.iter().filter(|row| Hour::of(row.timestamp) == hour);
            let minutes = rules::minutes(hour, of.copied());
            hours.set(hour.of_day(), minutes.total().unwrap_or_default());
            self.put(&metric, Period::Minutes(hour), minutes).await;
        }
        let (total, slot) = (hours.total(), day.date().day().cast_unsigned());
        self.put(&metric, Period::Hours(day), hours).await;
        let device = "b-1".parse().unwrap();
        let month = self
            .store
            .rollups(&device, &metric, Period::Days(day))
            .await;
        let mut days = month.unwrap().rollups;
        days.set(slot, total.unwrap_or_default());
        self.put(&metric, Period::Days(day), days).await;
    }

    async fn put(&self, metric: &Metric, period: Period, rollups: Rollups) {
        let device = "b-1".parse().unwrap();
        let stored = self.store.rollups(&device, metric, period).await;
        let next = Stored {
            rollups,
            seen: Seen::default(),
            version: stored.unwrap().version + 1,
        };
        let write = self.store.put_rollups(&device, metric, period, &next).await;
        assert_eq!(write.unwrap(), Write::Done);
    }
}

fn aggregates(start: i64, end: i64, rest: &str) -> String {
    format!(
        "{DEVICES}/b-1/aggregates?start={}&end={}{rest}",
        time(start),
        time(end)
    )
}

fn boiler() -> Value {
    json!({"device_id": "b-1", "name": "Boiler", "type": "temperature", "unit": "°C"})
}

fn row(timestamp: i64, metric: &str, value: f64) -> Row<'_> {
    Row {
        metric,
        timestamp,
        value,
        is_valid: true,
        unit: "",
        metadata: "",
        arrived: NOW,
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().to_string()
}

fn readings(start: i64, end: i64, rest: &str) -> String {
    format!(
        "{DEVICES}/b-1/readings?start={}&end={}{rest}",
        time(start),
        time(end)
    )
}

#[tokio::test]
async fn a_device_is_registered_once_and_says_where_it_is() {
    let house = House::new().await;
    let made = house.post(DEVICES, &boiler()).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), "/api/sensors/devices/b-1");
    assert_eq!(made.header("etag"), "\"v1\"");
    assert_eq!(made.json()["created_at"], "2026-11-20T16:00:00.000Z");
    let again = house.post(DEVICES, &boiler()).await;
    assert_eq!(again.code(), (409, "device-exists".into()));
    let got = house.get(&format!("{DEVICES}/b-1")).await;
    assert_eq!((got.status, got.header("etag")), (200, "\"v1\""));
    assert_eq!(got.json(), made.json());
}

#[tokio::test]
async fn the_same_request_again_gets_the_first_answer() {
    let house = House::new().await;
    let send = async |body: &Value| {
        let key = [("idempotency-key", "k-1")];
        house
            .send(&[Group::Admin], Method::POST, DEVICES, &key, Some(body))
            .await
    };
    let first = send(&boiler()).await;
    assert_eq!(
        (first.status, first.header("idempotent-replayed")),
        (201, "")
    );
    let again = send(&boiler()).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (201, "true")
    );
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("etag"), "\"v1\"");
    assert_eq!(again.header("location"), "/api/sensors/devices/b-1");
    let other = json!({"device_id": "b-2", "name": "Other", "type": "light"});
    assert_eq!(
        send(&other).await.code(),
        (422, "idempotency-key-reused".into())
    );
    let bad = json!({"device_id": "b 2"});
    assert_eq!(send(&bad).await.code(), (422, "invalid-body".into()));
}

#[tokio::test]
async fn a_refusal_by_the_state_of_things_is_replayed_too() {
    let house = House::with_device().await;
    for replayed in ["", "true"] {
        let key = [("idempotency-key", "k-1")];
        let answer = house
            .send(
                &[Group::Admin],
                Method::POST,
                DEVICES,
                &key,
                Some(&boiler()),
            )
            .await;
        assert_eq!(answer.code(), (409, "device-exists".into()));
        assert_eq!(answer.header("idempotent-replayed"), replayed);
    }
}

#[tokio::test]
async fn rights_come_before_everything_else() {
    let house = House::with_device().await;
    let device = format!("{DEVICES}/b-1");
    let recompute = format!("{device}/aggregates/recompute");
    for (method, path) in [
        (Method::POST, DEVICES),
        (Method::PUT, &device),
        (Method::PATCH, &device),
        (Method::DELETE, &device),
        (Method::POST, &recompute),
    ] {
        let answer = house
            .send(&[Group::Analyst], method.clone(), path, &[], None)
            .await;
        assert_eq!(answer.code(), (403, "forbidden".into()), "{method} {path}");
    }
    for path in [
        DEVICES,
        &device,
        &format!("{device}/readings"),
        &format!("{device}/aggregates"),
    ] {
        let answer = house.send(&[], Method::GET, path, &[], None).await;
        assert_eq!(answer.code(), (403, "forbidden".into()), "{path}");
    }
}

#[tokio::test]
async fn a_change_needs_the_version_it_changes() {
    let house = House::with_device().await;
    let path = format!("{DEVICES}/b-1");
    let renamed = json!({"name": "Pump"});
    let bare = house
        .send(&[Group::Admin], Method::PATCH, &path, &[], Some(&renamed))
        .await;
    assert_eq!(bare.code(), (428, "if-match-required".into()));
    let stale = house.change(Method::PATCH, "\"v2\"", Some(&renamed)).await;
    assert_eq!(stale.code(), (412, "stale-version".into()));
    house.clock.advance(jiff::SignedDuration::from_secs(1));
    let patched = house.change(Method::PATCH, "\"v1\"", Some(&renamed)).await;
    assert_eq!((patched.status, patched.header("etag")), (200, "\"v2\""));
    assert_eq!(patched.json()["unit"], "°C");
    assert_eq!(patched.json()["updated_at"], "2026-11-20T16:00:01.000Z");
    let put = house
        .change(
            Method::PUT,
            "*",
            Some(&json!({"name": "Valve", "type": "custom"})),
        )
        .await;
    assert_eq!((put.status, put.header("etag")), (200, "\"v3\""));
    assert_eq!(put.json()["unit"], Value::Null);
    let bad = house
        .change(Method::PUT, "\"v3\"", Some(&json!({"name": 1, "kind": 2})))
        .await;
    assert_eq!(bad.code(), (422, "invalid-body".into()));
    assert_eq!(bad.json()["errors"].as_array().unwrap().len(), 3);
    let known = [("if-none-match", "\"v3\"")];
    let same = house
        .send(&[Group::Admin], Method::GET, &path, &known, None)
        .await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
}

#[tokio::test]
async fn a_deleted_device_is_gone_until_it_is_registered_again() {
    let house = House::with_device().await;
    house.store(&[row(NOW - 1000, "value", 1.5)]).await;
    let gone = house.change(Method::DELETE, "\"v1\"", None).await;
    assert_eq!((gone.status, gone.header("etag")), (204, "\"v2\""));
    let all = readings(NOW - 5000, NOW, "");
    for path in [
        &format!("{DEVICES}/b-1"),
        &all,
        &format!("{DEVICES}/{}", "x".repeat(101)),
    ] {
        assert_eq!(house.get(path).await.code(), (404, "not-found".into()));
    }
    let again = house.change(Method::DELETE, "\"v2\"", None).await;
    assert_eq!(again.code(), (404, "not-found".into()));
    let back = house.post(DEVICES, &boiler()).await;
    assert_eq!((back.status, back.header("etag")), (201, "\"v3\""));
    assert_eq!(house.get(&all).await.json()["data"][0]["value"], 1.5);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_by_cursor() {
    let house = House::new().await;
    for (id, name, kind, is_active) in [
        ("1", "Alpha", "light", true),
        ("2", "alphabet", "temperature", false),
        ("3", "Beta", "light", true),
    ] {
        let body = json!({"device_id": id, "name": name, "type": kind, "is_active": is_active});
        assert_eq!(house.post(DEVICES, &body).await.status, 201);
    }
    let ids = |answer: &Answer| {
        let body = answer.json();
        let data = body["data"].as_array().unwrap().clone();
        data.iter()
            .map(|device| device["device_id"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    for (query, expected) in [
        ("", "213"),
        ("?type=light", "13"),
        ("?is_active=false", "2"),
        ("?name_prefix=ALPHA", "21"),
        ("?name_prefix=", "213"),
        ("?type=light&name_prefix=b&is_active=true", "3"),
    ] {
        assert_eq!(
            ids(&house.get(&format!("{DEVICES}/{query}")).await),
            expected,
            "{query}"
        );
    }
    let first = house
        .get(&format!("{DEVICES}?limit=2&fields=device_id"))
        .await;
    assert_eq!(
        first.json()["data"],
        json!([{"device_id": "2"}, {"device_id": "1"}])
    );
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    assert!(first.header("link").contains(&cursor));
    let second = house
        .get(&format!("{DEVICES}?fields=device_id&cursor={cursor}"))
        .await;
    assert_eq!(
        (ids(&second).as_str(), &second.json()["next_cursor"]),
        ("3", &Value::Null)
    );
    for (query, code) in [
        ("?type=sound", "invalid-query"),
        ("?is_active=yes", "invalid-query"),
        ("?name_prefix=%01", "invalid-query"),
        ("?fields=color", "unknown-field"),
        ("?color=red", "invalid-query"),
        (&format!("?type=light&cursor={cursor}"), "invalid-cursor"),
    ] {
        let answer = house.get(&format!("{DEVICES}{query}")).await;
        assert_eq!(answer.code(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn readings_come_in_order_of_time_then_metric_by_pages_of_any_size() {
    let house = House::with_device().await;
    let times = [
        NOW - 3 * DAY_MS,
        NOW - DAY_MS,
        NOW - 1500,
        NOW - 1000,
        NOW - 500,
    ];
    let mut rows: Vec<Row<'_>> = times
        .iter()
        .flat_map(|&at| [row(at, "b", 2.0), row(at, "a", 1.0)])
        .collect();
    house.store(&rows).await;
    house.store(&rows[..3]).await;
    rows.sort_by(|a, b| (a.timestamp, a.metric).cmp(&(b.timestamp, b.metric)));
    let expected: Vec<_> = rows
        .iter()
        .map(|row| (time(row.timestamp), row.metric))
        .collect();
    for limit in [1, 3, 4, 100] {
        let mut seen = Vec::new();
        let mut path = readings(times[0], NOW, &format!("&limit={limit}"));
        loop {
            let page = house.get(&path).await.json();
            let data = page["data"].as_array().unwrap().clone();
            assert!(data.len() <= limit);
            seen.extend(data);
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = readings(times[0], NOW, &format!("&limit={limit}&cursor={cursor}"));
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|reading| {
                let at: Timestamp = reading["timestamp"].as_str().unwrap().parse().unwrap();
                (at.to_string(), reading["metric"].as_str().unwrap())
            })
            .collect();
        assert_eq!(seen, expected, "by {limit}");
    }
}

#[tokio::test]
async fn readings_end_before_the_end_and_only_those_of_the_metric_are_shown() {
    let house = House::with_device().await;
    let at = NOW - 60_000;
    house
        .store(&[
            row(at, "a", 1.0),
            row(at, "b", 2.0),
            row(at + 1, "a", 3.0),
            row(at + 2, "a", 4.0),
        ])
        .await;
    let values = async |path: String| {
        let body = house.get(&path).await.json();
        let data = body["data"].as_array().unwrap().clone();
        data.iter()
            .map(|reading| reading["value"].as_f64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(readings(at, at + 2, "")).await, [1.0, 2.0, 3.0]);
    assert_eq!(values(readings(at + 1, NOW, "&metric=a")).await, [3.0, 4.0]);
    assert!(values(readings(at, NOW, "&metric=c")).await.is_empty());
}

#[tokio::test]
async fn readings_whose_retention_ran_out_are_not_shown() {
    let house = House::with_device().await;
    let old = Row {
        arrived: NOW - 90 * DAY_MS,
        ..row(NOW - 91 * DAY_MS, "a", 1.0)
    };
    let kept = Row {
        arrived: old.arrived + 1,
        value: 2.0,
        timestamp: old.timestamp + 1,
        ..old
    };
    house.store(&[old, kept]).await;
    let body = house.get(&readings(old.timestamp, NOW, "")).await.json();
    assert_eq!(body["data"].as_array().unwrap().len(), 1);
    assert_eq!(body["data"][0]["value"], 2.0);
}

#[tokio::test]
async fn a_reading_is_shown_with_all_that_came_with_it() {
    let house = House::with_device().await;
    let full = Row {
        is_valid: false,
        unit: "a,b",
        metadata: r#"{"n":1}"#,
        ..row(NOW - 7, "t", 1e300)
    };
    house.store(&[full, row(NOW - 3, "t", 25.0)]).await;
    let path = readings(NOW - 10, NOW, "");
    let shown = json!([
        {"timestamp": "2026-11-20T15:59:59.993Z", "metric": "t", "value": 1e300, "is_valid": false,
            "unit": "a,b", "metadata": {"n": 1}},
        {"timestamp": "2026-11-20T15:59:59.997Z", "metric": "t", "value": 25.0, "is_valid": true,
            "unit": null, "metadata": null},
    ]);
    assert_eq!(house.get(&path).await.json()["data"], shown);
    let csv = house.csv(&path).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    let expected = "timestamp,metric,value,is_valid,unit,metadata\r\n\
        2026-11-20T15:59:59.993Z,t,1e300,false,\"a,b\",\"{\"\"n\"\":1}\"\r\n\
        2026-11-20T15:59:59.997Z,t,25.0,true,,\r\n";
    assert_eq!(csv.body, expected);
    let first = house.csv(&readings(NOW - 10, NOW, "&limit=1")).await;
    let link = first.header("link").to_owned();
    let next = link.split(['<', '>']).nth(1).unwrap();
    let second = house.csv(&format!("{DEVICES}/b-1/readings{next}")).await;
    let lines = |answer: &Answer| {
        answer
            .body
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!([lines(&first), lines(&second)].concat(), lines(&csv));
    let selected = house.get(&format!("{path}&fields=value&limit=1")).await;
    assert_eq!(selected.json()["data"], json!([{"value": 1e300}]));
}

#[tokio::test]
async fn a_bad_range_of_readings_is_refused() {
    let house = House::with_device().await;
    let path = |query: &str| format!("{DEVICES}/b-1/readings?{query}");
    for query in [
        "",
        "start=2026-11-20T16:00:00Z",
        "start=2026-11-20T16:00:00Z&end=soon",
        "start=2026-11-20T16:00:00Z&end=2026-11-20T16:00:00Z",
        "start=1800-01-01T00:00:00Z&end=2026-11-20T16:00:00Z",
        "start=2026-11-20T15:00:00Z&end=2026-11-20T16:00:00Z&metric=a%23b",
        "start=2026-11-20T15:00:00Z&end=2026-11-20T16:00:00Z&limit=101",
    ] {
        assert_eq!(
            house.get(&path(query)).await.code(),
            (400, "invalid-query".into()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn recomputing_notes_every_hour_of_the_range() {
    let house = House::with_device().await;
    let path = format!("{DEVICES}/b-1/aggregates/recompute");
    let body = json!({"start": "2026-10-01T00:00:00Z", "end": "2026-11-01T00:00:00Z"});
    let answer = house.post(&path, &body).await;
    assert_eq!(
        (answer.status, answer.json()),
        (202, json!({"device_id": "b-1", "hours": 744}))
    );
    let mut hours = Vec::new();
    for shard in Lane::Backlog.shards() {
        for entry in house.store.due(shard, NOW, 10).await.unwrap() {
            let touched = entry.touched.unwrap();
            assert!(
                touched
                    .iter()
                    .all(|t| t.metric.is_none() && t.device.as_str() == "b-1")
            );
            hours.extend(touched.into_iter().map(|touched| touched.hour));
        }
    }
    hours.sort_unstable();
    let start = Hour::of(
        "2026-10-01T00:00:00Z"
            .parse::<Timestamp>()
            .unwrap()
            .as_millisecond(),
    );
    let expected: Vec<_> = (0..744)
        .map(|hour| Hour::new(start.number() + hour))
        .collect();
    assert_eq!(hours, expected);
    let nobody = house
        .post(&format!("{DEVICES}/b-2/aggregates/recompute"), &body)
        .await;
    assert_eq!(nobody.code(), (404, "not-found".into()));
    let bad = house.post(&path, &json!({"start": 5})).await;
    assert_eq!(bad.code(), (422, "invalid-body".into()));
}

#[tokio::test]
async fn what_is_stored_and_what_is_open_make_one_series() {
    let house = House::with_device().await;
    let at = |hour: i64, minute: i64| NOW + hour * HOUR_MS + minute * MINUTE_MS;
    house
        .roll_up(&[
            row(at(-2, 10), "value", 1.5),
            row(at(-2, 59), "value", 2.25),
        ])
        .await;
    let distrusted = Row {
        is_valid: false,
        ..row(at(-1, 30), "value", 99.0)
    };
    let open = [row(at(-1, 20), "value", 4.0), row(at(0, 0), "value", -7.0)];
    house
        .store(&[open[0], distrusted, open[1], row(at(-1, 20), "other", 5.0)])
        .await;
    house.store.put_watermark(NOW - MINUTE_MS).await.unwrap();
    let path = aggregates(
        at(-3, 30),
        at(1, 0),
        "&interval=1hour&stats=count,sum,min,p50&fill=null",
    );
    let answer = house.get(&path).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let lines = answer.body.replace("[{", "[\n{").replace(",{", ",\n{");
    insta::assert_snapshot!(lines, @r#"
    {"device_id":"b-1","metric":"value","interval":"1hour","watermark":"2026-11-20T15:59:00.000Z","data":[
    {"start":"2026-11-20T13:00:00.000Z","end":"2026-11-20T14:00:00.000Z","count":0,"sum":null,"min":null,"p50":null},
    {"start":"2026-11-20T14:00:00.000Z","end":"2026-11-20T15:00:00.000Z","count":2,"sum":3.75,"min":1.5,"p50":1.5007082761134074},
    {"start":"2026-11-20T15:00:00.000Z","end":"2026-11-20T16:00:00.000Z","count":2,"sum":4,"min":4.0,"p50":4.0},
    {"start":"2026-11-20T16:00:00.000Z","end":"2026-11-20T17:00:00.000Z","partial":true,"count":1,"sum":-7,"min":-7.0,"p50":-7.0}]}
    "#);
    let csv = house.csv(&path).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    insta::assert_snapshot!(csv.body.replace('\r', ""), @r"
    start,end,partial,filled,count,sum,min,p50
    2026-11-20T13:00:00.000Z,2026-11-20T14:00:00.000Z,false,false,0,,,
    2026-11-20T14:00:00.000Z,2026-11-20T15:00:00.000Z,false,false,2,3.75,1.5,1.5007082761134074
    2026-11-20T15:00:00.000Z,2026-11-20T16:00:00.000Z,false,false,2,4,4.0,4.0
    2026-11-20T16:00:00.000Z,2026-11-20T17:00:00.000Z,true,false,1,-7,-7.0,-7.0
    ");
}

#[tokio::test]
async fn every_statistic_of_a_minute_is_given_unless_asked_otherwise() {
    let house = House::with_device().await;
    let start = NOW - DAY_MS;
    house
        .roll_up(&[row(start, "t", 0.1), row(start + 1, "t", 0.2)])
        .await;
    house.store.put_watermark(NOW).await.unwrap();
    let path = aggregates(start, start + HOUR_MS, "&interval=1min&metric=t");
    insta::assert_snapshot!(
        house.get(&path).await.body.replace(",\"", ",\n\""),
        @r#"
    {"device_id":"b-1",
    "metric":"t",
    "interval":"1min",
    "watermark":"2026-11-20T16:00:00.000Z",
    "data":[{"start":"2026-11-19T16:00:00.000Z",
    "end":"2026-11-19T16:01:00.000Z",
    "count":2,
    "valid_count":2,
    "sum":0.3,
    "min":0.1,
    "max":0.2,
    "avg":0.15,
    "stddev":0.05,
    "first":0.1,
    "last":0.2,
    "p50":0.1,
    "p95":0.1,
    "p99":0.1}]}
    "#
    );
    let of_nothing = aggregates(start, start + HOUR_MS, "&interval=1min");
    assert_eq!(house.get(&of_nothing).await.json()["data"], json!([]));
}

#[tokio::test]
async fn local_days_are_made_of_the_hours_they_have() {
    let house = House::with_device().await;
    // The night in which summer time ends in Berlin: 2026-10-25 has 25 hours there, from 22:00 UTC.
    let midnight: Timestamp = "2026-10-24T22:00:00Z".parse().unwrap();
    let midnight = midnight.as_millisecond();
    let hourly = |from: i64, hours: i64| -> Vec<i64> {
        (0..hours).map(|hour| from + hour * HOUR_MS).collect()
    };
    let times = hourly(midnight - 22 * HOUR_MS, 72);
    for day in times.chunks(24) {
        let rows: Vec<_> = day.iter().map(|&at| row(at, "value", 1.0)).collect();
        house.roll_up(&rows).await;
    }
    house.store.put_watermark(NOW).await.unwrap();
    let path = format!(
        "{DEVICES}/b-1/aggregates?start=2026-10-25&end=2026-10-26&interval=1day&tz=Europe/Berlin&stats=count"
    );
    let shown = json!({
        "device_id": "b-1", "metric": "value", "interval": "1day", "tz": "Europe/Berlin",
        "watermark": "2026-11-20T16:00:00.000Z",
        "data": [{"start": "2026-10-24T22:00:00.000Z", "end": "2026-10-25T23:00:00.000Z", "count": 25}],
    });
    assert_eq!(house.get(&path).await.json(), shown);
    let utc = house
        .get(&path.replace("&tz=Europe/Berlin", ""))
        .await
        .json();
    assert_eq!(utc["data"][0]["count"], 24);
}

#[tokio::test]
async fn a_series_of_too_many_points_is_told_what_fits() {
    let house = House::with_device().await;
    let path = aggregates(NOW - 2 * DAY_MS, NOW, "&interval=1min");
    let answer = house.get(&path).await;
    assert_eq!(answer.code(), (400, "too-many-points".into()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("interval=5min"), "{detail}");
}

#[tokio::test]
async fn every_fault_of_a_query_for_a_series_is_named() {
    let house = House::with_device().await;
    let path = format!(
        "{DEVICES}/b-1/aggregates?start=soon&interval=2min&stats=mode&fill=zero&max_gap=x&tz=Mars"
    );
    let answer = house.get(&path).await;
    assert_eq!(answer.code(), (400, "invalid-query".into()));
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let mut pointers: Vec<_> = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    let all = ["end", "fill", "interval", "max_gap", "start", "stats", "tz"];
    assert_eq!(pointers, all.map(|name| format!("/query/{name}")));
    let nobody = aggregates(NOW - DAY_MS, NOW, "&interval=1hour").replace("b-1", "b-2");
    assert_eq!(house.get(&nobody).await.code(), (404, "not-found".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_series_is_a_plain_fold_of_the_readings(
        readings in proptest::collection::btree_map(0..4 * HOUR_MS, -500_i32..500, 1..200),
        now in 3 * HOUR_MS..4 * HOUR_MS,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::with_device().await;
            let start = NOW - 4 * HOUR_MS;
            house.clock.advance(jiff::SignedDuration::from_millis(now - 4 * HOUR_MS));
            let rows: Vec<Row<'_>> = readings
                .range(..now)
                .map(|(at, value)| row(start + at, "value", f64::from(*value) / 100.0))
                .collect();
            house.store(&rows).await;
            let watermark = start + now - MINUTE_MS;
            if !rows.is_empty() {
                house.roll_up(&rows).await;
            }
            house.store.put_watermark(watermark).await.unwrap();
            let path = aggregates(start, start + now, "&interval=5min&stats=count,sum,min,max,first,last");
            let shown = house.get(&path).await.json()["data"].clone();
            let mut expected = Vec::new();
            for bucket in rows.chunk_by(|a, b| a.timestamp / 300_000 == b.timestamp / 300_000) {
                let mut rollup = Rollup::new();
                for row in bucket {
                    rollup.add(row.value, row.is_valid);
                }
                expected.push(json!([
                    rollup.count(), rollup.sum().map(Sum::to_f64), rollup.min(), rollup.max(),
                    rollup.first(), rollup.last(),
                ]));
            }
            let names = ["count", "sum", "min", "max", "first", "last"];
            let shown: Vec<Value> = shown.as_array().unwrap().iter().map(|point| {
                let number = |name: &&str| match *name {
                    "count" => point[*name].clone(),
                    name => json!(point[name].as_f64()),
                };
                names.iter().map(number).collect()
            }).collect();
            prop_assert_eq!(shown, expected);
            Ok(())
        })?;
    }
}
