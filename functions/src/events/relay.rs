//! The relaying function: the events that the table's stream brings go onto the event bus, those of an
//! aggregate in their sequence.
//!
//! The stream brings a batch again from the first failure that is reported. So an event may go onto
//! the bus twice; its id tells. What no repetition mends is told to the poison queue by its place in
//! the stream and by its key, and the rest goes on.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use aws_lambda_events::{
    dynamodb::{Event as Batch, EventRecord},
    streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse},
};
use aws_sdk_eventbridge::{
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::json;
use shared::{
    events::{cloud_event, model::Event, store},
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, EventBus, EventPoison},
        deadline::stop_millis,
        ids::Random,
        table::Item,
        telemetry::{self, Invocation, Metrics, TraceContext},
    },
};

/// Entries that one call takes, and bytes that they have together.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>
const MOST_ENTRIES: usize = 10;
const MOST_BYTES: usize = 256 * 1024;

/// Bytes that the time of an entry counts.
const TIME_BYTES: usize = 14;

/// Times that an entry is sent in a run.
const TRIES: u32 = 4;

/// Milliseconds before the run's deadline from which nothing more is sent: what a call takes with all
/// its attempts, and the report after it.
const MARGIN: i64 = 20_000;

/// What the bus says of an entry that is itself to blame. Everything else, missing rights included,
/// is mended without it.
const BLAMED: [&str; 2] = ["InvalidArgument", "MalformedDetail"];

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// The client for the bus.
    pub eventbridge: aws_sdk_eventbridge::Client,
    /// The bus.
    pub bus: EventBus,
    /// The client for the poison queue.
    pub sqs: aws_sdk_sqs::Client,
    /// Where the places of events go that can never be relayed.
    pub poison: EventPoison,
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
        let aws = Connection::from_env()?;
        Ok(Self {
            eventbridge: aws.eventbridge(),
            bus: EventBus::from_env()?,
            sqs: aws.sqs(),
            poison: EventPoison::from_env()?,
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

/// A batch that cannot be answered record by record; the invocation fails and all come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stream record has no sequence number")]
pub struct MissingSequenceNumber;

impl From<MissingSequenceNumber> for Diagnostic {
    fn from(error: MissingSequenceNumber) -> Self {
        Self {
            error_type: "UnknownEvent".into(),
            error_message: error.to_string(),
        }
    }
}

/// Puts the events of a batch onto the bus, and reports the first that did not get there.
///
/// # Errors
///
/// [`MissingSequenceNumber`] when a record cannot be reported; nothing has been relayed then.
pub async fn handle(
    context: &Context,
    event: LambdaEvent<Batch>,
) -> Result<DynamoDbEventResponse, MissingSequenceNumber> {
    let (batch, lambda) = event.into_parts();
    let (now, random) = (context.clock.now(), context.random.bytes());
    let trace = TraceContext::resolve(None, None, now, random);
    let invocation = Invocation::begin(Some(&lambda), trace);
    let stop = stop_millis(&lambda, MARGIN);
    let run = Run {
        context,
        invocation: invocation.clone(),
        stop,
        pending: Vec::new(),
        failed: BTreeSet::new(),
        relayed: 0,
        poisoned: 0,
    };
    telemetry::scope(invocation, run.relay(&batch.records)).await
}

/// An event that is not on the bus yet.
struct Pending<'b> {
    /// Its place in the batch.
    at: usize,
    record: &'b EventRecord,
    event: Event,
    source: String,
    detail: String,
    tries: u32,
}

impl Pending<'_> {
    fn size(&self) -> usize {
        TIME_BYTES + self.source.len() + self.event.kind.len() + self.detail.len()
    }

    fn entry(&self, bus: &EventBus) -> PutEventsRequestEntry {
        PutEventsRequestEntry::builder()
            .event_bus_name(bus.as_str())
            .source(&self.source)
            .detail_type(&self.event.kind)
            .detail(&self.detail)
            .time(DateTime::from_millis(self.event.at.as_millisecond()))
            .build()
    }
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Relayed,
    Failed,
    Poisonous(String),
}

impl Outcome {
    fn of(result: Option<&PutEventsResultEntry>) -> Self {
        match result.map(|result| (result.error_code(), result.event_id())) {
            Some((Some(code), _)) if BLAMED.contains(&code) => {
                Self::Poisonous(format!("the event bus answered {code}"))
            }
            Some((None, Some(_))) => Self::Relayed,
            _ => Self::Failed,
        }
    }
}

struct Run<'b> {
    context: &'b Context,
    invocation: Invocation,
    /// When the time is up, in milliseconds since 1970.
    stop: i64,
    /// In the order of the batch.
    pending: Vec<Pending<'b>>,
    /// Places in the batch.
    failed: BTreeSet<usize>,
    relayed: u32,
    poisoned: u32,
}

impl<'b> Run<'b> {
    async fn relay(
        mut self,
        records: &'b [EventRecord],
    ) -> Result<DynamoDbEventResponse, MissingSequenceNumber> {
        let numbers = records.iter().map(|r| r.change.sequence_number.as_deref());
        let numbers: Option<Vec<&str>> = numbers.collect();
        let numbers = numbers.ok_or(MissingSequenceNumber).inspect_err(|error| {
            tracing::error!(error = telemetry::chain(error), "nothing relayed");
        })?;
        let mut unreadable = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let keys = Item::from(record.change.keys.clone());
            if record.event_name != "INSERT" || !store::is_event(&keys) {
                continue;
            }
            match pending(at, record) {
                Ok(pending) => self.pending.push(pending),
                Err(reason) => unreadable.push((at, record, reason)),
            }
        }
        for (at, record, reason) in unreadable {
            self.isolate(at, record, &reason).await;
        }
        while !self.pending.is_empty() {
            if self.context.clock.now().as_millisecond() >= self.stop {
                self.failed.extend(self.pending.drain(..).map(|p| p.at));
                break;
            }
            self.call().await;
        }
        let failed = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
        let mut metrics = Metrics::from_env();
        metrics.count("EventsRelayed", self.relayed);
        metrics.count("EventsFailed", failed);
        metrics.count("EventsPoisoned", self.poisoned);
        metrics.flush(self.context.clock.now());
        let mut response = DynamoDbEventResponse::default();
        if let Some(first) = self.failed.first().and_then(|at| numbers.get(*at)) {
            tracing::warn!(failed, from = first, "events come again");
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = Some((*first).to_owned());
            response.batch_item_failures.push(failure);
        }
        Ok(response)
    }

    /// Makes one call: at most one event of each aggregate, so that none overtakes another.
    async fn call(&mut self) {
        let chosen = wave(&self.pending);
        let entries = chosen
            .iter()
            .filter_map(|index| self.pending.get(*index))
            .map(|pending| pending.entry(&self.context.bus))
            .collect();
        let call = self.context.eventbridge.put_events();
        let results = match call.set_entries(Some(entries)).send().await {
            Ok(out) => out.entries.unwrap_or_default(),
            Err(error) => {
                let error = telemetry::chain(&error);
                tracing::warn!(error, "the event bus took nothing");
                Vec::new()
            }
        };
        let (mut tries, mut again) = (0, Vec::new());
        // From the last to the first, so that taking one out moves none that is still to come.
        for (nth, index) in chosen.into_iter().enumerate().rev() {
            let mut pending = self.pending.remove(index);
            match Outcome::of(results.get(nth)) {
                Outcome::Relayed => self.relayed(&pending.event).await,
                Outcome::Poisonous(reason) => {
                    self.isolate(pending.at, pending.record, &reason).await;
                }
                Outcome::Failed => {
                    pending.tries += 1;
                    tries = tries.max(pending.tries);
                    again.push(pending);
                }
            }
        }
        for pending in again {
            if pending.tries < TRIES {
                let place = self.pending.partition_point(|p| p.at < pending.at);
                self.pending.insert(place, pending);
                continue;
            }
            self.hold(pending.at, pending.record);
        }
        if tries > 0 && !self.pending.is_empty() {
            let pause = self.context.random.up_to(100 << tries.min(TRIES));
            tokio::time::sleep(Duration::from_millis(pause.into())).await;
        }
    }

    /// Has an event come again, and with it what follows of its aggregate.
    fn hold(&mut self, at: usize, record: &EventRecord) {
        self.failed.insert(at);
        let failed = &mut self.failed;
        self.pending.retain(|held| {
            let is_held = held.at > at && partition(held.record) == partition(record);
            if is_held {
                failed.insert(held.at);
            }
            !is_held
        });
    }

    /// Counts an event that is on the bus, and says so under the id of the request that led to it.
    async fn relayed(&mut self, event: &Event) {
        self.relayed += 1;
        let trace = event.trace();
        let invocation = trace.map_or_else(
            || self.invocation.clone(),
            |trace| self.invocation.with_trace(trace),
        );
        telemetry::scope(invocation, async {
            tracing::info!(event = event.id(), r#type = event.kind, "event relayed");
        })
        .await;
    }

    /// Tells the poison queue of an event that can never be relayed, or has it come again.
    async fn isolate(&mut self, at: usize, record: &EventRecord, reason: &str) {
        let keys = Item::from(record.change.keys.clone());
        let key = |name: &str| keys.get(name).and_then(|value| value.as_s().ok());
        let number = record.change.sequence_number.as_deref();
        let body = json!({
            "reason": reason,
            "event": {"pk": key("pk"), "sk": key("sk")},
            "event_source_arn": record.event_source_arn,
            "sequence_number_first": number,
            "sequence_number_last": number,
        });
        tracing::error!(reason, sequence_number = number, "event cannot be relayed");
        let message = self.context.sqs.send_message();
        let message = message.queue_url(self.context.poison.as_str());
        match message.message_body(body.to_string()).send().await {
            Ok(_) => self.poisoned += 1,
            Err(error) => {
                let error = telemetry::chain(&error);
                tracing::error!(error, "the poison queue could not be told");
                self.hold(at, record);
            }
        }
    }
}

/// The key of a record's aggregate, which its image need not be readable for.
fn partition(record: &EventRecord) -> Option<String> {
    let keys = Item::from(record.change.keys.clone());
    Some(keys.get("pk")?.as_s().ok()?.clone())
}

fn pending(at: usize, record: &EventRecord) -> Result<Pending<'_>, String> {
    let image = Item::from(record.change.new_image.clone());
    let event = store::event(&image).map_err(|error| telemetry::chain(&error))?;
    let detail = cloud_event::to_json(&event).map_err(|error| telemetry::chain(&error))?;
    let source = format!("millrace.{}", event.aggregate.domain());
    let pending = Pending {
        at,
        record,
        event,
        source,
        detail,
        tries: 0,
    };
    let size = pending.size();
    if size > MOST_BYTES {
        return Err(format!(
            "event has {size} bytes on the bus, {MOST_BYTES} are allowed"
        ));
    }
    Ok(pending)
}

/// Which of the events go with the next call: the first of each aggregate, as many as fit.
fn wave(pending: &[Pending<'_>]) -> Vec<usize> {
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    let mut aggregates = HashSet::new();
    for (index, next) in pending.iter().enumerate() {
        if chosen.len() == MOST_ENTRIES || bytes + next.size() > MOST_BYTES {
            break;
        }
        if aggregates.insert((next.event.aggregate, &next.event.aggregate_id)) {
            bytes += next.size();
            chosen.push(index);
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
