//! `GET /api/sensors/devices/{id}/aggregates`: statistics of a device's readings over time.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use http::{HeaderMap, header::CONTENT_TYPE};
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Query, accepts_csv},
        problem::{FieldError, Problem},
    },
    sensors::{
        model::{DeviceId, Hour, Metric},
        rollup::Rollups,
        rules,
        series::{Fetched, Parameters, Plan, Points, QueryError, SeriesQuery},
        store::StoreError,
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    points::{self, Subject},
    problem::store_problem,
};

/// Ranges read at the same time: the days of a zone whose hours are not those of UTC are in pieces.
const READS_AT_ONCE: usize = 16;

/// Hours of readings held at the same time.
const RAW_AT_ONCE: usize = 2;

/// Statistics of a device's readings over time.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: points are written straight"
)]
pub struct AggregateSeries {
    /// The device.
    device_id: String,
    /// What it measures.
    metric: String,
    /// How long a bucket is.
    #[schema(example = "1hour")]
    interval: String,
    /// The time zone whose days are meant.
    tz: Option<String>,
    /// The time up to which everything that arrived has been worked into what is stored; what is
    /// open was read from the readings themselves.
    #[schema(format = DateTime)]
    watermark: Option<String>,
    /// The points in order of time.
    data: Vec<AggregatePoint>,
}

/// A point: the statistics asked for, all of the valid readings but for `count`. A percentile is
/// within 1 % of the value at its rank.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: points are written straight"
)]
pub struct AggregatePoint {
    /// Where its bucket begins.
    #[schema(format = DateTime)]
    start: String,
    /// The first time after it.
    #[schema(format = DateTime)]
    end: String,
    /// There, and true, where the bucket is not over.
    partial: Option<bool>,
    /// There, and true, where the values are those of other buckets, or between them.
    filled: Option<bool>,
    /// Readings, valid or not.
    count: Option<u64>,
    /// Valid readings.
    valid_count: Option<u64>,
    /// The sum, exact where readings are decimals of at most 15 digits.
    sum: Option<f64>,
    /// The lowest value.
    min: Option<f64>,
    /// The highest value.
    max: Option<f64>,
    /// The arithmetic mean.
    avg: Option<f64>,
    /// The standard deviation of the readings as a whole population.
    stddev: Option<f64>,
    /// The earliest value.
    first: Option<f64>,
    /// The latest value.
    last: Option<f64>,
    /// The 50th percentile; any other is there by its name.
    p50: Option<f64>,
    /// The 95th percentile.
    p95: Option<f64>,
    /// The 99th percentile.
    p99: Option<f64>,
}

/// Answers with statistics of a device's readings over time.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, an unknown device, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/devices/{id}/aggregates", tag = "sensors", operation_id = "listAggregates",
    summary = "Statistics of a device's readings over time",
    description = "Buckets begin at whole multiples of the interval in UTC, days at the midnights of `tz`; the range \
        is widened to whole buckets and may have 1,440 of them. Late readings are in within minutes of their \
        arrival. As JSON, or by `Accept: text/csv` as CSV.",
    params(
        ("id" = String, Path, description = "The device"),
        ("metric" = Option<String>, Query, description = "What it measures; `value` unless said otherwise"),
        ("interval" = String, Query, description = "`1min`, `5min`, `1hour` or `1day`"),
        ("start" = String, Query, description = "First time, RFC 3339, or a date"),
        ("end" = String, Query, description = "Time before which it ends, or a date"),
        ("stats" = Option<String>, Query, description = "By comma, at most 20 of `count`, `valid_count`, `sum`, `min`, \
            `max`, `avg`, `stddev`, `first`, `last`, `p0` to `p100` with up to two places; all named ones with `p50`, \
            `p95` and `p99` unless asked otherwise"),
        ("fill" = Option<String>, Query, description = "Buckets without valid readings: `none` leaves out those \
            without any, `null` has them empty, `previous` repeats the values before, `linear` goes from the values \
            before to those after; counts, sums and deviations are never made up"),
        ("max_gap" = Option<String>, Query, description = "The longest gap that is filled, such as `90s`, `15m`, `2h`, \
            `1d` or `PT15M`"),
        ("tz" = Option<String>, Query, description = "IANA time zone whose days are meant; with `1day` only"),
    ),
    responses(
        (status = 200, description = "The series", content(
            (AggregateSeries = "application/json"), (String = "text/csv"))),
        (status = 400, description = "`invalid-query`, or `too-many-points` naming an interval that fits"),
        (status = 404, description = "No such device, or it is deleted"),
    ),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin, Group::Analyst])?;
    query.only(&[
        "metric", "interval", "start", "end", "stats", "fill", "max_gap", "tz",
    ])?;
    let metric: Metric = query.parsed("metric", str::parse)?.unwrap_or_default();
    let series = parse(&query)?;
    let (device, watermark) = future::try_join(context.device_id(&id), context.watermark()).await?;
    let now = context.clock.now().as_millisecond();
    let plan = Plan::of(&series, now, watermark);
    let fetched = fetch(&context, &device, &metric, &plan, now)
        .await
        .map_err(store_problem)?;
    let points = Points::assemble(&series, &plan, &fetched, now);
    let (kind, body) = if accepts_csv(&headers) {
        ("text/csv; charset=utf-8", points::csv(&series, &points))
    } else {
        let subject = Subject {
            device: &device,
            metric: &metric,
            watermark,
        };
        ("application/json", points::json(subject, &series, &points))
    };
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

fn parse(query: &Query) -> Result<SeriesQuery, Problem> {
    let required = |name| query.get(name).unwrap_or_default();
    let parameters = Parameters {
        interval: required("interval"),
        start: required("start"),
        end: required("end"),
        stats: query.get("stats"),
        fill: query.get("fill"),
        max_gap: query.get("max_gap"),
        tz: query.get("tz"),
    };
    SeriesQuery::parse(&parameters).map_err(|errors| {
        let is_long = |error: &&QueryError| matches!(error, QueryError::TooManyPoints(_));
        let problem = match errors.iter().find(is_long) {
            Some(error) => Problem::bad_request(error.code(), error.to_string()),
            None => {
                Problem::bad_request("invalid-query", "the query has parameters that do not fit")
            }
        };
        problem.with_errors(
            errors
                .iter()
                .map(|error| FieldError::query(error.parameter(), error.code(), error.to_string())),
        )
    })
}

async fn fetch(
    context: &Context,
    device: &DeviceId,
    metric: &Metric,
    plan: &Plan,
    now: i64,
) -> Result<Fetched, StoreError> {
    let store = &context.store;
    let minutes = stream::iter(plan.minutes.iter().cloned())
        .map(|range| store.minutes(device, metric, *range.start(), *range.end()))
        .buffer_unordered(READS_AT_ONCE)
        .try_concat();
    let hours = stream::iter(plan.hours.iter().cloned())
        .map(|range| store.hours(device, metric, *range.start(), *range.end()))
        .buffer_unordered(READS_AT_ONCE)
        .try_concat();
    let days = async {
        match &plan.days {
            None => Ok(Vec::new()),
            Some(range) => {
                store
                    .days(device, metric, *range.start(), *range.end())
                    .await
            }
        }
    };
    let raw: Vec<Hour> = match &plan.raw {
        None => Vec::new(),
        Some(range) => (range.start().number()..=range.end().number())
            .map(Hour::new)
            .collect(),
    };
    let raw = stream::iter(raw)
        .map(|hour| raw_minutes(context, device, metric, hour, now))
        .buffer_unordered(RAW_AT_ONCE)
        .try_collect::<Vec<_>>();
    let (minutes, hours, days, raw) = future::try_join4(minutes, hours, days, raw).await?;
    Ok(Fetched {
        minutes: minutes.into_iter().chain(raw).collect(),
        hours: hours.into_iter().collect(),
        days: days.into_iter().collect(),
    })
}

/// The minutes of an hour that is not rolled up yet, from its readings.
async fn raw_minutes(
    context: &Context,
    device: &DeviceId,
    metric: &Metric,
    hour: Hour,
    now: i64,
) -> Result<(Hour, Rollups), StoreError> {
    let found = context.store.hour_chunks(device, hour, now).await?;
    let mut metrics = found.union.metrics();
    let rows = metrics.find(|(name, _)| *name == metric.as_str());
    let minutes = rows.map(|(_, rows)| rules::minutes(hour, rows));
    Ok((hour, minutes.unwrap_or_default()))
}
