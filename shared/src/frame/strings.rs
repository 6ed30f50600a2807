//! Runs of bytes compressed with zstd, short ones with a dictionary known to both sides.

use std::{cell::Cell, sync::LazyLock};

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::frame::FrameError;
use crate::frame::limits::Budget;
use crate::frame::wire::{Reader, put_varint};

const LEVEL: i32 = 12;

/// Text that frames of this project tend to begin with, most frequent last. It is part of version
/// 1 of the format: changing a byte of it makes older frames unreadable. Each string stands as in
/// the pool, after its length.
const PRESET: &[u8] = b"\x04FOC \x04PO# \x07Promo- \x0dfree trial of\x06Refund\x06Deposit\x07Package\
\x0aGift Card\x07Invoice\x0fTrial Lesson W/\x0dGroup Lesson \x09 Sessions\x0a Month(s) \x0bMembership\
\x08Discount\x05Color\x04Size\x05Small\x06Medium\x05Large\x04None\x05Other\x03N/A\
\x04Cash\x05Check\x09Gift card\x07Account\x0eDirect debit()\x15Misc. (Bank Transfer)\
\x1cMisc. (Paynow/Bank Transfer)\x12Misc. (Comp/Guest)\x16Credit card (AMEX-Swiped)\
\x1aCredit card (Visa/MC-Swiped)\x17Credit card (AMEX-Keyed)\x1bCredit card (Visa/MC-Keyed)\
\x0cOnline Store\x03---\x010\x011\
\x09timestamp\x04time\x06metric\x05value\x04unit\x08is_valid\x08metadata\x06device\x06second\x05batch\x08sequence\x02id\x04name\
\x09Sale Date\x09Client ID\x07Sale ID\x09Item name\x07Batch #\x0bSales Notes\x08Location\x05Notes\
\x05Color\x04Size\x0aItem price\x08Quantity\x08Subtotal\x0aDiscount %\x0fDiscount amount\x03Tax\
\x0aItem Total\x1cTotal Paid w/ Payment Method\x0ePayment Method\
\x06import\x07ordinal\
\x09sale_date\x09client_id\x07sale_id\x09item_name\x08batch_no\x0bsales_notes\x08location\x05notes\
\x05color\x04size\x0aitem_price\x08quantity\x08subtotal\x10discount_percent\x0fdiscount_amount\x03tax\
\x0aitem_total\x0atotal_paid\x0epayment_method\x06import\x07ordinal\
\x06import\x07ordinal\x09Sale Date\x09Client ID\x07Sale ID\x09Item name\x07Batch #\x0bSales Notes\x08Location\x05Notes\
\x05Color\x04Size\x1aItem price (excluding tax)\x08Quantity\x18Subtotal (excluding tax)\
\x0aDiscount %\x0fDiscount amount\x03Tax\x0aItem Total\x1cTotal Paid w/ Payment Method\x0ePayment Method\
\x06import\x07ordinal";

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(PRESET, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(PRESET));

/// Appends `bytes` as their length, the length as stored, and the stored bytes: a zstd frame made
/// with the preset dictionary, or the bytes themselves, whose two lengths are then equal.
pub(in crate::frame) fn put_packed(out: &mut Vec<u8>, bytes: &[u8]) {
    let packed = Compressor::with_prepared_dictionary(&ENCODER)
        .and_then(|mut compressor| {
            compressor.include_checksum(false)?;
            compressor.include_dictid(false)?;
            compressor.compress(bytes)
        })
        .ok()
        .filter(|packed| packed.len() < bytes.len());
    let stored = packed.as_deref().unwrap_or(bytes);
    put_varint(out, bytes.len() as u64);
    put_varint(out, stored.len() as u64);
    out.extend_from_slice(stored);
}

/// Reads back what [`put_packed`] wrote, in no more memory than it declares and `budget` has.
pub(in crate::frame) fn packed(
    reader: &mut Reader<'_>,
    budget: &mut Budget,
) -> Result<Vec<u8>, FrameError> {
    const CORRUPT: FrameError = FrameError::corrupt("a compressed block cannot be read");
    let length = reader.count()?;
    let stored_length = reader.count()?;
    let stored = reader.bytes(stored_length)?;
    budget.take(length, 1)?;
    if stored.len() == length {
        return Ok(stored.to_vec());
    }
    let mut bytes = Vec::with_capacity(length);
    decompress(stored, &mut bytes).map_err(|_| CORRUPT)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err(CORRUPT)
    }
}

/// Decompresses into the room that `bytes` has, with the context of the thread's last run: making
/// one takes longer than most runs.
fn decompress(stored: &[u8], bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    thread_local! {
        static IDLE: Cell<Option<Decompressor<'static>>> = const { Cell::new(None) };
    }
    let mut decompressor = match IDLE.take() {
        Some(decompressor) => decompressor,
        None => Decompressor::with_prepared_dictionary(&DECODER)?,
    };
    let length = decompressor.decompress_to_buffer(stored, bytes)?;
    IDLE.set(Some(decompressor));
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let mut out = Vec::new();
        put_packed(&mut out, &vec![b'a'; 1 << 20]);
        assert!(out.len() < 200);
        let read = |limit| packed(&mut Reader::new(&out), &mut Budget::new(limit));
        assert_eq!(read(1 << 20).map(|bytes| bytes.len()), Ok(1 << 20));
        assert_eq!(
            read((1 << 20) - 1),
            Err(FrameError::TooLarge {
                limit: (1 << 20) - 1
            })
        );

        // A block that declares less than it holds must not write past what was paid for.
        let mut lying = Vec::new();
        put_varint(&mut lying, 100);
        let mut reader = Reader::new(&out);
        reader.count().expect("length");
        lying.extend_from_slice(reader.remaining());
        assert!(packed(&mut Reader::new(&lying), &mut Budget::new(1 << 20)).is_err());
    }

    #[test]
    fn short_and_incompressible_bytes_are_stored_as_they_are() {
        let mut out = Vec::new();
        put_packed(&mut out, b"qz7");
        assert_eq!(out, b"\x03\x03qz7");
    }
}
