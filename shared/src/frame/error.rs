//! What can go wrong when a frame is built, written or read.

use thiserror::Error;

/// Why a frame could not be built, written or read.
///
/// None of these is transient: the same input fails the same way again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes do not begin like a frame, or are shorter than the shortest frame.
    #[error("not a column frame")]
    NotAFrame,
    /// The frame was written by a version of the format that this code does not know.
    #[error("column frame version {version} is not supported")]
    UnsupportedVersion {
        /// The version byte found.
        version: u8,
    },
    /// The checksum does not match the bytes before it.
    #[error("column frame checksum does not match")]
    Checksum,
    /// The checksum is right but the content contradicts itself, so it was not written by this
    /// format's writer.
    #[error("column frame is corrupt: {what}")]
    Corrupt {
        /// The rule that was broken.
        what: &'static str,
    },
    /// There are more rows than the limits or the format allow.
    #[error("column frame has {rows} rows, limit is {limit}")]
    TooManyRows {
        /// Rows found or declared.
        rows: u64,
        /// Rows allowed.
        limit: u64,
    },
    /// There are more columns than the limits or the format allow.
    #[error("column frame has {columns} columns, limit is {limit}")]
    TooManyColumns {
        /// Columns found or declared.
        columns: u64,
        /// Columns allowed.
        limit: u64,
    },
    /// The frame, or what it would decode to, takes more bytes than allowed.
    #[error("column frame needs more than the limit of {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// A column does not have as many values as the frame has rows.
    #[error("column {name} has {found} values, frame has {rows} rows")]
    LengthMismatch {
        /// The column.
        name: String,
        /// Values in the column.
        found: usize,
        /// Rows in the frame.
        rows: usize,
    },
    /// Two columns have the same name.
    #[error("column {name} appears twice")]
    DuplicateColumn {
        /// The name that appears twice.
        name: String,
    },
    /// The frame has no column of that name.
    #[error("column {name} is not in the frame")]
    UnknownColumn {
        /// The name asked for.
        name: String,
    },
    /// The column has another type than the caller needs.
    #[error("column {name} is {found}, not {expected}")]
    WrongType {
        /// The column.
        name: String,
        /// The type the caller asked for.
        expected: &'static str,
        /// The type the column has.
        found: &'static str,
    },
}

impl FrameError {
    pub(in crate::frame) const fn corrupt(what: &'static str) -> Self {
        Self::Corrupt { what }
    }
}
