//! `GET /api/sales/imports`, `GET` and `DELETE /api/sales/imports/{id}`: reports, and undo.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use shared::{
    platform::{
        caller::{Caller, Group},
        clock::rfc3339,
        http::{Fields, Json, List, Precondition, Query, Version, list_response, not_modified},
        page::{CursorScope, Limit},
        problem::Problem,
        table::Write,
    },
    sales::{
        file::RowError,
        import::{Counts, DaySpan, Failure, Import, ImportId, Progress, Status},
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    importer::Outcome,
    problem::{files_problem, import_problem, store_problem},
    queue::Action,
};

const LIST: &str = "/api/sales/imports";

/// How long a link to `errors.csv` works.
const LINK_LIFETIME: Duration = Duration::from_mins(15);

const FIELDS: &[&str] = &[
    "id",
    "key",
    "status",
    "dry_run",
    "bytes",
    "bytes.done",
    "bytes.total",
    "rows",
    "rows.done",
    "rows.total",
    "counts",
    "counts.imported",
    "counts.duplicate",
    "counts.rejected",
    "days",
    "days.first",
    "days.last",
    "warnings",
    "failure",
    "failure.code",
    "failure.message",
    "created_at",
    "updated_at",
    "version",
];

/// An import as callers see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Import)]
pub struct ImportBody {
    /// Its identifier: 26 characters of Crockford base32 that sort by time.
    #[schema(value_type = String, example = "01K9T2V5M8Q4R7S1X3Z6B9D0F2")]
    id: ImportId,
    /// The object key of its file.
    key: String,
    /// Where it stands.
    status: Status,
    /// Whether it only counts.
    dry_run: bool,
    /// Bytes of the file read in the first pass.
    bytes: Progress,
    /// Valid rows stored or found stored.
    rows: Progress,
    /// What became of the rows.
    counts: Counts,
    /// First and last day of its valid rows, once known.
    days: Option<DaySpan>,
    /// What the file's reader should know.
    warnings: Vec<String>,
    /// Why the whole file was refused.
    failure: Option<Failure>,
    /// When it began.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// Counts its changes; the entity tag.
    version: u64,
}

/// An import with its row errors.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub struct ReportBody {
    /// The import.
    #[serde(flatten)]
    import: ImportBody,
    /// The first 100 row errors.
    errors: Vec<RowErrorBody>,
    /// A link to all rejected rows as `errors.csv`, good for 15 minutes: the original columns plus
    /// `_row`, `_code` and `_message`; mended, it can be imported again.
    errors_url: Option<String>,
}

/// Why one row was refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RowError)]
pub struct RowErrorBody {
    /// The row's number, the header being row 1.
    row: u64,
    /// The column at fault; null when it is the whole row.
    column: Option<&'static str>,
    /// The cell's text, cut at 100 characters.
    value: String,
    /// Stable kebab-case word.
    code: &'static str,
    /// What is wrong.
    message: String,
}

impl From<RowError> for RowErrorBody {
    fn from(error: RowError) -> Self {
        Self {
            row: error.row,
            column: error.column.map(shared::sales::model::Column::name),
            value: error.value,
            code: error.code.as_str(),
            message: error.message.into_owned(),
        }
    }
}

impl From<Import> for ImportBody {
    fn from(import: Import) -> Self {
        Self {
            id: import.id,
            key: import.object_key,
            status: import.status,
            dry_run: import.dry_run,
            bytes: import.bytes,
            rows: import.rows,
            counts: import.counts,
            days: import.days,
            warnings: import.warnings,
            failure: import.failure,
            created_at: rfc3339(import.created_at),
            updated_at: rfc3339(import.updated_at),
            version: import.version,
        }
    }
}

fn selected(body: &impl Serialize, fields: &Fields) -> Result<serde_json::Value, Problem> {
    let value = serde_json::to_value(body).map_err(Problem::internal)?;
    Ok(fields.apply(value))
}

async fn find(context: &Context, id: &str) -> Result<Import, Problem> {
    let missing = || Problem::not_found("no such import");
    let id: ImportId = id.parse().map_err(|_| missing())?;
    let import = context
        .importer
        .store
        .import(id)
        .await
        .map_err(store_problem)?;
    import.ok_or_else(missing)
}

/// Lists imports, newest first.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/sales/imports", tag = "sales", operation_id = "listImports",
    summary = "List imports, newest first",
    params(
        ("key" = Option<String>, Query, description = "Only imports of this object key"),
        ("limit" = Option<u8>, Query, description = "1 to 100, 20 unless asked otherwise"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
        ("fields" = Option<String>, Query, description = "Members to keep, dotted, by comma"),
    ),
    responses((status = 200, description = "A page of imports", body = List<ImportBody>)),
    security(("token" = ["admin"])),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&["key", "limit", "cursor", "fields"])?;
    let limit = Limit::from_query(&query)?.get();
    let fields = Fields::from_query(&query, FIELDS)?;
    let scope = CursorScope {
        route: LIST,
        query: &query,
        caller: caller.sub(),
    };
    let before = match context.cursors.open(scope)? {
        None => None,
        Some(payload) => std::str::from_utf8(&payload)
            .ok()
            .and_then(|id| id.parse::<ImportId>().ok()),
    };
    let found = context
        .importer
        .store
        .imports(before, query.get("key"), limit)
        .await
        .map_err(store_problem)?;
    let next_cursor = found
        .last()
        .filter(|_| found.len() == limit)
        .map(|last| context.cursors.sign(scope, last.id.to_string().as_bytes()));
    let data = found
        .into_iter()
        .map(|import| selected(&ImportBody::from(import), &fields))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(list_response(&query, List { data, next_cursor }))
}

/// Answers with an import's report.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown import, or a table that is down.
#[utoipa::path(
    get, path = "/api/sales/imports/{id}", tag = "sales", operation_id = "getImport",
    summary = "How an import stands, and its report",
    params(
        ("id" = String, Path, description = "The import"),
        ("fields" = Option<String>, Query, description = "Members to keep, dotted, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The import", body = ReportBody, headers(("ETag" = String))),
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
    let known = [FIELDS, &["errors", "errors_url"]].concat();
    let fields = Fields::from_query(&query, &known)?;
    let import = find(&context, &id).await?;
    let version = Version(import.version);
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, version, ()).into_response());
    }
    let body = report(&context, import).await?;
    Ok((version, Json(selected(&body, &fields)?)).into_response())
}

async fn report(context: &Context, import: Import) -> Result<ReportBody, Problem> {
    let has_errors = import.counts.rejected > 0;
    let (mut errors, mut errors_url) = (Vec::new(), None);
    if has_errors {
        let stored = context
            .importer
            .store
            .row_errors(import.id)
            .await
            .map_err(store_problem)?;
        errors = stored.into_iter().map(RowErrorBody::from).collect();
        let link = context
            .importer
            .files
            .errors_link(import.id, LINK_LIFETIME)
            .await;
        errors_url = Some(link.map_err(files_problem)?);
    }
    Ok(ReportBody {
        import: import.into(),
        errors,
        errors_url,
    })
}

/// Takes back exactly the rows of one import.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown import, a missing or stale `If-Match`, an
/// import still at work, or a table that is down.
#[utoipa::path(
    delete, path = "/api/sales/imports/{id}", tag = "sales", operation_id = "deleteImport",
    summary = "Take back exactly the rows of one import",
    description = "The import stays listed as `deleted`. Rows that a later import found stored \
        already and left out do not come back by themselves: import that file again.",
    params(
        ("id" = String, Path, description = "The import"),
        ("If-Match" = String, Header, description = "The `ETag` of the import"),
    ),
    responses(
        (status = 200, description = "Its rows are gone", body = ImportBody, headers(("ETag" = String))),
        (status = 202, description = "The rest of its rows will be gone shortly", body = ImportBody),
        (status = 409, description = "A run of it may still be alive"),
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
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let import = find(&context, &id).await?;
    precondition.check(Version(import.version))?;
    if import.status == Status::Deleted {
        return Ok(answer(StatusCode::OK, import));
    }
    if import
        .active_until
        .is_some_and(|until| until > context.now())
    {
        let busy = Problem::conflict(
            "import-in-progress",
            "the import is at work: take it back when it has ended",
        );
        return Err(busy.with_retry_after(10));
    }
    let import = begin(&context, import).await?;
    match context
        .importer
        .take_back(import.id, context.deadline())
        .await
        .map_err(import_problem)?
    {
        Outcome::Ended(import) => Ok(answer(StatusCode::OK, *import)),
        Outcome::Unfinished(import) => Ok(answer(StatusCode::ACCEPTED, *import)),
        Outcome::Idle => {
            let import = find(&context, &id).await?;
            let is_gone = import.status == Status::Deleted;
            let status = if is_gone {
                StatusCode::OK
            } else {
                StatusCode::ACCEPTED
            };
            Ok(answer(status, import))
        }
    }
}

/// Marks the import as being deleted; from here on the queue will see it through.
async fn begin(context: &Context, mut import: Import) -> Result<Import, Problem> {
    context.see_through(Action::TakeBack, import.id).await?;
    if import.status != Status::Deleting {
        let expected = import.version;
        import.status = Status::Deleting;
        import.next_day = None;
        import.updated_at = context.now();
        import.version += 1;
        let write = context
            .importer
            .store
            .save_import(&import, expected)
            .await
            .map_err(store_problem)?;
        if write == Write::Conflict {
            return Err(Problem::precondition_failed());
        }
    }
    Ok(import)
}

fn answer(status: StatusCode, import: Import) -> Response {
    (
        status,
        Version(import.version),
        Json(ImportBody::from(import)),
    )
        .into_response()
}
