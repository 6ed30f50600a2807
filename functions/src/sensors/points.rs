//! The points of a series as text, written straight from numbers: a day of minutes is 1,440 of them.

use serde::Serialize;
use shared::sensors::{
    model::{DeviceId, Metric},
    rollup::Sum,
    series::{Points, SeriesQuery, Value},
};

use super::{
    csv::{end_record, write_cell},
    time_text::TimeText,
};

/// Bytes that a point's times and each of its statistics take, about.
const POINT_BYTES: usize = 90;
const VALUE_BYTES: usize = 26;

/// What a series is of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// The device.
    pub device: &'s DeviceId,
    /// What it measures.
    pub metric: &'s Metric,
    /// The time up to which everything stored is in it, in milliseconds of Unix time.
    pub watermark: Option<i64>,
}

/// A series as a JSON object. Numbers have every digit they are known by.
#[must_use]
pub fn json(subject: Subject<'_>, query: &SeriesQuery, points: &Points) -> Vec<u8> {
    let keys: Vec<String> = query
        .stats()
        .iter()
        .map(|stat| format!(",\"{stat}\":"))
        .collect();
    let mut out = room(query, points);
    let mut time = TimeText::default();
    out.extend_from_slice(b"{\"device_id\":");
    write(&mut out, subject.device);
    out.extend_from_slice(b",\"metric\":");
    write(&mut out, subject.metric.as_str());
    out.extend_from_slice(b",\"interval\":");
    write(&mut out, query.interval().name());
    if let Some(zone) = query.time_zone() {
        out.extend_from_slice(b",\"tz\":");
        write(&mut out, zone);
    }
    out.extend_from_slice(b",\"watermark\":");
    match subject.watermark {
        Some(at) => quoted_time(&mut out, &mut time, at),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"data\":[");
    for (index, (point, values)) in points.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            b"{\"start\":"
        } else {
            b",{\"start\":"
        });
        quoted_time(&mut out, &mut time, point.start);
        out.extend_from_slice(b",\"end\":");
        quoted_time(&mut out, &mut time, point.end);
        if point.is_partial {
            out.extend_from_slice(b",\"partial\":true");
        }
        if point.is_filled {
            out.extend_from_slice(b",\"filled\":true");
        }
        for (key, value) in keys.iter().zip(values) {
            out.extend_from_slice(key.as_bytes());
            if !write_value(&mut out, *value) {
                out.extend_from_slice(b"null");
            }
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

/// A series as CSV, with a header.
#[must_use]
pub fn csv(query: &SeriesQuery, points: &Points) -> Vec<u8> {
    let mut out = room(query, points);
    let mut time = TimeText::default();
    out.extend_from_slice(b"start,end,partial,filled");
    for stat in query.stats() {
        out.push(b',');
        write_cell(&mut out, &stat.to_string());
    }
    end_record(&mut out);
    for (point, values) in points.iter() {
        time.write(&mut out, point.start);
        out.push(b',');
        time.write(&mut out, point.end);
        for flag in [point.is_partial, point.is_filled] {
            out.extend_from_slice(if flag { b",true" } else { b",false" });
        }
        for value in values {
            out.push(b',');
            write_value(&mut out, *value);
        }
        end_record(&mut out);
    }
    out
}

fn room(query: &SeriesQuery, points: &Points) -> Vec<u8> {
    let point = POINT_BYTES + query.stats().len() * VALUE_BYTES;
    Vec::with_capacity(512 + points.len() * point)
}

/// Appends a number or a text as JSON. Neither can fail to be written to memory.
fn write(out: &mut Vec<u8>, value: impl Serialize) {
    let _ = serde_json::to_writer(out, &value);
}

fn quoted_time(out: &mut Vec<u8>, time: &mut TimeText, ms: i64) {
    out.push(b'"');
    time.write(out, ms);
    out.push(b'"');
}

/// Appends a value, if there is one.
fn write_value(out: &mut Vec<u8>, value: Value) -> bool {
    match value {
        Value::None => return false,
        Value::Count(count) => write(out, count),
        Value::Number(number) => write(out, number),
        Value::Sum(Sum::Exact { mantissa, scale }) => write_decimal(out, mantissa, scale),
        Value::Sum(Sum::Float(sum)) => write(out, sum),
    }
    true
}

/// Appends `mantissa / 10^scale` as [`Sum`] is written, without the detour through a formatter.
fn write_decimal(out: &mut Vec<u8>, mut mantissa: i64, mut scale: u8) {
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    if scale == 0 {
        return write(out, mantissa);
    }
    if mantissa < 0 {
        out.push(b'-');
    }
    let unit = 10_u64.pow(u32::from(scale));
    write(out, mantissa.unsigned_abs() / unit);
    // The point stands in the place of a digit that keeps the zeros after it.
    let point = out.len();
    write(out, mantissa.unsigned_abs() % unit + unit);
    if let Some(digit) = out.get_mut(point) {
        *digit = b'.';
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_exact_sum_is_written_as_everywhere_else(mantissa: i64, shift in 0_u32..63, scale in 0_u8..=9) {
            let mantissa = mantissa >> shift;
            let mut out = Vec::new();
            write_decimal(&mut out, mantissa, scale);
            let expected = Sum::Exact { mantissa, scale }.to_string();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        #[test]
        fn a_number_reads_back_as_it_was(number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            let mut out = Vec::new();
            write_value(&mut out, Value::Number(number));
            let back: f64 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            prop_assert_eq!(back.to_bits(), number.to_bits());
        }
    }
}
