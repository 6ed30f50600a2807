//! `/api/catalog/stock/{sku}`: what there is of a sku, and what people make of it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    events::model::{Aggregate, Event},
    platform::{
        caller::{Caller, Group},
        clock::rfc3339,
        http::{Json, List, Members, Precondition, Query, Version, list_response, not_modified},
        idempotency::{Claim, Content, Post, remembered},
        page::{CursorScope, Limit},
        problem::{FieldError, Problem},
        table::Write,
    },
    stock::{
        model::{MOST_QUANTITY, Stock},
        rules,
    },
};
use utoipa::ToSchema;

use super::{
    change::{TRIES, crowded, pause},
    context::Context,
    problem::{body_problem, refused_stock},
};

/// Most characters of a reason.
const MOST_REASON: usize = 200;

/// The stock of a sku.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockView {
    /// Whose stock.
    sku: String,
    /// Units that can be bought.
    available: u64,
    /// Units that orders hold which are not paid yet.
    reserved: u64,
    /// Units that paid orders have taken.
    sold: u64,
    /// Units that ever came in, less those that people took out: all of the above together.
    received: u64,
    /// Counts changes, those by orders too; the entity tag.
    version: u64,
}

impl From<Stock> for StockView {
    fn from(stock: Stock) -> Self {
        Self {
            sku: stock.sku.to_string(),
            available: stock.available,
            reserved: stock.reserved,
            sold: stock.sold,
            received: stock.received,
            version: stock.version,
        }
    }
}

/// How many units there are to be.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewStock {
    /// Units that can be bought.
    #[schema(minimum = 0, maximum = 1_000_000)]
    available: u32,
    /// Why.
    #[schema(min_length = 1, max_length = 200, example = "Stock-taking")]
    reason: String,
}

/// How many units more or fewer there are to be.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// Units more; below zero for fewer. Not zero.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    delta: i64,
    /// Why.
    #[schema(min_length = 1, max_length = 200, example = "Delivery 4711")]
    reason: String,
}

/// Something that people did to a stock.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockEvent {
    /// The version that the stock had by it.
    sequence: u64,
    /// `stock.set` or `stock.adjusted`.
    #[serde(rename = "type")]
    kind: String,
    /// When.
    #[schema(format = DateTime)]
    time: String,
    /// `from` and `to` (units available), `delta`, `reason`, and who did it (`by`).
    #[schema(value_type = Object)]
    data: Value,
}

fn answer(stock: Stock) -> Response {
    (Version(stock.version), Json(StockView::from(stock))).into_response()
}

fn event(
    before: &Stock,
    after: &Stock,
    word: &str,
    reason: &str,
    caller: &Caller,
    now: Timestamp,
) -> Event {
    let delta = i128::from(after.available) - i128::from(before.available);
    let data = json!({
        "from": before.available,
        "to": after.available,
        "delta": i64::try_from(delta).unwrap_or(i64::MAX),
        "reason": reason,
        "by": caller.sub(),
    });
    let kind = format!("stock.{word}");
    let (sku, version) = (after.sku.as_str(), after.version);
    Event::new(Aggregate::Stock, sku, version, kind, now, data)
}

/// Reads a whole number from a body, and why it is given.
fn parse(
    body: &Value,
    name: &'static str,
    least: i64,
    admits: impl Fn(i64) -> bool,
) -> Result<(i64, String), Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let number = members.required_value(name).and_then(|value| {
        let number = value.as_i64();
        let number = number.filter(|number| (least..=MOST_QUANTITY.into()).contains(number));
        let number = number.filter(|number| admits(*number));
        if number.is_none() {
            let detail = format!("{name} must be a whole number from {least} to {MOST_QUANTITY}");
            members.refuse(name, "invalid-value", detail);
        }
        number
    });
    let reason = members.required_text("reason", MOST_REASON);
    members.finish(number.zip(reason))
}

/// Answers with the stock of a sku.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, an unknown sku, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/stock/{sku}", tag = "stock", operation_id = "getStock",
    summary = "The stock of a sku",
    params(
        ("sku" = String, Path, description = "The sku"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The stock", body = StockView, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No product ever had the sku"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(sku): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let stock = context.stock(&sku).await?;
    let version = Version(stock.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    Ok(answer(stock))
}

/// Sets how many units of a sku can be bought.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, an unknown sku, a missing or stale `If-Match`,
/// or a table that is down.
#[utoipa::path(
    put, path = "/api/catalog/stock/{sku}", tag = "stock", operation_id = "setStock",
    summary = "Set how many units of a sku can be bought",
    description = "What orders hold stays as it is. An order that comes in between makes the `ETag` stale, so nothing \
        is overwritten that the caller has not seen.",
    params(
        ("sku" = String, Path, description = "The sku"),
        ("If-Match" = String, Header, description = "The `ETag` of the stock"),
    ),
    request_body = NewStock,
    responses(
        (status = 200, description = "The stock as it is now", body = StockView, headers(("ETag" = String))),
        (status = 404, description = "No product ever had the sku"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn set(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(sku): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let current = context.stock(&sku).await?;
    precondition.check(Version(current.version))?;
    let Json(body) = body?;
    let (available, reason) = parse(&body, "available", 0, |_| true).map_err(body_problem)?;
    let next = rules::set(current.clone(), available.unsigned_abs()).map_err(refused_stock)?;
    let event = event(
        &current,
        &next,
        "set",
        &reason,
        &caller,
        context.clock.now(),
    );
    match context.stocks.save(&next, &event, None).await? {
        Write::Done => Ok(answer(next)),
        Write::Conflict => Err(Problem::precondition_failed()),
    }
}

/// Adds to the units of a sku that can be bought, or takes from them.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, an unknown sku, fewer units than are taken, or
/// a table that is down.
#[utoipa::path(
    post, path = "/api/catalog/stock/{sku}/adjust", tag = "stock", operation_id = "adjustStock",
    summary = "Add to the units of a sku that can be bought, or take from them",
    description = "Needs no `If-Match`: adjustments add up, whatever comes in between. Send an `Idempotency-Key` so \
        that a repetition does not add up too.",
    params(
        ("sku" = String, Path, description = "The sku"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
    ),
    request_body = Adjustment,
    responses(
        (status = 200, description = "The stock as it is now", body = StockView, headers(("ETag" = String))),
        (status = 404, description = "No product ever had the sku"),
        (status = 409, description = "`insufficient-stock`: there are fewer units than are taken; `too-much-stock`: \
            there would be more than 1,000,000"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn adjust(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(sku): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let Json(body) = body?;
    let least = -i64::from(MOST_QUANTITY);
    let (delta, reason) = parse(&body, "delta", least, |delta| delta != 0).map_err(body_problem)?;
    let work = async |claim: Option<Claim>| {
        for round in 0..TRIES {
            let current = context.stock(&sku).await?;
            let next = rules::adjusted(current.clone(), delta).map_err(refused_stock)?;
            let now = context.clock.now();
            let event = event(&current, &next, "adjusted", &reason, &caller, now);
            let answer = answer(next.clone());
            let (work, also) = remembered(answer, claim.as_ref(), now).await?;
            match context.stocks.save(&next, &event, also).await? {
                Write::Done => return Ok(work),
                Write::Conflict => pause(&context, round).await,
            }
        }
        Err(crowded())
    };
    let path = format!("/api/catalog/stock/{sku}/adjust");
    let post = Post {
        caller: &caller,
        path: &path,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Lists what people did to the stock of a sku.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, an unknown sku, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/stock/{sku}/events", tag = "stock", operation_id = "listStockEvents",
    summary = "List what people did to the stock of a sku, oldest first",
    description = "What orders do to it is told by their own events; `sequence` counts it too.",
    params(
        ("sku" = String, Path, description = "The sku"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of events", body = List<StockEvent>),
        (status = 404, description = "No product ever had the sku"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn events(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(sku): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["limit", "cursor"])?;
    let limit = Limit::from_query(&query)?.get();
    let stock = context.stock(&sku).await?;
    let route = format!("/api/catalog/stock/{sku}/events");
    let scope = CursorScope {
        route: &route,
        query: &query,
        caller: caller.sub(),
    };
    let after = context.cursors.open(scope)?;
    let after = after.and_then(|payload| std::str::from_utf8(&payload).ok()?.parse().ok());
    let wanted = i32::try_from(limit + 1).unwrap_or(i32::MAX);
    let found = context
        .stocks
        .events(&stock.sku, after.unwrap_or(0), wanted);
    let mut found = found.await?;
    let goes_on = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| goes_on);
    let sign = |last: &Event| {
        let payload = last.sequence.to_string();
        context.cursors.sign(scope, payload.as_bytes())
    };
    let next_cursor = last.map(sign);
    let view = |event: Event| StockEvent {
        sequence: event.sequence,
        kind: event.kind,
        time: rfc3339(event.at),
        data: event.data,
    };
    let data = found.into_iter().map(view).collect();
    Ok(list_response(&query, List { data, next_cursor }))
}
