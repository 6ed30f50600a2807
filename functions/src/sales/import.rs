//! The import function: files put into the bucket, and what earlier runs left to do.

use std::borrow::Cow;

use aws_lambda_events::{
    s3::{S3Event, S3EventRecord},
    sqs::{SqsEvent, SqsMessage},
};
use aws_sdk_sqs::{error::SdkError, operation::send_message::SendMessageError};
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use shared::{
    platform::{
        aws::Connection,
        batch::{self, Failure},
        clock::Clock,
        config::{ConfigError, ImportDeadLetters, ImportQueue, ImportsBucket, SalesTable},
        deadline::deadline,
        ids::Random,
        table::Write,
        telemetry::{self, Invocation, Metrics, TraceContext, Unit},
    },
    sales::{
        files::{FilesError, IMPORTS, ImportFiles},
        import::{Import, ImportId, ObjectVersion, Status},
        store::{SalesStore, StoreError},
    },
};

use super::{
    importer::{ImportError, Importer, MEMORY, Outcome, Source},
    queue::{Action, LONGEST_DELAY, Task, TaskQueue},
};

/// How long the latest version of an object is remembered: longer than any event takes.
const VERSION_MEMORY: SignedDuration = SignedDuration::from_hours(24 * 400);

/// Seconds before an import that another run has taken over is looked at, at least.
const SHORTEST_LOOK: i32 = 60;

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// Runs imports and takes them back.
    pub importer: Importer,
    /// Takes what a run cannot finish.
    pub queue: TaskQueue,
    /// Where messages go that cannot be handled now, or ever.
    pub failed: batch::Queues,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let sqs = aws.sqs();
        let queue = ImportQueue::from_env()?;
        Ok(Self {
            importer: Importer {
                store: SalesStore::new(aws.dynamodb(), SalesTable::from_env()?.as_str().to_owned()),
                files: ImportFiles::new(aws.s3(), ImportsBucket::from_env()?.as_str().to_owned()),
                clock: Clock::system(),
                random: Random::system(),
                memory: MEMORY,
                digests: Importer::DIGESTS,
            },
            failed: batch::Queues {
                sqs: sqs.clone(),
                queue_url: queue.as_str().to_owned(),
                dead_letter_url: ImportDeadLetters::from_env()?.as_str().to_owned(),
            },
            queue: TaskQueue { client: sqs, queue },
        })
    }
}

/// An event that is not handled; Lambda delivers it again.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Neither an S3 nor an SQS event.
    #[error("event is neither from S3 nor from SQS")]
    UnknownEvent(#[from] serde_json::Error),
    /// A message without an id.
    #[error(transparent)]
    Batch(#[from] batch::BatchError),
    /// The import was interrupted.
    #[error("import was interrupted")]
    Import(#[from] ImportError),
    /// The rest could not be handed over.
    #[error("import could not be handed over to another run")]
    Queue(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        Self::Import(error.into())
    }
}

impl From<FilesError> for HandlerError {
    fn from(error: FilesError) -> Self {
        Self::Import(error.into())
    }
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let error_type = match error {
            HandlerError::UnknownEvent(_) | HandlerError::Batch(_) => "UnknownEvent",
            HandlerError::Import(_) => "ImportInterrupted",
            HandlerError::Queue(_) => "QueueUnavailable",
        };
        Self {
            error_type: error_type.into(),
            error_message: error.to_string(),
        }
    }
}

/// Handles one event from S3 or SQS.
///
/// # Errors
///
/// [`HandlerError`] for an S3 event that has to be delivered again; a message fails alone.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Value, HandlerError> {
    let (event, lambda) = event.into_parts();
    let never = Timestamp::MAX - SignedDuration::from_hours(24);
    let deadline = deadline(&lambda).unwrap_or(never);
    let (clock, random) = (&context.importer.clock, &context.importer.random);
    if event
        .pointer("/Records/0/eventSource")
        .is_some_and(|source| source == "aws:sqs")
    {
        let event: SqsEvent = serde_json::from_value(event)?;
        let handler =
            |message: SqsMessage| async move { task(context, &message, deadline).boxed().await };
        let response =
            batch::consume(&lambda, event, &context.failed, (clock, random), handler).await?;
        return Ok(serde_json::to_value(response)?);
    }
    let trace = TraceContext::resolve(None, None, clock.now(), random.bytes());
    let invocation = Invocation::begin(Some(&lambda), trace);
    telemetry::scope(invocation.clone(), async {
        objects(context, &invocation, event, deadline)
            .await
            .inspect_err(|error| {
                tracing::error!(error = telemetry::chain(error), "event not handled");
            })
    })
    .await
}

/// Imports every object that an event from S3 announces.
async fn objects(
    context: &Context,
    invocation: &Invocation,
    event: Value,
    deadline: Timestamp,
) -> Result<Value, HandlerError> {
    // What S3 sends to test a new notification has no records.
    if event.get("Records").is_none() && event.get("Event").is_some() {
        return Ok(Value::Null);
    }
    let event: S3Event = serde_json::from_value(event)?;
    for record in event.records {
        object(context, invocation, record, deadline)
            .boxed()
            .await?;
    }
    Ok(Value::Null)
}

/// Imports the object that an S3 record announces.
async fn object(
    context: &Context,
    invocation: &Invocation,
    record: S3EventRecord,
    deadline: Timestamp,
) -> Result<(), HandlerError> {
    let Some((object, put_at)) = object_of(&record) else {
        return Ok(());
    };
    let is_ordered = record.s3.object.sequencer.is_some();
    let importer = &context.importer;
    let metadata = match importer.files.metadata(&object).await {
        Ok(metadata) => metadata,
        // The import itself finds the file gone or replaced, and says so in its report.
        Err(FilesError::Missing | FilesError::Replaced) => std::collections::HashMap::new(),
        Err(error) => return Err(error.into()),
    };
    let trace =
        TraceContext::from_metadata(&metadata, importer.clock.now(), importer.random.bytes());
    let correlation_id = trace.correlation_id.as_str().to_owned();
    telemetry::scope(invocation.with_trace(trace), async {
        if is_ordered && !is_latest(importer, &object).await? {
            // Only a run that this very event began before may still have to end.
            return go_on(context, ImportId::of_object(&object, put_at), deadline).await;
        }
        let id = import_of(importer, &object, put_at, correlation_id).await?;
        run(context, id, object, deadline).await
    })
    .boxed()
    .await
}

fn object_of(record: &S3EventRecord) -> Option<(ObjectVersion, Timestamp)> {
    let is_put = record
        .event_name
        .as_deref()
        .is_some_and(|name| name.contains("ObjectCreated"));
    let object = &record.s3.object;
    let encoded = object.key.as_deref()?.replace('+', " ");
    let key = percent_decode_str(&encoded)
        .decode_utf8()
        .map(Cow::into_owned)
        .ok()?;
    if !is_put || !key.starts_with(IMPORTS) || key.ends_with('/') {
        return None;
    }
    let put_at = Timestamp::from_millisecond(record.event_time.timestamp_millis()).ok()?;
    let object = ObjectVersion {
        key,
        etag: object
            .e_tag
            .clone()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned(),
        sequencer: object
            .sequencer
            .clone()
            .unwrap_or_else(|| put_at.to_string()),
        size: object
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or(0),
    };
    Some((object, put_at))
}

/// Whether no event for a later version of the object came before.
async fn is_latest(importer: &Importer, object: &ObjectVersion) -> Result<bool, StoreError> {
    let forget_at = importer.clock.now() + VERSION_MEMORY;
    let store = &importer.store;
    let is_latest = store
        .note_version(&object.key, &object.sequencer, forget_at)
        .await?;
    if !is_latest {
        tracing::warn!(key = object.key, "event came after one for a later version");
    }
    Ok(is_latest)
}

/// The import that an object belongs to: the announced one whose first file it is, else one of its
/// own, which is made here.
async fn import_of(
    importer: &Importer,
    object: &ObjectVersion,
    put_at: Timestamp,
    correlation_id: String,
) -> Result<ImportId, StoreError> {
    if let Some(id) = ImportFiles::announced_by(&object.key)
        && claim_announced(importer, id, object).await?
    {
        return Ok(id);
    }
    let id = ImportId::of_object(object, put_at);
    // Whoever announced a dry run means it for every file that the form takes.
    let announced = match ImportFiles::announced_by(&object.key) {
        Some(id) => importer.store.import(id).await?,
        None => None,
    };
    let mut import = Import::pending(
        id,
        object.key.clone(),
        announced.is_some_and(|announced| announced.dry_run),
        correlation_id,
        importer.clock.now(),
    );
    import.object = Some(object.clone());
    match importer.store.create_import(&import).await? {
        Write::Done | Write::Conflict => Ok(id),
    }
}

/// Binds an announced import to its first file; false where it has another one, or is not there.
async fn claim_announced(
    importer: &Importer,
    id: ImportId,
    object: &ObjectVersion,
) -> Result<bool, StoreError> {
    while let Some(mut import) = importer.store.import(id).await? {
        match &import.object {
            Some(known) => return Ok(known == object),
            None if import.object_key != object.key => return Ok(false),
            None => {}
        }
        import.object = Some(object.clone());
        import.version += 1;
        if importer
            .store
            .save_import(&import, import.version - 1)
            .await?
            == Write::Done
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs an import, and hands over what the time does not suffice for.
async fn run(
    context: &Context,
    id: ImportId,
    object: ObjectVersion,
    deadline: Timestamp,
) -> Result<(), HandlerError> {
    let task = Task {
        action: Action::Import,
        import: id,
    };
    let meter = context.importer.store.meter();
    let (read, written) = (meter.read_halves(), meter.write_halves());
    let source = Source::Object(object);
    let outcome = context.importer.run(id, &source, deadline).await?;
    tracing::info!(
        import = %id,
        read_units = (meter.read_halves() - read) / 2,
        write_units = (meter.write_halves() - written) / 2,
        "run ended"
    );
    match outcome {
        Outcome::Ended(import) => count(&import, context.importer.clock.now()),
        Outcome::Unfinished(_) => hand_over(context, task).await?,
        Outcome::Idle => look_again(context, task).await?,
    }
    Ok(())
}

/// Has somebody look again at an import that another run has taken over, when that run must be over:
/// the message that led to it may be the very one that this run is about to end, and would not come
/// again if the other run died.
async fn look_again(context: &Context, task: Task) -> Result<(), HandlerError> {
    let import = context.importer.store.import(task.import).await?;
    let is_left = |import: &Import| match task.action {
        Action::Import => import.status.is_open(),
        Action::TakeBack => import.status == Status::Deleting,
    };
    let Some(import) = import.filter(is_left) else {
        tracing::info!(import = %task.import, "nothing to do");
        return Ok(());
    };
    let now = context.importer.clock.now();
    let until = import.active_until.unwrap_or(now);
    let seconds = until.duration_since(now).as_secs();
    let seconds = i32::try_from(seconds).unwrap_or(LONGEST_DELAY);
    let delay = seconds.clamp(SHORTEST_LOOK, LONGEST_DELAY);
    tracing::info!(import = %task.import, "another run has taken over");
    context.queue.send(task, delay).await.map_err(queue_error)
}

async fn hand_over(context: &Context, task: Task) -> Result<(), HandlerError> {
    tracing::info!(import = %task.import, "time is short, another run goes on");
    context.queue.send(task, 0).await.map_err(queue_error)
}

fn queue_error(error: SdkError<SendMessageError>) -> HandlerError {
    HandlerError::Queue(error.into())
}

/// Does what a message asks for.
async fn task(context: &Context, message: &SqsMessage, deadline: Timestamp) -> Result<(), Failure> {
    let body = message.body.as_deref().unwrap_or_default();
    let task: Task =
        serde_json::from_str(body).map_err(|_| Failure::permanent("message is not a task"))?;
    let done = match task.action {
        Action::Import => go_on(context, task.import, deadline).await,
        Action::TakeBack => take_back(context, task, deadline).await,
    };
    done.map_err(|error| {
        tracing::error!(error = telemetry::chain(&error), "task was interrupted");
        Failure::Transient
    })
}

async fn go_on(context: &Context, id: ImportId, deadline: Timestamp) -> Result<(), HandlerError> {
    let import = context.importer.store.import(id).await?;
    let open = import.filter(|import| import.status.is_open());
    match open.and_then(|import| import.object) {
        Some(object) => run(context, id, object, deadline).await,
        None => Ok(()),
    }
}

async fn take_back(context: &Context, task: Task, deadline: Timestamp) -> Result<(), HandlerError> {
    match context.importer.take_back(task.import, deadline).await? {
        Outcome::Unfinished(_) => hand_over(context, task).await,
        Outcome::Idle => look_again(context, task).await,
        Outcome::Ended(_) => Ok(()),
    }
}

/// Logs how an import ended, and counts it.
pub fn count(import: &Import, at: Timestamp) {
    let counts = import.counts;
    let failure = import.failure.as_ref().map(|failure| failure.code.as_str());
    tracing::info!(
        import = %import.id,
        status = ?import.status,
        failure,
        dry_run = import.dry_run,
        imported = counts.imported,
        duplicate = counts.duplicate,
        rejected = counts.rejected,
        "import ended"
    );
    let mut metrics = Metrics::from_env();
    metrics.count(
        "ImportCompleted",
        u32::from(import.status != Status::Failed),
    );
    metrics.count("ImportFailed", u32::from(import.status == Status::Failed));
    for (name, rows) in [
        ("RowsImported", counts.imported),
        ("RowsDuplicate", counts.duplicate),
        ("RowsRejected", counts.rejected),
    ] {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a metric, and files have fewer than 2^52 rows"
        )]
        metrics.put(name, Unit::Count, rows as f64);
    }
    metrics.flush(at);
}
