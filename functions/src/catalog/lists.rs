//! `/api/catalog/products`, `/api/catalog/featured`, and the products of a category or like another.

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::HeaderMap;
use serde_json::Value;
use shared::{
    catalog::{
        category::tree::Tree,
        product::{
            list::{Filter, ListName, Order, Summary, most_related},
            model::{MOST_NAME, units},
        },
    },
    platform::{
        http::{Fields, List, Query},
        money::Money,
        page::{CursorScope, Limit},
        problem::Problem,
    },
};
use utoipa::IntoParams;

use super::{
    context::{Context, place},
    problem::no_product,
    public,
};

/// Most categories whose lists are read together; of a larger subtree the list of all is filtered.
const MOST_MERGED: usize = 25;

/// Products that are looked at for those most like another.
const CANDIDATES: usize = 100;

const FIELDS: &[&str] = &[
    "id",
    "sku",
    "name",
    "price.amount",
    "price.currency",
    "tax_class",
    "category_ids",
    "image.url",
    "image.alt",
    "is_featured",
    "created_at",
];

const PARAMETERS: &[&str] = &[
    "category",
    "price_min",
    "price_max",
    "in_stock",
    "q",
    "ordering",
    "limit",
    "cursor",
    "fields",
];

/// Which products are listed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "only its schema is used: queries are read one by one"
)]
struct Wanted {
    /// Only products that cost so much or more, in the store's currency
    price_min: Option<String>,
    /// Only products that cost so much or less
    price_max: Option<String>,
    /// Only products of which there are some, or only those that are sold out
    in_stock: Option<bool>,
    /// Only products with this in their name, in any case
    q: Option<String>,
}

/// How they come.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "only its schema is used: queries are read one by one"
)]
struct Paging {
    /// `newest` unless said otherwise; what is alike comes by identifier
    ordering: Option<Order>,
    /// 1 to 100, 20 unless asked otherwise
    limit: Option<u8>,
    /// The `next_cursor` of the page before
    cursor: Option<String>,
    /// Members to keep, by comma
    fields: Option<String>,
}

/// Lists products.
///
/// # Errors
///
/// A problem for a bad query, an unknown category, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/products", tag = "catalog", operation_id = "listProducts",
    summary = "List products",
    description = "Those that are active and not deleted. What was changed within the last second may still be listed \
        as it was. With a filter a page may have fewer products than asked for and yet a next one.",
    params(
        ("category" = Option<String>, Query, description = "Only products in this category or below it"),
        Wanted,
        Paging,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "A page of products", body = List<Summary>, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn all(
    State(context): State<Arc<Context>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(PARAMETERS)?;
    let filter = filter(&context, &query)?;
    let (lists, filter) = match query.get("category") {
        None => (vec![ListName::All], filter),
        Some(id) => within(&*context.tree().await?, id, filter)?,
    };
    page(
        &context,
        "/api/catalog/products",
        &lists,
        filter,
        &query,
        &headers,
    )
    .await
}

/// Lists the products of a category.
///
/// # Errors
///
/// As [`all`].
#[utoipa::path(
    get, path = "/api/catalog/categories/{id}/products", tag = "catalog", operation_id = "listCategoryProducts",
    summary = "List the products of a category and of those below it",
    description = "As the list of all products with `category`.",
    params(
        ("id" = String, Path, description = "The category"),
        Wanted,
        Paging,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "A page of products", body = List<Summary>, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn of_category(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&PARAMETERS[1..])?;
    let filter = filter(&context, &query)?;
    let (lists, filter) = within(&*context.tree().await?, &id, filter)?;
    let route = format!("/api/catalog/categories/{id}/products");
    page(&context, &route, &lists, filter, &query, &headers).await
}

/// Lists the featured products.
///
/// # Errors
///
/// As [`all`].
#[utoipa::path(
    get, path = "/api/catalog/featured", tag = "catalog", operation_id = "listFeatured",
    summary = "List the featured products",
    params(
        Paging,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "A page of products", body = List<Summary>, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
    ),
    security(()),
)]
pub async fn featured(
    State(context): State<Arc<Context>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["ordering", "limit", "cursor", "fields"])?;
    let (lists, filter) = ([ListName::Featured], Filter::default());
    page(
        &context,
        "/api/catalog/featured",
        &lists,
        filter,
        &query,
        &headers,
    )
    .await
}

/// Lists the products most like another.
///
/// # Errors
///
/// A problem for a bad query, an unknown product, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/products/{id}/related", tag = "catalog", operation_id = "listRelated",
    summary = "List the products most like another",
    description = "Of the newest hundred of its categories those that share most of them, newest first among equals; \
        all on one page.",
    params(
        ("id" = String, Path, description = "The product"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The products", body = List<Summary>, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such product, or it is deleted or not active"),
    ),
    security(()),
)]
pub async fn related(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["limit", "fields"])?;
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let product = context.product(&id).await?;
    if !product.is_listed() {
        return Err(no_product());
    }
    let categories = product.details.category_ids.iter();
    let lists: Vec<_> = categories.map(|id| ListName::Category(*id)).collect();
    let filter = Filter::default();
    let candidates = context.products.list(
        &lists,
        Order::Newest,
        &filter,
        &context.stocks,
        None,
        CANDIDATES,
    );
    let related = most_related(&product, candidates.await?.0, limit);
    let list = List {
        data: selected(&related, &fields)?,
        next_cursor: None,
    };
    public::page(&headers, &query, &list)
}

/// The lists that have the products of a category's subtree, and what is to be filtered from them.
fn within(tree: &Tree, id: &str, filter: Filter) -> Result<(Vec<ListName>, Filter), Problem> {
    let categories = tree.within(place(tree, id)?);
    if categories.len() <= MOST_MERGED {
        let lists = categories.into_iter().map(ListName::Category);
        return Ok((lists.collect(), filter));
    }
    let within = Some(HashSet::from_iter(categories));
    Ok((vec![ListName::All], Filter { within, ..filter }))
}

fn filter(context: &Context, query: &Query) -> Result<Filter, Problem> {
    let currency = context.currency.get();
    let price = |text| {
        let price = Money::parse(text, currency).ok();
        price
            .filter(|price| !price.amount().is_sign_negative() && price.rounded() == *price)
            .map(units)
            .ok_or_else(|| format!("must be an amount of {currency}"))
    };
    let name = query.parsed("q", |text| {
        let fits = text.chars().count() <= MOST_NAME && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
            .ok_or("must be at most 200 characters that can be shown")
    })?;
    Ok(Filter {
        within: None,
        least: query.parsed("price_min", price)?,
        most: query.parsed("price_max", price)?,
        name: name.filter(|name| !name.is_empty()),
        in_stock: match query.get("in_stock") {
            None => None,
            Some(_) => Some(query.flag("in_stock")?),
        },
    })
}

fn selected(found: &[Summary], fields: &Fields) -> Result<Vec<Value>, Problem> {
    let shown = found.iter().map(serde_json::to_value);
    let shown = shown.map(|shown| shown.map(|value| fields.apply(value)));
    shown.collect::<Result<_, _>>().map_err(Problem::internal)
}

async fn page(
    context: &Context,
    route: &str,
    lists: &[ListName],
    filter: Filter,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let order = query.parsed("ordering", |word| {
        Order::from_name(word).ok_or("must be newest, name, -name, price or -price")
    })?;
    let limit = Limit::from_query(query)?.get();
    let fields = Fields::from_query(query, FIELDS)?;
    let scope = CursorScope {
        route,
        query,
        caller: "",
    };
    let after = context.cursors.open(scope)?;
    let after = after.and_then(|payload| String::from_utf8(payload).ok());
    let (found, next) = context
        .products
        .list(
            lists,
            order.unwrap_or_default(),
            &filter,
            &context.stocks,
            after,
            limit,
        )
        .await?;
    let list = List {
        data: selected(&found, &fields)?,
        next_cursor: next.map(|next| context.cursors.sign(scope, next.as_bytes())),
    };
    public::page(headers, query, &list)
}
