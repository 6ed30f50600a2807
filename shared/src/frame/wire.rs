//! Bytes in order: variable-length integers, length-prefixed blocks, the checksum.

use xxhash_rust::xxh3::xxh3_64;

use crate::frame::FrameError;

/// Bytes of the checksum that ends every frame.
pub(in crate::frame) const CHECKSUM_BYTES: usize = 8;

/// The checksum of `bytes`, as it stands at the end of a frame.
pub(in crate::frame) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    xxh3_64(bytes).to_le_bytes()
}

/// Maps signed to unsigned so that numbers near zero become small: 0, -1, 1, -2 … to 0, 1, 2, 3 …
pub(in crate::frame) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(in crate::frame) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Bytes that [`put_varint`] needs for `value`.
pub(in crate::frame) const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends `value` in LEB128: seven bits a byte, low bits first, high bit set on all but the last.
pub(in crate::frame) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends `block` after its length.
pub(in crate::frame) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_varint(out, block.len() as u64);
    out.extend_from_slice(block);
}

/// Takes bytes from the front of a slice; every read past the end is an error.
#[derive(Debug, Clone, Copy)]
pub(in crate::frame) struct Reader<'a> {
    rest: &'a [u8],
}

const TRUNCATED: FrameError = FrameError::corrupt("it ends too early");

impl<'a> Reader<'a> {
    pub(in crate::frame) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::frame) fn byte(&mut self) -> Result<u8, FrameError> {
        let (&first, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(first)
    }

    pub(in crate::frame) fn varint(&mut self) -> Result<u64, FrameError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FrameError::corrupt("a variable-length integer is too long"))
    }

    /// A varint that counts things in memory.
    pub(in crate::frame) fn count(&mut self) -> Result<usize, FrameError> {
        usize::try_from(self.varint()?).map_err(|_| FrameError::corrupt("a count is too large"))
    }

    pub(in crate::frame) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length-prefixed block, to be read on its own.
    pub(in crate::frame) fn block(&mut self) -> Result<Reader<'a>, FrameError> {
        let length = self.count()?;
        self.bytes(length).map(Reader::new)
    }

    /// Everything that is left.
    pub(in crate::frame) fn remaining(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may follow.
    pub(in crate::frame) fn finish(self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FrameError::corrupt("bytes follow the end of a section"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varint_round_trips_in_the_length_foretold(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn zigzag_round_trips(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn varint_of_more_than_64_bits_is_refused() {
        let mut bytes = [0xff; 10];
        bytes[9] = 0x02;
        assert!(Reader::new(&bytes).varint().is_err());
        bytes[9] = 0x01;
        assert_eq!(Reader::new(&bytes).varint(), Ok(u64::MAX));
        assert!(Reader::new(&[0x80]).varint().is_err());
    }
}
