//! Identifiers: time-ordered UUIDs and Crockford base32, made from time and randomness that the
//! caller passes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use uuid::Uuid;

/// Gives random bytes. A handler's context owns one; rules take the bytes it gives.
#[derive(Clone, Debug, Default)]
pub struct Random(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Seeded(Arc<AtomicU64>),
}

impl Random {
    /// The operating system's generator, fit for secrets.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A repeatable sequence (`SplitMix64`) for tests; clones share the sequence. Not fit for secrets.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// `N` random bytes.
    ///
    /// # Panics
    /// When the operating system has no random source: nothing that needs one could go on safely.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => {
                getrandom::fill(&mut bytes).expect("the operating system has a random source");
            }
            Source::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let word = split_mix(state).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// A whole number in `0..=max`, uniform but for a bias below 2⁻⁶⁴ × `max`.
    #[must_use]
    pub fn up_to(&self, max: u32) -> u32 {
        let product = u128::from(u64::from_le_bytes(self.bytes())) * (u128::from(max) + 1);
        // The product of a 64-bit and a 33-bit number, shifted by 64, is at most `max`.
        u32::try_from(product >> 64).unwrap_or(max)
    }
}

fn split_mix(state: &AtomicU64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = state.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A version 7 UUID (RFC 9562 section 5.7) from the millisecond of `at` and ten random bytes, of
/// which 74 bits are used. Ids made in different milliseconds sort by time, as text as well as bytes.
/// A time before 1970 counts as 1970.
#[must_use]
pub fn uuid_v7(at: Timestamp, random: [u8; 10]) -> Uuid {
    let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

/// A text that is not Crockford base32 of the wanted length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Base32Error {
    /// The text has another number of characters than the value needs.
    #[error("expected {expected} base32 characters, found {found}")]
    Length {
        /// Characters needed.
        expected: usize,
        /// Characters found.
        found: usize,
    },
    /// A character is not in Crockford's alphabet.
    #[error("character {index} is not base32")]
    Character {
        /// Position of the character, from 0.
        index: usize,
    },
    /// The leading character carries more bits than the value has.
    #[error("base32 value is too large")]
    Overflow,
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters that a 128-bit value takes.
pub const BASE32_LENGTH: usize = 26;

/// Writes the low `5 × length` bits of `value` as `length` characters of Crockford base32 (upper
/// case, most significant first). `length` is at most 26: more are leading zeros.
///
/// Source: Douglas Crockford, Base 32, <https://www.crockford.com/base32.html>.
#[must_use]
pub fn base32(value: u128, length: usize) -> String {
    (0..length)
        .rev()
        .map(|place| {
            let shift = u32::try_from(place * 5).unwrap_or(u32::MAX);
            let digit = value.checked_shr(shift).unwrap_or(0) & 31;
            char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)])
        })
        .collect()
}

/// Reads exactly `length` characters of Crockford base32: either case, `I` and `L` as 1, `O` as 0.
///
/// # Errors
/// [`Base32Error`] when the length, a character or the size of the value does not fit.
pub fn parse_base32(text: &str, length: usize) -> Result<u128, Base32Error> {
    let found = text.chars().count();
    if found != length {
        return Err(Base32Error::Length {
            expected: length,
            found,
        });
    }
    text.chars()
        .enumerate()
        .try_fold(0_u128, |value, (index, character)| {
            let digit = digit(character).ok_or(Base32Error::Character { index })?;
            if value >> 123 != 0 {
                return Err(Base32Error::Overflow);
            }
            Ok(value << 5 | digit)
        })
}

fn digit(character: char) -> Option<u128> {
    let canonical = match character.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        other => other,
    };
    let position = ALPHABET.iter().position(|&c| char::from(c) == canonical)?;
    u128::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uuid_carries_version_variant_time_and_randomness() {
        let at = Timestamp::from_millisecond(0x0192_f3a4_b5c6).unwrap();
        let id = uuid_v7(at, [0xff; 10]);
        assert_eq!(id.to_string(), "0192f3a4-b5c6-7fff-bfff-ffffffffffff");
        assert_eq!(uuid_v7(Timestamp::MIN, [0; 10]).get_version_num(), 7);
    }

    #[test]
    fn look_alike_characters_and_lower_case_are_read() {
        assert_eq!(parse_base32("oOiIlL10", 8), parse_base32("00111110", 8));
        assert_eq!(parse_base32("zz", 2), Ok(1023));
    }

    #[test]
    fn text_that_is_not_base32_is_refused() {
        assert_eq!(
            parse_base32("0U", 2),
            Err(Base32Error::Character { index: 1 })
        );
        assert_eq!(
            parse_base32("0", 2),
            Err(Base32Error::Length {
                expected: 2,
                found: 1
            })
        );
        let too_large = format!("8{}", "0".repeat(25));
        assert_eq!(parse_base32(&too_large, 26), Err(Base32Error::Overflow));
    }

    #[test]
    fn a_seed_repeats_its_sequence() {
        let first: [u8; 21] = Random::seeded(7).bytes();
        assert_eq!(first, Random::seeded(7).bytes());
        assert_ne!(first, Random::seeded(8).bytes());
    }

    proptest! {
        #[test]
        fn base32_round_trips(value: u128) {
            let text = base32(value, BASE32_LENGTH);
            prop_assert_eq!(parse_base32(&text, BASE32_LENGTH), Ok(value));
            prop_assert_eq!(parse_base32(&text.to_lowercase(), BASE32_LENGTH), Ok(value));
        }

        #[test]
        fn base32_keeps_the_order_of_values(a: u128, b: u128) {
            prop_assert_eq!(a.cmp(&b), base32(a, BASE32_LENGTH).cmp(&base32(b, BASE32_LENGTH)));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String, length in 0_usize..40) {
            let _ = parse_base32(&text, length);
        }

        #[test]
        fn later_ids_sort_after_earlier_ones(a in 0_i64..1 << 46, later in 1_i64..1 << 30, x: [u8; 10], y: [u8; 10]) {
            let id = |milliseconds, random| uuid_v7(Timestamp::from_millisecond(milliseconds).unwrap(), random);
            prop_assert!(id(a, x).to_string() < id(a + later, y).to_string());
        }

        #[test]
        fn a_random_number_stays_in_its_range(seed: u64, max: u32) {
            prop_assert!(Random::seeded(seed).up_to(max) <= max);
        }
    }
}
