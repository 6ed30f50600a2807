//! One reading as a JSON object.

use std::borrow::Cow;

use super::collector::Collector;
use super::fault::{Fault, RowFault};
use super::json_scanner::{Malformed, Scanner, compact};
use super::timestamp::rfc3339_ms;
use crate::sensors::model::{DEFAULT_METRIC, MOST_METADATA_BYTES, MOST_UNIT_BYTES};
use crate::sensors::readings::Reading;

/// Most levels of arrays and objects in the metadata, itself included.
const MOST_METADATA_DEPTH: usize = 8;

/// The outer error ends the body or the line; the inner one only concerns this reading, which has
/// been read to its end.
type Taken<T, E> = Result<Result<T, E>, Malformed>;

/// Reads one reading, which has a `device_id` if `names_device`.
pub(super) fn read<'t>(
    scanner: &mut Scanner<'t>,
    names_device: bool,
) -> Taken<JsonReading<'t>, Fault> {
    if !scanner.take(b'{') {
        let value = scanner.skip_value()?;
        return Ok(Err(RowFault::NotAnObject.of(value.text)));
    }
    let mut reading = JsonReading::default();
    let mut first_fault = None;
    let mut is_first = true;
    while scanner.member(&mut is_first)? {
        let (member, name) = if let Some(member) = scanner.known_key(Member::at)? {
            (Some(member), Cow::Borrowed(member.name()))
        } else {
            let name = scanner.key()?;
            (Member::ALL.into_iter().find(|m| m.name() == name), name)
        };
        let member = member.filter(|member| names_device || *member != Member::Device);
        let new = member.filter(|member| !reading.has(*member));
        let fault = if let Some(member) = new {
            scanner.peek();
            let start = scanner.offset();
            let taken = reading.take(member, scanner)?;
            taken.err().map(|fault| fault.of(scanner.text_from(start)))
        } else {
            scanner.skip_value()?;
            Some(match member {
                Some(_) => RowFault::DuplicateField.of(&name),
                None => RowFault::UnknownField.of(&name),
            })
        };
        first_fault = first_fault.or(fault);
    }
    Ok(match first_fault {
        Some(fault) => Err(fault),
        None => Ok(reading),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Device,
    Metric,
    Timestamp,
    Value,
    IsValid,
    Unit,
    Metadata,
}

impl Member {
    const ALL: [Self; 7] = [
        Self::Device,
        Self::Metric,
        Self::Timestamp,
        Self::Value,
        Self::IsValid,
        Self::Unit,
        Self::Metadata,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Device => "device_id",
            Self::Metric => "metric",
            Self::Timestamp => "timestamp",
            Self::Value => "value",
            Self::IsValid => "is_valid",
            Self::Unit => "unit",
            Self::Metadata => "metadata",
        }
    }

    /// The member whose name, in quotes and without escapes, begins a text, and that name's length.
    fn at(text: &[u8]) -> Option<(Self, usize)> {
        let (member, quoted): (Self, &[u8]) = match text {
            [b'"', b'd', ..] => (Self::Device, b"\"device_id\""),
            [b'"', b'm', _, _, b'r', ..] => (Self::Metric, b"\"metric\""),
            [b'"', b't', ..] => (Self::Timestamp, b"\"timestamp\""),
            [b'"', b'v', ..] => (Self::Value, b"\"value\""),
            [b'"', b'i', ..] => (Self::IsValid, b"\"is_valid\""),
            [b'"', b'u', ..] => (Self::Unit, b"\"unit\""),
            [b'"', b'm', ..] => (Self::Metadata, b"\"metadata\""),
            _ => return None,
        };
        text.starts_with(quoted).then_some((member, quoted.len()))
    }
}

/// A reading as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct JsonReading<'t> {
    /// A bit for each member that has been seen.
    seen: u8,
    device: Option<Cow<'t, str>>,
    metric: Option<Cow<'t, str>>,
    timestamp: Option<i64>,
    /// How the timestamp is spelt.
    time: &'t str,
    value: Option<f64>,
    is_valid: Option<bool>,
    unit: Option<Cow<'t, str>>,
    metadata: Option<String>,
}

impl<'t> JsonReading<'t> {
    const fn has(&self, member: Member) -> bool {
        self.seen >> member as u8 & 1 == 1
    }

    /// Reads the value of a member.
    fn take(&mut self, member: Member, scanner: &mut Scanner<'t>) -> Taken<(), RowFault> {
        self.seen |= 1 << member as u8;
        match (member, scanner.peek()) {
            (_, b'n') => {
                scanner.word()?;
            }
            (Member::Device, b'"') => self.device = Some(scanner.string()?),
            (Member::Metric, b'"') => self.metric = Some(scanner.string()?),
            (Member::Timestamp, b'"' | b'-' | b'0'..=b'9') => return self.take_timestamp(scanner),
            (Member::Value, b'-' | b'0'..=b'9') => {
                let value = scanner.number()?.value();
                self.value = Some(value);
                if !value.is_finite() {
                    return Ok(Err(RowFault::NumberOutOfRange));
                }
            }
            (Member::IsValid, b't' | b'f') => self.is_valid = Some(scanner.word()? == "true"),
            (Member::Unit, b'"') => {
                let unit = self.unit.insert(scanner.string()?);
                if unit.len() > MOST_UNIT_BYTES || unit.chars().any(char::is_control) {
                    return Ok(Err(RowFault::InvalidUnit));
                }
            }
            (Member::Metadata, b'{') => {
                let value = scanner.skip_value()?;
                if value.depth > MOST_METADATA_DEPTH || value.overflows {
                    return Ok(Err(RowFault::InvalidMetadata));
                }
                if self.metadata.insert(compact(value.text)).len() > MOST_METADATA_BYTES {
                    return Ok(Err(RowFault::MetadataTooLarge));
                }
            }
            (member, _) => {
                scanner.skip_value()?;
                return Ok(Err(match member {
                    Member::Device => RowFault::InvalidDevice,
                    Member::Metric => RowFault::InvalidMetric,
                    Member::Timestamp => RowFault::InvalidTimestamp,
                    Member::Value => RowFault::InvalidValue,
                    Member::IsValid => RowFault::InvalidIsValid,
                    Member::Unit => RowFault::InvalidUnit,
                    Member::Metadata => RowFault::InvalidMetadata,
                }));
            }
        }
        Ok(Ok(()))
    }

    fn take_timestamp(&mut self, scanner: &mut Scanner<'t>) -> Taken<(), RowFault> {
        let start = scanner.offset();
        let timestamp = if scanner.peek() == b'"' {
            rfc3339_ms(&scanner.string()?).ok_or(RowFault::InvalidTimestamp)
        } else {
            match scanner.number()? {
                number if !number.is_integer => Err(RowFault::InvalidTimestamp),
                number => number
                    .text
                    .parse()
                    .map_err(|_| RowFault::TimestampOutOfRange),
            }
        };
        self.time = scanner.text_from(start);
        Ok(timestamp.map(|ms| self.timestamp = Some(ms)))
    }

    /// Gives the reading to the collector: one of `device`, or else of the device that it names.
    pub(super) fn hand_over(
        &self,
        device: Option<&str>,
        collector: &mut Collector<'_>,
    ) -> Result<(), Fault> {
        let device = device.or(self.device.as_deref());
        let reading = Reading {
            device: device.ok_or(RowFault::MissingDevice)?,
            metric: self.metric.as_deref().unwrap_or(DEFAULT_METRIC),
            timestamp: self.timestamp.unwrap_or(collector.arrival()),
            value: self.value.ok_or(RowFault::MissingValue)?,
            is_valid: self.is_valid.unwrap_or(true),
            unit: self.unit.as_deref().unwrap_or_default(),
            metadata: self.metadata.as_deref().unwrap_or_default(),
        };
        collector.push(&reading, self.time)
    }
}
