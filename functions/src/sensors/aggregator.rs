//! The aggregating function: each minute it works off the log. Every hour that was touched it reads
//! again from raw data, rolls it up by the minute, and compacts it once it is settled; then the
//! settled hours go into their day, and a settled day into its month.
//!
//! Two runs may overlap. Every roll-up is written under the version that was read *before* what it is
//! made of: whoever read older data finds the version gone, and begins anew. So a stored roll-up
//! never knows less than the one before it. Log entries go last, so a crash anywhere leaves them to
//! the next run.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
};

use futures_util::{FutureExt as _, StreamExt as _, future::try_join_all, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, RawRetention, SensorsTable},
        deadline::stop,
        ids::{Random, uuid_v7},
        table::Write,
        telemetry::{self, Invocation, Metrics, TraceContext, Unit},
    },
    sensors::{
        chunk::ChunkError,
        model::{Day, DeviceId, Hour, Metric},
        rules::{
            HourChunks, Lane, RETRY_AFTER, Seen, TRIES, Tier, Touched, Work, expires_at,
            is_day_settled, is_settled, minutes, renewed,
        },
        store::{Entry, NewChunk, Period, SensorStore, StoreError, Stored},
    },
};

/// How long a run works; the next one begins a minute after it did.
const RUN_TIME: SignedDuration = SignedDuration::from_secs(50);

/// Time that a run leaves before it would be stopped, to note what it has not done.
const SPARE_TIME: SignedDuration = SignedDuration::from_secs(20);

/// Log entries taken from a partition at once.
const ENTRIES_AT_ONCE: i32 = 25;

/// Devices worked on at once, each an hour at a time: what bounds the memory.
const DEVICES_AT_ONCE: usize = 12;

/// Writes of one device at once.
const WRITES_AT_ONCE: usize = 8;

/// Time of a run that is left to the backlog, however much is new.
const BACKLOG_TIME: SignedDuration = SignedDuration::from_secs(10);

/// How much the watermark stays behind: longer than a writer takes from reading the clock to having
/// its log entry in the table.
const WRITER_TIME: i64 = 90_000;

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// Raw data, roll-ups and the log.
    pub store: SensorStore,
    /// How long raw readings are kept.
    pub retention: RawRetention,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let table = SensorsTable::from_env()?.as_str().to_owned();
        Ok(Self {
            store: SensorStore::new(Connection::from_env()?.dynamodb(), table),
            retention: RawRetention::from_env()?,
            clock: Clock::system(),
            random: Random::system(),
        })
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Log entries worked off.
    pub entries: usize,
    /// Hours of devices that were looked at.
    pub hours: usize,
    /// Things touched, a metric of an hour each, that are left to the next run.
    pub left: usize,
    /// Things touched that cannot be worked on, and are tried again in a quarter of an hour; and log
    /// entries that cannot be read.
    pub failed: usize,
    /// Seconds that the oldest entry left has been due; 0 if none is left.
    pub lag_seconds: i64,
    /// The same of the backlog.
    pub backlog_seconds: i64,
}

/// A run that could not read or write the log.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be worked off")]
pub struct RunError(#[from] StoreError);

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        Self {
            error_type: "LogUnavailable".into(),
            error_message: error.to_string(),
        }
    }
}

/// Why something touched was not worked off.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("chunk cannot be made")]
    Chunk(#[from] ChunkError),
    #[error("others kept writing the same roll-ups")]
    Contended,
    #[error("the work ended in a panic")]
    Panic,
}

impl WorkError {
    const fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::Chunk(_) | Self::Panic => false,
            Self::Contended => true,
        }
    }
}

/// Works the log off for as long as a run may take.
///
/// # Errors
///
/// [`RunError`] when the log cannot be read or written; the next run does it.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Report, RunError> {
    let now = context.clock.now();
    let stop = stop(&event.context, now, RUN_TIME, SPARE_TIME);
    let trace = TraceContext::resolve(None, None, now, context.random.bytes());
    let invocation = Invocation::begin(Some(&event.context), trace);
    telemetry::scope(invocation, async {
        let report = Box::pin(run(context, stop)).await;
        match &report {
            Ok(report) => tell(context, report),
            Err(error) => tracing::error!(error = telemetry::chain(error), "run ended early"),
        }
        report
    })
    .await
}

fn tell(context: &Context, report: &Report) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let seconds = |seconds: i64| f64::from(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX));
    let mut metrics = Metrics::from_env();
    metrics.put(
        "AggregationLagSeconds",
        Unit::Seconds,
        seconds(report.lag_seconds),
    );
    metrics.put(
        "BacklogLagSeconds",
        Unit::Seconds,
        seconds(report.backlog_seconds),
    );
    metrics.count("AggregatedHours", count(report.hours));
    metrics.count("AggregationFailed", count(report.failed));
    metrics.flush(context.clock.now());
    tracing::info!(
        entries = report.entries,
        hours = report.hours,
        left = report.left,
        failed = report.failed,
        lag_seconds = report.lag_seconds,
        backlog_seconds = report.backlog_seconds,
        "log worked off"
    );
}

/// Works the log off until nothing is due or `stop` has come: what is new first, then the backlog.
///
/// # Errors
///
/// [`RunError`] when the log cannot be read or written.
pub async fn run(context: &Context, stop: Timestamp) -> Result<Report, RunError> {
    let began = context.now();
    let mut report = Report::default();
    let live = lane(context, Lane::Live, stop - BACKLOG_TIME, &mut report).await?;
    let backlog = lane(context, Lane::Backlog, stop, &mut report).await?;
    let since = |due: Option<i64>| due.map_or(0, |due| (context.now() - due).max(0) / 1000);
    report.lag_seconds = since(live);
    report.backlog_seconds = since(backlog);
    let through = (began - WRITER_TIME).min(live.unwrap_or(i64::MAX));
    context.store.put_watermark(through).await?;
    Ok(report)
}

/// Works a lane off; tells when the oldest entry that is left was due.
async fn lane(
    context: &Context,
    lane: Lane,
    stop: Timestamp,
    report: &mut Report,
) -> Result<Option<i64>, StoreError> {
    loop {
        let entries = due(context, lane, ENTRIES_AT_ONCE).await?;
        let (entries, unreadable): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| entry.touched.is_some());
        for entry in &unreadable {
            let Entry { shard, place, .. } = entry;
            tracing::error!(shard, place, "log entry cannot be read");
            context.store.set_aside(entry).await?;
        }
        report.failed += unreadable.len();
        let Some(oldest) = entries.iter().map(|entry| entry.due).min() else {
            if unreadable.is_empty() {
                return Ok(None);
            }
            continue;
        };
        let round = work_off(context, &entries, stop).await;
        report.hours += round.hours;
        report.failed += round.failed.len();
        report.left += round.left.len();
        let is_left = !round.left.is_empty();
        if is_left && round.hours == 0 && round.failed.is_empty() {
            return Ok(Some(oldest));
        }
        put_back(context, &entries, &round).await?;
        context.store.forget(&entries).await?;
        report.entries += entries.len();
        if is_left {
            return Ok(Some(oldest));
        }
        if context.clock.now() >= stop {
            let entries = due(context, lane, 1).await?;
            return Ok(entries.iter().map(|entry| entry.due).min());
        }
    }
}

/// The oldest entries of a lane that are due now, at most `limit` of each partition.
async fn due(context: &Context, lane: Lane, limit: i32) -> Result<Vec<Entry>, StoreError> {
    let now = context.now();
    let shards = lane.shards();
    let shards = shards.map(|shard| context.store.due(shard, now, limit));
    Ok(try_join_all(shards).await?.into_iter().flatten().collect())
}

/// Notes what entries say and a round did not do anew, in the partition that each came from, so that
/// nobody who looks there sees neither the one nor the other.
async fn put_back(context: &Context, entries: &[Entry], round: &Round) -> Result<(), StoreError> {
    let mut shards: BTreeMap<u8, (i64, BTreeSet<&Touched>)> = BTreeMap::new();
    for entry in entries {
        let (due, touched) = shards
            .entry(entry.shard)
            .or_insert((entry.due, BTreeSet::new()));
        *due = entry.due.min(*due);
        touched.extend(entry.touched.iter().flatten());
    }
    let at = context.clock.now();
    let retry_at = at.as_millisecond() + RETRY_AFTER;
    for (shard, (due, touched)) in shards {
        let among = |some: &BTreeSet<Touched>| -> Vec<Touched> {
            let same = touched.iter().filter(|touched| some.contains(touched));
            same.map(|touched| (*touched).clone()).collect()
        };
        let id = uuid_v7(at, context.random.bytes()).simple().to_string();
        context
            .store
            .note(&among(&round.left), due, shard, &id)
            .await?;
        let failed = among(&round.failed);
        context.store.note(&failed, retry_at, shard, &id).await?;
    }
    Ok(())
}

/// What became of the work of some entries.
#[derive(Debug, Default)]
struct Round {
    hours: usize,
    left: BTreeSet<Touched>,
    failed: BTreeSet<Touched>,
}

impl Round {
    fn absorb(&mut self, other: Self) {
        self.hours += other.hours;
        self.left.extend(other.left);
        self.failed.extend(other.failed);
    }

    /// Notes that some of a day's work was not done, and why.
    fn undone(
        &mut self,
        work: &Work,
        touched: impl IntoIterator<Item = Touched>,
        error: &WorkError,
    ) {
        let (device, day) = (work.device.as_str(), work.day.date().to_string());
        let chain = telemetry::chain(error);
        if error.retryable() {
            tracing::warn!(device, day, error = chain, "left to the next run");
            self.left.extend(touched);
        } else {
            tracing::error!(device, day, error = chain, "cannot be aggregated");
            self.failed.extend(touched);
        }
    }
}

/// Works off what entries say, devices side by side, each device's days one after the other, for
/// they share its month.
async fn work_off(context: &Context, entries: &[Entry], stop: Timestamp) -> Round {
    let touched = entries.iter().filter_map(|entry| entry.touched.clone());
    let work = Work::plan(touched.flatten());
    let devices: Vec<Vec<Work>> = work
        .chunk_by(|a, b| a.device == b.device)
        .map(<[Work]>::to_vec)
        .collect();
    let mut rounds = stream::iter(devices)
        .map(|days| Box::pin(device(context, days, stop)))
        .buffer_unordered(DEVICES_AT_ONCE);
    let mut whole = Round::default();
    while let Some(round) = rounds.next().await {
        whole.absorb(round);
    }
    whole
}

async fn device(context: &Context, days: Vec<Work>, stop: Timestamp) -> Round {
    let mut whole = Round::default();
    for work in days {
        let round = AssertUnwindSafe(Box::pin(day(context, &work, stop))).catch_unwind();
        match round.await {
            Ok(round) => whole.absorb(round),
            Err(_) => whole.undone(&work, work.touched(), &WorkError::Panic),
        }
    }
    whole
}

/// Brings the roll-ups of a device's day in line with its raw data: its hours one after the other,
/// then the settled ones into the day and, once that is settled, the day into its month.
async fn day(context: &Context, work: &Work, stop: Timestamp) -> Round {
    let mut round = Round::default();
    let mut settled: BTreeMap<Metric, Vec<Hour>> = BTreeMap::new();
    for (&hour, metrics) in &work.hours {
        let all = || touched_in(work, hour, metrics.iter().cloned());
        if context.clock.now() >= stop {
            round.left.extend(all());
            continue;
        }
        match with_tries(context, || rolled_hour(context, work, hour, metrics, stop)).await {
            Ok(done) => {
                round.hours += 1;
                round
                    .left
                    .extend(touched_in(work, hour, done.left.into_iter().map(Some)));
                if done.is_settled {
                    for metric in done.metrics {
                        settled.entry(metric).or_default().push(hour);
                    }
                }
            }
            Err(error) => round.undone(work, all(), &error),
        }
    }
    let days = stream::iter(settled).map(|(metric, hours)| async move {
        let ended = if context.clock.now() >= stop {
            Ok(false)
        } else {
            let rolled = || rolled_day(context, &work.device, work.day, &metric, &hours);
            with_tries(context, rolled).await.map(|()| true)
        };
        (metric, hours, ended)
    });
    let mut days = days.map(Box::pin).buffer_unordered(WRITES_AT_ONCE);
    while let Some((metric, hours, ended)) = days.next().await {
        let touched = hours
            .into_iter()
            .flat_map(|hour| touched_in(work, hour, [Some(metric.clone())]));
        match ended {
            Ok(true) => {}
            Ok(false) => round.left.extend(touched),
            Err(error) => round.undone(work, touched, &error),
        }
    }
    round
}

/// What is touched in an hour: each of `metrics` that the work names, and whatever the hour has if
/// the work says so and does not name it.
fn touched_in(
    work: &Work,
    hour: Hour,
    metrics: impl IntoIterator<Item = Option<Metric>>,
) -> BTreeSet<Touched> {
    let named = work.hours.get(&hour);
    let whatever = named.is_some_and(|named| named.contains(&None));
    let metrics = metrics.into_iter().map(|metric| {
        let is_named = named.is_some_and(|named| named.contains(&metric));
        if is_named || !whatever { metric } else { None }
    });
    metrics
        .map(|metric| Touched {
            device: work.device.clone(),
            metric,
            hour,
        })
        .collect()
}

/// Begins anew after somebody else's write came between, a few times; `None` is such a write.
async fn with_tries<T, F: Future<Output = Result<Option<T>, WorkError>>>(
    context: &Context,
    attempt: impl Fn() -> F,
) -> Result<T, WorkError> {
    for round in 0..TRIES {
        if let Some(done) = Box::pin(attempt()).await? {
            return Ok(done);
        }
        let pause = u64::from(context.random.up_to(20 << round));
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }
    Err(WorkError::Contended)
}

/// An hour that was read again.
#[derive(Debug)]
struct RolledHour {
    /// The metrics whose minutes are in line with the raw data.
    metrics: Vec<Metric>,
    /// Those for which there was no time.
    left: Vec<Metric>,
    is_settled: bool,
}

/// Rolls an hour up by the minute, and compacts it if it is settled.
async fn rolled_hour(
    context: &Context,
    work: &Work,
    hour: Hour,
    metrics: &BTreeSet<Option<Metric>>,
    stop: Timestamp,
) -> Result<Option<RolledHour>, WorkError> {
    let now = context.now();
    let (store, device) = (&context.store, &work.device);
    let mut wanted: BTreeSet<Metric> = metrics.iter().flatten().cloned().collect();
    if metrics.contains(&None) {
        let raw = store.hour_chunks(device, hour, now).await?;
        wanted.extend(
            raw.union
                .metrics()
                .filter_map(|(name, _)| name.parse().ok()),
        );
    }
    let period = Period::Minutes(hour);
    let keys: Vec<_> = wanted.iter().map(|metric| (metric, period)).collect();
    let stored = store.rollups_of(device, &keys).await?;
    let raw = store.hour_chunks(device, hour, now).await?;

    let mut stored: BTreeMap<&str, (&Metric, Stored)> = wanted
        .iter()
        .zip(stored)
        .map(|(metric, stored)| (metric.as_str(), (metric, stored)))
        .collect();
    let mut changed = Vec::new();
    for ((name, rows), (_, again)) in raw.union.metrics().zip(raw.union.metrics()) {
        if let Some((metric, stored)) = stored.remove(name) {
            let next = Stored {
                rollups: renewed(&stored.rollups, &minutes(hour, rows)),
                seen: Seen::readings(again),
                version: stored.version,
            };
            if next != stored {
                changed.push((metric, next));
            }
        }
    }
    let writes = stream::iter(changed).map(|(metric, next)| async move {
        if context.clock.now() >= stop {
            return Ok((metric, None));
        }
        let write = replace(store, device, metric, period, next).await?;
        Ok::<_, StoreError>((metric, Some(write)))
    });
    let mut writes = writes.map(Box::pin).buffer_unordered(WRITES_AT_ONCE);
    let mut left = BTreeSet::new();
    let mut is_conflict = false;
    while let Some(write) = writes.next().await {
        match write? {
            (metric, None) => {
                left.insert(metric.clone());
            }
            (_, Some(write)) => is_conflict |= write == Write::Conflict,
        }
    }
    drop(writes);
    let is_settled = is_settled(hour, now);
    if is_settled && raw.needs_compaction() {
        is_conflict |= compacted(context, device, &raw, now).await? == Write::Conflict;
    }
    if is_conflict {
        return Ok(None);
    }
    Ok(Some(RolledHour {
        metrics: wanted.difference(&left).cloned().collect(),
        left: left.into_iter().collect(),
        is_settled,
    }))
}

/// Puts settled hours of a series into their day and, once that is settled, the day into its month.
async fn rolled_day(
    context: &Context,
    device: &DeviceId,
    day: Day,
    metric: &Metric,
    hours: &[Hour],
) -> Result<Option<()>, WorkError> {
    let store = &context.store;
    let (in_month, in_day) = (Period::Days(day), Period::Hours(day));
    let month = if is_day_settled(day, context.now()) {
        Some(store.rollups(device, metric, in_month).await?)
    } else {
        None
    };
    let stored = store.rollups(device, metric, in_day).await?;
    let keys: Vec<_> = hours
        .iter()
        .map(|&hour| (metric, Period::Minutes(hour)))
        .collect();
    let minutes = store.rollups_of(device, &keys).await?;

    let mut next = stored.clone();
    for (hour, minutes) in hours.iter().zip(minutes) {
        if let Some(whole) = minutes.rollups.total() {
            next.rollups.set(hour.of_day(), whole);
            next.seen.set(hour.of_day(), &minutes.seen);
        }
    }
    let (whole, seen) = (next.rollups.total(), next.seen.clone());
    if next != stored && replace(store, device, metric, in_day, next).await? == Write::Conflict {
        return Ok(None);
    }
    if let (Some(stored), Some(whole)) = (month, whole) {
        let mut next = stored.clone();
        let slot = day.date().day().unsigned_abs();
        next.rollups.set(slot, whole);
        next.seen.set(slot, &seen);
        if next != stored
            && replace(store, device, metric, in_month, next).await? == Write::Conflict
        {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

/// Writes roll-ups in place of those whose version they have.
async fn replace(
    store: &SensorStore,
    device: &DeviceId,
    metric: &Metric,
    period: Period,
    mut next: Stored,
) -> Result<Write, StoreError> {
    next.version += 1;
    store.put_rollups(device, metric, period, &next).await
}

/// Writes a settled hour's readings into one kept chunk. An hour too large for one keeps its chunks,
/// and what only chunks that soon expire have is written again to be kept.
async fn compacted(
    context: &Context,
    device: &DeviceId,
    chunks: &HourChunks,
    now: i64,
) -> Result<Write, WorkError> {
    let hour = chunks.union.hour();
    let retention = context.retention.milliseconds();
    let mut frames = chunks.union.encode()?;
    if frames.len() == 1 {
        let frame = frames.remove(0);
        let expires_at = expires_at(&chunks.union, true, retention, now);
        let put = context
            .store
            .put_compacted(device, hour, frame, expires_at, chunks.version());
        return Ok(put.await?);
    }
    let rest = chunks.not_kept()?;
    let expires_at = expires_at(&rest, true, retention, now);
    let kept = rest.encode()?.into_iter().map(|frame| NewChunk {
        device: device.clone(),
        hour,
        tier: Tier::Late,
        kept: true,
        expires_at,
        frame,
    });
    context.store.put_chunks(kept.collect()).await?;
    Ok(Write::Done)
}
