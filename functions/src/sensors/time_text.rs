//! Times of many points as text: RFC 3339 UTC with milliseconds, a day's date worked out once.

use shared::sensors::model::{DAY_MS, Day};

/// Writes times, fast where they follow one another.
#[derive(Debug, Default)]
pub struct TimeText {
    date: Option<(Day, String)>,
}

impl TimeText {
    /// Appends a time in milliseconds of Unix time, such as `2026-11-20T16:00:00.000Z`; its year
    /// must be from 0 to 9999.
    pub fn write(&mut self, out: &mut Vec<u8>, ms: i64) {
        let day = Day::of(ms);
        let date = match &mut self.date {
            Some((same, date)) if *same == day => date,
            date => &mut date.insert((day, day.date().to_string())).1,
        };
        out.extend_from_slice(date.as_bytes());
        let ms = ms.rem_euclid(DAY_MS);
        let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
        let (seconds, thousandths) = (ms / 1000 % 60, ms % 1000);
        let digit = |number: i64| b'0' + u8::try_from(number % 10).unwrap_or(0);
        out.extend_from_slice(&[
            b'T',
            digit(hours / 10),
            digit(hours),
            b':',
            digit(minutes / 10),
            digit(minutes),
            b':',
            digit(seconds / 10),
            digit(seconds),
            b'.',
            digit(thousandths / 100),
            digit(thousandths / 10),
            digit(thousandths),
            b'Z',
        ]);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;
    use shared::{
        platform::clock::rfc3339,
        sensors::model::{EARLIEST_MS, LATEST_MS},
    };

    use super::*;

    proptest! {
        #[test]
        fn times_are_written_as_everywhere_else(
            ms in EARLIEST_MS..=LATEST_MS,
            steps in proptest::collection::vec(0..DAY_MS, 1..4),
        ) {
            let mut text = TimeText::default();
            for step in steps {
                let ms = (ms + step).min(LATEST_MS);
                let mut out = Vec::new();
                text.write(&mut out, ms);
                let expected = rfc3339(Timestamp::from_millisecond(ms).unwrap());
                prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
    }
}
