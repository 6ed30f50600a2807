//! Small integers in few bits: several fields, each with the code that suits its values best,
//! interleaved in one stream.
//!
//! Bits fill bytes from the lowest up. A number `v` under an order `k` is `c` ones and a zero, `c`
//! being the bit length of `v >> k`, then the `c - 1` bits of `v >> k` below its leading one, then
//! the `k` low bits of `v`, lowest bits first: near the entropy of what is spread over a few times
//! `2^k`, and never much longer than an outlier's bits twice over.
//!
//! A stream starts with the codes of its fields, in order: a 0 says that all its numbers are 0; a 1
//! is followed by a byte: `k` below 64, `64 + k` if what is written are the differences to the
//! number before (0 before the first; wrapping; 0, -1, 1, -2 … as 0, 1, 2, 3 …), or 128 if all
//! numbers are the one that follows under order 0. Then come the numbers of all fields as the
//! reader asks for them, and zeros up to the end of the byte.

const DELTA: u64 = 64;
const CONSTANT: u64 = 128;
const ORDERS: u32 = 64;

/// Maps signed to unsigned so that numbers near zero become small: 0, -1, 1, -2 … to 0, 1, 2, 3 …
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

const fn mask(count: u32) -> u64 {
    if count >= u64::BITS {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

const fn bit_length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Bits of `value` under an order.
const fn cost(value: u64, order: u32) -> u64 {
    let class = bit_length(value >> order);
    (1 + class + class.saturating_sub(1) + order) as u64
}

/// How the numbers of one field are written.
#[derive(Clone, Copy, Debug, Default)]
enum Code {
    #[default]
    Zero,
    Constant(u64),
    Plain(u32),
    Delta(u32),
}

impl Code {
    /// The shortest one for `values`.
    fn of(values: &[u64]) -> Self {
        let Some(&first) = values.first() else {
            return Self::Zero;
        };
        if values.iter().all(|&value| value == first) {
            return if first == 0 {
                Self::Zero
            } else {
                Self::Constant(first)
            };
        }
        let mut previous = 0;
        let differences: Vec<u64> = values
            .iter()
            .map(|&value| difference(value, std::mem::replace(&mut previous, value)))
            .collect();
        let (plain, plain_cost) = best_order(values);
        let (delta, delta_cost) = best_order(&differences);
        if delta_cost < plain_cost {
            Self::Delta(delta)
        } else {
            Self::Plain(plain)
        }
    }
}

fn difference(value: u64, previous: u64) -> u64 {
    zigzag(value.wrapping_sub(previous).cast_signed())
}

fn best_order(values: &[u64]) -> (u32, u64) {
    let total = |order| values.iter().map(|&value| cost(value, order)).sum();
    let longest = values.iter().copied().map(bit_length).max().unwrap_or(0);
    (0..=longest.min(ORDERS - 1))
        .map(|order| (order, total(order)))
        .min_by_key(|&(_, bits): &(u32, u64)| bits)
        .unwrap_or_default()
}

/// Collects the numbers of `N` fields.
pub(super) struct Writer<const N: usize> {
    numbers: Vec<(usize, u64)>,
}

impl<const N: usize> Writer<N> {
    pub(super) const fn new() -> Self {
        Self {
            numbers: Vec::new(),
        }
    }

    /// Adds a number to field `field`, below `N`.
    pub(super) fn put(&mut self, field: usize, value: u64) {
        self.numbers.push((field, value));
    }

    pub(super) fn put_signed(&mut self, field: usize, value: i64) {
        self.put(field, zigzag(value));
    }

    /// Appends the stream.
    pub(super) fn finish(&self, out: &mut Vec<u8>) {
        let mut values = [const { Vec::new() }; N];
        for &(field, value) in &self.numbers {
            values[field].push(value);
        }
        let codes = values.map(|values| Code::of(&values));
        let mut bits = Bits {
            out,
            byte: 0,
            filled: 0,
        };
        for code in codes {
            let (tag, constant) = match code {
                Code::Zero => {
                    bits.put(0, 1);
                    continue;
                }
                Code::Constant(value) => (CONSTANT, Some(value)),
                Code::Plain(order) => (u64::from(order), None),
                Code::Delta(order) => (DELTA + u64::from(order), None),
            };
            bits.put(1, 1);
            bits.put(tag, 8);
            if let Some(value) = constant {
                bits.put_number(value, 0);
            }
        }
        let mut previous = [0; N];
        for &(field, value) in &self.numbers {
            match codes[field] {
                Code::Zero | Code::Constant(_) => {}
                Code::Plain(order) => bits.put_number(value, order),
                Code::Delta(order) => {
                    bits.put_number(difference(value, previous[field]), order);
                    previous[field] = value;
                }
            }
        }
        bits.finish();
    }
}

struct Bits<'o> {
    out: &'o mut Vec<u8>,
    /// The byte begun.
    byte: u64,
    /// How many of its bits are set.
    filled: u32,
}

impl Bits<'_> {
    fn put(&mut self, value: u64, count: u32) {
        let (mut value, mut count) = (value & mask(count), count);
        while count > 0 {
            let taken = count.min(8 - self.filled);
            self.byte |= (value & mask(taken)) << self.filled;
            self.filled += taken;
            value = value.checked_shr(taken).unwrap_or(0);
            count -= taken;
            if self.filled == 8 {
                self.finish();
            }
        }
    }

    fn put_number(&mut self, value: u64, order: u32) {
        let high = value >> order;
        let class = bit_length(high);
        self.put(mask(class), class);
        self.put(0, 1);
        self.put(high, class.saturating_sub(1));
        self.put(value, order);
    }

    /// Completes the byte begun.
    fn finish(&mut self) {
        if self.filled > 0 {
            self.out.extend(self.byte.to_le_bytes().first());
        }
        (self.byte, self.filled) = (0, 0);
    }
}

/// Reads what a [`Writer`] wrote. Beyond the end there are zeros; [`finish`](Self::finish) tells.
pub(super) struct Reader<'b, const N: usize> {
    bytes: &'b [u8],
    /// The next bit.
    at: usize,
    codes: [Code; N],
    previous: [u64; N],
}

impl<'b, const N: usize> Reader<'b, N> {
    /// Reads the codes; `None` if one is unknown.
    pub(super) fn new(bytes: &'b [u8]) -> Option<Self> {
        let mut reader = Self {
            bytes,
            at: 0,
            codes: [Code::Zero; N],
            previous: [0; N],
        };
        for field in 0..N {
            if reader.take(1) == 0 {
                continue;
            }
            let order = |tag| u32::try_from(tag % DELTA).ok();
            reader.codes[field] = match reader.take(8) {
                tag @ 0..DELTA => Code::Plain(order(tag)?),
                tag @ DELTA..CONSTANT => Code::Delta(order(tag)?),
                CONSTANT => Code::Constant(reader.number(0)),
                _ => return None,
            };
        }
        Some(reader)
    }

    /// The next number of field `field`, below `N`.
    #[inline]
    pub(super) fn get(&mut self, field: usize) -> u64 {
        match self.codes[field] {
            Code::Zero => 0,
            Code::Constant(value) => value,
            Code::Plain(order) => self.number(order),
            Code::Delta(order) => {
                let difference = unzigzag(self.number(order)).cast_unsigned();
                let value = self.previous[field].wrapping_add(difference);
                self.previous[field] = value;
                value
            }
        }
    }

    #[inline]
    pub(super) fn get_signed(&mut self, field: usize) -> i64 {
        unzigzag(self.get(field))
    }

    /// The bytes after the stream; `None` unless all of it was read.
    pub(super) fn finish(self) -> Option<&'b [u8]> {
        self.bytes.get(self.at.div_ceil(8)..)
    }

    /// At least the next 57 bits.
    #[inline]
    fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
            word
        });
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    #[inline]
    fn take(&mut self, count: u32) -> u64 {
        if count > 56 {
            let low = self.take(32);
            return low | self.take(count - 32) << 32;
        }
        let value = self.peek() & mask(count);
        self.at += count as usize;
        value
    }

    #[inline]
    fn number(&mut self, order: u32) -> u64 {
        let mut class = self.peek().trailing_ones();
        if class >= 56 {
            class = 56;
            self.at += 56;
            class += self.peek().trailing_ones().min(8);
            self.at += class as usize - 56;
        } else {
            self.at += class as usize;
        }
        self.at += 1;
        let high = match class.checked_sub(1) {
            None => 0,
            Some(below) => self.take(below) | 1 << below,
        };
        let low = self.take(order);
        high.checked_shl(order).unwrap_or(0) | low
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..=64u32).prop_map(|(value, bits)| value & mask(bits))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_in_the_same_order(
            numbers in prop::collection::vec((0..3usize, number()), 0..200),
        ) {
            let mut writer = Writer::<4>::new();
            for &(field, value) in &numbers {
                writer.put(field, value);
            }
            let mut out = Vec::new();
            writer.finish(&mut out);
            out.push(42);
            let mut reader = Reader::<4>::new(&out).unwrap();
            for &(field, value) in &numbers {
                prop_assert_eq!(reader.get(field), value);
            }
            prop_assert_eq!(reader.get(3), 0);
            prop_assert_eq!(reader.finish(), Some(&[42][..]));
        }

        #[test]
        fn any_bytes_are_read_without_end(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(mut reader) = Reader::<3>::new(&bytes) {
                for field in (0..3).cycle().take(200) {
                    reader.get(field);
                }
                reader.finish();
            }
        }
    }

    #[test]
    fn numbers_that_are_all_the_same_take_a_few_bits() {
        let mut writer = Writer::<2>::new();
        for _ in 0..60 {
            writer.put(0, 12);
        }
        let mut out = Vec::new();
        writer.finish(&mut out);
        assert_eq!(out.len(), 3);
    }
}
