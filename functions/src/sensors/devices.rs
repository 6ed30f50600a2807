//! `/api/sensors/devices` and `/api/sensors/devices/{id}`: the registry of devices.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use jiff::Timestamp;
use serde_json::Value;
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Fields, Json, List, Precondition, Query, Version, list_response, not_modified},
        idempotency::{Claim, Content, Post, Work, remembered},
        page::{CursorScope, Limit},
        problem::{FieldError, Problem},
        table::Write,
    },
    sensors::{
        device::{
            model::{Attributes, Device, DeviceType, MOST_NAME, parse_new},
            rules::{self, DeviceExists},
            store::{Filter, Position},
        },
        model::DeviceId,
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    problem::{body_problem, exists_problem},
};

const ROUTE: &str = "/api/sensors/devices";

const FIELDS: &[&str] = &[
    "device_id",
    "name",
    "type",
    "location",
    "latitude",
    "longitude",
    "unit",
    "is_active",
    "metadata",
    "version",
    "created_at",
    "updated_at",
];

/// A device to be registered.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewDevice {
    /// Names it, for good: 1 to 100 of `[A-Za-z0-9._:-]`.
    #[schema(value_type = String, example = "boiler-7", max_length = 100)]
    device_id: DeviceId,
    /// What people call it.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What it measures.
    #[schema(rename = "type")]
    kind: DeviceType,
    /// Where it is, in words.
    #[schema(max_length = 200)]
    location: Option<String>,
    /// Degrees north; given together with the longitude or not at all.
    #[schema(minimum = -90, maximum = 90)]
    latitude: Option<f64>,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180)]
    longitude: Option<f64>,
    /// The unit of what it measures, at most 32 bytes.
    #[schema(max_length = 32)]
    unit: Option<String>,
    /// Whether its readings are taken; true unless said otherwise.
    is_active: Option<bool>,
    /// Anything else, at most 4 KiB as compact JSON.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

fn answer(status: StatusCode, device: &Device) -> Response {
    let body = Json(device.document());
    (status, Version(device.version), body).into_response()
}

fn selected(device: &Device, fields: &Fields) -> Value {
    fields.apply(Value::Object(device.document()))
}

/// Registers a device.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, a device that exists, or a table that is
/// down.
#[utoipa::path(
    post, path = "/api/sensors/devices", tag = "sensors", operation_id = "createDevice",
    summary = "Register a device",
    description = "A device that was deleted comes back with the attributes now given; its readings \
        and roll-ups are still there, and its version goes on.",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = NewDevice,
    responses(
        (status = 201, description = "The device", body = Device,
            headers(("Location" = String), ("ETag" = String))),
        (status = 409, description = "`device-exists`: a device of this identifier exists"),
        (status = 422, description = "What is wrong with which member"),
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
    let (id, attributes) = parse_new(&body).map_err(body_problem)?;
    let work = async |claim| register(&context, id, attributes, claim).await;
    let post = Post {
        caller: &caller,
        path: ROUTE,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Writes a new device, and the answer to its request in the same transaction if it is claimed.
async fn register(
    context: &Context,
    id: DeviceId,
    attributes: Attributes,
    claim: Option<Claim>,
) -> Result<Work, Problem> {
    let now = context.clock.now();
    let devices = &context.devices;
    let stored = devices.find(&id).await.map_err(Problem::from)?;
    let expected = stored.as_ref().map_or(0, |stored| stored.version);
    let device = rules::create(stored.as_ref(), id, attributes, now).map_err(exists_problem)?;
    let location = format!("{ROUTE}/{}", device.device_id);
    let response = ([(LOCATION, location)], answer(StatusCode::CREATED, &device));
    let (work, completion) = remembered(response, claim.as_ref(), now).await?;
    let write = match completion {
        None => devices.save(&device, expected).await,
        Some(completion) => devices.save_with(&device, expected, completion).await,
    };
    match write.map_err(Problem::from)? {
        Write::Done => Ok(work),
        Write::Conflict => Err(exists_problem(DeviceExists)),
    }
}

/// Lists devices by type, name and identifier.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/devices", tag = "sensors", operation_id = "listDevices",
    summary = "List devices by type, name and identifier",
    description = "Types come in the order of the schema, names without regard to case. What was changed within \
        the last second may still be listed as it was. With `is_active` a page may have fewer devices than asked \
        for and yet a next one.",
    params(
        ("type" = Option<DeviceType>, Query, description = "Only devices of this type"),
        ("is_active" = Option<bool>, Query, description = "Only devices that are active, or only those that are not"),
        ("name_prefix" = Option<String>, Query, description = "Only devices whose name begins so, in any case"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
    ),
    responses((status = 200, description = "A page of devices", body = List<Device>)),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin, Group::Analyst])?;
    query.only(&[
        "type",
        "is_active",
        "name_prefix",
        "limit",
        "cursor",
        "fields",
    ])?;
    let filter = filter(&query)?;
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let scope = CursorScope {
        route: ROUTE,
        query: &query,
        caller: caller.sub(),
    };
    let from = context.cursors.open(scope)?.and_then(|payload| {
        let text = std::str::from_utf8(&payload).ok()?;
        text.parse::<Position>().ok()
    });
    let (devices, next) = context
        .devices
        .list(filter, from, limit)
        .await
        .map_err(Problem::from)?;
    let next_cursor = next.map(|next| context.cursors.sign(scope, next.to_string().as_bytes()));
    let data = devices
        .iter()
        .map(|device| selected(device, &fields))
        .collect();
    Ok(list_response(&query, List { data, next_cursor }))
}

fn filter(query: &Query) -> Result<Filter<'_>, Problem> {
    let kind = query.parsed("type", |name| {
        DeviceType::from_name(name).ok_or("is none of the types of devices")
    })?;
    let is_active = match query.get("is_active") {
        None => None,
        Some(_) => Some(query.flag("is_active")?),
    };
    let name_prefix = query.get("name_prefix").filter(|prefix| !prefix.is_empty());
    let fits =
        |prefix: &str| prefix.chars().count() <= MOST_NAME && !prefix.chars().any(char::is_control);
    if name_prefix.is_some_and(|prefix| !fits(prefix)) {
        let detail = "name_prefix must be at most 200 characters that can be shown";
        let error = FieldError::query("name_prefix", "invalid-parameter", detail);
        return Err(Problem::invalid_query(error));
    }
    Ok(Filter {
        kind,
        is_active,
        name_prefix,
    })
}

/// Answers with a device.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown device, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/devices/{id}", tag = "sensors", operation_id = "getDevice",
    summary = "A device",
    params(
        ("id" = String, Path, description = "The device"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The device", body = Device, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such device, or it is deleted"),
    ),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin, Group::Analyst])?;
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let device = context.device(&id).await?;
    let version = Version(device.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    Ok((version, Json(selected(&device, &fields))).into_response())
}

/// Replaces what is said of a device.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, an unknown device, a missing or stale
/// `If-Match`, or a table that is down.
#[utoipa::path(
    put, path = "/api/sensors/devices/{id}", tag = "sensors", operation_id = "replaceDevice",
    summary = "Replace what is said of a device",
    description = "What the body leaves out is as in a new device. `device_id`, `version`, `created_at` and \
        `updated_at` may be repeated as they are, not changed.",
    params(
        ("id" = String, Path, description = "The device"),
        ("If-Match" = String, Header, description = "The `ETag` of the device"),
    ),
    request_body = Attributes,
    responses(
        (status = 200, description = "The device as it is now", body = Device, headers(("ETag" = String))),
        (status = 404, description = "No such device, or it is deleted"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn replace(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    let device = change(&context, &caller, &id, &query, &headers, |current, now| {
        let Json(body) = body?;
        rules::replace(current, &body, now).map_err(body_problem)
    });
    Ok(answer(StatusCode::OK, &device.await?))
}

/// Changes some of what is said of a device.
///
/// # Errors
///
/// As [`replace`].
#[utoipa::path(
    patch, path = "/api/sensors/devices/{id}", tag = "sensors", operation_id = "updateDevice",
    summary = "Change some of what is said of a device",
    description = "The body is a JSON merge patch (RFC 7396): members are replaced, `null` removes one, objects \
        are merged.",
    params(
        ("id" = String, Path, description = "The device"),
        ("If-Match" = String, Header, description = "The `ETag` of the device"),
    ),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = 200, description = "The device as it is now", body = Device, headers(("ETag" = String))),
        (status = 404, description = "No such device, or it is deleted"),
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
    let device = change(&context, &caller, &id, &query, &headers, |current, now| {
        let Json(patch) = body?;
        rules::update(current, &patch, now).map_err(body_problem)
    });
    Ok(answer(StatusCode::OK, &device.await?))
}

/// Deletes a device softly.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown device, a missing or stale `If-Match`, or a
/// table that is down.
#[utoipa::path(
    delete, path = "/api/sensors/devices/{id}", tag = "sensors", operation_id = "deleteDevice",
    summary = "Delete a device",
    description = "Its readings are no longer taken nor shown. Registering the identifier again brings it back with \
        its readings and roll-ups.",
    params(
        ("id" = String, Path, description = "The device"),
        ("If-Match" = String, Header, description = "The `ETag` of the device"),
    ),
    responses(
        (status = 204, description = "It is deleted", headers(("ETag" = String))),
        (status = 404, description = "No such device, or it is deleted already"),
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
    let device = change(&context, &caller, &id, &query, &headers, |current, now| {
        Ok(rules::delete(current, now))
    });
    let version = Version(device.await?.version);
    Ok((StatusCode::NO_CONTENT, version, ()).into_response())
}

async fn change(
    context: &Context,
    caller: &Caller,
    id: &str,
    query: &Query,
    headers: &HeaderMap,
    next: impl FnOnce(&Device, Timestamp) -> Result<Device, Problem>,
) -> Result<Device, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(headers)?;
    let current = context.device(id).await?;
    precondition.check(Version(current.version))?;
    let device = next(&current, context.clock.now())?;
    let write = context.devices.save(&device, current.version).await;
    match write.map_err(Problem::from)? {
        Write::Done => Ok(device),
        Write::Conflict => Err(Problem::precondition_failed()),
    }
}
