//! `POST /api/sensors/devices/{id}/aggregates/recompute`: makes the roll-ups of a range anew.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::{
    platform::{
        caller::{Caller, Group},
        http::{Json, Query},
        ids::{BASE32_LENGTH, base32},
        problem::{FieldError, Problem},
    },
    sensors::{
        device::model::member_error,
        model::{DAY_MS, DeviceId, EARLIEST_MS, Hour, LATEST_MS},
        rules::{Lane, Touched},
    },
};
use utoipa::ToSchema;

use super::{
    context::Context,
    problem::{body_problem, store_problem},
};

/// Most days of one call.
const MOST_DAYS: i64 = 31;

/// The range whose roll-ups are made anew.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct RecomputeRange {
    /// From here on, in whole UTC hours.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// Up to here, at most 31 days later.
    #[schema(value_type = String, format = DateTime)]
    end: Timestamp,
}

/// What will be made anew.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recomputation {
    /// The device.
    #[schema(value_type = String)]
    device_id: DeviceId,
    /// Hours whose roll-ups are made anew, with those of their days.
    hours: usize,
}

/// Has the roll-ups of a range made anew from the readings that are stored.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown device, a bad range, or a table that is down.
#[utoipa::path(
    post, path = "/api/sensors/devices/{id}/aggregates/recompute", tag = "sensors",
    operation_id = "recomputeAggregates",
    summary = "Make the roll-ups of a range anew from the readings that are stored",
    description = "The aggregator does it within its next runs. Minutes whose readings have expired keep their \
        roll-ups. Asking twice does no harm.",
    params(("id" = String, Path, description = "The device")),
    request_body = RecomputeRange,
    responses(
        (status = 202, description = "It will be done", body = Recomputation),
        (status = 404, description = "No such device, or it is deleted"),
        (status = 422, description = "What is wrong with which member"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn recompute(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let Json(body) = body?;
    let (first, last) = hours(&body).map_err(body_problem)?;
    let device_id = context.device(&id).await?.device_id;
    let touched: Vec<Touched> = (first.number()..=last.number())
        .map(|hour| Touched {
            device: device_id.clone(),
            metric: None,
            hour: Hour::new(hour),
        })
        .collect();
    let now = context.clock.now().as_millisecond();
    let [random] = context.random.bytes();
    let shard = Lane::Backlog.shard(random);
    let entry = base32(u128::from_le_bytes(context.random.bytes()), BASE32_LENGTH);
    context
        .store
        .note(&touched, now, shard, &entry)
        .await
        .map_err(store_problem)?;
    let body = Recomputation {
        device_id,
        hours: touched.len(),
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// The first and the last hour of the range that a body names.
fn hours(body: &Value) -> Result<(Hour, Hour), Vec<FieldError>> {
    let Some(members) = body.as_object() else {
        let detail = "the body must be a JSON object";
        return Err(vec![FieldError::new("", "invalid-value", detail)]);
    };
    let mut errors: Vec<FieldError> = members
        .keys()
        .filter(|name| !["start", "end"].contains(&name.as_str()))
        .take(100)
        .map(|name| member_error(name, "unknown-field", "a range has no such member"))
        .collect();
    let mut time = |name: &str| {
        let time = members.get(name).and_then(Value::as_str);
        let time = time.and_then(|text| text.parse::<Timestamp>().ok());
        let time = time
            .map(Timestamp::as_millisecond)
            .filter(|ms| (EARLIEST_MS..=LATEST_MS + 1).contains(ms));
        if time.is_none() {
            let detail = format!("{name} must be an RFC 3339 time from 1900 to 9999");
            errors.push(member_error(name, "invalid-value", detail));
        }
        time
    };
    let range = (time("start"), time("end"));
    if let (Some(start), Some(end)) = range {
        if end <= start {
            errors.push(member_error(
                "end",
                "end-before-start",
                "end must be after start",
            ));
        } else if end - start > MOST_DAYS * DAY_MS {
            let detail = format!("the range may have {MOST_DAYS} days");
            errors.push(member_error("end", "range-too-long", detail));
        } else if errors.is_empty() {
            return Ok((Hour::of(start), Hour::of(end - 1)));
        }
    }
    Err(errors)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_range_is_all_the_hours_it_touches() {
        let number = |start: &str, end: &str| {
            let (first, last) = hours(&json!({"start": start, "end": end})).unwrap();
            last.number() - first.number() + 1
        };
        assert_eq!(
            number("2026-11-20T15:59:59.999Z", "2026-11-20T16:00:00.001Z"),
            2
        );
        assert_eq!(
            number("2026-11-20T15:00:00Z", "2026-11-20T17:00:00+01:00"),
            1
        );
        assert_eq!(number("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"), 744);
    }

    #[test]
    fn a_bad_range_is_refused_with_every_fault() {
        let codes = |body: Value| -> Vec<String> {
            let errors = hours(&body).unwrap_err().into_iter();
            errors
                .map(|error| format!("{} {}", error.pointer, error.code))
                .collect()
        };
        assert_eq!(codes(json!([])), [" invalid-value"]);
        assert_eq!(
            codes(json!({"end": "soon", "from": 1})),
            [
                "/from unknown-field",
                "/start invalid-value",
                "/end invalid-value"
            ]
        );
        let range = |end: &str| codes(json!({"start": "2026-10-01T00:00:00Z", "end": end}));
        assert_eq!(range("2026-10-01T00:00:00Z"), ["/end end-before-start"]);
        assert_eq!(range("2026-11-01T00:00:00.001Z"), ["/end range-too-long"]);
    }
}
