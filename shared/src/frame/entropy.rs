//! An adaptive binary range coder: each yes-or-no decision costs what its surprise is worth.
//!
//! Writer and reader run the same model code over [`BinaryCoder`]; the writer is told each
//! decision, the reader tells it. No tables are stored, which is what makes it fit for frames of
//! thirty rows. The arithmetic is that of the LZMA range coder (32-bit range, 12-bit
//! probabilities, carry propagation), with a learning rate that starts fast.

/// Slowest learning: a model forgets over about this many decisions.
const MEMORY: u8 = 126;

/// Step towards the decision just seen, in 1/65536, by the number of decisions seen before.
const RATES: [u32; MEMORY as usize + 1] = {
    let mut rates = [0; MEMORY as usize + 1];
    let mut seen = 0;
    let mut divisor = 16;
    while seen < rates.len() {
        rates[seen] = (65_536 * 10) / divisor;
        seen += 1;
        divisor += 10;
    }
    rates
};

/// The running estimate of how probable `false` is in one context.
#[derive(Debug, Clone, Copy)]
pub(in crate::frame) struct BitModel {
    probability: u16,
    seen: u8,
}

impl Default for BitModel {
    fn default() -> Self {
        Self {
            probability: 1 << 15,
            seen: 0,
        }
    }
}

impl BitModel {
    /// Probability of `false` in 1/4096, never quite zero or one.
    fn share(self) -> u32 {
        u32::from(self.probability >> 4).max(1)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "stays between 0 and 65,535"
    )]
    fn learn(&mut self, decision: bool) {
        let rate = RATES[usize::from(self.seen)];
        let probability = u32::from(self.probability);
        self.probability = if decision {
            probability - ((probability * rate) >> 16)
        } else {
            probability + (((u32::from(u16::MAX) - probability) * rate) >> 16)
        } as u16;
        self.seen = (self.seen + 1).min(MEMORY);
    }
}

/// One direction of coding. `decision` is read by the writer and ignored by the reader; both
/// return the decision that counts.
pub(in crate::frame) trait BinaryCoder {
    /// Codes one decision under an adaptive model.
    fn bit(&mut self, model: &mut BitModel, decision: bool) -> bool;

    /// Codes the low `count` bits of `value` (at most 64), high bit first, without a model.
    fn raw(&mut self, value: u64, count: u32) -> u64;

    /// Codes the low `count` bits of `value`, high bit first, each under the model of the bits
    /// before it. `models` holds at least `1 << count` of them.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "callers use trees of less than 32 bits"
    )]
    fn tree(&mut self, models: &mut [BitModel], value: u32, count: u32) -> u32 {
        let mut node = 1usize;
        for shift in (0..count).rev() {
            let decision = self.bit(&mut models[node], value >> shift & 1 == 1);
            node = node << 1 | usize::from(decision);
        }
        (node - (1 << count)) as u32
    }
}

/// Range below which a byte is moved out.
const BOTTOM: u32 = 1 << 24;

/// Writes decisions.
#[derive(Debug)]
pub(in crate::frame) struct RangeEncoder {
    low: u64,
    range: u32,
    /// The last byte moved out, which a carry may still change; none before the first.
    cache: Option<u8>,
    /// 0xff bytes after `cache`, which a carry would turn over.
    pending: usize,
    out: Vec<u8>,
}

impl RangeEncoder {
    pub(in crate::frame) fn new() -> Self {
        Self {
            low: 0,
            range: u32::MAX,
            cache: None,
            pending: 0,
            out: Vec::new(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the top byte and the carry above it are taken out"
    )]
    fn shift_low(&mut self) {
        let carry = (self.low >> 32) as u8;
        let byte = (self.low >> 24) as u8;
        if byte == 0xff && carry == 0 {
            self.pending += 1;
        } else {
            if let Some(cache) = self.cache {
                self.out.push(cache.wrapping_add(carry));
            }
            let turned = 0xff_u8.wrapping_add(carry);
            self.out.resize(self.out.len() + self.pending, turned);
            self.pending = 0;
            self.cache = Some(byte);
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    /// Ends the stream in as few bytes as identify it; the reader takes missing bytes for zero.
    pub(in crate::frame) fn finish(mut self) -> Vec<u8> {
        let last = self.low + u64::from(self.range) - 1;
        let roundest = (0..=32)
            .rev()
            .map(|zeros| last >> zeros << zeros)
            .find(|&value| value >= self.low);
        self.low = roundest.unwrap_or(self.low);
        for _ in 0..5 {
            self.shift_low();
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl BinaryCoder for RangeEncoder {
    fn bit(&mut self, model: &mut BitModel, decision: bool) -> bool {
        let bound = (self.range >> 12) * model.share();
        if decision {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(decision);
        while self.range < BOTTOM {
            self.range <<= 8;
            self.shift_low();
        }
        decision
    }

    fn raw(&mut self, value: u64, count: u32) -> u64 {
        for shift in (0..count).rev() {
            self.range >>= 1;
            if value >> shift & 1 == 1 {
                self.low += u64::from(self.range);
            }
            while self.range < BOTTOM {
                self.range <<= 8;
                self.shift_low();
            }
        }
        value
    }
}

/// Reads decisions back. Any bytes give decisions: there is no invalid stream.
#[derive(Debug)]
pub(in crate::frame) struct RangeDecoder<'a> {
    code: u32,
    range: u32,
    rest: &'a [u8],
}

impl<'a> RangeDecoder<'a> {
    pub(in crate::frame) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            code: 0,
            range: u32::MAX,
            rest: bytes,
        };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    fn shift(&mut self) {
        let byte = match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => 0,
        };
        self.code = self.code << 8 | u32::from(byte);
    }

    fn normalize(&mut self) {
        while self.range < BOTTOM {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl BinaryCoder for RangeDecoder<'_> {
    fn bit(&mut self, model: &mut BitModel, _: bool) -> bool {
        let bound = (self.range >> 12) * model.share();
        let decision = self.code >= bound;
        if decision {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        model.learn(decision);
        self.normalize();
        decision
    }

    fn raw(&mut self, _: u64, count: u32) -> u64 {
        let mut value = 0;
        for _ in 0..count {
            self.range >>= 1;
            let decision = self.code >= self.range;
            if decision {
                self.code -= self.range;
            }
            value = value << 1 | u64::from(decision);
            self.normalize();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decisions_round_trip(steps in prop::collection::vec((0..4usize, any::<bool>(), any::<u64>(), 0..=64u32), 0..400)) {
            let mut encoder = RangeEncoder::new();
            let mut models = [BitModel::default(); 4];
            for &(context, decision, value, count) in &steps {
                encoder.bit(&mut models[context], decision);
                encoder.raw(value, count);
            }
            let bytes = encoder.finish();
            let mut decoder = RangeDecoder::new(&bytes);
            let mut models = [BitModel::default(); 4];
            for &(context, decision, value, count) in &steps {
                prop_assert_eq!(decoder.bit(&mut models[context], false), decision);
                let mask = if count == 64 { u64::MAX } else { (1 << count) - 1 };
                prop_assert_eq!(decoder.raw(0, count), value & mask);
            }
        }
    }

    #[test]
    fn a_long_run_of_one_decision_costs_a_few_bytes() {
        let mut encoder = RangeEncoder::new();
        let mut model = BitModel::default();
        for _ in 0..10_000 {
            encoder.bit(&mut model, true);
        }
        let ones = encoder.finish().len();
        let mut encoder = RangeEncoder::new();
        let mut model = BitModel::default();
        for _ in 0..10_000 {
            encoder.bit(&mut model, false);
        }
        assert!(ones <= 12, "{ones}");
        assert!(encoder.finish().len() <= 12);
    }
}
