//! A chunk: readings of one device and hour, all its metrics, in one [frame](crate::frame).
//!
//! Columns: `m` (text, the metric), `t` (int, milliseconds from the hour's start), `v` (float), `a`
//! (int, milliseconds of Unix time at which the reading arrived) and, where any row has it, `q` (bool,
//! whether the device trusts it), `u` (text, the unit), `x` (text, metadata). Rows are ordered by
//! metric and time, and there is one for each.

use std::{cmp::Ordering, collections::HashMap};

use xxhash_rust::xxh3::xxh3_64;

use super::model::{HOUR_MS, Hour, Metric};
use crate::{
    frame::{Column, Frame, FrameError, Limits, TextColumn},
    platform::ids,
};

/// Most bytes of a frame: a table item holds 400 KB with its keys.
const MOST_BYTES: usize = 350 * 1024;

/// Most rows of a frame that is written; a reader takes more.
const MOST_ROWS: usize = 100_000;

/// Most bytes of text, a row's metric, unit and metadata, of a frame that is written. Text that
/// repeats takes few bytes in the frame, but a reader takes 48 MiB decoded at most and holds a text
/// up to three times while it decodes: in the pool, in the dictionary and in the column.
const MOST_TEXT_BYTES: usize = 8 << 20;

/// Most readings of one device and hour that are worked on, a thousand a second and more, each
/// counted once however often it was sent.
pub const MOST_READINGS: usize = 1 << 22;

/// Why a chunk cannot be read or made. None of these passes with time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The frame cannot be read or made.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A value is out of its range.
    #[error("the chunk is corrupt: {0}")]
    Corrupt(&'static str),
    /// More readings than anybody works on.
    #[error("the hour has more than {MOST_READINGS} readings")]
    TooMany,
}

/// One reading as stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'c> {
    /// What was measured.
    pub metric: &'c str,
    /// When, in milliseconds of Unix time.
    pub timestamp: i64,
    /// The value.
    pub value: f64,
    /// Whether the device trusts it.
    pub is_valid: bool,
    /// The unit, empty for none.
    pub unit: &'c str,
    /// A JSON object as compact text, empty for none.
    pub metadata: &'c str,
    /// When it arrived, in milliseconds of Unix time.
    pub arrived: i64,
}

/// A row with its texts by number.
#[derive(Clone, Copy, Debug)]
struct Cells {
    timestamp: i64,
    value: f64,
    arrived: i64,
    metric: u32,
    unit: u32,
    metadata: u32,
    is_valid: bool,
}

/// Texts by number; number 0 is the empty one.
#[derive(Clone, Debug)]
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            all: vec![String::new()],
            numbers: HashMap::from([(String::new(), 0)]),
        }
    }
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn get(&self, number: u32) -> &str {
        self.all.get(number as usize).map_or("", String::as_str)
    }

    /// For each number its place in alphabetical order.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_unstable_by(|&a, &b| self.all[a].cmp(&self.all[b]));
        let mut ranks = vec![0; order.len()];
        for (rank, index) in (0_u32..).zip(order) {
            ranks[index] = rank;
        }
        ranks
    }
}

/// Readings of one device and hour.
#[derive(Clone, Debug)]
pub struct Chunk {
    hour: Hour,
    rows: Vec<Cells>,
    texts: Texts,
    settled: bool,
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.hour == other.hour
            && self.rows.len() == other.rows.len()
            && self.rows().zip(other.rows()).all(|(a, b)| same(&a, &b))
    }
}

/// Whether two rows are the same to the bit.
fn same(a: &Row<'_>, b: &Row<'_>) -> bool {
    let value = |row: &Row<'_>| row.value.to_bits();
    value(a) == value(b) && Row { value: 0.0, ..*a } == Row { value: 0.0, ..*b }
}

impl Chunk {
    /// No readings of `hour` yet.
    #[must_use]
    pub fn new(hour: Hour) -> Self {
        Self {
            hour,
            rows: Vec::new(),
            texts: Texts::default(),
            settled: true,
        }
    }

    /// The hour.
    #[must_use]
    pub const fn hour(&self) -> Hour {
        self.hour
    }

    /// Number of readings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a reading, whose time must be in the hour. [`Chunk::settle`] puts it in its place.
    ///
    /// # Errors
    ///
    /// [`ChunkError::TooMany`] beyond [`MOST_READINGS`] that differ in metric or time.
    pub fn push(&mut self, row: Row<'_>) -> Result<(), ChunkError> {
        debug_assert_eq!(Hour::of(row.timestamp), self.hour);
        let cells = Cells {
            timestamp: row.timestamp,
            value: row.value,
            arrived: row.arrived,
            metric: self.texts.number(row.metric),
            unit: self.texts.number(row.unit),
            metadata: self.texts.number(row.metadata),
            is_valid: row.is_valid,
        };
        self.rows.push(cells);
        self.grown()
    }

    /// To be called after readings were added: they are counted once they are too many, each once.
    fn grown(&mut self) -> Result<(), ChunkError> {
        self.settled = false;
        if self.rows.len() > MOST_READINGS {
            self.settle();
        }
        if self.rows.len() > MOST_READINGS {
            return Err(ChunkError::TooMany);
        }
        Ok(())
    }

    /// Adds the readings of another chunk of the hour; [`Chunk::settle`] puts them in their places.
    ///
    /// # Errors
    ///
    /// [`ChunkError::TooMany`] beyond [`MOST_READINGS`] that differ in metric or time.
    pub fn absorb(&mut self, other: &Self) -> Result<(), ChunkError> {
        let numbers: Vec<u32> = other
            .texts
            .all
            .iter()
            .map(|text| self.texts.number(text))
            .collect();
        let renumbered = |number: u32| numbers.get(number as usize).copied().unwrap_or(0);
        self.rows.extend(other.rows.iter().map(|cells| Cells {
            metric: renumbered(cells.metric),
            unit: renumbered(cells.unit),
            metadata: renumbered(cells.metadata),
            ..*cells
        }));
        self.grown()
    }

    /// Orders the readings by metric and time and keeps one for each: the one that arrived last; of
    /// those that arrived in one millisecond the one that is greatest by value, trust, unit and
    /// metadata, so that the outcome does not depend on the order of chunks.
    pub fn settle(&mut self) {
        if self.settled {
            return;
        }
        let ranks = self.texts.ranks();
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or(0);
        let place = |row: &Cells| (rank(row.metric), row.timestamp);
        let better = |a: &Cells, b: &Cells| -> Ordering {
            (b.arrived.cmp(&a.arrived))
                .then_with(|| b.value.total_cmp(&a.value))
                .then_with(|| b.is_valid.cmp(&a.is_valid))
                .then_with(|| rank(b.unit).cmp(&rank(a.unit)))
                .then_with(|| rank(b.metadata).cmp(&rank(a.metadata)))
        };
        // What is put together is in order already, and this sort merges what is.
        self.rows
            .sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| better(a, b)));
        self.rows.dedup_by(|later, kept| {
            later.metric == kept.metric && later.timestamp == kept.timestamp
        });
        self.settled = true;
    }

    /// The readings that `other`, settled as this one, does not have just so.
    ///
    /// # Errors
    ///
    /// Never more readings than this one has, so none in practice.
    pub fn without(&self, other: &Self) -> Result<Self, ChunkError> {
        let mut left = Self::new(self.hour);
        let mut others = other.rows().peekable();
        for row in self.rows() {
            let place = (row.metric, row.timestamp);
            while others
                .next_if(|other| (other.metric, other.timestamp) < place)
                .is_some()
            {}
            if !others.peek().is_some_and(|other| same(other, &row)) {
                left.push(row)?;
            }
        }
        left.settle();
        Ok(left)
    }

    fn row(&self, cells: &Cells) -> Row<'_> {
        Row {
            metric: self.texts.get(cells.metric),
            timestamp: cells.timestamp,
            value: cells.value,
            is_valid: cells.is_valid,
            unit: self.texts.get(cells.unit),
            metadata: self.texts.get(cells.metadata),
            arrived: cells.arrived,
        }
    }

    /// The readings, by metric and time if the chunk is settled.
    #[must_use = "iterators do nothing until they are used"]
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|cells| self.row(cells))
    }

    /// The metrics of a settled chunk in order, each with its readings in order of time.
    #[must_use = "iterators do nothing until they are used"]
    pub fn metrics(&self) -> impl Iterator<Item = (&str, impl ExactSizeIterator<Item = Row<'_>>)> {
        self.rows
            .chunk_by(|a, b| a.metric == b.metric)
            .filter_map(|rows| {
                let metric = self.texts.get(rows.first()?.metric);
                Some((metric, rows.iter().map(|cells| self.row(cells))))
            })
    }

    /// When the latest of the readings arrived, in milliseconds of Unix time.
    #[must_use]
    pub fn arrived(&self) -> Option<i64> {
        self.rows.iter().map(|row| row.arrived).max()
    }

    /// The chunk as frames that each fit a table item; one unless the hour is very full.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when a single reading does not fit, or a frame cannot be made.
    pub fn encode(&self) -> Result<Vec<Vec<u8>>, ChunkError> {
        let mut frames = Vec::new();
        let mut rest = &self.rows[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take(MOST_ROWS).take_while(|row| {
                bytes += self.text_bytes(row);
                bytes <= MOST_TEXT_BYTES
            });
            let (fitting, others) = rest.split_at(fitting.count());
            self.encode_rows(fitting, &mut frames)?;
            rest = others;
        }
        Ok(frames)
    }

    fn text_bytes(&self, row: &Cells) -> usize {
        let texts = [row.metric, row.unit, row.metadata];
        texts
            .map(|number| self.texts.get(number).len())
            .iter()
            .sum()
    }

    fn encode_rows(&self, rows: &[Cells], frames: &mut Vec<Vec<u8>>) -> Result<(), ChunkError> {
        if !rows.is_empty() {
            let frame = self.frame(rows)?.encode()?;
            if frame.len() <= MOST_BYTES {
                frames.push(frame);
                return Ok(());
            }
        }
        if rows.len() < 2 {
            return Err(ChunkError::Corrupt("a reading is too large"));
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        self.encode_rows(first, frames)?;
        self.encode_rows(second, frames)
    }

    fn frame(&self, rows: &[Cells]) -> Result<Frame, FrameError> {
        let texts = |number: fn(&Cells) -> u32| {
            TextColumn::try_from_cells(rows.iter().map(|row| self.texts.get(number(row))))
                .map(Column::Text)
        };
        let start = self.hour.start();
        let offsets = rows.iter().map(|row| row.timestamp - start).collect();
        let mut frame = Frame::new(rows.len());
        frame.push("m", texts(|row| row.metric)?)?;
        frame.push("t", Column::Int(offsets))?;
        frame.push(
            "v",
            Column::Float(rows.iter().map(|row| row.value).collect()),
        )?;
        frame.push(
            "a",
            Column::Int(rows.iter().map(|row| row.arrived).collect()),
        )?;
        if rows.iter().any(|row| !row.is_valid) {
            let valid = rows.iter().map(|row| row.is_valid).collect();
            frame.push("q", Column::Bool(valid))?;
        }
        if rows.iter().any(|row| row.unit != 0) {
            frame.push("u", texts(|row| row.unit)?)?;
        }
        if rows.iter().any(|row| row.metadata != 0) {
            frame.push("x", texts(|row| row.metadata)?)?;
        }
        Ok(frame)
    }

    /// Adds the readings of a frame of the hour; [`Chunk::settle`] puts them in their places.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when it is not the frame of a chunk; any bytes give one or the other, in
    /// bounded memory.
    pub fn absorb_frame(&mut self, frame: &[u8]) -> Result<(), ChunkError> {
        let frame = Frame::decode(frame, &Limits::default())?;
        let metrics = self.numbers(frame.texts("m")?);
        let (offsets, values) = (frame.ints("t")?, frame.floats("v")?);
        let arrived = frame.ints("a")?;
        let valid = frame.column("q").map(|_| frame.bools("q")).transpose()?;
        let units = match frame.column("u") {
            Some(_) => self.numbers(frame.texts("u")?),
            None => Vec::new(),
        };
        let metadata = match frame.column("x") {
            Some(_) => self.numbers(frame.texts("x")?),
            None => Vec::new(),
        };
        let mut names = metrics
            .chunk_by(PartialEq::eq)
            .filter_map(|run| run.first());
        if names.any(|&metric| !Metric::is_valid(self.texts.get(metric))) {
            return Err(ChunkError::Corrupt("a metric's name is invalid"));
        }
        self.rows.reserve(frame.rows());
        let columns = metrics.into_iter().zip(offsets).zip(values).zip(arrived);
        for (row, (((metric, &offset), &value), &arrived)) in columns.enumerate() {
            if !(0..HOUR_MS).contains(&offset) || !value.is_finite() {
                return Err(ChunkError::Corrupt("a reading is out of range"));
            }
            self.rows.push(Cells {
                timestamp: self.hour.start() + offset,
                value,
                arrived,
                metric,
                unit: units.get(row).copied().unwrap_or(0),
                metadata: metadata.get(row).copied().unwrap_or(0),
                is_valid: valid.is_none_or(|valid| valid[row]),
            });
        }
        self.grown()
    }

    fn numbers(&mut self, column: &TextColumn) -> Vec<u32> {
        let mut last: Option<(&str, u32)> = None;
        column
            .iter()
            .map(|text| match last {
                Some((same, number)) if same == text => number,
                _ => {
                    let number = self.texts.number(text);
                    last = Some((text, number));
                    number
                }
            })
            .collect()
    }
}

/// The name of a chunk: a hash of its frame, so that writing it again changes nothing.
#[must_use]
pub fn name(frame: &[u8]) -> String {
    ids::base32(u128::from(xxh3_64(frame)), 13)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const HOUR: Hour = Hour::new(480_000);

    fn row() -> impl Strategy<Value = Row<'static>> {
        (
            prop_oneof![Just("value"), Just("flow"), Just("°C")],
            prop_oneof![0_i64..20, 0..HOUR_MS],
            prop_oneof![
                (-50_i32..50).prop_map(|v| f64::from(v) / 10.0),
                any::<f64>()
            ],
            any::<bool>(),
            prop_oneof![Just(""), Just("bar")],
            prop_oneof![Just(""), Just("{}")],
            0_i64..4,
        )
            .prop_map(
                |(metric, offset, value, is_valid, unit, metadata, arrived)| Row {
                    metric,
                    timestamp: HOUR.start() + offset,
                    value: if value.is_finite() { value } else { 0.0 },
                    is_valid,
                    unit,
                    metadata,
                    arrived,
                },
            )
    }

    fn chunk(rows: &[Row<'_>]) -> Chunk {
        let mut chunk = Chunk::new(HOUR);
        for &row in rows {
            chunk.push(row).unwrap();
        }
        chunk.settle();
        chunk
    }

    fn decoded(frames: &[Vec<u8>]) -> Chunk {
        let mut chunk = Chunk::new(HOUR);
        for frame in frames {
            chunk.absorb_frame(frame).unwrap();
        }
        chunk.settle();
        chunk
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(rows in vec(row(), 0..100)) {
            let chunk = chunk(&rows);
            prop_assert_eq!(&decoded(&chunk.encode().unwrap()), &chunk);
        }

        #[test]
        fn the_union_does_not_depend_on_order_split_or_repetition(
            rows in vec(row(), 0..60), cuts in vec(0_usize..60, 0..6), repeat in any::<bool>(),
        ) {
            let whole = chunk(&rows);
            let mut parts: Vec<&[Row<'_>]> = Vec::new();
            let mut start = 0;
            let mut cuts = cuts;
            cuts.sort_unstable();
            for cut in cuts {
                let cut = cut.clamp(start, rows.len());
                parts.push(&rows[start..cut]);
                start = cut;
            }
            parts.push(&rows[start..]);
            if repeat {
                parts.push(&rows);
            }
            parts.reverse();
            let mut union = Chunk::new(HOUR);
            for part in parts {
                union.absorb(&chunk(part)).unwrap();
            }
            union.settle();
            prop_assert_eq!(union, whole);
        }

        #[test]
        fn each_metric_has_one_reading_a_time_and_it_is_the_latest(rows in vec(row(), 0..60)) {
            let chunk = chunk(&rows);
            for kept in chunk.rows() {
                let same = rows.iter().filter(|row| {
                    row.metric == kept.metric && row.timestamp == kept.timestamp
                });
                prop_assert_eq!(kept.arrived, same.map(|row| row.arrived).max().unwrap());
            }
            let places: Vec<_> = chunk.rows().map(|row| (row.metric, row.timestamp)).collect();
            prop_assert!(places.is_sorted() && places.windows(2).all(|pair| pair[0] != pair[1]));
            let by_metric: usize = chunk.metrics().map(|(_, rows)| rows.len()).sum();
            prop_assert_eq!(by_metric, chunk.len());
        }

        #[test]
        fn any_bytes_are_a_chunk_or_an_error(bytes: Vec<u8>) {
            let _ = Chunk::new(HOUR).absorb_frame(&bytes);
        }
    }

    /// Readings with metadata, one a millisecond.
    fn labelled(rows: u32, metadata: impl Fn(u32) -> String) -> Chunk {
        let mut labelled = Chunk::new(HOUR);
        for tick in 0..rows {
            labelled
                .push(Row {
                    metric: "value",
                    timestamp: HOUR.start() + i64::from(tick),
                    value: 1.0,
                    is_valid: true,
                    unit: "bar",
                    metadata: &metadata(tick),
                    arrived: 0,
                })
                .unwrap();
        }
        labelled.settle();
        labelled
    }

    #[test]
    fn much_text_is_split_into_frames_that_a_reader_takes() {
        let padding = "x".repeat(1_000);
        let numbered = |n: u32| format!(r#"{{"n":{n},"padding":"{padding}"}}"#);
        for (rows, distinct) in [(30_000, u32::MAX), (60_000, 1), (40_000, 500)] {
            let chunk = labelled(rows, |tick| numbered(tick % distinct));
            let frames = chunk.encode().unwrap();
            assert!(frames.iter().all(|frame| frame.len() <= MOST_BYTES));
            assert_eq!(decoded(&frames), chunk, "{rows} rows, {distinct} texts");
        }
    }

    #[test]
    fn a_text_that_no_reader_takes_is_not_written() {
        let chunk = labelled(1, |_| "x".repeat(MOST_TEXT_BYTES));
        let error = ChunkError::Corrupt("a reading is too large");
        assert_eq!(chunk.encode(), Err(error));
    }

    #[test]
    fn readings_that_are_sent_again_and_again_are_counted_once() {
        const SENT: u32 = 1 << 18;
        let chunk = labelled(SENT, |_| String::new());
        let frame = chunk.frame(&chunk.rows).unwrap().encode().unwrap();
        let mut union = Chunk::new(HOUR);
        for _ in 0..MOST_READINGS / chunk.len() {
            union.absorb(&chunk).unwrap();
        }
        assert_eq!(union.len(), MOST_READINGS);
        union.absorb_frame(&frame).unwrap();
        union.settle();
        assert_eq!(union, chunk);
    }

    #[test]
    fn more_readings_than_anybody_works_on_are_refused() {
        let mut full = Chunk::new(HOUR);
        let row = |metric, tick: i64| Row {
            metric,
            timestamp: HOUR.start() + tick,
            value: 1.0,
            is_valid: true,
            unit: "",
            metadata: "",
            arrived: 0,
        };
        for tick in 0..HOUR_MS {
            full.push(row("flow", tick)).unwrap();
        }
        let left = i64::try_from(MOST_READINGS).unwrap() - HOUR_MS;
        for tick in 0..left {
            full.push(row("value", tick)).unwrap();
        }
        full.push(row("value", 0)).unwrap();
        assert_eq!(full.len(), MOST_READINGS);
        let one_more = chunk(&[row("value", left)]);
        assert_eq!(full.clone().absorb(&one_more), Err(ChunkError::TooMany));
        assert_eq!(full.push(row("value", left)), Err(ChunkError::TooMany));
    }

    #[test]
    fn a_full_hour_is_split_into_items_that_fit() {
        let mut full = Chunk::new(HOUR);
        for tick in 0..250_000_u32 {
            let noise = f64::from(tick.wrapping_mul(2_654_435_761)) * 1.000_000_1;
            full.push(Row {
                metric: "value",
                timestamp: HOUR.start() + i64::from(tick) * 14,
                value: noise,
                is_valid: true,
                unit: "",
                metadata: "",
                arrived: 0,
            })
            .unwrap();
        }
        full.settle();
        let frames = full.encode().unwrap();
        assert!(frames.len() > 2 && frames.iter().all(|frame| frame.len() <= MOST_BYTES));
        assert_eq!(decoded(&frames), full);
    }

    #[test]
    fn an_hour_of_a_steady_sensor_takes_less_than_a_write_unit() {
        let mut hour = Chunk::new(HOUR);
        let mut level = 2000_i32;
        for tick in 0..720_i64 {
            let step = i32::try_from(tick * 7919 % 11).unwrap() - 5;
            level += step;
            hour.push(Row {
                metric: "value",
                timestamp: HOUR.start() + tick * 5_000,
                value: f64::from(level) / 100.0,
                is_valid: true,
                unit: "",
                metadata: "",
                arrived: HOUR.start() + (tick / 60 + 1) * 300_000,
            })
            .unwrap();
        }
        hour.settle();
        let frames = hour.encode().unwrap();
        assert!(
            frames.len() == 1 && frames[0].len() < 900,
            "{}",
            frames[0].len()
        );
    }
}
