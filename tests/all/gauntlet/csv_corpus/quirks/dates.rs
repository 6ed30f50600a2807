//! Dates as people and programs write them.

use super::super::draft::{DATE, Line, good, plain};
use super::{ENCODING, Quirk, bad_cell, line};

/// Texts that are dates, and the day they are.
const DATES: [(&str, &str, &str); 14] = [
    ("date with leading zeros", "03/09/2025", "2025-03-09"),
    ("date with one leading zero", "03/9/2025", "2025-03-09"),
    ("date as ISO", "2025-03-09", "2025-03-09"),
    ("date between spaces", "  3/9/2025 ", "2025-03-09"),
    ("date between tabs", "\t3/9/2025\t", "2025-03-09"),
    ("leap day", "2/29/2024", "2024-02-29"),
    ("leap day of a century", "2/29/2000", "2000-02-29"),
    ("leap day as ISO", "2024-02-29", "2024-02-29"),
    ("first day of the year", "1/1/2025", "2025-01-01"),
    ("last day of the year", "12/31/2025", "2025-12-31"),
    ("first day that counts", "1/1/1900", "1900-01-01"),
    ("last day that counts", "12/31/2999", "2999-12-31"),
    ("day and month alike", "11/11/2025", "2025-11-11"),
    ("month first though both fit", "1/2/2025", "2025-01-02"),
];

/// Texts that are not.
const WRONG: [(&str, &str, &str); 31] = [
    ("day before month", "31/12/2025", "invalid-date"),
    ("month 13", "13/1/2025", "invalid-date"),
    ("month 0", "0/9/2025", "invalid-date"),
    ("day 0", "3/0/2025", "invalid-date"),
    ("day 32", "3/32/2025", "invalid-date"),
    ("30 February", "2/30/2025", "invalid-date"),
    ("31 April", "4/31/2025", "invalid-date"),
    ("leap day in a common year", "2/29/2025", "invalid-date"),
    ("leap day in 1900", "2/29/1900", "invalid-date"),
    (
        "leap day in a common year as ISO",
        "2025-02-29",
        "invalid-date",
    ),
    ("year 0", "0000-01-01", "date-out-of-range"),
    ("year 1", "1/1/0001", "date-out-of-range"),
    ("year 1899", "12/31/1899", "date-out-of-range"),
    ("year 3000", "1/1/3000", "date-out-of-range"),
    ("year 9999", "12/31/9999", "date-out-of-range"),
    ("year 10000", "1/1/10000", "invalid-date"),
    ("year of two digits", "3/9/25", "invalid-date"),
    ("year below zero", "-2025-03-09", "invalid-date"),
    (
        "date without leading zeros as ISO",
        "2025-3-9",
        "invalid-date",
    ),
    ("date with dots", "9.3.2025", "invalid-date"),
    (
        "date with slashes, year first",
        "2025/03/09",
        "invalid-date",
    ),
    ("date with blanks within", "3 / 9 / 2025", "invalid-date"),
    ("date with a time", "2025-03-09T10:00:00Z", "invalid-date"),
    ("date with a clock", "3/9/2025 10:00", "invalid-date"),
    ("date in words", "9 March 2025", "invalid-date"),
    ("date as a serial number", "45725", "invalid-date"),
    ("date in compact ISO", "20250309", "invalid-date"),
    (
        "date of three digits a part",
        "003/009/2025",
        "invalid-date",
    ),
    (
        "date in full-width digits",
        "３/９/２０２５",
        "invalid-date",
    ),
    ("date left out", "", "missing-value"),
    ("date that is none", "---", "missing-value"),
];

pub(super) fn quirks() -> Vec<Quirk> {
    let right = DATES.into_iter().map(|(name, text, day)| {
        let odd = Line::sale(text, name, "Rope", "7.25", good(day, "7.25"));
        line(name, 0, odd)
    });
    let wrong = WRONG.into_iter().map(|(name, text, code)| {
        let claims = if text.is_ascii() { 0 } else { ENCODING };
        bad_cell(name, claims, DATE, plain(text), code)
    });
    right.chain(wrong).collect()
}
