//! Where readings go once they are read: into columns if they may, else among the errors.

use std::collections::HashMap;

use super::fault::{Fault, RowFault};
use super::{BodyError, Intake, MOST_ERRORS, Refused, Rules};
use crate::sensors::model::{DeviceId, EARLIEST_MS, LATEST_MS, Metric};
use crate::sensors::readings::Reading;

/// Most metrics of one device in a body.
pub(super) const MOST_METRICS: usize = 1_000;

/// Builds an [`Intake`] under [`Rules`].
#[derive(Debug)]
pub(super) struct Collector<'r> {
    rules: &'r Rules,
    refused: &'r Refused,
    /// How many metrics each device has so far.
    metrics: HashMap<String, usize>,
    intake: Intake,
}

impl<'r> Collector<'r> {
    pub(super) fn new(rules: &'r Rules, refused: &'r Refused) -> Self {
        Self {
            rules,
            refused,
            metrics: HashMap::new(),
            intake: Intake::default(),
        }
    }

    pub(super) const fn arrival(&self) -> i64 {
        self.rules.now_ms
    }

    pub(super) fn finish(self) -> Intake {
        self.intake
    }

    /// To be asked before each reading, good or bad.
    pub(super) fn expect_one_more(&self) -> Result<(), BodyError> {
        let limit = self.rules.most_readings;
        if self.intake.readings.len() + self.intake.rejected < limit {
            Ok(())
        } else {
            Err(BodyError::TooManyReadings { limit })
        }
    }

    /// Checks what the parsers do not: the names, if the series is new, and the time, which is
    /// spelt `time`. The value must be finite.
    pub(super) fn push(&mut self, reading: &Reading<'_>, time: &str) -> Result<(), Fault> {
        let timestamp = reading.timestamp;
        let time_fault = if !(EARLIEST_MS..=LATEST_MS).contains(&timestamp) {
            Some(RowFault::TimestampOutOfRange)
        } else if timestamp > self.rules.latest_ms {
            Some(RowFault::InTheFuture)
        } else if self
            .rules
            .oldest_ms
            .is_some_and(|oldest| timestamp < oldest)
        {
            Some(RowFault::TooLate)
        } else {
            None
        };
        if let Some(fault) = time_fault {
            return Err(fault.of(time));
        }
        let (device, metric) = (reading.device, reading.metric);
        let readings = &mut self.intake.readings;
        let series = match readings.find_series(device, metric) {
            Some(series) => series,
            None if !DeviceId::is_valid(device) => return Err(RowFault::InvalidDevice.of(device)),
            None if !Metric::is_valid(metric) => return Err(RowFault::InvalidMetric.of(metric)),
            None => {
                if let Some(fault) = self.refused.get(device) {
                    return Err(fault.of(device));
                }
                let metrics = self.metrics.entry(device.to_owned()).or_default();
                if *metrics == MOST_METRICS {
                    return Err(RowFault::TooManyMetrics.of(metric));
                }
                *metrics += 1;
                readings.add_series(device, metric)
            }
        };
        readings.push_row(series, reading);
        Ok(())
    }

    pub(super) fn reject(&mut self, index: usize, line: usize, fault: Fault) {
        self.intake.rejected += 1;
        if self.intake.errors.len() < MOST_ERRORS {
            self.intake.errors.push(fault.at(index, line));
        }
    }
}
