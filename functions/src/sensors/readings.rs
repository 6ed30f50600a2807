//! `GET /api/sensors/devices/{id}/readings`: the readings themselves, in order of time.

use std::{cmp::Ordering, sync::Arc};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap,
    header::{CONTENT_TYPE, LINK},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use shared::{
    platform::{
        caller::{Caller, Group},
        clock::rfc3339,
        http::{Fields, List, Query, accepts_csv, list_response, next_link},
        page::{CursorScope, Limit, MOST_PAGE_BYTES, csv_limit, sent_bytes},
        problem::{FieldError, Problem},
    },
    sensors::{
        chunk::{Chunk, Row},
        model::{DeviceId, EARLIEST_MS, Hour, LATEST_MS, Metric},
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    csv::{end_record, write_cell},
    problem::store_problem,
    time_text::TimeText,
};

/// A page ends after so much time, however few readings it has: they may be far apart.
const PAGE_TIME: SignedDuration = SignedDuration::from_secs(10);

/// Readings of an hour from which days are read hour by hour, to bound the memory.
const DENSE_HOUR: usize = 100_000;

const FIELDS: &[&str] = &[
    "timestamp",
    "metric",
    "value",
    "is_valid",
    "unit",
    "metadata",
];

/// A reading.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reading {
    /// When it was taken.
    #[schema(format = DateTime)]
    timestamp: String,
    /// What was measured.
    metric: String,
    /// The value.
    value: f64,
    /// Whether the device trusts it.
    is_valid: bool,
    /// The unit.
    unit: Option<String>,
    /// What else the device said.
    metadata: Option<Map<String, Value>>,
}

/// The place after which a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    timestamp: i64,
    /// Empty for a place before all metrics of the time.
    metric: String,
}

impl Position {
    fn start_of(timestamp: i64) -> Self {
        Self {
            timestamp,
            metric: String::new(),
        }
    }

    fn encode(&self) -> String {
        format!("{} {}", self.timestamp, self.metric)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (timestamp, metric) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        Some(Self {
            timestamp: timestamp.parse().ok()?,
            metric: metric.to_owned(),
        })
    }

    fn is_before(&self, row: &Row<'_>) -> bool {
        (self.timestamp, self.metric.as_str()) < (row.timestamp, row.metric)
    }
}

/// Which readings are asked for: from `start` on, before `end`, in milliseconds of Unix time.
#[derive(Clone, Debug)]
struct Wanted {
    start: i64,
    end: i64,
    metric: Option<Metric>,
}

struct Page<T> {
    rows: Vec<T>,
    next: Option<Position>,
}

/// What a page may yet hold, and where it stands.
struct Room {
    rows: usize,
    bytes: usize,
    last: Position,
}

/// Pages a device's readings.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, an unknown device, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/devices/{id}/readings", tag = "sensors", operation_id = "listReadings",
    summary = "A device's readings in order of time",
    description = "Each reading once, those of one time ordered by metric. Readings are kept for the raw retention, \
        counted from their arrival. As JSON, or by `Accept: text/csv` as CSV, then up to 10,000 a page. `Link` names \
        the next page; a page may have fewer readings than asked for, even none. What was accepted shows within \
        seconds, once it is stored.",
    params(
        ("id" = String, Path, description = "The device"),
        ("start" = String, Query, description = "First time, RFC 3339"),
        ("end" = String, Query, description = "Time before which it ends"),
        ("metric" = Option<String>, Query, description = "Only this metric"),
        ("limit" = Option<u16>, Query, description = "1 to 100, 20 unless asked otherwise; for CSV 1 to 10,000"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma; JSON only"),
    ),
    responses(
        (status = 200, description = "A page of readings", content(
            (List<Reading> = "application/json"), (String = "text/csv"))),
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
    query.only(&["start", "end", "metric", "limit", "cursor", "fields"])?;
    let wanted = wanted(&query)?;
    let route = format!("/api/sensors/devices/{id}/readings");
    let scope = CursorScope {
        route: &route,
        query: &query,
        caller: caller.sub(),
    };
    let from = context.cursors.open(scope)?;
    let from = from
        .and_then(|payload| Position::decode(&payload))
        .unwrap_or_else(|| Position::start_of(wanted.start));
    let next_cursor = |next: Option<Position>| {
        next.map(|next| context.cursors.sign(scope, next.encode().as_bytes()))
    };
    if accepts_csv(&headers) {
        let limit = csv_limit(&query)?;
        let device = context.device(&id).await?.device_id;
        let mut body = Vec::from(*b"timestamp,metric,value,is_valid,unit,metadata\r\n");
        let mut time = TimeText::default();
        let page = read(&context, &device, &wanted, from, limit, |row| {
            write_row(&mut body, &mut time, row);
        })
        .await?;
        let mut response = ([(CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response();
        let next_cursor = next_cursor(page.next);
        if let Some(link) = next_cursor.and_then(|cursor| next_link(&query, &cursor)) {
            response.headers_mut().insert(LINK, link);
        }
        return Ok(response);
    }
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let device = context.device(&id).await?.device_id;
    let page = read(&context, &device, &wanted, from, limit, reading).await?;
    let data = page
        .rows
        .iter()
        .map(|reading| serde_json::to_value(reading).map(|reading| fields.apply(reading)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Problem::internal)?;
    let next_cursor = next_cursor(page.next);
    Ok(list_response(&query, List { data, next_cursor }))
}

fn wanted(query: &Query) -> Result<Wanted, Problem> {
    let (start, end) = (time(query, "start")?, time(query, "end")?);
    if end <= start {
        let error = FieldError::query("end", "end-before-start", "end must be after start");
        return Err(Problem::invalid_query(error));
    }
    let metric = query.parsed("metric", str::parse)?;
    Ok(Wanted { start, end, metric })
}

fn time(query: &Query, name: &str) -> Result<i64, Problem> {
    let time = query.required(name)?.parse::<Timestamp>().ok();
    time.map(ceil_ms)
        .filter(|ms| (EARLIEST_MS..=LATEST_MS + 1).contains(ms))
        .ok_or_else(|| {
            let detail = format!("{name} must be an RFC 3339 time from 1900 to 9999");
            Problem::invalid_query(FieldError::query(name, "invalid-parameter", detail))
        })
}

/// The first whole millisecond that is not before `time`: readings have no finer times.
fn ceil_ms(time: Timestamp) -> i64 {
    let ms = time.as_nanosecond().div_euclid(1_000_000);
    let is_whole = time.as_nanosecond().rem_euclid(1_000_000) == 0;
    i64::try_from(ms + i128::from(!is_whole)).unwrap_or(i64::MAX)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn reading(row: &Row<'_>) -> Reading {
    let timestamp = Timestamp::from_millisecond(row.timestamp);
    Reading {
        timestamp: rfc3339(timestamp.unwrap_or(Timestamp::MAX)),
        metric: row.metric.to_owned(),
        value: row.value,
        is_valid: row.is_valid,
        unit: some(row.unit),
        metadata: serde_json::from_str(row.metadata).ok(),
    }
}

fn write_row(out: &mut Vec<u8>, time: &mut TimeText, row: &Row<'_>) {
    time.write(out, row.timestamp);
    for cell in [
        row.metric,
        // As a float: what is very large or small gets an exponent.
        &format!("{:?}", row.value),
        if row.is_valid { "true" } else { "false" },
        row.unit,
        row.metadata,
    ] {
        out.push(b',');
        write_cell(out, cell);
    }
    end_record(out);
}

async fn read<T>(
    context: &Context,
    device: &DeviceId,
    wanted: &Wanted,
    from: Position,
    limit: usize,
    mut make: impl FnMut(&Row<'_>) -> T,
) -> Result<Page<T>, Problem> {
    let until = context.clock.now() + PAGE_TIME;
    let mut rows = Vec::new();
    let mut room = Room {
        rows: limit,
        bytes: MOST_PAGE_BYTES,
        last: from,
    };
    let mut hour = Hour::of(room.last.timestamp.max(wanted.start));
    let last_hour = Hour::of(wanted.end - 1);
    // A dense hour fills the page by itself; after a sparse one whole days are cheaper.
    let mut by_hour = true;
    while hour <= last_hour {
        let now = context.clock.now();
        let after = if by_hour {
            hour.next()
        } else {
            hour.day().next().first_hour()
        };
        let now_ms = now.as_millisecond();
        let chunks = if by_hour {
            let found = context.store.hour_chunks(device, hour, now_ms).await;
            vec![found.map_err(store_problem)?.union]
        } else {
            let found = context.store.day_chunks(device, hour.day(), None).await;
            let hours = found.map_err(store_problem)?.into_iter();
            hours
                .map(|found| found.union)
                .filter(|chunk| chunk.hour() >= hour)
                .collect()
        };
        by_hour = chunks.iter().any(|chunk| chunk.len() > DENSE_HOUR);
        let arrived_after = now_ms - context.retention.milliseconds();
        for chunk in &chunks {
            let is_whole = take(chunk, wanted, arrived_after, &mut room, |row| {
                rows.push(make(row));
            });
            let is_end = is_whole && chunk.hour() >= last_hour;
            if !is_end && (!is_whole || room.rows == 0) {
                let next = Some(room.last);
                return Ok(Page { rows, next });
            }
        }
        hour = after;
        if hour <= last_hour && context.clock.now() >= until {
            let next = Some(Position::start_of(hour.start()));
            return Ok(Page { rows, next });
        }
    }
    Ok(Page { rows, next: None })
}

/// Gives an hour's readings in order as far as there is room; says whether that was all.
fn take(
    chunk: &Chunk,
    wanted: &Wanted,
    arrived_after: i64,
    room: &mut Room,
    mut give: impl FnMut(&Row<'_>),
) -> bool {
    let metric = wanted.metric.as_ref().map(Metric::as_str);
    let is_wanted = |row: &Row<'_>| {
        (wanted.start..wanted.end).contains(&row.timestamp)
            && metric.is_none_or(|metric| metric == row.metric)
            && row.arrived > arrived_after
            && room.last.is_before(row)
    };
    let order = |a: &Row<'_>, b: &Row<'_>| -> Ordering {
        (a.timestamp, a.metric).cmp(&(b.timestamp, b.metric))
    };
    let mut rows: Vec<Row<'_>> = chunk.rows().filter(is_wanted).collect();
    if rows.len() > room.rows {
        // The first one that has no place stays, to say that there is more.
        rows.select_nth_unstable_by(room.rows, order);
        rows.truncate(room.rows + 1);
    }
    rows.sort_unstable_by(order);
    for row in &rows {
        let sent = row_bytes(row);
        let is_first = room.bytes == MOST_PAGE_BYTES;
        if room.rows == 0 || (sent > room.bytes && !is_first) {
            return false;
        }
        room.rows -= 1;
        room.bytes = room.bytes.saturating_sub(sent);
        row.metric.clone_into(&mut room.last.metric);
        room.last.timestamp = row.timestamp;
        give(row);
    }
    true
}

/// What a reading takes of a response.
fn row_bytes(row: &Row<'_>) -> usize {
    const REST: usize = 200;
    REST + [row.metric, row.unit, row.metadata]
        .map(sent_bytes)
        .iter()
        .sum::<usize>()
}
