//! The roll-ups that one table item keeps, and the bytes they are kept as.
//!
//! The statistics hardly tell more than a minute's readings themselves would, so the encoding
//! leaves out what follows from the rest: a bucket of one reading is that reading, extremes are
//! steps outwards from the first and the last, the sum is what its mean is off theirs, the bins of
//! the sketch lie between those of the extremes and hold as many as there are.
//!
//! # Bytes of version 1
//!
//! ```text
//! rollups    = 0x01  slots - 1:u8  statistics:stream  sketches:stream     just 0x01 of no slots
//! ```
//!
//! Streams are those of `bits.rs`, their fields in the order of the constants below, and the
//! roll-ups in ascending order of their slots. Arithmetic wraps at 64 bits where nothing else is said.

use std::collections::BTreeMap;

use super::Rollup;
use super::bits::{Reader, Writer};
use super::moments::{self, Moments, mantissa};
use super::sketch::{self, MOST_BINS, Sketch};

const VERSION: u8 = 1;

/// Fields of the statistics.
const SLOT: usize = 0; // slots skipped since the one before
const COUNT: usize = 1;
const INVALID: usize = 2; // count - valid count; if that is all, nothing else follows
const SCALE: usize = 3; // of exact sums; FLOAT for others
// Of exact sums, in mantissas at the scale:
const FIRST: usize = 4; // signed: first - the last of the roll-up before, if that was exact at this scale
const LAST: usize = 5; // signed: last - first
const LOW: usize = 6; // the lower of first and last - min
const HIGH: usize = 7; // max - the higher of first and last
const SUM: usize = 8; // signed: sum - ⌊count · (first + last + min + max) / 4⌋
const SPREAD: usize = 9; // low 64 bits of the sum of (reading - ⌊sum / count + 1/2⌋)²
const SPREAD_HIGH: usize = 10; // high 64 bits
// Of others, in bits of a double, signed, less those of the first:
const FIRST_BITS: usize = 11; // as they are
const LAST_BITS: usize = 12;
const MIN_BITS: usize = 13;
const MAX_BITS: usize = 14;
const SUM_BITS: usize = 15;
const DEVIATION_BITS: usize = 16; // as they are
const STATISTICS: usize = 17;

const FLOAT: u64 = 10;

/// Fields of the sketches, of roll-ups whose extremes are in different bins.
const LOWEST: usize = 0; // key of the lowest bin - key of the lowest value
const HELD: usize = 1; // readings in the bin - 1
const GAP: usize = 2; // key of the next bin - key of this bin - 1; until all readings are in bins
const SKETCHES: usize = 3;

/// Most readings of one roll-up that are read back.
const MOST_READINGS: u64 = 1 << 48;

/// Most bins of all sketches that are read back.
const MOST_BINS_IN_ALL: usize = 64 * MOST_BINS;

/// Why bytes are no roll-ups. None of this is transient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollupsError {
    /// They were written by a version of the format that this code does not know.
    #[error("roll-ups of version {version} are not supported")]
    UnsupportedVersion {
        /// The version found.
        version: u8,
    },
    /// They contradict themselves, so no roll-ups were ever encoded like this.
    #[error("roll-ups are corrupt: {what}")]
    Corrupt {
        /// The rule that was broken.
        what: &'static str,
    },
}

const fn corrupt(what: &'static str) -> RollupsError {
    RollupsError::Corrupt { what }
}

/// Roll-ups by slot: the minute of an hour (0 to 59), the hour of a day (0 to 23) or the day of a
/// month (1 to 31). A slot without readings has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollups {
    slots: BTreeMap<u8, Rollup>,
}

impl Rollups {
    /// No roll-ups.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
        }
    }

    /// The roll-up of a slot.
    #[must_use]
    pub fn get(&self, slot: u8) -> Option<&Rollup> {
        self.slots.get(&slot)
    }

    /// The roll-up of a slot, to add to; made if there is none.
    pub fn slot(&mut self, slot: u8) -> &mut Rollup {
        self.slots.entry(slot).or_default()
    }

    /// Puts a roll-up in a slot, or none in it if it is of no readings; returns what was there.
    pub fn set(&mut self, slot: u8, rollup: Rollup) -> Option<Rollup> {
        if rollup.count() == 0 {
            self.slots.remove(&slot)
        } else {
            self.slots.insert(slot, rollup)
        }
    }

    /// Empties a slot; returns what was there.
    pub fn remove(&mut self, slot: u8) -> Option<Rollup> {
        self.slots.remove(&slot)
    }

    /// The roll-ups with their slots, in ascending order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u8, &Rollup)> {
        self.slots.iter().map(|(&slot, rollup)| (slot, rollup))
    }

    /// The roll-ups of a range of slots, in ascending order.
    pub fn range(&self, slots: std::ops::Range<u8>) -> impl Iterator<Item = (u8, &Rollup)> {
        self.slots
            .range(slots)
            .map(|(&slot, rollup)| (slot, rollup))
    }

    /// How many slots have a roll-up.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no slot has a roll-up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All roll-ups merged in the order of their slots; `None` of none.
    #[must_use]
    pub fn total(&self) -> Option<Rollup> {
        let mut rollups = self.slots.values();
        let mut total = rollups.next()?.clone();
        for rollup in rollups {
            total.merge(rollup);
        }
        Some(total)
    }

    /// The bytes to store. Equal roll-ups give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let Some(more) = self.slots.len().checked_sub(1) else {
            return out;
        };
        out.extend(u8::try_from(more));
        let mut statistics = Writer::<STATISTICS>::new();
        let mut sketches = Writer::<SKETCHES>::new();
        let (mut next, mut last) = (0u16, None);
        for (slot, rollup) in self.iter() {
            statistics.put(SLOT, u64::from(u16::from(slot) - next));
            next = u16::from(slot) + 1;
            put_statistics(&mut statistics, rollup, &mut last);
            put_sketch(&mut sketches, rollup);
        }
        statistics.finish(&mut out);
        sketches.finish(&mut out);
        out
    }

    /// Reads back what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`RollupsError`] for bytes that it never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RollupsError> {
        if bytes == [VERSION] {
            return Ok(Self::new());
        }
        let (mut rollups, sketches) = Self::decode_statistics(bytes)?;
        let mut reader = Reader::<SKETCHES>::new(sketches).ok_or(corrupt("an unknown code"))?;
        let mut room = MOST_BINS_IN_ALL;
        for rollup in rollups.slots.values_mut() {
            rollup.sketch = get_sketch(&mut reader, rollup, &mut room)?;
        }
        let rest = reader.finish().ok_or(corrupt("it ends too early"))?;
        if rest.is_empty() {
            Ok(rollups)
        } else {
            Err(corrupt("bytes follow its end"))
        }
    }

    fn decode_statistics(bytes: &[u8]) -> Result<(Self, &[u8]), RollupsError> {
        let mut rollups = Self::new();
        let (more, stream) = match *bytes {
            [VERSION, more, ref stream @ ..] => (more, stream),
            [version, ..] => return Err(RollupsError::UnsupportedVersion { version }),
            [] => return Err(corrupt("it is empty")),
        };
        let mut reader = Reader::<STATISTICS>::new(stream).ok_or(corrupt("an unknown code"))?;
        let (mut next, mut last) = (0u64, None);
        for _ in 0..=more {
            let slot = next.saturating_add(reader.get(SLOT));
            next = slot.saturating_add(1);
            let slot = u8::try_from(slot).map_err(|_| corrupt("a slot is beyond 255"))?;
            let rollup = get_statistics(&mut reader, &mut last)?;
            rollups.slots.insert(slot, rollup);
        }
        let sketches = reader.finish().ok_or(corrupt("it ends too early"))?;
        Ok((rollups, sketches))
    }
}

/// The last value of the roll-up before, if that was exact: its scale and its mantissa.
type Last = Option<(u8, i64)>;

fn base(last: Last, scale: u8) -> i64 {
    last.filter(|last| last.0 == scale).map_or(0, |last| last.1)
}

/// First, last, lowest and highest value as mantissas.
#[derive(Clone, Copy)]
struct Mantissas {
    first: i64,
    last: i64,
    min: i64,
    max: i64,
}

impl Mantissas {
    fn of(rollup: &Rollup, scale: u8) -> Option<Self> {
        Some(Self {
            first: mantissa(rollup.first, scale)?,
            last: mantissa(rollup.last, scale)?,
            min: mantissa(rollup.min, scale)?,
            max: mantissa(rollup.max, scale)?,
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "differences to it wrap alike"
    )]
    fn expected_sum(self, count: u64) -> i64 {
        let four = [self.first, self.last, self.min, self.max];
        let four: i128 = four.into_iter().map(i128::from).sum();
        (i128::from(count) * four).div_euclid(4) as i64
    }
}

/// `Σ(x - c)²` of `count` values of the sum `sum` from `Σx²`, or back with `sign` 1; `c` is the
/// mean, rounded. Wraps at 128 bits, both ways.
fn about_mean(squares: u128, sum: i64, count: u64, back: bool) -> u128 {
    let (sum, count) = (i128::from(sum), i128::from(count));
    let center = (2 * sum + count).div_euclid(2 * count);
    let shift = center
        .wrapping_mul(2 * sum)
        .wrapping_sub(count.wrapping_mul(center).wrapping_mul(center))
        .cast_unsigned();
    if back {
        squares.wrapping_add(shift)
    } else {
        squares.wrapping_sub(shift)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves are meant")]
fn put_statistics(out: &mut Writer<STATISTICS>, rollup: &Rollup, last: &mut Last) {
    let count = rollup.valid_count;
    out.put(COUNT, rollup.count);
    out.put(INVALID, rollup.count - count);
    if count == 0 {
        return;
    }
    match rollup.moments {
        Moments::Exact {
            sum,
            squares,
            scale,
        } => {
            let values = Mantissas::of(rollup, scale)
                .expect("sums are exact only while the extremes have a mantissa at their scale");
            out.put(SCALE, scale.into());
            out.put_signed(FIRST, values.first.wrapping_sub(base(*last, scale)));
            out.put_signed(LAST, values.last - values.first);
            out.put(LOW, values.first.min(values.last).abs_diff(values.min));
            out.put(HIGH, values.max.abs_diff(values.first.max(values.last)));
            out.put_signed(SUM, sum.wrapping_sub(values.expected_sum(count)));
            let spread = about_mean(squares, sum, count, false);
            out.put(SPREAD, spread as u64);
            out.put(SPREAD_HIGH, (spread >> 64) as u64);
            *last = Some((scale, values.last));
        }
        Moments::Float { sum, deviations } => {
            let first = rollup.first.to_bits();
            let less_first = |value: f64| value.to_bits().wrapping_sub(first).cast_signed();
            out.put(SCALE, FLOAT);
            out.put(FIRST_BITS, first);
            out.put_signed(LAST_BITS, less_first(rollup.last));
            out.put_signed(MIN_BITS, less_first(rollup.min));
            out.put_signed(MAX_BITS, less_first(rollup.max));
            out.put_signed(SUM_BITS, less_first(sum));
            out.put(DEVIATION_BITS, deviations.to_bits());
            *last = None;
        }
    }
}

fn get_statistics(
    reader: &mut Reader<'_, STATISTICS>,
    last: &mut Last,
) -> Result<Rollup, RollupsError> {
    let mut rollup = Rollup::new();
    rollup.count = reader.get(COUNT);
    let valid = rollup.count.checked_sub(reader.get(INVALID));
    rollup.valid_count = valid.ok_or(corrupt("more readings are invalid than there are"))?;
    if !(1..MOST_READINGS).contains(&rollup.count) {
        return Err(corrupt("a slot has no readings, or too many"));
    }
    if rollup.valid_count == 0 {
        return Ok(rollup);
    }
    match reader.get(SCALE) {
        FLOAT => {
            get_floats(reader, &mut rollup)?;
            *last = None;
        }
        scale => {
            let scale = u8::try_from(scale).map_err(|_| corrupt("a scale is unknown"))?;
            let base = base(*last, scale);
            *last = Some((scale, get_exact(reader, &mut rollup, scale, base)?));
        }
    }
    Ok(rollup)
}

/// Reads a roll-up of exact sums; returns the mantissa of its last value.
fn get_exact(
    reader: &mut Reader<'_, STATISTICS>,
    rollup: &mut Rollup,
    scale: u8,
    base: i64,
) -> Result<i64, RollupsError> {
    const OUT_OF_RANGE: RollupsError = corrupt("a value is out of range");
    let count = rollup.valid_count;
    let first = base.wrapping_add(reader.get_signed(FIRST));
    let last = first.wrapping_add(reader.get_signed(LAST));
    let low = first.min(last).checked_sub_unsigned(reader.get(LOW));
    let high = first.max(last).checked_add_unsigned(reader.get(HIGH));
    let values = Mantissas {
        first,
        last,
        min: low.ok_or(OUT_OF_RANGE)?,
        max: high.ok_or(OUT_OF_RANGE)?,
    };
    let sum = values
        .expected_sum(count)
        .wrapping_add(reader.get_signed(SUM));
    let spread = u128::from(reader.get(SPREAD)) | u128::from(reader.get(SPREAD_HIGH)) << 64;
    let squares = about_mean(spread, sum, count, true);
    rollup.moments = Moments::exact(count, sum, squares, scale).ok_or(OUT_OF_RANGE)?;
    rollup.first = moments::value(values.first, scale);
    rollup.last = moments::value(values.last, scale);
    rollup.min = moments::value(values.min, scale);
    rollup.max = moments::value(values.max, scale);
    if mantissa(rollup.min, scale).is_none() || mantissa(rollup.max, scale).is_none() {
        return Err(OUT_OF_RANGE);
    }
    Ok(last)
}

fn get_floats(
    reader: &mut Reader<'_, STATISTICS>,
    rollup: &mut Rollup,
) -> Result<(), RollupsError> {
    let first = reader.get(FIRST_BITS);
    let mut value = |field| {
        let bits = first.wrapping_add(reader.get_signed(field).cast_unsigned());
        f64::from_bits(bits)
    };
    rollup.first = f64::from_bits(first);
    rollup.last = value(LAST_BITS);
    rollup.min = value(MIN_BITS);
    rollup.max = value(MAX_BITS);
    let sum = value(SUM_BITS);
    let deviations = f64::from_bits(reader.get(DEVIATION_BITS));
    rollup.moments = Moments::Float { sum, deviations };
    if sum.is_nan() || deviations.is_nan() {
        return Err(corrupt("a sum is no number"));
    }
    let range = rollup.min..=rollup.max;
    let is_finite = rollup.min.is_finite() && rollup.max.is_finite();
    if is_finite && range.contains(&rollup.first) && range.contains(&rollup.last) {
        Ok(())
    } else {
        Err(corrupt("a value is out of range"))
    }
}

fn put_sketch(out: &mut Writer<SKETCHES>, rollup: &Rollup) {
    let [(lowest, held), rest @ ..] = rollup.sketch.bins() else {
        return;
    };
    if rest.is_empty() {
        return;
    }
    let step = |from: i32, to: i32| u64::from(to.abs_diff(from));
    out.put(LOWEST, step(sketch::key(rollup.min), *lowest));
    out.put(HELD, held - 1);
    let mut before = *lowest;
    for &(key, held) in rest {
        out.put(GAP, step(before, key) - 1);
        out.put(HELD, held - 1);
        before = key;
    }
}

fn get_sketch(
    reader: &mut Reader<'_, SKETCHES>,
    rollup: &Rollup,
    room: &mut usize,
) -> Result<Sketch, RollupsError> {
    if rollup.valid_count == 0 {
        return Ok(Sketch::new());
    }
    let (mut key, highest) = (sketch::key(rollup.min), sketch::key(rollup.max));
    if key == highest {
        return Ok(Sketch::of_bins(vec![(key, rollup.valid_count)]));
    }
    let mut skip = reader.get(LOWEST);
    let mut left = rollup.valid_count;
    let mut bins = Vec::new();
    loop {
        key = i32::try_from(skip)
            .ok()
            .and_then(|skip| key.checked_add(skip))
            .filter(|&key| key <= highest)
            .ok_or(corrupt("a bin is above the highest value"))?;
        let held = reader.get(HELD).saturating_add(1);
        left = left
            .checked_sub(held)
            .ok_or(corrupt("bins hold more than there is"))?;
        if bins.len() == MOST_BINS.min(*room) {
            return Err(corrupt("sketches have too many bins"));
        }
        bins.push((key, held));
        if left == 0 {
            break;
        }
        skip = reader.get(GAP).saturating_add(1);
    }
    if key < highest {
        return Err(corrupt("no bin holds the highest value"));
    }
    *room -= bins.len();
    Ok(Sketch::of_bins(bins))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-5_000i64..5_000, 0..=2u8).prop_map(|(m, scale)| moments::value(m, scale)),
            (-999_999_999_999_999i64..=999_999_999_999_999, 0..=9u8)
                .prop_map(|(m, scale)| moments::value(m, scale)),
            any::<f64>(),
        ]
    }

    fn any_rollups() -> impl Strategy<Value = Rollups> {
        let readings = prop::collection::vec((value(), prop::bool::weighted(0.9)), 1..30);
        prop::collection::btree_map(any::<u8>(), readings, 0..=40).prop_map(|slots| {
            let mut rollups = Rollups::new();
            for (slot, readings) in slots {
                for (value, is_valid) in readings {
                    rollups.slot(slot).add(value, is_valid);
                }
            }
            rollups
        })
    }

    /// Temperatures of a device that reports every five seconds.
    fn temperatures(slots: u8, count: u32) -> Rollups {
        let mut rollups = Rollups::new();
        let mut noise = 1u32;
        for slot in 0..slots {
            for _ in 0..count {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let hundredths = 2_100 + 3 * i64::from(slot) + i64::from(noise >> 16) % 20;
                rollups.slot(slot).add(moments::value(hundredths, 2), true);
            }
        }
        rollups
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_the_bit(rollups in any_rollups()) {
            let bytes = rollups.encode();
            prop_assert_eq!(Rollups::decode(&bytes), Ok(rollups));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            read_all(&bytes);
        }

        #[test]
        fn damaged_bytes_decode_or_are_refused(
            rollups in any_rollups(),
            flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        ) {
            let mut bytes = rollups.encode();
            for (at, bits) in flips {
                *at.get_mut(&mut bytes) ^= bits;
            }
            read_all(&bytes);
        }

        #[test]
        fn nothing_but_the_whole_is_read(
            rollups in any_rollups(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = rollups.encode();
            let cut = cut.index(bytes.len());
            // The version alone is the whole of no roll-ups.
            prop_assert!(cut == 1 || Rollups::decode(&bytes[..cut]).is_err());
            bytes.push(0);
            prop_assert!(Rollups::decode(&bytes).is_err());
        }
    }

    /// Every statistic of whatever was decoded can be asked for, and written again.
    fn read_all(bytes: &[u8]) {
        if let Ok(rollups) = Rollups::decode(bytes) {
            if let Some(total) = rollups.total() {
                let _ = (total.sum(), total.avg(), total.stddev());
                let _ = total.percentile(crate::sensors::rollup::Percentile::P95);
            }
            assert_eq!(Rollups::decode(&rollups.encode()), Ok(rollups));
        }
    }

    #[test]
    fn an_hour_of_minutes_takes_less_than_half_a_write_unit() {
        assert!(temperatures(60, 12).encode().len() < 512);
        assert!(temperatures(24, 720).encode().len() < 512);
        assert!(temperatures(31, 17_280).encode().len() < 1_024);
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let mut rollups = temperatures(3, 4);
        rollups.slot(7).add(0.1 + 0.2, true);
        rollups.slot(7).add(-1e-3, true);
        rollups.slot(7).add(5.0, false);
        rollups.slot(9).add(1.0, false);
        let mut hex = String::new();
        for byte in rollups.encode() {
            write!(hex, "{byte:02x}").unwrap();
        }
        insta::assert_snapshot!(hex, @"0104010205287020408002091e08f8ffffffffffffffa3999999999999fe01ffffffffffffffff41b6f3fdd478e9fb03feffffffffffffff836ce7fba9f1d2f70bf8ffffffffff9b1a2fdd240601ffffffffffffff7f2722fc8ba031a7df03fe2f027a47d30b84151005ac6c69aaa3c636020448c9ff7fdb1500");
        assert_eq!(Rollups::new().encode(), [VERSION]);
    }

    #[test]
    fn a_collapsed_sketch_decodes_as_it_was() {
        let mut rollups = Rollups::new();
        for step in 0..3_000 {
            rollups.slot(0).add(1.03f64.powi(step - 1_500), true);
        }
        assert_eq!(rollups.slot(0).sketch().bins().len(), MOST_BINS);
        assert_eq!(Rollups::decode(&rollups.encode()), Ok(rollups));
    }

    #[test]
    fn sketches_that_contradict_their_roll_ups_are_refused() {
        let mut rollups = Rollups::new();
        rollups.slot(0).add(1.0, true);
        rollups.slot(0).add(2.0, true);
        let (low, high) = (sketch::key(1.0), sketch::key(2.0));
        let refused = |bins: &[(i32, u64)]| {
            let mut rollups = rollups.clone();
            rollups.slot(0).sketch = Sketch::of_bins(bins.to_vec());
            Rollups::decode(&rollups.encode()).is_err()
        };
        assert!(!refused(&[(low, 1), (high, 1)]));
        assert!(refused(&[(low, 1), (high - 1, 1)]));
        assert!(refused(&[(low, 1), (high + 1, 1)]));
        assert!(refused(&[(low, 1), (high, 2)]));
    }

    #[test]
    fn a_later_version_is_refused_by_its_number() {
        assert_eq!(
            Rollups::decode(&[2, 0]),
            Err(RollupsError::UnsupportedVersion { version: 2 })
        );
    }
}
