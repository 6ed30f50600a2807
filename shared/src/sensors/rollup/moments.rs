//! The sum and the spread of readings, exact as long as the readings are short decimals.

use super::sum::{Sum, power};

/// Most places after the point of a reading that is summed exactly.
const MOST_SCALE: u8 = 9;

/// The largest mantissa of a reading that is summed exactly: 15 digits, all of which a float keeps,
/// so that no two decimals of them are one float.
const LARGEST_MANTISSA: f64 = 999_999_999_999_999.0;

/// Sums stay exact below so many readings and below this sum of squares. Then, by Cauchy and
/// Schwarz, the sum is below 2^63, and `count · squares` below 2^126.
const EXACT_COUNT: u64 = 1 << 24;
const EXACT_SQUARES: u128 = 1 << 102;

/// Adding and then subtracting it leaves the nearest integer of anything below 2^51.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The sum and the sum of squares of readings.
///
/// They are exact integers while all readings are decimals of at most 15 digits at the scale that
/// the longest of them needs, and within the bounds above. All of that grows with each reading, so
/// it holds of the whole or not, whatever the order and the parts it is merged of. Floats are never
/// NaN, and infinite where they left the range of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moments {
    /// Of the readings times `10^scale`.
    Exact { sum: i64, squares: u128, scale: u8 },
    /// The sum, and the sum of squared deviations from the mean (Welford 1962; Chan, Golub and
    /// `LeVeque` 1979).
    Float { sum: f64, deviations: f64 },
}

/// How many readings, the lowest and the highest of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// The integer `m` with `value == m / 10^scale`, if it has at most 15 digits.
#[inline]
pub(super) fn mantissa(value: f64, scale: u8) -> Option<i64> {
    let scaled = value * power(scale);
    let rounded = (scaled + ROUNDER) - ROUNDER;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer of at most 15 digits"
    )]
    #[expect(clippy::float_cmp, reason = "equality to the bit is meant")]
    (rounded.abs() <= LARGEST_MANTISSA && rounded / power(scale) == value).then_some(rounded as i64)
}

/// The value of a mantissa.
#[expect(clippy::cast_precision_loss, reason = "at most 15 digits")]
pub(super) fn value(mantissa: i64, scale: u8) -> f64 {
    mantissa as f64 / power(scale)
}

impl Moments {
    /// Those of no readings.
    pub(super) const NONE: Self = Self::Exact {
        sum: 0,
        squares: 0,
        scale: 0,
    };

    /// Those of one reading.
    pub(super) fn of(value: f64) -> Self {
        let exact = |scale| mantissa(value, scale).map(|mantissa| (mantissa, scale));
        let found = (0..=MOST_SCALE).find_map(exact);
        found
            .and_then(|(mantissa, scale)| Self::exact(1, mantissa, square(mantissa), scale))
            .unwrap_or(Self::Float {
                sum: value,
                deviations: 0.0,
            })
    }

    /// Exact ones, if they are within the bounds.
    pub(super) fn exact(count: u64, sum: i64, squares: u128, scale: u8) -> Option<Self> {
        (count < EXACT_COUNT && squares < EXACT_SQUARES && scale <= MOST_SCALE).then_some(
            Self::Exact {
                sum,
                squares,
                scale,
            },
        )
    }

    /// Adds a reading to those of `extent`.
    #[inline]
    pub(super) fn add(&mut self, value: f64, extent: &Extent) {
        if let Self::Exact {
            sum,
            squares,
            scale,
        } = *self
            && let Some(mantissa) = mantissa(value, scale)
            && let Some(sum) = sum.checked_add(mantissa)
            && let Some(moments) =
                Self::exact(extent.count + 1, sum, squares + square(mantissa), scale)
        {
            *self = moments;
        } else {
            let one = Extent {
                count: 1,
                min: value,
                max: value,
            };
            self.merge(extent, &Self::of(value), &one);
        }
    }

    /// Adds those of other readings; both extents are not empty, or their moments are
    /// [`NONE`](Self::NONE).
    pub(super) fn merge(&mut self, extent: &Extent, other: &Self, other_extent: &Extent) {
        *self = self
            .merge_exact(extent, other, other_extent)
            .unwrap_or_else(|| self.merge_float(extent.count, other, other_extent.count));
    }

    fn merge_exact(&self, extent: &Extent, other: &Self, other_extent: &Extent) -> Option<Self> {
        let (
            &Self::Exact { scale, .. },
            &Self::Exact {
                scale: other_scale, ..
            },
        ) = (self, other)
        else {
            return None;
        };
        let scale = scale.max(other_scale);
        let (sum, squares) = self.rescaled(scale, extent)?;
        let (other_sum, other_squares) = other.rescaled(scale, other_extent)?;
        Self::exact(
            extent.count.checked_add(other_extent.count)?,
            sum.checked_add(other_sum)?,
            squares.checked_add(other_squares)?,
            scale,
        )
    }

    /// Exact sums at a larger scale, if all readings have at most 15 digits there.
    fn rescaled(&self, to: u8, extent: &Extent) -> Option<(i64, u128)> {
        let &Self::Exact {
            sum,
            squares,
            scale,
        } = self
        else {
            return None;
        };
        if scale == to {
            return Some((sum, squares));
        }
        if extent.count > 0 {
            mantissa(extent.min, to)?;
            mantissa(extent.max, to)?;
        }
        let factor = 10u32.checked_pow(u32::from(to.checked_sub(scale)?))?;
        Some((
            sum.checked_mul(factor.into())?,
            squares.checked_mul(u128::from(factor).pow(2))?,
        ))
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean is rounded anyway")]
    fn merge_float(&self, count: u64, other: &Self, other_count: u64) -> Self {
        let (sum, other_sum) = (self.sum().to_f64(), other.sum().to_f64());
        let deviations = self.deviations(count) + other.deviations(other_count);
        let (n, m) = (count as f64, other_count as f64);
        let apart = if count == 0 || other_count == 0 {
            0.0
        } else {
            let distance = other_sum / m - sum / n;
            distance * distance * (n * m / (n + m))
        };
        Self::Float {
            sum: number(sum + other_sum),
            deviations: number(deviations + apart),
        }
    }

    /// The sum.
    pub(super) fn sum(&self) -> Sum {
        match *self {
            Self::Exact { sum, scale, .. } => Sum::Exact {
                mantissa: sum,
                scale,
            },
            Self::Float { sum, .. } => Sum::Float(sum),
        }
    }

    /// The mean of `count` readings, at least one.
    #[expect(clippy::cast_precision_loss, reason = "a mean is rounded anyway")]
    pub(super) fn mean(&self, count: u64) -> f64 {
        match *self {
            Self::Exact { sum, scale, .. } => sum as f64 / (count as f64 * power(scale)),
            Self::Float { sum, .. } => sum / count as f64,
        }
    }

    /// The sum of squared deviations of `count` readings from their mean.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the difference is exact, its quotient is rounded anyway"
    )]
    fn deviations(&self, count: u64) -> f64 {
        match *self {
            Self::Exact {
                sum,
                squares,
                scale,
            } => {
                let product = u128::from(count).saturating_mul(squares);
                let numerator = product.saturating_sub(square(sum));
                numerator as f64 / (count.max(1) as f64 * power(scale) * power(scale))
            }
            Self::Float { deviations, .. } => deviations,
        }
    }

    /// The standard deviation of `count` readings as a whole population, at least one.
    #[expect(clippy::cast_precision_loss, reason = "a root is rounded anyway")]
    pub(super) fn standard_deviation(&self, count: u64) -> f64 {
        (self.deviations(count) / count as f64).sqrt()
    }
}

/// Infinite for what is no number, which only a sum beyond the range of a float can be.
fn number(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}

pub(super) fn square(mantissa: i64) -> u128 {
    let size = u128::from(mantissa.unsigned_abs());
    size * size
}
