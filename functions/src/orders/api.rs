//! The routes of the order API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{context::Context, create, history, lookup, refunds, totals, transitions};

/// The routes of the order API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route(
            "/api/orders",
            routing::post(create::create).get(lookup::list),
        )
        .route("/api/orders/summary", routing::get(totals::summary))
        .route("/api/orders/spending", routing::get(totals::spending))
        .route("/api/orders/{id}", routing::get(lookup::get))
        .route("/api/orders/{id}/track", routing::get(history::track))
        .route("/api/orders/{id}/events", routing::get(history::events))
        .route(
            "/api/orders/{id}/cancel",
            routing::post(transitions::cancel),
        )
        .route(
            "/api/orders/{id}/process",
            routing::post(transitions::process),
        )
        .route("/api/orders/{id}/ship", routing::post(transitions::ship))
        .route(
            "/api/orders/{id}/deliver",
            routing::post(transitions::deliver),
        )
        .route(
            "/api/orders/{id}/refunds",
            routing::post(refunds::create).get(refunds::list),
        )
        .with_state(Arc::new(context))
}

#[cfg(test)]
mod tests;
