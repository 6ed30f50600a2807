//! What the words of this context mean: devices and metrics by name, hours and days by number.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// Milliseconds of a minute.
pub const MINUTE_MS: i64 = 60_000;

/// Milliseconds of a UTC day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The metric of a reading that names none.
pub const DEFAULT_METRIC: &str = "value";

/// Most bytes of a device identifier.
pub const MOST_DEVICE_BYTES: usize = 100;

/// Most bytes of a metric's name.
pub const MOST_METRIC_BYTES: usize = 100;

/// Most bytes of a unit.
pub const MOST_UNIT_BYTES: usize = 32;

/// Most bytes of a reading's metadata, as compact JSON.
pub const MOST_METADATA_BYTES: usize = 1024;

/// The earliest time of a reading, 1900-01-01T00:00:00Z, in milliseconds of Unix time.
pub const EARLIEST_MS: i64 = -2_208_988_800_000;

/// The latest time of a reading, 9999-12-31T23:59:59.999Z, in milliseconds of Unix time.
pub const LATEST_MS: i64 = 253_402_300_799_999;

/// A name that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, too long, or with other characters.
    #[error(
        "a device identifier is 1 to 100 letters, digits, dots, underscores, colons or hyphens"
    )]
    Device,
    /// Empty, too long, or with other characters.
    #[error("a metric is 1 to 100 printable characters without # and control characters")]
    Metric,
}

/// Identifies a device: 1 to 100 of `[A-Za-z0-9._:-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct DeviceId(String);

impl DeviceId {
    /// Whether `text` can identify a device.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=MOST_DEVICE_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if Self::is_valid(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Device)
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for DeviceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Names what a device measures: 1 to 100 bytes of text without control characters and without
/// `#`, which separates the parts of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric(String);

impl Metric {
    /// Whether `text` can name a metric.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=MOST_METRIC_BYTES).contains(&text.len())
            && !text.chars().any(|c| c.is_control() || c == '#')
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Metric {
    fn default() -> Self {
        Self(DEFAULT_METRIC.to_owned())
    }
}

impl FromStr for Metric {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if Self::is_valid(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Metric)
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A UTC hour, counted from the Unix epoch; hours before it are negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(i64);

impl Hour {
    /// The hour with that number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The hour that holds a time, in milliseconds of Unix time.
    #[must_use]
    pub const fn of(ms: i64) -> Self {
        Self(ms.div_euclid(HOUR_MS))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn start(self) -> i64 {
        self.0 * HOUR_MS
    }

    /// The first millisecond after it.
    #[must_use]
    pub const fn end(self) -> i64 {
        (self.0 + 1) * HOUR_MS
    }

    /// The hour after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Which hour of its day it is, 0 to 23.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a remainder of 24 is 0 to 23"
    )]
    pub const fn of_day(self) -> u8 {
        self.0.rem_euclid(24) as u8
    }

    /// The day it belongs to.
    #[must_use]
    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(24))
    }
}

/// A UTC day, counted from the Unix epoch; days before it are negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day with that number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The day that holds a time, in milliseconds of Unix time.
    #[must_use]
    pub const fn of(ms: i64) -> Self {
        Self(ms.div_euclid(DAY_MS))
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn start(self) -> i64 {
        self.0 * DAY_MS
    }

    /// The first millisecond after it.
    #[must_use]
    pub const fn end(self) -> i64 {
        (self.0 + 1) * DAY_MS
    }

    /// The day after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Its first hour.
    #[must_use]
    pub const fn first_hour(self) -> Hour {
        Hour(self.0 * 24)
    }

    /// Its hour number `hour`, 0 to 23.
    #[must_use]
    pub const fn hour(self, hour: u8) -> Hour {
        Hour(self.0 * 24 + hour as i64)
    }

    /// Its date in the calendar; the last one of those the calendar has for a day beyond it.
    #[must_use]
    pub fn date(self) -> Date {
        Timestamp::from_millisecond(self.start())
            .unwrap_or(if self.0 < 0 {
                Timestamp::MIN
            } else {
                Timestamp::MAX
            })
            .to_zoned(TimeZone::UTC)
            .date()
    }

    /// The day of a date.
    #[must_use]
    pub fn from_date(date: Date) -> Self {
        let epoch = Date::constant(1970, 1, 1);
        let days = date
            .since(epoch)
            .map_or(0, |span| i64::from(span.get_days()));
        Self(days)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_device_is_named_by_letters_digits_and_four_marks() {
        for good in ["a", "pump-1", "A.b_c:d-9", &"x".repeat(100)] {
            assert!(DeviceId::is_valid(good), "{good}");
        }
        for bad in ["", " a", "a/b", "ä", "a#b", &"x".repeat(101)] {
            assert_eq!(bad.parse::<DeviceId>(), Err(NameError::Device), "{bad}");
        }
    }

    #[test]
    fn a_metric_is_named_by_any_text_that_can_be_shown() {
        for good in ["value", "usage idle", "°C", "a.b/c"] {
            assert!(Metric::is_valid(good), "{good}");
        }
        for bad in ["", "a#b", "a\nb", &"x".repeat(101)] {
            assert_eq!(bad.parse::<Metric>(), Err(NameError::Metric), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_lies_in_its_hour_and_its_hour_in_its_day(ms in EARLIEST_MS..=LATEST_MS) {
            let (hour, day) = (Hour::of(ms), Day::of(ms));
            prop_assert!(hour.start() <= ms && ms < hour.end());
            prop_assert!(day.start() <= ms && ms < day.end());
            prop_assert_eq!(hour.day(), day);
            prop_assert_eq!(day.hour(hour.of_day()), hour);
            prop_assert_eq!(Day::from_date(day.date()), day);
        }
    }
}
