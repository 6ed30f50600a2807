//! A column as numbers of its distinct values, each predicted from other columns of its row.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::frame::FrameError;
use crate::frame::column::Column;
use crate::frame::entropy::{BinaryCoder, BitModel, RangeDecoder, RangeEncoder};
use crate::frame::limits::Budget;

/// Most columns that one column is predicted from.
pub(in crate::frame) const MAX_PARENTS: usize = 2;
/// Rows looked at when parents are chosen.
const SAMPLE: usize = 4096;
/// How many candidates are tried beside the best one.
const SECOND_PARENTS: usize = 4;
/// What naming one more parent takes in the frame.
const PARENT_BITS: f64 = 8.0;
const NONE: u32 = u32::MAX;

/// The distinct values of a column, numbered by first appearance.
#[derive(Debug, Clone)]
pub(in crate::frame) struct Symbols {
    /// The value's number, row by row.
    pub(in crate::frame) ids: Vec<u32>,
    /// The row where each value first stands.
    pub(in crate::frame) firsts: Vec<usize>,
}

impl Symbols {
    pub(in crate::frame) fn of(column: &Column) -> Self {
        match column {
            Column::Int(values)
            | Column::Decimal(crate::frame::DecimalColumn {
                mantissas: values, ..
            }) => Self::number(
                values.len(),
                |row| values[row].cast_unsigned(),
                |left, right| values[left] == values[right],
            ),
            Column::Float(values) => Self::number(
                values.len(),
                |row| values[row].to_bits(),
                |left, right| values[left].to_bits() == values[right].to_bits(),
            ),
            Column::Bool(values) => Self::number(
                values.len(),
                |row| u64::from(values[row]),
                |left, right| values[left] == values[right],
            ),
            Column::Text(values) => {
                // Seeded so that nobody can prepare cells that all fall into one slot.
                let seed = RandomState::new().hash_one(0u8);
                Self::number(
                    values.len(),
                    |row| xxh3_64_with_seed(values.at(row).as_bytes(), seed),
                    |left, right| values.at(left) == values.at(right),
                )
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the format allows 2^24 rows, so no more symbols"
    )]
    fn number(
        rows: usize,
        hash: impl Fn(usize) -> u64,
        same: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut ids: Vec<u32> = Vec::with_capacity(rows);
        let mut firsts = Vec::new();
        let mut slots = vec![NONE; 64];
        for row in 0..rows {
            if row > 0 && same(row, row - 1) {
                ids.push(ids[row - 1]);
                continue;
            }
            if firsts.len() * 2 >= slots.len() {
                slots = vec![NONE; slots.len() * 4];
                for (id, &first) in (0u32..).zip(&firsts) {
                    let slot = Self::probe(&slots, hash(first), |_| false);
                    slots[slot] = id;
                }
            }
            let slot = Self::probe(&slots, hash(row), |id| same(firsts[id as usize], row));
            if slots[slot] == NONE {
                slots[slot] = firsts.len() as u32;
                firsts.push(row);
            }
            ids.push(slots[slot]);
        }
        Self { ids, firsts }
    }

    /// The slot that is empty or whose number is `wanted`. A power of two slots, never full.
    fn probe(slots: &[u32], hash: u64, wanted: impl Fn(u32) -> bool) -> usize {
        let mask = slots.len() - 1;
        let mut slot = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while slots[slot] != NONE && !wanted(slots[slot]) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    pub(in crate::frame) fn distinct(&self) -> usize {
        self.firsts.len()
    }

    /// Bits that the symbols take on average when nothing predicts them.
    pub(in crate::frame) fn entropy(&self) -> f64 {
        let mut counts = vec![0u32; self.distinct()];
        for &id in &self.ids {
            counts[id as usize] += 1;
        }
        let rows = real(self.ids.len());
        counts
            .iter()
            .map(|&count| f64::from(count) / rows)
            .map(|share| -share * share.log2())
            .sum()
    }
}

/// What a symbol is predicted from: the symbol that a column has in the same row, or, without a
/// column, simply the row before.
#[derive(Debug, Clone, Copy)]
pub(in crate::frame) struct Parent<'a> {
    /// The column's symbols.
    pub(in crate::frame) ids: Option<&'a [u32]>,
    /// How many different ones there are.
    pub(in crate::frame) distinct: usize,
}

impl Parent<'_> {
    /// The row before.
    pub(in crate::frame) const PREVIOUS: Self = Parent {
        ids: None,
        distinct: 1,
    };

    fn key(&self, row: usize) -> usize {
        self.ids.map_or(0, |ids| ids[row] as usize)
    }
}

/// The last symbol that stood beside a parent's symbol, and how far to trust it.
#[derive(Debug, Clone, Copy)]
struct Memory {
    symbol: u32,
    trust: u8,
}

const MAX_TRUST: u8 = 7;

/// Bits of a tree that holds `distinct` leaves.
fn tree_bits(distinct: usize) -> u32 {
    usize::BITS - distinct.saturating_sub(1).leading_zeros()
}

/// Bytes of working space that [`code`] takes for a column, apart from its symbols.
fn working_bytes(distinct: usize, parents: &[Parent<'_>]) -> usize {
    let memories: usize = parents.iter().map(|parent| parent.distinct).sum();
    memories * size_of::<Memory>() + (size_of::<BitModel>() << tree_bits(distinct))
}

/// Codes the symbols of all rows. Symbols are numbered by first appearance, so a new one needs
/// only to be announced.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the format allows 2^24 rows, so no more symbols"
)]
fn code<C: BinaryCoder>(
    coder: &mut C,
    ids: &mut [u32],
    distinct: usize,
    parents: &[Parent<'_>],
) -> Result<(), FrameError> {
    let bits = tree_bits(distinct);
    let mut leaves = vec![BitModel::default(); 1 << bits];
    let mut hits = [[BitModel::default(); MAX_TRUST as usize + 1]; MAX_PARENTS];
    let mut news = [BitModel::default(); MAX_PARENTS + 1];
    let mut memories: Vec<Vec<Memory>> = parents
        .iter()
        .map(|parent| {
            vec![
                Memory {
                    symbol: NONE,
                    trust: 0
                };
                parent.distinct
            ]
        })
        .collect();
    let mut seen = 0;
    for row in 0..ids.len() {
        let actual = ids[row];
        let prediction = parents
            .iter()
            .zip(&memories)
            .map(|(parent, memory)| memory[parent.key(row)])
            .enumerate()
            .find(|(_, memory)| memory.symbol != NONE);
        let hit = match prediction {
            Some((level, Memory { symbol, trust })) => coder
                .bit(&mut hits[level][usize::from(trust)], actual == symbol)
                .then_some(symbol),
            None => None,
        };
        let symbol = if let Some(symbol) = hit {
            symbol
        } else {
            let context = prediction.map_or(MAX_PARENTS, |(level, _)| level);
            let new = seen == 0
                || (seen < distinct && coder.bit(&mut news[context], actual as usize == seen));
            if new {
                seen += 1;
                (seen - 1) as u32
            } else {
                let symbol = coder.tree(&mut leaves, actual, bits);
                if symbol as usize >= seen {
                    return Err(FrameError::corrupt("a value is used before it appears"));
                }
                symbol
            }
        };
        ids[row] = symbol;
        for (parent, memory) in parents.iter().zip(&mut memories) {
            let memory = &mut memory[parent.key(row)];
            memory.trust = if memory.symbol == symbol {
                (memory.trust + 1).min(MAX_TRUST)
            } else {
                memory.trust / 2
            };
            memory.symbol = symbol;
        }
    }
    if seen == distinct {
        Ok(())
    } else {
        Err(FrameError::corrupt("a distinct value is never used"))
    }
}

/// Encodes the symbols of a column, given those of its parents.
pub(in crate::frame) fn encode(
    symbols: &mut Symbols,
    parents: &[Parent<'_>],
) -> Result<Vec<u8>, FrameError> {
    let mut encoder = RangeEncoder::new();
    let distinct = symbols.distinct();
    code(&mut encoder, &mut symbols.ids, distinct, parents)?;
    Ok(encoder.finish())
}

/// Reads back the symbols of `rows` rows.
pub(in crate::frame) fn decode(
    bytes: &[u8],
    rows: usize,
    distinct: usize,
    parents: &[Parent<'_>],
    budget: &mut Budget,
) -> Result<Vec<u32>, FrameError> {
    if distinct == 0 || distinct > rows {
        return Err(FrameError::corrupt("a column has more values than rows"));
    }
    budget.take(rows, size_of::<u32>())?;
    budget.take(working_bytes(distinct, parents), 1)?;
    let mut ids = vec![0; rows];
    code(&mut RangeDecoder::new(bytes), &mut ids, distinct, parents)?;
    Ok(ids)
}

/// A count, for estimates.
#[expect(clippy::cast_precision_loss, reason = "the format allows 2^24 rows")]
pub(in crate::frame) fn real(count: usize) -> f64 {
    count as f64
}

/// Picks at most [`MAX_PARENTS`] of the candidates, best first. Returns their positions and the
/// bits that the symbols should then take in all.
pub(in crate::frame) fn choose_parents(
    symbols: &Symbols,
    entropy: f64,
    candidates: &[Parent<'_>],
) -> (Vec<usize>, f64) {
    let sample = symbols.ids.len().min(SAMPLE);
    let ids = &symbols.ids[..sample];
    let scale = real(symbols.ids.len()) / real(sample);
    let cost = |chosen: &[usize]| {
        let parents: Vec<Parent<'_>> = chosen.iter().map(|&index| candidates[index]).collect();
        estimate(ids, entropy, &parents) * scale
    };
    let mut best = (Vec::new(), cost(&[]));
    let mut single: Vec<(usize, f64)> = (0..candidates.len())
        .map(|index| (index, cost(&[index])))
        .collect();
    single.sort_by(|left, right| left.1.total_cmp(&right.1));
    let Some((&(first, bits), others)) = single.split_first() else {
        return best;
    };
    let mut consider = |chosen: Vec<usize>, bits: f64| {
        if bits + PARENT_BITS < best.1 {
            best = (chosen, bits);
        }
    };
    consider(vec![first], bits);
    for &(other, _) in others.iter().take(SECOND_PARENTS) {
        for pair in [[first, other], [other, first]] {
            consider(pair.to_vec(), cost(&pair));
        }
    }
    best
}

/// Bits that [`code`] should need, judged by how often the prediction is wrong.
fn estimate(ids: &[u32], entropy: f64, parents: &[Parent<'_>]) -> f64 {
    let mut memories: Vec<Vec<u32>> = parents
        .iter()
        .map(|parent| vec![NONE; parent.distinct])
        .collect();
    let mut predicted = [0u32; MAX_PARENTS];
    let mut wrong = [0u32; MAX_PARENTS];
    for (row, &id) in ids.iter().enumerate() {
        let mut open = true;
        for (level, (parent, memory)) in parents.iter().zip(&mut memories).enumerate() {
            let slot = &mut memory[parent.key(row)];
            if open && *slot != NONE {
                predicted[level] += 1;
                wrong[level] += u32::from(*slot != id);
                open = false;
            }
            *slot = id;
        }
    }
    let flags: f64 = predicted
        .iter()
        .zip(&wrong)
        .filter(|&(&all, _)| all > 0)
        .map(|(&all, &some)| {
            let share = f64::from(some) / f64::from(all);
            let bits = |share: f64| {
                if share > 0.0 {
                    -share * share.log2()
                } else {
                    0.0
                }
            };
            f64::from(all) * (bits(share) + bits(1.0 - share))
        })
        .sum();
    let hits: u32 = predicted
        .iter()
        .zip(&wrong)
        .map(|(all, some)| all - some)
        .sum();
    // What a prediction misses is rarer, so dearer, than the average symbol.
    flags + (real(ids.len()) - f64::from(hits)) * (entropy + if hits > 0 { 1.0 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[i64]) -> Symbols {
        Symbols::of(&Column::Int(values.to_vec()))
    }

    proptest! {
        #[test]
        fn symbols_round_trip_under_any_parents(
            rows in prop::collection::vec((0..40i64, 0..6i64, 0..300i64), 1..400),
            first in 0..4usize,
            second in 0..4usize,
        ) {
            let columns: [Vec<i64>; 3] = [
                rows.iter().map(|row| row.0).collect(),
                rows.iter().map(|row| row.1).collect(),
                rows.iter().map(|row| row.2).collect(),
            ];
            let left = of(&columns[0]);
            let right = of(&columns[1]);
            let pick = |choice| match choice {
                1 => Some(Parent::PREVIOUS),
                2 => Some(Parent { ids: Some(&left.ids), distinct: left.distinct() }),
                3 => Some(Parent { ids: Some(&right.ids), distinct: right.distinct() }),
                _ => None,
            };
            let parents: Vec<Parent<'_>> = [first, second].into_iter().filter_map(pick).collect();
            let mut symbols = of(&columns[2]);
            let ids = symbols.ids.clone();
            let bytes = encode(&mut symbols, &parents).expect("own symbols are in order");
            let mut budget = Budget::new(1 << 20);
            let back = decode(&bytes, ids.len(), symbols.distinct(), &parents, &mut budget);
            prop_assert_eq!(back, Ok(ids));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..64), rows in 0..200usize, distinct in 0..300usize) {
            let mut budget = Budget::new(1 << 20);
            let _ = decode(&bytes, rows, distinct, &[Parent::PREVIOUS], &mut budget);
        }
    }

    #[test]
    fn a_column_that_follows_another_costs_next_to_nothing() {
        let keys: Vec<i64> = (0..2000).map(|i| i * i % 97).collect();
        let prices: Vec<i64> = keys.iter().map(|key| key * 3 % 50).collect();
        let keys = of(&keys);
        let mut prices = of(&prices);
        let candidates = [
            Parent::PREVIOUS,
            Parent {
                ids: Some(&keys.ids),
                distinct: keys.distinct(),
            },
        ];
        let entropy = prices.entropy();
        let (chosen, _) = choose_parents(&prices, entropy, &candidates);
        assert_eq!(chosen, [1]);
        let bytes = encode(&mut prices, &candidates[1..]).expect("in order");
        assert!(bytes.len() < 100, "{}", bytes.len());
    }

    #[test]
    fn values_are_numbered_by_first_appearance() {
        let symbols = of(&[7, 7, -1, 7, 0, -1]);
        assert_eq!(symbols.ids, [0, 0, 1, 0, 2, 1]);
        assert_eq!(symbols.firsts, [0, 2, 4]);
    }
}
