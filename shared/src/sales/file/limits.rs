//! What a file may ask of the parser.

/// What a file may ask of the parser. Memory stays below a few times `record_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest header, in bytes.
    pub header_bytes: usize,
    /// Longest record, in bytes. Values above 1 GiB mean 1 GiB.
    pub record_bytes: usize,
    /// Most cells in a record. Values above 65,536 mean 65,536.
    pub columns: usize,
    /// Longest cell, in bytes that its text takes in UTF-8. All cells of a row together may take
    /// `record_bytes`.
    pub cell_bytes: usize,
}

impl Default for Limits {
    /// 32 KiB of header, 1 MiB of record, 256 columns, 64 KiB of cell.
    fn default() -> Self {
        Self {
            header_bytes: 32 << 10,
            record_bytes: 1 << 20,
            columns: 256,
            cell_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// Room for an errors file about a file within these limits: three columns more, a message, and
    /// text that was Windows-1252 (three bytes for one at most) or that has its quotes doubled.
    pub(super) fn of_errors_file(self) -> Self {
        const MORE: usize = super::Dialect::ERROR_COLUMNS.len();
        const MESSAGE: usize = 1 << 10;
        // An apostrophe and two quotes.
        const CELL: usize = 3;

        let grown = |bytes: usize| 3 * bytes + CELL * self.columns + MESSAGE;
        Self {
            header_bytes: grown(self.header_bytes),
            record_bytes: grown(self.record_bytes),
            columns: self.columns + MORE,
            cell_bytes: self.cell_bytes,
        }
    }

    pub(super) fn clamped(self) -> Self {
        let record_bytes = self.record_bytes.min(1 << 30);
        Self {
            header_bytes: self.header_bytes.min(record_bytes),
            record_bytes,
            columns: self.columns.min(1 << 16),
            cell_bytes: self.cell_bytes,
        }
    }
}
