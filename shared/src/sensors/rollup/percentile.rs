//! A percentile, in hundredths of a percent.

use std::{fmt, str::FromStr};

/// A percentile from 0 to 100 with at most two places, such as 50, 95 or 99.99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentile(u16);

/// A percentile that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a percentile is a number from 0 to 100 with at most two places")]
pub struct PercentileError;

const MOST_HUNDREDTHS: u16 = 10_000;

impl Percentile {
    /// The 50th, also called the median.
    pub const P50: Self = Self(5_000);
    /// The 95th.
    pub const P95: Self = Self(9_500);
    /// The 99th.
    pub const P99: Self = Self(9_900);

    /// The percentile of so many hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub const fn of_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths <= MOST_HUNDREDTHS {
            Some(Self(hundredths))
        } else {
            None
        }
    }

    /// The percentile in hundredths of a percent.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Which of `count` values in ascending order it is, counted from 0: the nearest rank from
    /// below, `⌊p · (count - 1)⌋`. In integers, so that no rounding ever moves it.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the quotient is below the count"
    )]
    pub const fn rank(self, count: u64) -> u64 {
        (self.0 as u128 * count.saturating_sub(1) as u128 / MOST_HUNDREDTHS as u128) as u64
    }
}

impl FromStr for Percentile {
    type Err = PercentileError;

    fn from_str(text: &str) -> Result<Self, PercentileError> {
        let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(places, 2) {
            return Err(PercentileError);
        }
        let hundredths = format!("{whole}{places:0<2}").parse().ok();
        hundredths
            .and_then(Self::of_hundredths)
            .ok_or(PercentileError)
    }
}

/// The shortest way to write it: `95`, `99.9`.
impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(hundredths in 0..=MOST_HUNDREDTHS) {
            let percentile = Percentile::of_hundredths(hundredths).unwrap();
            prop_assert_eq!(percentile.to_string().parse(), Ok(percentile));
        }
    }

    #[test]
    fn only_numbers_from_0_to_100_are_percentiles() {
        for (text, hundredths) in [("0", 0), ("5.5", 550), ("99.99", 9_999), ("100", 10_000)] {
            assert_eq!(
                text.parse::<Percentile>().map(Percentile::hundredths),
                Ok(hundredths)
            );
        }
        for text in [
            "", "-1", "+1", "100.01", "1.234", ".5", "5.", "1e1", "0100", "nan", "655360",
        ] {
            assert_eq!(text.parse::<Percentile>(), Err(PercentileError), "{text}");
        }
    }

    #[test]
    fn a_rank_is_exact_where_floats_would_fall_short() {
        // 0.29 · 100 is 28.999999999999996 in floats.
        assert_eq!("29".parse::<Percentile>().unwrap().rank(101), 29);
        assert_eq!(Percentile::P50.rank(0), 0);
        assert_eq!(Percentile::P50.rank(4), 1);
        assert_eq!(
            Percentile::of_hundredths(10_000).unwrap().rank(u64::MAX),
            u64::MAX - 1
        );
    }
}
