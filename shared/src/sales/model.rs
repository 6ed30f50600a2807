//! The words of the sales context: columns of the export, exact amounts, dates.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The text that point-of-sale exports write for "no value".
pub const NO_VALUE: &str = "---";

/// A column of the 19-column point-of-sale export, in the order of the export.
///
/// `column as usize` is the index of its cell in a row of [`Column::COUNT`] cells. Serialised as
/// the header that [`Column::name`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the header that `name` prints")]
pub enum Column {
    SaleDate,
    ClientId,
    SaleId,
    ItemName,
    BatchNumber,
    SalesNotes,
    Location,
    Notes,
    Color,
    Size,
    ItemPrice,
    Quantity,
    Subtotal,
    DiscountPercent,
    DiscountAmount,
    Tax,
    ItemTotal,
    TotalPaid,
    PaymentMethod,
}

impl Column {
    /// Number of columns.
    pub const COUNT: usize = 19;

    /// Every column, in the order of the export.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SaleDate,
        Self::ClientId,
        Self::SaleId,
        Self::ItemName,
        Self::BatchNumber,
        Self::SalesNotes,
        Self::Location,
        Self::Notes,
        Self::Color,
        Self::Size,
        Self::ItemPrice,
        Self::Quantity,
        Self::Subtotal,
        Self::DiscountPercent,
        Self::DiscountAmount,
        Self::Tax,
        Self::ItemTotal,
        Self::TotalPaid,
        Self::PaymentMethod,
    ];

    /// The columns a file must have and a row must fill.
    pub const REQUIRED: [Self; 4] = [
        Self::SaleDate,
        Self::SaleId,
        Self::ItemName,
        Self::TotalPaid,
    ];

    /// The columns that hold a number, if they hold anything; the total paid is the last.
    pub const NUMERIC: [Self; 8] = [
        Self::ItemPrice,
        Self::Quantity,
        Self::Subtotal,
        Self::DiscountPercent,
        Self::DiscountAmount,
        Self::Tax,
        Self::ItemTotal,
        Self::TotalPaid,
    ];

    /// The header exactly as the export writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SaleDate => "Sale Date",
            Self::ClientId => "Client ID",
            Self::SaleId => "Sale ID",
            Self::ItemName => "Item name",
            Self::BatchNumber => "Batch #",
            Self::SalesNotes => "Sales Notes",
            Self::Location => "Location",
            Self::Notes => "Notes",
            Self::Color => "Color",
            Self::Size => "Size",
            Self::ItemPrice => "Item price (excluding tax)",
            Self::Quantity => "Quantity",
            Self::Subtotal => "Subtotal (excluding tax)",
            Self::DiscountPercent => "Discount %",
            Self::DiscountAmount => "Discount amount",
            Self::Tax => "Tax",
            Self::ItemTotal => "Item Total",
            Self::TotalPaid => "Total Paid w/ Payment Method",
            Self::PaymentMethod => "Payment Method",
        }
    }

    /// The column a header names: trimmed, in any case, with or without `(excluding tax)`;
    /// `Total Paid` alone is understood too. `None` for a column that is not of the export.
    #[must_use]
    pub fn from_header(header: &str) -> Option<Self> {
        fn base(header: &str) -> String {
            let lower = header.trim().to_lowercase();
            let base = lower.strip_suffix("(excluding tax)").unwrap_or(&lower);
            base.trim_end().to_owned()
        }
        let wanted = base(header);
        if wanted == "total paid" {
            return Some(Self::TotalPaid);
        }
        Self::ALL
            .into_iter()
            .find(|column| base(column.name()) == wanted)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_header(&name).ok_or_else(|| D::Error::custom("not a column of the export"))
    }
}

/// An exact amount of money, or another exact number of the export: an integer count of
/// 0.00001. It has no currency; a file is all in one.
///
/// Range: about ±92 trillion ([`Amount::MIN`] to [`Amount::MAX`]). Serialised as its decimal
/// string, the shortest that is exact: `5069.044`, `-0.5`, `0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

impl Amount {
    /// Digits after the decimal point that an amount can hold.
    pub const DECIMALS: u32 = 5;
    /// How many units of an amount make 1.
    pub const SCALE: i64 = 10_i64.pow(Self::DECIMALS);
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, 92233720368547.75807.
    pub const MAX: Self = Self(i64::MAX);
    /// The smallest amount, -92233720368547.75808.
    pub const MIN: Self = Self(i64::MIN);

    /// The amount of `units` hundred-thousandths.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// How many hundred-thousandths this is.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// The sum, or `None` when it leaves the range.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// The difference, or `None` when it leaves the range.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Reads a number as an export writes it: an optional sign, digits that are either plain or
    /// grouped in thousands by commas, and at most five decimals. No currency sign, no
    /// parentheses, no exponent, no surrounding blanks.
    ///
    /// # Errors
    /// See [`AmountError`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        Self::parse_bytes(text.as_bytes())
    }

    fn parse_bytes(text: &[u8]) -> Result<Self, AmountError> {
        const POWERS: [i64; 6] = [100_000, 10_000, 1_000, 100, 10, 1];
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        // 13 digits and 5 decimals stay below i64::MAX, so this path needs no overflow checks.
        if digits.len() <= 13 {
            let mut units: i64 = 0;
            let mut at = 0;
            while let Some(digit) = digits.get(at).copied().and_then(digit_value) {
                units = units * 10 + digit;
                at += 1;
            }
            if at == digits.len() && at > 0 {
                return Ok(Self(signed(negative, units * Self::SCALE)));
            }
            if digits.get(at) == Some(&b'.') {
                let decimals = &digits[at + 1..];
                if (1..=5).contains(&decimals.len()) {
                    let mut fraction: i64 = 0;
                    for byte in decimals {
                        fraction =
                            fraction * 10 + digit_value(*byte).ok_or(AmountError::Invalid)?;
                    }
                    let scaled = units * Self::SCALE + fraction * POWERS[decimals.len()];
                    return Ok(Self(signed(negative, scaled)));
                }
            }
        }
        Self::parse_any(negative, digits)
    }

    /// The whole grammar with overflow checks, for what the short path leaves.
    fn parse_any(negative: bool, text: &[u8]) -> Result<Self, AmountError> {
        let (whole, decimals) = match memchr::memchr(b'.', text) {
            Some(point) => (&text[..point], &text[point + 1..]),
            None => (text, &[][..]),
        };
        let has_point = whole.len() < text.len();
        if (has_point && decimals.is_empty())
            || !decimals.iter().all(u8::is_ascii_digit)
            || !is_whole(whole, has_point)
        {
            return Err(AmountError::Invalid);
        }
        if decimals.len() > 5 {
            return Err(AmountError::TooManyDecimals);
        }
        let padding = 5 - decimals.len();
        let mut units: i64 = 0;
        let digits = whole
            .iter()
            .chain(decimals)
            .copied()
            .filter_map(digit_value);
        for digit in digits.chain(std::iter::repeat_n(0, padding)) {
            // Summed on the side of the sign, because i64::MIN has no positive twin.
            units = units
                .checked_mul(10)
                .and_then(|units| units.checked_add(signed(negative, digit)))
                .ok_or(AmountError::OutOfRange)?;
        }
        Ok(Self(units))
    }
}

fn digit_value(byte: u8) -> Option<i64> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(i64::from(value))
}

const fn signed(negative: bool, units: i64) -> i64 {
    if negative { -units } else { units }
}

/// Whether `whole` is digits, or digits grouped in thousands. A first group of `0` is refused:
/// `0,123` is a decimal comma, not a thousand.
fn is_whole(whole: &[u8], may_be_empty: bool) -> bool {
    if memchr::memchr(b',', whole).is_none() {
        return (may_be_empty || !whole.is_empty()) && whole.iter().all(u8::is_ascii_digit);
    }
    let mut groups = whole.split(|byte| *byte == b',');
    let first = groups.next().unwrap_or_default();
    (1..=3).contains(&first.len())
        && first[0] != b'0'
        && first.iter().all(u8::is_ascii_digit)
        && groups.all(|group| group.len() == 3 && group.iter().all(u8::is_ascii_digit))
}

/// Why a text is not an [`Amount`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AmountError {
    /// Not a number in the accepted spelling.
    #[error("not a number")]
    Invalid,
    /// More than five digits after the decimal point.
    #[error("more than 5 decimals")]
    TooManyDecimals,
    /// Outside [`Amount::MIN`] to [`Amount::MAX`].
    #[error("number is out of range")]
    OutOfRange,
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        Self::parse(text)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.unsigned_abs();
        let scale = Self::SCALE.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{}", units / scale)?;
        let mut fraction = units % scale;
        if fraction == 0 {
            return Ok(());
        }
        let mut width = 5;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        write!(f, ".{fraction:0width$}")
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// The first and last year of a date that is taken for a date of sale.
pub const YEARS: std::ops::RangeInclusive<i16> = 1900..=2999;

/// Reads `M/D/YYYY`, with or without leading zeros, or `YYYY-MM-DD`; no surrounding blanks.
///
/// # Errors
/// [`DateError`] for any other spelling, a day the calendar does not have, or a year outside
/// [`YEARS`].
pub fn parse_date(text: &str) -> Result<Date, DateError> {
    let (year, month, day) = spelled(text.as_bytes()).ok_or(DateError::Invalid)?;
    let date = Date::new(year, month, day).map_err(|_| DateError::Invalid)?;
    if YEARS.contains(&year) {
        Ok(date)
    } else {
        Err(DateError::OutOfRange)
    }
}

fn spelled(text: &[u8]) -> Option<(i16, i8, i8)> {
    fn digit(byte: u8) -> Option<i16> {
        let value = byte.wrapping_sub(b'0');
        (value < 10).then_some(i16::from(value))
    }
    fn two(tens: u8, ones: u8) -> Option<i8> {
        i8::try_from(digit(tens)? * 10 + digit(ones)?).ok()
    }
    let (month, day, year) = match *text {
        [a, b, b'/', c, d, b'/', ref year @ ..] => (two(a, b)?, two(c, d)?, year),
        [b, b'/', c, d, b'/', ref year @ ..] => (two(b'0', b)?, two(c, d)?, year),
        [a, b, b'/', d, b'/', ref year @ ..] => (two(a, b)?, two(b'0', d)?, year),
        [b, b'/', d, b'/', ref year @ ..] => (two(b'0', b)?, two(b'0', d)?, year),
        [ref year @ .., b'-', a, b, b'-', c, d] => (two(a, b)?, two(c, d)?, year),
        _ => return None,
    };
    let [a, b, c, d] = *year else { return None };
    let year = digit(a)? * 1000 + digit(b)? * 100 + digit(c)? * 10 + digit(d)?;
    Some((year, month, day))
}

/// Why a text is not a date of sale.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DateError {
    /// Neither `M/D/YYYY` nor `YYYY-MM-DD`, or not a day of the calendar.
    #[error("not a date, expected M/D/YYYY or YYYY-MM-DD")]
    Invalid,
    /// A real day, in a year outside [`YEARS`].
    #[error("year is not in 1900 to 2999")]
    OutOfRange,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    #[test]
    fn amounts_are_read_as_exports_write_them() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("34.88", 3_488_000),
            ("-34.88", -3_488_000),
            ("+1", 100_000),
            (".5", 50_000),
            ("0.654", 65_400),
            ("0.00001", 1),
            ("1,288.50", 128_850_000),
            ("12,345,678", 1_234_567_800_000),
            ("007", 700_000),
            ("92233720368547.75807", i64::MAX),
            ("-92233720368547.75808", i64::MIN),
        ];
        for (text, units) in cases {
            assert_eq!(Amount::parse(text), Ok(Amount::from_units(units)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_plain_number_is_refused() {
        for text in [
            "", "-", "+", ".", "1.", "-.", "1.2.3", "1e5", "$5", "(5)", "5-", "--5", "1,28",
            "12,34.5", ",123", "1,,234", "1,234,", "0,123", "1.234,5", " 1", "1 ", "1 288", "٣",
            "−5", "NaN", "5%",
        ] {
            assert_eq!(Amount::parse(text), Err(AmountError::Invalid), "{text}");
        }
        assert_eq!(Amount::parse("1.000000"), Err(AmountError::TooManyDecimals));
        for text in [
            "92233720368547.75808",
            "-92233720368547.75809",
            "99999999999999999999",
        ] {
            assert_eq!(Amount::parse(text), Err(AmountError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_both_spellings_and_only_when_the_calendar_has_them() {
        let day = jiff::civil::date(2025, 3, 1);
        for text in [
            "3/1/2025",
            "03/01/2025",
            "3/01/2025",
            "03/1/2025",
            "2025-03-01",
        ] {
            assert_eq!(parse_date(text), Ok(day), "{text}");
        }
        assert_eq!(parse_date("2/29/2024"), Ok(jiff::civil::date(2024, 2, 29)));
        for text in [
            "",
            "2/29/2025",
            "13/1/2025",
            "0/1/2025",
            "1/0/2025",
            "4/31/2025",
            "2025-3-1",
            "2025/03/01",
            "3-1-2025",
            "3/1/25",
            "3/1/02025",
            "003/1/2025",
            "3/1/2025 10:00",
            "2025-03-01T00:00:00",
            "1/1/-999",
            "١/١/2025",
        ] {
            assert_eq!(parse_date(text), Err(DateError::Invalid), "{text}");
        }
        for text in ["1/1/1899", "3000-01-01", "0000-01-01"] {
            assert_eq!(parse_date(text), Err(DateError::OutOfRange), "{text}");
        }
    }

    #[test]
    fn every_header_names_its_own_column() {
        for column in Column::ALL {
            let name = column.name();
            assert_eq!(Column::from_header(name), Some(column));
            assert_eq!(
                Column::from_header(&format!(" {} ", name.to_uppercase())),
                Some(column)
            );
            assert_eq!(Column::ALL[column as usize], column);
        }
        assert_eq!(Column::from_header("item PRICE"), Some(Column::ItemPrice));
        assert_eq!(
            Column::from_header("Tax (Excluding Tax)"),
            Some(Column::Tax)
        );
        assert_eq!(Column::from_header("Total paid"), Some(Column::TotalPaid));
        assert_eq!(Column::from_header("Salesperson"), None);
        assert_eq!(Column::from_header(""), None);
    }

    proptest! {
        #[test]
        fn printing_then_parsing_gives_the_same_amount(units: i64) {
            let amount = Amount::from_units(units);
            let text = amount.to_string();
            prop_assert_eq!(Amount::parse(&text), Ok(amount));
            prop_assert_eq!(text, Decimal::new(units, 5).normalize().to_string());
        }

        #[test]
        fn parsing_agrees_with_a_decimal_library(text in "[+-]?[0-9]{1,12}(\\.[0-9]{1,5})?") {
            let mut decimal: Decimal = text.parse().expect("the pattern spells a decimal");
            decimal.rescale(5);
            let units = i64::try_from(decimal.mantissa()).expect("12 digits and 5 decimals fit");
            prop_assert_eq!(Amount::parse(&text), Ok(Amount::from_units(units)));
        }

        #[test]
        fn grouping_in_thousands_changes_nothing(units: i64) {
            let plain = Amount::from_units(units).to_string();
            let (sign, digits) = plain.split_at(usize::from(units < 0));
            let (whole, decimals) = digits.split_once('.').map_or((digits, None), |(w, d)| (w, Some(d)));
            let mut grouped = sign.to_owned();
            for (at, digit) in whole.char_indices() {
                if at > 0 && (whole.len() - at).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            if let Some(decimals) = decimals {
                grouped.push('.');
                grouped.push_str(decimals);
            }
            prop_assert_eq!(Amount::parse(&grouped), Ok(Amount::from_units(units)));
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in "\\PC{0,30}|[-+0-9,.]{0,30}") {
            if let Ok(amount) = Amount::parse(&text) {
                prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
            }
        }

        #[test]
        fn dates_agree_with_a_calendar_library(year in 1890_i16..3010, month in 0_i8..15, day in 0_i8..33) {
            let expected = Date::new(year, month, day).ok().filter(|_| YEARS.contains(&year));
            prop_assert_eq!(parse_date(&format!("{month}/{day}/{year}")).ok(), expected);
            prop_assert_eq!(parse_date(&format!("{month:02}/{day:02}/{year}")).ok(), expected);
            prop_assert_eq!(parse_date(&format!("{year}-{month:02}-{day:02}")).ok(), expected);
        }

        #[test]
        fn any_text_is_a_date_or_an_error(text in "\\PC{0,12}|[-/0-9]{0,12}") {
            let _: Result<Date, DateError> = parse_date(&text);
        }
    }
}
