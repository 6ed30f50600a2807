//! How long the buckets of a series are.

use std::{fmt, str::FromStr};

use crate::sensors::model::{DAY_MS, HOUR_MS, MINUTE_MS};

/// How long a bucket is. Buckets begin at whole multiples of it since the Unix epoch, days of a time
/// zone at its midnights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    /// `1min`
    OneMinute,
    /// `5min`
    FiveMinutes,
    /// `1hour`
    OneHour,
    /// `1day`
    OneDay,
}

/// A text that names no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interval is 1min, 5min, 1hour or 1day")]
pub struct IntervalError;

impl Interval {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [
        Self::OneMinute,
        Self::FiveMinutes,
        Self::OneHour,
        Self::OneDay,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneMinute => "1min",
            Self::FiveMinutes => "5min",
            Self::OneHour => "1hour",
            Self::OneDay => "1day",
        }
    }

    /// Its milliseconds, of a day without change of offset.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Self::OneMinute => MINUTE_MS,
            Self::FiveMinutes => 5 * MINUTE_MS,
            Self::OneHour => HOUR_MS,
            Self::OneDay => DAY_MS,
        }
    }

    /// The start of the bucket in UTC that holds a time.
    #[must_use]
    pub const fn floor(self, ms: i64) -> i64 {
        ms.div_euclid(self.millis()) * self.millis()
    }

    /// The first start of a bucket in UTC that is not before a time.
    #[must_use]
    pub const fn ceil(self, ms: i64) -> i64 {
        self.floor(ms + self.millis() - 1)
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let mut all = Self::ALL.into_iter();
        all.find(|interval| interval.name() == text)
            .ok_or(IntervalError)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for interval in Interval::ALL {
            assert_eq!(interval.name().parse(), Ok(interval));
        }
        assert_eq!("1m".parse::<Interval>(), Err(IntervalError));
    }

    #[test]
    fn buckets_before_the_epoch_begin_before_what_they_hold() {
        assert_eq!(Interval::OneHour.floor(-1), -HOUR_MS);
        assert_eq!(Interval::OneHour.ceil(-1), 0);
        assert_eq!(Interval::FiveMinutes.ceil(1), 5 * MINUTE_MS);
    }
}
