//! The parser: slices of a file in, rows out.

use memchr::memchr;

use super::dialect::{Dialect, Encoding};
use super::error::{FileError, Warning};
use super::header_reader::HeaderReader;
use super::limits::Limits;
use super::row::Sink;
use super::row_reader::RowReader;
use super::signature::{self, BYTE_ORDER_MARK, SIGNATURE_BYTES};

/// Where in a file the first slice comes from.
#[derive(Clone, Debug)]
pub enum Start {
    /// The beginning of the file, whose bytes mean characters in this encoding. Begin with
    /// [`Encoding::Utf8`]; [`FileError::restart_in`] tells when to try another.
    Beginning(Encoding),
    /// The first byte of a record behind the header, as
    /// [`ParsedRow::start`](super::ParsedRow::start) and [`ParsedRow::end`](super::ParsedRow::end)
    /// tell.
    Resume {
        /// What an earlier pass learned from the file's beginning.
        dialect: Dialect,
        /// That byte's offset in the file.
        offset: u64,
        /// That record's row number.
        row: u64,
    },
}

/// What a file held, once all of it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Good rows.
    pub rows: u64,
    /// Rejected rows.
    pub rejected: u64,
    /// Lines with nothing but blanks and delimiters, which mean nothing.
    pub blank: u64,
    /// Bytes fed.
    pub bytes: u64,
    /// What deserves attention; empty for a pass that did not start at the beginning.
    pub warnings: Vec<Warning>,
    /// How the file spells the export.
    pub dialect: Dialect,
}

/// Reads one sales file; see [the module](super) for what that may be.
///
/// ```
/// use shared::sales::file::{Encoding, Limits, ParsedRow, Parser, RejectedRow, Sink, Start};
///
/// #[derive(Default)]
/// struct Totals(Vec<String>);
///
/// impl Sink for Totals {
///     fn row(&mut self, row: &ParsedRow<'_>) {
///         self.0.push(row.total_paid.to_string());
///     }
///     fn rejected(&mut self, row: &RejectedRow<'_>) {
///         self.0.push(row.error.code.to_string());
///     }
/// }
///
/// let mut totals = Totals::default();
/// let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
/// parser.feed(b"Sale Date;Sale ID;Item name;Total Paid\n3/1/2025;7;Te", &mut totals)?;
/// parser.feed(b"a;1,288.50\n2/30/2025;8;Tea;2\n", &mut totals)?;
/// let summary = parser.finish(&mut totals)?;
///
/// assert_eq!(totals.0, ["1288.5", "invalid-date"]);
/// assert_eq!((summary.rows, summary.rejected), (1, 1));
/// # Ok::<(), shared::sales::file::FileError>(())
/// ```
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    stage: Stage,
    /// The bytes of the record under way that came with earlier slices.
    carry: Vec<u8>,
    /// Offset in the file of the first byte that was not yet fed.
    fed: u64,
    bytes: u64,
    failed: Option<FileError>,
}

#[derive(Debug)]
enum Stage {
    Signature(Encoding),
    Header(Box<HeaderReader>),
    Rows(Box<RowReader>),
}

impl Parser {
    /// A parser that waits for the bytes at `start`.
    #[must_use]
    pub fn new(start: Start, limits: Limits) -> Self {
        let limits = limits.clamped();
        let (stage, fed) = match start {
            Start::Beginning(encoding) => (Stage::Signature(encoding), 0),
            Start::Resume {
                dialect,
                offset,
                row,
            } => {
                let reader = RowReader::new(dialect, limits, row);
                (Stage::Rows(Box::new(reader)), offset)
            }
        };
        Self {
            limits,
            stage,
            carry: Vec::new(),
            fed,
            bytes: 0,
            failed: None,
        }
    }

    /// How the file spells the export, once its header was read.
    #[must_use]
    pub fn dialect(&self) -> Option<&Dialect> {
        match &self.stage {
            Stage::Rows(reader) => Some(&reader.dialect),
            Stage::Signature(_) | Stage::Header(_) => None,
        }
    }

    /// Reads the next slice of the file, however it is cut.
    ///
    /// # Errors
    /// [`FileError`] when the file as a whole must be refused. The rows handed out before then
    /// are void, and every later call returns the same error.
    pub fn feed(&mut self, slice: &[u8], sink: &mut impl Sink) -> Result<(), FileError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.bytes += slice.len() as u64;
        let outcome = self.begin(slice, sink);
        if let Err(error) = &outcome {
            self.failed = Some(error.clone());
            self.carry = Vec::new();
        }
        outcome
    }

    /// Ends the file: a last record need not end in a line feed.
    ///
    /// # Errors
    /// [`FileError`], as [`Parser::feed`]; in addition when the file ends too early.
    pub fn finish(mut self, sink: &mut impl Sink) -> Result<Summary, FileError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if matches!(self.stage, Stage::Signature(_)) {
            self.leave_signature(sink)?;
        }
        if let Stage::Header(header) = &mut self.stage {
            let (dialect, end) = header.end_of_file(&self.carry)?;
            self.enter_rows(dialect, end, sink)?;
        }
        let Stage::Rows(mut reader) = self.stage else {
            return Err(FileError::Empty);
        };
        reader.end_of_file(&self.carry, self.fed, sink)?;
        Ok(Summary {
            rows: reader.rows,
            rejected: reader.rejected,
            blank: reader.blank,
            bytes: self.bytes,
            warnings: reader.warnings,
            dialect: reader.dialect,
        })
    }

    fn begin(&mut self, slice: &[u8], sink: &mut impl Sink) -> Result<(), FileError> {
        if !matches!(self.stage, Stage::Signature(_)) {
            return self.advance(slice, sink);
        }
        let (head, rest) = slice.split_at(slice.len().min(SIGNATURE_BYTES - self.carry.len()));
        self.carry.extend_from_slice(head);
        if self.carry.len() < SIGNATURE_BYTES {
            return Ok(());
        }
        self.leave_signature(sink)?;
        self.advance(rest, sink)
    }

    fn leave_signature(&mut self, sink: &mut impl Sink) -> Result<(), FileError> {
        let Stage::Signature(encoding) = self.stage else {
            return Ok(());
        };
        let head = std::mem::take(&mut self.carry);
        signature::check(&head)?;
        let text = head.strip_prefix(BYTE_ORDER_MARK);
        let byte_order_mark = text.is_some();
        // A byte order mark outdoes whatever the caller believes.
        let encoding = if byte_order_mark {
            Encoding::Utf8
        } else {
            encoding
        };
        let text = text.unwrap_or(&head);
        self.fed = (head.len() - text.len()) as u64;
        let header = HeaderReader::new(encoding, byte_order_mark, self.limits);
        self.stage = Stage::Header(Box::new(header));
        self.advance(text, sink)
    }

    /// Reads on in the header or in the rows, up to a NUL.
    fn advance(&mut self, slice: &[u8], sink: &mut impl Sink) -> Result<(), FileError> {
        let nul = memchr(0, slice);
        let text = &slice[..nul.unwrap_or(slice.len())];
        match &mut self.stage {
            Stage::Rows(reader) => {
                reader.slice(text, self.fed, &mut self.carry, sink)?;
                self.fed += text.len() as u64;
            }
            Stage::Header(_) | Stage::Signature(_) => self.header(text, sink)?,
        }
        match nul {
            Some(_) => Err(FileError::Binary { offset: self.fed }),
            None => Ok(()),
        }
    }

    fn header(&mut self, slice: &[u8], sink: &mut impl Sink) -> Result<(), FileError> {
        let Stage::Header(header) = &mut self.stage else {
            return Ok(());
        };
        let slice = if self.carry.is_empty() {
            let blank = header.skip_blank(slice);
            self.fed += blank as u64;
            header.offset = self.fed;
            &slice[blank..]
        } else {
            slice
        };
        let most = header.room.header_bytes;
        let room = (most + 1).saturating_sub(self.carry.len());
        let (taken, rest) = slice.split_at(slice.len().min(room));
        let known = self.carry.len();
        self.carry.extend_from_slice(taken);
        self.fed += taken.len() as u64;
        match header.read(&self.carry, known)? {
            Some((dialect, end)) => {
                self.enter_rows(dialect, end, sink)?;
                self.advance(rest, sink)
            }
            None if self.carry.len() > most => Err(header.too_large(&self.carry)),
            None => Ok(()),
        }
    }

    /// Leaves the header, which ends before `end` of the carried bytes; the rest are rows.
    fn enter_rows(
        &mut self,
        dialect: Dialect,
        end: usize,
        sink: &mut impl Sink,
    ) -> Result<(), FileError> {
        let row = match &self.stage {
            Stage::Header(header) => header.row + 1,
            Stage::Signature(_) | Stage::Rows(_) => 2,
        };
        let mut warnings = Vec::new();
        if dialect.encoding() == Encoding::Windows1252 {
            warnings.push(Warning::Windows1252);
        }
        let columns: Vec<String> = dialect.extra_columns().map(str::to_owned).collect();
        if !columns.is_empty() {
            warnings.push(Warning::ExtraColumns { columns });
        }
        sink.header(&dialect);
        let mut reader = Box::new(RowReader::new(dialect, self.limits, row));
        reader.warnings = warnings;
        let header = std::mem::take(&mut self.carry);
        let rest = &header[end..];
        let outcome = reader.slice(rest, self.fed - rest.len() as u64, &mut self.carry, sink);
        self.stage = Stage::Rows(reader);
        outcome
    }
}
