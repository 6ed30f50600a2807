//! What must become of a file.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

/// What must become of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is refused as a whole with this code, and leaves no trace.
    Refused(&'static str),
    /// Its rows are taken one by one.
    Taken(Taken),
}

/// What must become of the rows of a file, and what is stored then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) imported: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: Vec<Rejection>,
    /// Whether the import says something of the file that is no error.
    pub(super) warned: bool,
    /// The days with rows, an earlier file's included.
    pub(super) days: BTreeMap<String, Day>,
}

impl Taken {
    /// Rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.imported + self.duplicate + self.rejected.len() as u64
    }

    /// Notes a row that is stored.
    pub(super) fn store(&mut self, day: &str, paid: Decimal, cells: Vec<String>) {
        let day = self.days.entry(day.to_owned()).or_default();
        day.revenue += paid;
        day.sales
            .insert(cells[super::draft::SALE].trim().to_owned());
        day.rows.push(cells);
        day.rows.sort();
    }
}

/// A row that must be rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rejection {
    /// Its number.
    pub(super) row: u64,
    pub(super) code: &'static str,
}

/// What must be stored of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) revenue: Decimal,
    pub(super) sales: BTreeSet<String>,
    /// Every cell of every row, sorted.
    pub(super) rows: Vec<Vec<String>>,
}
