//! `/api/catalog/products` and `/api/catalog/products/{id}`: one product, and changes of it.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    catalog::{
        id::ProductId,
        product::{
            model::{Image, Product, parse_new},
            rules,
        },
    },
    events::model::{Aggregate, Event},
    platform::{
        caller::{Caller, Group},
        http::{Fields, Json, Precondition, Query, Version, not_modified},
        idempotency::{Claim, Content, Post, Work, remembered},
        ids::uuid_v7,
        money::Money,
        problem::Problem,
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    problem::{body_problem, no_product, refused_product},
    public,
};

const ROUTE: &str = "/api/catalog/products";

const FIELDS: &[&str] = &[
    "id",
    "sku",
    "name",
    "description",
    "price.amount",
    "price.currency",
    "tax_class",
    "category_ids",
    "attributes",
    "images.url",
    "images.alt",
    "is_active",
    "is_featured",
    "version",
    "created_at",
    "updated_at",
];

/// A product to be made.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// Names its stock, for good: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[schema(max_length = 64, example = "LAMP-7")]
    sku: String,
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What there is to say of it, at most 8 KiB.
    #[schema(max_length = 8192)]
    description: Option<String>,
    /// What one costs without tax, in the store's currency, with no more decimals than that has.
    price: Money,
    /// Says which tax rate goes with it: 1 to 32 of `a-z 0-9 -`; `standard` unless given.
    #[schema(pattern = "^[a-z0-9-]{1,32}$")]
    tax_class: Option<String>,
    /// Its categories, at most ten.
    category_ids: Option<Vec<String>>,
    /// Anything else: at most 50 members, at most 4 KiB as compact JSON.
    #[schema(value_type = Option<Object>)]
    attributes: Option<Value>,
    /// Its images, at most ten, the most telling one first.
    images: Option<Vec<Image>>,
    /// Whether it is shown and sold; true unless said otherwise.
    is_active: Option<bool>,
    /// Whether it is among the featured ones; false unless said otherwise.
    is_featured: Option<bool>,
}

fn event(product: &Product, word: &str) -> Event {
    let data = match product.deleted_at {
        None => Value::Object(product.document()),
        Some(_) => json!({"id": product.id, "sku": product.sku}),
    };
    let (id, version) = (product.id.to_string(), product.version);
    let kind = format!("product.{word}");
    Event::new(
        Aggregate::Product,
        id,
        version,
        kind,
        product.updated_at,
        data,
    )
}

fn answer(status: StatusCode, product: &Product) -> Response {
    let body = Json(product.document());
    (status, Version(product.version), body).into_response()
}

/// Writes a product in place of `before`, and the answer in the same transaction if it is claimed.
async fn save(
    context: &Context,
    before: Option<&Product>,
    after: &Product,
    word: &str,
    answer: impl IntoResponse,
    claim: Option<Claim>,
) -> Result<Work, Problem> {
    let (done, also) = remembered(answer, claim.as_ref(), after.updated_at).await?;
    let event = event(after, word);
    let saved = context.products.save(before, after, &event, also);
    match refused_product(saved.await?) {
        None => Ok(done),
        Some(problem) => Err(problem),
    }
}

/// Makes a product.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, a sku that is taken, or a table that is down.
#[utoipa::path(
    post, path = "/api/catalog/products", tag = "catalog", operation_id = "createProduct",
    summary = "Make a product",
    description = "Its stock begins at nothing, or is what is left of the sku. The sku stays: another sku is another \
        product.",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = NewProduct,
    responses(
        (status = 201, description = "The product", body = Product,
            headers(("Location" = String), ("ETag" = String))),
        (status = 409, description = "`sku-taken`: another product has the sku"),
        (status = 422, description = "What is wrong with which member; `currency-mismatch` at `price`, \
            `no-such-category` at `category_ids`"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn create(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let Json(body) = body?;
    let (sku, details) = parse_new(&body, context.currency.get()).map_err(body_problem)?;
    let work = async |claim| {
        let now = context.clock.now();
        let id = ProductId(uuid_v7(now, context.random.bytes()));
        let product = rules::create(id, sku, details, now);
        let location = [(LOCATION, format!("{ROUTE}/{id}"))];
        let answer = (location, answer(StatusCode::CREATED, &product));
        save(&context, None, &product, "created", answer, claim).await
    };
    let post = Post {
        caller: &caller,
        path: ROUTE,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Answers with a product that is active and not deleted.
///
/// # Errors
///
/// A problem for a bad query, an unknown product, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/products/{id}", tag = "catalog", operation_id = "getProduct",
    summary = "A product",
    params(
        ("id" = String, Path, description = "The product"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The product", body = Product, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such product, or it is deleted or not active"),
    ),
    security(()),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let product = context.product(&id).await?;
    if !product.is_listed() {
        return Err(no_product());
    }
    let version = Version(product.version);
    let kept = public::kept(version.to_string());
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let shown = fields.apply(Value::Object(product.document()));
    Ok((kept, Json(shown)).into_response())
}

/// Changes some of what is said of a product.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, an unknown product, a missing or stale
/// `If-Match`, or a table that is down.
#[utoipa::path(
    patch, path = "/api/catalog/products/{id}", tag = "catalog", operation_id = "updateProduct",
    summary = "Change some of what is said of a product",
    description = "The body is a JSON merge patch (RFC 7396): members are replaced, `null` brings what a new product \
        has, objects are merged. The sku stays. One that is not active can be changed, though not read: `If-Match: *` \
        takes any version.",
    params(
        ("id" = String, Path, description = "The product"),
        ("If-Match" = String, Header, description = "The `ETag` of the product"),
    ),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = 200, description = "The product as it is now", body = Product, headers(("ETag" = String))),
        (status = 404, description = "No such product, or it is deleted"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn update(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    let currency = context.currency.get();
    let next = |current: &Product, now| {
        let Json(patch) = body?;
        let product = rules::update(current, &patch, currency, now).map_err(body_problem)?;
        let answer = answer(StatusCode::OK, &product);
        Ok((product, answer))
    };
    change(&context, &caller, &id, &query, &headers, "updated", next).await
}

/// Deletes a product softly.
///
/// # Errors
///
/// As [`update`], but for the body.
#[utoipa::path(
    delete, path = "/api/catalog/products/{id}", tag = "catalog", operation_id = "deleteProduct",
    summary = "Delete a product",
    description = "It leaves every list and frees its sku for another product. It can be restored.",
    params(
        ("id" = String, Path, description = "The product"),
        ("If-Match" = String, Header, description = "The `ETag` of the product"),
    ),
    responses(
        (status = 204, description = "It is deleted", headers(("ETag" = String))),
        (status = 404, description = "No such product, or it is deleted already"),
        (status = 412, description = "It has changed since"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn delete(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let next = |current: &Product, now| {
        let product = rules::delete(current, now);
        let version = Version(product.version);
        Ok((
            product,
            (StatusCode::NO_CONTENT, version, ()).into_response(),
        ))
    };
    change(&context, &caller, &id, &query, &headers, "deleted", next).await
}

async fn change(
    context: &Context,
    caller: &Caller,
    id: &str,
    query: &Query,
    headers: &HeaderMap,
    word: &str,
    next: impl FnOnce(&Product, Timestamp) -> Result<(Product, Response), Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(headers)?;
    let current = context.product(id).await?;
    if current.deleted_at.is_some() {
        return Err(no_product());
    }
    precondition.check(Version(current.version))?;
    let (product, answer) = next(&current, context.clock.now())?;
    let stored = save(context, Some(&current), &product, word, answer, None).await?;
    Ok(stored.into_response())
}

/// Brings a deleted product back.
///
/// # Errors
///
/// A problem for a caller without the right, a product that is unknown or not deleted, a sku that
/// another product has now, or a table that is down.
#[utoipa::path(
    post, path = "/api/catalog/products/{id}/restore", tag = "catalog", operation_id = "restoreProduct",
    summary = "Bring a deleted product back",
    description = "It takes its sku again and its categories, but for those that are gone.",
    params(("id" = String, Path, description = "The product")),
    responses(
        (status = 200, description = "The product as it is now", body = Product, headers(("ETag" = String))),
        (status = 404, description = "No such product"),
        (status = 409, description = "`not-deleted`: it is there; `sku-taken`: another product has its sku now"),
        (status = 412, description = "It has changed meanwhile"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn restore(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let deleted = context.product(&id).await?;
    if deleted.deleted_at.is_none() {
        return Err(Problem::conflict(
            "not-deleted",
            "the product is not deleted",
        ));
    }
    let tree = context.tree().await?;
    let exists = |id| tree.find(id).is_some();
    let product = rules::restore(&deleted, exists, context.clock.now());
    let answer = answer(StatusCode::OK, &product);
    let stored = save(&context, Some(&deleted), &product, "restored", answer, None).await?;
    Ok(stored.into_response())
}
