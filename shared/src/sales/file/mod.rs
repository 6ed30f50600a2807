//! The sales file: the 19-column point-of-sale export, read without trusting any byte of it.
//!
//! [`Parser`] is pure and push-based: it is fed slices of a file, cut anywhere, and hands rows to a
//! [`Sink`]. What a file may look like:
//!
//! - UTF-8 with or without byte order mark, or Windows-1252 on a second try
//!   ([`FileError::restart_in`]); lines end in LF or CRLF; blank lines mean nothing.
//! - Cells are separated by `,`, `;` or tab, whichever makes sense of the header, and quoted as in
//!   RFC 4180. A quote inside an unquoted cell is an ordinary character.
//! - Columns come in any order; see [`Column::from_header`](super::model::Column::from_header).
//!   Columns that are not of the export are left out with a warning, optional ones may be missing.
//! - A row that breaks a rule is rejected alone. What makes the whole file doubtful is a
//!   [`FileError`]; nothing is ever dropped in silence.
//!
//! Memory is bounded by [`Limits`] whatever comes: one record at most is held back.

mod cell;
mod dialect;
mod error;
mod formula;
mod header_reader;
mod limits;
mod parser;
mod record_scanner;
mod record_writer;
mod row;
mod row_reader;
mod signature;

#[cfg(test)]
mod tests;

pub use dialect::{Delimiter, Dialect, Encoding};
pub use error::{FileError, FileFormat, RowError, RowErrorCode, Warning};
pub use formula::{defuse, undefuse};
pub use limits::Limits;
pub use parser::{Parser, Start, Summary};
pub use record_writer::write_record;
pub use row::{ParsedRow, RejectedRow, Sink};
