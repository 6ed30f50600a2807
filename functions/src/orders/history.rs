//! `/api/orders/{id}/track` and `/api/orders/{id}/events`: what became of an order.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::{
    events::model::Event,
    orders::{
        event::Happened,
        model::{Shipment, Status},
        timeline::{Moment, timeline},
    },
    platform::{
        caller::Caller,
        http::{Json, List, Query, Version, list_response},
        page::{CursorScope, Limit},
        problem::Problem,
    },
};
use utoipa::ToSchema;

use super::{context::Context, view::milliseconds};

/// Events read at a time for a timeline: all there are of nearly every order.
const PAGE: i32 = 100;

/// What became of an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Track<'o> {
    /// The order's number.
    id: &'o str,
    /// Where it stands.
    status: Status,
    /// How it travels.
    shipment: Option<&'o Shipment>,
    /// What happened, oldest first.
    timeline: Vec<MomentView>,
}

/// Something that happened to an order, in its customer's words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Moment)]
struct MomentView {
    /// What, as a stable word.
    #[schema(example = "shipped")]
    what: &'static str,
    /// The same for people.
    #[schema(example = "Your order is on its way")]
    message: &'static str,
    /// Particulars: a reason, an amount, a tracking number.
    detail: Option<String>,
    /// Where the order stood by it.
    status: Status,
    /// When.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Moment> for MomentView {
    fn from(moment: Moment) -> Self {
        let Moment {
            what,
            message,
            detail,
            status,
            at,
        } = moment;
        Self {
            what,
            message,
            detail,
            status,
            at,
        }
    }
}

/// An event of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderEvent)]
pub struct EventView {
    /// Its place in the order's history, from 1; the version that the order has by it.
    sequence: u64,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "order.confirmed")]
    kind: String,
    /// When.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    /// The particulars.
    #[schema(value_type = Object)]
    data: Value,
    /// Particulars that only the customer and staff see.
    #[schema(value_type = Option<Object>)]
    private: Option<Value>,
    /// The id that finds the request that led to it in the logs.
    correlation_id: Option<String>,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        // The payment provider's name for a payment is nobody's business.
        let is_shown = event.kind != "order.payment-started";
        Self {
            sequence: event.sequence,
            kind: event.kind,
            time: event.at,
            data: event.data,
            private: event.private.filter(|_| is_shown),
            correlation_id: event.correlation_id.map(|id| id.as_str().to_owned()),
        }
    }
}

/// Tells what became of an order.
///
/// # Errors
///
/// A problem for an unknown order, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders/{id}/track", tag = "orders", operation_id = "trackOrder",
    summary = "What became of an order, in its customer's words",
    params(("id" = String, Path, description = "The order's number")),
    responses(
        (status = 200, description = "The timeline", body = Track<'static>, headers(("ETag" = String))),
        (status = 404, description = "No such order, or another customer's"),
    ),
    security(("token" = [])),
)]
pub async fn track(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let order = context.order(&caller, &id).await?;
    let mut history = Vec::new();
    while (history.len() as u64) < order.version {
        let page = context
            .orders
            .events(&order.id, history.len() as u64, PAGE)
            .await?;
        if page.is_empty() {
            break;
        }
        for event in page {
            let happened = Happened::from_event(&event).map_err(Problem::internal)?;
            history.push((happened, event.at));
        }
    }
    let timeline = timeline(&order.id, &history).map_err(Problem::internal)?;
    let body = Json(Track {
        id: order.id.as_str(),
        status: order.status,
        shipment: order.shipment.as_ref(),
        timeline: timeline.into_iter().map(MomentView::from).collect(),
    });
    Ok((Version(order.version), body).into_response())
}

/// Lists the events of an order, oldest first.
///
/// # Errors
///
/// A problem for an unknown order, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders/{id}/events", tag = "orders", operation_id = "listOrderEvents",
    summary = "The events of an order, oldest first",
    description = "Folded in their sequence they are the order.",
    params(
        ("id" = String, Path, description = "The order's number"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of events", body = List<EventView>),
        (status = 404, description = "No such order, or another customer's"),
    ),
    security(("token" = [])),
)]
pub async fn events(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&["limit", "cursor"])?;
    let limit = Limit::from_query(&query)?.get();
    let route = format!("/api/orders/{id}/events");
    let scope = CursorScope {
        route: &route,
        query: &query,
        caller: caller.sub(),
    };
    let after = context.cursors.open(scope)?.and_then(|payload| {
        let text = std::str::from_utf8(&payload).ok()?;
        text.parse::<u64>().ok()
    });
    let order = context.order(&caller, &id).await?;
    let wanted = i32::try_from(limit).unwrap_or(PAGE);
    let events = context
        .orders
        .events(&order.id, after.unwrap_or(0), wanted)
        .await?;
    // Sequences have no gap, and the last is the order's version.
    let last = events.last().map(|event| event.sequence);
    let next = last.filter(|sequence| *sequence < order.version);
    let next_cursor =
        next.map(|sequence| context.cursors.sign(scope, sequence.to_string().as_bytes()));
    let data = events.into_iter().map(EventView::from).collect();
    Ok(list_response(&query, List { data, next_cursor }))
}
