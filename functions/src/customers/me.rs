//! `/api/customers/me`: the caller's own profile.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use shared::{
    customers::{model::Customer, rules, store::EnsureError},
    platform::{
        caller::Caller,
        http::{Fields, Json, Precondition, Query, Version, not_modified},
        problem::Problem,
        table::Write,
    },
};

use super::{
    context::Context,
    people::Removal,
    problem::{ensure_problem, erased},
};

const FIELDS: &[&str] = &[
    "customer_id",
    "email",
    "phone",
    "name",
    "locale",
    "addresses",
    "version",
    "created_at",
    "updated_at",
];

/// Answers with the caller's profile.
///
/// # Errors
///
/// A problem for a bad query, an erased customer, or a table that is down.
#[utoipa::path(
    get, path = "/api/customers/me", tag = "customers", operation_id = "getProfile",
    summary = "The caller's profile",
    description = "It is made from the token's claims if signing up has not made it, and takes the e-mail address \
        over from them when that has changed.",
    params(
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The profile", body = Customer, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "`customer-erased`: the customer was erased"),
    ),
    security(("token" = [])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let customer = context.customer(&caller).await?;
    let version = Version(customer.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    let body = fields.apply(Value::Object(customer.document()));
    Ok((version, Json(body)).into_response())
}

/// Changes what the caller says of themselves.
///
/// # Errors
///
/// A problem for a bad body, a missing or stale `If-Match`, an erased customer, or a table that is
/// down.
#[utoipa::path(
    patch, path = "/api/customers/me", tag = "customers", operation_id = "updateProfile",
    summary = "Change name, phone or locale",
    description = "The body is a JSON merge patch (RFC 7396): members are replaced, `null` removes one. `phone` has \
        its country code (`+65 6123 4567`). The e-mail address is the user pool's, addresses have routes of their \
        own; these and what is counted may be repeated as they are, not changed.",
    params(("If-Match" = String, Header, description = "The `ETag` of the profile")),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = 200, description = "The profile as it is now", body = Customer, headers(("ETag" = String))),
        (status = 404, description = "`customer-erased`: the customer was erased"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = [])),
)]
pub async fn update(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    let Json(patch) = body?;
    let change = context.change(&caller, &query, &headers, |current, now| {
        rules::update(current, &patch, now)
    });
    let customer = change.await?;
    Ok((Version(customer.version), Json(customer.document())).into_response())
}

/// Erases the caller: first the profile, then the person in the user pool.
///
/// # Errors
///
/// A problem for a missing or stale `If-Match`, a customer erased before, a table or user pool that
/// is down.
#[utoipa::path(
    delete, path = "/api/customers/me", tag = "customers", operation_id = "eraseProfile",
    summary = "Erase the caller",
    description = "Removes the profile with all addresses for good, and the person from the user pool: nobody signs \
        in as them any more, and a token that is still valid gets 404 `customer-erased`. Orders keep the addresses \
        they were placed with, for invoices have to be kept. Answers that are remembered for retries go within a \
        day. After a 503 the call is to be made again, with any `If-Match`: it finishes what is left.",
    params(("If-Match" = String, Header, description = "The `ETag` of the profile")),
    responses(
        (status = 204, description = "The caller is erased"),
        (status = 404, description = "`customer-erased`: the customer was erased before"),
        (status = 412, description = "The profile has changed since"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = [])),
)]
pub async fn erase(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let now = context.clock.now();
    let was_active = match context.customers.ensure(&(&caller).into(), now).await {
        Ok(current) => {
            precondition.check(Version(current.version))?;
            let (profile, event) = rules::erase(&current, now);
            let write = context.customers.save(&profile, &event, None).await;
            match write? {
                Write::Done => true,
                Write::Conflict => return Err(Problem::precondition_failed()),
            }
        }
        Err(EnsureError::Erased) => false,
        Err(error) => return Err(ensure_problem(error)),
    };
    let removal = context.people.remove(caller.username()).await;
    match removal.map_err(Problem::aws)? {
        Removal::Before if !was_active => Err(erased()),
        Removal::Done | Removal::Before => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}
