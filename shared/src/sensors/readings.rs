//! Readings, column by column: what an ingest request is parsed into and a message is made from.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

/// One reading on its way in. Names are valid, times within limits, values finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'r> {
    /// The device that measured.
    pub device: &'r str,
    /// What was measured.
    pub metric: &'r str,
    /// When, in milliseconds of Unix time.
    pub timestamp: i64,
    /// The value, finite.
    pub value: f64,
    /// Whether the device trusts it; statistics leave out what it does not.
    pub is_valid: bool,
    /// The unit, empty for none.
    pub unit: &'r str,
    /// A JSON object as compact text, empty for none.
    pub metadata: &'r str,
}

/// One metric of one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The device.
    pub device: String,
    /// The metric.
    pub metric: String,
}

/// Many readings of many devices, a column a property, in the order they came.
///
/// What most readings lack costs nothing: a column that would only hold the default is empty.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// The series in order of first appearance.
    pub series: Vec<Series>,
    /// For each row, the index of its series.
    pub series_of: Vec<u32>,
    /// For each row, milliseconds of Unix time.
    pub timestamps: Vec<i64>,
    /// For each row, the value.
    pub values: Vec<f64>,
    /// For each row, whether the device trusts it; empty if it trusts all.
    pub valid: Vec<bool>,
    /// The units in order of first appearance.
    pub units: Vec<String>,
    /// For each row, 0 for no unit, else the index of its unit plus one; empty if none has a unit.
    pub unit_of: Vec<u32>,
    /// Rows that have metadata, ascending, with it.
    pub metadata: Vec<(u32, String)>,
    lookup: Lookup,
}

/// Finds the number of a series or a unit by name.
#[derive(Clone, Debug, Default)]
struct Lookup {
    hasher: RandomState,
    /// Series by the hash of their names, and by the next free number when two hashes agree.
    series: HashMap<u64, u32>,
    /// For each series, which one followed it last; messages repeat the order of their series.
    follower: Vec<u32>,
    /// The series of the last row.
    last_series: u32,
    units: HashMap<String, u32>,
    last_unit: u32,
}

impl PartialEq for Readings {
    fn eq(&self, other: &Self) -> bool {
        self.series == other.series
            && self.series_of == other.series_of
            && self.timestamps == other.timestamps
            && self.values == other.values
            && self.valid == other.valid
            && self.units == other.units
            && self.unit_of == other.unit_of
            && self.metadata == other.metadata
    }
}

impl Readings {
    /// No readings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Appends a reading. Readings that come in turns, as those of several metrics do, cost a
    /// comparison of names each and no hashing.
    pub fn push(&mut self, reading: Reading<'_>) {
        let series = match self.find_series(reading.device, reading.metric) {
            Some(series) => series,
            None => self.add_series(reading.device, reading.metric),
        };
        self.push_row(series, &reading);
    }

    /// The number of a series that has been seen; fast for those that come in turns.
    pub(in crate::sensors) fn find_series(&mut self, device: &str, metric: &str) -> Option<u32> {
        let is_it = |series: &Series| series.metric == metric && series.device == device;
        let at = |number: u32| self.series.get(number as usize);
        let last = self.lookup.last_series;
        let follower = self.lookup.follower.get(last as usize).copied();
        let found = follower
            .filter(|number| at(*number).is_some_and(is_it))
            .or_else(|| Some(last).filter(|number| at(*number).is_some_and(is_it)));
        found.or_else(|| {
            self.index();
            let mut hash = self.lookup.hasher.hash_one((device, metric));
            loop {
                let number = *self.lookup.series.get(&hash)?;
                if self.series.get(number as usize).is_some_and(is_it) {
                    return Some(number);
                }
                hash = hash.wrapping_add(1);
            }
        })
    }

    /// Numbers a series that [`Readings::find_series`] did not find.
    pub(in crate::sensors) fn add_series(&mut self, device: &str, metric: &str) -> u32 {
        self.series.push(Series {
            device: device.to_owned(),
            metric: metric.to_owned(),
        });
        self.index();
        number(self.series.len() - 1)
    }

    /// Appends a row of a series that has this number; the reading's names are not looked at.
    pub(in crate::sensors) fn push_row(&mut self, series: u32, reading: &Reading<'_>) {
        let row = self.len();
        if let Some(follower) = self
            .lookup
            .follower
            .get_mut(self.lookup.last_series as usize)
        {
            *follower = series;
        }
        self.lookup.last_series = series;
        self.series_of.push(series);
        self.timestamps.push(reading.timestamp);
        self.values.push(reading.value);
        if !reading.is_valid || !self.valid.is_empty() {
            self.valid.resize(row, true);
            self.valid.push(reading.is_valid);
        }
        if !reading.unit.is_empty() || !self.unit_of.is_empty() {
            let unit = self.unit(reading.unit);
            self.unit_of.resize(row, 0);
            self.unit_of.push(unit);
        }
        if !reading.metadata.is_empty() {
            self.metadata
                .push((number(row), reading.metadata.to_owned()));
        }
    }

    /// Brings the look-up in step with the series, which may have been set from outside.
    fn index(&mut self) {
        let lookup = &mut self.lookup;
        let known = lookup.follower.len();
        for (at, series) in self.series.iter().enumerate().skip(known) {
            let names = (series.device.as_str(), series.metric.as_str());
            let mut hash = lookup.hasher.hash_one(names);
            while let Entry::Occupied(_) = lookup.series.entry(hash) {
                hash = hash.wrapping_add(1);
            }
            lookup.series.insert(hash, number(at));
            lookup.follower.push(number(at));
        }
    }

    /// The column entry of a unit: 0 for none, else its index plus one.
    fn unit(&mut self, unit: &str) -> u32 {
        if unit.is_empty() {
            return 0;
        }
        let last = self.lookup.last_unit;
        let is_last = (last as usize)
            .checked_sub(1)
            .and_then(|index| self.units.get(index))
            .is_some_and(|name| name == unit);
        if !is_last {
            for (at, name) in self.units.iter().enumerate().skip(self.lookup.units.len()) {
                self.lookup.units.insert(name.clone(), number(at + 1));
            }
            self.lookup.last_unit = if let Some(entry) = self.lookup.units.get(unit) {
                *entry
            } else {
                self.units.push(unit.to_owned());
                let entry = number(self.units.len());
                self.lookup.units.insert(unit.to_owned(), entry);
                entry
            };
        }
        self.lookup.last_unit
    }

    /// The reading of a row.
    ///
    /// # Panics
    /// If there is no such row, as a slice does.
    #[must_use]
    pub fn get(&self, row: usize) -> Reading<'_> {
        let series = &self.series[self.series_of[row] as usize];
        let unit = match self.unit_of.get(row) {
            None | Some(0) => "",
            Some(entry) => &self.units[*entry as usize - 1],
        };
        let metadata = self
            .metadata
            .binary_search_by_key(&row, |(at, _)| *at as usize)
            .map_or("", |at| &self.metadata[at].1);
        Reading {
            device: &series.device,
            metric: &series.metric,
            timestamp: self.timestamps[row],
            value: self.values[row],
            is_valid: self.valid.get(row).copied().unwrap_or(true),
            unit,
            metadata,
        }
    }

    /// The readings in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reading<'_>> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// Drops all rows and names, and keeps the memory of the columns.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Drops the rows from number `rows` on, and the names that only they had.
    pub fn truncate(&mut self, rows: usize) {
        if rows >= self.len() {
            return;
        }
        self.series_of.truncate(rows);
        self.timestamps.truncate(rows);
        self.values.truncate(rows);
        self.valid.truncate(rows);
        self.unit_of.truncate(rows);
        let kept = self
            .metadata
            .partition_point(|(row, _)| (*row as usize) < rows);
        self.metadata.truncate(kept);
        let used = |column: &[u32], first: u32| {
            let most = column.iter().copied().max();
            most.map_or(0, |most| (most + 1 - first) as usize)
        };
        self.series.truncate(used(&self.series_of, 0));
        self.units.truncate(used(&self.unit_of, 1));
        self.drop_defaults();
        self.lookup = Lookup::default();
    }

    /// Empties the columns that only hold the default.
    fn drop_defaults(&mut self) {
        if self.valid.iter().all(|is_valid| *is_valid) {
            self.valid.clear();
        }
        if self.unit_of.iter().all(|entry| *entry == 0) {
            self.unit_of.clear();
            self.units.clear();
            (self.lookup.last_unit, self.lookup.units) = (0, HashMap::new());
        }
    }

    /// One row for each series and time, the last of those that came; the others keep their order.
    ///
    /// Costs one pass when the times of each series ascend, a sort otherwise.
    #[must_use]
    pub fn deduplicate(mut self) -> Self {
        let mut latest = vec![None; self.series.len()];
        let ascend = self
            .series_of
            .iter()
            .zip(&self.timestamps)
            .all(|(series, time)| {
                let before = latest[*series as usize].replace(*time);
                before < Some(*time)
            });
        if ascend {
            return self;
        }
        let identity = |row: u32| {
            let row = row as usize;
            (self.series_of[row], self.timestamps[row])
        };
        let mut order: Vec<u32> = (0..number(self.len())).collect();
        order.sort_unstable_by_key(|row| (identity(*row), *row));
        let mut keep = vec![true; self.len()];
        for pair in order.windows(2) {
            if identity(pair[0]) == identity(pair[1]) {
                keep[pair[0] as usize] = false;
            }
        }
        self.retain(&keep);
        self
    }

    /// Keeps the marked rows. No name is lost, since each superseded row has a successor of its
    /// series; a unit may be.
    fn retain(&mut self, keep: &[bool]) {
        fn filter<T>(column: &mut Vec<T>, keep: &[bool]) {
            let mut marks = keep.iter();
            column.retain(|_| marks.next().copied().unwrap_or(true));
        }
        let mut moved = Vec::with_capacity(self.metadata.len());
        let (mut row, mut kept) = (0, 0);
        for (at, text) in std::mem::take(&mut self.metadata) {
            let at = at as usize;
            kept += keep[row..at].iter().filter(|keep| **keep).count();
            row = at;
            if keep[at] {
                moved.push((number(kept), text));
            }
        }
        self.metadata = moved;
        filter(&mut self.series_of, keep);
        filter(&mut self.timestamps, keep);
        filter(&mut self.values, keep);
        filter(&mut self.valid, keep);
        filter(&mut self.unit_of, keep);
        self.drop_defaults();
    }
}

/// A row, series or unit by number; limits of the intake keep them far below 2³².
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Row = (u8, u8, i64, i16, bool, u8, bool);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = (
            0..3u8,
            0..3u8,
            0..6i64,
            any::<i16>(),
            prop::bool::weighted(0.9),
            0..3u8,
            prop::bool::weighted(0.2),
        );
        vec(row, 0..60)
    }

    fn reading(
        (device, metric, timestamp, value, is_valid, unit, tagged): Row,
    ) -> Reading<'static> {
        Reading {
            device: ["a", "b", "ab"][usize::from(device)],
            metric: ["b", "value", ""][usize::from(metric)],
            timestamp,
            value: f64::from(value),
            is_valid,
            unit: ["", "°C", "kPa"][usize::from(unit)],
            metadata: if tagged { r#"{"a":1}"# } else { "" },
        }
    }

    fn columns(rows: impl IntoIterator<Item = Reading<'static>>) -> Readings {
        let mut readings = Readings::new();
        rows.into_iter().for_each(|row| readings.push(row));
        readings
    }

    #[test]
    fn what_all_rows_lack_takes_no_column() {
        let plain = (0, 0, 0, 1, true, 0, false);
        let readings = columns([reading(plain), reading(plain)]);
        assert!(readings.valid.is_empty() && readings.unit_of.is_empty());
        assert!(readings.metadata.is_empty());
        assert_eq!(readings.series.len(), 1);
    }

    #[test]
    fn columns_set_from_outside_are_known_by_name() {
        let mut readings = Readings {
            series: ["a", "b"]
                .map(|device| Series {
                    device: device.to_owned(),
                    metric: "b".to_owned(),
                })
                .to_vec(),
            units: vec!["°C".to_owned()],
            ..Readings::new()
        };
        readings.push(reading((1, 0, 0, 0, true, 1, false)));
        assert_eq!((readings.series.len(), readings.units.len()), (2, 1));
        assert_eq!(readings.get(0).device, "b");
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read_back(rows in rows()) {
            let readings = columns(rows.iter().copied().map(reading));
            prop_assert_eq!(readings.len(), rows.len());
            for (row, pushed) in readings.iter().zip(rows) {
                prop_assert_eq!(row, reading(pushed));
            }
            let mut series = readings.series.clone();
            series.sort_unstable();
            series.dedup();
            prop_assert_eq!(series.len(), readings.series.len());
        }

        #[test]
        fn truncated_columns_are_those_of_the_rows_that_are_left(rows in rows(), left in 0..70usize) {
            let mut readings = columns(rows.iter().copied().map(reading));
            readings.truncate(left);
            let expected = columns(rows.iter().copied().take(left).map(reading));
            prop_assert_eq!(&readings, &expected);
            let more = reading((2, 2, 9, 9, false, 2, true));
            let (mut readings, mut expected) = (readings, expected);
            readings.push(more);
            expected.push(more);
            prop_assert_eq!(readings, expected);
        }

        #[test]
        fn of_equal_identities_the_last_row_stays_and_the_order_of_all(rows in rows()) {
            let mut last = HashMap::new();
            for (at, row) in rows.iter().enumerate() {
                last.insert((row.0, row.1, row.2), at);
            }
            let expected: Vec<Reading<'_>> = rows
                .iter()
                .enumerate()
                .filter(|(at, row)| last[&(row.0, row.1, row.2)] == *at)
                .map(|(_, row)| reading(*row))
                .collect();
            let found = columns(rows.iter().copied().map(reading)).deduplicate();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
            prop_assert_eq!(found.clone().deduplicate(), found);
        }
    }
}
