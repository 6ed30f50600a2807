//! A sum of readings, exact where the readings are short decimals.

use std::fmt;

/// A sum of readings.
///
/// Written by [`Display`](fmt::Display) as a JSON number: the exact decimal in full, without zeros
/// at the end of its places, or the shortest text that reads back as the same float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sum {
    /// Exactly `mantissa / 10^scale`.
    Exact {
        /// The sum times `10^scale`.
        mantissa: i64,
        /// Places after the point, 0 to 9.
        scale: u8,
    },
    /// A float, rounded with each addition. Infinite where it left the range of one.
    Float(f64),
}

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self::Exact {
        mantissa: 0,
        scale: 0,
    };

    /// The float nearest to the sum.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a float is asked for; beyond 2^53 it is rounded once more"
    )]
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Exact { mantissa, scale } => mantissa as f64 / power(scale),
            Self::Float(sum) => sum,
        }
    }
}

/// `10^scale`, exact up to 22.
pub(super) fn power(scale: u8) -> f64 {
    const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    POWERS.get(usize::from(scale)).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Float(sum) => write!(f, "{sum:?}"),
            Self::Exact {
                mut mantissa,
                mut scale,
            } => {
                while scale > 0 && mantissa % 10 == 0 {
                    mantissa /= 10;
                    scale -= 1;
                }
                let sign = if mantissa < 0 { "-" } else { "" };
                let (size, unit) = (mantissa.unsigned_abs(), 10u64.pow(u32::from(scale)));
                write!(f, "{sign}{}", size / unit)?;
                if scale > 0 {
                    write!(f, ".{:0width$}", size % unit, width = usize::from(scale))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_written_as_a_json_number() {
        let exact = |mantissa, scale| Sum::Exact { mantissa, scale }.to_string();
        assert_eq!(exact(25_834, 2), "258.34");
        assert_eq!(exact(-50, 3), "-0.05");
        assert_eq!(exact(1_200, 2), "12");
        assert_eq!(exact(i64::MIN, 9), "-9223372036.854775808");
        assert_eq!(Sum::ZERO.to_string(), "0");
        assert_eq!(Sum::Float(0.1 + 0.2).to_string(), "0.30000000000000004");
        assert_eq!(Sum::Float(1e300).to_string(), "1e300");
    }
}
