//! `GET /api/sales`: the stored rows, every column as it came.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap,
    header::{CONTENT_TYPE, LINK},
};
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde_json::{Map, Value, json};
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Fields, List, Query, accepts_csv, list_response, next_link},
        page::{CursorScope, Limit, MOST_PAGE_BYTES, csv_limit, sent_bytes},
        problem::{FieldError, Problem},
    },
    sales::{
        chunk::{StoredRow, StoredRows},
        day::Day,
        export_file,
        model::parse_date,
        revenue::MOST_DAYS,
        store::{SalesStore, StoreError},
    },
};

use super::{context::Context, problem::store_problem};

const ROUTE: &str = "/api/sales";

/// A page ends after so much time, however few rows it has: their days may be far apart.
const PAGE_TIME: SignedDuration = SignedDuration::from_secs(10);

/// Times that a day is begun anew because it changed while it was read.
const READ_TRIES: u32 = 5;

const FIELDS: &[&str] = &[
    "date",
    "import",
    "sale_date",
    "client_id",
    "sale_id",
    "item_name",
    "batch_number",
    "sales_notes",
    "location",
    "notes",
    "color",
    "size",
    "item_price",
    "quantity",
    "subtotal",
    "discount_percent",
    "discount_amount",
    "tax",
    "item_total",
    "total_paid",
    "payment_method",
];

/// Where a page begins: at the `row`th row of `chunk` of a day that had `version` then; version 0
/// stands for a day not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    date: Date,
    version: u64,
    chunk: String,
    row: usize,
}

impl Position {
    fn start_of(date: Date) -> Self {
        Self {
            date,
            version: 0,
            chunk: String::new(),
            row: 0,
        }
    }

    fn encode(&self) -> String {
        format!("{} {} {} {}", self.date, self.version, self.row, self.chunk)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(payload).ok()?.splitn(4, ' ');
        Some(Self {
            date: parts.next()?.parse().ok()?,
            version: parts.next()?.parse().ok()?,
            row: parts.next()?.parse().ok()?,
            chunk: parts.next()?.to_owned(),
        })
    }
}

struct Page<T> {
    rows: Vec<T>,
    next: Option<Position>,
}

/// Pages the stored rows.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/sales", tag = "sales", operation_id = "listSales",
    summary = "The stored rows, every column as it came",
    description = "As JSON, or by `Accept: text/csv` as the same 19-column CSV that was imported, \
        then up to 10,000 rows a page. `Link` names the next page; a page may have fewer rows than \
        asked for. 409 `list-changed` when the day that a cursor stands in has changed since.",
    params(
        ("start" = String, Query, description = "First day, `M/D/YYYY` or ISO 8601"),
        ("end" = String, Query, description = "Last day, included"),
        ("limit" = Option<u16>, Query, description = "1 to 100, 20 unless asked otherwise; for CSV 1 to 10,000"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma; JSON only"),
    ),
    responses((status = 200, description = "A page of rows", content(
        (List<Value> = "application/json"), (String = "text/csv")))),
    security(("token" = ["admin"])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["start", "end", "limit", "cursor", "fields"])?;
    let (start, end) = (day(&query, "start")?, day(&query, "end")?);
    if end < start {
        return Err(Problem::invalid_query(FieldError::query(
            "end",
            "end-before-start",
            "end is before start",
        )));
    }
    if (end - start).get_days() > MOST_DAYS {
        let error = FieldError::query(
            "end",
            "range-too-long",
            "the range spans more than a hundred years",
        );
        return Err(Problem::invalid_query(error));
    }
    let scope = CursorScope {
        route: ROUTE,
        query: &query,
        caller: caller.sub(),
    };
    let from = match context.cursors.open(scope)? {
        None => None,
        Some(payload) => Position::decode(&payload),
    };
    let next_cursor = |next: &Option<Position>| {
        next.as_ref()
            .map(|next| context.cursors.sign(scope, next.encode().as_bytes()))
    };
    if accepts_csv(&headers) {
        let limit = csv_limit(&query)?;
        let page = read(&context, (start, end), from, limit, |_, row| {
            row.cells.map(str::to_owned)
        })
        .await?;
        let mut body = Vec::new();
        export_file::write_header(&mut body);
        for row in &page.rows {
            export_file::write_row(&mut body, &row.each_ref().map(String::as_str));
        }
        let mut response = ([(CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response();
        let next_cursor = next_cursor(&page.next);
        if let Some(link) = next_cursor.and_then(|cursor| next_link(&query, &cursor)) {
            response.headers_mut().insert(LINK, link);
        }
        return Ok(response);
    }
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let page = read(&context, (start, end), from, limit, |date, row| {
        fields.apply(body(date, row))
    })
    .await?;
    let next_cursor = next_cursor(&page.next);
    Ok(list_response(
        &query,
        List {
            data: page.rows,
            next_cursor,
        },
    ))
}

fn day(query: &Query, name: &str) -> Result<Date, Problem> {
    let text = query.required(name)?;
    parse_date(text).map_err(|error| {
        Problem::invalid_query(FieldError::query(name, "invalid-date", error.to_string()))
    })
}

fn body(date: Date, row: &StoredRow<'_>) -> Value {
    let mut members = Map::new();
    members.insert("date".into(), json!(date));
    members.insert("import".into(), json!(row.import));
    for (name, cell) in FIELDS[2..].iter().zip(row.cells) {
        members.insert((*name).to_owned(), json!(cell));
    }
    Value::Object(members)
}

/// What a page may hold.
#[derive(Clone, Copy)]
struct Room {
    rows: usize,
    bytes: usize,
    until: Timestamp,
}

async fn read<T>(
    context: &Context,
    (start, end): (Date, Date),
    from: Option<Position>,
    limit: usize,
    make: impl Fn(Date, &StoredRow<'_>) -> T,
) -> Result<Page<T>, Problem> {
    let store = &context.importer.store;
    let mut page = Page {
        rows: Vec::new(),
        next: None,
    };
    let mut room = Room {
        rows: limit,
        bytes: MOST_PAGE_BYTES,
        until: context.now() + PAGE_TIME,
    };
    let mut at = from.as_ref().map_or(start, |from| from.date.max(start));
    let mut is_first = true;
    loop {
        let (days, next) = store.days(at, end).await.map_err(store_problem)?;
        for day in days {
            let here = from.as_ref().filter(|from| from.date == day.date);
            match &from {
                // All rows of the cursor's day are gone.
                Some(from) if here.is_none() && from.version != 0 && is_first => {
                    return Err(changed(from.date));
                }
                _ => is_first = false,
            }
            if here.is_none() && context.now() >= room.until {
                page.next = Some(Position::start_of(day.date));
                return Ok(page);
            }
            page.next = read_day(store, day, here, &mut room, &make, &mut page.rows).await?;
            if page.next.is_some() {
                return Ok(page);
            }
        }
        let Some(next) = next else { return Ok(page) };
        at = next;
        if context.now() >= room.until {
            page.next = Some(Position::start_of(at));
            return Ok(page);
        }
    }
}

/// Appends a day's rows to `rows`; gives the place of the first one there is no room for.
async fn read_day<T>(
    store: &SalesStore,
    mut day: Day,
    from: Option<&Position>,
    room: &mut Room,
    make: &impl Fn(Date, &StoredRow<'_>) -> T,
    rows: &mut Vec<T>,
) -> Result<Option<Position>, Problem> {
    let known = from.map_or(0, |from| from.version);
    if known != 0 && known != day.version {
        return Err(changed(day.date));
    }
    let (begun_with, begun_room) = (rows.len(), *room);
    'anew: for _ in 0..READ_TRIES {
        for name in day.chunks.keys() {
            let skip = match from {
                Some(from) if *name < from.chunk => continue,
                Some(from) if *name == from.chunk => from.row,
                _ => 0,
            };
            let frame = store.chunk(day.date, name).await.map_err(store_problem)?;
            let Some(frame) = frame else {
                // An import or an undo has rewritten the day since it was read.
                if known != 0 {
                    return Err(changed(day.date));
                }
                rows.truncate(begun_with);
                *room = begun_room;
                day = store.day(day.date).await.map_err(store_problem)?;
                continue 'anew;
            };
            let stored = StoredRows::decode(&frame)
                .map_err(|error| store_problem(StoreError::chunk(name, error)))?;
            for (index, row) in stored.iter().enumerate().skip(skip) {
                let sent = row_bytes(&row);
                if room.rows == 0 || (sent > room.bytes && !rows.is_empty()) {
                    return Ok(Some(Position {
                        date: day.date,
                        version: day.version,
                        chunk: name.clone(),
                        row: index,
                    }));
                }
                room.rows -= 1;
                room.bytes = room.bytes.saturating_sub(sent);
                rows.push(make(day.date, &row));
            }
        }
        return Ok(None);
    }
    Err(changed(day.date))
}

fn changed(date: Date) -> Problem {
    let detail =
        format!("rows of {date} were added or taken back meanwhile: begin again at that day");
    Problem::conflict("list-changed", detail)
}

/// What a row takes of a response.
fn row_bytes(row: &StoredRow<'_>) -> usize {
    const NAMES: usize = 700;
    NAMES + row.cells.into_iter().map(sent_bytes).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_as_written_and_nonsense_is_none() {
        let position = Position {
            date: jiff::civil::date(2025, 3, 1),
            version: 4,
            chunk: "a-1".into(),
            row: 7,
        };
        assert_eq!(
            Position::decode(position.encode().as_bytes()),
            Some(position)
        );
        assert_eq!(Position::decode(b"2025-03-01 x"), None);
    }

    #[test]
    fn every_column_has_a_field() {
        assert_eq!(FIELDS.len(), 2 + shared::sales::model::Column::COUNT);
    }
}
