//! Any bytes as line protocol are read or refused, within the limits, and what was read can be
//! written again and is then read as the same.

use std::fmt::Write;

use shared::sensors::intake::{Format, MOST_ERRORS, Precision, Rules, parse};
use shared::sensors::model::LATEST_MS;

const LINES: Format = Format::LineProtocol {
    precision: Precision::Milliseconds,
};

const RULES: Rules = Rules {
    now_ms: 0,
    oldest_ms: None,
    latest_ms: LATEST_MS,
    most_readings: 1_000,
};

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(body: &[u8]) {
    let Ok(intake) = parse(LINES, body, &RULES) else {
        return;
    };
    assert!(intake.readings.len() + intake.rejected <= RULES.most_readings);
    assert_eq!(intake.errors.len(), intake.rejected.min(MOST_ERRORS));
    let mut lines = String::new();
    for row in intake.readings.iter() {
        let mut metric = String::new();
        for c in row.metric.chars() {
            if matches!(c, ',' | '=' | ' ' | '\\') {
                metric.push('\\');
            }
            metric.push(c);
        }
        writeln!(
            lines,
            "m,device_id={} {metric}={:e} {}",
            row.device, row.value, row.timestamp
        )
        .expect("a String takes every write");
    }
    let again = parse(LINES, lines.as_bytes(), &RULES).expect("there are no more readings");
    assert_eq!(again.errors, []);
    assert_eq!(
        again.readings, intake.readings,
        "readings changed on their way through text"
    );
}
