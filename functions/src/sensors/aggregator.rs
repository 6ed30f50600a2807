//! The aggregating function: each minute it works off the log. For every device and day that was
//! touched it reads the raw data again, rolls it up by minute and, where the hours and the day are
//! settled, by hour and day, and compacts settled hours.
//!
//! Two runs may overlap. Every roll-up is written under the version that was read *before* its raw
//! data: whoever read older data finds the version gone, and begins anew. So a stored roll-up never
//! knows less than the one before it. Log entries go last, so a crash anywhere leaves them to the
//! next run.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, future::try_join_all, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, RawRetention, SensorsTable},
        ids::{Random, uuid_v7},
        table::Write,
        telemetry::{self, Invocation, Metrics, TraceContext, Unit},
    },
    sensors::{
        chunk::ChunkError,
        model::{DeviceId, Hour, Metric},
        rules::{
            HourChunks, RETRY_AFTER, Seen, TRIES, Tier, Touched, Work, expires_at, is_day_settled,
            is_settled, minutes, renewed,
        },
        store::{Entry, NewChunk, Period, SHARDS, SensorStore, StoreError, Stored},
    },
};

/// How long a run works; the next one begins a minute after it did.
const RUN_TIME: SignedDuration = SignedDuration::from_secs(50);

/// Time that a run leaves before it would be stopped, to note what it has not done.
const SPARE_TIME: SignedDuration = SignedDuration::from_secs(20);

/// Log entries taken from a partition at once.
const ENTRIES_AT_ONCE: i32 = 25;

/// Devices worked on at once.
const DEVICES_AT_ONCE: usize = 16;

/// Hours of a day from which on the day is read as a whole.
const MANY_HOURS: usize = 3;

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
    /// Days of devices that were looked at.
    pub days: usize,
    /// Days of devices that are left to the next run.
    pub left: usize,
    /// Days of devices that cannot be worked on, and are tried again in a quarter of an hour.
    pub failed: usize,
    /// Seconds that the oldest entry left has been due; 0 if none is left.
    pub lag_seconds: i64,
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

/// Why a device's day was not worked off.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("chunk cannot be made")]
    Chunk(#[from] ChunkError),
    #[error("others kept writing the same roll-ups")]
    Contended,
}

impl WorkError {
    const fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            Self::Chunk(_) => false,
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
    let stop = i64::try_from(event.context.deadline)
        .ok()
        .and_then(|deadline| Timestamp::from_millisecond(deadline).ok())
        .map_or(now + RUN_TIME, |deadline| {
            (now + RUN_TIME).min(deadline - SPARE_TIME)
        });
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
    let mut metrics = Metrics::from_env();
    let lag = u32::try_from(report.lag_seconds.max(0)).unwrap_or(u32::MAX);
    metrics.put("AggregationLagSeconds", Unit::Seconds, f64::from(lag));
    metrics.count("AggregatedDays", count(report.days));
    metrics.count("AggregationFailed", count(report.failed));
    metrics.flush(context.clock.now());
    tracing::info!(
        entries = report.entries,
        days = report.days,
        left = report.left,
        failed = report.failed,
        lag_seconds = report.lag_seconds,
        "log worked off"
    );
}

/// Works the log off until nothing is due or `stop` has come.
///
/// # Errors
///
/// [`RunError`] when the log cannot be read or written.
pub async fn run(context: &Context, stop: Timestamp) -> Result<Report, RunError> {
    let began = context.now();
    let mut report = Report::default();
    let oldest = loop {
        let entries = due(context, ENTRIES_AT_ONCE).await?;
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
            break None;
        };
        let round = work_off(context, &entries, stop).await;
        report.days += round.days;
        report.failed += round.failed.len();
        report.left = round.left.len();
        if round.days == 0 && round.failed.is_empty() {
            break Some(oldest);
        }
        put_back(context, round.left, oldest).await?;
        put_back(context, round.failed, context.now() + RETRY_AFTER).await?;
        context.store.forget(&entries).await?;
        report.entries += entries.len();
        if report.left > 0 {
            break Some(oldest);
        }
        if context.clock.now() >= stop {
            let entries = due(context, 1).await?;
            break entries.iter().map(|entry| entry.due).min();
        }
    };
    report.lag_seconds = oldest.map_or(0, |due| (context.now() - due).max(0) / 1000);
    let through = (began - WRITER_TIME).min(oldest.unwrap_or(i64::MAX));
    context.store.put_watermark(through).await?;
    Ok(report)
}

/// The oldest entries that are due now, at most `limit` of each partition.
async fn due(context: &Context, limit: i32) -> Result<Vec<Entry>, StoreError> {
    let now = context.now();
    let shards = (0..SHARDS).map(|shard| context.store.due(shard, now, limit));
    Ok(try_join_all(shards).await?.into_iter().flatten().collect())
}

/// Notes work anew, so that its old entries can go.
async fn put_back(context: &Context, work: Vec<Work>, due: i64) -> Result<(), StoreError> {
    let touched: Vec<Touched> = work.iter().flat_map(Work::touched).collect();
    let at = context.clock.now();
    let id = uuid_v7(at, context.random.bytes()).simple().to_string();
    let shard = context.random.bytes::<1>()[0] % SHARDS;
    context.store.note(&touched, due, shard, &id).await
}

/// What became of the work of some entries.
#[derive(Debug, Default)]
struct Round {
    days: usize,
    left: Vec<Work>,
    failed: Vec<Work>,
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
        whole.days += round.days;
        whole.left.extend(round.left);
        whole.failed.extend(round.failed);
    }
    whole
}

async fn device(context: &Context, days: Vec<Work>, stop: Timestamp) -> Round {
    let mut round = Round::default();
    for work in days {
        if context.clock.now() >= stop {
            round.left.push(work);
            continue;
        }
        match day(context, &work).await {
            Ok(()) => round.days += 1,
            Err(error) => {
                let device = work.device.as_str();
                let day = work.day.date().to_string();
                let chain = telemetry::chain(&error);
                if error.retryable() {
                    tracing::warn!(device, day, error = chain, "day is left to the next run");
                    round.left.push(work);
                } else {
                    tracing::error!(device, day, error = chain, "day cannot be aggregated");
                    round.failed.push(work);
                }
            }
        }
    }
    round
}

/// Brings the roll-ups of a device's day in line with its raw data.
async fn day(context: &Context, work: &Work) -> Result<(), WorkError> {
    for round in 0..TRIES {
        if attempt(context, work).await? == Write::Done {
            return Ok(());
        }
        let pause = u64::from(context.random.up_to(20 << round));
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }
    Err(WorkError::Contended)
}

/// The stored roll-ups of a metric that the work is about, read before the raw data.
#[derive(Debug)]
struct Series {
    metric: Metric,
    minutes: BTreeMap<Hour, Stored>,
    day: Option<Stored>,
    month: Option<Stored>,
}

async fn attempt(context: &Context, work: &Work) -> Result<Write, WorkError> {
    let now = context.now();
    let mut all = Vec::new();
    for (metric, hours) in wanted(context, work, now).await? {
        all.push(stored(context, work, metric, hours, now).await?);
    }
    let raw = raw(context, work, now).await?;
    for series in all {
        if rolled_up(context, work, series, &raw, now).await? == Write::Conflict {
            return Ok(Write::Conflict);
        }
    }
    for chunks in raw.values() {
        if is_settled(chunks.union.hour(), now)
            && chunks.needs_compaction()
            && compacted(context, work, chunks, now).await? == Write::Conflict
        {
            return Ok(Write::Conflict);
        }
    }
    Ok(Write::Done)
}

/// The metrics that were touched, each with its hours.
async fn wanted(
    context: &Context,
    work: &Work,
    now: i64,
) -> Result<BTreeMap<Metric, BTreeSet<Hour>>, WorkError> {
    let mut wanted: BTreeMap<Metric, BTreeSet<Hour>> = BTreeMap::new();
    let mut whatever = Vec::new();
    for (&hour, metrics) in &work.hours {
        for metric in metrics {
            match metric {
                Some(metric) => {
                    wanted.entry(metric.clone()).or_default().insert(hour);
                }
                None => whatever.push(hour),
            }
        }
    }
    if !whatever.is_empty() {
        for chunks in raw(context, work, now).await?.values() {
            let hour = chunks.union.hour();
            if whatever.contains(&hour) {
                for (metric, _) in chunks.union.metrics() {
                    if let Ok(metric) = metric.parse() {
                        wanted.entry(metric).or_default().insert(hour);
                    }
                }
            }
        }
    }
    Ok(wanted)
}

async fn stored(
    context: &Context,
    work: &Work,
    metric: Metric,
    hours: BTreeSet<Hour>,
    now: i64,
) -> Result<Series, WorkError> {
    let (store, device) = (&context.store, &work.device);
    let month = if is_day_settled(work.day, now) {
        let period = Period::Days(work.day);
        Some(store.rollups(device, &metric, period).await?)
    } else {
        None
    };
    let day = if hours.iter().any(|&hour| is_settled(hour, now)) {
        let period = Period::Hours(work.day);
        Some(store.rollups(device, &metric, period).await?)
    } else {
        None
    };
    let mut minutes = BTreeMap::new();
    for hour in hours {
        let period = Period::Minutes(hour);
        minutes.insert(hour, store.rollups(device, &metric, period).await?);
    }
    Ok(Series {
        metric,
        minutes,
        day,
        month,
    })
}

/// The raw data of the touched hours.
async fn raw(
    context: &Context,
    work: &Work,
    now: i64,
) -> Result<BTreeMap<Hour, HourChunks>, WorkError> {
    let mut raw = BTreeMap::new();
    if work.hours.len() >= MANY_HOURS {
        let hours = context
            .store
            .day_chunks(&work.device, work.day, None)
            .await?;
        for chunks in hours {
            let hour = chunks.union.hour();
            if work.hours.contains_key(&hour) {
                raw.insert(hour, chunks);
            }
        }
    } else {
        for &hour in work.hours.keys() {
            let chunks = context.store.hour_chunks(&work.device, hour, now).await?;
            raw.insert(hour, chunks);
        }
    }
    Ok(raw)
}

/// Writes the roll-ups of a series that changed: minutes, then hours, then days.
async fn rolled_up(
    context: &Context,
    work: &Work,
    series: Series,
    raw: &BTreeMap<Hour, HourChunks>,
    now: i64,
) -> Result<Write, WorkError> {
    let (store, device, metric) = (&context.store, &work.device, &series.metric);
    let mut day = series.day.clone();
    for (&hour, stored) in &series.minutes {
        let mut next = stored.clone();
        let rows = || {
            let mut metrics = raw.get(&hour)?.union.metrics();
            let (_, rows) = metrics.find(|(name, _)| *name == metric.as_str())?;
            Some(rows)
        };
        if let (Some(rows), Some(again)) = (rows(), rows()) {
            next.rollups = renewed(&stored.rollups, &minutes(hour, rows));
            next.seen = Seen::readings(again);
        }
        if is_settled(hour, now)
            && let (Some(day), Some(rollup)) = (&mut day, next.rollups.total())
        {
            day.rollups.set(hour.of_day(), rollup);
            day.seen.set(hour.of_day(), &next.seen);
        }
        let period = Period::Minutes(hour);
        if replaced(store, device, metric, period, stored, next).await? == Write::Conflict {
            return Ok(Write::Conflict);
        }
    }
    let (Some(stored), Some(day)) = (series.day, day) else {
        return Ok(Write::Done);
    };
    let mut month = series.month.clone();
    if let (Some(month), Some(rollup)) = (&mut month, day.rollups.total()) {
        let slot = work.day.date().day().unsigned_abs();
        month.rollups.set(slot, rollup);
        month.seen.set(slot, &day.seen);
    }
    let period = Period::Hours(work.day);
    if replaced(store, device, metric, period, &stored, day).await? == Write::Conflict {
        return Ok(Write::Conflict);
    }
    let (Some(stored), Some(month)) = (series.month, month) else {
        return Ok(Write::Done);
    };
    let period = Period::Days(work.day);
    Ok(replaced(store, device, metric, period, &stored, month).await?)
}

/// Writes roll-ups unless they are, and are made of, what is stored.
async fn replaced(
    store: &SensorStore,
    device: &DeviceId,
    metric: &Metric,
    period: Period,
    stored: &Stored,
    mut next: Stored,
) -> Result<Write, StoreError> {
    if next == *stored {
        return Ok(Write::Done);
    }
    next.version = stored.version + 1;
    store.put_rollups(device, metric, period, &next).await
}

/// Writes a settled hour's readings into one kept chunk. An hour too large for one keeps its chunks,
/// and what only chunks that soon expire have is written again to be kept.
async fn compacted(
    context: &Context,
    work: &Work,
    chunks: &HourChunks,
    now: i64,
) -> Result<Write, WorkError> {
    let hour = chunks.union.hour();
    let retention = context.retention.milliseconds();
    let mut frames = chunks.union.encode()?;
    if frames.len() == 1 {
        let frame = frames.remove(0);
        let expires_at = expires_at(&chunks.union, true, retention, now);
        let put =
            context
                .store
                .put_compacted(&work.device, hour, frame, expires_at, chunks.version());
        return Ok(put.await?);
    }
    let rest = chunks.not_kept()?;
    let expires_at = expires_at(&rest, true, retention, now);
    let kept = rest.encode()?.into_iter().map(|frame| NewChunk {
        device: work.device.clone(),
        hour,
        tier: Tier::Late,
        kept: true,
        expires_at,
        frame,
    });
    context.store.put_chunks(kept.collect()).await?;
    Ok(Write::Done)
}
