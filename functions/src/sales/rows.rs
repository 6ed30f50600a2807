//! `GET /api/sales`: the stored rows, every column as it came.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE, LINK},
};
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Fields, List, Query, list_response},
        page::{CursorScope, Limit},
        problem::{FieldError, Problem},
    },
    sales::{
        chunk::{StoredRow, StoredRows},
        export_file,
        model::{Column, parse_date},
    },
};

use super::api::{Context, store_problem};

const ROUTE: &str = "/api/sales";

/// Most rows of a CSV page.
const MOST_CSV_ROWS: usize = 10_000;

/// A page ends when its cells have this many bytes: Lambda answers with 6 MB at most.
const MOST_PAGE_BYTES: usize = 3 * 1024 * 1024;

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

/// Where a page begins: after this many rows of this chunk of this day.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    date: Date,
    chunk: String,
    row: usize,
}

impl Position {
    fn encode(&self) -> String {
        format!("{} {} {}", self.date, self.chunk, self.row)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(payload).ok()?.splitn(3, ' ');
        Some(Self {
            date: parts.next()?.parse().ok()?,
            chunk: parts.next()?.to_owned(),
            row: parts.next()?.parse().ok()?,
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
        then up to 10,000 rows a page. `Link` names the next page.",
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
    if wants_csv(&headers) {
        let limit = csv_limit(&query)?;
        let page = read(&context, (start, end), from, limit, |row| {
            row.cells.map(str::to_owned)
        })
        .await?;
        let mut body = Vec::new();
        export_file::write_header(&mut body);
        for row in &page.rows {
            export_file::write_row(&mut body, &row.each_ref().map(String::as_str));
        }
        let mut response = ([(CONTENT_TYPE, "text/csv; charset=utf-8")], body).into_response();
        let link = next_cursor(&page.next)
            .map(|cursor| format!("<?{}>; rel=\"next\"", query.with("cursor", &cursor)));
        if let Some(link) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            response.headers_mut().insert(LINK, link);
        }
        return Ok(response);
    }
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let page = read(&context, (start, end), from, limit, |row| {
        fields.apply(body(row))
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

fn wants_csv(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| {
            accept
                .split([',', ';'])
                .any(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
        })
}

fn csv_limit(query: &Query) -> Result<usize, Problem> {
    let Some(text) = query.get("limit") else {
        return Ok(MOST_CSV_ROWS);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST_CSV_ROWS).contains(limit))
        .ok_or_else(|| {
            let detail = format!("limit must be a whole number from 1 to {MOST_CSV_ROWS} for CSV");
            Problem::invalid_query(FieldError::query("limit", "invalid-limit", detail))
        })
}

fn body(row: &StoredRow<'_>) -> Value {
    let mut members = Map::new();
    members.insert(
        "date".into(),
        json!(parse_date(row.cells[Column::SaleDate as usize]).ok()),
    );
    members.insert("import".into(), json!(row.import));
    for (name, cell) in FIELDS[2..].iter().zip(row.cells) {
        members.insert((*name).to_owned(), json!(cell));
    }
    Value::Object(members)
}

async fn read<T>(
    context: &Context,
    (start, end): (Date, Date),
    from: Option<Position>,
    limit: usize,
    make: impl Fn(&StoredRow<'_>) -> T,
) -> Result<Page<T>, Problem> {
    let store = &context.importer.store;
    let mut page = Page {
        rows: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    let mut at = from.as_ref().map_or(start, |from| from.date.max(start));
    while let Some(day) = store.next_day(at, end).await.map_err(store_problem)? {
        let from = from.as_ref().filter(|from| from.date == day.date);
        for name in day.chunks.keys() {
            let skip = match from {
                Some(from) if *name < from.chunk => continue,
                Some(from) if *name == from.chunk => from.row,
                _ => 0,
            };
            let frame = store.chunk(day.date, name).await.map_err(store_problem)?;
            // An undo may have taken the chunk out since its day was read.
            let Some(frame) = frame else { continue };
            let rows = StoredRows::decode(&frame).map_err(|error| store_problem(error.of(name)))?;
            for (index, row) in rows.iter().enumerate().skip(skip) {
                if page.rows.len() == limit || bytes > MOST_PAGE_BYTES {
                    page.next = Some(Position {
                        date: day.date,
                        chunk: name.clone(),
                        row: index,
                    });
                    return Ok(page);
                }
                bytes += row.cells.iter().map(|cell| cell.len()).sum::<usize>();
                page.rows.push(make(&row));
            }
        }
        match day.date.tomorrow() {
            Ok(next) if next <= end => at = next,
            _ => break,
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_as_written_and_nonsense_is_none() {
        let position = Position {
            date: jiff::civil::date(2025, 3, 1),
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
        assert_eq!(FIELDS.len(), 2 + Column::COUNT);
    }
}
