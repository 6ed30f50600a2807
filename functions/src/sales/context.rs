//! What the handlers of the sales API work with.

use jiff::{SignedDuration, Timestamp};
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, CursorKey, ImportQueue, ImportsBucket, SalesTable},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
        upload_form::UploadSigner,
    },
    sales::{files::ImportFiles, import::ImportId, store::SalesStore},
};

use super::{
    importer::{Importer, MEMORY},
    queue::{Action, Task, TaskQueue},
};

/// How long a request may work: API Gateway gives up after 29 s.
const REQUEST_TIME: SignedDuration = SignedDuration::from_secs(26);

/// Seconds after which the import queue looks whether a request finished what it began.
const HEAL_AFTER: i32 = 60;

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// Runs imports and takes them back.
    pub importer: Importer,
    /// Takes what a request cannot finish.
    pub queue: TaskQueue,
    /// Signs upload forms.
    pub signer: UploadSigner,
    /// Signs cursors.
    pub cursors: CursorKey,
    /// Remembers answers by their idempotency key.
    pub idempotency: Idempotency,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = SalesTable::from_env()?;
        let bucket = ImportsBucket::from_env()?;
        let dynamodb = aws.dynamodb();
        Ok(Self {
            importer: Importer {
                store: SalesStore::new(dynamodb.clone(), table.as_str().to_owned()),
                files: ImportFiles::new(aws.s3(), bucket.as_str().to_owned()),
                clock: Clock::system(),
                random: Random::system(),
                memory: MEMORY,
                digests: Importer::DIGESTS,
            },
            queue: TaskQueue {
                client: aws.sqs(),
                queue: ImportQueue::from_env()?,
            },
            signer: UploadSigner::from_env()?,
            cursors: CursorKey::from_env()?,
            idempotency: Idempotency::new(
                dynamodb,
                table.as_str(),
                Clock::system(),
                Random::system(),
            ),
        })
    }

    /// Has the import queue look, a minute from now, whether a request finished `action`: whatever
    /// becomes of the request, somebody sees it through.
    ///
    /// # Errors
    ///
    /// A problem when the queue did not take the message.
    pub async fn see_through(&self, action: Action, import: ImportId) -> Result<(), Problem> {
        let task = Task { action, import };
        self.queue
            .send(task, HEAL_AFTER)
            .await
            .map_err(Problem::aws)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.importer.clock.now()
    }

    /// When a request that begins now must be answered.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.now() + REQUEST_TIME
    }
}
