//! Finds where cells and records end, eight bytes at a time.

/// Scans one record after another, each fed in slices cut anywhere, without look-ahead and without
/// seeing a byte twice. It keeps positions only; the bytes stay with the caller.
///
/// Positions count from the first byte of the record.
#[derive(Clone, Debug)]
pub(super) struct RecordScanner {
    delimiter: u8,
    max_cells: usize,
    /// Where each cell ends, its delimiter not included.
    ends: Vec<u32>,
    cell_start: u32,
    in_quotes: bool,
    /// Whether the cell being scanned began with a quote.
    cell_quoted: bool,
    /// Whether any cell of the record began with a quote.
    any_quoted: bool,
    /// Position after the last closing quote of the cell.
    after_close: u32,
    /// Position after a carriage return outside quotes, where a line feed has to stand; or
    /// `NOWHERE`.
    after_return: u32,
}

const NOWHERE: u32 = u32::MAX;

/// What the end of a scanned slice means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// The record ends with the line feed at this index of the slice.
    Record(usize),
    /// The slice ends before the record does.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    LoneCarriageReturn,
    TooManyCells,
}

impl RecordScanner {
    pub(super) fn new(delimiter: u8, max_cells: usize) -> Self {
        Self {
            delimiter,
            max_cells,
            ends: Vec::with_capacity(32),
            cell_start: 0,
            in_quotes: false,
            cell_quoted: false,
            any_quoted: false,
            after_close: 0,
            after_return: NOWHERE,
        }
    }

    /// Where each cell of a finished record ends; the next one begins one byte later.
    pub(super) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether any cell of a finished record begins with a quote.
    pub(super) const fn any_quoted(&self) -> bool {
        self.any_quoted
    }

    pub(super) const fn in_quotes(&self) -> bool {
        self.in_quotes
    }

    /// Whether a carriage return outside quotes stands before `position`, and no line feed behind
    /// it.
    pub(super) fn is_past_return(&self, position: usize) -> bool {
        self.after_return != NOWHERE && position > self.after_return as usize
    }

    /// Makes ready for the next record.
    pub(super) fn reset(&mut self) {
        self.ends.clear();
        self.cell_start = 0;
        self.in_quotes = false;
        self.cell_quoted = false;
        self.any_quoted = false;
        self.after_close = 0;
        self.after_return = NOWHERE;
    }

    /// Scans `slice[from..]`, whose first byte has `position` in the record.
    pub(super) fn scan(
        &mut self,
        slice: &[u8],
        from: usize,
        position: u32,
    ) -> Result<Scanned, ScanError> {
        let delimiters = broadcast(self.delimiter);
        let mut at = from;
        while at < slice.len() {
            let word = load(&slice[at..]);
            let mut hits = matches(word, delimiters)
                | matches(word, broadcast(b'\n'))
                | matches(word, broadcast(b'"'))
                | matches(word, broadcast(b'\r'));
            while hits != 0 {
                let index = at + (hits.trailing_zeros() / 8) as usize;
                hits &= hits - 1;
                let here = position + narrow(index - from);
                if self.hit(slice[index], here)? {
                    return Ok(Scanned::Record(index));
                }
            }
            at += 8;
        }
        Ok(Scanned::More)
    }

    /// Ends the record at `position` because the file ends there.
    pub(super) fn end_of_file(&mut self, position: u32) -> Result<(), ScanError> {
        let end = match self.after_return {
            NOWHERE => position,
            after if after == position => position - 1,
            _ => return Err(ScanError::LoneCarriageReturn),
        };
        self.end_cell(end)
    }

    /// Takes note of a byte that may mean something; true when it ends the record.
    #[inline]
    fn hit(&mut self, byte: u8, here: u32) -> Result<bool, ScanError> {
        if self.in_quotes {
            if byte == b'"' {
                self.in_quotes = false;
                self.after_close = here + 1;
            }
            return Ok(false);
        }
        if self.after_return != NOWHERE {
            return if byte == b'\n' && here == self.after_return {
                self.end_cell(here - 1).map(|()| true)
            } else {
                Err(ScanError::LoneCarriageReturn)
            };
        }
        if byte == self.delimiter {
            self.end_cell(here)?;
            self.cell_start = here + 1;
            self.cell_quoted = false;
        } else if byte == b'\n' {
            self.end_cell(here)?;
            return Ok(true);
        } else if byte == b'\r' {
            self.after_return = here + 1;
        } else if here == self.cell_start {
            self.in_quotes = true;
            self.cell_quoted = true;
            self.any_quoted = true;
        } else if self.cell_quoted && here == self.after_close {
            // A doubled quote is an escaped one: the cell was not closed after all.
            self.in_quotes = true;
        }
        Ok(false)
    }

    fn end_cell(&mut self, end: u32) -> Result<(), ScanError> {
        if self.ends.len() == self.max_cells {
            return Err(ScanError::TooManyCells);
        }
        self.ends.push(end);
        Ok(())
    }
}

/// Start and end of each cell, given where each ends.
pub(super) fn spans(ends: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    ends.iter().map(move |end| {
        let end = *end as usize;
        let span = (start, end);
        start = end + 1;
        span
    })
}

const LOW_BITS: u64 = broadcast(0x7F);

const fn broadcast(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The high bit of every byte of `word` that equals the byte `wanted` repeats.
#[inline]
const fn matches(word: u64, wanted: u64) -> u64 {
    let zero_where_equal = word ^ wanted;
    // A byte's low seven bits carry into its own high bit unless they are zero, and never beyond.
    let low = (zero_where_equal & LOW_BITS) + LOW_BITS;
    !(low | zero_where_equal | LOW_BITS)
}

/// The first eight bytes, the first one lowest; NULs, which match nothing, stand in for missing
/// ones.
#[inline]
fn load(bytes: &[u8]) -> u64 {
    if let Some(word) = bytes.first_chunk() {
        u64::from_le_bytes(*word)
    } else {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }
}

/// A position; records are limited to far less than 4 GiB.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the caller limits records to u32::MAX bytes"
)]
const fn narrow(length: usize) -> u32 {
    length as u32
}
