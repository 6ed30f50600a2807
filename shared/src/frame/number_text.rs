//! Text that is exactly how a decimal number is written, so that the number can stand for it.

/// Most digits of a mantissa; any such number fits an `i64`.
const MAX_DIGITS: u8 = 18;

/// `10^exponent`, for exponents up to [`MAX_DIGITS`].
const fn power(exponent: u8) -> i64 {
    10i64.pow(exponent as u32)
}

/// A number as written: `mantissa / 10^digits`, with exactly `digits` places after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::frame) struct NumberText {
    /// All digits, as one integer.
    pub(in crate::frame) mantissa: i64,
    /// Places after the point.
    pub(in crate::frame) digits: u8,
}

impl NumberText {
    /// Most places after the point.
    pub(in crate::frame) const MAX_PLACES: u8 = MAX_DIGITS;

    /// The number whose writing is exactly `text`: an optional minus, no leading zeros, no
    /// exponent, a point only between digits, and no negative zero.
    pub(in crate::frame) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (negative, bytes) = match bytes.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, bytes),
        };
        let (mut mantissa, mut count, mut point) = (0i64, 0u8, None);
        for &byte in bytes {
            match byte {
                b'0'..=b'9' if count < MAX_DIGITS => {
                    mantissa = mantissa * 10 + i64::from(byte - b'0');
                    count += 1;
                }
                b'.' if point.is_none() && count > 0 => point = Some(count),
                _ => return None,
            }
        }
        let whole = point.unwrap_or(count);
        let leading_zero = bytes.first() == Some(&b'0') && whole > 1;
        if count == 0 || leading_zero || point == Some(count) || (negative && mantissa == 0) {
            return None;
        }
        Some(Self {
            mantissa: if negative { -mantissa } else { mantissa },
            digits: count - whole,
        })
    }

    /// The same number with `digits` places, if that many hold it.
    pub(in crate::frame) fn rescale(self, digits: u8) -> Option<i64> {
        if digits > Self::MAX_PLACES || digits < self.digits {
            return None;
        }
        self.mantissa.checked_mul(power(digits - self.digits))
    }

    /// The same number without zeros at the end of its places.
    pub(in crate::frame) fn shortest(self) -> Self {
        let Self {
            mut mantissa,
            mut digits,
        } = self;
        while digits > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            digits -= 1;
        }
        Self { mantissa, digits }
    }

    /// Appends the text; at most [`MAX_DIGITS`] places.
    pub(in crate::frame) fn write(self, out: &mut String) {
        use std::fmt::Write as _;
        let digits = self.digits.min(Self::MAX_PLACES);
        let unit = power(digits).unsigned_abs();
        let size = self.mantissa.unsigned_abs();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        // Writing to a String cannot fail.
        let _ = if digits == 0 {
            write!(out, "{sign}{size}")
        } else {
            let places = usize::from(digits);
            write!(out, "{sign}{}.{:0places$}", size / unit, size % unit)
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_parsed_text_is_written_back_byte_for_byte(text in "-?[0-9]{0,20}(\\.[0-9]{0,10})?") {
            if let Some(number) = NumberText::parse(&text) {
                let mut out = String::new();
                number.write(&mut out);
                prop_assert_eq!(out, text);
            }
        }
    }

    #[test]
    fn only_canonical_writing_counts() {
        for text in [
            "0",
            "-1",
            "2.88",
            "0.654",
            "34.50",
            "1004",
            "-0.5",
            "0.00",
            "999999999999999999",
        ] {
            assert!(NumberText::parse(text).is_some(), "{text}");
        }
        for text in [
            "",
            "-",
            "007",
            "-0",
            "-0.0",
            ".5",
            "5.",
            "+1",
            "1e3",
            "1,000",
            "---",
            "1.2.3",
            "00.1",
            "9999999999999999999",
            " 1",
        ] {
            assert!(NumberText::parse(text).is_none(), "{text}");
        }
    }
}
