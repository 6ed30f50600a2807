//! The routes of the catalogue API.

use std::sync::Arc;

use axum::{Router, routing};

use super::{categories, context::Context, lists, prices, products, stock, tree};

/// The routes of the catalogue API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/api/catalog/tree", routing::get(tree::get))
        .route("/api/catalog/categories", routing::post(categories::create))
        .route(
            "/api/catalog/categories/{id}",
            routing::get(categories::get)
                .patch(categories::update)
                .delete(categories::delete),
        )
        .route(
            "/api/catalog/categories/{id}/move",
            routing::post(categories::relocate),
        )
        .route(
            "/api/catalog/categories/{id}/breadcrumbs",
            routing::get(categories::breadcrumbs),
        )
        .route(
            "/api/catalog/categories/{id}/products",
            routing::get(lists::of_category),
        )
        .route(
            "/api/catalog/categories/{id}/avg_price",
            routing::get(prices::average),
        )
        .route(
            "/api/catalog/products",
            routing::post(products::create).get(lists::all),
        )
        .route(
            "/api/catalog/products/{id}",
            routing::get(products::get)
                .patch(products::update)
                .delete(products::delete),
        )
        .route(
            "/api/catalog/products/{id}/restore",
            routing::post(products::restore),
        )
        .route(
            "/api/catalog/products/{id}/related",
            routing::get(lists::related),
        )
        .route("/api/catalog/featured", routing::get(lists::featured))
        .route(
            "/api/catalog/stock/{sku}",
            routing::get(stock::get).put(stock::set),
        )
        .route(
            "/api/catalog/stock/{sku}/adjust",
            routing::post(stock::adjust),
        )
        .route(
            "/api/catalog/stock/{sku}/events",
            routing::get(stock::events),
        )
        .with_state(Arc::new(context))
}

#[cfg(test)]
mod tests;
