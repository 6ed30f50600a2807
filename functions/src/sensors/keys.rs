//! `/api/sensors/keys`: device API keys, made, listed and revoked by administrators.
//!
//! Making a key takes three writes, in this order: the record as `pending`, the key in API Gateway,
//! the record as `active`. Only an active key lets a device in, and the secret leaves with the
//! answer, so whatever is left behind by a crash is of no use to anybody; it is listed as `pending`
//! and can be deleted. Revoking turns the record first: from then on the authorizer refuses the key,
//! whatever becomes of API Gateway's copy, which a repeated deletion removes.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing,
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde::Serialize;
use serde_json::Value;
use shared::{
    platform::{
        aws::Connection,
        caller::{Caller, Group},
        clock::{Clock, rfc3339},
        config::{ConfigError, CursorKey, DeviceUsagePlan, SensorsTable},
        http::{
            Fields, Json, List, Members, Precondition, Query, Version, list_response, not_modified,
        },
        ids::Random,
        page::{CursorScope, Limit},
        problem::{FieldError, Problem},
        secret::Secret,
        table::Write,
        telemetry,
    },
    sensors::key::{
        model::{DeviceKey, Grant, KeyId, KeyStatus, Pattern, SecretHash, new_secret},
        store::{KeyStore, Place},
    },
};
use utoipa::ToSchema;

use super::{
    problem::body_problem,
    usage_plan::{PlanError, UsagePlan},
};

const LIST: &str = "/api/sensors/keys";

const FIELDS: &[&str] = &[
    "id",
    "name",
    "devices",
    "status",
    "created_at",
    "revoked_at",
    "version",
];

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The records of keys.
    pub keys: KeyStore,
    /// API Gateway's copies.
    pub plan: UsagePlan,
    /// Signs cursors.
    pub cursors: CursorKey,
    /// Tells the time.
    pub clock: Clock,
    /// Makes secrets.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = SensorsTable::from_env()?;
        Ok(Self {
            keys: KeyStore::new(aws.dynamodb(), table.as_str().to_owned()),
            plan: UsagePlan {
                client: aws.apigateway(),
                name: DeviceUsagePlan::from_env()?,
            },
            cursors: CursorKey::from_env()?,
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

/// The routes of device keys.
pub fn router(context: Context) -> Router {
    Router::new()
        .route(LIST, routing::post(create).get(list))
        .route("/api/sensors/keys/{id}", routing::get(get).delete(revoke))
        .with_state(Arc::new(context))
}

/// What a new key is to be.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What to know the key by, 1 to 100 characters.
    #[schema(example = "Line 4 gateway", min_length = 1, max_length = 100)]
    name: String,
    /// The devices it may write for, 1 to 100: an identifier, the beginning of identifiers followed
    /// by `*`, or `*` for all.
    #[schema(example = json!(["line4.*", "pump-1"]), min_items = 1, max_items = 100)]
    devices: Vec<String>,
}

/// Reads what a new key is to be.
fn read(body: &Value) -> Result<Grant, Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let name = members.required_value("name").and_then(|name| {
        let text = name.as_str();
        if text.is_none() {
            members.refuse("name", "invalid-value", "name must be text");
        }
        text
    });
    let devices = members.required_value("devices").and_then(|devices| {
        let text = |device: &Value| device.as_str().map(str::to_owned);
        let all = |devices: &Vec<Value>| devices.iter().map(text).collect::<Option<Vec<_>>>();
        let texts = devices.as_array().and_then(all);
        if texts.is_none() {
            let detail = "devices must be a list of texts";
            members.refuse("devices", "invalid-value", detail);
        }
        texts
    });
    let (name, devices) = members.finish(name.zip(devices))?;
    Grant::new(name, &devices)
}

/// A device key as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeviceKey)]
pub struct KeyBody {
    /// Its identifier: 32 hexadecimal digits.
    #[schema(example = "3f2a9c1e3b524f0e9a580c8d1d6a7e11")]
    id: String,
    /// What it is known by.
    name: String,
    /// The devices it may write for.
    #[schema(value_type = Vec<String>)]
    devices: Vec<Pattern>,
    /// `active`; `revoked`; or `pending` if its making was cut short, when it never lets anybody in.
    status: KeyStatus,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was revoked.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// Counts its changes; the entity tag.
    version: u64,
}

/// A new device key with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewDeviceKey)]
pub struct NewKeyBody {
    /// The key.
    #[serde(flatten)]
    key: KeyBody,
    /// What devices send as `x-api-key`, or as `Authorization: Token …`. It is shown this once.
    #[schema(example = "mr_2v7k0r9xq3c5m8zt1d4w6y0b5e7g9h2j4n6p8s1a")]
    secret: String,
}

impl From<DeviceKey> for KeyBody {
    fn from(key: DeviceKey) -> Self {
        Self {
            id: key.id().to_string(),
            name: key.grant.name,
            devices: key.grant.devices,
            status: key.status,
            created_at: rfc3339(key.created_at),
            revoked_at: key.revoked_at.map(rfc3339),
            version: key.version,
        }
    }
}

fn plan_problem(error: PlanError) -> Problem {
    if error.retryable() {
        Problem::unavailable(error)
    } else {
        Problem::internal(error)
    }
}

fn selected(key: DeviceKey, fields: &Fields) -> Result<serde_json::Value, Problem> {
    let value = serde_json::to_value(KeyBody::from(key)).map_err(Problem::internal)?;
    Ok(fields.apply(value))
}

async fn find(context: &Context, id: &str) -> Result<DeviceKey, Problem> {
    let missing = || Problem::not_found("no such key");
    let id: KeyId = id.parse().map_err(|_| missing())?;
    let key = context.keys.get(id).await.map_err(Problem::from)?;
    key.ok_or_else(missing)
}

/// Makes a device key.
///
/// # Errors
///
/// A problem for a caller without the right, a body that does not fit, or a service that is down.
#[utoipa::path(
    post, path = "/api/sensors/keys", tag = "sensors", operation_id = "createDeviceKey",
    summary = "Make a device API key; its secret is shown this once",
    description = "`Idempotency-Key` is refused: a replayed answer could not show the secret, which \
        is stored nowhere. After a lost answer, delete the key that the list shows and make another.",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The key and its secret", body = NewKeyBody,
            headers(("Location" = String), ("ETag" = String))),
        (status = 422, description = "The name or a pattern is invalid"),
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
    if headers.contains_key("idempotency-key") {
        return Err(Problem::bad_request(
            "idempotency-key-refused",
            "the secret of a key is shown once, so an answer cannot be repeated",
        ));
    }
    let Json(body) = body?;
    let grant = read(&body).map_err(body_problem)?;
    let secret = new_secret(context.random.bytes());
    let hash = SecretHash::of(secret.expose())
        .ok_or_else(|| Problem::internal("a new secret does not look like one"))?;
    let pending = DeviceKey::pending(hash, grant, context.clock.now());
    let write = context.keys.create(&pending).await.map_err(Problem::from)?;
    if write == Write::Conflict {
        return Err(Problem::internal("two keys were given the same secret"));
    }
    let active = match activate(&context, &pending, &secret).await {
        Ok(active) => active,
        Err(problem) => {
            undo(&context, &pending).await;
            return Err(problem);
        }
    };
    let location = [(LOCATION, format!("{LIST}/{}", active.id()))];
    let version = Version(active.version);
    let body = Json(NewKeyBody {
        key: active.into(),
        secret: secret.into_exposed(),
    });
    Ok((StatusCode::CREATED, location, version, body).into_response())
}

/// Makes API Gateway's copy, and lets the key in.
async fn activate(
    context: &Context,
    pending: &DeviceKey,
    secret: &Secret<String>,
) -> Result<DeviceKey, Problem> {
    let added = context.plan.add(pending.id(), secret).await;
    let active = pending.activated(added.map_err(plan_problem)?);
    let saved = context.keys.save(&active, pending.version).await;
    match saved.map_err(Problem::from)? {
        Write::Done => Ok(active),
        Write::Conflict => Err(Problem::conflict(
            "key-deleted",
            "the key was deleted while it was made",
        )),
    }
}

/// Takes back what a failed making left. What cannot be taken back stays listed as `pending`.
async fn undo(context: &Context, pending: &DeviceKey) {
    let removed = context.plan.remove(pending.id(), None).await;
    let undone = match removed {
        Ok(()) => context.keys.remove(pending.id()).await,
        Err(error) => {
            tracing::warn!(error = telemetry::chain(&error), "half a key is left");
            return;
        }
    };
    if let Err(error) = undone {
        tracing::warn!(error = telemetry::chain(&error), "half a key is left");
    }
}

/// Lists device keys, newest first.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/keys", tag = "sensors", operation_id = "listDeviceKeys",
    summary = "List device API keys, newest first, without their secrets",
    params(
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, dotted, by comma"),
    ),
    responses((status = 200, description = "A page of keys", body = List<KeyBody>)),
    security(("token" = ["admin"])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["limit", "cursor", "fields"])?;
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let scope = CursorScope {
        route: LIST,
        query: &query,
        caller: caller.sub(),
    };
    let after = context
        .cursors
        .open(scope)?
        .and_then(|payload| Place::parse(std::str::from_utf8(&payload).ok()?));
    let found = context
        .keys
        .list(after.as_ref(), limit)
        .await
        .map_err(Problem::from)?;
    let next_cursor = found
        .last()
        .filter(|_| found.len() == limit)
        .map(|last| Place::of(last).to_string())
        .map(|place| context.cursors.sign(scope, place.as_bytes()));
    let data = found
        .into_iter()
        .map(|key| selected(key, &fields))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(list_response(&query, List { data, next_cursor }))
}

/// Answers with a device key.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown key, or a table that is down.
#[utoipa::path(
    get, path = "/api/sensors/keys/{id}", tag = "sensors", operation_id = "getDeviceKey",
    summary = "A device API key, without its secret",
    params(
        ("id" = String, Path, description = "The key"),
        ("fields" = Option<String>, Query, description = "Members to keep, dotted, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The key", body = KeyBody, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let key = find(&context, &id).await?;
    let version = Version(key.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    Ok((version, Json(selected(key, &fields)?)).into_response())
}

/// Revokes a device key for good.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown key, a missing or stale `If-Match`, or a
/// service that is down.
#[utoipa::path(
    delete, path = "/api/sensors/keys/{id}", tag = "sensors", operation_id = "revokeDeviceKey",
    summary = "Revoke a device API key for good",
    description = "The key stays listed as `revoked`. Functions that remember it as active let it in \
        for up to a minute. After a 503 the key is revoked already: repeat the call with the \
        new `ETag` to remove API Gateway's copy as well.",
    params(
        ("id" = String, Path, description = "The key"),
        ("If-Match" = String, Header, description = "The `ETag` of the key"),
    ),
    responses(
        (status = 200, description = "The key is revoked", body = KeyBody, headers(("ETag" = String))),
        (status = 412, description = "It has changed since"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn revoke(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let key = find(&context, &id).await?;
    precondition.check(Version(key.version))?;
    let revoked = if key.status == KeyStatus::Revoked {
        key
    } else {
        let revoked = key.revoked(context.clock.now());
        let write = context.keys.save(&revoked, key.version).await;
        if write.map_err(Problem::from)? == Write::Conflict {
            return Err(Problem::precondition_failed());
        }
        revoked
    };
    let gateway_id = revoked.gateway_id.as_deref();
    let removed = context.plan.remove(revoked.id(), gateway_id).await;
    removed.map_err(plan_problem)?;
    let version = Version(revoked.version);
    Ok((version, Json(KeyBody::from(revoked))).into_response())
}

#[cfg(test)]
mod tests;
