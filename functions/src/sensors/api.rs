//! The routes of the sensor API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{aggregates, context::Context, devices, readings, recompute};

/// The routes of the sensor API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route(
            "/api/sensors/devices",
            routing::post(devices::create).get(devices::list),
        )
        .route(
            "/api/sensors/devices/{id}",
            routing::get(devices::get)
                .put(devices::replace)
                .patch(devices::update)
                .delete(devices::delete),
        )
        .route(
            "/api/sensors/devices/{id}/aggregates",
            routing::get(aggregates::list),
        )
        .route(
            "/api/sensors/devices/{id}/aggregates/recompute",
            routing::post(recompute::recompute),
        )
        .route(
            "/api/sensors/devices/{id}/readings",
            routing::get(readings::list),
        )
        .with_state(Arc::new(context))
}

#[cfg(test)]
mod tests;
