//! The storing function: batches of readings from the queue into chunks, then a log entry that says
//! what they touched. Both are in the table before the messages go.
//!
//! A run may be handed more than it has time and memory for: it takes the messages in groups, and
//! gives back those that it does not come to.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Mutex,
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use lambda_runtime::LambdaEvent;
use shared::{
    platform::{
        aws::Connection,
        batch::{self, BatchError, FailedMessages, Failure},
        clock::Clock,
        config::{ConfigError, RawRetention, ReadingsDeadLetters, ReadingsQueue, SensorsTable},
        deadline::stop_millis,
        ids::{Random, uuid_v7},
        telemetry::{self, Metrics},
    },
    sensors::{
        batch::Batch,
        chunk::{Chunk, ChunkError, Row},
        model::{DeviceId, Hour, Metric},
        rules::{Lane, Tier, Touched, closings, expires_at, is_kept},
        store::{NewChunk, SensorStore, StoreError},
    },
};

/// Hours of devices, each a chunk, from which a group takes no further message.
const MOST_HOURS: usize = 4_000;

/// Readings from which a group takes no further message.
const MOST_READINGS: usize = 500_000;

/// Milliseconds before the run's deadline from which no further write is begun: what a group takes
/// where the table throttles, and the reports to the queue after it.
const MARGIN: i64 = 20_000;

/// Closings that are remembered as noted; noting one again costs little and does no harm.
const MOST_NOTED: usize = 100_000;

/// What the handler works with.
#[derive(Debug)]
pub struct Context<Q = batch::Queues> {
    /// Chunks and the log.
    pub store: SensorStore,
    /// Where messages go that cannot be handled now, or ever.
    pub failed: Q,
    /// How long raw readings are kept.
    pub retention: RawRetention,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// What this sandbox has noted to be looked at once it settles, and when that is.
    pub noted: Noted,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = SensorsTable::from_env()?.as_str().to_owned();
        Ok(Self {
            store: SensorStore::new(aws.dynamodb(), table),
            failed: batch::Queues {
                sqs: aws.sqs(),
                queue_url: ReadingsQueue::from_env()?.as_str().to_owned(),
                dead_letter_url: ReadingsDeadLetters::from_env()?.as_str().to_owned(),
            },
            retention: RawRetention::from_env()?,
            clock: Clock::system(),
            random: Random::system(),
            noted: Noted::default(),
        })
    }
}

/// What was noted to be looked at once it settles, so that a warm sandbox notes it once.
#[derive(Debug, Default)]
pub struct Noted(Mutex<HashSet<(i64, Touched)>>);

impl Noted {
    /// Whether `touched` was noted for `due`.
    fn has(&self, due: i64, touched: &Touched) -> bool {
        let noted = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        noted.contains(&(due, touched.clone()))
    }

    /// Remembers what was noted at `now`, and forgets what is due.
    fn remember(&self, now: i64, closings: BTreeMap<i64, Vec<Touched>>) {
        let mut noted = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        noted.retain(|(due, _)| *due > now);
        if noted.len() > MOST_NOTED {
            noted.clear();
        }
        for (due, touched) in closings {
            noted.extend(touched.into_iter().map(|touched| (due, touched)));
        }
    }
}

/// Why readings were not stored.
#[derive(Debug, thiserror::Error)]
enum StorageError {
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let reason = telemetry::chain(&error);
        tracing::error!(error = reason, "readings not stored");
        match error {
            StorageError::Store(error) if error.retryable() => Self::Transient,
            _ => Self::permanent(reason),
        }
    }
}

/// Stores the readings of a batch of messages. Each that holds none, or some that cannot be stored,
/// goes to the dead-letter queue.
///
/// # Errors
///
/// [`BatchError`] when a message cannot be reported back.
pub async fn handle<Q: FailedMessages>(
    context: &Context<Q>,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, BatchError> {
    let (event, lambda) = event.into_parts();
    let sources = (&context.clock, &context.random);
    let stop = stop_millis(&lambda, MARGIN);
    let handler = |messages| Box::pin(settle(context, messages, stop));
    batch::consume_together(&lambda, event, &context.failed, sources, handler).await
}

/// Stores messages group by group; those of the groups that are not begun before `stop` come again.
/// The first is begun whatever the time, or a message could come in vain for ever.
async fn settle<Q>(
    context: &Context<Q>,
    messages: Vec<SqsMessage>,
    stop: i64,
) -> Vec<Result<(), Failure>> {
    let mut outcomes = Vec::with_capacity(messages.len());
    let mut rest = &messages[..];
    while !rest.is_empty() {
        if !outcomes.is_empty() && is_late(context, stop) {
            tracing::warn!(messages = rest.len(), "no time left to store all messages");
            outcomes.resize(messages.len(), Err(Failure::Transient));
            break;
        }
        let group = group(rest);
        rest = rest.get(group.len()..).unwrap_or_default();
        outcomes.extend(store_group(context, group, stop).await);
    }
    outcomes
}

fn is_late<Q>(context: &Context<Q>, stop: i64) -> bool {
    context.clock.now().as_millisecond() >= stop
}

/// The batches of the first messages, as many as are stored together.
fn group(messages: &[SqsMessage]) -> Vec<Result<Batch, Failure>> {
    let (mut hours, mut readings) = (HashSet::new(), 0);
    let mut group = Vec::new();
    for message in messages {
        if hours.len() > MOST_HOURS || readings > MOST_READINGS {
            break;
        }
        let batch = Batch::decode_message(message.body.as_deref().unwrap_or_default());
        if let Ok(Batch { readings: more, .. }) = &batch {
            readings += more.len();
            let mut last = None;
            for (&series, &timestamp) in more.series_of.iter().zip(&more.timestamps) {
                let next = Some((series, Hour::of(timestamp)));
                if next != last {
                    last = next;
                    let device = &more.series[series as usize].device;
                    hours.insert((device.clone(), Hour::of(timestamp)));
                }
            }
        }
        group.push(batch.map_err(|error| Failure::permanent(error.to_string())));
    }
    group
}

/// Stores batches together or, if that fails for good, each alone, so that only those go to the
/// dead-letter queue that are to blame.
async fn store_group<Q>(
    context: &Context<Q>,
    group: Vec<Result<Batch, Failure>>,
    stop: i64,
) -> Vec<Result<(), Failure>> {
    let good: Vec<&Batch> = group.iter().flatten().collect();
    let together = store(context, &good).await.map_err(Failure::from);
    let mut outcomes = Vec::with_capacity(group.len());
    for batch in &group {
        outcomes.push(match (batch, &together) {
            (Err(failure), _) => Err(failure.clone()),
            (Ok(batch), Err(Failure::Permanent { .. })) if good.len() > 1 => {
                if is_late(context, stop) {
                    Err(Failure::Transient)
                } else {
                    store(context, &[batch]).await.map_err(Failure::from)
                }
            }
            (Ok(_), together) => together.clone(),
        });
    }
    outcomes
}

/// Writes the readings' chunks, then what they touched.
async fn store<Q>(context: &Context<Q>, batches: &[&Batch]) -> Result<(), StorageError> {
    if batches.is_empty() {
        return Ok(());
    }
    let at = context.clock.now();
    let now = at.as_millisecond();
    let (hours, touched) = by_hour(batches)?;
    let mut chunks = Vec::with_capacity(hours.len());
    let mut readings = 0_usize;
    for ((device, hour), mut chunk) in hours {
        chunk.settle();
        readings += chunk.len();
        let kept = is_kept(chunk.len());
        let expires_at = expires_at(&chunk, kept, context.retention.milliseconds(), now);
        for frame in chunk.encode()? {
            chunks.push(NewChunk {
                device: device.clone(),
                hour,
                tier: Tier::of(hour, now),
                kept,
                expires_at,
                frame,
            });
        }
    }
    let written = chunks.len();
    context.store.put_chunks(chunks).await?;
    note(context, at, touched).await?;

    let mut metrics = Metrics::from_env();
    metrics.count(
        "ReadingsStored",
        u32::try_from(readings).unwrap_or(u32::MAX),
    );
    metrics.count("ChunksWritten", u32::try_from(written).unwrap_or(u32::MAX));
    metrics.flush(at);
    tracing::info!(
        readings,
        chunks = written,
        batches = batches.len(),
        "readings stored"
    );
    Ok(())
}

/// Readings by device and hour.
type Hours = BTreeMap<(DeviceId, Hour), Chunk>;

/// The readings by device and hour, and what they touch.
fn by_hour(batches: &[&Batch]) -> Result<(Hours, BTreeSet<Touched>), ChunkError> {
    let mut hours = BTreeMap::new();
    let mut touched = BTreeSet::new();
    for batch in batches {
        let mut last: Option<(&str, &str, Hour, DeviceId)> = None;
        for row in 0..batch.readings.len() {
            let reading = batch.readings.get(row);
            let hour = Hour::of(reading.timestamp);
            let device = match &last {
                Some((device, metric, same, id))
                    if *device == reading.device && *metric == reading.metric && *same == hour =>
                {
                    id.clone()
                }
                _ => {
                    let names = (
                        reading.device.parse::<DeviceId>(),
                        reading.metric.parse::<Metric>(),
                    );
                    let (Ok(device), Ok(metric)) = names else {
                        return Err(ChunkError::Corrupt("a name is invalid"));
                    };
                    touched.insert(Touched {
                        device: device.clone(),
                        metric: Some(metric),
                        hour,
                    });
                    last = Some((reading.device, reading.metric, hour, device.clone()));
                    device
                }
            };
            let chunk: &mut Chunk = hours
                .entry((device, hour))
                .or_insert_with(|| Chunk::new(hour));
            chunk.push(Row {
                metric: reading.metric,
                timestamp: reading.timestamp,
                value: reading.value,
                is_valid: reading.is_valid,
                unit: reading.unit,
                metadata: reading.metadata,
                arrived: batch.arrived,
            })?;
        }
    }
    Ok((hours, touched))
}

/// Notes what was touched: to be looked at again once its hour and its day are settled, and now.
/// What a warm sandbox remembers as noted is in the table, and so are the chunks it was noted for.
async fn note<Q>(
    context: &Context<Q>,
    at: Timestamp,
    touched: BTreeSet<Touched>,
) -> Result<(), StoreError> {
    let now = at.as_millisecond();
    let id = uuid_v7(at, context.random.bytes()).simple().to_string();
    let shard = |lane: Lane| {
        let [random] = context.random.bytes();
        lane.shard(random)
    };
    let touched: Vec<Touched> = touched.into_iter().collect();
    let mut closings = closings(&touched, now);
    for (&due, touched) in &mut closings {
        touched.retain(|touched| !context.noted.has(due, touched));
    }
    closings.retain(|_, touched| !touched.is_empty());
    let live = shard(Lane::Live);
    for (&due, touched) in &closings {
        context.store.note(touched, due, live, &id).await?;
    }
    let mut lanes: BTreeMap<Lane, Vec<Touched>> = BTreeMap::new();
    for touched in touched {
        let lane = Lane::of(touched.hour, now);
        lanes.entry(lane).or_default().push(touched);
    }
    for (lane, touched) in lanes {
        context.store.note(&touched, now, shard(lane), &id).await?;
    }
    context.noted.remember(now, closings);
    Ok(())
}

#[cfg(test)]
mod tests;
