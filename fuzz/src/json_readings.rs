//! Any bytes as JSON and as NDJSON are read or refused, within the limits; what is taken as JSON is
//! JSON to others, and what was read can be written again and is then read as the same.

use std::fmt::Write;

use serde_json::{Value, json};
use shared::sensors::intake::{Format, Intake, MOST_ERRORS, Rules, parse};
use shared::sensors::model::LATEST_MS;

const RULES: Rules = Rules {
    now_ms: 0,
    oldest_ms: None,
    latest_ms: LATEST_MS,
    most_readings: 1_000,
};

/// The readings as lines of NDJSON.
fn written(intake: &Intake) -> String {
    let mut lines = String::new();
    for row in intake.readings.iter() {
        let (device, metric, unit) = (row.device, json!(row.metric), json!(row.unit));
        let (time, value, is_valid) = (row.timestamp, row.value, row.is_valid);
        let metadata = if row.metadata.is_empty() {
            "null"
        } else {
            row.metadata
        };
        writeln!(
            lines,
            r#"{{"device_id":"{device}","metric":{metric},"timestamp":{time},"value":{value:e},"is_valid":{is_valid},"unit":{unit},"metadata":{metadata}}}"#
        )
        .expect("a String takes every write");
    }
    lines
}

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(body: &[u8]) {
    for format in [Format::Json, Format::Ndjson] {
        let Ok(intake) = parse(format, body, &RULES) else {
            continue;
        };
        assert!(intake.readings.len() + intake.rejected <= RULES.most_readings);
        assert_eq!(intake.errors.len(), intake.rejected.min(MOST_ERRORS));
        // Others refuse numbers that only overflow where this one rejects the row.
        if format == Format::Json && intake.rejected == 0 {
            serde_json::from_slice::<Value>(body).expect("what was taken is JSON");
        }
        let lines = written(&intake);
        let again = parse(Format::Ndjson, lines.as_bytes(), &RULES).expect("it is no longer");
        assert_eq!(again.errors, []);
        assert_eq!(
            again.readings, intake.readings,
            "readings changed on their way through text"
        );
    }
}
