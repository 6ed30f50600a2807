//! The storing function: batches of readings from the queue into chunks, then a log entry that says
//! what they touched. Both are in the table before the messages go.

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
        ids::{Random, uuid_v7},
        telemetry::{self, Metrics},
    },
    sensors::{
        batch::Batch,
        chunk::{Chunk, ChunkError, Row},
        model::{DeviceId, Hour, Metric},
        rules::{Tier, Touched, closings, expires_at, is_kept},
        store::{NewChunk, SensorStore, StoreError},
    },
};

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

/// Stores the readings of a batch of messages; each that holds none goes to the dead-letter queue.
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
    let handler = |messages| Box::pin(settle(context, messages));
    batch::consume_together(&lambda, event, &context.failed, sources, handler).await
}

async fn settle<Q>(context: &Context<Q>, messages: Vec<SqsMessage>) -> Vec<Result<(), Failure>> {
    let mut batches = Vec::with_capacity(messages.len());
    let mut outcomes = Vec::with_capacity(messages.len());
    for message in &messages {
        match Batch::decode_message(message.body.as_deref().unwrap_or_default()) {
            Ok(batch) => {
                batches.push(batch);
                outcomes.push(Ok(()));
            }
            Err(error) => outcomes.push(Err(Failure::permanent(error.to_string()))),
        }
    }
    if let Err(error) = store(context, &batches).await {
        tracing::error!(error = telemetry::chain(&error), "readings not stored");
        for outcome in &mut outcomes {
            if outcome.is_ok() {
                *outcome = Err(Failure::Transient);
            }
        }
    }
    outcomes
}

/// Writes the readings' chunks, then what they touched.
async fn store<Q>(context: &Context<Q>, batches: &[Batch]) -> Result<(), StorageError> {
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
fn by_hour(batches: &[Batch]) -> Result<(Hours, BTreeSet<Touched>), ChunkError> {
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

/// Notes what was touched: to be looked at now, and again once its hour and its day are settled.
async fn note<Q>(
    context: &Context<Q>,
    at: Timestamp,
    touched: BTreeSet<Touched>,
) -> Result<(), StoreError> {
    let now = at.as_millisecond();
    let id = uuid_v7(at, context.random.bytes()).simple().to_string();
    let shard = shared::sensors::rules::Lane::Live.shard(context.random.bytes::<1>()[0]);
    let touched: Vec<Touched> = touched.into_iter().collect();
    let mut closings = closings(&touched, now);
    for (&due, touched) in &mut closings {
        touched.retain(|touched| !context.noted.has(due, touched));
    }
    closings.retain(|_, touched| !touched.is_empty());
    for (&due, touched) in &closings {
        context.store.note(touched, due, shard, &id).await?;
    }
    context.store.note(&touched, now, shard, &id).await?;
    context.noted.remember(now, closings);
    Ok(())
}
