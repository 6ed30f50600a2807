//! `/api/orders/{id}/refunds`: giving money of a paid order back.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use shared::{
    orders::{
        model::{Order, Status},
        rules,
    },
    platform::{
        caller::{Caller, Group},
        http::{Json, List, Query, list_response},
        idempotency::IdempotencyKey,
        ids::uuid_v7,
        problem::Problem,
    },
};

use super::{
    command::Command,
    context::Context,
    request::{self, NewRefund},
    view::RefundView,
};

/// Asks for money of a paid order to be given back.
///
/// # Errors
///
/// A problem for a caller without the right, a missing key, an unknown order, a bad body, an order
/// that was not paid, more than is left, or a table that is down.
#[utoipa::path(
    post, path = "/api/orders/{id}/refunds", tag = "orders", operation_id = "refundOrder",
    summary = "Give money of a paid order back, in full or in part",
    description = "An amount, or the price of units with their tax, or (with neither) all that is left. The payment provider is \
        asked by itself; ask for the refunds of the order to see how it went. One refund of an order is under way at a \
        time, and an order may have twenty. An order of which all went back is `refunded`.",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the order, if it must not have changed"),
    ),
    request_body = NewRefund,
    responses(
        (status = 202, description = "The refund, `pending`", body = RefundView<'static>),
        (status = 400, description = "`idempotency-key-missing`"),
        (status = 404, description = "No such order"),
        (status = 409, description = "`illegal-transition`: it was not paid, or all went back; `refund-pending`; \
            `too-many-refunds`; `order-busy`: it is being cancelled"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member; `refund-too-large`, `refund-amount`, \
            `refund-units`, `currency-mismatch`, `idempotency-key-reused`"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn create(mut command: Command) -> Result<Response, Problem> {
    let (wanted, body) = command.read(&[Group::Admin], request::refund)?;
    IdempotencyKey::from_headers(&command.headers)?;
    let Context { clock, random, .. } = &*command.context;
    let refund_id = uuid_v7(clock.now(), random.bytes()).to_string();
    let decide = |order: &Order, now| {
        let is_here = matches!(order.status, Status::Confirmed | Status::Processing);
        let restock = wanted.restock.unwrap_or(is_here);
        let (of, reason) = (wanted.of.clone(), wanted.reason.clone());
        rules::request_refund(order, &refund_id, of, restock, reason, now)
    };
    let answer = |order: &Order| {
        let refund = order.refunds.last().map(RefundView::from);
        (StatusCode::ACCEPTED, Json(refund)).into_response()
    };
    command.execute(&body, decide, answer).await
}

/// Lists the refunds of an order.
///
/// # Errors
///
/// A problem for an unknown order, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders/{id}/refunds", tag = "orders", operation_id = "listRefunds",
    summary = "The refunds of an order, oldest first",
    description = "All of them on one page.",
    params(("id" = String, Path, description = "The order's number")),
    responses(
        (status = 200, description = "The refunds", body = List<RefundView<'static>>),
        (status = 404, description = "No such order, or another customer's"),
    ),
    security(("token" = [])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let order = context.order(&caller, &id).await?;
    let data = order.refunds.iter().map(RefundView::from).collect();
    let list = List {
        data,
        next_cursor: None,
    };
    Ok(list_response(&query, list))
}
