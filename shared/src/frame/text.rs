//! Lists of texts: in the frame's pool, in a block of their own, or as the numbers they write.

use crate::frame::FrameError;
use crate::frame::column::TextColumn;
use crate::frame::encode::Purpose;
use crate::frame::integers;
use crate::frame::limits::Budget;
use crate::frame::number_text::NumberText;
use crate::frame::strings::{packed, put_packed};
use crate::frame::wire::{Reader, put_block, put_varint, varint_len};

const POOLED: u8 = 0;
const OWN: u8 = 1;
/// All numbers have the same places.
const NUMBERS_FIXED: u8 = 2;
/// All numbers are written without zeros at the end; mantissas share a scale.
const NUMBERS_SHORTEST: u8 = 3;
/// Each number's places are listed.
const NUMBERS_LISTED: u8 = 4;
/// Set beside a number encoding when some texts are no numbers.
const WITH_EXCEPTIONS: u8 = 0x10;

/// Texts longer than this together get a block of their own, so that reading other columns does
/// not pay for them.
const POOLED_UP_TO: usize = 8 << 10;

/// An encoded list: its bytes in the column's section and its bytes in the pool.
#[derive(Debug, Default)]
pub(in crate::frame) struct Packed {
    /// In the section.
    pub(in crate::frame) body: Vec<u8>,
    /// In the pool.
    pub(in crate::frame) pooled: Vec<u8>,
}

impl Packed {
    /// Bytes that the list should add to the frame; text in the pool shrinks by about half.
    pub(in crate::frame) fn weight(&self) -> usize {
        self.body.len() + self.pooled.len() * 5 / 8
    }
}

/// Encodes `texts` in the smallest of the ways that serve the purpose; no texts take no bytes.
pub(in crate::frame) fn encode(texts: &TextColumn, purpose: Purpose) -> Packed {
    if texts.is_empty() {
        return Packed::default();
    }
    // Text shrinks by about half, which is near enough to choose by; trying costs more than all
    // the rest of a frame.
    match encode_numbers(texts, purpose) {
        Some(numbers) if numbers.weight() * 8 < (texts.byte_len() + texts.len()) * 5 => numbers,
        _ => encode_texts(texts.iter(), purpose),
    }
}

fn encode_texts<'a>(
    texts: impl ExactSizeIterator<Item = &'a str> + Clone,
    purpose: Purpose,
) -> Packed {
    let bytes: usize = texts.clone().map(str::len).sum();
    if bytes > POOLED_UP_TO {
        #[expect(
            clippy::cast_possible_wrap,
            reason = "no text is longer than a column, 4 GiB"
        )]
        let lengths: Vec<i64> = texts.clone().map(|text| text.len() as i64).collect();
        let mut joined = String::with_capacity(bytes);
        joined.extend(texts);
        let mut body = vec![OWN];
        put_block(&mut body, &integers::encode(&lengths, purpose));
        put_packed(&mut body, joined.as_bytes());
        return Packed {
            body,
            pooled: Vec::new(),
        };
    }
    let mut pooled = Vec::with_capacity(bytes + texts.len());
    for text in texts {
        put_text(&mut pooled, text);
    }
    Packed {
        body: vec![POOLED],
        pooled,
    }
}

fn encode_numbers(texts: &TextColumn, purpose: Purpose) -> Option<Packed> {
    let numbers: Vec<Option<NumberText>> = texts.iter().map(NumberText::parse).collect();
    let exceptions: Vec<usize> = (0..numbers.len())
        .filter(|&row| numbers[row].is_none())
        .collect();
    if exceptions.len() * 4 > numbers.len() {
        return None;
    }
    let numbers: Vec<NumberText> = numbers.into_iter().flatten().collect();
    let places = numbers.iter().map(|number| number.digits).max()?;
    let mut smallest = Vec::new();
    let mut tag = NUMBERS_LISTED;
    let mut offer = |candidate: u8, bytes: Vec<u8>| {
        if smallest.is_empty() || bytes.len() < smallest.len() {
            (tag, smallest) = (candidate, bytes);
        }
    };
    let mantissas: Vec<i64> = numbers.iter().map(|number| number.mantissa).collect();
    if numbers.iter().all(|number| number.digits == places) {
        let mut bytes = vec![places];
        bytes.extend_from_slice(&integers::encode(&mantissas, purpose));
        offer(NUMBERS_FIXED, bytes);
    } else {
        let shortest = numbers.iter().all(|number| number.shortest() == *number);
        let rescaled: Option<Vec<i64>> = numbers
            .iter()
            .map(|number| number.rescale(places))
            .collect();
        if let Some(rescaled) = rescaled.filter(|_| shortest) {
            let mut bytes = vec![places];
            bytes.extend_from_slice(&integers::encode(&rescaled, purpose));
            offer(NUMBERS_SHORTEST, bytes);
        }
        let listed: Vec<i64> = numbers
            .iter()
            .map(|number| i64::from(number.digits))
            .collect();
        let mut bytes = Vec::new();
        put_block(&mut bytes, &integers::encode(&listed, purpose));
        bytes.extend_from_slice(&integers::encode(&mantissas, purpose));
        offer(NUMBERS_LISTED, bytes);
    }
    if exceptions.is_empty() {
        smallest.insert(0, tag);
        return Some(Packed {
            body: smallest,
            pooled: Vec::new(),
        });
    }
    let odd = encode_texts(exceptions.iter().map(|&row| texts.at(row)), purpose);
    let mut body = vec![tag | WITH_EXCEPTIONS];
    put_varint(&mut body, exceptions.len() as u64);
    put_block(&mut body, &integers::encode_rows(&exceptions, purpose));
    put_block(&mut body, &odd.body);
    body.extend_from_slice(&smallest);
    Some(Packed {
        body,
        pooled: odd.pooled,
    })
}

/// Reads back `count` texts, which must be all that `body` and `pool` hold.
pub(in crate::frame) fn decode(
    mut body: Reader<'_>,
    mut pool: Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<TextColumn, FrameError> {
    let texts = if count == 0 {
        TextColumn::new()
    } else {
        match body.byte()? {
            tag @ (POOLED | OWN) => decode_texts(tag, &mut body, &mut pool, count, budget)?,
            tag => decode_numbers(tag, &mut body, &mut pool, count, budget)?,
        }
    };
    body.finish()?;
    pool.finish()?;
    Ok(texts)
}

fn decode_texts(
    tag: u8,
    body: &mut Reader<'_>,
    pool: &mut Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<TextColumn, FrameError> {
    budget.take(count, size_of::<u32>())?;
    if tag == POOLED {
        let mut texts = TextColumn::with_capacity(count, 0);
        for _ in 0..count {
            let text = take_text(pool)?;
            budget.take(text.len(), 1)?;
            texts.push(text)?;
        }
        return Ok(texts);
    }
    let lengths = integers::decode(body.block()?, count, budget)?;
    let joined = packed(body, budget)?;
    budget.take(joined.len(), 1)?;
    let mut texts = TextColumn::with_capacity(count, joined.len());
    let mut rest = utf8(&joined)?;
    for length in lengths {
        let (text, after) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_checked(length))
            .ok_or(FrameError::corrupt("a text does not end where it should"))?;
        texts.push(text)?;
        rest = after;
    }
    if rest.is_empty() {
        Ok(texts)
    } else {
        Err(FrameError::corrupt("text is left over"))
    }
}

fn decode_numbers(
    tag: u8,
    body: &mut Reader<'_>,
    pool: &mut Reader<'_>,
    count: usize,
    budget: &mut Budget,
) -> Result<TextColumn, FrameError> {
    let (rows, odd) = if tag & WITH_EXCEPTIONS == 0 {
        (Vec::new(), TextColumn::new())
    } else {
        let exceptions = body.count()?;
        let rows = integers::decode_rows(body.block()?, exceptions, count, budget)?;
        let mut odd_body = body.block()?;
        let odd_tag = odd_body.byte()?;
        if odd_tag != POOLED && odd_tag != OWN {
            return Err(FrameError::corrupt("a text list has an unknown encoding"));
        }
        let odd = decode_texts(odd_tag, &mut odd_body, pool, exceptions, budget)?;
        odd_body.finish()?;
        (rows, odd)
    };
    let numeric = count - rows.len();
    let tag = tag & !WITH_EXCEPTIONS;
    let (places, listed) = match tag {
        NUMBERS_FIXED | NUMBERS_SHORTEST => (i64::from(body.byte()?), None),
        NUMBERS_LISTED => (0, Some(integers::decode(body.block()?, numeric, budget)?)),
        _ => return Err(FrameError::corrupt("a text list has an unknown encoding")),
    };
    let mantissas = integers::decode(Reader::new(body.remaining()), numeric, budget)?;
    // The longest writing: a sign, a zero, a point and the places.
    budget.take(
        count,
        size_of::<u32>() + usize::from(NumberText::MAX_PLACES) + 3,
    )?;

    let mut texts = TextColumn::with_capacity(count, 0);
    let mut written = String::new();
    let mut odd = rows.iter().copied().zip(odd.iter()).peekable();
    let mut number = 0;
    for row in 0..count {
        if let Some((_, text)) = odd.next_if(|&(odd_row, _)| odd_row == row) {
            texts.push(text)?;
            continue;
        }
        let places = listed.as_ref().map_or(places, |listed| listed[number]);
        let digits = u8::try_from(places)
            .ok()
            .filter(|&digits| digits <= NumberText::MAX_PLACES)
            .ok_or(FrameError::corrupt("a number has too many places"))?;
        let mut value = NumberText {
            mantissa: mantissas[number],
            digits,
        };
        if tag == NUMBERS_SHORTEST {
            value = value.shortest();
        }
        number += 1;
        written.clear();
        value.write(&mut written);
        texts.push(&written)?;
    }
    Ok(texts)
}

fn utf8(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::corrupt("a text is not UTF-8"))
}

/// Appends a text after its length.
pub(in crate::frame) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_block(out, text.as_bytes());
}

/// Takes a text that stands after its length.
pub(in crate::frame) fn take_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, FrameError> {
    let length = reader.count()?;
    utf8(reader.bytes(length)?)
}

/// Bytes that [`put_text`] appends for `text`.
pub(in crate::frame) fn text_len(text: &str) -> usize {
    varint_len(text.len() as u64) + text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip<S: AsRef<str>>(cells: &[S]) -> Packed {
        let texts = TextColumn::try_from_cells(cells).expect("small");
        let packed = encode(&texts, Purpose::Size);
        let back = decode(
            Reader::new(&packed.body),
            Reader::new(&packed.pooled),
            texts.len(),
            &mut Budget::new(1 << 20),
        );
        assert_eq!(back, Ok(texts));
        packed
    }

    proptest! {
        #[test]
        fn any_text_round_trips(cells in prop::collection::vec(any::<String>(), 0..50)) {
            round_trip(&cells);
        }

        #[test]
        fn number_like_text_round_trips(cells in prop::collection::vec("-?[0-9]{0,5}(\\.[0-9]{0,4})?", 0..200)) {
            round_trip(&cells);
        }

        #[test]
        fn any_bytes_decode_or_fail(
            body in prop::collection::vec(any::<u8>(), 0..100),
            pool in prop::collection::vec(any::<u8>(), 0..100),
            tag in 0..5u8,
            count in 0..100usize,
        ) {
            let mut tagged = vec![tag];
            tagged.extend(&body);
            for body in [&body, &tagged] {
                let _ = decode(Reader::new(body), Reader::new(&pool), count, &mut Budget::new(1 << 16));
            }
        }
    }

    #[test]
    fn amounts_are_kept_as_numbers() {
        let amounts = ["32", "2.88", "0.654", "-1", "1004", "0.5", "34.88", "7.5"];
        let packed = round_trip(&amounts);
        assert!(packed.pooled.is_empty());
        assert!(packed.body.len() < 24, "{}", packed.body.len());
        let mixed: Vec<String> = (0..90u32)
            .map(|i| match i % 30 {
                7 => "---".to_owned(),
                8 => "007".to_owned(),
                9 => "12.50".to_owned(),
                _ => format!("{}.{}", i * i * 97, 1 + i % 9),
            })
            .collect();
        assert_eq!(round_trip(&mixed).body[0], NUMBERS_LISTED | WITH_EXCEPTIONS);
    }

    #[test]
    fn long_lists_get_a_block_of_their_own() {
        let notes: Vec<String> = (0..500)
            .map(|i| format!("paid by transfer, reference {i}, søren"))
            .collect();
        let packed = round_trip(&notes);
        assert!(packed.pooled.is_empty());
        assert!(packed.body.len() < 4000);
    }
}
