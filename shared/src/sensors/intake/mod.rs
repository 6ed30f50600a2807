//! Bodies of readings, in the three formats they come in, to [`Readings`].
//!
//! One pass over the bytes: names are borrowed from the body, values go straight into columns, no
//! tree is built. Memory is bounded by the body, which the caller bounds, nesting by
//! [`MOST_DEPTH`], and time by a constant factor of the body's length.
//!
//! A reading that is wrong is rejected alone, with a code and its place; a body that cannot be told
//! apart into readings is refused whole.
//!
//! Sources: RFC 8259 (JSON), <https://github.com/ndjson/ndjson-spec>, RFC 3339 (times),
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>, RFC 1952 (gzip).

mod collector;
mod error;
mod fault;
mod gzip;
mod json;
mod json_reading;
mod json_scanner;
mod line_protocol;
mod ndjson;
mod number;
mod timestamp;

pub use error::BodyError;
pub use fault::{RowError, RowFault};
pub use gzip::{InflateError, inflate, is_gzip};
pub use json_scanner::MOST_DEPTH;

use std::collections::HashMap;

use crate::sensors::readings::Readings;
use collector::Collector;

/// Most readings of a JSON body.
pub const MOST_JSON_READINGS: usize = 10_000;

/// Most readings of a body of lines.
pub const MOST_LINE_READINGS: usize = 50_000;

/// How many errors of rows are kept; all are counted.
pub const MOST_ERRORS: usize = 100;

/// How a body spells readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object: `{device_id, readings: [{metric?, timestamp?, value, unit?, is_valid?,
    /// metadata?}]}`.
    Json,
    /// A reading a line, each an object as above with its `device_id`; blank lines are skipped.
    Ndjson,
    /// `InfluxDB` line protocol: the tag `device_id` names the device, the fields are metrics, the
    /// measurement and other tags are read over.
    LineProtocol {
        /// The unit of the times.
        precision: Precision,
    },
}

impl Format {
    /// Most readings of a body, good and bad, that this format may have.
    #[must_use]
    pub const fn most_readings(self) -> usize {
        match self {
            Self::Json => MOST_JSON_READINGS,
            Self::Ndjson | Self::LineProtocol { .. } => MOST_LINE_READINGS,
        }
    }
}

/// The unit of times in line protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

impl Precision {
    /// The precision that `InfluxDB` calls `ns`, `us`, `ms` or `s`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ns" => Some(Self::Nanoseconds),
            "us" => Some(Self::Microseconds),
            "ms" => Some(Self::Milliseconds),
            "s" => Some(Self::Seconds),
            _ => None,
        }
    }

    /// A time in this unit in milliseconds, rounded down; `None` if it does not fit.
    const fn to_ms(self, time: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(time.div_euclid(1_000_000)),
            Self::Microseconds => Some(time.div_euclid(1_000)),
            Self::Milliseconds => Some(time),
            Self::Seconds => time.checked_mul(1_000),
        }
    }
}

/// What a call allows. Times are milliseconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// When the body arrived; the time of readings that name none.
    pub now_ms: i64,
    /// The earliest time allowed; `None` in a backfill, where any age is.
    pub oldest_ms: Option<i64>,
    /// The latest time allowed.
    pub latest_ms: i64,
    /// Most readings of the body, good and bad; see [`Format::most_readings`].
    pub most_readings: usize,
}

/// Devices that may not be written to, and why not.
pub type Refused = HashMap<String, RowFault>;

/// What a body held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intake {
    /// The good readings in order; their number is that of the accepted ones.
    pub readings: Readings,
    /// How many readings were rejected; a line of line protocol that cannot be read counts as one.
    pub rejected: usize,
    /// The first [`MOST_ERRORS`] of the rejected.
    pub errors: Vec<RowError>,
}

/// Reads a body, decompressed.
///
/// An empty body of lines, or one without readings, is an empty [`Intake`].
///
/// # Errors
/// [`BodyError`] if the body as a whole cannot be taken; then nothing of it is.
pub fn parse(format: Format, body: &[u8], rules: &Rules) -> Result<Intake, BodyError> {
    parse_refusing(format, body, rules, &Refused::new())
}

/// Reads a body as [`parse`] does, and rejects the readings of some devices.
///
/// # Errors
/// As [`parse`].
pub fn parse_refusing(
    format: Format,
    body: &[u8],
    rules: &Rules,
    refused: &Refused,
) -> Result<Intake, BodyError> {
    let collector = Collector::new(rules, refused);
    match format {
        Format::Json => json::parse(body, collector),
        Format::Ndjson => ndjson::parse(body, collector),
        Format::LineProtocol { precision } => line_protocol::parse(body, precision, collector),
    }
}

#[cfg(test)]
mod tests;
