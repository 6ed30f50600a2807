//! Roll-ups: what is kept of the readings of a minute, an hour or a day.
//!
//! Invariants:
//! - A [`Rollup`] of the whole equals the merged roll-ups of its parts, however it was cut: counts,
//!   extremes, first, last and percentiles always; sum, average and deviation to the bit as long as
//!   the readings are short decimals, as `moments.rs` bounds them, and otherwise within rounding.
//! - The same readings give the same roll-up and the same bytes on every platform: the arithmetic
//!   is on integers, or IEEE 754 addition, multiplication, division and square root.
//! - What was encoded decodes to the bit; any bytes decode or are refused.

mod bits;
mod moments;
mod percentile;
mod rollups;
mod sketch;
mod sum;

pub use percentile::{Percentile, PercentileError};
pub use rollups::{Rollups, RollupsError};
pub use sketch::{MOST_BINS, RELATIVE_ACCURACY, Sketch};
pub use sum::Sum;

use moments::{Extent, Moments};

/// Statistics of the readings of one bucket of time.
///
/// All are of the valid readings alone, but for [`count`](Self::count).
#[derive(Clone, Debug, PartialEq)]
pub struct Rollup {
    count: u64,
    valid_count: u64,
    min: f64,
    max: f64,
    first: f64,
    last: f64,
    moments: Moments,
    sketch: Sketch,
}

impl Default for Rollup {
    fn default() -> Self {
        Self::new()
    }
}

impl Rollup {
    /// The roll-up of no readings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            count: 0,
            valid_count: 0,
            min: 0.0,
            max: 0.0,
            first: 0.0,
            last: 0.0,
            moments: Moments::NONE,
            sketch: Sketch::new(),
        }
    }

    /// Takes in a reading, which is not earlier than those before. A value that is not finite
    /// counts as invalid; a negative zero is zero.
    #[inline]
    pub fn add(&mut self, value: f64, is_valid: bool) {
        self.count += 1;
        if !is_valid || !value.is_finite() {
            return;
        }
        let value = value + 0.0;
        self.moments.add(value, &self.extent());
        if self.valid_count == 0 {
            (self.min, self.max, self.first) = (value, value, value);
        } else {
            self.min = if value < self.min { value } else { self.min };
            self.max = if value > self.max { value } else { self.max };
        }
        self.last = value;
        self.valid_count += 1;
        self.sketch.add(value);
    }

    /// Takes in a roll-up of readings that are not earlier than those before.
    pub fn merge(&mut self, later: &Self) {
        self.count += later.count;
        if later.valid_count == 0 {
            return;
        }
        if self.valid_count == 0 {
            let count = self.count;
            *self = later.clone();
            self.count = count;
            return;
        }
        self.moments
            .merge(&self.extent(), &later.moments, &later.extent());
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
        self.valid_count += later.valid_count;
        self.sketch.merge(&later.sketch);
    }

    const fn extent(&self) -> Extent {
        Extent {
            count: self.valid_count,
            min: self.min,
            max: self.max,
        }
    }

    fn if_any(&self, value: f64) -> Option<f64> {
        (self.valid_count > 0 && value.is_finite()).then_some(value)
    }

    /// How many readings, valid or not.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// How many valid readings.
    #[must_use]
    pub const fn valid_count(&self) -> u64 {
        self.valid_count
    }

    /// The sum, zero of nothing; `None` where it left the range of a float.
    #[must_use]
    pub fn sum(&self) -> Option<Sum> {
        Some(self.moments.sum()).filter(|sum| sum.to_f64().is_finite())
    }

    /// The lowest value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.if_any(self.min)
    }

    /// The highest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.if_any(self.max)
    }

    /// The arithmetic mean; `None` of nothing, or where the sum left the range of a float.
    #[must_use]
    pub fn avg(&self) -> Option<f64> {
        self.if_any(self.moments.mean(self.valid_count))
    }

    /// The standard deviation of the readings as a whole population: the root of the mean squared
    /// deviation from the mean, 0 of one reading. `None` of nothing, or where it left the range of
    /// a float.
    #[must_use]
    pub fn stddev(&self) -> Option<f64> {
        self.if_any(self.moments.standard_deviation(self.valid_count))
    }

    /// The earliest value.
    #[must_use]
    pub fn first(&self) -> Option<f64> {
        self.if_any(self.first)
    }

    /// The latest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.if_any(self.last)
    }

    /// A value within [`RELATIVE_ACCURACY`] of the one at the percentile's
    /// [rank](Percentile::rank), and between the lowest and the highest, which are the percentiles
    /// 0 and 100 exactly.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<f64> {
        match percentile.hundredths() {
            0 => self.min(),
            10_000 => self.max(),
            _ => {
                let value = self.sketch.percentile(percentile)?;
                self.if_any(value.clamp(self.min, self.max))
            }
        }
    }

    /// The sketch that percentiles come from.
    #[must_use]
    pub const fn sketch(&self) -> &Sketch {
        &self.sketch
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "what is close is compared")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rollup(readings: &[(f64, bool)]) -> Rollup {
        let mut rollup = Rollup::new();
        for &(value, is_valid) in readings {
            rollup.add(value, is_valid);
        }
        rollup
    }

    fn decimals() -> impl Strategy<Value = Vec<(f64, bool)>> {
        let reading = |scale: u8| {
            let value = (-1_000_000i64..1_000_000).prop_map(move |m| moments::value(m, scale));
            (value, prop::bool::weighted(0.9))
        };
        let scales =
            [0u8, 2, 3, 7].map(|scale| prop::collection::vec(reading(scale), 0..60).boxed());
        scales.prop_map(|parts| parts.concat())
    }

    fn floats() -> impl Strategy<Value = Vec<(f64, bool)>> {
        prop::collection::vec((-1e3..1e3f64, prop::bool::weighted(0.9)), 0..200)
    }

    fn merged(readings: &[(f64, bool)], cuts: &[usize]) -> Rollup {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (readings.len() + 1)).collect();
        cuts.extend([0, readings.len()]);
        cuts.sort_unstable();
        let mut total = Rollup::new();
        for pair in cuts.windows(2) {
            total.merge(&rollup(&readings[pair[0]..pair[1]]));
        }
        total
    }

    fn close(left: Option<f64>, right: Option<f64>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) => (left - right).abs() <= 1e-9 * left.abs().max(1e-3),
            (left, right) => left == right,
        }
    }

    proptest! {
        #[test]
        fn of_decimals_the_whole_equals_its_merged_parts_to_the_bit(
            readings in decimals(),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            prop_assert_eq!(merged(&readings, &cuts), rollup(&readings));
        }

        #[test]
        fn of_any_numbers_only_sum_and_deviation_depend_on_rounding(
            (decimals, floats) in (decimals(), floats()),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let readings = [decimals, floats].concat();
            let (parts, whole) = (merged(&readings, &cuts), rollup(&readings));
            prop_assert!(close(parts.avg(), whole.avg()));
            prop_assert!(close(parts.stddev(), whole.stddev()));
            let rest = |mut rollup: Rollup| {
                rollup.moments = Moments::NONE;
                rollup
            };
            prop_assert_eq!(rest(parts), rest(whole));
        }

        #[test]
        fn whether_sums_are_exact_depends_on_the_readings_alone(
            readings in prop::collection::vec((-999_999_999_999_999i64..=999_999_999_999_999, 0..3u8), 1..12),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let readings: Vec<_> = readings
                .into_iter()
                .map(|(mantissa, scale)| (moments::value(mantissa, scale), true))
                .collect();
            let is_exact = |rollup: Rollup| matches!(rollup.moments, Moments::Exact { .. });
            prop_assert_eq!(is_exact(merged(&readings, &cuts)), is_exact(rollup(&readings)));
        }

        #[test]
        fn statistics_are_those_of_the_definition(
            readings in prop_oneof![decimals(), floats()],
        ) {
            let rollup = rollup(&readings);
            let values: Vec<f64> = readings.iter().filter(|r| r.1).map(|r| r.0).collect();
            prop_assert_eq!(rollup.count(), readings.len() as u64);
            prop_assert_eq!(rollup.valid_count(), values.len() as u64);
            prop_assert_eq!(rollup.first(), values.first().copied());
            prop_assert_eq!(rollup.last(), values.last().copied());
            prop_assert_eq!(rollup.min(), values.iter().copied().reduce(f64::min));
            prop_assert_eq!(rollup.max(), values.iter().copied().reduce(f64::max));
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            let any = (n > 0.0).then_some(());
            prop_assert!(close(rollup.avg(), any.map(|()| mean)));
            prop_assert!(close(rollup.stddev(), any.map(|()| variance.sqrt())));
        }

        #[test]
        fn a_sum_of_decimals_is_exact(
            mantissas in prop::collection::vec(-10_000_000_000i64..10_000_000_000, 0..200),
            scale in 0..=9u8,
        ) {
            let readings: Vec<_> = mantissas.iter().map(|&m| (moments::value(m, scale), true)).collect();
            let expected = Sum::Exact { mantissa: mantissas.iter().sum(), scale };
            prop_assert_eq!(rollup(&readings).sum().unwrap().to_string(), expected.to_string());
        }

        #[test]
        fn any_decimal_of_15_digits_is_known_by_its_mantissa(
            mantissa in -999_999_999_999_999i64..=999_999_999_999_999,
            scale in 0..=9u8,
        ) {
            prop_assert_eq!(moments::mantissa(moments::value(mantissa, scale), scale), Some(mantissa));
        }
    }

    #[test]
    fn invalid_readings_count_and_change_nothing_else() {
        let rollup = rollup(&[(99.0, false), (2.0, true), (f64::NAN, true), (-99.0, false)]);
        assert_eq!((rollup.count(), rollup.valid_count()), (4, 1));
        assert_eq!(
            (rollup.min(), rollup.max(), rollup.avg()),
            (Some(2.0), Some(2.0), Some(2.0))
        );
        assert_eq!(rollup.stddev(), Some(0.0));
    }

    #[test]
    fn without_valid_readings_there_are_no_values() {
        let rollup = rollup(&[(1.0, false)]);
        assert_eq!((rollup.count(), rollup.sum()), (1, Some(Sum::ZERO)));
        assert_eq!(
            (rollup.min(), rollup.avg(), rollup.stddev()),
            (None, None, None)
        );
        assert_eq!(rollup.percentile(Percentile::P50), None);
    }

    #[test]
    fn a_tenth_three_times_is_three_tenths() {
        let sum = rollup(&[(0.1, true), (0.2, true)]).sum();
        assert_eq!(
            sum,
            Some(Sum::Exact {
                mantissa: 3,
                scale: 1
            })
        );
        assert_eq!(
            rollup(&[(0.1 + 0.2, true)]).sum(),
            Some(Sum::Float(0.1 + 0.2))
        );
    }

    #[test]
    fn sums_are_exact_as_long_as_their_squares_are_counted() {
        let largest = (999_999_999_999_999.0, true);
        let is_exact =
            |count| matches!(rollup(&vec![largest; count]).sum(), Some(Sum::Exact { .. }));
        assert!(is_exact(5));
        assert!(!is_exact(6));
    }

    #[test]
    fn a_negative_zero_is_zero() {
        let rollup = rollup(&[(-0.0, true)]);
        assert_eq!(rollup.first().map(f64::to_bits), Some(0));
    }

    #[test]
    fn sums_beyond_the_range_of_a_float_are_left_out() {
        let rollup = rollup(&[(f64::MAX, true), (f64::MAX, true)]);
        assert_eq!((rollup.sum(), rollup.avg()), (None, None));
        assert_eq!(rollup.max(), Some(f64::MAX));
    }

    #[test]
    fn percentiles_never_leave_the_range_of_the_values() {
        let rollup = rollup(&[(21.37, true); 12]);
        assert_eq!(rollup.percentile(Percentile::P99), Some(21.37));
    }
}
