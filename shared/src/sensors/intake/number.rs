//! Decimal numbers: their spelling and their value, read in one pass.

/// A decimal number as it is spelt, told apart into what its value is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal<'t> {
    /// All of it.
    pub(super) text: &'t str,
    negative: bool,
    /// Whether JSON spells numbers so (RFC 8259, section 6).
    pub(super) is_json: bool,
    /// Whether it has neither point nor exponent.
    pub(super) is_integer: bool,
    /// The digits without the point, if there are no more than 19.
    mantissa: u64,
    /// Digits of the mantissa behind its leading zeros.
    digits: usize,
    exponent: i64,
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Up to here, 2⁵³, every integer is a double.
const MOST_EXACT: u64 = 1 << 53;

impl<'t> Decimal<'t> {
    /// The number that begins at byte `start`: an optional sign, digits with an optional point
    /// among them, an optional exponent. `None` if there are no digits where there must be.
    pub(super) fn at(text: &'t str, start: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let mut at = start;
        let (negative, plus) = (byte(at) == b'-', byte(at) == b'+');
        at += usize::from(negative || plus);
        let leading_zero = byte(at) == b'0';
        let (mut mantissa, mut digits) = (0u64, 0usize);
        let mut read_digits = |at: &mut usize| {
            let first = *at;
            while byte(*at).is_ascii_digit() {
                mantissa = mantissa
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(byte(*at) - b'0'));
                digits += usize::from(digits > 0 || byte(*at) != b'0');
                *at += 1;
            }
            *at - first
        };
        let whole_digits = read_digits(&mut at);
        let has_point = byte(at) == b'.';
        at += usize::from(has_point);
        let fraction_digits = if has_point { read_digits(&mut at) } else { 0 };
        if whole_digits + fraction_digits == 0 {
            return None;
        }
        let has_exponent = matches!(byte(at), b'e' | b'E');
        let mut exponent = 0i64;
        if has_exponent {
            at += 1;
            let is_down = byte(at) == b'-';
            at += usize::from(matches!(byte(at), b'-' | b'+'));
            let first = at;
            while byte(at).is_ascii_digit() {
                exponent = (exponent * 10 + i64::from(byte(at) - b'0')).min(1_000_000);
                at += 1;
            }
            if at == first {
                return None;
            }
            if is_down {
                exponent = -exponent;
            }
        }
        let fraction = i64::try_from(fraction_digits).ok()?;
        Some(Self {
            text: text.get(start..at)?,
            negative,
            is_json: !plus
                && whole_digits > 0
                && (whole_digits == 1 || !leading_zero)
                && has_point == (fraction_digits > 0),
            is_integer: !has_point && !has_exponent,
            mantissa,
            digits,
            exponent: exponent - fraction,
        })
    }

    /// Its value if it is an integer up to 2⁵³ in size, and so a double exactly.
    pub(super) fn exact_integer(&self) -> Option<f64> {
        let is_exact = self.is_integer && self.digits <= 19 && self.mantissa <= MOST_EXACT;
        // An integer has no negative zero.
        is_exact.then(|| self.value() + 0.0)
    }

    /// The nearest double; infinite beyond their range.
    ///
    /// Both factors of a short number are exact, so that one rounding is the only one: W. D.
    /// Clinger, "How to Read Floating Point Numbers Accurately", 1990.
    pub(super) fn value(&self) -> f64 {
        let is_small = self.digits <= 19 && self.mantissa <= MOST_EXACT;
        let power = usize::try_from(self.exponent.unsigned_abs())
            .ok()
            .and_then(|power| POWERS.get(power));
        match power {
            Some(power) if is_small => {
                #[expect(clippy::cast_precision_loss, reason = "it is at most 2^53")]
                let mantissa = self.mantissa as f64;
                let size = if self.exponent < 0 {
                    mantissa / power
                } else {
                    mantissa * power
                };
                if self.negative { -size } else { size }
            }
            // The standard library takes every spelling that is taken here.
            _ => self.text.parse().unwrap_or(f64::INFINITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<f64> {
        let decimal = Decimal::at(text, 0)?;
        (decimal.text == text).then(|| decimal.value())
    }

    #[test]
    fn spellings_are_told_apart() {
        for (text, is_json) in [
            ("0", true),
            ("-0.0", true),
            ("10.50e-3", true),
            ("1E5", true),
            ("01", false),
            ("-00.5", false),
            ("1.", false),
            (".5", false),
            ("+1", false),
        ] {
            let decimal = Decimal::at(text, 0).expect(text);
            assert_eq!((decimal.text, decimal.is_json), (text, is_json));
        }
        for text in ["", "-", ".", "e5", "1e", "1e+", "NaN", "-inf"] {
            assert!(Decimal::at(text, 0).is_none(), "{text}");
        }
    }

    #[test]
    fn values_beyond_the_range_are_infinite_and_tiny_ones_zero() {
        assert_eq!(value("1e309"), Some(f64::INFINITY));
        assert_eq!(value("-1e99999999999999999999"), Some(f64::NEG_INFINITY));
        assert_eq!(value("1e-99999999999999999999"), Some(0.0));
        assert_eq!(value(&"9".repeat(400)), Some(f64::INFINITY));
        let tiny = format!("0.{}1e400", "0".repeat(399));
        assert_eq!(value(&tiny), Some(1.0));
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_standard_library(
            text in r"[-+]?(0{0,3}[0-9]{1,22}(\.[0-9]{0,22})?|\.[0-9]{1,25})([eE][-+]?[0-9]{1,3})?"
        ) {
            let found = value(&text).expect("it is a number");
            let expected: f64 = text.parse().expect("it is a number");
            prop_assert_eq!(found.to_bits(), expected.to_bits());
        }

        #[test]
        fn every_double_is_read_back_to_the_bit(expected in any::<f64>()) {
            prop_assume!(expected.is_finite());
            for text in [format!("{expected}"), format!("{expected:e}")] {
                prop_assert_eq!(value(&text).map(f64::to_bits), Some(expected.to_bits()));
            }
        }
    }
}
