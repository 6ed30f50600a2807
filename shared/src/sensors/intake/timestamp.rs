//! Times as RFC 3339 spells them, in milliseconds.

/// Milliseconds of Unix time of a date and time with an offset, any further digits of the second
/// cut off. `None` for any other text, and for the leap second 23:59:60, which Unix time lacks.
///
/// Between date and time stands `T`, `t` or a space; section 5.6 allows all of them.
pub(super) fn rfc3339_ms(text: &str) -> Option<i64> {
    let (fixed, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let digit = |at: usize| i64::from(fixed[at].wrapping_sub(b'0'));
    let pair = |at: usize| digit(at) * 10 + digit(at + 1);
    let is_punctuated = fixed[4] == b'-'
        && fixed[7] == b'-'
        && matches!(fixed[10], b'T' | b't' | b' ')
        && fixed[13] == b':'
        && fixed[16] == b':';
    let digits = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18];
    if !is_punctuated || digits.iter().any(|at| digit(*at) > 9) {
        return None;
    }
    let (year, month, day) = (pair(0) * 100 + pair(2), pair(5), pair(8));
    let (hour, minute, second) = (pair(11), pair(14), pair(17));
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || day == 0 || day > days_of_month(year, month) {
        return None;
    }
    let (fraction_ms, rest) = fraction_ms(rest)?;
    let offset = offset_minutes(rest)?;
    let minutes = (days_from_epoch(year, month, day) * 24 + hour) * 60 + minute - offset;
    Some((minutes * 60 + second) * 1_000 + fraction_ms)
}

/// The milliseconds behind the point, and what follows.
fn fraction_ms(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (fraction, rest) = text.split_at_checked(digits)?;
    let ms = (0..3).fold(0, |ms, at| {
        ms * 10 + fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'))
    });
    (digits > 0).then_some((ms, rest))
}

/// How far local time is ahead of UTC, in minutes.
fn offset_minutes(text: &[u8]) -> Option<i64> {
    let (sign, text) = match text {
        b"Z" | b"z" => return Some(0),
        [b'+', text @ ..] => (1, text),
        [b'-', text @ ..] => (-1, text),
        _ => return None,
    };
    let &[a, b, b':', c, d] = text else {
        return None;
    };
    if ![a, b, c, d].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |high: u8, low: u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
    let (hours, minutes) = (pair(a, b), pair(c, d));
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

const fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March,
/// so that the leap day comes last.
const fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::sensors::model::{EARLIEST_MS, LATEST_MS};

    #[test]
    fn times_are_read_with_any_offset_and_any_number_of_digits() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00.1z", 100),
            ("1970-01-01 00:00:00.123456789012345+00:00", 123),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("1969-12-31T23:59:59.0009Z", -1_000),
            ("1970-01-01T05:30:00+05:30", 0),
            ("1969-12-31T16:00:00-08:00", 0),
            ("2000-02-29T12:00:00-00:00", 951_825_600_000),
            ("1900-01-01T00:00:00Z", EARLIEST_MS),
            ("9999-12-31T23:59:59.999Z", LATEST_MS),
        ] {
            assert_eq!(rfc3339_ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_times() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T10:00:00",
            "2026-11-20T10:00Z",
            "2026-11-20T10:00:00.Z",
            "2026-11-20T10:00:00,5Z",
            "2026-11-20T10:00:00+0100",
            "2026-11-20T10:00:00+01",
            "2026-11-20T10:00:00+24:00",
            "2026-11-20T10:00:00+01:60",
            "2026-11-20T10:00:00Z ",
            "2026-11-20T10:00:00Z[UTC]",
            "2026-11-20T24:00:00Z",
            "2026-11-20T10:60:00Z",
            "2016-12-31T23:59:60Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "+026-04-30T00:00:00Z",
            "2026-4-30T00:00:00.0Z",
            "2026-11-20T10:00:00é",
        ] {
            assert_eq!(rfc3339_ms(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_those_of_the_calendar(
            ms in EARLIEST_MS..=LATEST_MS,
            digits in 3..=9usize,
            offset in -1439..=1439i64,
        ) {
            let at = |ms: i64| Timestamp::from_millisecond(ms).expect("it is within the calendar");
            prop_assert_eq!(rfc3339_ms(&format!("{:.digits$}", at(ms))), Some(ms));

            let local = (ms + offset * 60_000).clamp(EARLIEST_MS, LATEST_MS);
            let text = at(local).to_string();
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            let text = format!("{}{sign}{hours:02}:{minutes:02}", text.trim_end_matches('Z'));
            prop_assert_eq!(rfc3339_ms(&text), Some(local - offset * 60_000));
        }

        #[test]
        fn what_is_a_time_here_is_the_same_time_to_others(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][01][0-9]:[0-5][0-9])"
        ) {
            let expected = text.parse::<Timestamp>().ok();
            let expected = expected.map(|time| time.as_nanosecond().div_euclid(1_000_000));
            let is_leap_second = &text[17..19] == "60";
            match (rfc3339_ms(&text).map(i128::from), expected) {
                (found, expected) if found == expected => {}
                (None, Some(_)) => prop_assert!(is_leap_second, "{}", text),
                (found, None) => prop_assert!(found.is_some_and(|ms| ms < -377_705_023_000 || ms > i128::from(LATEST_MS) - 86_400_000), "{}", text),
                (found, expected) => prop_assert_eq!(found, expected, "{}", text),
            }
        }
    }
}
