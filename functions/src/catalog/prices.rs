//! `/api/catalog/categories/{id}/avg_price`: what the products of a category cost.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::HeaderMap;
use serde::Serialize;
use shared::{
    catalog::product::{model::of_units, store::prices_within},
    platform::{http::Query, money::Money, problem::Problem},
};
use utoipa::ToSchema;

use super::{
    context::{Context, place},
    public,
};

/// What the products of a category cost.
#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryPrices {
    /// The average, rounded half-up to the minor unit; null where there is no product.
    average_price: Option<Money>,
    /// Products, each once.
    product_count: u64,
    /// The cheapest and the dearest.
    price_range: PriceRange,
}

/// The cheapest and the dearest of some products.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceRange {
    /// The price of the cheapest; null where there is no product.
    min: Option<Money>,
    /// The price of the dearest; null where there is no product.
    max: Option<Money>,
}

/// Answers with what the products of a category and of those below it cost.
///
/// # Errors
///
/// A problem for a bad query, an unknown category, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/categories/{id}/avg_price", tag = "catalog", operation_id = "getAveragePrice",
    summary = "What the products of a category cost on average",
    description = "Of those that are active and not deleted, in the category or below it, each counted once however \
        many of the categories it is in. What was changed within the last five seconds may not be in it.",
    params(
        ("id" = String, Path, description = "The category"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "Average, count and range", body = CategoryPrices, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn average(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let tree = context.tree().await?;
    let categories = HashSet::<_>::from_iter(tree.within(place(&tree, &id)?));
    let prices = prices_within(&context.group_prices().await?, &categories);
    let money = |units| of_units(units, context.currency.get());
    let answer = CategoryPrices {
        average_price: prices.average().map(money),
        product_count: prices.count,
        price_range: PriceRange {
            min: prices.range.map(|(least, _)| money(least)),
            max: prices.range.map(|(_, most)| money(most)),
        },
    };
    public::answer(&headers, &answer)
}
