//! Lists of floats, kept to the bit: scaled integers where the values are short decimals, `pco`,
//! or the bits themselves.

use crate::frame::FrameError;
use crate::frame::encode::Purpose;
use crate::frame::integers::{self, pco_decode, pco_encode};
use crate::frame::limits::Budget;
use crate::frame::wire::{Reader, put_block, put_varint};

const RAW: u8 = 0;
const PCO: u8 = 1;
const DECIMAL: u8 = 2;

/// Decimal places beyond which a float is no longer taken for a decimal.
const MAX_SCALE: u8 = 9;
const PCO_FROM: usize = 64;
/// Integers up to here, and so the division below, are exact in a float.
const EXACT: f64 = 9_007_199_254_740_992.0;

const POWERS: [f64; MAX_SCALE as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Encodes `values` in the smallest of the ways that serve the purpose; no values take no bytes.
pub(in crate::frame) fn encode(values: &[f64], purpose: Purpose) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut best = Vec::with_capacity(1 + 8 * values.len());
    best.push(RAW);
    for value in values {
        best.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    let decimal = encode_decimal(values, purpose);
    let is_decimal = decimal.is_some();
    if let Some(decimal) = decimal.filter(|decimal| decimal.len() < best.len()) {
        best = decimal;
    }
    if !is_decimal && values.len() >= PCO_FROM {
        for order in 0..=1 {
            if let Some(packed) = pco_encode(values, order)
                && packed.len() + 1 < best.len()
            {
                best.clear();
                best.push(PCO);
                best.extend_from_slice(&packed);
            }
        }
    }
    best
}

/// Reads back `count` floats, which must be all that `reader` holds.
pub(in crate::frame) fn decode(
    mut reader: Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<Vec<f64>, FrameError> {
    if count == 0 {
        reader.finish()?;
        return Ok(Vec::new());
    }
    budget.take(count, size_of::<f64>())?;
    match reader.byte()? {
        RAW => {
            let values = decode_raw(&mut reader, count)?;
            reader.finish()?;
            Ok(values)
        }
        PCO => pco_decode(reader.remaining(), count),
        DECIMAL => decode_decimal(reader, count, budget),
        _ => Err(FrameError::corrupt("a float list has an unknown encoding")),
    }
}

fn decode_raw(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, FrameError> {
    let length = count
        .checked_mul(8)
        .ok_or(FrameError::corrupt("a count is too large"))?;
    let (words, _) = reader.bytes(length)?.as_chunks::<8>();
    Ok(words
        .iter()
        .map(|&word| f64::from_bits(u64::from_le_bytes(word)))
        .collect())
}

/// The integer `m` with `value == m / 10^scale` to the bit.
fn mantissa(value: f64, scale: u8) -> Option<i64> {
    let power = POWERS[usize::from(scale)];
    let scaled = (value * power).round();
    if !scaled.is_finite() || scaled.abs() > EXACT {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer of at most 2^53"
    )]
    let mantissa = scaled as i64;
    (from_mantissa(mantissa, scale).to_bits() == value.to_bits()).then_some(mantissa)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the writer keeps mantissas within 2^53"
)]
fn from_mantissa(mantissa: i64, scale: u8) -> f64 {
    mantissa as f64 / POWERS[usize::from(scale)]
}

fn encode_decimal(values: &[f64], purpose: Purpose) -> Option<Vec<u8>> {
    let allowed = values.len() / 16 + 1;
    let mut scale = 0;
    let mut odd = 0;
    for &value in values {
        match (scale..=MAX_SCALE).find(|&scale| mantissa(value, scale).is_some()) {
            Some(needed) => scale = needed,
            None => odd += 1,
        }
        if odd > allowed {
            return None;
        }
    }
    let mut mantissas = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    for (row, &value) in values.iter().enumerate() {
        let last = mantissas.last().copied().unwrap_or(0);
        // A value may fit a smaller scale and not the common one, when it is large.
        mantissas.push(mantissa(value, scale).unwrap_or_else(|| {
            exceptions.push(row);
            last
        }));
    }
    if exceptions.len() > allowed {
        return None;
    }
    let mut out = vec![DECIMAL, scale];
    put_varint(&mut out, exceptions.len() as u64);
    if !exceptions.is_empty() {
        put_block(&mut out, &integers::encode_rows(&exceptions, purpose));
        for &row in &exceptions {
            out.extend_from_slice(&values[row].to_bits().to_le_bytes());
        }
    }
    out.extend_from_slice(&integers::encode(&mantissas, purpose));
    Some(out)
}

fn decode_decimal(
    mut reader: Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<Vec<f64>, FrameError> {
    let scale = reader.byte()?;
    if scale > MAX_SCALE {
        return Err(FrameError::corrupt("a float list has an unknown scale"));
    }
    let exceptions = reader.count()?;
    let (rows, odd) = if exceptions == 0 {
        (Vec::new(), Vec::new())
    } else {
        let rows = integers::decode_rows(reader.block()?, exceptions, count, budget)?;
        (rows, decode_raw(&mut reader, exceptions)?)
    };
    let mantissas = integers::decode(reader, count, budget)?;
    let mut values: Vec<f64> = mantissas
        .into_iter()
        .map(|mantissa| from_mantissa(mantissa, scale))
        .collect();
    for (row, value) in rows.into_iter().zip(odd) {
        values[row] = value;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f64]) -> Vec<u8> {
        let bytes = encode(values, Purpose::Size);
        let mut budget = Budget::new(1 << 20);
        let back =
            decode(Reader::new(&bytes), values.len(), &mut budget).expect("own bytes decode");
        let bits = |values: &[f64]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&back), bits(values));
        bytes
    }

    proptest! {
        #[test]
        fn any_bit_pattern_round_trips(bits in prop::collection::vec(any::<u64>(), 0..200)) {
            round_trip(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_round_trip(mantissas in prop::collection::vec(-1_000_000..1_000_000i64, 1..300), scale in 0..6u8) {
            let values: Vec<f64> = mantissas.iter().map(|&mantissa| from_mantissa(mantissa, scale)).collect();
            prop_assert_eq!(round_trip(&values)[0], DECIMAL);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0..500usize) {
            let mut budget = Budget::new(1 << 20);
            if let Ok(values) = decode(Reader::new(&bytes), count, &mut budget) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }

    #[test]
    fn signs_of_zero_infinities_and_payloads_survive() {
        let odd = [
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::from_bits(0x7ff0_0000_0000_0001),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::MAX,
        ];
        round_trip(&odd);
        let mut mostly_plain = vec![20.5; 400];
        mostly_plain[7] = -0.0;
        mostly_plain[300] = f64::from_bits(0xfff8_dead_beef_0001);
        assert_eq!(round_trip(&mostly_plain)[0], DECIMAL);
        let noisy: Vec<f64> = (0..400u32)
            .map(|i| (f64::from(i)).sqrt() * if i % 50 == 3 { f64::NAN } else { -1.0 })
            .collect();
        round_trip(&noisy);
    }

    #[test]
    fn a_large_and_a_fine_value_share_a_list() {
        round_trip(&[9_007_199_254_740_992.0, 0.000_000_001, 1e300, 12.5]);
    }
}
