//! The routes of ingest.

use std::sync::Arc;

use axum::{Router, routing};

use super::{bulk, context::Context, write};

/// The routes of ingest.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/api/sensors/readings/bulk", routing::post(bulk::bulk))
        .route("/api/v2/write", routing::post(write::write))
        .with_state(Arc::new(context))
}
