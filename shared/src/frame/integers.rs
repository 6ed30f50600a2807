//! Lists of integers: variable-length, entropy-coded, `pco`, or residuals to a grid.

use pco::metadata::{DeltaEncoding, Mode};
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, data_types::Number};

use crate::frame::FrameError;
use crate::frame::encode::Purpose;
use crate::frame::entropy::{BinaryCoder, BitModel, RangeDecoder, RangeEncoder};
use crate::frame::limits::Budget;
use crate::frame::wire::{Reader, put_block, put_varint, unzigzag, zigzag};

const VARINT: u8 = 0;
const CODED: u8 = 1;
const PCO: u8 = 2;
const GRID: u8 = 3;

/// Highest order of differences tried.
const MAX_ORDER: u8 = 2;
/// Lists shorter than this never win by `pco`, whose bins cost a header.
const PCO_FROM: usize = 128;
/// Lists longer than this are left to `pco`, which is several times faster than coding bit by bit.
const CODED_UP_TO: usize = 1024;
/// Shortest list worth a grid.
const GRID_FROM: usize = 8;

/// Encodes `values` in the smallest of the ways that serve the purpose; no values take no bytes.
pub(in crate::frame) fn encode(values: &[i64], purpose: Purpose) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut best = encode_plain(values, purpose);
    if let Some(grid) = encode_grid(values, purpose)
        && grid.len() < best.len()
    {
        best = grid;
    }
    best
}

fn encode_plain(values: &[i64], purpose: Purpose) -> Vec<u8> {
    let mut differences = values.to_vec();
    let (mut order, mut least) = (0, weight(&differences));
    for candidate in 1..=MAX_ORDER {
        difference(&mut differences, candidate);
        let bits = weight(&differences);
        if bits < least {
            (order, least) = (candidate, bits);
        }
    }
    differences.copy_from_slice(values);
    for step in 1..=order {
        difference(&mut differences, step);
    }

    let mut best = vec![VARINT | order << 4];
    for &value in &differences {
        put_varint(&mut best, zigzag(value));
    }
    if purpose == Purpose::Size && values.len() <= CODED_UP_TO {
        let coded = encode_coded(&mut differences);
        if coded.len() + 1 < best.len() {
            best.clear();
            best.push(CODED | order << 4);
            best.extend_from_slice(&coded);
        }
    }
    if values.len() >= PCO_FROM
        && let Some(packed) = pco_encode(values, usize::from(order))
        && packed.len() + 1 < best.len()
    {
        best.clear();
        best.push(PCO);
        best.extend_from_slice(&packed);
    }
    best
}

/// Reads back `count` integers, which must be all that `reader` holds.
pub(in crate::frame) fn decode(
    mut reader: Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<Vec<i64>, FrameError> {
    decode_nested(&mut reader, count, budget, true)
}

fn decode_nested(
    reader: &mut Reader<'_>,
    count: usize,
    budget: &mut Budget,
    grid_allowed: bool,
) -> Result<Vec<i64>, FrameError> {
    if count == 0 {
        reader.finish()?;
        return Ok(Vec::new());
    }
    budget.take(count, size_of::<i64>())?;
    let tag = reader.byte()?;
    let order = tag >> 4;
    if order > MAX_ORDER {
        return Err(FrameError::corrupt("an integer list has an unknown order"));
    }
    match (tag & 0x0f, order) {
        (VARINT, order) => {
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                values.push(unzigzag(reader.varint()?));
            }
            reader.finish()?;
            accumulate(&mut values, order);
            Ok(values)
        }
        (CODED, order) => {
            let mut values = vec![0; count];
            let mut decoder = RangeDecoder::new(reader.remaining());
            code(&mut decoder, &mut values);
            accumulate(&mut values, order);
            Ok(values)
        }
        (PCO, 0) => pco_decode(reader.remaining(), count),
        (GRID, 0) if grid_allowed => decode_grid(reader, count, budget),
        _ => Err(FrameError::corrupt(
            "an integer list has an unknown encoding",
        )),
    }
}

/// Replaces values by the `order`-th differences, given those of the order before.
fn difference(values: &mut [i64], order: u8) {
    for index in (usize::from(order)..values.len()).rev() {
        values[index] = values[index].wrapping_sub(values[index - 1]);
    }
}

/// Undoes [`difference`] for the orders 1 to `order`.
fn accumulate(values: &mut [i64], order: u8) {
    for step in (1..=order).rev() {
        for index in usize::from(step)..values.len() {
            values[index] = values[index].wrapping_add(values[index - 1]);
        }
    }
}

/// Roughly the bits that the values need.
fn weight(values: &[i64]) -> u64 {
    values
        .iter()
        .map(|&value| {
            u64::from(1 + 2 * bit_length(zigzag(value)).min(4) + bit_length(zigzag(value)))
        })
        .sum()
}

fn bit_length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

fn encode_coded(values: &mut [i64]) -> Vec<u8> {
    let mut encoder = RangeEncoder::new();
    code(&mut encoder, values);
    encoder.finish()
}

/// Codes each value as its zigzag form's bit length (a tree of 7 decisions, in the context of the
/// length before it being zero, short or long), then the two bits after its leading one under
/// models of their own, then the other bits as they are.
#[expect(clippy::cast_possible_truncation, reason = "at most two bits")]
fn code<C: BinaryCoder>(coder: &mut C, values: &mut [i64]) {
    let mut lengths = [[BitModel::default(); 128]; 3];
    let mut heads = [[BitModel::default(); 4]; 65];
    let mut context = 0;
    for slot in values {
        let value = zigzag(*slot);
        // The tree has 128 leaves of which 65 are written; a corrupt stream may name another.
        let length = coder
            .tree(&mut lengths[context], bit_length(value), 7)
            .min(64);
        context = match length {
            0 => 0,
            1..=4 => 1,
            _ => 2,
        };
        let below = length.saturating_sub(1);
        let head = below.min(2);
        let tail = below - head;
        let mut read = u64::from(length > 0);
        if head > 0 {
            let hint = (value >> tail & ((1 << head) - 1)) as u32;
            let bits = coder.tree(&mut heads[length as usize], hint, head);
            read = read << head | u64::from(bits);
        }
        if tail > 0 {
            read = read << tail | coder.raw(value, tail) & ((1 << tail) - 1);
        }
        *slot = unzigzag(read);
    }
}

/// Encodes numbers as one `pco` chunk of one page, or not at all if `pco` will not have them.
pub(in crate::frame) fn pco_encode<T: Number>(values: &[T], order: usize) -> Option<Vec<u8>> {
    let delta = if order == 0 {
        DeltaSpec::NoOp
    } else {
        DeltaSpec::TryConsecutive(order)
    };
    let config = ChunkConfig::default()
        .with_delta_spec(delta)
        .with_paging_spec(pco::PagingSpec::Exact(vec![values.len()]));
    let compressor = FileCompressor::default();
    let mut out = compressor.write_header(Vec::new()).ok()?;
    let mut chunk = compressor.chunk_compressor(values, &config).ok()?;
    out = chunk.write_meta(out).ok()?;
    chunk.write_page(0, out).ok()
}

/// Reads back `count` numbers; the caller has paid for them.
///
/// Look-back and dictionary chunks are refused: the writer makes none, and their working space is
/// set by the chunk and not by `count`.
pub(in crate::frame) fn pco_decode<T: Number + Default>(
    bytes: &[u8],
    count: usize,
) -> Result<Vec<T>, FrameError> {
    const CORRUPT: FrameError = FrameError::corrupt("a pco chunk cannot be read");
    let (file, rest) = FileDecompressor::new(bytes).map_err(|_| CORRUPT)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).map_err(|_| CORRUPT)?;
    let meta = chunk.meta();
    if !matches!(
        meta.delta_encoding,
        DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. }
    ) || matches!(meta.mode, Mode::Dict(_))
    {
        return Err(CORRUPT);
    }
    let mut page = chunk.page_decompressor(rest, count).map_err(|_| CORRUPT)?;
    let mut values = vec![T::default(); count];
    let progress = page.read(&mut values).map_err(|_| CORRUPT)?;
    if progress.n_processed != count || !progress.finished || !page.into_src().is_empty() {
        return Err(CORRUPT);
    }
    Ok(values)
}

/// Times of a device that reports every so often: a multiple of the usual step, and a residual.
fn encode_grid(values: &[i64], purpose: Purpose) -> Option<Vec<u8>> {
    let (&base, rest) = values.split_first()?;
    if values.len() < GRID_FROM {
        return None;
    }
    let mut steps: Vec<i64> = values
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]))
        .collect();
    let middle = steps.len() / 2;
    let step = *steps.select_nth_unstable(middle).1;
    // A step of a few units leaves residuals as large as the differences themselves.
    if step < 8 {
        return None;
    }
    let mut slots = Vec::with_capacity(rest.len());
    let mut residuals = Vec::with_capacity(rest.len());
    let mut slot = 0i64;
    for &value in rest {
        let offset = i128::from(value) - i128::from(base);
        let nearest =
            i64::try_from((offset + i128::from(step / 2)).div_euclid(i128::from(step))).ok()?;
        slots.push(nearest.wrapping_sub(slot));
        residuals.push(i64::try_from(offset - i128::from(nearest) * i128::from(step)).ok()?);
        slot = nearest;
    }
    let usual = slots.iter().filter(|&&advance| advance == 1).count();
    if usual * 4 < slots.len() * 3 {
        return None;
    }
    let mut out = vec![GRID];
    put_varint(&mut out, step.cast_unsigned());
    put_varint(&mut out, zigzag(base));
    put_block(&mut out, &encode_plain(&slots, purpose));
    out.extend_from_slice(&encode_plain(&residuals, purpose));
    Some(out)
}

fn decode_grid(
    reader: &mut Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<Vec<i64>, FrameError> {
    let step = reader.varint()?.cast_signed();
    let base = unzigzag(reader.varint()?);
    let slots = decode_nested(&mut reader.block()?, count - 1, budget, false)?;
    let residuals = decode_nested(reader, count - 1, budget, false)?;
    let mut values = Vec::with_capacity(count);
    values.push(base);
    let mut slot = 0i64;
    for (advance, residual) in slots.into_iter().zip(residuals) {
        slot = slot.wrapping_add(advance);
        values.push(
            base.wrapping_add(slot.wrapping_mul(step))
                .wrapping_add(residual),
        );
    }
    Ok(values)
}

/// Encodes ascending row numbers as the gaps between them.
#[expect(clippy::cast_possible_wrap, reason = "the format allows 2^24 rows")]
pub(in crate::frame) fn encode_rows(rows: &[usize], purpose: Purpose) -> Vec<u8> {
    let mut previous = 0;
    let gaps: Vec<i64> = rows
        .iter()
        .map(|&row| {
            let gap = row - previous;
            previous = row + 1;
            gap as i64
        })
        .collect();
    encode(&gaps, purpose)
}

/// Reads back `count` ascending row numbers, each below `rows`.
pub(in crate::frame) fn decode_rows(
    reader: Reader<'_>,
    count: usize,
    rows: usize,
    budget: &mut Budget,
) -> Result<Vec<usize>, FrameError> {
    let gaps = decode(reader, count, budget)?;
    budget.take(count, size_of::<usize>())?;
    let mut next = 0usize;
    gaps.into_iter()
        .map(|gap| {
            let row = usize::try_from(gap)
                .ok()
                .and_then(|gap| next.checked_add(gap));
            match row {
                Some(row) if row < rows => {
                    next = row + 1;
                    Ok(row)
                }
                _ => Err(FrameError::corrupt("an exception lies outside the frame")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[i64]) -> usize {
        let bytes = encode(values, Purpose::Size);
        let mut budget = Budget::new(1 << 20);
        assert_eq!(
            decode(Reader::new(&bytes), values.len(), &mut budget).as_deref(),
            Ok(values)
        );
        bytes.len()
    }

    proptest! {
        #[test]
        fn any_list_round_trips(values in prop::collection::vec(any::<i64>(), 0..300)) {
            round_trip(&values);
        }

        #[test]
        fn small_steps_round_trip(base: i64, steps in prop::collection::vec(-1000..1000i64, 0..600)) {
            let mut value = base;
            let values: Vec<i64> = steps.iter().map(|step| { value = value.wrapping_add(*step); value }).collect();
            round_trip(&values);
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
    fn limits_of_the_type_round_trip() {
        round_trip(&[]);
        round_trip(&[i64::MIN]);
        round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN]);
        let long: Vec<i64> = (0..500)
            .map(|i| if i % 2 == 0 { i64::MIN } else { i64::MAX })
            .collect();
        round_trip(&long);
    }

    #[test]
    fn a_steady_clock_costs_next_to_nothing() {
        let steady: Vec<i64> = (0..720).map(|i| 1_763_600_000_000 + i * 5_000).collect();
        assert!(round_trip(&steady) <= 24, "{}", round_trip(&steady));
    }

    #[test]
    fn a_jittering_clock_with_gaps_is_kept_on_its_grid() {
        let jitter = |i: i64| (i * 7919 % 41) - 20;
        let times: Vec<i64> = (0..720)
            .map(|i| 1_763_600_000_000 + (i + i / 100 * 3) * 5_000 + jitter(i))
            .collect();
        assert_eq!(encode(&times, Purpose::Size)[0], GRID);
        assert!(round_trip(&times) < 720);
    }
}
