//! A batch: the readings of one request on their way through the queue.
//!
//! # Bytes of version 1
//!
//! ```text
//! batch  = 0xBA  0x01  id:16  arrived:8 (i64, little-endian)
//!          length:4 (u32, little-endian) series:frame
//!          length:4 units:frame  rows:frame
//! series = columns device (text), metric (text), rows (int): the rows of each, one series after the other
//! units  = column unit (text)
//! rows   = columns t (int, milliseconds of Unix time), v (float) and, where any row has it, q (bool,
//!          whether the device trusts it), u (int, 0 or the unit's number plus one), x (text, metadata)
//! ```
//!
//! A frame is that of [`frame`](crate::frame). As a message it is base64 (RFC 4648, section 4) without
//! padding, for a message body is text.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use uuid::Uuid;

use super::{
    model::{DeviceId, EARLIEST_MS, Hour, LATEST_MS, MOST_METADATA_BYTES, MOST_UNIT_BYTES, Metric},
    readings::{Reading, Readings},
};
use crate::frame::{Column, Frame, FrameError, Limits, TextColumn};

const MAGIC: [u8; 2] = [0xba, 0x01];

/// Most bytes of a message's body: a message of 256 KiB with its attributes is taken by every
/// implementation of SQS, and four of 64 KiB are billed as four requests either way.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const MOST_MESSAGE_BYTES: usize = 250 * 1024;

/// Most bytes of text, a row's unit and metadata, of a message. Text that repeats takes few bytes in
/// it, but a reader takes 48 MiB decoded at most and holds a text up to three times while it decodes.
const MOST_TEXT_BYTES: usize = 8 << 20;

/// Most times that a message goes over to another series or hour: each may be a chunk of its own, so
/// this bounds what it costs to store one.
pub const MOST_CHANGES: usize = 2_000;

/// Why a message holds no batch. None of these passes with time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It is not base64.
    #[error("the message is not base64")]
    Base64,
    /// It does not begin as a batch does, or ends too soon.
    #[error("the message is not a batch")]
    NotABatch,
    /// A frame in it cannot be read or made.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its parts contradict each other, or a value is out of its range.
    #[error("the batch is corrupt: {0}")]
    Corrupt(&'static str),
}

/// The readings of one request, or a part of them that fits a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Names the request's readings.
    pub id: Uuid,
    /// When the request arrived, in milliseconds of Unix time: of two values for one reading the
    /// later arrival stands.
    pub arrived: i64,
    /// The readings.
    pub readings: Readings,
}

impl Batch {
    /// The batch as bodies of messages, each of at most `most_bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`BatchError`] when a single reading does not fit, or a frame cannot be made.
    pub fn encode_messages(&self, most_bytes: usize) -> Result<Vec<String>, BatchError> {
        let order = self.by_series();
        let mut messages = Vec::new();
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (mut bytes, mut changes, mut current) = (0, 0, None);
            let fitting = rest
                .iter()
                .take(Limits::default().rows)
                .take_while(|&&row| {
                    let next = Some(self.series_and_hour(row));
                    changes += usize::from(next != current);
                    current = next;
                    bytes += self.unit(row).len() + self.metadata(row).len();
                    changes <= MOST_CHANGES && bytes <= MOST_TEXT_BYTES
                });
            let (fitting, others) = rest.split_at(fitting.count());
            self.encode_rows(fitting, most_bytes, &mut messages)?;
            rest = others;
        }
        Ok(messages)
    }

    fn series_and_hour(&self, row: u32) -> (u32, Hour) {
        let row = row as usize;
        let readings = &self.readings;
        (readings.series_of[row], Hour::of(readings.timestamps[row]))
    }

    fn unit(&self, row: u32) -> &str {
        let number = self.readings.unit_of.get(row as usize).copied();
        let index = number.and_then(|number| number.checked_sub(1));
        index.map_or("", |index| &self.readings.units[index as usize])
    }

    fn metadata(&self, row: u32) -> &str {
        let metadata = &self.readings.metadata;
        let found = metadata.binary_search_by_key(&row, |(row, _)| *row);
        found.map_or("", |at| metadata[at].1.as_str())
    }

    fn encode_rows(
        &self,
        rows: &[u32],
        most_bytes: usize,
        messages: &mut Vec<String>,
    ) -> Result<(), BatchError> {
        if !rows.is_empty() {
            let message = STANDARD_NO_PAD.encode(self.encode(rows)?);
            if message.len() <= most_bytes {
                messages.push(message);
                return Ok(());
            }
        }
        if rows.len() < 2 {
            return Err(BatchError::Corrupt("a reading is too large"));
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        self.encode_rows(first, most_bytes, messages)?;
        self.encode_rows(second, most_bytes, messages)
    }

    /// The rows, one series after the other, otherwise in their order.
    fn by_series(&self) -> Vec<u32> {
        let series_of = &self.readings.series_of;
        let mut starts = vec![0_usize; self.readings.series.len() + 1];
        for &series in series_of {
            starts[series as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut order = vec![0_u32; series_of.len()];
        for (row, &series) in (0_u32..).zip(series_of) {
            let next = &mut starts[series as usize];
            order[*next] = row;
            *next += 1;
        }
        order
    }

    fn encode(&self, rows: &[u32]) -> Result<Vec<u8>, BatchError> {
        let all = &self.readings;
        let (mut devices, mut metrics) = (TextColumn::new(), TextColumn::new());
        let mut counts: Vec<i64> = Vec::new();
        let mut current = None;
        for &row in rows {
            let series = all.series_of[row as usize];
            if current != Some(series) {
                current = Some(series);
                let series = &all.series[series as usize];
                devices.push(&series.device)?;
                metrics.push(&series.metric)?;
                counts.push(0);
            }
            if let Some(count) = counts.last_mut() {
                *count += 1;
            }
        }
        let series = Frame::from_columns([
            ("device", Column::Text(devices)),
            ("metric", Column::Text(metrics)),
            ("rows", Column::Int(counts)),
        ])?;

        let pick = |column: &[i64]| rows.iter().map(|&row| column[row as usize]).collect();
        let mut frame = Frame::new(rows.len());
        frame.push("t", Column::Int(pick(&all.timestamps)))?;
        let values = rows.iter().map(|&row| all.values[row as usize]).collect();
        frame.push("v", Column::Float(values))?;
        let trusted = |row: u32| all.valid.get(row as usize).copied().unwrap_or(true);
        if rows.iter().any(|&row| !trusted(row)) {
            let valid = rows.iter().map(|&row| trusted(row)).collect();
            frame.push("q", Column::Bool(valid))?;
        }
        // Only the units of these rows, or a request of very many would fit no message.
        let mut units = TextColumn::new();
        if !all.units.is_empty() {
            let mut numbers = HashMap::from([("", 0)]);
            let mut unit_of = Vec::with_capacity(rows.len());
            for &row in rows {
                let unit = self.unit(row);
                let next = i64::try_from(numbers.len()).unwrap_or(i64::MAX);
                let number = *numbers.entry(unit).or_insert(next);
                if number == next {
                    units.push(unit)?;
                }
                unit_of.push(number);
            }
            if !units.is_empty() {
                frame.push("u", Column::Int(unit_of))?;
            }
        }
        if !all.metadata.is_empty() && rows.iter().any(|&row| !self.metadata(row).is_empty()) {
            let texts = TextColumn::try_from_cells(rows.iter().map(|&row| self.metadata(row)))?;
            frame.push("x", Column::Text(texts))?;
        }
        let units = Frame::from_columns([("unit", Column::Text(units))])?;

        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.arrived.to_le_bytes());
        for part in [series.encode()?, units.encode()?] {
            let length = u32::try_from(part.len())
                .map_err(|_| BatchError::Corrupt("a frame is too large"))?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&frame.encode()?);
        Ok(bytes)
    }

    /// Reads a message's body.
    ///
    /// # Errors
    ///
    /// [`BatchError`] when it holds no batch; any text gives one or the other, in bounded memory.
    pub fn decode_message(body: &str) -> Result<Self, BatchError> {
        let bytes = STANDARD_NO_PAD
            .decode(body)
            .map_err(|_| BatchError::Base64)?;
        Self::decode(&bytes).ok_or(BatchError::NotABatch)?
    }

    /// `None` when the bytes end too soon or begin otherwise.
    fn decode(bytes: &[u8]) -> Option<Result<Self, BatchError>> {
        let bytes = bytes.strip_prefix(&MAGIC)?;
        let (id, bytes) = bytes.split_first_chunk::<16>()?;
        let (arrived, bytes) = bytes.split_first_chunk::<8>()?;
        let (series, bytes) = part(bytes)?;
        let (units, rows) = part(bytes)?;
        let readings = read(series, units, rows);
        Some(readings.map(|readings| Self {
            id: Uuid::from_bytes(*id),
            arrived: i64::from_le_bytes(*arrived),
            readings,
        }))
    }
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    bytes.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn read(series: &[u8], units: &[u8], rows: &[u8]) -> Result<Readings, BatchError> {
    let limits = Limits::default();
    let series = Frame::decode(series, &limits)?;
    let units = Frame::decode(units, &limits)?;
    let frame = Frame::decode(rows, &limits)?;
    let (devices, metrics) = (series.texts("device")?, series.texts("metric")?);
    let counts = series.ints("rows")?;
    let units = units.texts("unit")?;
    let (timestamps, values) = (frame.ints("t")?, frame.floats("v")?);
    let valid = frame.column("q").map(|_| frame.bools("q")).transpose()?;
    let unit_of = frame.column("u").map(|_| frame.ints("u")).transpose()?;
    let metadata = frame.column("x").map(|_| frame.texts("x")).transpose()?;

    let mut readings = Readings::default();
    let mut row = 0_usize;
    for ((device, metric), &count) in devices.iter().zip(metrics.iter()).zip(counts) {
        if !DeviceId::is_valid(device) || !Metric::is_valid(metric) {
            return Err(BatchError::Corrupt("a name is invalid"));
        }
        for _ in 0..count {
            let (Some(&timestamp), Some(&value)) = (timestamps.get(row), values.get(row)) else {
                return Err(BatchError::Corrupt("series count more rows than there are"));
            };
            let unit = match unit_of.map_or(0, |units| units[row]) {
                0 => "",
                number => usize::try_from(number - 1)
                    .ok()
                    .and_then(|index| units.get(index))
                    .ok_or(BatchError::Corrupt("a unit is not listed"))?,
            };
            let metadata = metadata.and_then(|texts| texts.get(row)).unwrap_or("");
            if !value.is_finite()
                || !(EARLIEST_MS..=LATEST_MS).contains(&timestamp)
                || unit.len() > MOST_UNIT_BYTES
                || metadata.len() > MOST_METADATA_BYTES
            {
                return Err(BatchError::Corrupt("a reading is out of range"));
            }
            readings.push(Reading {
                device,
                metric,
                timestamp,
                value,
                is_valid: valid.is_none_or(|valid| valid[row]),
                unit,
                metadata,
            });
            row += 1;
        }
    }
    if row == frame.rows() {
        Ok(readings)
    } else {
        Err(BatchError::Corrupt("there are more rows than series count"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn names() -> impl Strategy<Value = (&'static str, &'static str)> {
        prop_oneof![
            Just(("pump-1", "value")),
            Just(("pump-1", "flow")),
            Just(("pump-2", "value")),
        ]
    }

    fn readings() -> impl Strategy<Value = Readings> {
        let row = (
            names(),
            EARLIEST_MS..=LATEST_MS,
            prop_oneof![
                (-5000_i32..5000).prop_map(|v| f64::from(v) / 100.0),
                any::<f64>()
            ],
            any::<bool>(),
            prop_oneof![Just(""), Just("°C"), Just("bar")],
            prop_oneof![Just(""), Just("{}"), Just(r#"{"a":1}"#)],
        );
        vec(row, 0..200).prop_map(|rows| {
            let mut readings = Readings::default();
            for ((device, metric), timestamp, value, is_valid, unit, metadata) in rows {
                readings.push(Reading {
                    device,
                    metric,
                    timestamp,
                    value: if value.is_finite() { value } else { 0.0 },
                    is_valid,
                    unit,
                    metadata,
                });
            }
            readings
        })
    }

    /// Rows as comparable texts, in an order that does not depend on that of the columns.
    fn rows(batches: &[Batch]) -> Vec<String> {
        let mut rows: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                (0..batch.readings.len()).map(|row| format!("{:?}", batch.readings.get(row)))
            })
            .collect();
        rows.sort();
        rows
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_however_it_is_split(readings in readings(), most in 400_usize..5000) {
            let batch = Batch { id: Uuid::from_u128(7), arrived: 1_700_000_000_000, readings };
            let messages = batch.encode_messages(most).unwrap();
            prop_assert!(messages.iter().all(|message| message.len() <= most));
            let parts: Vec<Batch> = messages
                .iter()
                .map(|message| Batch::decode_message(message).unwrap())
                .collect();
            prop_assert!(parts.iter().all(|part| part.id == batch.id && part.arrived == batch.arrived));
            prop_assert_eq!(rows(&parts), rows(&[batch]));
        }

        #[test]
        fn any_text_is_a_batch_or_an_error(text: String, mut bytes: Vec<u8>) {
            let _ = Batch::decode_message(&text);
            bytes.splice(0..0, MAGIC);
            let _ = Batch::decode_message(&STANDARD_NO_PAD.encode(bytes));
        }

        #[test]
        fn a_flipped_bit_is_never_a_wrong_reading(readings in readings(), at: prop::sample::Index, bit in 0_u8..8) {
            prop_assume!(!readings.is_empty());
            let batch = Batch { id: Uuid::from_u128(7), arrived: 1, readings };
            let message = batch.encode_messages(usize::MAX).unwrap().remove(0);
            let mut bytes = STANDARD_NO_PAD.decode(message).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = Batch::decode_message(&STANDARD_NO_PAD.encode(bytes)) {
                prop_assert!((2..26).contains(&at), "byte {}", at);
                prop_assert_eq!(rows(&[changed]), rows(&[batch]));
            }
        }
    }

    fn batch(readings: Readings) -> Batch {
        Batch {
            id: Uuid::nil(),
            arrived: 0,
            readings,
        }
    }

    /// A device's readings, one for each time, unit and metadata.
    fn labelled<'r>(rows: impl Iterator<Item = (i64, &'r str, &'r str)>) -> Batch {
        let mut readings = Readings::default();
        for (timestamp, unit, metadata) in rows {
            readings.push(Reading {
                device: "pump-1",
                metric: "value",
                timestamp,
                value: 1.0,
                is_valid: true,
                unit,
                metadata,
            });
        }
        batch(readings)
    }

    fn decoded(messages: &[String]) -> Vec<Batch> {
        let parts = messages.iter();
        parts
            .map(|message| Batch::decode_message(message).unwrap())
            .collect()
    }

    #[test]
    fn much_text_is_split_into_messages_that_a_reader_takes() {
        let padding = "x".repeat(1_000);
        let texts: Vec<String> = (0..30_000)
            .map(|n| format!(r#"{{"n":{n},"padding":"{padding}"}}"#))
            .collect();
        for (rows, distinct) in [(30_000, 30_000), (60_000, 1)] {
            let text = |row: usize| texts[row % distinct].as_str();
            let batch = labelled((0..rows).zip(0..).map(|(row, time)| (time, "", text(row))));
            let parts = decoded(&batch.encode_messages(MOST_MESSAGE_BYTES).unwrap());
            let read = parts.iter().flat_map(|part| part.readings.iter());
            assert!(
                read.eq(batch.readings.iter()),
                "{rows} rows, {distinct} texts"
            );
        }
    }

    #[test]
    fn a_message_has_no_units_but_those_of_its_rows() {
        let units: Vec<String> = (0..40_000_u64)
            .map(|n| format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes())))
            .collect();
        let batch = labelled(
            (0..)
                .zip(&units)
                .map(|(time, unit)| (time, unit.as_str(), "")),
        );
        let messages = batch.encode_messages(MOST_MESSAGE_BYTES).unwrap();
        assert!((4..=8).contains(&messages.len()), "{}", messages.len());
        let parts = decoded(&messages);
        let read = parts.iter().flat_map(|part| part.readings.iter());
        assert!(read.eq(batch.readings.iter()));
    }

    #[test]
    fn a_message_goes_over_to_another_series_or_hour_a_limited_number_of_times() {
        let hour = |hour: i64| (hour * 3_600_000, "", "");
        let batch = labelled((0..4_001).flat_map(|n| [hour(n), hour(n)]));
        let parts = decoded(&batch.encode_messages(MOST_MESSAGE_BYTES).unwrap());
        let rows: Vec<usize> = parts.iter().map(|part| part.readings.len()).collect();
        assert_eq!(rows, [2 * MOST_CHANGES, 2 * MOST_CHANGES, 2]);
    }

    #[test]
    fn a_thousand_readings_of_ten_devices_take_few_bytes() {
        let mut readings = Readings::default();
        for device in 0..10 {
            for tick in 0..100_i32 {
                readings.push(Reading {
                    device: &format!("pump-{device}"),
                    metric: "value",
                    timestamp: 1_700_000_000_000 + i64::from(tick) * 5_000,
                    value: f64::from(2000 + (tick * 7 + device) % 13) / 100.0,
                    is_valid: true,
                    unit: "",
                    metadata: "",
                });
            }
        }
        let messages = batch(readings).encode_messages(MOST_MESSAGE_BYTES).unwrap();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].len() < 3000, "{}", messages[0].len());
    }
}
