//! `POST /api/sales/import-sales`: imports an uploaded file while the caller waits.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, Multipart, Request, State, multipart::MultipartError},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde::Serialize;
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Json, Query, Version},
        idempotency::{Content, Post, Work},
        ids,
        problem::Problem,
        table::Write,
        telemetry,
    },
    sales::{
        files::ImportFiles,
        import::{Failure, Import, ImportId},
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    importer::{Outcome, Source},
    imports::RowErrorBody,
    problem::{files_problem, import_problem, store_problem},
    queue::Action,
};

/// Most bytes of a file: base64 makes 5.3 MiB of it, and Lambda takes 6 MiB.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The legacy envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// The HTTP status again.
    pub status: u16,
    /// `success`; `accepted` where the import goes on behind the scenes.
    pub message: &'static str,
    /// The answer.
    pub data: T,
}

/// What an import added.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// Rows that this file added so far.
    imported_row: u64,
}

/// What an import would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rehearsed {
    /// Rows that this file would add.
    imported_row: u64,
    /// Rows that are stored already.
    duplicate_row: u64,
    /// Rows that would be rejected.
    rejected_row: u64,
    /// The first 100 row errors.
    errors: Vec<RowErrorBody>,
    /// What the file's reader should know.
    warnings: Vec<String>,
}

/// The form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the form in the API's document")]
pub struct ImportForm {
    /// The sales file.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Imports an uploaded file.
///
/// # Errors
///
/// A problem for a caller without the right, a form without a file, a file too large or no sales
/// file at all, or a table that is down.
#[utoipa::path(
    post, path = "/api/sales/import-sales", tag = "sales", operation_id = "importSales",
    summary = "Import a sales file of at most 4 MiB",
    description = "The same file again adds nothing, so a retry is safe; with an `Idempotency-Key` \
        it also gets the first answer again.",
    params(
        ("dry_run" = Option<bool>, Query, description = "Count and report as the import would, write nothing"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
    ),
    request_body(content = ImportForm, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "What the import would do", body = Envelope<Rehearsed>),
        (status = 201, description = "The rows that this file added", body = Envelope<Imported>,
            headers(("Location" = String))),
        (status = 202, description = "The import goes on behind the scenes", body = Envelope<Imported>,
            headers(("Location" = String))),
        (status = 413, description = "The file is larger than 4 MiB"),
        (status = 422, description = "The file is not a sales file"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn import_sales(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["dry_run"])?;
    let dry_run = query.flag("dry_run")?;
    let file = file_of(request).await?;
    if dry_run {
        return rehearse(&context, file).await;
    }
    let bytes = file.clone();
    let post = Post {
        caller: &caller,
        path: "/api/sales/import-sales",
        headers: &headers,
        content: Content::Bytes(&bytes),
    };
    let work = async |_| run(&context, file).await.map(Work::Answered);
    context.idempotency.once(post, work).await
}

async fn rehearse(context: &Context, file: Bytes) -> Result<Response, Problem> {
    let id = new_id(context);
    let report = context
        .importer
        .rehearse(id, &Source::Bytes(file), context.deadline())
        .await
        .map_err(import_problem)?
        .map_err(refused)?;
    let data = Rehearsed {
        imported_row: report.counts.imported,
        duplicate_row: report.counts.duplicate,
        rejected_row: report.counts.rejected,
        errors: report.errors.into_iter().map(RowErrorBody::from).collect(),
        warnings: report.warnings,
    };
    Ok(Json(Envelope {
        status: 200,
        message: "success",
        data,
    })
    .into_response())
}

async fn run(context: &Context, file: Bytes) -> Result<Response, Problem> {
    let id = new_id(context);
    let importer = &context.importer;
    let object = importer
        .files
        .put_direct(id, file.clone())
        .await
        .map_err(files_problem)?;
    context.see_through(Action::Import, id).await?;
    let correlation_id = telemetry::current()
        .map(|invocation| invocation.trace.correlation_id.as_str().to_owned())
        .unwrap_or_default();
    let mut import = Import::pending(
        id,
        ImportFiles::direct_key(id),
        false,
        correlation_id,
        context.now(),
    );
    import.object = Some(object);
    if importer
        .store
        .create_import(&import)
        .await
        .map_err(store_problem)?
        == Write::Conflict
    {
        return Err(Problem::internal(
            "two imports were given the same identifier",
        ));
    }
    let outcome = importer
        .run(id, &Source::Bytes(file), context.deadline())
        .await
        .map_err(import_problem)?;
    let import = match outcome {
        Outcome::Ended(import) | Outcome::Unfinished(import) => *import,
        Outcome::Idle => importer
            .store
            .import(id)
            .await
            .map_err(store_problem)?
            .unwrap_or(import),
    };
    if !import.status.is_open() {
        super::import::count(&import, context.now());
    }
    if let Some(failure) = import.failure {
        return Err(refused(failure));
    }
    let (status, message) = if import.status.is_open() {
        (StatusCode::ACCEPTED, "accepted")
    } else {
        (StatusCode::CREATED, "success")
    };
    let data = Imported {
        imported_row: import.counts.imported,
    };
    let location = [(LOCATION, format!("/api/sales/imports/{id}"))];
    let body = Json(Envelope {
        status: status.as_u16(),
        message,
        data,
    });
    Ok((status, location, Version(import.version), body).into_response())
}

fn new_id(context: &Context) -> ImportId {
    ImportId::new(ids::uuid_v7(context.now(), context.importer.random.bytes()))
}

fn refused(failure: Failure) -> Problem {
    Problem::unprocessable(failure.code, failure.message)
}

async fn file_of(request: Request) -> Result<Bytes, Problem> {
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| Problem::unsupported_media_type("multipart/form-data"))?;
    let malformed =
        |_: MultipartError| Problem::bad_request("malformed-form", "the form cannot be read");
    let mut file = None;
    while let Some(mut field) = form.next_field().await.map_err(malformed)? {
        if field.name() != Some("file") {
            continue;
        }
        if file.is_some() {
            return Err(Problem::bad_request(
                "several-files",
                "send one field named file",
            ));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = field.chunk().await.map_err(malformed)? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(Problem::too_large(MOST_BYTES));
            }
            bytes.extend_from_slice(&chunk);
        }
        file = Some(bytes.freeze());
    }
    file.ok_or_else(|| {
        Problem::bad_request("missing-file", "send the sales file in a field named file")
    })
}
