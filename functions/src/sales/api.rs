//! The sales API: who may call what, and where it is answered.

use std::sync::Arc;

use axum::{Router, routing};
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
    sales::{
        files::{FilesError, ImportFiles},
        store::{SalesStore, StoreError},
    },
};

use super::{
    announce, import_sales,
    importer::{ImportError, Importer, MEMORY},
    imports,
    queue::TaskQueue,
    rows,
};

/// How long a request may work: API Gateway gives up after 29 s.
const REQUEST_TIME: SignedDuration = SignedDuration::from_secs(26);

/// Seconds after which the import queue looks whether a request finished what it began.
pub const HEAL_AFTER: i32 = 60;

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

/// The routes of the sales API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/api/sales", routing::get(rows::list))
        .route(
            "/api/sales/import-sales",
            routing::post(import_sales::import_sales),
        )
        .route(
            "/api/sales/imports",
            routing::post(announce::announce).get(imports::list),
        )
        .route(
            "/api/sales/imports/{id}",
            routing::get(imports::get).delete(imports::delete),
        )
        .with_state(Arc::new(context))
}

/// The problem that a failed call on the sales table is to a caller.
#[must_use]
pub fn store_problem(error: StoreError) -> Problem {
    if error.retryable() {
        Problem::unavailable(error)
    } else {
        Problem::internal(error)
    }
}

/// The problem that an interrupted import is to a caller.
#[must_use]
pub fn import_problem(error: ImportError) -> Problem {
    match error {
        ImportError::Store(error) => store_problem(error),
        ImportError::Files(error) => files_problem(error),
        ImportError::Contended(_) | ImportError::OutOfTime => Problem::unavailable(error),
        error => Problem::internal(error),
    }
}

/// The problem that a failed call on the import bucket is to a caller.
#[must_use]
pub fn files_problem(error: FilesError) -> Problem {
    if error.retryable() {
        Problem::unavailable(error)
    } else {
        Problem::internal(error)
    }
}
