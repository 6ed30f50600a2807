//! What can be wrong with a whole body.

use thiserror::Error;

/// Why a body is refused. [`BodyError::code`] is stable; the message is for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// Not JSON (RFC 8259), or nested deeper than [`MOST_DEPTH`](super::MOST_DEPTH).
    #[error("body is not JSON: expected {expected} at byte {offset}")]
    MalformedJson {
        /// Where, counted from 0.
        offset: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// Not UTF-8, which JSON is written in.
    #[error("body is not valid UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// Where the first wrong byte is, counted from 0.
        offset: usize,
    },
    /// More readings than [`Rules::most_readings`](super::Rules::most_readings).
    #[error("body has more than {limit} readings")]
    TooManyReadings {
        /// The limit it crossed.
        limit: usize,
    },
    /// JSON, but not an object.
    #[error("body is not an object")]
    NotAnObject,
    /// A member that the body must have is not there, or null.
    #[error("{field} is missing")]
    MissingField {
        /// That member.
        field: &'static str,
    },
    /// A member appears more than once.
    #[error("{field} appears more than once")]
    DuplicateField {
        /// That member.
        field: &'static str,
    },
    /// A member that a body does not have.
    #[error("body has a field other than device_id and readings")]
    UnknownField,
    /// Not the identifier of a device.
    #[error("device_id is not 1 to 100 letters, digits, dots, underscores, colons or hyphens")]
    InvalidDevice,
    /// The readings are not an array.
    #[error("readings is not an array")]
    InvalidReadings,
}

impl BodyError {
    /// The stable word for this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MalformedJson { .. } => "malformed-json",
            Self::InvalidUtf8 { .. } => "invalid-utf-8",
            Self::TooManyReadings { .. } => "too-many-readings",
            Self::NotAnObject => "not-an-object",
            Self::MissingField { .. } => "missing-field",
            Self::DuplicateField { .. } => "duplicate-field",
            Self::UnknownField => "unknown-field",
            Self::InvalidDevice => "invalid-device-id",
            Self::InvalidReadings => "invalid-readings",
        }
    }

    /// Where in a well-formed body, as a JSON Pointer (RFC 6901); empty for the body itself.
    #[must_use]
    pub const fn pointer(&self) -> &'static str {
        match self {
            Self::MissingField { field } | Self::DuplicateField { field } => match field.as_bytes()
            {
                b"device_id" => "/device_id",
                _ => "/readings",
            },
            Self::InvalidDevice => "/device_id",
            Self::InvalidReadings | Self::TooManyReadings { .. } => "/readings",
            _ => "",
        }
    }
}
