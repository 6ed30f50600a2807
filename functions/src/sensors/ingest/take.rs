//! Takes the readings of one request: parses, looks devices up, and puts into the queue what may be
//! written.

use jiff::{SignedDuration, Timestamp};
use shared::{
    platform::{
        ids,
        problem::{FieldError, Problem},
        telemetry::{Metrics, Unit},
    },
    sensors::{
        batch::{Batch, MOST_MESSAGE_BYTES},
        intake::{self, BodyError, Format, Intake, Refused, RowError, RowFault, Rules},
    },
};
use uuid::Uuid;

use super::{caller::CallingKey, context::Context};

/// How far ahead of ours a device's clock may be.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// A request's readings, to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Request<'b> {
    /// Who sends them.
    pub key: CallingKey,
    /// How they are written.
    pub format: Format,
    /// Whether readings of any age are taken.
    pub is_backfill: bool,
    /// The body, decompressed.
    pub body: &'b [u8],
}

/// What became of a request's readings.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// Some are in the queue.
    Some {
        /// How many.
        accepted: usize,
        /// How many were refused.
        rejected: usize,
        /// Why, the first hundred.
        errors: Vec<RowError>,
        /// Names those in the queue.
        batch: Uuid,
    },
    /// None is.
    None {
        /// How many were refused.
        rejected: usize,
        /// Why, the first hundred.
        errors: Vec<RowError>,
        /// The one reason, if it is one that concerns devices and not readings.
        reason: Option<RowFault>,
    },
}

/// Takes the readings of one request.
///
/// # Errors
///
/// A problem for a key that is not active, a body that cannot be read, or a dependency that is down;
/// then the readings may be sent again.
pub async fn take(context: &Context, request: Request<'_>) -> Result<Taken, Problem> {
    let key = context.keys.active(request.key.0).await;
    let key = key
        .map_err(Problem::from)?
        .ok_or_else(Problem::unauthorized)?;
    let now = context.clock.now();
    let rules = rules(context, &request, now);
    let parsed = intake::parse(request.format, request.body, &rules)
        .map_err(|error| body_problem(&error))?;
    let refused = context
        .registry
        .refused(&key, &parsed.readings.series)
        .await
        .map_err(Problem::from)?;
    let reason = only_reason(request.format, &parsed, &refused);
    let taken = if refused.is_empty() {
        parsed
    } else {
        // Rare enough to be read once more, so that every refused reading is told with its place.
        intake::parse_refusing(request.format, request.body, &rules, &refused)
            .map_err(|error| body_problem(&error))?
    };
    let accepted = taken.readings.len();
    let (rejected, errors) = (taken.rejected, taken.errors);
    if accepted == 0 {
        count(request.body.len(), 0, rejected, now);
        return Ok(Taken::None {
            rejected,
            errors,
            reason,
        });
    }
    let batch = Batch {
        id: ids::uuid_v7(now, context.random.bytes()),
        arrived: now.as_millisecond(),
        readings: taken.readings.deduplicate(),
    };
    let messages = batch
        .encode_messages(MOST_MESSAGE_BYTES)
        .map_err(Problem::internal)?;
    context.queue.send(&messages).await.map_err(|error| {
        if error.retryable() {
            Problem::unavailable(error)
        } else {
            Problem::internal(error)
        }
    })?;
    count(request.body.len(), accepted, rejected, now);
    Ok(Taken::Some {
        accepted,
        rejected,
        errors,
        batch: batch.id,
    })
}

fn rules(context: &Context, request: &Request<'_>, now: Timestamp) -> Rules {
    let now_ms = now.as_millisecond();
    let oldest = now_ms.saturating_sub(context.retention.milliseconds());
    Rules {
        now_ms,
        oldest_ms: (!request.is_backfill).then_some(oldest),
        latest_ms: now_ms.saturating_add(MOST_AHEAD.as_millis().try_into().unwrap_or(i64::MAX)),
        most_readings: request.format.most_readings(),
    }
}

/// Why nothing can be accepted, whatever the readings say: all devices are refused, for reasons that
/// are one to a caller. Of lines, a bad one is a reason of its own, for it may name any device.
fn only_reason(format: Format, parsed: &Intake, refused: &Refused) -> Option<RowFault> {
    let every_device = parsed
        .readings
        .series
        .iter()
        .all(|series| refused.contains_key(&series.device));
    if !every_device || (parsed.rejected > 0 && format != Format::Json) {
        return None;
    }
    let has = |fault| refused.values().any(|found| *found == fault);
    let (unknown, inactive, not_allowed) = (
        has(RowFault::UnknownDevice),
        has(RowFault::InactiveDevice),
        has(RowFault::DeviceNotAllowed),
    );
    match (unknown, inactive, not_allowed) {
        (true, _, false) => Some(RowFault::UnknownDevice),
        (false, true, false) => Some(RowFault::InactiveDevice),
        (false, false, true) => Some(RowFault::DeviceNotAllowed),
        _ => None,
    }
}

fn body_problem(error: &BodyError) -> Problem {
    let detail = error.to_string();
    match error {
        BodyError::MalformedJson { .. } | BodyError::InvalidUtf8 { .. } => {
            Problem::bad_request(error.code(), detail)
        }
        BodyError::TooManyReadings { .. } => {
            Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, error.code(), detail)
        }
        _ => Problem::unprocessable("invalid-body", detail.clone()).with_error(FieldError::new(
            error.pointer(),
            error.code(),
            detail,
        )),
    }
}

fn count(bytes: usize, accepted: usize, rejected: usize, now: Timestamp) {
    let whole = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut metrics = Metrics::from_env();
    metrics.count("ReadingsAccepted", whole(accepted));
    metrics.count("ReadingsRejected", whole(rejected));
    metrics.put("BodyBytes", Unit::Bytes, whole(bytes).into());
    metrics.flush(now);
}
