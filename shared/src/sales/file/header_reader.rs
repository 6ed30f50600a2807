//! Finds the header, and with it the dialect.

use super::cell;
use super::dialect::{Delimiter, Dialect, Encoding, familiarity, is_error_column};
use super::error::FileError;
use super::formula::undefuse;
use super::limits::Limits;
use super::record_scanner::{RecordScanner, ScanError, Scanned, spans};

/// Finds out the delimiter: the header is scanned with every one at once, and the first under
/// which it has all the required columns is right.
#[derive(Debug)]
pub(super) struct HeaderReader {
    encoding: Encoding,
    byte_order_mark: bool,
    limits: Limits,
    /// What a header may ask while it is not known whether it is an errors file's.
    pub(super) room: Limits,
    /// The number of the header's row.
    pub(super) row: u64,
    /// Where in the file the header begins.
    pub(super) offset: u64,
    attempts: [Attempt; Delimiter::ALL.len()],
}

#[derive(Debug)]
struct Attempt {
    delimiter: Delimiter,
    scanner: RecordScanner,
    /// Why this delimiter is not the right one, and how many headers it made sense of.
    refused: Option<(usize, FileError)>,
}

impl HeaderReader {
    pub(super) fn new(encoding: Encoding, byte_order_mark: bool, limits: Limits) -> Self {
        let room = limits.of_errors_file();
        let attempts = Delimiter::ALL.map(|delimiter| Attempt {
            delimiter,
            scanner: RecordScanner::new(delimiter.byte(), room.columns),
            refused: None,
        });
        Self {
            encoding,
            byte_order_mark,
            limits,
            room,
            row: 1,
            offset: 0,
            attempts,
        }
    }

    /// How many bytes of blank lines, or of indentation, stand before the header.
    pub(super) fn skip_blank(&mut self, slice: &[u8]) -> usize {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\r' | b'\n');
        let blank = slice.iter().take_while(is_blank).count();
        self.row += memchr::memchr_iter(b'\n', &slice[..blank]).count() as u64;
        blank
    }

    /// Reads on behind the `known` bytes of `carry`; the dialect and where the rows begin, when
    /// the header is whole.
    pub(super) fn read(
        &mut self,
        carry: &[u8],
        known: usize,
    ) -> Result<Option<(Dialect, usize)>, FileError> {
        for at in 0..self.attempts.len() {
            let attempt = &mut self.attempts[at];
            if attempt.refused.is_some() {
                continue;
            }
            let position = u32::try_from(known).unwrap_or(u32::MAX);
            let end = match attempt.scanner.scan(carry, known, position) {
                Ok(Scanned::More) => continue,
                Ok(Scanned::Record(end)) => Ok(end + 1),
                Err(error) => Err(error),
            };
            if let Some(found) = self.judge(at, carry, end) {
                return Ok(Some(found));
            }
        }
        if self
            .attempts
            .iter()
            .any(|attempt| attempt.refused.is_none())
        {
            return Ok(None);
        }
        Err(self.best_refusal())
    }

    /// Ends a header that has no line end; `carry` is the whole of it.
    pub(super) fn end_of_file(&mut self, carry: &[u8]) -> Result<(Dialect, usize), FileError> {
        if carry.is_empty() {
            return Err(FileError::Empty);
        }
        for at in 0..self.attempts.len() {
            let attempt = &mut self.attempts[at];
            if attempt.refused.is_some() {
                continue;
            }
            if attempt.scanner.in_quotes() {
                let (row, limit) = (self.row, self.limits.header_bytes);
                let error = if carry.len() > limit {
                    FileError::RecordTooLarge {
                        row,
                        limit,
                        in_quotes: true,
                    }
                } else {
                    FileError::UnclosedQuote { row }
                };
                attempt.refused = Some((0, error));
                continue;
            }
            let position = u32::try_from(carry.len()).unwrap_or(u32::MAX);
            let end = attempt.scanner.end_of_file(position).map(|()| carry.len());
            if let Some(found) = self.judge(at, carry, end) {
                return Ok(found);
            }
        }
        Err(self.best_refusal())
    }

    /// The dialect if this delimiter is the right one; else the attempt is refused.
    fn judge(
        &mut self,
        at: usize,
        carry: &[u8],
        end: Result<usize, ScanError>,
    ) -> Option<(Dialect, usize)> {
        let attempt = &mut self.attempts[at];
        let judged = match end {
            Err(error) => Err((0, FileError::from_scan(error, self.row, &self.limits))),
            Ok(end) => match header_cells(carry, &attempt.scanner, self.encoding) {
                Err(valid) => {
                    let offset = self.offset + valid as u64;
                    Err((
                        0,
                        FileError::not_utf8(self.byte_order_mark, self.row, offset),
                    ))
                }
                Ok(cells) => {
                    let familiar = familiarity(&cells);
                    let length = length(&attempt.scanner);
                    let delimiter = attempt.delimiter;
                    let found = match over_limits(&cells, length, self.row, &self.limits) {
                        Some(error) => Err(error),
                        None => Dialect::new(self.encoding, self.byte_order_mark, delimiter, cells),
                    };
                    found
                        .map(|dialect| (dialect, end))
                        .map_err(|error| (familiar, error))
                }
            },
        };
        judged
            .map_err(|refusal| attempt.refused = Some(refusal))
            .ok()
    }

    /// The refusal of the delimiter that made most sense; failing that, the first that says more
    /// than that headers are missing.
    fn best_refusal(&mut self) -> FileError {
        let refusals = self
            .attempts
            .iter_mut()
            .filter_map(|attempt| attempt.refused.take());
        let telling = |error: &FileError| !matches!(error, FileError::MissingHeaders { .. });
        refusals
            .rev()
            .max_by_key(|(familiar, error)| (*familiar, telling(error)))
            .map_or(FileError::Empty, |(_, error)| error)
    }

    /// Why a header longer than the limit, `carry`, is refused.
    pub(super) fn too_large(&mut self, carry: &[u8]) -> FileError {
        let row = self.row;
        let mut refused = self
            .attempts
            .iter()
            .filter_map(|attempt| attempt.refused.as_ref());
        let too_many = |error: &&FileError| matches!(error, FileError::TooManyColumns { .. });
        if let Some(error) = refused.by_ref().map(|(_, error)| error).find(too_many) {
            return error.clone();
        }
        let limit = self.limits.header_bytes;
        let mut open = self
            .attempts
            .iter()
            .filter(|attempt| attempt.refused.is_none());
        match open.next() {
            Some(attempt) if attempt.scanner.is_past_return(carry.len()) => {
                FileError::LoneCarriageReturn { row }
            }
            Some(attempt) => {
                let in_quotes = attempt.scanner.in_quotes();
                FileError::RecordTooLarge {
                    row,
                    limit,
                    in_quotes,
                }
            }
            None => self.best_refusal(),
        }
    }
}

/// Why a header of `length` bytes with these cells is more than the limits allow. The columns of an
/// errors file do not count, nor how its text is written: what it is about was within the limits.
fn over_limits(cells: &[String], length: usize, row: u64, limits: &Limits) -> Option<FileError> {
    let own = || cells.iter().filter(|name| !is_error_column(name));
    let is_errors_file = own().count() < cells.len();
    let text: usize = own().map(|name| undefuse(name).len()).sum();
    let length = if is_errors_file { 0 } else { length };
    if own().count() > limits.columns {
        let limit = limits.columns;
        return Some(FileError::TooManyColumns { row, limit });
    }
    (length.max(text) > limits.header_bytes).then_some(FileError::RecordTooLarge {
        row,
        limit: limits.header_bytes,
        in_quotes: false,
    })
}

/// How long a header is that the scanner has found the end of.
fn length(scanner: &RecordScanner) -> usize {
    scanner.ends().last().map_or(0, |end| *end as usize)
}

/// The header's cells, or how many bytes of it are valid UTF-8.
fn header_cells(
    record: &[u8],
    scanner: &RecordScanner,
    encoding: Encoding,
) -> Result<Vec<String>, usize> {
    let length = length(scanner);
    if encoding == Encoding::Utf8 {
        std::str::from_utf8(&record[..length]).map_err(|error| error.valid_up_to())?;
    }
    let cells = spans(scanner.ends()).map(|(start, end)| {
        let (cell, _) = cell::decode(&record[start..end], encoding);
        cell.into_owned()
    });
    Ok(cells.collect())
}
