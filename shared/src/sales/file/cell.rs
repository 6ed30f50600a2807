//! One cell: its bytes to its text, its text to its value.

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;

use super::dialect::Encoding;
use super::formula::undefuse;
use crate::sales::model::NO_VALUE;

/// Unquotes and decodes one cell; false when text follows its closing quote, and then the cell is
/// given with its quotes.
pub(super) fn decode(raw: &[u8], encoding: Encoding) -> (Cow<'_, str>, bool) {
    let text = match encoding {
        // The caller checked that the record is valid, and cells are cut at ASCII bytes.
        Encoding::Utf8 => String::from_utf8_lossy(raw),
        Encoding::Windows1252 => WINDOWS_1252.decode_without_bom_handling(raw).0,
    };
    if raw.first() != Some(&b'"') {
        return (text, true);
    }
    let inner = match text.len() {
        0 | 1 => None,
        length => text[1..].strip_suffix('"').map(|inner| (inner, length)),
    };
    let Some((inner, length)) = inner else {
        return (text, false);
    };
    if !inner.contains('"') {
        return match text {
            Cow::Borrowed(text) => (Cow::Borrowed(&text[1..length - 1]), true),
            Cow::Owned(ref text) => (Cow::Owned(text[1..length - 1].to_owned()), true),
        };
    }
    let mut unescaped = String::with_capacity(inner.len());
    let mut pieces = inner.split('"');
    unescaped.push_str(pieces.next().unwrap_or_default());
    // Between the pieces stand the quotes: they must come in pairs, with nothing in between.
    while let Some(between) = pieces.next() {
        let Some(piece) = pieces.next().filter(|_| between.is_empty()) else {
            return (text, false);
        };
        unescaped.push('"');
        unescaped.push_str(piece);
    }
    (Cow::Owned(unescaped), true)
}

/// The cell without the apostrophe that keeps a formula from running.
pub(super) fn bare(cell: Cow<'_, str>) -> Cow<'_, str> {
    match cell {
        Cow::Borrowed(cell) => Cow::Borrowed(undefuse(cell)),
        Cow::Owned(cell) => Cow::Owned(undefuse(&cell).to_owned()),
    }
}

/// The trimmed cell, unless it means that there is none.
pub(super) fn value(cell: &str) -> Option<&str> {
    let solid = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    let bytes = cell.as_bytes();
    let trimmed = if solid(bytes.first()) && solid(bytes.last()) {
        cell
    } else {
        cell.trim()
    };
    (!trimmed.is_empty() && trimmed != NO_VALUE).then_some(trimmed)
}
