//! `/api/customers/me/addresses` and `/api/customers/me/addresses/{id}`: the caller's addresses.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde_json::Value;
use shared::{
    address::model::Address,
    customers::{
        model::{AddressType, Customer, CustomerAddress, NewAddress, Profile, parse_address},
        rules,
    },
    platform::{
        caller::Caller,
        http::{Json, List, Query, Version, not_modified},
        idempotency::{Claim, Content, Post, Work, remembered},
        ids::base32,
        problem::Problem,
        table::Write,
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    problem::{no_address, refused_problem},
};

const ROUTE: &str = "/api/customers/me/addresses";

/// Characters of an address's identifier, five random bits each.
const ID_LENGTH: usize = 16;

/// Times that an address is added when other changes come in between.
const TRIES: u32 = 5;

/// An address to be kept.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
pub struct NewCustomerAddress {
    /// What it is for.
    #[schema(rename = "type")]
    kind: AddressType,
    /// Whether it is to be the default of its type; the first of a type is in any case.
    is_default: Option<bool>,
    #[schema(inline)]
    #[serde(flatten)]
    address: Address,
}

fn answer(status: StatusCode, customer: &Customer, id: &str) -> Result<Response, Problem> {
    let address = customer.address(id).ok_or_else(no_address)?;
    let version = Version(customer.version);
    Ok((status, version, Json(address.document())).into_response())
}

/// Lists the caller's addresses.
///
/// # Errors
///
/// A problem for a bad query, an erased customer, or a table that is down.
#[utoipa::path(
    get, path = "/api/customers/me/addresses", tag = "customers", operation_id = "listAddresses",
    summary = "The caller's addresses, oldest first",
    description = "All of them, at most 20. The `ETag` is that of the profile, which they are part of.",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand")),
    responses(
        (status = 200, description = "The addresses", body = List<CustomerAddress>, headers(("ETag" = String))),
        (status = 304, description = "The profile is still as the caller knows it"),
        (status = 404, description = "`customer-erased`: the customer was erased"),
    ),
    security(("token" = [])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let customer = context.customer(&caller).await?;
    let version = Version(customer.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    let page = List {
        data: customer.addresses,
        next_cursor: None,
    };
    Ok((version, Json(page)).into_response())
}

/// Keeps an address.
///
/// # Errors
///
/// A problem for a bad body, too many addresses, an erased customer, or a table that is down.
#[utoipa::path(
    post, path = "/api/customers/me/addresses", tag = "customers", operation_id = "createAddress",
    summary = "Keep an address",
    description = "The first address of a type is its default; one that asks to be the default takes the place of \
        the one before. `phone` is taken in any common form, a national one being of the address's country, and kept \
        in E.164.",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = NewCustomerAddress,
    responses(
        (status = 201, description = "The address", body = CustomerAddress,
            headers(("Location" = String), ("ETag" = String))),
        (status = 404, description = "`customer-erased`: the customer was erased"),
        (status = 409, description = "`too-many-addresses`: the caller has 20"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = [])),
)]
pub async fn create(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let Json(body) = body?;
    let new = parse_address(&body).map_err(|errors| refused_problem(errors.into()))?;
    let work = async |claim| add(&context, &caller, new, claim).await;
    let post = Post {
        caller: &caller,
        path: ROUTE,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Adds an address, and the answer to its request in the same transaction if it is claimed. It is
/// tried again when another change comes in between: the two do not touch each other.
async fn add(
    context: &Context,
    caller: &Caller,
    new: NewAddress,
    claim: Option<Claim>,
) -> Result<Work, Problem> {
    let id = base32(u128::from_be_bytes(context.random.bytes()), ID_LENGTH);
    for _ in 0..TRIES {
        let now = context.clock.now();
        let current = context.customer(caller).await?;
        let (customer, event) =
            rules::add_address(&current, &id, new.clone(), now).map_err(refused_problem)?;
        let location = [(LOCATION, format!("{ROUTE}/{id}"))];
        let response = (location, answer(StatusCode::CREATED, &customer, &id)?);
        let (work, completion) = remembered(response, claim.as_ref(), now).await?;
        let profile = Profile::Active(customer);
        let write = context.customers.save(&profile, &event, completion).await;
        if write? == Write::Done {
            return Ok(work);
        }
    }
    Err(Problem::unavailable("the profile keeps changing"))
}

/// Answers with one of the caller's addresses.
///
/// # Errors
///
/// A problem for a bad query, an unknown address, an erased customer, or a table that is down.
#[utoipa::path(
    get, path = "/api/customers/me/addresses/{id}", tag = "customers", operation_id = "getAddress",
    summary = "One of the caller's addresses",
    params(
        ("id" = String, Path, description = "The address"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand, which is the profile's"),
    ),
    responses(
        (status = 200, description = "The address", body = CustomerAddress, headers(("ETag" = String))),
        (status = 304, description = "The profile is still as the caller knows it"),
        (status = 404, description = "The caller has no such address, or was erased (`customer-erased`)"),
    ),
    security(("token" = [])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let customer = context.customer(&caller).await?;
    let found = answer(StatusCode::OK, &customer, &id)?;
    let version = Version(customer.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    Ok(found)
}

/// Changes an address.
///
/// # Errors
///
/// A problem for a bad body, an unknown address, a missing or stale `If-Match`, an erased customer,
/// or a table that is down.
#[utoipa::path(
    patch, path = "/api/customers/me/addresses/{id}", tag = "customers", operation_id = "updateAddress",
    summary = "Change an address",
    description = "The body is a JSON merge patch (RFC 7396). A default that is patched to be none, or to another \
        type, makes way for the oldest other one of its type; the only address of a type remains its default. Orders \
        keep the address they were placed with.",
    params(
        ("id" = String, Path, description = "The address"),
        ("If-Match" = String, Header, description = "The `ETag` of the profile"),
    ),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = 200, description = "The address as it is now", body = CustomerAddress, headers(("ETag" = String))),
        (status = 404, description = "The caller has no such address, or was erased (`customer-erased`)"),
        (status = 412, description = "The profile has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = [])),
)]
pub async fn update(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    let Json(patch) = body?;
    let change = context.change(&caller, &query, &headers, |current, now| {
        rules::update_address(current, &id, &patch, now)
    });
    answer(StatusCode::OK, &change.await?, &id)
}

/// Removes an address.
///
/// # Errors
///
/// A problem for an unknown address, a missing or stale `If-Match`, an erased customer, or a table
/// that is down.
#[utoipa::path(
    delete, path = "/api/customers/me/addresses/{id}", tag = "customers", operation_id = "deleteAddress",
    summary = "Remove an address",
    description = "The oldest that remains of its type becomes the default if it was that. Orders keep the address \
        they were placed with.",
    params(
        ("id" = String, Path, description = "The address"),
        ("If-Match" = String, Header, description = "The `ETag` of the profile"),
    ),
    responses(
        (status = 204, description = "It is removed", headers(("ETag" = String))),
        (status = 404, description = "The caller has no such address, or was erased (`customer-erased`)"),
        (status = 412, description = "The profile has changed since"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = [])),
)]
pub async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let change = context.change(&caller, &query, &headers, |current, now| {
        rules::remove_address(current, &id, now)
    });
    let version = Version(change.await?.version);
    Ok((StatusCode::NO_CONTENT, version, ()).into_response())
}
