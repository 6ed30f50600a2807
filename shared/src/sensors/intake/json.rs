//! A body of one JSON object: a device and its readings.

use memchr::memchr_iter;

use super::collector::Collector;
use super::json_reading;
use super::json_scanner::{Malformed, Scanner};
use super::{BodyError, Intake};
use crate::sensors::model::DeviceId;

impl From<Malformed> for BodyError {
    fn from(error: Malformed) -> Self {
        Self::MalformedJson {
            offset: error.offset,
            expected: error.expected,
        }
    }
}

pub(super) fn parse(body: &[u8], mut collector: Collector<'_>) -> Result<Intake, BodyError> {
    let text = std::str::from_utf8(body).map_err(|error| BodyError::InvalidUtf8 {
        offset: error.valid_up_to(),
    })?;
    let mut scanner = Scanner::new(text);
    if !scanner.take(b'{') {
        scanner.skip_value()?;
        scanner.end()?;
        return Err(BodyError::NotAnObject);
    }
    let mut device = None;
    // Where readings begin that stand before the device's name.
    let mut postponed = None;
    let mut has_readings = false;
    let mut is_first = true;
    while scanner.member(&mut is_first)? {
        match &*scanner.key()? {
            "device_id" => {
                if device.is_some() {
                    return Err(BodyError::DuplicateField { field: "device_id" });
                }
                let id = match scanner.peek() {
                    b'"' => scanner.string()?,
                    b'n' => {
                        scanner.word()?;
                        return Err(BodyError::MissingField { field: "device_id" });
                    }
                    _ => {
                        scanner.skip_value()?;
                        return Err(BodyError::InvalidDevice);
                    }
                };
                if !DeviceId::is_valid(&id) {
                    return Err(BodyError::InvalidDevice);
                }
                device = Some(id);
            }
            "readings" => {
                if std::mem::replace(&mut has_readings, true) {
                    return Err(BodyError::DuplicateField { field: "readings" });
                }
                match (scanner.peek(), &device) {
                    (b'[', Some(device)) => {
                        take_readings(text, &mut scanner, device, &mut collector)?;
                    }
                    (b'[', None) => {
                        postponed = Some(scanner.offset());
                        scanner.skip_value()?;
                    }
                    _ => {
                        scanner.skip_value()?;
                        return Err(BodyError::InvalidReadings);
                    }
                }
            }
            _ => return Err(BodyError::UnknownField),
        }
    }
    scanner.end()?;
    let device = device.ok_or(BodyError::MissingField { field: "device_id" })?;
    if !has_readings {
        return Err(BodyError::MissingField { field: "readings" });
    }
    if let Some(start) = postponed {
        scanner.go_to(start);
        take_readings(text, &mut scanner, &device, &mut collector)?;
    }
    Ok(collector.finish())
}

fn take_readings(
    text: &str,
    scanner: &mut Scanner<'_>,
    device: &str,
    collector: &mut Collector<'_>,
) -> Result<(), BodyError> {
    // Lines are only counted for errors, from the last one on.
    let (mut line, mut counted) = (1, 0);
    let mut is_first = true;
    scanner.take(b'[');
    for index in 0.. {
        if !scanner.element(&mut is_first)? {
            break;
        }
        collector.expect_one_more()?;
        scanner.peek();
        let start = scanner.offset();
        let reading = json_reading::read(scanner, false)?;
        let taken = reading.and_then(|reading| reading.hand_over(Some(device), collector));
        if let Err(fault) = taken {
            let between = text.as_bytes().get(counted..start).unwrap_or_default();
            line += memchr_iter(b'\n', between).count();
            counted = start;
            collector.reject(index, line, fault);
        }
    }
    Ok(())
}
