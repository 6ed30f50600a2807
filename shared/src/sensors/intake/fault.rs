//! What can be wrong with one reading.

use serde::Serialize;
use thiserror::Error;

use super::collector::MOST_METRICS;
use crate::sensors::model::MOST_METADATA_BYTES;

/// Most characters of the input that an error repeats.
const MOST_EXCERPT: usize = 40;

/// Why a reading is rejected. [`RowFault::code`] is stable; the message is for people.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RowFault {
    /// A line of NDJSON that is not JSON.
    #[error("line is not JSON")]
    MalformedJson,
    /// JSON, but not an object.
    #[error("reading is not an object")]
    NotAnObject,
    /// A line that is not line protocol.
    #[error("line is not line protocol")]
    MalformedLine,
    /// A line that is not UTF-8.
    #[error("line is not valid UTF-8")]
    InvalidUtf8,
    /// A member that no reading has.
    #[error("unknown field")]
    UnknownField,
    /// A member, or the tag `device_id`, more than once.
    #[error("field appears more than once")]
    DuplicateField,
    /// No `device_id`.
    #[error("device_id is missing")]
    MissingDevice,
    /// Not the identifier of a device.
    #[error("device_id is not 1 to 100 letters, digits, dots, underscores, colons or hyphens")]
    InvalidDevice,
    /// Not the name of a metric.
    #[error("metric is not 1 to 100 bytes of text without # and control characters")]
    InvalidMetric,
    /// One metric of its device more than a body may have.
    #[error("device has more than {MOST_METRICS} metrics in one body")]
    TooManyMetrics,
    /// No value, or null.
    #[error("value is missing")]
    MissingValue,
    /// A JSON value that is not a number.
    #[error("value is not a number")]
    InvalidValue,
    /// A string as a field of line protocol.
    #[error("field is a string, not a number")]
    NotANumber,
    /// NaN or an infinity as a field of line protocol.
    #[error("value is not finite")]
    NotFinite,
    /// A number too large for a double.
    #[error("value is beyond the range of a double")]
    NumberOutOfRange,
    /// An integer that a double cannot hold exactly.
    #[error("integer is beyond 2^53, up to which doubles are exact")]
    IntegerTooLarge,
    /// Neither a time of RFC 3339 nor an integer.
    #[error("timestamp is neither RFC 3339 with an offset nor an integer of milliseconds")]
    InvalidTimestamp,
    /// Before 1900 or after 9999.
    #[error("timestamp is not in the years 1900 to 9999")]
    TimestampOutOfRange,
    /// Older than what is kept, and the call is no backfill.
    #[error("timestamp is older than what is kept")]
    TooLate,
    /// Further ahead than clocks may be wrong.
    #[error("timestamp is in the future")]
    InTheFuture,
    /// Not text, too long, or with control characters.
    #[error("unit is not up to 32 bytes of text without control characters")]
    InvalidUnit,
    /// Neither true nor false.
    #[error("is_valid is neither true nor false")]
    InvalidIsValid,
    /// Not an object, or nested too deep, or with a number too large for a double.
    #[error("metadata is not an object of at most 8 levels")]
    InvalidMetadata,
    /// Longer than allowed.
    #[error("metadata is longer than {MOST_METADATA_BYTES} bytes without white space")]
    MetadataTooLarge,
    /// No device has this identifier.
    #[error("device is unknown")]
    UnknownDevice,
    /// The device is switched off.
    #[error("device is inactive")]
    InactiveDevice,
    /// The key the call came with is for other devices.
    #[error("key is not for this device")]
    DeviceNotAllowed,
}

impl RowFault {
    /// The stable word for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed-json",
            Self::NotAnObject => "not-an-object",
            Self::MalformedLine => "malformed-line",
            Self::InvalidUtf8 => "invalid-utf-8",
            Self::UnknownField => "unknown-field",
            Self::DuplicateField => "duplicate-field",
            Self::MissingDevice => "missing-device",
            Self::InvalidDevice => "invalid-device-id",
            Self::InvalidMetric => "invalid-metric",
            Self::TooManyMetrics => "too-many-metrics",
            Self::MissingValue => "missing-value",
            Self::InvalidValue => "invalid-value",
            Self::NotANumber => "not-a-number",
            Self::NotFinite => "not-finite",
            Self::NumberOutOfRange => "number-out-of-range",
            Self::IntegerTooLarge => "integer-too-large",
            Self::InvalidTimestamp => "invalid-timestamp",
            Self::TimestampOutOfRange => "timestamp-out-of-range",
            Self::TooLate => "too-late",
            Self::InTheFuture => "in-the-future",
            Self::InvalidUnit => "invalid-unit",
            Self::InvalidIsValid => "invalid-is-valid",
            Self::InvalidMetadata => "invalid-metadata",
            Self::MetadataTooLarge => "metadata-too-large",
            Self::UnknownDevice => "unknown-device",
            Self::InactiveDevice => "inactive-device",
            Self::DeviceNotAllowed => "device-not-allowed",
        }
    }

    /// This fault, found in `input`.
    pub(super) fn of(self, input: &str) -> Fault {
        Fault {
            fault: self,
            excerpt: excerpt(input),
        }
    }
}

/// One rejected reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// Which, counted from 0: its place in `readings`, or its line among those that are neither
    /// blank nor a comment.
    pub index: usize,
    /// The line of the body on which it begins, counted from 1.
    #[serde(skip)]
    pub line: usize,
    /// Why, as a stable word: see [`RowFault::code`].
    pub code: &'static str,
    /// Why, for people, with at most 40 characters of the input.
    pub detail: String,
}

/// A fault and what of the input shows it.
#[derive(Debug)]
pub(super) struct Fault {
    fault: RowFault,
    excerpt: String,
}

impl From<RowFault> for Fault {
    fn from(fault: RowFault) -> Self {
        fault.of("")
    }
}

impl Fault {
    /// The error of a row at this place.
    pub(super) fn at(self, index: usize, line: usize) -> RowError {
        let Self { fault, excerpt } = self;
        let detail = if excerpt.is_empty() {
            fault.to_string()
        } else {
            format!("{fault}: {excerpt}")
        };
        RowError {
            index,
            line,
            code: fault.code(),
            detail,
        }
    }
}

/// The beginning of a text, its control characters replaced.
fn excerpt(text: &str) -> String {
    let mut excerpt = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == MOST_EXCERPT {
            excerpt.push('…');
            break;
        }
        excerpt.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    excerpt
}
