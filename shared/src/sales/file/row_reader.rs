//! Reads the records behind the header.

use std::borrow::Cow;

use super::cell;
use super::dialect::{Dialect, Encoding};
use super::error::{CellFault, FileError, RowError, RowErrorCode, Warning};
use super::limits::Limits;
use super::record_scanner::{RecordScanner, Scanned, spans};
use super::row::{ParsedRow, RejectedRow, Sink};
use crate::sales::model::{Amount, Column, parse_date};

/// Reads the records behind the header.
#[derive(Debug)]
pub(super) struct RowReader {
    pub(super) dialect: Dialect,
    limits: Limits,
    /// The longest record, as it stands in the file.
    longest: usize,
    scanner: RecordScanner,
    /// The number of the record under way.
    row: u64,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) blank: u64,
    pub(super) warnings: Vec<Warning>,
}

/// A whole record, its line end not included.
struct Record<'a> {
    bytes: &'a [u8],
    ends: &'a [u32],
    any_quoted: bool,
    row: u64,
    start: u64,
    end: u64,
}

enum Verdict {
    Good,
    Rejected,
    Blank,
}

impl RowReader {
    /// A reader whose first record has number `row`.
    pub(super) fn new(dialect: Dialect, limits: Limits, row: u64) -> Self {
        let room = if dialect.is_errors_file() {
            limits.of_errors_file()
        } else {
            limits
        };
        let scanner = RecordScanner::new(dialect.delimiter().byte(), room.columns);
        Self {
            dialect,
            limits,
            longest: room.record_bytes,
            scanner,
            row,
            rows: 0,
            rejected: 0,
            blank: 0,
            warnings: Vec::new(),
        }
    }

    /// Reads a slice whose first byte has `offset` in the file, behind the bytes in `carry`.
    pub(super) fn slice(
        &mut self,
        slice: &[u8],
        offset: u64,
        carry: &mut Vec<u8>,
        sink: &mut impl Sink,
    ) -> Result<(), FileError> {
        let mut from = 0;
        loop {
            let carried = carry.len();
            let room = self.longest - carried;
            let window = slice.len().min(from + room + 1);
            let position = u32::try_from(carried).unwrap_or(u32::MAX);
            let scanned = self
                .scanner
                .scan(&slice[..window], from, position)
                .map_err(|error| FileError::from_scan(error, self.row, &self.limits))?;
            match scanned {
                Scanned::Record(end) => {
                    let start = offset + from as u64 - carried as u64;
                    let next = offset + end as u64 + 1;
                    if carried == 0 {
                        self.record(&slice[from..end], start, next, sink)?;
                    } else {
                        carry.extend_from_slice(&slice[from..end]);
                        self.record(carry, start, next, sink)?;
                        carry.clear();
                    }
                    from = end + 1;
                }
                Scanned::More if window - from > room => {
                    if self.scanner.is_past_return(carried + window - from) {
                        return Err(FileError::LoneCarriageReturn { row: self.row });
                    }
                    return Err(FileError::RecordTooLarge {
                        row: self.row,
                        limit: self.longest,
                        in_quotes: self.scanner.in_quotes(),
                    });
                }
                Scanned::More => {
                    carry.extend_from_slice(&slice[from..]);
                    return Ok(());
                }
            }
        }
    }

    /// Ends the file at `offset`; `carry` is a last record that has no line end.
    pub(super) fn end_of_file(
        &mut self,
        carry: &[u8],
        offset: u64,
        sink: &mut impl Sink,
    ) -> Result<(), FileError> {
        if carry.is_empty() {
            return Ok(());
        }
        if self.scanner.in_quotes() {
            return Err(FileError::UnclosedQuote { row: self.row });
        }
        let position = u32::try_from(carry.len()).unwrap_or(u32::MAX);
        self.scanner
            .end_of_file(position)
            .map_err(|error| FileError::from_scan(error, self.row, &self.limits))?;
        self.record(carry, offset - carry.len() as u64, offset, sink)
    }

    /// Judges the record that the scanner has just found the end of.
    fn record(
        &mut self,
        bytes: &[u8],
        start: u64,
        end: u64,
        sink: &mut impl Sink,
    ) -> Result<(), FileError> {
        let ends = self.scanner.ends();
        let length = ends.last().map_or(0, |end| *end as usize);
        let record = Record {
            bytes: &bytes[..length],
            ends,
            any_quoted: self.scanner.any_quoted(),
            row: self.row,
            start,
            end,
        };
        match self.judge(&record, sink)? {
            Verdict::Good => self.rows += 1,
            Verdict::Rejected => self.rejected += 1,
            Verdict::Blank => self.blank += 1,
        }
        self.row += 1;
        self.scanner.reset();
        Ok(())
    }

    fn judge(&self, record: &Record<'_>, sink: &mut impl Sink) -> Result<Verdict, FileError> {
        let delimiter = self.dialect.delimiter().byte();
        let is_blank = |byte: &u8| *byte == delimiter || matches!(byte, b' ' | b'\t');
        if record.bytes.iter().all(is_blank) {
            return Ok(Verdict::Blank);
        }
        let text = match self.dialect.encoding() {
            Encoding::Utf8 => match std::str::from_utf8(record.bytes) {
                Ok(text) => Some(text),
                Err(error) => {
                    let offset = record.start + error.valid_up_to() as u64;
                    let mark = self.dialect.byte_order_mark();
                    return Err(FileError::not_utf8(mark, record.row, offset));
                }
            },
            Encoding::Windows1252 if record.bytes.is_ascii() => {
                std::str::from_utf8(record.bytes).ok()
            }
            Encoding::Windows1252 => None,
        };
        let plain = text.filter(|_| {
            !record.any_quoted
                && !self.dialect.is_errors_file()
                && record.ends.len() == self.dialect.header().len()
                && record.bytes.len() <= self.limits.cell_bytes
        });
        if let Some(text) = plain {
            let mut cells = [""; Column::COUNT];
            for column in Column::ALL {
                if let Some(at) = self.dialect.position(column) {
                    let start = if at == 0 {
                        0
                    } else {
                        record.ends[at - 1] as usize + 1
                    };
                    cells[column as usize] = &text[start..record.ends[at] as usize];
                }
            }
            if let Ok(row) = check(record, &cells) {
                sink.row(&row);
                return Ok(Verdict::Good);
            }
        }
        Ok(self.judge_slowly(record, sink))
    }

    /// Every cell on its own, for quotes, apostrophes, Windows-1252 and rejected rows.
    fn judge_slowly(&self, record: &Record<'_>, sink: &mut impl Sink) -> Verdict {
        let mut fault = None;
        let mut length = 0;
        let cells: Vec<Cow<'_, str>> = spans(record.ends)
            .enumerate()
            .map(|(at, (start, end))| {
                let (cell, well_quoted) =
                    cell::decode(&record.bytes[start..end], self.dialect.encoding());
                let cell = if self.dialect.is_errors_file() {
                    cell::bare(cell)
                } else {
                    cell
                };
                if !self.dialect.is_error_column(at) {
                    length += cell.len();
                }
                if cell.len() > self.limits.cell_bytes {
                    fault.get_or_insert((at, CellFault::TooLarge(self.limits.cell_bytes)));
                } else if !well_quoted {
                    fault.get_or_insert((at, CellFault::Quoting));
                }
                cell
            })
            .collect();
        let most = self.limits.record_bytes;
        let error = match fault {
            Some((at, fault)) => self.cell_error(record.row, at, &cells[at], fault),
            None if length > most => {
                let message = format!("row has more than {most} bytes of text");
                RowError::row(record.row, RowErrorCode::RowTooLarge, message)
            }
            None => match self.check_slowly(record, &cells) {
                Ok(row) => {
                    sink.row(&row);
                    return Verdict::Good;
                }
                Err(error) => error,
            },
        };
        let Record {
            row, start, end, ..
        } = *record;
        sink.rejected(&RejectedRow {
            row,
            start,
            end,
            cells: &cells,
            error,
        });
        Verdict::Rejected
    }

    fn check_slowly<'a>(
        &self,
        record: &Record<'_>,
        cells: &'a [Cow<'a, str>],
    ) -> Result<ParsedRow<'a>, RowError> {
        let expected = self.dialect.header().len();
        let found = cells.len();
        if found != expected {
            let code = if found < expected {
                RowErrorCode::TooFewCells
            } else {
                RowErrorCode::TooManyCells
            };
            let message = format!("row has {found} cells, the header has {expected}");
            return Err(RowError::row(record.row, code, message));
        }
        let in_order = Column::ALL.map(|column| match self.dialect.position(column) {
            Some(at) => &*cells[at],
            None => "",
        });
        check(record, &in_order).map_err(|(column, fault)| {
            RowError::cell(record.row, Some(column), in_order[column as usize], fault)
        })
    }

    /// The error of the cell at a position in the file, which may be that of an extra column.
    fn cell_error(&self, row: u64, at: usize, value: &str, fault: CellFault) -> RowError {
        let column = Column::ALL
            .into_iter()
            .find(|column| self.dialect.position(*column) == Some(at));
        RowError::cell(row, column, value, fault)
    }
}

/// Checks the values of a row whose form is right.
fn check<'a>(
    record: &Record<'_>,
    cells: &[&'a str; Column::COUNT],
) -> Result<ParsedRow<'a>, (Column, CellFault)> {
    let value = |column: Column| cell::value(cells[column as usize]);
    let required = |column| value(column).ok_or((column, CellFault::Missing));
    let number =
        |column, text| Amount::parse(text).map_err(|error| (column, CellFault::Number(error)));

    let date = required(Column::SaleDate)?;
    let date = parse_date(date).map_err(|error| (Column::SaleDate, CellFault::Date(error)))?;
    let sale_id = required(Column::SaleId)?;
    let item = required(Column::ItemName)?;
    let mut total_paid = Amount::ZERO;
    // Total paid is the last of them, so its value is the one that stays.
    for column in Column::NUMERIC {
        if let Some(text) = value(column) {
            total_paid = number(column, text)?;
        } else if column == Column::TotalPaid {
            return Err((column, CellFault::Missing));
        }
    }
    let Record {
        row, start, end, ..
    } = *record;
    Ok(ParsedRow {
        row,
        start,
        end,
        date,
        sale_id,
        item,
        total_paid,
        cells: *cells,
    })
}
