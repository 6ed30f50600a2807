//! What stands in buckets without valid readings.

use std::str::FromStr;

use jiff::{Span, SpanRelativeTo};

/// What stands in buckets without valid readings.
///
/// Where buckets are filled, the series has a point for each; its counts remain those of its
/// readings, and it has no sum and no deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// `none`: buckets without readings are left out.
    #[default]
    None,
    /// `null`: nothing stands in them.
    Null,
    /// `previous`: the values of the last bucket before that has some; nothing before the first.
    /// After the last it goes on until now.
    Previous,
    /// `linear`: values on the line from the last bucket before to the next bucket after that have
    /// some, by the buckets' starts; nothing before the first and after the last.
    Linear,
}

/// A text that names no way to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fill is none, null, previous or linear")]
pub struct FillError;

impl FromStr for Fill {
    type Err = FillError;

    fn from_str(text: &str) -> Result<Self, FillError> {
        match text {
            "none" => Ok(Self::None),
            "null" => Ok(Self::Null),
            "previous" => Ok(Self::Previous),
            "linear" => Ok(Self::Linear),
            _ => Err(FillError),
        }
    }
}

/// The longest gap that is filled: the time between the end of the bucket before and the start of
/// the bucket after that have values, or now where there is none after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MaxGap(i64);

/// A text that is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("max_gap is a duration above zero such as 90s, 15m, 2h, 1d or PT15M")]
pub struct MaxGapError;

/// Most bytes of a duration.
const MOST_BYTES: usize = 32;

impl MaxGap {
    /// The gap in milliseconds, above zero.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// Reads numbers with units down from weeks, as `jiff` does, or an ISO 8601 duration; days have 24
/// hours.
impl FromStr for MaxGap {
    type Err = MaxGapError;

    fn from_str(text: &str) -> Result<Self, MaxGapError> {
        let read = || {
            let span: Span = text.parse().ok()?;
            let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
            i64::try_from(duration.as_millis())
                .ok()
                .filter(|&ms| ms > 0)
        };
        if text.len() > MOST_BYTES {
            return Err(MaxGapError);
        }
        read().map(Self).ok_or(MaxGapError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_duration_above_zero() {
        let millis = |text: &str| text.parse().map(MaxGap::millis);
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("1d", 86_400),
            ("1h30m", 5_400),
            ("PT15M", 900),
            ("P1DT1H", 90_000),
        ] {
            assert_eq!(millis(text), Ok(seconds * 1_000), "{text}");
        }
        for text in [
            "",
            "15",
            "0s",
            "-1h",
            "1mo",
            "P1M",
            "1y",
            "h",
            "1e3s",
            &"1".repeat(40),
        ] {
            assert_eq!(millis(text), Err(MaxGapError), "{text}");
        }
    }
}
