//! `/api/orders/{id}/cancel`, `/process`, `/ship` and `/deliver`: moving an order on, or calling it off.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::Value;
use shared::{
    orders::{
        model::{CancelReason, Order, Shipment, Status},
        rules,
    },
    platform::{
        caller::Group,
        http::{Json, Version},
        problem::Problem,
    },
};

use super::{
    command::Command,
    request::{self, Cancel, Ship},
    view::OrderView,
};

fn answer(status: StatusCode, order: &Order) -> Response {
    let body = Json(OrderView::from(order));
    (status, Version(order.version), body).into_response()
}

/// Asks for an order to be cancelled.
///
/// # Errors
///
/// A problem for an unknown order, a bad body, an order that cannot be cancelled any more, or a table
/// that is down.
#[utoipa::path(
    post, path = "/api/orders/{id}/cancel", tag = "orders", operation_id = "cancelOrder",
    summary = "Ask for an order to be cancelled",
    description = "While it is pending or confirmed. What it holds goes back by itself: the payment is let go or \
        refunded, the stock is available again; then the order is `cancelled`. Asking twice does no harm.",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the order, if it must not have changed"),
    ),
    request_body(content = Option<Cancel>, description = "May be left out"),
    responses(
        (status = 202, description = "The order, which will be cancelled or is", body = OrderView<'static>,
            headers(("ETag" = String))),
        (status = 404, description = "No such order, or another customer's"),
        (status = 409, description = "`illegal-transition`: it is too late; `partly-refunded`: the rest can only be \
            refunded"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = [])),
)]
pub async fn cancel(mut command: Command) -> Result<Response, Problem> {
    let (note, body) = command.read(&[], request::cancel)?;
    let decide = |order: &Order, _| {
        let reason = if order.customer == command.caller.sub() {
            CancelReason::Customer
        } else {
            CancelReason::Staff
        };
        rules::request_cancellation(order, reason, note.clone())
    };
    command
        .execute(&body, decide, |order| answer(StatusCode::ACCEPTED, order))
        .await
}

/// Moves a paid order to `processing`.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown order, a bad body, a move that is not legal,
/// or a table that is down.
#[utoipa::path(
    post, path = "/api/orders/{id}/process", tag = "orders", operation_id = "processOrder",
    summary = "Begin to pack an order that is paid",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the order, if it must not have changed"),
    ),
    request_body(content = Option<Object>, description = "Nothing, or an empty object"),
    responses(
        (status = 200, description = "The order, `processing`", body = OrderView<'static>, headers(("ETag" = String))),
        (status = 404, description = "No such order"),
        (status = 409, description = "`illegal-transition`: it is not `confirmed`; `order-busy`: it is not paid yet, or \
            it is being cancelled"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn process(mut command: Command) -> Result<Response, Problem> {
    let ((), body) = command.read(&[Group::Admin], request::nothing)?;
    advance(&command, &body, Status::Processing, None).await
}

/// Moves an order to `shipped`.
///
/// # Errors
///
/// As [`process`].
#[utoipa::path(
    post, path = "/api/orders/{id}/ship", tag = "orders", operation_id = "shipOrder",
    summary = "Say that an order is on its way",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the order, if it must not have changed"),
    ),
    request_body(content = Option<Ship>, description = "May be left out"),
    responses(
        (status = 200, description = "The order, `shipped`", body = OrderView<'static>, headers(("ETag" = String))),
        (status = 404, description = "No such order"),
        (status = 409, description = "`illegal-transition`: it is not `processing`"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn ship(mut command: Command) -> Result<Response, Problem> {
    let (shipment, body) = command.read(&[Group::Admin], request::shipment)?;
    advance(&command, &body, Status::Shipped, Some(shipment)).await
}

/// Moves an order to `delivered`.
///
/// # Errors
///
/// As [`process`].
#[utoipa::path(
    post, path = "/api/orders/{id}/deliver", tag = "orders", operation_id = "deliverOrder",
    summary = "Say that an order has arrived",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the order, if it must not have changed"),
    ),
    request_body(content = Option<Object>, description = "Nothing, or an empty object"),
    responses(
        (status = 200, description = "The order, `delivered`", body = OrderView<'static>, headers(("ETag" = String))),
        (status = 404, description = "No such order"),
        (status = 409, description = "`illegal-transition`: it is not `shipped`"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn deliver(mut command: Command) -> Result<Response, Problem> {
    let ((), body) = command.read(&[Group::Admin], request::nothing)?;
    advance(&command, &body, Status::Delivered, None).await
}

async fn advance(
    command: &Command,
    body: &Value,
    to: Status,
    shipment: Option<Shipment>,
) -> Result<Response, Problem> {
    let decide = |order: &Order, _| rules::advance(order, to, shipment.clone());
    command
        .execute(body, decide, |order| answer(StatusCode::OK, order))
        .await
}
