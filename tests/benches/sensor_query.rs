//! What a dashboard's question costs the sensor API: a day of one-minute roll-ups with percentiles.
//! Prints the handler's CPU time, from the request to the body, the SDK and its HTTP included and the
//! database, which is on another thread, left out; and the read units.

use axum::body::Body;
use functions::sensors::{
    api::router,
    context::{Context, Recent},
};
use http::Request;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    platform::{
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, RawRetention},
        http::App,
        idempotency::Idempotency,
        ids::Random,
    },
    sensors::{
        chunk::{Chunk, Row},
        device::store::DeviceStore,
        model::{DAY_MS, Day},
        rules::{self, Seen},
        store::{Period, SensorStore, Stored},
    },
    testing::{Database, Table},
};
use tests::generate::sensors::{METRIC, Plan};

const REQUESTS: u32 = 300;

/// Nanoseconds that this thread has been on a processor, as the kernel counts them.
/// <https://docs.kernel.org/scheduler/sched-stats.html>
fn thread_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(measure());
}

async fn measure() {
    let plan = Plan::new(1, 7);
    let device = Plan::device_id(0);
    let day = Day::of(plan.start_ms);
    let database =
        Database::start(&[Table::new("Sensors").index("devices", "devices_pk", "devices_sk")])
            .await;
    let clock = Clock::fixed(
        Timestamp::from_millisecond(plan.start_ms + 3 * DAY_MS).expect("a time of this century"),
    );
    let store = || SensorStore::new(database.client(), "Sensors".into());
    let (setup, counted) = (store(), store());
    let mut readings = plan.readings(0).peekable();
    for number in 0..24 {
        let hour = day.hour(number);
        let mut chunk = Chunk::new(hour);
        while let Some((timestamp, value)) = readings.next_if(|(at, _)| *at < hour.end()) {
            let row = Row {
                metric: METRIC,
                timestamp,
                value,
                is_valid: true,
                unit: "",
                metadata: "",
                arrived: timestamp,
            };
            chunk.push(row).expect("an hour's readings fit");
        }
        let stored = Stored {
            rollups: rules::minutes(hour, chunk.rows()),
            seen: Seen::default(),
            version: 1,
        };
        let (device, metric) = (
            device.parse().expect("a name"),
            METRIC.parse().expect("a name"),
        );
        setup
            .put_rollups(&device, &metric, Period::Minutes(hour), &stored)
            .await
            .expect("the database takes it");
    }
    setup
        .put_watermark(clock.now().as_millisecond())
        .await
        .expect("the database takes it");
    let context = Context {
        devices: DeviceStore::new(database.client(), "Sensors".into()),
        store: counted,
        retention: RawRetention::new(90).expect("within range"),
        clock: clock.clone(),
        random: Random::seeded(1),
        cursors: CursorKey::new([1; 32]).expect("long enough"),
        idempotency: Idempotency::new(
            database.client(),
            "Sensors",
            clock.clone(),
            Random::seeded(2),
        ),
        recent: Recent::new(&clock),
    };
    let app = App::with(router(context), clock, Random::seeded(3));
    let create = json!({"device_id": device, "name": "Room", "type": "temperature"});
    let created = Request::post("/api/sensors/devices")
        .header("content-type", "application/json")
        .extension(Caller::new("u-1", [Group::Admin]))
        .body(Body::from(create.to_string()))
        .expect("a valid request");
    assert_eq!(app.serve(created).await.status(), 201);

    let path = format!(
        "/api/sensors/devices/{device}/aggregates?metric={METRIC}&interval=1min&start={}&end={}&stats=avg,min,max,p50,p95,p99",
        day.date(),
        day.next().date(),
    );
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..REQUESTS {
        let request = Request::get(&path)
            .extension(Caller::new("u-1", [Group::Analyst]))
            .body(Body::empty())
            .expect("a valid request");
        let before = thread_nanoseconds();
        let response = app.serve(request).await;
        assert_eq!(response.status(), 200);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        times.push(thread_nanoseconds() - before);
        bytes = body.expect("the body is in memory").len();
    }
    times.sort_unstable();
    let micros = |share: usize| times[times.len() * share / 100] / 1000;
    println!(
        "a day of minutes with percentiles: {} µs CPU at the median, {} µs at the 90th percentile, {bytes} bytes of JSON",
        micros(50),
        micros(90),
    );
}
