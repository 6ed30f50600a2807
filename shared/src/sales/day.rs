//! A day of sales: its totals, and the manifest of the chunks that count.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::import::ImportId;

/// What one chunk holds of one import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Rows.
    pub rows: u64,
    /// The sum of their totals paid.
    pub revenue: Decimal,
}

impl Part {
    /// Adds another part to this one.
    ///
    /// # Errors
    ///
    /// [`Overflow`] where the sum leaves the range of an exact decimal.
    pub fn add(&mut self, other: &Self) -> Result<(), Overflow> {
        self.rows += other.rows;
        self.revenue = self.revenue.checked_add(other.revenue).ok_or(Overflow)?;
        Ok(())
    }
}

/// A sum that left the range of an exact decimal (28 digits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sum has more than 28 digits")]
pub struct Overflow;

/// The chunks of a day that count, by name, and what each holds of which import.
pub type Manifest = BTreeMap<String, BTreeMap<ImportId, Part>>;

/// A day of sales as its one item keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// Counts its writes; 0 where there is no item yet.
    pub version: u64,
    /// Rows and revenue of all chunks listed.
    pub total: Part,
    /// Distinct Sale IDs of all chunks listed.
    pub orders: u64,
    /// The chunks that count.
    pub chunks: Manifest,
}

impl Day {
    /// The day on which nothing was ever sold.
    #[must_use]
    pub const fn empty(date: Date) -> Self {
        Self {
            date,
            version: 0,
            total: Part {
                rows: 0,
                revenue: Decimal::ZERO,
            },
            orders: 0,
            chunks: BTreeMap::new(),
        }
    }

    /// What `import` has on this day, or nothing where it has no row here.
    ///
    /// # Errors
    ///
    /// [`Overflow`] where the sum leaves the range of an exact decimal.
    pub fn part_of(&self, import: ImportId) -> Result<Option<Part>, Overflow> {
        let mut found = None;
        for part in self.chunks.values().filter_map(|parts| parts.get(&import)) {
            found.get_or_insert_with(Part::default).add(part)?;
        }
        Ok(found)
    }

    /// About how many bytes its item takes; an item holds 400 KB.
    #[must_use]
    pub fn item_bytes(&self) -> usize {
        let chunks = self.chunks.iter();
        128 + chunks
            .map(|(name, parts)| name.len() + 8 + parts.len() * 56)
            .sum::<usize>()
    }

    /// The day after its manifest became `chunks` with `orders` distinct Sale IDs: the next
    /// version, its totals summed anew.
    ///
    /// # Errors
    ///
    /// [`Overflow`] where the sum leaves the range of an exact decimal.
    pub fn with_chunks(&self, chunks: Manifest, orders: u64) -> Result<Self, Overflow> {
        let mut total = Part::default();
        for part in chunks.values().flat_map(BTreeMap::values) {
            total.add(part)?;
        }
        Ok(Self {
            date: self.date,
            version: self.version + 1,
            total,
            orders,
            chunks,
        })
    }
}
