//! Decisions about sales as pure functions.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{
    day::Day,
    identity::{Ordinals, RowIdentity},
    import::ImportId,
};

/// Most distinct days that one file may touch: more than fifty years.
pub const MOST_DAYS: usize = 20_000;

/// Most rows of one day in one file: what one run stores of a single day well within its time.
pub const MOST_ROWS_A_DAY: u64 = 4_000_000;

/// A day's small chunks are merged when there are this many of them.
const CHUNKS_BEFORE_MERGE: usize = 8;

/// Memory that a row takes besides its text: ends of cells, identity, digest, amount.
const ROW_OVERHEAD: u64 = 160;

/// Where in its file the valid rows of one day stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// How many there are.
    pub rows: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// Byte at which the first of them begins.
    pub from: u64,
    /// Byte after the last of them.
    pub to: u64,
}

impl Extent {
    /// The extent of a single row that lies at `from..to`.
    #[must_use]
    pub const fn of_row(from: u64, to: u64) -> Self {
        Self {
            rows: 1,
            bytes: to - from,
            from,
            to,
        }
    }

    /// Takes in `other`.
    pub fn include(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
    }

    /// Memory that the rows take, in bytes.
    #[must_use]
    pub const fn memory(&self) -> u64 {
        self.bytes + self.rows * ROW_OVERHEAD
    }
}

/// One reading of a stretch of the file, and the days whose rows to take from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// First day taken.
    pub first: Date,
    /// Last day taken.
    pub last: Date,
    /// What lies in the stretch: it begins at the start of a row, and every row wanted has ended
    /// before its end.
    pub extent: Extent,
    /// Whether the rows are more than memory holds at once: a single day then, taken in parts.
    pub is_large: bool,
}

/// Cuts a file's days into passes of at most `budget` bytes of memory, in the order of the days,
/// from `next` on.
///
/// The days of a file that is sorted by date lie in a row, so the passes together read it once
/// more; those of an unsorted file overlap and are read again, never held.
#[must_use]
pub fn passes(days: &BTreeMap<Date, Extent>, next: Option<Date>, budget: u64) -> Vec<Pass> {
    let mut passes: Vec<Pass> = Vec::new();
    for (&date, extent) in days.range(next.unwrap_or(Date::MIN)..) {
        if let Some(open) = passes.last_mut()
            && open.extent.memory() + extent.memory() <= budget
        {
            open.last = date;
            open.extent.include(extent);
        } else {
            passes.push(Pass {
                first: date,
                last: date,
                extent: *extent,
                is_large: extent.memory() > budget,
            });
        }
    }
    passes
}

/// Into how many parts to cut `rows` so that each has about `most` or fewer; one at least.
#[must_use]
pub fn parts(rows: u64, most: u64) -> u64 {
    rows.div_ceil(most.max(1)).max(1)
}

/// Which of `parts` a digest belongs to.
#[must_use]
pub fn part_of(digest: u128, parts: u64) -> u64 {
    u64::try_from(digest % u128::from(parts.max(1))).unwrap_or(0)
}

/// Which of a file's rows of one day are new: their indexes, each with its ordinal.
///
/// `rows` are all rows of that day (or of one part of it) in the order of the file; `stored` are
/// the identities that count there already.
#[must_use]
pub fn admit<S: std::hash::BuildHasher>(
    rows: &[RowIdentity],
    stored: &HashSet<(RowIdentity, u32), S>,
) -> Vec<(usize, u32)> {
    let mut ordinals = Ordinals::default();
    rows.iter()
        .enumerate()
        .filter_map(|(index, identity)| {
            let ordinal = ordinals.next(*identity);
            (!stored.contains(&(*identity, ordinal))).then_some((index, ordinal))
        })
        .collect()
}

/// Whether a commit should merge a day's `small` chunks with its new one: once they are many.
#[must_use]
pub const fn merges(small: usize) -> bool {
    small >= CHUNKS_BEFORE_MERGE
}

/// What an undo of one import does to a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Chunks that hold nothing else: they leave the manifest.
    pub drop: Vec<String>,
    /// Chunks that hold other imports' rows as well: each is written anew without this import's.
    pub rewrite: Vec<String>,
}

/// How to take `import` out of `day`; nothing where it has no row there.
#[must_use]
pub fn undo(day: &Day, import: ImportId) -> Option<Undo> {
    let (mut drop, mut rewrite) = (Vec::new(), Vec::new());
    for (name, parts) in &day.chunks {
        if parts.contains_key(&import) {
            if parts.len() == 1 {
                &mut drop
            } else {
                &mut rewrite
            }
            .push(name.clone());
        }
    }
    (!drop.is_empty() || !rewrite.is_empty()).then_some(Undo { drop, rewrite })
}

/// `total ÷ count` to two places, half-up (away from zero at the midpoint); zero for none or fewer.
#[must_use]
pub fn average(total: Decimal, count: i64) -> Decimal {
    total
        .checked_div(Decimal::from(count.max(0)))
        .unwrap_or_default()
        .round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero)
        .normalize()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::sales::day::Part;

    fn import(n: u128) -> ImportId {
        ImportId::new(uuid::Uuid::from_u128(n))
    }

    fn identity(n: u128) -> RowIdentity {
        RowIdentity::from_bytes(n.to_be_bytes())
    }

    #[test]
    fn average_rounds_half_away_from_zero_and_is_zero_without_rows() {
        let decimal = |text| Decimal::from_str(text).unwrap();
        assert_eq!(average(decimal("0.01"), 2), decimal("0.01"));
        assert_eq!(average(decimal("-0.01"), 2), decimal("-0.01"));
        assert_eq!(average(decimal("5069.044"), 92), decimal("55.1"));
        assert_eq!(average(decimal("1"), 0), Decimal::ZERO);
        assert_eq!(average(decimal("-1"), -1), Decimal::ZERO);
    }

    #[test]
    fn undo_drops_chunks_of_its_own_and_rewrites_shared_ones() {
        let mut day = Day::empty(date(2025, 3, 1));
        day.chunks
            .insert("own".into(), BTreeMap::from([(import(1), Part::default())]));
        day.chunks.insert(
            "shared".into(),
            BTreeMap::from([(import(1), Part::default()), (import(2), Part::default())]),
        );
        assert_eq!(
            undo(&day, import(1)),
            Some(Undo {
                drop: vec!["own".into()],
                rewrite: vec!["shared".into()]
            })
        );
        assert_eq!(undo(&day, import(3)), None);
    }

    proptest! {
        #[test]
        fn passes_cover_every_day_once_in_order_within_the_budget(
            rows in prop::collection::vec(1_u64..5_000, 0..60), budget in 1_u64..1_500_000, skip in 0_usize..60,
        ) {
            let days: BTreeMap<Date, Extent> = rows.iter().enumerate().map(|(n, &rows)| {
                let day = date(2025, 1, 1).checked_add(jiff::Span::new().days(i64::try_from(n).unwrap())).unwrap();
                let n = n as u64;
                (day, Extent { rows, bytes: rows, from: n * 10, to: n * 10 + 10 })
            }).collect();
            let next = days.keys().nth(skip).copied();
            let passes = passes(&days, next, budget);
            let mut seen = Vec::new();
            for pass in &passes {
                let of_pass: Vec<_> = days.range(pass.first..=pass.last).collect();
                prop_assert_eq!(of_pass.iter().map(|(_, e)| e.rows).sum::<u64>(), pass.extent.rows);
                prop_assert_eq!(pass.is_large, pass.extent.memory() > budget);
                prop_assert!(!pass.is_large || of_pass.len() == 1);
                prop_assert!(of_pass.iter().all(|(_, e)| pass.extent.from <= e.from && e.to <= pass.extent.to));
                seen.extend(of_pass.into_iter().map(|(d, _)| *d));
            }
            let want: Vec<Date> = days.range(next.unwrap_or(Date::MIN)..).map(|(d, _)| *d).collect();
            prop_assert_eq!(seen, want);
        }

        #[test]
        fn admitting_the_same_or_overlapping_rows_again_adds_only_what_is_missing(
            first in prop::collection::vec(0_u128..20, 0..80), second in prop::collection::vec(0_u128..20, 0..80),
        ) {
            let rows = |ids: &[u128]| ids.iter().map(|&n| identity(n)).collect::<Vec<_>>();
            let count = |ids: &[u128], n: u128| ids.iter().filter(|&&id| id == n).count();
            let mut stored: HashSet<(RowIdentity, u32)> = HashSet::new();
            for file in [&first, &second, &first] {
                let file = rows(file);
                for (index, ordinal) in admit(&file, &stored.clone()) {
                    prop_assert!(stored.insert((file[index], ordinal)));
                }
            }
            for n in 0..20 {
                let held = stored.iter().filter(|(id, _)| *id == identity(n)).count();
                prop_assert_eq!(held, count(&first, n).max(count(&second, n)));
            }
            prop_assert!(admit(&rows(&second), &stored).is_empty());
        }
    }
}
