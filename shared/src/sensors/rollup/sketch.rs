//! `DDSketch`: percentiles of relative accuracy from a mergeable histogram.
//!
//! Charles Masson, Jee E. Rim and Homin K. Lee, "`DDSketch`: A Fast and Fully-Mergeable Quantile
//! Sketch with Relative-Error Guarantees", PVLDB 12(12), 2019.
//!
//! The bins grow by `γ = 2^(1/35)`, the largest root of two that keeps the accuracy below 1 %:
//! `(γ - 1) / (γ + 1)` is 0.990 %. A root of two makes 35 bins of each octave, so that the bin of a
//! float is its exponent and a look-up of its mantissa: integers throughout. A logarithm would have
//! to be the same on every machine that ever reads or writes a roll-up, and `f64::ln` is whatever
//! the platform's libm makes of it.

use super::percentile::Percentile;

/// Most that a percentile is off the value at its rank, as a share of that value.
pub const RELATIVE_ACCURACY: f64 = 0.01;

/// Most bins; beyond it the lowest are made one. All of one sign, it spans 58 octaves.
pub const MOST_BINS: usize = 2_048;

const BINS_PER_OCTAVE: usize = 35;

const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;

/// Where the bins of an octave begin: the fraction bits of `2^(i / 35)`, rounded, and its end. Part
/// of the stored format.
const BOUNDS: [u64; BINS_PER_OCTAVE + 1] = [
    0x00_0000_0000_0000,
    0x00_51ed_3525_4d7b,
    0x00_a57d_e9c1_6bc7,
    0x00_faba_81d4_e5df,
    0x01_51ab_8c56_eea2,
    0x01_aa59_c411_5e7d,
    0x02_04ce_1081_1781,
    0x02_6111_86ba_e675,
    0x02_bf2d_6a54_f7da,
    0x03_1f2b_2e54_f85d,
    0x03_8114_7622_f886,
    0x03_e4f3_1681_2c30,
    0x04_4ad1_1688_9e7b,
    0x04_b2b8_b0aa_f3c7,
    0x05_1cb4_53b9_536c,
    0x05_88ce_a3f0_93be,
    0x05_f712_7c0a_c32a,
    0x06_678a_ee56_29f8,
    0x06_da43_45d1_e0ad,
    0x07_4f47_0750_17a0,
    0x07_c6a1_f29e_2ce6,
    0x08_4060_03b2_ae5c,
    0x08_bc8d_73e1_6610,
    0x09_3b36_bb15_8fff,
    0x09_bc68_9112_58c0,
    0x0a_402f_eeb9_c533,
    0x0a_c69a_0f5a_241c,
    0x0b_4fb4_7202_2b1a,
    0x0b_db8c_dadb_e120,
    0x0c_6a31_548e_794d,
    0x0c_fbb0_31a7_41a5,
    0x0d_9018_0e09_c9e4,
    0x0e_2777_d067_6770,
    0x0e_c1de_abbe_3c14,
    0x0f_5f5c_20df_e5f2,
    0x10_0000_0000_0000,
];

/// An octave is cut into so many cells, by the highest fraction bits, none wider than a bin.
const CELL_BITS: u32 = 6;

/// For each cell, the bin that holds its beginning.
const CELLS: [u8; 1 << CELL_BITS] = cells();

#[expect(clippy::cast_possible_truncation, reason = "an octave has 35 bins")]
const fn cells() -> [u8; 1 << CELL_BITS] {
    let mut cells = [0; 1 << CELL_BITS];
    let (mut cell, mut bin) = (0, 0);
    while cell < cells.len() {
        let start = (cell as u64) << (FRACTION_BITS - CELL_BITS);
        while BOUNDS[bin + 1] <= start {
            bin += 1;
        }
        cells[cell] = bin as u8;
        cell += 1;
    }
    cells
}

/// No bin is wider than the accuracy allows, nor narrower than a cell.
const _: () = {
    let one = 1 << FRACTION_BITS;
    let mut bin = 0;
    while bin < BINS_PER_OCTAVE {
        assert!((one + BOUNDS[bin + 1]) * 99 < (one + BOUNDS[bin]) * 101);
        assert!(BOUNDS[bin + 1] - BOUNDS[bin] >= 1 << (FRACTION_BITS - CELL_BITS));
        bin += 1;
    }
};

/// So many bins are merged one by one, more by going through both sketches.
const FEW_BINS: usize = 8;

/// The key of a value's bin. Keys are in the order of the values: 0 is the bin of what is too near
/// zero for a normal float, positive values have positive keys, their negatives the negative ones.
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "2,046 exponents of 35 bins make 71,610 keys"
)]
pub(super) fn key(value: f64) -> i32 {
    let bits = value.abs().to_bits();
    let Some(octave) = (bits >> FRACTION_BITS).checked_sub(1) else {
        return 0;
    };
    let fraction = bits & FRACTION_MASK;
    let bin = usize::from(CELLS[(fraction >> (FRACTION_BITS - CELL_BITS)) as usize]);
    let bin = bin + usize::from(fraction >= BOUNDS[bin + 1]);
    let key = octave as i32 * BINS_PER_OCTAVE as i32 + bin as i32 + 1;
    if value < 0.0 { -key } else { key }
}

/// The value that no value of the bin is further from than the accuracy: the harmonic mean of its
/// ends, `2 · low · high / (low + high)`.
fn midpoint(key: i32) -> f64 {
    let Some(index) = key.unsigned_abs().checked_sub(1) else {
        return 0.0;
    };
    let bin = index as usize % BINS_PER_OCTAVE;
    let octave = u64::from(index) / BINS_PER_OCTAVE as u64;
    let scaled = |fraction: u64| f64::from_bits(1.0f64.to_bits() + fraction);
    let (low, high) = (scaled(BOUNDS[bin]), scaled(BOUNDS[bin + 1]));
    let size = f64::from_bits((octave + 1) << FRACTION_BITS);
    let value = 2.0 * low * high / (low + high) * size;
    if key < 0 { -value } else { value }
}

/// How often values fell into which bin, bins in ascending order.
///
/// Sketches of parts, merged in any order, equal the sketch of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    bins: Vec<(i32, u64)>,
}

impl Sketch {
    /// A sketch of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bins: Vec::new() }
    }

    /// The sketch of bins in strictly ascending order.
    pub(super) fn of_bins(bins: Vec<(i32, u64)>) -> Self {
        Self { bins }
    }

    /// The bins, in ascending order: keys, and how many values each holds.
    #[must_use]
    pub fn bins(&self) -> &[(i32, u64)] {
        &self.bins
    }

    /// Counts a finite value.
    pub fn add(&mut self, value: f64) {
        self.add_bin(key(value), 1);
    }

    fn add_bin(&mut self, key: i32, count: u64) {
        match self.bins.binary_search_by_key(&key, |bin| bin.0) {
            Ok(at) => self.bins[at].1 += count,
            Err(at) => {
                self.bins.insert(at, (key, count));
                self.collapse();
            }
        }
    }

    /// Counts all that another sketch counted.
    pub fn merge(&mut self, other: &Self) {
        if other.bins.len() <= FEW_BINS {
            for &(key, count) in &other.bins {
                self.add_bin(key, count);
            }
            return;
        }
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut left, mut right) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        while let (Some(&&(a, m)), Some(&&(b, n))) = (left.peek(), right.peek()) {
            let count = if a <= b { m } else { 0 } + if b <= a { n } else { 0 };
            merged.push((a.min(b), count));
            left.next_if(|_| a <= b);
            right.next_if(|_| b <= a);
        }
        merged.extend(left);
        merged.extend(right);
        self.bins = merged;
        self.collapse();
    }

    /// Keeps the highest bins and adds those below to the lowest of them. What that lowest bin
    /// holds depends on the distinct keys alone, so it does not matter when this is done.
    fn collapse(&mut self) {
        if let Some(excess) = self.bins.len().checked_sub(MOST_BINS) {
            let below: u64 = self.bins.drain(..excess).map(|bin| bin.1).sum();
            if let Some(lowest) = self.bins.first_mut() {
                lowest.1 += below;
            }
        }
    }

    /// A value within [`RELATIVE_ACCURACY`] of the one at the percentile's
    /// [rank](Percentile::rank); `None` of nothing. What was collapsed is only known to be lower.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<f64> {
        let rank = percentile.rank(self.bins.iter().map(|bin| bin.1).sum());
        let mut below = 0;
        let bin = self.bins.iter().find(|bin| {
            below += bin.1;
            below > rank
        })?;
        Some(midpoint(bin.0))
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "what is close is compared")]
mod tests {
    use proptest::prelude::*;
    use sketches_ddsketch::{Config, DDSketch};

    use super::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::new();
        for &value in values {
            sketch.add(value);
        }
        sketch
    }

    /// Any float that is not subnormal: such count as zero.
    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            prop::num::f64::NORMAL | prop::num::f64::ZERO,
            -40.0..60.0,
            (-1e4..1e4f64).prop_map(f64::round),
        ]
    }

    fn assert_close(found: f64, exact: f64) {
        assert!(
            (found - exact).abs() <= RELATIVE_ACCURACY * exact.abs(),
            "{found} for {exact}"
        );
    }

    proptest! {
        #[test]
        fn a_bins_value_is_within_the_accuracy_of_all_it_holds(value in value()) {
            assert_close(midpoint(key(value)), value);
        }

        #[test]
        fn keys_are_in_the_order_of_values(a in value(), b in value()) {
            prop_assert!((a <= b) <= (key(a) <= key(b)));
            prop_assert_eq!(key(-a), -key(a));
        }

        #[test]
        fn a_percentile_is_within_the_accuracy_of_the_value_at_its_rank(
            mut values in prop::collection::vec(value(), 1..300),
            hundredths in 0..=10_000u16,
        ) {
            let percentile = Percentile::of_hundredths(hundredths).unwrap();
            let found = sketch(&values).percentile(percentile).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = usize::try_from(percentile.rank(values.len() as u64)).unwrap();
            assert_close(found, values[rank]);
        }

        #[test]
        fn a_percentile_agrees_with_another_implementation(
            values in prop::collection::vec(-1e6..1e6f64, 1..300),
            percent in 0..=100u16,
        ) {
            let mut other = DDSketch::new(Config::new(RELATIVE_ACCURACY, 4_096, 1e-9));
            for &value in &values {
                other.add(value);
            }
            let percentile = Percentile::of_hundredths(percent * 100).unwrap();
            // Its rank is the same product, in floats: asking in the middle between two ranks
            // leaves no doubt which of them it takes.
            let rank = percentile.rank(values.len() as u64) as f64;
            let quantile = (rank + 0.5) / (values.len() as f64 - 1.0).max(1.0);
            let theirs = other.quantile(quantile.min(1.0)).unwrap().unwrap();
            let ours = sketch(&values).percentile(percentile).unwrap();
            // Both are within the accuracy of the same value, on whichever side.
            let apart = 2.0 * RELATIVE_ACCURACY / (1.0 - RELATIVE_ACCURACY);
            prop_assert!((ours - theirs).abs() <= apart * theirs.abs(), "{ours}, {theirs}");
        }

        #[test]
        fn parts_merged_in_any_order_equal_the_whole(
            values in prop::collection::vec(value(), 0..300),
            cuts in prop::array::uniform2(0..300usize),
        ) {
            let [one, two] = [cuts[0].min(cuts[1]), cuts[0].max(cuts[1])].map(|at| at.min(values.len()));
            let parts = [&values[..one], &values[one..two], &values[two..]].map(sketch);
            let mut merged = parts[2].clone();
            merged.merge(&parts[0]);
            merged.merge(&parts[1]);
            prop_assert_eq!(merged, sketch(&values));
        }

        #[test]
        fn merging_what_was_collapsed_equals_collapsing_what_was_merged(
            starts in prop::array::uniform2(-71_000..60_000i32),
            step in 1..4i32,
            cut in 0..4_000usize,
        ) {
            let keys = starts.into_iter().flat_map(|start| (0..2_000).map(move |i| start + i * step));
            let values: Vec<f64> = keys.map(midpoint).collect();
            let whole = sketch(&values);
            prop_assert!(whole.bins().len() <= MOST_BINS);
            let (mut left, right) = (sketch(&values[..cut]), sketch(&values[cut..]));
            left.merge(&right);
            prop_assert_eq!(&left, &whole);
            let count: u64 = whole.bins().iter().map(|bin| bin.1).sum();
            prop_assert_eq!(count, values.len() as u64);
        }
    }

    #[test]
    fn the_bounds_are_the_powers_of_the_35th_root_of_two() {
        for (bin, fraction) in BOUNDS.into_iter().enumerate() {
            let bound = 1.0 + fraction as f64 / (1u64 << FRACTION_BITS) as f64;
            let exact = (bin as f64 / BINS_PER_OCTAVE as f64).exp2();
            assert!((bound - exact).abs() <= 2.0 * f64::EPSILON, "{bin}");
        }
    }

    #[test]
    fn keys_are_the_same_on_every_machine() {
        let cases = [
            (0.0, 0),
            (f64::MIN_POSITIVE / 2.0, 0),
            (f64::MIN_POSITIVE, 1),
            (1.0, 35_771),
            (-1.0, -35_771),
            (2.0, 35_806),
            (21.37, 35_925),
            (f64::MAX, 71_610),
        ];
        for (value, expected) in cases {
            assert_eq!(key(value), expected, "{value}");
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Sketch::new().percentile(Percentile::P50), None);
    }
}
