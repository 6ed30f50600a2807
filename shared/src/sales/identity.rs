//! Which row a row is, so that the same file, or an overlapping one, adds nothing twice.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use jiff::civil::Date;
use xxhash_rust::xxh3::xxh3_128;

use super::model::Amount;

/// A 128-bit digest of what makes two rows equal: Sale ID, date, item and total paid.
///
/// XXH3-128 over, in this order: the byte length of the trimmed Sale ID (u32 LE) and its UTF-8
/// bytes; the date as year (i16 LE), month, day (a byte each); the byte length of the trimmed item
/// (u32 LE) and its bytes; the total in units of 0.00001 (i64 LE). Spelling does not matter:
/// `03/01/2025` and `3/1/2025`, `34.88` and `34.880` are the same row. Equal rows of one file are
/// told apart by their ordinal, see [`Ordinals`]. The digest is stored: its definition never
/// changes.
///
/// Among a billion rows the chance that any two different ones collide is about 10⁻²¹. XXH3 does
/// not withstand someone who makes collisions on purpose; who may import may also delete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowIdentity(u128);

impl RowIdentity {
    /// The identity of the row with these values; `sale_id` and `item` already trimmed.
    #[must_use]
    pub fn of(sale_id: &str, date: Date, item: &str, total_paid: Amount) -> Self {
        const FIXED: usize = 4 + 4 + 4 + 8;
        const SHORT: usize = 192;

        let length = FIXED + sale_id.len() + item.len();
        let mut short = [0_u8; SHORT];
        let mut long = Vec::new();
        let message: &mut [u8] = if length <= SHORT {
            &mut short[..length]
        } else {
            long.resize(length, 0);
            &mut long
        };
        let mut rest = &mut *message;
        let year = date.year().to_le_bytes();
        let day = [
            year[0],
            year[1],
            date.month().cast_unsigned(),
            date.day().cast_unsigned(),
        ];
        for part in [
            &length_of(sale_id)[..],
            sale_id.as_bytes(),
            &day,
            &length_of(item),
            item.as_bytes(),
            &total_paid.units().to_le_bytes(),
        ] {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        Self(xxh3_128(message))
    }

    /// The digest as a number, for spreading rows over parts.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The digest as bytes, big-endian; the inverse of [`RowIdentity::from_bytes`].
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The identity whose digest is `bytes`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

fn length_of(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes()
}

impl fmt::Debug for RowIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowIdentity({:032x})", self.0)
    }
}

/// Counts, for each row of one file in order, how many equal rows stood before it.
///
/// The pair of identity and ordinal names a row: two identical lines of a file are two sales
/// (ordinals 0 and 1), and in the same file uploaded again they are the same two. Memory grows
/// with the distinct rows counted, about 40 bytes each; rows of different days are never equal, so
/// whoever works day by day may use a fresh counter per day.
#[derive(Clone, Debug, Default)]
pub struct Ordinals {
    seen: HashMap<RowIdentity, u32, BuildHasherDefault<DigestHasher>>,
}

impl Ordinals {
    /// A counter that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows with this identity came before; this one is counted.
    pub fn next(&mut self, identity: RowIdentity) -> u32 {
        let count = self.seen.entry(identity).or_insert(0);
        let ordinal = *count;
        *count = count.saturating_add(1);
        ordinal
    }

    /// How many different identities were counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Forgets everything, keeping the memory for reuse.
    pub fn clear(&mut self) {
        self.seen.clear();
    }
}

/// A digest is already uniform: its low half serves as the hash.
#[derive(Clone, Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn sample() -> RowIdentity {
        RowIdentity::of(
            "3971",
            date(2025, 3, 1),
            "10 Practice Credits",
            Amount::from_units(3_488_000),
        )
    }

    #[test]
    fn the_digest_of_a_known_row_never_changes() {
        insta::assert_snapshot!(format!("{:?}", sample()), @"RowIdentity(0bf10224eff1952812740c201447cf1e)");
    }

    #[test]
    fn every_part_counts_and_parts_do_not_run_into_each_other() {
        let day = date(2025, 3, 1);
        let total = Amount::from_units(1);
        let all = [
            RowIdentity::of("12", day, "3", total),
            RowIdentity::of("1", day, "23", total),
            RowIdentity::of("12", day, "4", total),
            RowIdentity::of("12", date(2025, 3, 2), "3", total),
            RowIdentity::of("12", day, "3", Amount::from_units(-1)),
            RowIdentity::of("", day, "", total),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }

    #[test]
    fn equal_rows_are_counted_from_zero() {
        let other = RowIdentity::of("1", date(2025, 3, 1), "x", Amount::ZERO);
        let mut ordinals = Ordinals::new();
        let order = [sample(), other, sample(), sample(), other];
        assert_eq!(order.map(|row| ordinals.next(row)), [0, 0, 1, 2, 1]);
        assert_eq!(ordinals.len(), 2);
        ordinals.clear();
        assert!(ordinals.is_empty());
        assert_eq!(ordinals.next(other), 0);
    }

    proptest! {
        #[test]
        fn bytes_and_back_is_the_same(bytes: [u8; 16]) {
            prop_assert_eq!(RowIdentity::from_bytes(bytes).to_bytes(), bytes);
        }

        #[test]
        fn the_short_and_the_long_form_follow_the_definition(
            sale_id in "\\PC{0,200}", item in "\\PC{0,200}", units: i64,
        ) {
            let day = date(2024, 2, 29);
            let mut message = Vec::new();
            message.extend(length_of(&sale_id));
            message.extend(sale_id.as_bytes());
            message.extend([0xE8, 0x07, 2, 29]);
            message.extend(length_of(&item));
            message.extend(item.as_bytes());
            message.extend(units.to_le_bytes());
            let identity = RowIdentity::of(&sale_id, day, &item, Amount::from_units(units));
            prop_assert_eq!(identity, RowIdentity(xxh3_128(&message)));
        }
    }
}
