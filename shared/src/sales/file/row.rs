//! The rows of a file, good or rejected.

use std::borrow::Cow;

use jiff::civil::Date;

use super::dialect::Dialect;
use super::error::RowError;
use crate::sales::identity::RowIdentity;
use crate::sales::model::{Amount, Column};

/// A good row, on loan for the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedRow<'a> {
    /// Row number: the header is row 1; blank lines count, lines inside quotes do not.
    pub row: u64,
    /// Offset in the file of the record's first byte.
    pub start: u64,
    /// Offset of the first byte after the record and its line end: where the next one starts.
    pub end: u64,
    /// Date of the sale.
    pub date: Date,
    /// Sale ID, trimmed; never empty.
    pub sale_id: &'a str,
    /// Item name, trimmed; never empty.
    pub item: &'a str,
    /// What was paid.
    pub total_paid: Amount,
    /// Every cell in the order of [`Column::ALL`], exactly as it came, unquoted but not trimmed;
    /// empty where the file lacks the column.
    pub cells: [&'a str; Column::COUNT],
}

impl<'a> ParsedRow<'a> {
    /// The cell of `column`, exactly as it came.
    #[must_use]
    pub fn cell(&self, column: Column) -> &'a str {
        self.cells[column as usize]
    }

    /// Which row this is, but for equal rows before it in the file.
    #[must_use]
    pub fn identity(&self) -> RowIdentity {
        RowIdentity::of(self.sale_id, self.date, self.item, self.total_paid)
    }
}

/// A rejected row, on loan for the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow<'a> {
    /// Row number, as in [`ParsedRow::row`].
    pub row: u64,
    /// Offset in the file of the record's first byte.
    pub start: u64,
    /// Offset of the first byte after the record and its line end.
    pub end: u64,
    /// Every cell in the order of the file, also those of extra columns, unquoted; a cell with
    /// malformed quoting stands here with its quotes.
    pub cells: &'a [Cow<'a, str>],
    /// Why it is rejected.
    pub error: RowError,
}

/// Takes the rows of a file, in their order.
pub trait Sink {
    /// The header was read: called once, before any row; not in a pass that resumes behind it.
    fn header(&mut self, _dialect: &Dialect) {}
    /// A good row.
    fn row(&mut self, row: &ParsedRow<'_>);
    /// A rejected row.
    fn rejected(&mut self, row: &RejectedRow<'_>);
}
