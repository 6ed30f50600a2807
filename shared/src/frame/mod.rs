//! The column frame: one compact binary format for many small records in one table item.
//!
//! A [`Frame`] is a set of equally long, named, typed columns. Sensors keep an hour's readings in
//! one, sales a day's rows. Tables bill by the KiB, so the format is made for size first: a day of
//! 2,740 sales rows of 21 columns takes 3 to 5 bytes a row, one of 30 rows well under a KiB.
//!
//! Invariants:
//! - What was put in comes out, to the bit: float payloads, every way to write a number as text,
//!   order of rows and columns.
//! - Decoding is total: any bytes give a frame or a [`FrameError`], within [`Limits`].
//! - The same frame gives the same bytes, for one version of the libraries below.
//! - A frame of an older version stays readable: `golden/` holds frames of every version.
//!
//! # Bytes of version 1
//!
//! Notation: `u8` is a byte; `varint` is unsigned LEB128 of at most 64 bits; `zigzag` is a varint
//! holding a signed integer as 0, -1, 1, -2 … ↦ 0, 1, 2, 3 …; `block` is a varint length and that
//! many bytes; `rest` is everything up to the end of what encloses it. Fixed-width integers are
//! little-endian. Sums and differences of integers wrap at 64 bits.
//!
//! ```text
//! frame    = 0xCF  0x01  rows:varint  columns:varint  pool:packed  section:block × columns  checksum
//! checksum = XXH3-64 (seed 0) of all bytes before it, 8 bytes
//! packed   = length:varint  stored:varint  bytes × stored
//! ```
//!
//! `packed` holds `length` bytes: as they are if `stored = length`, otherwise as one zstd frame
//! that was made with the raw-content dictionary `PRESET` of `strings.rs`.
//!
//! **The pool** holds texts, each a `block` of UTF-8: first the column names, in order and without
//! repetition, then what each text column keeps there, in order. Nothing else.
//!
//! **A section** is a column:
//!
//! ```text
//! section  = tag:u8  [scale:u8]  [pooled:varint]  layout
//! tag      = type (low 4 bits: 0 int, 1 float, 2 decimal, 3 bool, 4 text) + layout (high 4 bits)
//! scale    = places after the point; only if decimal
//! pooled   = bytes that the column has in the pool; only if text
//! layout 0 = list(rows):rest                                               plain
//!        1 = list(1):rest                                                  one value in all rows
//!        2 = distinct:varint  parents:varint  parent:varint × parents
//!            list(distinct):block  symbols:rest                            dictionary and symbols
//!        3 = source:varint  exceptions:varint
//!            [places(exceptions):block  list(exceptions):rest]             another column over again
//! ```
//!
//! The bracket of layout 3 is there if `exceptions > 0`. `source` is the number of an earlier
//! column of the same type, from 0. `places(n)` is a list of `n` integers, ascending row numbers:
//! each counts the rows skipped since the one before.
//!
//! **Lists** of `n` values take no bytes if `n = 0`, and otherwise:
//!
//! - *int*, *decimal*: `u8` of encoding (low 4 bits) and order (high 4 bits, 0 to 2), then by
//!   encoding: 0, `zigzag × n`; 1, a range-coded stream (below); 2 (order 0), a wrapped `pco` file
//!   of 64-bit signed integers: header, one chunk's metadata, one page of `n`, neither look-back
//!   nor dictionary; 3 (order 0), a grid: `step:varint  base:zigzag  block  rest`, where the block is
//!   an integer list of the `n - 1` slots each value advances, the rest one of the `n - 1`
//!   residuals, neither itself a grid, and value `i` is `base + (sum of advances) · step +
//!   residual`. With an order above 0 what is listed are differences: order 1 replaces all values
//!   but the first by the difference to the one before, order 2 then does so again for all but the
//!   first two.
//! - *float*: `u8` of encoding, then: 0, the IEEE 754 bits, 8 bytes each; 1, a wrapped `pco` file of
//!   doubles, as above; 2, `scale:u8  exceptions:varint  [places(exceptions):block  bits × exceptions]
//!   int list:rest`, the value being the integer divided by `10^scale` in double arithmetic, and an
//!   exception's integer ignored.
//! - *bool*: one bit each, lowest first, in whole bytes.
//! - *text*: `u8` of encoding, then: 0, nothing, the texts are the next `n` of the pool; 1,
//!   `lengths:block  packed`, an integer list of byte lengths and the texts end to end; 2 to 4,
//!   numbers as written (below). 0x10 is added to the last if some are not numbers:
//!   then `exceptions:varint  places:block  list:block` comes first, the list being a text list of
//!   encoding 0 or 1, and the numbers are those of the other places.
//!   A number is written with an optional minus, no needless leading zero and its digits after the
//!   point: 2, `digits:u8  mantissas`, all with so many; 3, the same, but zeros at the end are left
//!   out, with the point if nothing follows it; 4, `digits:block  mantissas`, an integer list
//!   of the digits of each. `mantissas:rest` is an integer list.
//!
//! **Range-coded streams** use the LZMA range coder's arithmetic: 32-bit range, kept at or above
//! 2^24 by whole bytes, starting at 2^32 - 1; the first byte, always zero, is left out, as are zero
//! bytes at the end. A decision is coded with the probability that it is *false*: a model starts at
//! 2^15 (of 2^16) and moves towards each decision by ⌊655,360 / (10 s + 16)⌋ / 2^16 of the
//! distance to 0 or 65,535, rounded down, `s` counting the decisions seen, at most 126. Coding
//! uses its upper 12 bits, at least 1; the bound is `(range >> 12) · share`, and *false* takes what
//! is below. A `tree` of `b` bits codes a number high bit first, with a model for each prefix. `raw`
//! bits halve the range, one below.
//!
//! - *Integers*: the bit length (0 to 64) of the zigzag form is a tree of 7 bits, of three sets chosen by
//!   the length before (0; 1 to 4; above; 0 at first); then up to two bits after the leading one are a
//!   tree, one set for each length; then the others are raw.
//! - *Symbols*: rows in order, each a number into the column's dictionary, which is in order of
//!   first appearance. A parent is 0, the row before, or `c + 1`, the symbol that column `c`
//!   (layout 2, in no cycle) has in this row. For each parent and each of its symbols the coder remembers
//!   the last symbol seen beside it, and a trust from 0 to 7 that grows by one when that symbol
//!   recurs and is halved when not. The first parent that remembers anything predicts: one
//!   decision, in the context of parent and trust, says whether it is right. If not, or if none
//!   predicts, one decision says whether the symbol is new (in the context of the predicting parent, or
//!   none; left out when no symbol was seen yet, then it is, or all were, then it is not), and
//!   an old one is a tree of ⌈log2 distinct⌉ bits.

mod column;
mod decode;
mod encode;
mod entropy;
mod error;
mod floats;
mod integers;
mod limits;
mod number_text;
mod strings;
mod symbols;
mod text;
mod wire;

pub use column::{Column, DecimalColumn, TextColumn};
pub use error::FrameError;
pub use limits::Limits;

const MAGIC: u8 = 0xcf;
const VERSION: u8 = 1;

const INT: u8 = 0;
const FLOAT: u8 = 1;
const DECIMAL: u8 = 2;
const BOOL: u8 = 3;
const TEXT: u8 = 4;

const LAYOUT_SHIFT: u8 = 4;
const PLAIN: u8 = 0;
const CONSTANT: u8 = 1;
const SYMBOLS: u8 = 2;
const COPY: u8 = 3;

fn kind(column: &Column) -> u8 {
    match column {
        Column::Int(_) => INT,
        Column::Float(_) => FLOAT,
        Column::Decimal(_) => DECIMAL,
        Column::Bool(_) => BOOL,
        Column::Text(_) => TEXT,
    }
}

/// Named columns of equal length, in an order that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    rows: usize,
    columns: Vec<(String, Column)>,
}

impl Frame {
    /// A frame of `rows` rows and no columns yet.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            columns: Vec::new(),
        }
    }

    /// Adds a column after the others.
    ///
    /// # Errors
    /// [`FrameError::LengthMismatch`] unless the column has a value for each row,
    /// [`FrameError::DuplicateColumn`] when the name is taken, [`FrameError::TooManyRows`] and
    /// [`FrameError::TooManyColumns`] beyond [`Limits::FORMAT`].
    pub fn push(&mut self, name: impl Into<String>, column: Column) -> Result<(), FrameError> {
        let name = name.into();
        if column.len() != self.rows {
            return Err(FrameError::LengthMismatch {
                name,
                found: column.len(),
                rows: self.rows,
            });
        }
        if self.rows > Limits::FORMAT.rows {
            return Err(FrameError::TooManyRows {
                rows: self.rows as u64,
                limit: Limits::FORMAT.rows as u64,
            });
        }
        if self.columns.len() >= Limits::FORMAT.columns {
            return Err(FrameError::TooManyColumns {
                columns: self.columns.len() as u64 + 1,
                limit: Limits::FORMAT.columns as u64,
            });
        }
        if self.columns.iter().any(|(taken, _)| *taken == name) {
            return Err(FrameError::DuplicateColumn { name });
        }
        self.columns.push((name, column));
        Ok(())
    }

    /// A frame of the given columns, which must agree in length; no columns make no rows.
    ///
    /// # Errors
    /// As [`Frame::push`].
    pub fn from_columns<N: Into<String>>(
        columns: impl IntoIterator<Item = (N, Column)>,
    ) -> Result<Self, FrameError> {
        let mut columns = columns.into_iter().peekable();
        let mut frame = Self::new(columns.peek().map_or(0, |(_, column)| column.len()));
        for (name, column) in columns {
            frame.push(name, column)?;
        }
        Ok(frame)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns with their names, in order.
    #[must_use]
    pub fn columns(&self) -> &[(String, Column)] {
        &self.columns
    }

    /// The columns with their names, in order, taken out of the frame.
    #[must_use]
    pub fn into_columns(self) -> Vec<(String, Column)> {
        self.columns
    }

    /// The column of that name, if there is one.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find_map(|(known, column)| (known == name).then_some(column))
    }

    /// The integers of a column.
    ///
    /// # Errors
    /// [`FrameError::UnknownColumn`] or [`FrameError::WrongType`].
    pub fn ints(&self, name: &str) -> Result<&[i64], FrameError> {
        match self.require(name)? {
            Column::Int(values) => Ok(values),
            other => Err(wrong_type(name, "int", other)),
        }
    }

    /// The floats of a column.
    ///
    /// # Errors
    /// [`FrameError::UnknownColumn`] or [`FrameError::WrongType`].
    pub fn floats(&self, name: &str) -> Result<&[f64], FrameError> {
        match self.require(name)? {
            Column::Float(values) => Ok(values),
            other => Err(wrong_type(name, "float", other)),
        }
    }

    /// The decimals of a column.
    ///
    /// # Errors
    /// [`FrameError::UnknownColumn`] or [`FrameError::WrongType`].
    pub fn decimals(&self, name: &str) -> Result<&DecimalColumn, FrameError> {
        match self.require(name)? {
            Column::Decimal(values) => Ok(values),
            other => Err(wrong_type(name, "decimal", other)),
        }
    }

    /// The truth values of a column.
    ///
    /// # Errors
    /// [`FrameError::UnknownColumn`] or [`FrameError::WrongType`].
    pub fn bools(&self, name: &str) -> Result<&[bool], FrameError> {
        match self.require(name)? {
            Column::Bool(values) => Ok(values),
            other => Err(wrong_type(name, "bool", other)),
        }
    }

    /// The texts of a column.
    ///
    /// # Errors
    /// [`FrameError::UnknownColumn`] or [`FrameError::WrongType`].
    pub fn texts(&self, name: &str) -> Result<&TextColumn, FrameError> {
        match self.require(name)? {
            Column::Text(values) => Ok(values),
            other => Err(wrong_type(name, "text", other)),
        }
    }

    fn require(&self, name: &str) -> Result<&Column, FrameError> {
        self.column(name).ok_or_else(|| FrameError::UnknownColumn {
            name: name.to_owned(),
        })
    }
}

fn wrong_type(name: &str, expected: &'static str, found: &Column) -> FrameError {
    FrameError::WrongType {
        name: name.to_owned(),
        expected,
        found: found.type_name(),
    }
}

#[cfg(test)]
mod tests;
