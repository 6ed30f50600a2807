//! The one file that knows the `Sensors` table's keys and expressions for readings and roll-ups.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | chunk of a device and hour, compacted | `RAW#{device}#{date}` | `C#{hh}`, or `C#{hh}#{name}` where one item is too small |
//! | chunk of a late hour | `RAW#{device}#{date}` | `L#{hh}#{name}` |
//! | chunk of an open hour | `RAW#{device}#{date}` | `S#{hh}#{name}` |
//! | log entry: what one run touched | `DIRTY#{shard}` | `{due}#{id}` |
//! | log entry that could not be read | `DIRTY#UNREADABLE` | `{shard}#{due}#{id}` |
//! | the 60 minutes of an hour | `AGG#{device}#{metric}` | `M#{date}T{hh}` |
//! | the 24 hours of a day | `AGG#{device}#{metric}` | `H#{date}` |
//! | the days of a month | `AGG#{device}#{metric}` | `D#{yyyy-mm}` |
//! | how far the aggregator came | `STATE` | `WATERMARK` |
//!
//! A settled day's raw data is one Query, `sk < "S"`: the chunks written while its hours were open
//! lie behind and are only asked for where an hour was not compacted.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, ReturnConsumedCapacity},
};
use jiff::civil::Date;

use super::{
    chunk::{self, Chunk, ChunkError},
    model::{Day, DeviceId, Hour, Metric},
    rollup::{Rollups, RollupsError},
    rules::{Found, HourChunks, Seen, Tier, Touched, is_day_settled},
};
use crate::{
    frame::{Column, Frame, FrameError, Limits, TextColumn},
    platform::table::{
        Item, Meter, Table, TableError, Write, bytes, is_condition_failure, key, number, parsed,
        string, take_bytes, text,
    },
};

/// Most things touched that one log entry names: some 10 KB, and a part of one run's work.
pub const MOST_TOUCHED: usize = 500;

/// A failed call on the sensors table, or an item in it that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The call failed, or the item has another form.
    #[error("sensors table: {0}")]
    Table(#[from] TableError),
    /// A chunk cannot be read or made.
    #[error("chunk of {item} cannot be used")]
    Chunk {
        /// The item.
        item: String,
        /// What is wrong with it.
        #[source]
        source: ChunkError,
    },
    /// Roll-ups cannot be read or made.
    #[error("roll-ups {item} cannot be used")]
    Rollups {
        /// The item.
        item: String,
        /// What is wrong with them.
        #[source]
        source: RollupsError,
    },
    /// A log entry cannot be read or made.
    #[error("log entry cannot be used")]
    Log(#[source] FrameError),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Table(error) if error.retryable())
    }
}

/// A chunk to be written.
#[derive(Debug, Clone)]
pub struct NewChunk {
    /// The device.
    pub device: DeviceId,
    /// The hour.
    pub hour: Hour,
    /// Where it goes.
    pub tier: Tier,
    /// Whether it is kept for the whole retention.
    pub kept: bool,
    /// When it expires, in milliseconds of Unix time.
    pub expires_at: i64,
    /// Its readings.
    pub frame: Vec<u8>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its partition.
    pub shard: u8,
    /// Its place there.
    pub place: String,
    /// When it is due, in milliseconds of Unix time.
    pub due: i64,
    /// What was touched; `None` if that cannot be read.
    pub touched: Option<Vec<Touched>>,
    frame: Vec<u8>,
}

/// Which roll-ups of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// The minutes of an hour.
    Minutes(Hour),
    /// The hours of a day.
    Hours(Day),
    /// The days of the month that holds a day.
    Days(Day),
}

impl Period {
    fn sk(self) -> String {
        match self {
            Self::Minutes(hour) => format!("M#{}T{:02}", hour.day().date(), hour.of_day()),
            Self::Hours(day) => format!("H#{}", day.date()),
            Self::Days(day) => format!("D#{}", day.date().strftime("%Y-%m")),
        }
    }
}

/// Roll-ups as stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// The slots.
    pub rollups: Rollups,
    /// What they were made of.
    pub seen: Seen,
    /// Their version, 0 if they are not stored yet.
    pub version: u64,
}

/// Readings and roll-ups in the sensors table.
#[derive(Debug)]
pub struct SensorStore {
    table: Table,
}

fn raw_pk(device: &DeviceId, day: Day) -> String {
    format!("RAW#{device}#{}", day.date())
}

fn chunk_sk(tier: Tier, hour: Hour, name: &str) -> String {
    let (letter, hh) = (letter(tier), hour.of_day());
    if name.is_empty() {
        format!("{letter}#{hh:02}")
    } else {
        format!("{letter}#{hh:02}#{name}")
    }
}

const fn letter(tier: Tier) -> char {
    match tier {
        Tier::Compacted => 'C',
        Tier::Late => 'L',
        Tier::Open => 'S',
    }
}

/// The tier and the hour of the day that a sort key names.
fn tier_and_hour(sk: &str) -> Option<(Tier, u8)> {
    let (letter, rest) = sk.split_once('#')?;
    let tier = match letter {
        "C" => Tier::Compacted,
        "L" => Tier::Late,
        "S" => Tier::Open,
        _ => return None,
    };
    let hour = rest.get(..2)?.parse().ok().filter(|hour| *hour < 24)?;
    Some((tier, hour))
}

fn series_pk(device: &DeviceId, metric: &Metric) -> String {
    format!("AGG#{device}#{metric}")
}

fn log_pk(shard: u8) -> String {
    format!("DIRTY#{shard}")
}

fn due_text(due: i64) -> String {
    format!("{:015}", due.max(0))
}

fn flag(item: &Item, attribute: &str) -> bool {
    item.get(attribute)
        .and_then(|value| value.as_bool().ok())
        .copied()
        .unwrap_or(false)
}

fn date_after<'s>(sk: &'s str, letter: &str) -> Option<&'s str> {
    sk.strip_prefix(letter)?.strip_prefix('#')
}

impl SensorStore {
    /// The store on `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.table.meter()
    }

    /// Writes chunks under names that are hashes of their content: once more changes nothing. Some
    /// may be written although the call fails.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_chunks(&self, chunks: Vec<NewChunk>) -> Result<(), StoreError> {
        let mut items = BTreeMap::new();
        for new in chunks {
            let name = chunk::name(&new.frame);
            let place = (
                raw_pk(&new.device, new.hour.day()),
                chunk_sk(new.tier, new.hour, &name),
            );
            let mut item = key(place.0.clone(), place.1.clone());
            item.insert("frame".into(), bytes(new.frame));
            item.insert("expiration".into(), number(new.expires_at.div_euclid(1000)));
            if new.kept {
                item.insert("kept".into(), AttributeValue::Bool(true));
            }
            items.insert(place, item);
        }
        Ok(self.table.put_many(items.into_values().collect()).await?)
    }

    /// Writes the compacted chunk of an hour if the stored one still has version `expected`, 0 for
    /// none. A conflict means that the hour has to be looked at anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_compacted(
        &self,
        device: &DeviceId,
        hour: Hour,
        frame: Vec<u8>,
        expires_at: i64,
        expected: u64,
    ) -> Result<Write, StoreError> {
        let mut item = key(
            raw_pk(device, hour.day()),
            chunk_sk(Tier::Compacted, hour, ""),
        );
        item.insert("frame".into(), bytes(frame));
        item.insert("expiration".into(), number(expires_at.div_euclid(1000)));
        item.insert("kept".into(), AttributeValue::Bool(true));
        item.insert("version".into(), number(expected + 1));
        Ok(self.table.put_version(item, expected).await?)
    }

    /// All that the table has of an hour, strongly consistent.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn hour_chunks(
        &self,
        device: &DeviceId,
        hour: Hour,
        now: i64,
    ) -> Result<HourChunks, StoreError> {
        let mut found = Vec::new();
        if now >= hour.end() {
            for tier in [Tier::Compacted, Tier::Late] {
                found.extend(self.chunks_between(device, hour, hour, tier).await?);
            }
        }
        if !found.iter().any(is_compacted) {
            found.extend(self.chunks_between(device, hour, hour, Tier::Open).await?);
        }
        union(device, hour, found.into_iter().map(|(_, found, _)| found))
    }

    /// All that the table has of a day's hours; hours without readings are left out. Without a time
    /// the read is strongly consistent and complete. With one, in milliseconds of Unix time, it is
    /// for showing: what has expired by then is left out though not yet removed, and a settled day,
    /// which hardly changes, is read at half the price, a second behind at times.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn day_chunks(
        &self,
        device: &DeviceId,
        day: Day,
        shown_at: Option<i64>,
    ) -> Result<Vec<HourChunks>, StoreError> {
        let consistent = shown_at.is_none_or(|now| !is_day_settled(day, now));
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :day AND sk < :open")
            .expression_attribute_values(":day", text(raw_pk(device, day)))
            .expression_attribute_values(":open", text("S"))
            .consistent_read(consistent);
        let mut found = self.chunks(device, day, query).await?;
        let compacted: Vec<Hour> = found
            .iter()
            .filter(|chunk| is_compacted(chunk))
            .map(|(hour, ..)| *hour)
            .collect();
        let mut open: Option<(Hour, Hour)> = None;
        for number in 0..=24_u8 {
            let hour = day.hour(number);
            let is_gap = number < 24 && !compacted.contains(&hour);
            match (is_gap, open) {
                (true, None) => open = Some((hour, hour)),
                (true, Some((first, _))) => open = Some((first, hour)),
                (false, Some((first, last))) => {
                    found.extend(self.chunks_between(device, first, last, Tier::Open).await?);
                    open = None;
                }
                (false, None) => {}
            }
        }
        let mut hours: BTreeMap<Hour, Vec<Found>> = BTreeMap::new();
        for (hour, chunk, expires_at) in found {
            if shown_at.is_none_or(|now| expires_at > now) {
                hours.entry(hour).or_default().push(chunk);
            }
        }
        hours
            .into_iter()
            .map(|(hour, found)| union(device, hour, found))
            .collect()
    }

    async fn chunks_between(
        &self,
        device: &DeviceId,
        first: Hour,
        last: Hour,
        tier: Tier,
    ) -> Result<Vec<(Hour, Found, i64)>, StoreError> {
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :day AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":day", text(raw_pk(device, first.day())))
            .expression_attribute_values(":from", text(chunk_sk(tier, first, "")))
            .expression_attribute_values(":to", text(chunk_sk(tier, last, "~")))
            .consistent_read(true);
        self.chunks(device, first.day(), query).await
    }

    async fn chunks(
        &self,
        device: &DeviceId,
        day: Day,
        query: aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder,
    ) -> Result<Vec<(Hour, Found, i64)>, StoreError> {
        let mut chunks = Vec::new();
        for mut item in self.table.pages(query).await? {
            let of = || raw_pk(device, day);
            let sk = string(&item, of(), "sk")?;
            let (tier, hour) =
                tier_and_hour(sk).ok_or_else(|| TableError::malformed(of(), "sk"))?;
            let hour = day.hour(hour);
            let version = match item.get("version") {
                Some(_) => parsed(&item, of(), "version")?,
                None => 0,
            };
            let expires_at = parsed::<i64>(&item, of(), "expiration")?.saturating_mul(1000);
            let kept = flag(&item, "kept");
            let frame = take_bytes(&mut item, of(), "frame")?;
            let mut chunk = Chunk::new(hour);
            chunk.absorb_frame(&frame).map_err(unusable(device, hour))?;
            chunk.settle();
            let found = Found {
                tier,
                kept,
                version,
                chunk,
            };
            chunks.push((hour, found, expires_at));
        }
        Ok(chunks)
    }

    /// Notes what was touched, in as many log entries as it takes, `id` naming them in partition
    /// `shard` of a [`Lane`](super::rules::Lane). They are worked off once they are due, in milliseconds of Unix time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails; some entries may be written.
    pub async fn note(
        &self,
        touched: &[Touched],
        due: i64,
        shard: u8,
        id: &str,
    ) -> Result<(), StoreError> {
        let mut items = Vec::new();
        for (part, touched) in touched.chunks(MOST_TOUCHED).enumerate() {
            let mut item = key(log_pk(shard), format!("{}#{id}-{part}", due_text(due)));
            let frame = touched_frame(touched).map_err(StoreError::Log)?;
            item.insert("frame".into(), bytes(frame));
            items.push(item);
        }
        match items.pop() {
            Some(only) if items.is_empty() => self.table.put(only).await?,
            Some(last) => {
                items.push(last);
                self.table.put_many(items).await?;
            }
            None => {}
        }
        Ok(())
    }

    /// The entries of a partition that are due at `now`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn due(&self, shard: u8, now: i64, limit: i32) -> Result<Vec<Entry>, StoreError> {
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :shard AND sk < :now")
            .expression_attribute_values(":shard", text(log_pk(shard)))
            .expression_attribute_values(":now", text(due_text(now.saturating_add(1))))
            .consistent_read(true)
            .limit(limit);
        let (items, _) = self.table.page(query).await?;
        let mut entries = Vec::with_capacity(items.len());
        for mut item in items {
            let place = string(&item, log_pk(shard), "sk")?.to_owned();
            let due = place
                .split_once('#')
                .and_then(|(due, _)| due.parse().ok())
                .unwrap_or(now);
            let frame = take_bytes(&mut item, log_pk(shard), "frame").unwrap_or_default();
            entries.push(Entry {
                shard,
                place,
                due,
                touched: touched_from(&frame),
                frame,
            });
        }
        Ok(entries)
    }

    /// Moves an entry that cannot be read out of the way of the others, for somebody to look at.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails; the entry may be in both places.
    pub async fn set_aside(&self, entry: &Entry) -> Result<(), StoreError> {
        let place = format!("{}#{}", entry.shard, entry.place);
        let mut item = key("DIRTY#UNREADABLE".into(), place);
        item.insert("frame".into(), bytes(entry.frame.clone()));
        self.table.put(item).await?;
        self.forget(std::slice::from_ref(entry)).await
    }

    /// Removes entries that were worked off.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails; some may be removed.
    pub async fn forget(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let keys = entries
            .iter()
            .map(|entry| key(log_pk(entry.shard), entry.place.clone()))
            .collect();
        Ok(self.table.delete_many(keys).await?)
    }

    /// Roll-ups of a series, strongly consistent; none and version 0 where nothing is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the item cannot be read.
    pub async fn rollups(
        &self,
        device: &DeviceId,
        metric: &Metric,
        period: Period,
    ) -> Result<Stored, StoreError> {
        let (pk, sk) = (series_pk(device, metric), period.sk());
        match self.table.get(key(pk.clone(), sk)).await? {
            None => Ok(Stored::default()),
            Some(mut item) => stored_from(&mut item, &pk),
        }
    }

    /// Roll-ups of a device's series, strongly consistent, in the order in which they were asked for;
    /// none and version 0 where nothing is stored.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn rollups_of(
        &self,
        device: &DeviceId,
        wanted: &[(&Metric, Period)],
    ) -> Result<Vec<Stored>, StoreError> {
        let place = |(metric, period): &(&Metric, Period)| (series_pk(device, metric), period.sk());
        let keys = wanted
            .iter()
            .map(place)
            .map(|(pk, sk)| key(pk, sk))
            .collect();
        let mut found = HashMap::new();
        for mut item in self.table.get_many(keys).await? {
            let pk = string(&item, device, "pk")?.to_owned();
            let sk = string(&item, &pk, "sk")?.to_owned();
            let stored = stored_from(&mut item, &pk)?;
            found.insert((pk, sk), stored);
        }
        Ok(wanted
            .iter()
            .map(|wanted| found.remove(&place(wanted)).unwrap_or_default())
            .collect())
    }

    /// Replaces roll-ups of a series if the stored ones still have the version before, 0 for none.
    ///
    /// The SDK may send the write twice and see the second fail on the first's success: the stored
    /// roll-ups are then those that were to be written, and the write is done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn put_rollups(
        &self,
        device: &DeviceId,
        metric: &Metric,
        period: Period,
        next: &Stored,
    ) -> Result<Write, StoreError> {
        let (pk, sk) = (series_pk(device, metric), period.sk());
        let frame = next.rollups.encode();
        let mut item = key(pk, sk);
        item.insert("frame".into(), bytes(frame));
        item.insert("seen".into(), bytes(next.seen.to_bytes()));
        item.insert("version".into(), number(next.version));
        let expected = next.version.saturating_sub(1);
        match self.table.put_version(item, expected).await? {
            Write::Conflict if self.rollups(device, metric, period).await? == *next => {
                Ok(Write::Done)
            }
            write => Ok(write),
        }
    }

    /// The minutes of the hours from `from` to `to`, both inclusive: one Query.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn minutes(
        &self,
        device: &DeviceId,
        metric: &Metric,
        from: Hour,
        to: Hour,
    ) -> Result<Vec<(Hour, Rollups)>, StoreError> {
        let hour = |sk: &str| {
            let (date, hh) = date_after(sk, "M")?.split_once('T')?;
            let hh = hh.parse().ok().filter(|hh| *hh < 24)?;
            Some(Day::from_date(Date::from_str(date).ok()?).hour(hh))
        };
        let (from, to) = (Period::Minutes(from), Period::Minutes(to));
        self.periods(device, metric, from, to, hour).await
    }

    /// The hours of the days from `from` to `to`, both inclusive, by the number of the hour.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn hours(
        &self,
        device: &DeviceId,
        metric: &Metric,
        from: Day,
        to: Day,
    ) -> Result<Vec<(Day, Rollups)>, StoreError> {
        let day = |sk: &str| {
            let date = Date::from_str(date_after(sk, "H")?).ok()?;
            Some(Day::from_date(date))
        };
        let (from, to) = (Period::Hours(from), Period::Hours(to));
        self.periods(device, metric, from, to, day).await
    }

    /// The days of the months from that of `from` to that of `to`, both inclusive, by the day of the
    /// month, each with the first day of its month.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn days(
        &self,
        device: &DeviceId,
        metric: &Metric,
        from: Day,
        to: Day,
    ) -> Result<Vec<(Day, Rollups)>, StoreError> {
        let month = |sk: &str| {
            let date = Date::from_str(&format!("{}-01", date_after(sk, "D")?)).ok()?;
            Some(Day::from_date(date))
        };
        let (from, to) = (Period::Days(from), Period::Days(to));
        self.periods(device, metric, from, to, month).await
    }

    async fn periods<T>(
        &self,
        device: &DeviceId,
        metric: &Metric,
        from: Period,
        to: Period,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<(T, Rollups)>, StoreError> {
        let pk = series_pk(device, metric);
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :series AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":series", text(&pk))
            .expression_attribute_values(":from", text(from.sk()))
            .expression_attribute_values(":to", text(to.sk()));
        let mut periods = Vec::new();
        for mut item in self.table.pages(query).await? {
            let period =
                read(string(&item, &pk, "sk")?).ok_or_else(|| TableError::malformed(&pk, "sk"))?;
            periods.push((period, stored_from(&mut item, &pk)?.rollups));
        }
        Ok(periods)
    }

    /// The time up to which everything stored has been worked off, in milliseconds of Unix time;
    /// `None` before the aggregator's first run.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the item cannot be read.
    pub async fn watermark(&self) -> Result<Option<i64>, StoreError> {
        let item = self.table.get(watermark_key()).await?;
        let at = item.map(|item| parsed(&item, "watermark", "at"));
        Ok(at.transpose()?)
    }

    /// Moves the watermark on; one that is further already stays.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_watermark(&self, at: i64) -> Result<(), StoreError> {
        let mut item = watermark_key();
        item.insert("at".into(), number(at));
        let put = self
            .table
            .client()
            .put_item()
            .table_name(self.table.name())
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR #at < :at")
            .expression_attribute_names("#at", "at")
            .expression_attribute_values(":at", number(at))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match put.send().await {
            Ok(out) => {
                self.meter().count_write(out.consumed_capacity());
                Ok(())
            }
            Err(error) if is_condition_failure(&error) => Ok(()),
            Err(error) => Err(TableError::of("PutItem")(error).into()),
        }
    }
}

fn watermark_key() -> Item {
    key("STATE".into(), "WATERMARK".into())
}

fn is_compacted((_, found, _): &(Hour, Found, i64)) -> bool {
    found.tier == Tier::Compacted
}

fn unusable(device: &DeviceId, hour: Hour) -> impl FnOnce(ChunkError) -> StoreError {
    let item = raw_pk(device, hour.day());
    move |source| StoreError::Chunk { item, source }
}

fn union(
    device: &DeviceId,
    hour: Hour,
    found: impl IntoIterator<Item = Found>,
) -> Result<HourChunks, StoreError> {
    HourChunks::of(hour, found.into_iter().collect()).map_err(unusable(device, hour))
}

fn stored_from(item: &mut Item, pk: &str) -> Result<Stored, StoreError> {
    let frame = take_bytes(item, pk, "frame")?;
    Ok(Stored {
        rollups: Rollups::decode(&frame).map_err(|source| StoreError::Rollups {
            item: pk.to_owned(),
            source,
        })?,
        seen: Seen::from_bytes(&take_bytes(item, pk, "seen")?)
            .ok_or_else(|| TableError::malformed(pk, "seen"))?,
        version: parsed(item, pk, "version")?,
    })
}

fn touched_frame(touched: &[Touched]) -> Result<Vec<u8>, FrameError> {
    let devices = touched.iter().map(|touched| touched.device.as_str());
    let metrics = touched
        .iter()
        .map(|touched| touched.metric.as_ref().map_or("", Metric::as_str));
    let hours = touched
        .iter()
        .map(|touched| touched.hour.number())
        .collect();
    Frame::from_columns([
        ("device", Column::Text(TextColumn::try_from_cells(devices)?)),
        ("metric", Column::Text(TextColumn::try_from_cells(metrics)?)),
        ("hour", Column::Int(hours)),
    ])?
    .encode()
}

fn touched_from(frame: &[u8]) -> Option<Vec<Touched>> {
    let frame = Frame::decode(frame, &Limits::default()).ok()?;
    let (devices, metrics) = (frame.texts("device").ok()?, frame.texts("metric").ok()?);
    let hours = frame.ints("hour").ok()?;
    let rows = devices.iter().zip(metrics.iter()).zip(hours);
    rows.map(|((device, metric), &hour)| {
        let metric = match metric {
            "" => None,
            name => Some(name.parse().ok()?),
        };
        Some(Touched {
            device: device.parse().ok()?,
            metric,
            hour: Hour::new(hour),
        })
    })
    .collect()
}
