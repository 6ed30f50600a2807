//! The routes of the revenue API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{context::Context, legacy, v1};

/// The routes of the revenue API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/api/metrics/revenue", routing::get(legacy::total))
        .route("/api/metrics/revenue/daily", routing::get(legacy::daily))
        .route("/api/metrics/v1/revenue", routing::get(v1::revenue))
        .with_state(Arc::new(context))
}
