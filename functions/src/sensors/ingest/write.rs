//! `POST /api/v2/write`: line protocol, answered as `InfluxDB` 2 does, so that its clients can write
//! here.
//!
//! Statuses and bodies: <https://docs.influxdata.com/influxdb/v2/api/write-data/>. Clients drop what
//! is answered with 400, 404 or 422, split what is answered with 413, and send the rest again.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use serde::Serialize;
use shared::{
    platform::{
        http::{Json, Query},
        problem::Problem,
    },
    sensors::intake::{Format, Precision, RowError, RowFault},
};
use utoipa::ToSchema;

use super::{
    body::{media_type, plain},
    bulk::{missing, not_allowed},
    caller::CallingKey,
    context::Context,
    take::{Request, Taken, take},
};

/// Where `InfluxDB` repeats an error's code.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-platform-error-code");

/// Types that line protocol comes as: its own, none, and what tools send that were told none.
const TYPES: [&str; 3] = [
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
];

/// An error as `InfluxDB` 2 tells it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InfluxError {
    /// What kind of error.
    #[schema(example = "invalid")]
    code: &'static str,
    /// What is wrong.
    message: String,
    /// The first line of the body that was refused, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

/// Takes readings as line protocol.
#[utoipa::path(
    post, path = "/api/v2/write", tag = "sensors", operation_id = "writeLineProtocol",
    summary = "Take line protocol as InfluxDB 2 does",
    description = "For InfluxDB's clients and Telegraf's output `influxdb_v2`: the token is a device \
        key; `org` and `bucket` are taken and mean nothing. The tag `device_id` names the device, \
        fields are metrics. Lines that are refused do not keep the others out: the answer is 400 then, \
        naming the first of them. Errors are InfluxDB's `{code, message, line}`; those that \
        the gateway answers itself are problems that have these members too.",
    params(
        ("precision" = Option<String>, Query, description = "`ns` (unless said otherwise), `us`, `ms` or `s`"),
        ("org" = Option<String>, Query, description = "Means nothing"),
        ("bucket" = Option<String>, Query, description = "Means nothing"),
        ("backfill" = Option<bool>, Query, description = "Take readings older than raw data is kept"),
        ("Content-Encoding" = Option<String>, Header, pattern = "^(gzip|x-gzip|identity)$", description = "`gzip` or `identity`"),
    ),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 204, description = "Every line is accepted"),
        (status = 400, description = "Some lines, or all, are refused", body = InfluxError),
        (status = 401, description = "No key, or none that is active"),
        (status = 403, description = "The key is not for these devices", body = InfluxError),
        (status = 404, description = "The devices are unknown or inactive", body = InfluxError),
        (status = 413, description = "The body, or the number of readings, is too large", body = InfluxError),
        (status = 415, description = "The body is of another type or encoding", body = InfluxError),
        (status = 429, description = "The key's rate or quota is used up"),
        (status = 503, description = "Nothing is known to be accepted: send it again", body = InfluxError),
    ),
    security(("device_key" = [])),
)]
pub async fn write(
    State(context): State<Arc<Context>>,
    key: Result<CallingKey, Problem>,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match take_lines(&context, key, &query, &headers, &body).await {
        Ok(Taken::Some { errors, .. }) if errors.is_empty() => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(Taken::Some {
            accepted,
            rejected,
            errors,
            ..
        }) => partly(accepted, rejected, &errors),
        Ok(Taken::None {
            rejected,
            errors,
            reason,
        }) => match reason {
            Some(RowFault::DeviceNotAllowed) => failed(not_allowed()),
            Some(fault @ (RowFault::UnknownDevice | RowFault::InactiveDevice)) => {
                failed(missing(fault))
            }
            _ if errors.is_empty() => failed(Problem::bad_request(
                "no-readings",
                "writing requires points",
            )),
            _ => partly(0, rejected, &errors),
        },
        Err(problem) => failed(problem),
    }
}

async fn take_lines(
    context: &Context,
    key: Result<CallingKey, Problem>,
    query: &Query,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Taken, Problem> {
    let key = key?;
    let precision = query.parsed("precision", |name| {
        Precision::from_name(name).ok_or("valid precision units are ns, us, ms, and s")
    })?;
    if let Some(kind) = media_type(headers)?
        && !TYPES.contains(&kind.as_str())
    {
        return Err(Problem::unsupported_media_type("text/plain"));
    }
    let request = Request {
        key,
        format: Format::LineProtocol {
            precision: precision.unwrap_or_default(),
        },
        is_backfill: query.flag("backfill")?,
        body: &plain(headers, body)?,
    };
    take(context, request).await
}

/// 400, naming the first line that was refused.
fn partly(accepted: usize, rejected: usize, errors: &[RowError]) -> Response {
    let first = errors.first();
    let detail = first.map_or(String::new(), |error| {
        format!("; line {}: {}", error.line, error.detail)
    });
    let kind = if accepted == 0 {
        "nothing written"
    } else {
        "partial write"
    };
    let error = InfluxError {
        code: "invalid",
        message: format!("{kind}: {accepted} readings accepted, {rejected} refused{detail}"),
        line: first.map(|error| error.line),
    };
    let code = [(ERROR_CODE, error.code)];
    (StatusCode::BAD_REQUEST, code, Json(error)).into_response()
}

/// A problem in `InfluxDB`'s words, with the problem's status and headers.
fn failed(problem: Problem) -> Response {
    let code = match problem.status() {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not found",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_server_error() => "internal error",
        _ => "invalid",
    };
    let error = InfluxError {
        code,
        message: problem.detail().to_owned(),
        line: None,
    };
    let (mut parts, _) = problem.into_response().into_parts();
    // A code and a text have no way to fail.
    let body = serde_json::to_vec(&error).unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    parts
        .headers
        .insert(ERROR_CODE, HeaderValue::from_static(code));
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests;
