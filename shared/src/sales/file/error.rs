//! What can be wrong with a file, with a row of it, or merely worth a warning.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::dialect::Encoding;
use super::limits::Limits;
use super::record_scanner::ScanError;
use crate::sales::model::{AmountError, Column, DateError};

/// Why a whole file is refused. [`FileError::code`] is stable; the message is for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileError {
    /// No header and no row.
    #[error("file is empty")]
    Empty,
    /// The first record is not a header with every required column.
    #[error("required columns are missing from the header: {}", names(.columns))]
    MissingHeaders {
        /// The required columns it does not have.
        columns: Vec<Column>,
    },
    /// Two columns of the header are the same column of the export.
    #[error("column appears more than once in the header: {column}")]
    DuplicateHeader {
        /// That column.
        column: Column,
    },
    /// The first bytes are those of another file format.
    #[error("file is {format}, not CSV")]
    NotCsv {
        /// The format the bytes belong to.
        format: FileFormat,
    },
    /// Text, in UTF-16 or UTF-32.
    #[error("file is encoded in {encoding}, save it as UTF-8")]
    UnsupportedEncoding {
        /// The encoding's name.
        encoding: &'static str,
    },
    /// Not UTF-8, and no byte order mark promised it: [`FileError::restart_in`] tells what to try.
    #[error("row {row} at byte {offset} is not valid UTF-8")]
    NotUtf8 {
        /// Number of the row.
        row: u64,
        /// Where in the file the first wrong byte is.
        offset: u64,
    },
    /// Not UTF-8, although a byte order mark promised it.
    #[error("row {row} at byte {offset} is not valid UTF-8, which the byte order mark promises")]
    InvalidUtf8 {
        /// Number of the row.
        row: u64,
        /// Where in the file the first wrong byte is.
        offset: u64,
    },
    /// A NUL byte, which no text has.
    #[error("file is binary: NUL at byte {offset}")]
    Binary {
        /// Where in the file it is.
        offset: u64,
    },
    /// The file ends inside a quoted cell, so any number of rows may have been swallowed.
    #[error("a quote opened in row {row} is never closed")]
    UnclosedQuote {
        /// Number of the row where the quote was opened.
        row: u64,
    },
    /// A carriage return outside quotes that no line feed follows.
    #[error("row {row} has a carriage return without line feed, save the file with CRLF or LF")]
    LoneCarriageReturn {
        /// Number of the row.
        row: u64,
    },
    /// A record longer than [`Limits::record_bytes`](super::Limits::record_bytes), or a header
    /// longer than [`Limits::header_bytes`](super::Limits::header_bytes).
    #[error("row {row} is longer than {limit} bytes{}", if *.in_quotes { ", a quote may not be closed" } else { "" })]
    RecordTooLarge {
        /// Number of the row.
        row: u64,
        /// The limit it crossed, in bytes.
        limit: usize,
        /// Whether the limit was crossed inside a quoted cell.
        in_quotes: bool,
    },
    /// More cells in a record than [`Limits::columns`](super::Limits::columns).
    #[error("row {row} has more than {limit} columns")]
    TooManyColumns {
        /// Number of the row.
        row: u64,
        /// The limit it crossed.
        limit: usize,
    },
}

fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    names.join(", ")
}

impl FileError {
    /// The stable word for this error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty-file",
            Self::MissingHeaders { .. } => "missing-headers",
            Self::DuplicateHeader { .. } => "duplicate-header",
            Self::NotCsv { .. } => "not-a-csv-file",
            Self::UnsupportedEncoding { .. } => "unsupported-encoding",
            Self::NotUtf8 { .. } => "not-utf-8",
            Self::InvalidUtf8 { .. } => "invalid-utf-8",
            Self::Binary { .. } => "binary-file",
            Self::UnclosedQuote { .. } => "unclosed-quote",
            Self::LoneCarriageReturn { .. } => "lone-carriage-return",
            Self::RecordTooLarge { .. } => "record-too-large",
            Self::TooManyColumns { .. } => "too-many-columns",
        }
    }

    pub(super) const fn from_scan(error: ScanError, row: u64, limits: &Limits) -> Self {
        match error {
            ScanError::LoneCarriageReturn => Self::LoneCarriageReturn { row },
            ScanError::TooManyCells => Self::TooManyColumns {
                row,
                limit: limits.columns,
            },
        }
    }

    pub(super) const fn not_utf8(byte_order_mark: bool, row: u64, offset: u64) -> Self {
        if byte_order_mark {
            Self::InvalidUtf8 { row, offset }
        } else {
            Self::NotUtf8 { row, offset }
        }
    }

    /// The encoding in which reading the file again from its beginning may succeed, everything
    /// read so far forgotten. `None` when the error is final.
    #[must_use]
    pub const fn restart_in(&self) -> Option<Encoding> {
        match self {
            Self::NotUtf8 { .. } => Some(Encoding::Windows1252),
            _ => None,
        }
    }
}

/// A file format that is not CSV, known by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is described by its Display text")]
pub enum FileFormat {
    Pdf,
    Zip,
    Gzip,
    Ole,
    Zstandard,
    Bzip2,
    Xz,
    SevenZip,
    Parquet,
    Png,
    Jpeg,
}

impl std::fmt::Display for FileFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pdf => "a PDF document",
            Self::Zip => "a ZIP archive or an Excel workbook",
            Self::Gzip => "a gzip archive",
            Self::Ole => "an Excel 97-2003 workbook or another OLE document",
            Self::Zstandard => "a Zstandard archive",
            Self::Bzip2 => "a bzip2 archive",
            Self::Xz => "an xz archive",
            Self::SevenZip => "a 7-Zip archive",
            Self::Parquet => "a Parquet file",
            Self::Png => "a PNG image",
            Self::Jpeg => "a JPEG image",
        })
    }
}

/// Why one row is rejected. The row's first fault in the order of the export's columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// Number of the row, the header being row 1 (blank lines count, lines inside quotes do not).
    pub row: u64,
    /// The column at fault; `None` when the whole row is.
    pub column: Option<Column>,
    /// The cell as it came, cut after 100 characters; empty when the whole row is at fault.
    pub value: String,
    /// The stable word for the fault.
    pub code: RowErrorCode,
    /// The fault in words for people.
    pub message: Cow<'static, str>,
}

impl RowError {
    /// Characters of a cell that [`RowError::value`] keeps.
    pub const VALUE_CHARS: usize = 100;

    pub(super) fn cell(row: u64, column: Option<Column>, value: &str, fault: CellFault) -> Self {
        Self {
            row,
            column,
            value: value.chars().take(Self::VALUE_CHARS).collect(),
            code: fault.code(),
            message: fault.message(),
        }
    }

    pub(super) fn row(row: u64, code: RowErrorCode, message: String) -> Self {
        Self {
            row,
            column: None,
            value: String::new(),
            code,
            message: message.into(),
        }
    }
}

/// The stable word for what is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowErrorCode {
    /// Fewer cells than the header has.
    TooFewCells,
    /// More cells than the header has.
    TooManyCells,
    /// Text after the closing quote of a cell.
    MalformedQuoting,
    /// A cell longer than [`Limits::cell_bytes`](super::Limits::cell_bytes).
    CellTooLarge,
    /// More text in all cells together than
    /// [`Limits::record_bytes`](super::Limits::record_bytes).
    RowTooLarge,
    /// A required cell is empty or `---`.
    MissingValue,
    /// Not a date in an accepted spelling, or not a day of the calendar.
    InvalidDate,
    /// A year outside 1900 to 2999.
    DateOutOfRange,
    /// Not a number in the accepted spelling.
    InvalidNumber,
    /// More than five decimals.
    TooManyDecimals,
    /// A number too large to hold.
    NumberOutOfRange,
}

impl RowErrorCode {
    /// The word, in kebab case, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooFewCells => "too-few-cells",
            Self::TooManyCells => "too-many-cells",
            Self::MalformedQuoting => "malformed-quoting",
            Self::CellTooLarge => "cell-too-large",
            Self::RowTooLarge => "row-too-large",
            Self::MissingValue => "missing-value",
            Self::InvalidDate => "invalid-date",
            Self::DateOutOfRange => "date-out-of-range",
            Self::InvalidNumber => "invalid-number",
            Self::TooManyDecimals => "too-many-decimals",
            Self::NumberOutOfRange => "number-out-of-range",
        }
    }
}

impl std::fmt::Display for RowErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a cell.
#[derive(Clone, Copy, Debug)]
pub(super) enum CellFault {
    Missing,
    Quoting,
    TooLarge(usize),
    Date(DateError),
    Number(AmountError),
}

impl CellFault {
    const fn code(self) -> RowErrorCode {
        match self {
            Self::Missing => RowErrorCode::MissingValue,
            Self::Quoting => RowErrorCode::MalformedQuoting,
            Self::TooLarge(_) => RowErrorCode::CellTooLarge,
            Self::Date(DateError::Invalid) => RowErrorCode::InvalidDate,
            Self::Date(DateError::OutOfRange) => RowErrorCode::DateOutOfRange,
            Self::Number(AmountError::Invalid) => RowErrorCode::InvalidNumber,
            Self::Number(AmountError::TooManyDecimals) => RowErrorCode::TooManyDecimals,
            Self::Number(AmountError::OutOfRange) => RowErrorCode::NumberOutOfRange,
        }
    }

    fn message(self) -> Cow<'static, str> {
        match self {
            Self::Missing => "a value is required".into(),
            Self::Quoting => "text after the closing quote".into(),
            Self::TooLarge(limit) => format!("cell is longer than {limit} bytes").into(),
            Self::Date(error) => error.to_string().into(),
            Self::Number(error) => error.to_string().into(),
        }
    }
}

/// What is worth telling about a file that was read nevertheless.
#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum Warning {
    /// Columns that are not of the export were left out.
    #[error("columns left out: {}", .columns.join(", "))]
    ExtraColumns {
        /// Their headers, trimmed.
        columns: Vec<String>,
    },
    /// The file is not UTF-8 and was read as Windows-1252.
    #[error("file is not UTF-8 and was read as Windows-1252")]
    #[serde(rename = "windows-1252")]
    Windows1252,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_code_prints_as_it_is_serialised() {
        use RowErrorCode as Code;
        for code in [
            Code::TooFewCells,
            Code::TooManyCells,
            Code::MalformedQuoting,
            Code::CellTooLarge,
            Code::RowTooLarge,
            Code::MissingValue,
            Code::InvalidDate,
            Code::DateOutOfRange,
            Code::InvalidNumber,
            Code::TooManyDecimals,
            Code::NumberOutOfRange,
        ] {
            let json = serde_json::to_string(&code).expect("a unit variant serialises");
            assert_eq!(json, format!("\"{code}\""));
        }
    }

    #[test]
    fn a_row_error_has_its_wire_format() {
        let fault = CellFault::Date(DateError::Invalid);
        let error = RowError::cell(7, Some(Column::SaleDate), &"é".repeat(101), fault);
        let json = serde_json::to_string(&error).expect("plain data serialises");
        let value = "é".repeat(100);
        assert_eq!(
            json,
            format!(
                "{{\"row\":7,\"column\":\"Sale Date\",\"value\":\"{value}\",\"code\":\"invalid-date\",\
                 \"message\":\"not a date, expected M/D/YYYY or YYYY-MM-DD\"}}"
            )
        );
        assert_eq!(serde_json::from_str::<RowError>(&json).ok(), Some(error));
    }

    #[test]
    fn warnings_have_their_wire_format() {
        let warnings = [
            Warning::Windows1252,
            Warning::ExtraColumns {
                columns: vec!["Staff".to_owned()],
            },
        ];
        let json = serde_json::to_string(&warnings).expect("plain data serialises");
        insta::assert_snapshot!(json, @r#"[{"code":"windows-1252"},{"code":"extra-columns","columns":["Staff"]}]"#);
    }
}
