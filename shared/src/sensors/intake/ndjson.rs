//! A body of lines, each a reading as a JSON object.

use memchr::memchr;

use super::collector::Collector;
use super::fault::{Fault, RowFault};
use super::json_reading;
use super::json_scanner::{Malformed, Scanner};
use super::{BodyError, Intake};

pub(super) fn parse(body: &[u8], mut collector: Collector<'_>) -> Result<Intake, BodyError> {
    let mut index = 0;
    for (line, bytes) in lines(body) {
        if bytes.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
            continue;
        }
        collector.expect_one_more()?;
        if let Err(fault) = take_line(bytes, &mut collector) {
            collector.reject(index, line, fault);
        }
        index += 1;
    }
    Ok(collector.finish())
}

/// The lines with their numbers, counted from 1.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(body);
    let lines = std::iter::from_fn(move || {
        let bytes = rest?;
        let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
        let (line, behind) = bytes.split_at(end);
        rest = behind.get(1..);
        Some(line)
    });
    (1..).zip(lines)
}

fn take_line(line: &[u8], collector: &mut Collector<'_>) -> Result<(), Fault> {
    let text = std::str::from_utf8(line).map_err(|_| RowFault::InvalidUtf8)?;
    let mut scanner = Scanner::new(text);
    let malformed = |error: Malformed| {
        let rest = text.get(error.offset..).unwrap_or_default();
        RowFault::MalformedJson.of(rest)
    };
    let reading = json_reading::read(&mut scanner, true).map_err(malformed)?;
    scanner.end().map_err(malformed)?;
    reading?.hand_over(None, collector)
}
