//! The routes of the sales API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{announce, context::Context, import_sales, imports, rows};

/// The routes of the sales API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/api/sales", routing::get(rows::list))
        .route(
            "/api/sales/import-sales",
            routing::post(import_sales::import_sales),
        )
        .route(
            "/api/sales/imports",
            routing::post(announce::announce).get(imports::list),
        )
        .route(
            "/api/sales/imports/{id}",
            routing::get(imports::get).delete(imports::delete),
        )
        .with_state(Arc::new(context))
}
