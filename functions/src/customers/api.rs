//! The routes of the customer API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{addresses, context::Context, me};

/// The routes of the customer API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route(
            "/api/customers/me",
            routing::get(me::get).patch(me::update).delete(me::erase),
        )
        .route(
            "/api/customers/me/addresses",
            routing::get(addresses::list).post(addresses::create),
        )
        .route(
            "/api/customers/me/addresses/{id}",
            routing::get(addresses::get)
                .patch(addresses::update)
                .delete(addresses::remove),
        )
        .with_state(Arc::new(context))
}

#[cfg(test)]
mod tests;
