//! `POST /api/sales/imports`: announces an import, and answers with a form to upload its file by.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use shared::{
    platform::{
        caller::{Caller, Group},
        clock::rfc3339,
        http::{Json, Query, Version},
        idempotency::{Claim, Content, IdempotencyKey, Post, Work, remembered},
        ids,
        problem::Problem,
        telemetry,
        upload_form::UploadPolicy,
    },
    sales::{
        files::{ImportFiles, MOST_BYTES},
        import::{Import, ImportId, Status},
    },
};
use utoipa::ToSchema;

use super::{context::Context, problem::store_problem};

/// How long the form can be used.
const FORM_LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// An announced import.
#[derive(Debug, Serialize, ToSchema)]
pub struct Announced {
    /// Its identifier.
    #[schema(value_type = String)]
    id: ImportId,
    /// Always `pending`.
    status: Status,
    /// Whether it will only count.
    dry_run: bool,
    /// The key its file will have.
    key: String,
    /// How to upload the file.
    upload: Upload,
    /// When the form ends.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// A form: POST `fields` as `multipart/form-data` to `url`, the file last, in a field `file`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Upload {
    /// Where to send it.
    url: String,
    /// What to send before the file.
    fields: BTreeMap<String, String>,
}

/// Announces an import.
///
/// # Errors
///
/// A problem for a caller without the right, a missing or reused idempotency key, or a table that
/// is down.
#[utoipa::path(
    post, path = "/api/sales/imports", tag = "sales", operation_id = "createImport",
    summary = "Announce an import and get a form to upload its file by, up to 5 GiB",
    description = "The import begins when the file arrives. The form is good for one hour.",
    params(
        ("dry_run" = Option<bool>, Query, description = "Count and report as the import would, store no row"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters"),
    ),
    responses((status = 201, description = "The import and its form", body = Announced,
        headers(("Location" = String), ("ETag" = String)))),
    security(("token" = ["admin"])),
)]
pub async fn announce(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["dry_run"])?;
    let dry_run = query.flag("dry_run")?;
    check_body(&headers, &body)?;
    IdempotencyKey::from_headers(&headers)?;
    let wanted = format!("dry_run={dry_run}");
    let post = Post {
        caller: &caller,
        path: "/api/sales/imports",
        headers: &headers,
        content: Content::Bytes(wanted.as_bytes()),
    };
    let work = async |claim| create(&context, dry_run, claim).await;
    context.idempotency.once(post, work).await
}

/// The request has nothing to say in a body: it is empty, or an empty JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn check_body(headers: &HeaderMap, body: &Bytes) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    Json::<Nothing>::parse(body).map(drop)
}

/// Writes the import's record and the answer to its request in one transaction.
async fn create(context: &Context, dry_run: bool, claim: Option<Claim>) -> Result<Work, Problem> {
    let now = context.now();
    let id = ImportId::new(ids::uuid_v7(now, context.importer.random.bytes()));
    let key = ImportFiles::announced_key(id);
    let trace = telemetry::current().map(|invocation| invocation.trace.clone());
    let correlation_id = trace
        .as_ref()
        .map(|trace| trace.correlation_id.as_str().to_owned());
    let metadata = trace.map(|trace| trace.metadata()).unwrap_or_default();
    let metadata: Vec<_> = metadata
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let import = Import::pending(
        id,
        key.clone(),
        dry_run,
        correlation_id.unwrap_or_default(),
        now,
    );
    let policy = UploadPolicy {
        bucket: context.importer.files.bucket(),
        key: &key,
        max_bytes: MOST_BYTES,
        content_type: "text/csv",
        lifetime: FORM_LIFETIME,
        metadata: &metadata,
    };
    let form = context.signer.sign(&policy, now);
    let body = Announced {
        id,
        status: import.status,
        dry_run,
        key,
        upload: Upload {
            url: form.url,
            fields: form.fields,
        },
        expires_at: rfc3339(now + FORM_LIFETIME),
    };
    let location = [(LOCATION, format!("/api/sales/imports/{id}"))];
    let response = (
        StatusCode::CREATED,
        location,
        Version(import.version),
        Json(body),
    )
        .into_response();
    let (work, completion) = remembered(response, claim.as_ref(), now).await?;
    let store = &context.importer.store;
    match completion {
        None => store.create_import(&import).await.map(drop),
        Some(completion) => store.create_import_with(&import, completion).await,
    }
    .map_err(store_problem)?;
    Ok(work)
}
