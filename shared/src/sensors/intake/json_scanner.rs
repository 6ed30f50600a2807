//! Reads JSON piece by piece (RFC 8259), strictly, without building anything.
//!
//! Stricter than the grammar in one point: strings whose escapes are half a surrogate pair are
//! refused, since no UTF-8 spells them.

use std::borrow::Cow;

use super::number::Decimal;

/// Most levels of arrays and objects within each other, the bits of [`Levels`].
pub const MOST_DEPTH: usize = 64;

/// The place where the text stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// In bytes from the beginning of the text.
    pub(super) offset: usize,
    /// What should stand there.
    pub(super) expected: &'static str,
}

/// What a value that was read over is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped<'t> {
    /// All of it.
    pub(super) text: &'t str,
    /// Levels of arrays and objects in it.
    pub(super) depth: usize,
    /// Whether one of its numbers is beyond the range of a double.
    pub(super) overflows: bool,
}

/// A position in a JSON text.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The position, in bytes.
    pub(super) const fn offset(&self) -> usize {
        self.at
    }

    /// Goes to a position that [`Scanner::offset`] told.
    pub(super) const fn go_to(&mut self, offset: usize) {
        self.at = offset;
    }

    const fn expected<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed {
            offset: self.at,
            expected,
        })
    }

    fn byte(&self) -> u8 {
        // NUL is no part of JSON, and so stands for the end as well.
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The text from a position on, up to where the scanner is.
    pub(super) fn text_from(&self, start: usize) -> &'t str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The next byte that is not white space, which it stays in front of; NUL at the end.
    pub(super) fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes the next byte that is not white space if it is this one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.peek();
        if self.at == self.text.len() {
            Ok(())
        } else {
            self.expected("the end")
        }
    }

    /// Steps to the next member of the object whose `{` was taken; false is the end of the object,
    /// its `}` taken.
    pub(super) fn member(&mut self, is_first: &mut bool) -> Result<bool, Malformed> {
        if self.take(b'}') {
            return Ok(false);
        }
        if !std::mem::take(is_first) && !self.take(b',') {
            return self.expected("a comma or the end of the object");
        }
        Ok(true)
    }

    /// Steps to the next element of the array whose `[` was taken; false is the end of the array,
    /// its `]` taken.
    pub(super) fn element(&mut self, is_first: &mut bool) -> Result<bool, Malformed> {
        if self.take(b']') {
            return Ok(false);
        }
        if !std::mem::take(is_first) && !self.take(b',') {
            return self.expected("a comma or the end of the array");
        }
        Ok(true)
    }

    /// Takes a name and the colon behind it.
    pub(super) fn key(&mut self) -> Result<Cow<'t, str>, Malformed> {
        if self.peek() != b'"' {
            return self.expected("a name in quotes");
        }
        let key = self.string()?;
        self.colon()?;
        Ok(key)
    }

    /// Takes a name that `find` knows, and the colon behind it. `find` gets the text from the
    /// opening quote on, and tells what it is and its length with the quotes. `None`, with nothing
    /// taken, if it does not know it, as when it is spelt with escapes.
    pub(super) fn known_key<K>(
        &mut self,
        find: impl Fn(&[u8]) -> Option<(K, usize)>,
    ) -> Result<Option<K>, Malformed> {
        self.peek();
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let Some((key, length)) = find(rest) else {
            return Ok(None);
        };
        self.at += length;
        self.colon()?;
        Ok(Some(key))
    }

    fn colon(&mut self) -> Result<(), Malformed> {
        if self.take(b':') {
            Ok(())
        } else {
            self.expected("a colon")
        }
    }

    /// A string without its quotes and escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, Malformed> {
        let (inner, has_escapes) = self.raw_string()?;
        Ok(if has_escapes {
            Cow::Owned(unescape(inner))
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// What is between the quotes, and whether there are escapes in it; they are right.
    fn raw_string(&mut self) -> Result<(&'t str, bool), Malformed> {
        if self.peek() != b'"' {
            return self.expected("a string");
        }
        self.at += 1;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            self.at += plain_bytes(self.text.as_bytes().get(self.at..).unwrap_or_default());
            match self.byte() {
                b'"' => {
                    let inner = self.text_from(start);
                    self.at += 1;
                    return Ok((inner, has_escapes));
                }
                b'\\' => {
                    has_escapes = true;
                    self.escape()?;
                }
                _ if self.at == self.text.len() => return self.expected("a closing quote"),
                _ => return self.expected("an escape, not a control character"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.byte() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                match code_point(rest) {
                    Some((_, length)) => self.at += length,
                    None => return self.expected("u and the four digits of a character"),
                }
            }
            _ => return self.expected("a character that can be escaped"),
        }
        Ok(())
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<Decimal<'t>, Malformed> {
        self.peek();
        match Decimal::at(self.text, self.at).filter(|number| number.is_json) {
            Some(number) => {
                self.at += number.text.len();
                Ok(number)
            }
            None => self.expected("a number"),
        }
    }

    /// One of `true`, `false` and `null`.
    pub(super) fn word(&mut self) -> Result<&'t str, Malformed> {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let words = ["true", "false", "null"];
        match words.into_iter().find(|word| rest.starts_with(word)) {
            Some(word) => {
                self.at += word.len();
                Ok(word)
            }
            None => self.expected("a value"),
        }
    }

    /// Reads over a value of any kind.
    pub(super) fn skip_value(&mut self) -> Result<Skipped<'t>, Malformed> {
        self.peek();
        let start = self.at;
        let mut levels = Levels::default();
        let mut overflows = false;
        loop {
            match self.peek() {
                b'{' => {
                    self.open(&mut levels, true)?;
                    if !self.take(b'}') {
                        self.key()?;
                        continue;
                    }
                    levels.depth -= 1;
                }
                b'[' => {
                    self.open(&mut levels, false)?;
                    if !self.take(b']') {
                        continue;
                    }
                    levels.depth -= 1;
                }
                b'"' => {
                    self.raw_string()?;
                }
                b'-' | b'0'..=b'9' => overflows |= !self.number()?.value().is_finite(),
                _ => {
                    self.word()?;
                }
            }
            while self.close(&mut levels)? {}
            if levels.depth == 0 {
                return Ok(Skipped {
                    text: self.text_from(start),
                    depth: levels.deepest,
                    overflows,
                });
            }
        }
    }

    fn open(&mut self, levels: &mut Levels, is_object: bool) -> Result<(), Malformed> {
        if levels.depth == MOST_DEPTH {
            return self.expected("at most 64 levels of nesting");
        }
        let level = 1 << levels.depth;
        levels.objects = if is_object {
            levels.objects | level
        } else {
            levels.objects & !level
        };
        levels.depth += 1;
        levels.deepest = levels.deepest.max(levels.depth);
        self.at += 1;
        Ok(())
    }

    /// After a value: true if it was the last of its array or object, whose end is taken; else, the
    /// next one begins, or all has been read.
    fn close(&mut self, levels: &mut Levels) -> Result<bool, Malformed> {
        let Some(innermost) = levels.depth.checked_sub(1) else {
            return Ok(false);
        };
        let is_object = levels.objects >> innermost & 1 == 1;
        if self.take(if is_object { b'}' } else { b']' }) {
            levels.depth = innermost;
            return Ok(true);
        }
        if !self.take(b',') {
            return self.expected("a comma or the end of the array or object");
        }
        if is_object {
            self.key()?;
        }
        Ok(false)
    }
}

/// The arrays and objects around a position.
#[derive(Debug, Default)]
struct Levels {
    depth: usize,
    deepest: usize,
    /// A bit for each level, set if it is an object.
    objects: u64,
}

/// How many bytes a string goes on before a quote, a backslash, a control character or the end.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut words = bytes.chunks_exact(8);
    let mut plain = 0;
    for word in words.by_ref() {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        // The lowest byte that is zero gets its high bit set (Mycroft's test); only higher ones
        // may be set wrongly.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let stop = quote | backslash | control;
        if stop != 0 {
            return plain + stop.trailing_zeros() as usize / 8;
        }
        plain += 8;
    }
    let rest = words.remainder();
    plain
        + rest
            .iter()
            .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))
            .unwrap_or(rest.len())
}

/// The character that an escape stands for, from its `u` on, and the escape's length from there:
/// 5 bytes, or 11 for a surrogate pair.
fn code_point(escape: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 4)?;
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | char::from(*digit).to_digit(16)?)
        })
    };
    let first = unit(1)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 5));
    }
    let second = unit(7).filter(|_| escape.get(5..7) == Some(b"\\u"))?;
    let is_pair = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second);
    let code = 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff);
    char::from_u32(code).filter(|_| is_pair).map(|c| (c, 11))
}

/// A string without its escapes, which have been checked.
fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (c, length) = match escape.as_bytes() {
            [b'u', ..] => code_point(escape.as_bytes()).unwrap_or(('\u{fffd}', 1)),
            [b'b', ..] => ('\u{8}', 1),
            [b'f', ..] => ('\u{c}', 1),
            [b'n', ..] => ('\n', 1),
            [b'r', ..] => ('\r', 1),
            [b't', ..] => ('\t', 1),
            [other, ..] => (char::from(*other), 1),
            [] => break,
        };
        text.push(c);
        rest = escape.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// A JSON text without the white space between its parts.
pub(super) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if matches!(c, ' ' | '\n' | '\r' | '\t') {
            continue;
        } else {
            in_string = c == '"';
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Reads the value with a scanner, by its members and elements.
    fn read(scanner: &mut Scanner<'_>) -> Result<Value, Malformed> {
        let mut is_first = true;
        Ok(match scanner.peek() {
            b'{' => {
                scanner.take(b'{');
                let mut members = serde_json::Map::new();
                while scanner.member(&mut is_first)? {
                    let name = scanner.key()?;
                    members.insert(name.into_owned(), read(scanner)?);
                }
                Value::Object(members)
            }
            b'[' => {
                scanner.take(b'[');
                let mut elements = Vec::new();
                while scanner.element(&mut is_first)? {
                    elements.push(read(scanner)?);
                }
                Value::Array(elements)
            }
            b'"' => Value::String(scanner.string()?.into_owned()),
            b'-' | b'0'..=b'9' => Value::from(scanner.number()?.value()),
            _ => match scanner.word()? {
                "null" => Value::Null,
                word => Value::Bool(word == "true"),
            },
        })
    }

    fn read_all(text: &str) -> Result<Value, Malformed> {
        let mut scanner = Scanner::new(text);
        let value = read(&mut scanner)?;
        scanner.end()?;
        Ok(value)
    }

    fn skip_all(text: &str) -> Result<Skipped<'_>, Malformed> {
        let mut scanner = Scanner::new(text);
        let skipped = scanner.skip_value()?;
        scanner.end()?;
        Ok(skipped)
    }

    /// As `serde_json` reads it, with every number a double.
    fn oracle(text: &str) -> Option<Value> {
        fn floats(value: Value) -> Value {
            match value {
                Value::Number(number) => Value::from(number.as_f64()),
                Value::Array(elements) => elements.into_iter().map(floats).collect(),
                Value::Object(members) => members
                    .into_iter()
                    .map(|(name, value)| (name, floats(value)))
                    .collect(),
                other => other,
            }
        }
        serde_json::from_str(text).ok().map(floats)
    }

    /// Whether two values are the same; `serde_json` reads long numbers to within some units in the
    /// last place.
    fn same(left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => {
                let (left, right) = (left.as_f64(), right.as_f64());
                left.zip(right).is_some_and(|(left, right)| {
                    (left - right).abs() <= 8.0 * f64::EPSILON * left.abs() || left.abs() < 1e-300
                })
            }
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
            }
            (Value::Object(left), Value::Object(right)) => {
                let mut members = left.iter().zip(right);
                left.len() == right.len() && members.all(|(l, r)| l.0 == r.0 && same(l.1, r.1))
            }
            _ => left == right,
        }
    }

    #[track_caller]
    fn agrees(text: &str) {
        let expected = oracle(text);
        let skipped = skip_all(text).ok().filter(|skipped| !skipped.overflows);
        assert_eq!(skipped.is_some(), expected.is_some(), "{text:?}");
        let Some(expected) = expected else {
            return;
        };
        let found = read_all(text).expect("what can be skipped can be read");
        assert!(same(&found, &expected), "{text:?}");
        assert_eq!(oracle(&compact(text)), Some(expected), "{text:?}");
    }

    #[test]
    fn json_is_what_the_standard_says() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\" 1}",
            "{a:1}",
            "{'a':1}",
            "[1}",
            "{\"a\":1]",
            "1 1",
            "[",
            "{",
            "\"",
            "\"a",
            "\"\\",
            "01",
            "-",
            "+1",
            "1.",
            ".1",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "Infinity",
            "-Infinity",
            "1_0",
            "\"\u{1}\"",
            "\"\n\"",
            "\"\t\"",
            r#""\a""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\n""#,
            r#""\ud800\u0041""#,
            r#""\udc00\ud800""#,
            "\u{feff}1",
            "1\u{a0}",
            "[1]\0",
            "/**/1",
            "1e309",
            "-1e400",
            "[[1e999]]",
            "null",
            " true ",
            "false\n",
            "0",
            "-0",
            "-0.0",
            "1E5",
            "1e-400",
            "123456789012345678901234567890",
            "\"\"",
            "\"é\u{7f}\"",
            r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00""#,
            "[]",
            "[ ]",
            "{}",
            "{ }",
            "[[],{},[{}]]",
            r#"{"a":{"b":[1,2,{"c":null}]},"a":2," \" ":"} , "}"#,
            "\t\r\n [ 1 , 2 ] ",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn nesting_has_a_limit_and_costs_no_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(skip_all(&nested(64)).map(|skipped| skipped.depth), Ok(64));
        let error = skip_all(&nested(65)).expect_err("it is too deep");
        assert_eq!(error.offset, 64);
        assert!(skip_all(&"[{\"a\":".repeat(1_000_000)).is_err());
    }

    #[test]
    fn the_place_of_an_error_is_told() {
        for (text, offset) in [
            ("[1,x]", 3),
            ("{\"a\":1", 6),
            ("{\"a\" 1}", 5),
            ("\"a\\q\"", 3),
            ("1 2", 2),
        ] {
            assert_eq!(
                skip_all(text).map_err(|error| error.offset),
                Err(offset),
                "{text}"
            );
            assert_eq!(
                read_all(text).map_err(|error| error.offset),
                Err(offset),
                "{text}"
            );
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_is_read_as_others_read_it(value in json()) {
            agrees(&value.to_string());
            agrees(&format!("{value:#}"));
        }

        #[test]
        fn broken_json_is_refused_as_others_refuse_it(
            value in json(),
            at in any::<prop::sample::Index>(),
            patch in "[\\[\\]{}:,\"\\\\u0-9eE.+ \\ntn-]{0,2}",
            cut in 0..3usize,
        ) {
            let characters: Vec<char> = value.to_string().chars().collect();
            let at = at.index(characters.len());
            let (head, tail) = (&characters[..at], &characters[(at + cut).min(characters.len())..]);
            let patch: Vec<char> = patch.chars().collect();
            let text: String = [head, &patch, tail].concat().iter().collect();
            agrees(&text);
        }

        #[test]
        fn any_text_is_json_here_if_it_is_elsewhere(text in "[\\[\\]{}:,\"\\\\ua0-9eE.+ \\ntrlfs-]{0,12}") {
            agrees(&text);
        }

        #[test]
        fn plain_bytes_end_where_a_string_needs_care(bytes in vec(any::<u8>(), 0..40)) {
            let expected = bytes.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_bytes(&bytes), expected.unwrap_or(bytes.len()));
        }
    }
}
