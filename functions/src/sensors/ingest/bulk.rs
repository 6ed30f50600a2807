//! `POST /api/sensors/readings/bulk`: readings as JSON, NDJSON or line protocol.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use shared::{
    platform::{
        http::{Json, Query},
        problem::{FieldError, Problem},
    },
    sensors::intake::{Format, Precision, RowError, RowFault},
};
use utoipa::ToSchema;

use super::{
    body::{media_type, plain},
    caller::CallingKey,
    context::Context,
    take::{Request, Taken, take},
};

const TYPES: &str = "application/json, application/x-ndjson or text/plain (line protocol)";

/// What became of the readings.
#[derive(Debug, Serialize, ToSchema)]
pub struct IngestReport {
    /// Readings that are stored, or will be shortly; one sent before counts as well.
    accepted: usize,
    /// Readings that were refused.
    rejected: usize,
    /// Why, the first 100.
    errors: Vec<ReadingError>,
    /// Names the accepted readings.
    #[schema(example = "019aa1c2-7d3e-7c41-9f7a-0b1c2d3e4f50")]
    batch_id: String,
}

/// Why one reading was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadingError {
    /// Its place, from 0: in `readings`, or among the lines that are neither blank nor a comment.
    index: usize,
    /// Stable kebab-case word.
    #[schema(example = "too-late")]
    code: &'static str,
    /// What is wrong.
    detail: String,
}

impl From<RowError> for ReadingError {
    fn from(error: RowError) -> Self {
        Self {
            index: error.index,
            code: error.code,
            detail: error.detail,
        }
    }
}

/// Readings of one device.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the body in the API's document")]
pub struct DeviceReadings {
    /// The device, 1 to 100 of `A-Z a-z 0-9 . _ : -`.
    #[schema(example = "pump-1")]
    device_id: String,
    /// Its readings, 1 to 10,000.
    readings: Vec<ReadingBody>,
}

/// One reading.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewReading)]
#[expect(dead_code, reason = "describes the body in the API's document")]
pub struct ReadingBody {
    /// What was measured; `value` if it is not said.
    metric: Option<String>,
    /// When: RFC 3339 with an offset, or a whole number of milliseconds since 1970. Now, if it is not
    /// said. Kept to the millisecond.
    #[schema(example = "2026-11-20T15:50:28.123Z")]
    timestamp: Option<String>,
    /// The value, a finite number.
    #[schema(example = 21.5)]
    value: f64,
    /// Its unit, at most 32 bytes.
    unit: Option<String>,
    /// Whether the device trusts it; statistics leave out what it does not.
    is_valid: Option<bool>,
    /// Whatever belongs to it, at most 1,024 bytes.
    metadata: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Takes readings.
///
/// # Errors
///
/// A problem for a body that cannot be read, readings that are all refused, a device that is unknown
/// or not the key's, or a service that is down.
#[utoipa::path(
    post, path = "/api/sensors/readings/bulk", tag = "sensors", operation_id = "ingestReadings",
    summary = "Take readings of one device as JSON, or of many as NDJSON or line protocol",
    description = "What is accepted is durable when the answer comes. A reading that is refused does \
        not keep the others out. A reading is known by device, metric and millisecond: the same one \
        again changes nothing, another value for it replaces the first. So a request may be repeated.\n\n\
        A body has at most 4 MiB, before and after decompression (`Content-Encoding: gzip`); JSON \
        has at most 10,000 readings, NDJSON and line protocol 50,000. NDJSON is a reading a line, each \
        with its `device_id`. In line protocol the tag `device_id` names the device and fields are \
        metrics.\n\n\
        A change of a device, or of a key, may take a minute to be seen here.",
    params(
        ("backfill" = Option<bool>, Query, description = "Take readings older than raw data is kept"),
        ("precision" = Option<String>, Query, description = "Of line protocol: `ns` (unless said otherwise), `us`, `ms` or `s`"),
        ("Content-Encoding" = Option<String>, Header, pattern = "^(gzip|x-gzip|identity)$", description = "`gzip` or `identity`"),
    ),
    request_body(content(
        (DeviceReadings = "application/json"),
        (String = "application/x-ndjson"),
        (String = "text/plain"),
    )),
    responses(
        (status = 202, description = "Some readings, or all, are accepted", body = IngestReport),
        (status = 400, description = "The body cannot be read"),
        (status = 401, description = "No key, or none that is active"),
        (status = 403, description = "The key is not for these devices"),
        (status = 404, description = "The devices are unknown or inactive"),
        (status = 413, description = "The body, or the number of readings, is too large"),
        (status = 415, description = "The body is of another type or encoding"),
        (status = 422, description = "Every reading is refused; `errors` says why"),
        (status = 429, description = "The key's rate or quota is used up"),
        (status = 503, description = "Nothing is known to be accepted: send it again"),
    ),
    security(("device_key" = [])),
)]
pub async fn bulk(
    State(context): State<Arc<Context>>,
    key: CallingKey,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    query.only(&["backfill", "precision"])?;
    let format = format(&query, &headers)?;
    let is_backfill = query.flag("backfill")?;
    let body = plain(&headers, &body)?;
    let request = Request {
        key,
        format,
        is_backfill,
        body: &body,
    };
    match take(&context, request).await? {
        Taken::Some {
            accepted,
            rejected,
            errors,
            batch,
        } => {
            let report = IngestReport {
                accepted,
                rejected,
                errors: errors.into_iter().map(ReadingError::from).collect(),
                batch_id: batch.to_string(),
            };
            Ok((StatusCode::ACCEPTED, Json(report)).into_response())
        }
        Taken::None { errors, reason, .. } => Err(refusal(errors, reason)),
    }
}

fn format(query: &Query, headers: &HeaderMap) -> Result<Format, Problem> {
    let precision = query.parsed("precision", |name| {
        Precision::from_name(name).ok_or("must be ns, us, ms or s")
    })?;
    let format = match media_type(headers)?.as_deref() {
        Some("application/json") => Format::Json,
        Some("application/x-ndjson") => Format::Ndjson,
        Some("text/plain") => Format::LineProtocol {
            precision: precision.unwrap_or_default(),
        },
        _ => return Err(Problem::unsupported_media_type(TYPES)),
    };
    if precision.is_some() && !matches!(format, Format::LineProtocol { .. }) {
        return Err(Problem::invalid_query(FieldError::query(
            "precision",
            "invalid-parameter",
            "precision is for line protocol only",
        )));
    }
    Ok(format)
}

fn refusal(errors: Vec<RowError>, reason: Option<RowFault>) -> Problem {
    let problem = match reason {
        Some(RowFault::DeviceNotAllowed) => not_allowed(),
        Some(fault @ (RowFault::UnknownDevice | RowFault::InactiveDevice)) => missing(fault),
        _ if errors.is_empty() => {
            Problem::unprocessable("no-readings", "the body holds no readings")
        }
        _ => Problem::unprocessable("no-valid-readings", "every reading is refused"),
    };
    problem.with_errors(errors.into_iter().map(|error| {
        let pointer = format!("/readings/{}", error.index);
        FieldError::new(pointer, error.code, error.detail)
    }))
}

/// The key is for other devices.
#[must_use]
pub fn not_allowed() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        RowFault::DeviceNotAllowed.code(),
        "the key is not for this device",
    )
}

/// The device is unknown, or inactive.
#[must_use]
pub fn missing(fault: RowFault) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, fault.code(), fault.to_string())
}

#[cfg(test)]
mod tests;
