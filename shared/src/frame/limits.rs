//! How much a reader is willing to spend on bytes it does not trust.

use crate::frame::FrameError;

/// Bounds for decoding one frame.
///
/// A frame of a few bytes may legally declare a million equal rows, so the bounds apply to what
/// the frame decodes to and are checked before anything is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the encoded frame.
    pub encoded_bytes: usize,
    /// Most rows.
    pub rows: usize,
    /// Most columns.
    pub columns: usize,
    /// Most bytes of decoded values and of the working space proportional to them.
    pub decoded_bytes: usize,
}

impl Limits {
    /// What the format itself can hold; the writer refuses more.
    pub const FORMAT: Self = Self {
        encoded_bytes: u32::MAX as usize,
        rows: 1 << 24,
        columns: 1 << 10,
        decoded_bytes: u32::MAX as usize,
    };
}

impl Default for Limits {
    /// Generous for frames held in one table item (400 KiB), yet within a small function's memory.
    fn default() -> Self {
        Self {
            encoded_bytes: 4 << 20,
            rows: 1 << 18,
            columns: 256,
            decoded_bytes: 48 << 20,
        }
    }
}

/// What is left of [`Limits::decoded_bytes`].
#[derive(Debug)]
pub(in crate::frame) struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    pub(in crate::frame) fn new(limit: usize) -> Self {
        Self { left: limit, limit }
    }

    /// Pays for `count` values of `width` bytes, before they are allocated.
    pub(in crate::frame) fn take(&mut self, count: usize, width: usize) -> Result<(), FrameError> {
        let left = count
            .checked_mul(width)
            .and_then(|bytes| self.left.checked_sub(bytes));
        match left {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(FrameError::TooLarge {
                limit: self.limit as u64,
            }),
        }
    }
}
