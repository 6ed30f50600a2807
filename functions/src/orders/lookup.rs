//! `/api/orders` and `/api/orders/{id}`: reading orders.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use shared::{
    orders::{
        model::{Order, Status},
        store::Span,
    },
    platform::{
        caller::{Caller, Group},
        http::{Fields, Json, List, Query, Version, list_response, not_modified},
        page::{CursorScope, Limit},
        problem::{FieldError, Problem},
    },
};

use super::{
    context::Context,
    create::ROUTE,
    view::{FIELDS, OrderView},
};

fn selected(order: &Order, fields: &Fields) -> Result<Value, Problem> {
    let view = serde_json::to_value(OrderView::from(order)).map_err(Problem::internal)?;
    Ok(fields.apply(view))
}

/// Lists orders, newest first.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders", tag = "orders", operation_id = "listOrders",
    summary = "List orders, newest first",
    description = "The caller's own; for admins those of `customer`, or of everybody. An order of this second may \
        still be missing. With `status` a page may have fewer orders than asked for and yet a next one.",
    params(
        ("customer" = Option<String>, Query, description = "Only this customer's orders; for admins"),
        ("status" = Option<String>, Query, description = "Only orders of these statuses, by comma"),
        ("created_from" = Option<String>, Query, description = "Only orders placed at this RFC 3339 time or later"),
        ("created_to" = Option<String>, Query, description = "Only orders placed before this time"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
    ),
    responses(
        (status = 200, description = "A page of orders", body = List<OrderView<'static>>),
        (status = 403, description = "`customer` is for admins"),
    ),
    security(("token" = [])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[
        "customer",
        "status",
        "created_from",
        "created_to",
        "limit",
        "cursor",
        "fields",
    ])?;
    let customer = customer(&caller, &query)?;
    let statuses = query.parsed("status", statuses)?.unwrap_or_default();
    let span = span(&query)?;
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let scope = CursorScope {
        route: ROUTE,
        query: &query,
        caller: caller.sub(),
    };
    let after = context.cursors.open(scope)?.and_then(|payload| {
        let text = std::str::from_utf8(&payload).ok()?;
        text.parse().ok()
    });
    let orders = &context.orders;
    let (found, next) = match customer {
        Some(customer) => {
            orders
                .list_by_customer(customer, &statuses, span, after, limit)
                .await?
        }
        None => orders.list_by_status(&statuses, span, after, limit).await?,
    };
    let next_cursor = next.map(|next| context.cursors.sign(scope, next.to_string().as_bytes()));
    let data = found
        .iter()
        .map(|order| selected(order, &fields))
        .collect::<Result<_, _>>()?;
    Ok(list_response(&query, List { data, next_cursor }))
}

/// Whose orders are asked for; `None` for everybody's.
fn customer<'q>(caller: &'q Caller, query: &'q Query) -> Result<Option<&'q str>, Problem> {
    let is_admin = caller.groups().contains(&Group::Admin);
    match query.get("customer") {
        Some(customer) if is_admin || customer == caller.sub() => Ok(Some(customer)),
        Some(_) => Err(Problem::forbidden()),
        None => Ok((!is_admin).then_some(caller.sub())),
    }
}

fn statuses(text: &str) -> Result<Vec<Status>, &'static str> {
    let mut statuses = Vec::new();
    for word in text.split(',') {
        let status = Status::from_name(word).ok_or("is none of the statuses of orders")?;
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    Ok(statuses)
}

/// The time that orders were placed in, by `created_from` and `created_to`.
pub(super) fn span(query: &Query) -> Result<Span, Problem> {
    let time = |name| {
        query.parsed(name, |text| {
            let at = text.parse::<Timestamp>();
            at.map_err(|_| "must be an RFC 3339 time")
        })
    };
    let span = Span {
        from: time("created_from")?,
        before: time("created_to")?,
    };
    if span
        .from
        .zip(span.before)
        .is_some_and(|(from, to)| to < from)
    {
        let detail = "created_to must not be before created_from";
        let error = FieldError::query("created_to", "invalid-parameter", detail);
        return Err(Problem::invalid_query(error));
    }
    Ok(span)
}

/// Answers with an order.
///
/// # Errors
///
/// A problem for an unknown order, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders/{id}", tag = "orders", operation_id = "getOrder",
    summary = "An order",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The order", body = OrderView<'static>, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such order, or another customer's"),
    ),
    security(("token" = [])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let order = context.order(&caller, &id).await?;
    let version = Version(order.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    Ok((version, Json(selected(&order, &fields)?)).into_response())
}
