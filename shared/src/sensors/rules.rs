//! Decisions about readings in the table: where a chunk goes and how long it lives, when an hour is
//! settled, what is compacted, and what a roll-up is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    chunk::{Chunk, ChunkError, Row},
    model::{DAY_MS, Day, DeviceId, Hour, MINUTE_MS, Metric},
    rollup::{Rollup, Rollups},
};

/// Milliseconds after an hour's end from which its readings are late: they go where a reader of
/// settled hours finds them.
pub const LATE_AFTER: i64 = 5 * MINUTE_MS;

/// Milliseconds after an hour's end from which it is settled: compacted and rolled up into its day.
/// The ten minutes in between outlast every writer that began while the hour was not late.
pub const SETTLED_AFTER: i64 = 15 * MINUTE_MS;

/// Milliseconds that clocks may differ: what is to be done once an hour is settled is due so much
/// later, so that it is settled by every clock.
const SKEW: i64 = MINUTE_MS;

/// Milliseconds that a small chunk lives, unless raw data is kept for a shorter time: long enough to
/// mend an aggregator that stood still, whose lag rings within minutes.
pub const SMALL_CHUNK_LIFE: i64 = 14 * 24 * 60 * MINUTE_MS;

/// Milliseconds that kept chunks outlive the retention: the table removes what has expired within
/// days and in any order, and a small chunk must be gone before the chunk that replaced it.
const GRACE: i64 = 3 * DAY_MS;

/// Readings from which a chunk is worth keeping as it is: merging it would save little.
pub const DENSE: usize = 200;

/// Times that a read-modify-write is begun anew after somebody else's write.
pub const TRIES: u32 = 4;

/// Milliseconds of a device-hour that cannot be worked on until it is tried again.
pub const RETRY_AFTER: i64 = 15 * MINUTE_MS;

/// Where a chunk lies among those of its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Made of the hour's other chunks once it was settled.
    Compacted,
    /// Written when its hour was late.
    Late,
    /// Written while its hour was open.
    Open,
}

impl Tier {
    /// The tier of a chunk written at `now`.
    #[must_use]
    pub const fn of(hour: Hour, now: i64) -> Self {
        if now >= hour.end() + LATE_AFTER {
            Self::Late
        } else {
            Self::Open
        }
    }
}

/// Whether an hour is settled at `now`.
#[must_use]
pub const fn is_settled(hour: Hour, now: i64) -> bool {
    now >= settles_at(hour)
}

/// When an hour settles, in milliseconds of Unix time.
#[must_use]
pub const fn settles_at(hour: Hour) -> i64 {
    hour.end() + SETTLED_AFTER
}

/// Whether a day's last hour is settled at `now`.
#[must_use]
pub const fn is_day_settled(day: Day, now: i64) -> bool {
    is_settled(day.hour(23), now)
}

/// Whether a new chunk of that many readings is kept for the whole retention.
#[must_use]
pub const fn is_kept(readings: usize) -> bool {
    readings >= DENSE
}

/// When a chunk written at `now` expires, in milliseconds of Unix time; a kept one some days after
/// `retention`, counted from the latest arrival in it.
#[must_use]
pub fn expires_at(chunk: &Chunk, kept: bool, retention: i64, now: i64) -> i64 {
    if kept {
        chunk.arrived().unwrap_or(now) + retention + GRACE
    } else {
        now + retention.min(SMALL_CHUNK_LIFE)
    }
}

/// Which part of the log a touched hour goes to: history must not hold up what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Hours of the last day or so, worked off first.
    Live,
    /// Older ones: backfills, and devices that were long out of reach.
    Backlog,
}

impl Lane {
    /// Both, the more urgent one first.
    pub const ALL: [Self; 2] = [Self::Live, Self::Backlog];

    /// The lane of an hour that is touched at `now`.
    #[must_use]
    pub const fn of(hour: Hour, now: i64) -> Self {
        if now >= hour.end() + DAY_MS {
            Self::Backlog
        } else {
            Self::Live
        }
    }

    /// The log's partitions that are its own, so that many writers share the load.
    #[must_use]
    pub const fn shards(self) -> Range<u8> {
        match self {
            Self::Live => 0..16,
            Self::Backlog => 16..20,
        }
    }

    /// One of its partitions, chosen by a random byte.
    #[must_use]
    pub const fn shard(self, random: u8) -> u8 {
        let Range { start, end } = self.shards();
        start + random % (end - start)
    }
}

/// A chunk as found in the table.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it lies.
    pub tier: Tier,
    /// Whether it is kept for the whole retention.
    pub kept: bool,
    /// Its version, if it is compacted.
    pub version: u64,
    /// Its readings.
    pub chunk: Chunk,
}

/// All that is known of an hour.
#[derive(Clone, Debug)]
pub struct HourChunks {
    /// The readings, settled.
    pub union: Chunk,
    /// The chunks that they are of.
    pub found: Vec<Found>,
}

impl HourChunks {
    /// The readings of chunks.
    ///
    /// # Errors
    ///
    /// [`ChunkError::TooMany`] when they are too many to be worked on.
    pub fn of(hour: Hour, found: Vec<Found>) -> Result<Self, ChunkError> {
        let mut union = Chunk::new(hour);
        for Found { chunk, .. } in &found {
            union.absorb(chunk)?;
        }
        union.settle();
        Ok(Self { union, found })
    }

    /// Whether the hour's readings need writing into one place: unless a kept chunk has them all.
    #[must_use]
    pub fn needs_compaction(&self) -> bool {
        let has_all = |found: &Found| found.kept && found.chunk == self.union;
        !self.union.is_empty() && !self.found.iter().any(has_all)
    }

    /// The readings that no kept chunk has.
    ///
    /// # Errors
    ///
    /// [`ChunkError::TooMany`] when they are too many to be worked on.
    pub fn not_kept(&self) -> Result<Chunk, ChunkError> {
        let mut kept = Chunk::new(self.union.hour());
        for found in self.found.iter().filter(|found| found.kept) {
            kept.absorb(&found.chunk)?;
        }
        kept.settle();
        self.union.without(&kept)
    }

    /// The version of the compacted chunk, 0 if there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        let versions = self.found.iter().map(|found| found.version);
        versions.max().unwrap_or(0)
    }
}

/// Rolls readings of one metric and hour, in order of time, up by the minute.
pub fn minutes<'r>(hour: Hour, rows: impl Iterator<Item = Row<'r>>) -> Rollups {
    let mut minutes = Rollups::default();
    let mut current = (0, Rollup::default());
    for row in rows {
        let minute = minute_of(hour, row.timestamp);
        if minute != current.0 {
            keep(
                &mut minutes,
                std::mem::replace(&mut current, (minute, Rollup::default())),
            );
        }
        current.1.add(row.value, row.is_valid);
    }
    keep(&mut minutes, current);
    minutes
}

fn keep(minutes: &mut Rollups, (minute, rollup): (u8, Rollup)) {
    if rollup.count() > 0 {
        minutes.set(minute, rollup);
    }
}

fn minute_of(hour: Hour, timestamp: i64) -> u8 {
    u8::try_from(
        (timestamp - hour.start())
            .div_euclid(MINUTE_MS)
            .clamp(0, 59),
    )
    .unwrap_or(0)
}

/// The minutes of an hour after its raw data was read again: a minute without raw data keeps what
/// it had, for raw data expires and nothing else takes a reading away.
#[must_use]
pub fn renewed(stored: &Rollups, fresh: &Rollups) -> Rollups {
    let mut minutes = stored.clone();
    for (minute, rollup) in fresh.iter() {
        minutes.set(minute, rollup.clone());
    }
    minutes
}

/// What roll-ups were made of: a hash for each slot, of an hour's readings (slot 0), of a day's hours
/// or of a month's days.
///
/// It tells a run whether another one would write something else. A reading may get back the value
/// that it had, and roll-ups be again what is stored; were they not written then, a run held up with
/// the value in between would still find the version it knows, and write what is no longer true. For
/// each reading the latest arrival only ever grows, so that equal hashes mean that nothing came in
/// between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<u8, u64>);

impl Seen {
    /// Of readings of one metric and hour.
    #[must_use]
    pub fn readings<'r>(rows: impl Iterator<Item = Row<'r>>) -> Self {
        let mut hash = Xxh3::new();
        for row in rows {
            hash.update(&row.timestamp.to_le_bytes());
            hash.update(&row.value.to_bits().to_le_bytes());
            hash.update(&row.arrived.to_le_bytes());
            hash.update(&[u8::from(row.is_valid)]);
        }
        Self(BTreeMap::from([(0, hash.digest())]))
    }

    /// Notes that a slot is made of what `part` is made of.
    pub fn set(&mut self, slot: u8, part: &Self) {
        self.0.insert(slot, part.hash());
    }

    fn hash(&self) -> u64 {
        xxh3_64(&self.to_bytes())
    }

    /// A byte for each slot and eight, little-endian, for its hash.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries = self.0.iter();
        entries
            .flat_map(|(&slot, hash)| std::iter::once(slot).chain(hash.to_le_bytes()))
            .collect()
    }

    /// Reads what [`Seen::to_bytes`] gave; `None` for other bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.as_chunks::<9>();
        let slots = entries
            .iter()
            .map(|[slot, hash @ ..]| (*slot, u64::from_le_bytes(*hash)));
        rest.is_empty().then(|| Self(slots.collect()))
    }
}

/// What a log entry says was touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touched {
    /// The device.
    pub device: DeviceId,
    /// The metric; `None` for whatever the hour has.
    pub metric: Option<Metric>,
    /// The hour.
    pub hour: Hour,
}

/// What is to be done for one device and day: its touched hours with the touched metrics of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The device.
    pub device: DeviceId,
    /// The day.
    pub day: Day,
    /// What was touched in it.
    pub hours: TouchedHours,
}

/// Hours, each with the metrics that were touched; `None` for whatever it has.
pub type TouchedHours = BTreeMap<Hour, BTreeSet<Option<Metric>>>;

impl Work {
    /// The work in what was touched, by device and day, each thing once.
    #[must_use]
    pub fn plan(touched: impl IntoIterator<Item = Touched>) -> Vec<Self> {
        let mut days: BTreeMap<(DeviceId, Day), TouchedHours> = BTreeMap::new();
        for Touched {
            device,
            metric,
            hour,
        } in touched
        {
            let hours = days.entry((device, hour.day())).or_default();
            hours.entry(hour).or_default().insert(metric);
        }
        days.into_iter()
            .map(|((device, day), hours)| Self { device, day, hours })
            .collect()
    }

    /// What was touched, as a log entry says it.
    pub fn touched(&self) -> impl Iterator<Item = Touched> {
        self.hours.iter().flat_map(move |(&hour, metrics)| {
            metrics.iter().map(move |metric| Touched {
                device: self.device.clone(),
                metric: metric.clone(),
                hour,
            })
        })
    }
}

/// What was touched at `now` and has to be looked at again once it is settled, by the time at which
/// that is: hours for their compaction and their day, days (by their last hour) for their month.
#[must_use]
pub fn closings(touched: &[Touched], now: i64) -> BTreeMap<i64, Vec<Touched>> {
    let mut closings: BTreeMap<i64, BTreeSet<Touched>> = BTreeMap::new();
    for touched in touched {
        let last = Touched {
            hour: touched.hour.day().hour(23),
            ..touched.clone()
        };
        for again in [touched.clone(), last] {
            if !is_settled(again.hour, now) {
                let due = settles_at(again.hour) + SKEW;
                closings.entry(due).or_default().insert(again);
            }
        }
    }
    closings
        .into_iter()
        .map(|(due, touched)| (due, touched.into_iter().collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Hour = Hour::new(490_000);

    fn touched(device: &str, metric: &str, hour: Hour) -> Touched {
        Touched {
            device: device.parse().unwrap(),
            metric: metric.parse().ok(),
            hour,
        }
    }

    fn chunk(readings: &[(i64, f64)], arrived: i64) -> Chunk {
        let mut chunk = Chunk::new(HOUR);
        for &(second, value) in readings {
            chunk
                .push(Row {
                    metric: "value",
                    timestamp: HOUR.start() + second * 1000,
                    value,
                    is_valid: true,
                    unit: "",
                    metadata: "",
                    arrived,
                })
                .unwrap();
        }
        chunk.settle();
        chunk
    }

    fn found(tier: Tier, kept: bool, chunk: Chunk) -> Found {
        Found {
            tier,
            kept,
            version: u64::from(tier == Tier::Compacted),
            chunk,
        }
    }

    #[test]
    fn history_has_partitions_of_its_own() {
        let day_after = HOUR.end() + DAY_MS;
        assert_eq!(Lane::of(HOUR, day_after - 1), Lane::Live);
        assert_eq!(Lane::of(HOUR, day_after), Lane::Backlog);
        for byte in 0..=u8::MAX {
            for lane in Lane::ALL {
                assert!(lane.shards().contains(&lane.shard(byte)));
            }
        }
        assert_eq!(Lane::Live.shards().end, Lane::Backlog.shards().start);
    }

    #[test]
    fn an_hour_is_open_then_late_then_settled() {
        let end = HOUR.end();
        let minutes = |minutes: i64| end + minutes * MINUTE_MS;
        assert_eq!(Tier::of(HOUR, minutes(-1)), Tier::Open);
        assert_eq!(Tier::of(HOUR, minutes(5) - 1), Tier::Open);
        assert_eq!(Tier::of(HOUR, minutes(5)), Tier::Late);
        assert!(!is_settled(HOUR, minutes(15) - 1));
        assert!(is_settled(HOUR, minutes(15)));
        assert!(is_day_settled(HOUR.day(), HOUR.day().end() + SETTLED_AFTER));
        assert!(!is_day_settled(HOUR.day(), HOUR.day().end()));
    }

    #[test]
    fn what_is_kept_lives_from_its_arrival_and_the_rest_for_two_weeks() {
        let day = 24 * 60 * MINUTE_MS;
        let chunk = chunk(&[(1, 2.0)], 1_000);
        assert_eq!(expires_at(&chunk, true, 90 * day, 5_000), 1_000 + 93 * day);
        assert_eq!(expires_at(&chunk, false, 90 * day, 5_000), 5_000 + 14 * day);
        assert_eq!(expires_at(&chunk, false, 7 * day, 5_000), 5_000 + 7 * day);
    }

    #[test]
    fn an_hour_needs_compaction_until_one_kept_chunk_has_it_all() {
        let (first, second) = (chunk(&[(1, 2.0)], 10), chunk(&[(2, 3.0)], 20));
        let both = chunk(&[(1, 2.0)], 10);
        let hour = |found: Vec<Found>| HourChunks::of(HOUR, found).unwrap();
        assert!(!hour(vec![]).needs_compaction());
        assert!(hour(vec![found(Tier::Open, false, first.clone())]).needs_compaction());
        assert!(!hour(vec![found(Tier::Open, true, first.clone())]).needs_compaction());
        let split = hour(vec![
            found(Tier::Late, true, first.clone()),
            found(Tier::Late, true, second.clone()),
        ]);
        assert!(split.needs_compaction());
        assert_eq!(split.union.len(), 2);
        assert!(split.not_kept().unwrap().is_empty());
        let late = hour(vec![
            found(Tier::Compacted, true, both),
            found(Tier::Late, false, second.clone()),
        ]);
        assert!(late.needs_compaction());
        assert_eq!(late.version(), 1);
        assert_eq!(late.not_kept().unwrap(), second);
    }

    #[test]
    fn a_minute_without_raw_data_keeps_its_roll_up() {
        let stored = minutes(HOUR, chunk(&[(0, 1.0), (60, 2.0)], 1).rows());
        let fresh = minutes(HOUR, chunk(&[(60, 5.0), (61, 6.0), (3599, 7.0)], 1).rows());
        let renewed = renewed(&stored, &fresh);
        let counts: Vec<_> = renewed
            .iter()
            .map(|(minute, r)| (minute, r.count()))
            .collect();
        assert_eq!(counts, [(0, 1), (1, 2), (59, 1)]);
        assert_eq!(renewed.get(1).and_then(Rollup::first), Some(5.0));
    }

    #[test]
    fn a_value_that_returns_is_seen_as_something_new() {
        let seen = |value, arrived| Seen::readings(chunk(&[(1, value)], arrived).rows());
        assert_eq!(seen(1.0, 10), seen(1.0, 10));
        assert_ne!(seen(1.0, 10), seen(2.0, 11));
        assert_ne!(seen(1.0, 10), seen(1.0, 12));
        let mut day = Seen::default();
        day.set(7, &seen(1.0, 10));
        assert_eq!(Seen::from_bytes(&day.to_bytes()), Some(day.clone()));
        assert_eq!(Seen::from_bytes(&day.to_bytes()[1..]), None);
        let before = day.clone();
        day.set(7, &seen(1.0, 12));
        assert_ne!(day, before);
    }

    #[test]
    fn what_is_touched_is_looked_at_again_when_its_hour_and_its_day_settle() {
        let one = touched("pump-1", "value", HOUR);
        let last = touched("pump-1", "value", HOUR.day().hour(23));
        let both = [one.clone(), touched("pump-2", "value", HOUR)];
        let closing = closings(&both, HOUR.start());
        let due: Vec<_> = closing.iter().map(|(due, all)| (*due, all.len())).collect();
        let after = |hour| settles_at(hour) + SKEW;
        assert_eq!(due, [(after(HOUR), 2), (after(last.hour), 2)]);
        let settled = closings(std::slice::from_ref(&one), settles_at(HOUR));
        assert_eq!(
            settled.into_values().collect::<Vec<_>>(),
            [vec![last.clone()]]
        );
        assert!(closings(&[one], settles_at(last.hour)).is_empty());
    }

    #[test]
    fn work_is_planned_by_device_and_day_and_each_thing_once() {
        let next_day = Hour::new(HOUR.number() + 24);
        let plan = Work::plan([
            touched("b", "value", HOUR),
            touched("a", "value", next_day),
            touched("a", "flow", HOUR),
            touched("a", "value", HOUR),
            touched("a", "value", HOUR),
        ]);
        let days: Vec<_> = plan
            .iter()
            .map(|work| (work.device.as_str(), work.touched().count()))
            .collect();
        assert_eq!(days, [("a", 2), ("a", 1), ("b", 1)]);
        let again = Work::plan(plan.iter().flat_map(Work::touched));
        assert_eq!(again, plan);
    }
}
