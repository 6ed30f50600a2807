//! A body in `InfluxDB` line protocol.
//!
//! `measurement[,tag=value…] field=value[,field=value…] [time]`. A backslash makes plain text of a
//! comma, an equals sign, a space or a backslash behind it, and is plain text itself before anything
//! else. In a string field, which may hold line breaks, it does so for a quote or a backslash.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::collector::Collector;
use super::fault::{Fault, RowFault};
use super::number::Decimal;
use super::{BodyError, Intake, Precision};
use crate::sensors::readings::Reading;

/// The tag that names the device.
const DEVICE_TAG: &str = "device_id";

pub(super) fn parse(
    body: &[u8],
    precision: Precision,
    mut collector: Collector<'_>,
) -> Result<Intake, BodyError> {
    let mut fields = Vec::new();
    let mut index = 0;
    for (number, line) in Lines::new(body) {
        let Some(line) = content(line) else {
            continue;
        };
        collector.expect_one_more()?;
        fields.clear();
        let head = std::str::from_utf8(line)
            .map_err(|_| RowFault::InvalidUtf8.into())
            .and_then(|text| Head::read(text, precision, &mut fields));
        match head {
            Err(fault) => collector.reject(index, number, fault),
            Ok(head) => {
                for field in &fields {
                    collector.expect_one_more()?;
                    if let Err(fault) = head.hand_over(field, &mut collector) {
                        collector.reject(index, number, fault);
                    }
                }
            }
        }
        index += 1;
    }
    Ok(collector.finish())
}

/// A line without the white space around it; `None` if it is blank or a comment.
fn content(line: &[u8]) -> Option<&[u8]> {
    let start = line
        .iter()
        .position(|b| !matches!(b, b' ' | b'\t' | b'\r'))?;
    let line = line.get(start..)?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.starts_with(b"#")).then_some(line)
}

/// The lines of a body, each with the number, counted from 1, of the line break it begins behind.
/// Those with a string that holds line breaks go on to the end of it.
#[derive(Debug)]
struct Lines<'b> {
    rest: Option<&'b [u8]>,
    number: usize,
    /// How many bytes may still be searched in vain for the end of a string, so that quotes which
    /// are never closed do not cost a search of the whole rest each.
    patience: usize,
}

impl<'b> Lines<'b> {
    const fn new(body: &'b [u8]) -> Self {
        Self {
            rest: Some(body),
            number: 1,
            patience: body.len(),
        }
    }

    /// Where the line that begins here ends, if line breaks in strings do not count.
    fn end_behind_strings(&mut self, rest: &[u8]) -> Option<usize> {
        let rest = rest.get(..self.patience).unwrap_or(rest);
        let (mut in_fields, mut in_string, mut after_equals) = (false, false, false);
        let mut at = 0;
        while let Some(byte) = rest.get(at) {
            match byte {
                b'\n' if !in_string => return Some(at),
                // What is escaped means nothing; a line break is not escaped by it.
                b'\\' if in_string || rest.get(at + 1) != Some(&b'\n') => at += 1,
                b'"' if in_string => in_string = false,
                b'"' if in_fields && after_equals => in_string = true,
                b' ' if !in_string => in_fields = true,
                _ => {}
            }
            after_equals = *byte == b'=' && !in_string;
            at += 1;
        }
        if in_string {
            self.patience -= rest.len();
            return None;
        }
        Some(rest.len())
    }
}

impl<'b> Iterator for Lines<'b> {
    type Item = (usize, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let number = self.number;
        self.number += 1;
        let mut end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        if memchr(b'"', line).is_some() && content(line).is_some() {
            end = self.end_behind_strings(rest).unwrap_or(end).max(end);
            self.number += memchr_iter(b'\n', rest.get(..end).unwrap_or_default()).count();
        }
        let (line, behind) = rest.split_at_checked(end)?;
        self.rest = behind.get(1..);
        Some((number, line))
    }
}

/// One field: a metric, and its value or what is wrong with it.
#[derive(Debug)]
struct Field<'t> {
    metric: Cow<'t, str>,
    value: Result<f64, RowFault>,
    /// How the value is spelt.
    text: &'t str,
}

/// What the readings of one line have in common.
#[derive(Debug)]
struct Head<'t> {
    device: Cow<'t, str>,
    /// In milliseconds, if the line says a time.
    timestamp: Option<i64>,
    /// How the time is spelt.
    time: &'t str,
}

impl<'t> Head<'t> {
    /// Reads a line, its fields into `fields`.
    fn read(
        text: &'t str,
        precision: Precision,
        fields: &mut Vec<Field<'t>>,
    ) -> Result<Self, Fault> {
        let mut cursor = Cursor { text, at: 0 };
        let device = cursor.device()?;
        cursor.spaces(1)?;
        loop {
            fields.push(cursor.field()?);
            if !cursor.take(b',') {
                break;
            }
        }
        let time = cursor.time()?;
        let timestamp = if time.is_empty() {
            None
        } else {
            let time_ms = integer(time).and_then(|time| precision.to_ms(time));
            Some(time_ms.ok_or_else(|| RowFault::TimestampOutOfRange.of(time))?)
        };
        Ok(Self {
            device: device.ok_or(RowFault::MissingDevice)?,
            timestamp,
            time,
        })
    }

    fn hand_over(&self, field: &Field<'_>, collector: &mut Collector<'_>) -> Result<(), Fault> {
        let reading = Reading {
            device: &self.device,
            metric: &field.metric,
            timestamp: self.timestamp.unwrap_or(collector.arrival()),
            value: field.value.map_err(|fault| fault.of(field.text))?,
            is_valid: true,
            unit: "",
            metadata: "",
        };
        collector.push(&reading, self.time)
    }
}

/// The bytes that any name stops at, or looks closer.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    special[b' ' as usize] = true;
    special[b'\t' as usize] = true;
    special[b'\n' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// A position in a line.
#[derive(Debug)]
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn malformed<T>(&self) -> Result<T, Fault> {
        Err(RowFault::MalformedLine.of(self.text_from(self.at, self.text.len())))
    }

    fn text_from(&self, start: usize, end: usize) -> &'t str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes spaces, at least that many.
    fn spaces(&mut self, least: usize) -> Result<(), Fault> {
        let start = self.at;
        while self.take(b' ') {}
        if self.at - start < least {
            return self.malformed();
        }
        Ok(())
    }

    /// Reads the measurement and the tags; gives the tag that names the device.
    fn device(&mut self) -> Result<Option<Cow<'t, str>>, Fault> {
        let mut device = None;
        self.name(b',')?;
        while self.take(b',') {
            let key = self.name(b'=')?;
            if !self.take(b'=') {
                return self.malformed();
            }
            let value = self.name(b',')?;
            if key == DEVICE_TAG && device.replace(value).is_some() {
                return Err(RowFault::DuplicateField.of(DEVICE_TAG));
            }
        }
        Ok(device)
    }

    /// A name: up to a delimiter or white space that is not escaped.
    fn name(&mut self, delimiter: u8) -> Result<Cow<'t, str>, Fault> {
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let is_special = |b: &u8| *b == delimiter || SPECIAL[usize::from(*b)];
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(is_special).unwrap_or(rest.len());
            if self.byte() != Some(b'\\') {
                break;
            }
            has_escapes = true;
            self.at = (self.at + 2).min(self.text.len());
        }
        let raw = self.text_from(start, self.at);
        // As InfluxDB has it, no name ends with a backslash, not even an escaped one.
        if raw.is_empty() || raw.ends_with('\\') {
            self.at = start;
            return self.malformed();
        }
        Ok(if has_escapes {
            Cow::Owned(unescape(raw))
        } else {
            Cow::Borrowed(raw)
        })
    }

    fn field(&mut self) -> Result<Field<'t>, Fault> {
        let metric = self.name(b'=')?;
        if !self.take(b'=') {
            return self.malformed();
        }
        let start = self.at;
        let value = match self.byte() {
            Some(b'"') => {
                self.string()?;
                Err(RowFault::NotANumber)
            }
            Some(b'-' | b'.' | b'0'..=b'9') if Decimal::at(self.text, start).is_some() => {
                self.number()?
            }
            _ => match self.word() {
                "t" | "T" | "true" | "True" | "TRUE" => Ok(1.0),
                "f" | "F" | "false" | "False" | "FALSE" => Ok(0.0),
                word if word.parse::<f64>().is_ok_and(|value| !value.is_finite()) => {
                    Err(RowFault::NotFinite)
                }
                _ => {
                    self.at = start;
                    return self.malformed();
                }
            },
        };
        Ok(Field {
            metric,
            value,
            text: self.text_from(start, self.at),
        })
    }

    fn number(&mut self) -> Result<Result<f64, RowFault>, Fault> {
        let Some(number) = Decimal::at(self.text, self.at) else {
            return self.malformed();
        };
        self.at += number.text.len();
        let is_unsigned = self.byte() == Some(b'u');
        if !self.take(b'u') && !self.take(b'i') {
            let value = number.value();
            return Ok(if value.is_finite() {
                Ok(value)
            } else {
                Err(RowFault::NumberOutOfRange)
            });
        }
        if !number.is_integer || is_unsigned && number.text.starts_with('-') {
            self.at -= 1;
            return self.malformed();
        }
        Ok(number.exact_integer().ok_or(RowFault::IntegerTooLarge))
    }

    /// Takes a string with its quotes.
    fn string(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.byte() {
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = start;
        self.malformed()
    }

    /// Takes what comes up to a comma or white space.
    fn word(&mut self) -> &'t str {
        let start = self.at;
        while self
            .byte()
            .is_some_and(|b| !matches!(b, b',' | b' ' | b'\t' | b'\n'))
        {
            self.at += 1;
        }
        self.text_from(start, self.at)
    }

    /// Reads the rest of the line, which is a time, or nothing.
    fn time(&mut self) -> Result<&'t str, Fault> {
        if self.at == self.text.len() {
            return Ok("");
        }
        self.spaces(1)?;
        let start = self.at;
        self.take(b'-');
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let time = self.text_from(start, self.at);
        self.spaces(0)?;
        if self.at < self.text.len() || time == "-" {
            self.at = start;
            return self.malformed();
        }
        Ok(time)
    }
}

/// The integer that is spelt with an optional minus and digits; `None` if it does not fit.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // No 19 digits overflow an unsigned integer.
    if digits.len() > 19 {
        return text.parse().ok();
    }
    let size = digits
        .bytes()
        .fold(0, |size: u64, digit| size * 10 + u64::from(digit - b'0'));
    let size = i64::try_from(size).ok()?;
    Some(if digits.len() < text.len() {
        -size
    } else {
        size
    })
}

/// A name without its escapes.
fn unescape(raw: &str) -> String {
    let mut name = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        name.push_str(plain);
        let mut characters = escaped.chars();
        match characters.next() {
            Some(c @ (',' | '=' | ' ' | '\\')) => name.push(c),
            other => {
                name.push('\\');
                name.extend(other);
            }
        }
        rest = characters.as_str();
    }
    name.push_str(rest);
    name
}
