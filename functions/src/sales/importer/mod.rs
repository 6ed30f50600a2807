//! Runs an import, and takes one back.
//!
//! A run reads its file twice. The [first pass](first_pass) validates every row, writes
//! `errors.csv` and notes where the rows of each day stand; only then the [second](second_pass)
//! stores the days, one conditional write a day. Both are safe to stop anywhere and to run again,
//! also twice at the same time; so is [taking back](take_back).

mod first_pass;
mod reading;
mod second_pass;
mod take_back;

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp, civil::Date};
use shared::{
    platform::{
        clock::Clock,
        ids::{self, Random},
        table::Write,
        telemetry,
    },
    sales::{
        chunk::{Chunk, ChunkError},
        day::{Manifest, Overflow},
        file::RowError,
        files::{FilesError, ImportFiles},
        import::{Counts, DaySpan, Failure, Import, ImportId, Status},
        store::{SalesStore, StoreError},
    },
};

pub use reading::Source;

/// Days worked on at the same time.
const DAYS_AT_ONCE: usize = 8;

/// Days worked on between two looks at the clock.
const DAYS_BETWEEN_CHECKS: usize = 16;

/// Time left for telling the world that a run must stop.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Time of a run with which it must get on: one that began with so much and stored no day never
/// will.
const FULL_LENGTH: SignedDuration = SignedDuration::from_mins(10);

/// How long after a failed run its last write may still arrive.
const SETTLE: SignedDuration = SignedDuration::from_secs(30);

/// Least time between two writes of an import's progress.
const REPORT_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Times that a commit is tried again after somebody else's came first.
const COMMIT_TRIES: u32 = 20;

/// Age from which an unlisted chunk cannot belong to a run still alive: four times the longest run.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(1);

/// Memory for rows held at once, in bytes.
pub const MEMORY: u64 = 20 * 1024 * 1024;

/// A run that has to be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The sales table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The import bucket failed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A sum left the range of an exact decimal.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Rows could not be packed or unpacked.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Others kept changing the same day.
    #[error("day {0} kept changing")]
    Contended(Date),
    /// The day's item cannot take more chunks.
    #[error("day {0} has been imported into too often, or holds too much text")]
    DayFull(Date),
    /// The time of the run is over.
    #[error("the time of the run is over")]
    OutOfTime,
    /// The file reads differently than in the first pass.
    #[error("the file changed between two passes")]
    Inconsistent,
    /// The parsing thread is gone.
    #[error("the parsing thread failed")]
    Thread(#[from] tokio::task::JoinError),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The import has reached its end.
    Ended(Box<Import>),
    /// The time was short; another run goes on.
    Unfinished(Box<Import>),
    /// There was nothing to do, or another run has taken over.
    Idle,
}

/// What a file would do, or did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// What became of its rows.
    pub counts: Counts,
    /// The first row errors.
    pub errors: Vec<RowError>,
    /// What its reader should know.
    pub warnings: Vec<String>,
    /// The days its valid rows fall on.
    pub days: Option<DaySpan>,
}

/// Runs imports.
#[derive(Debug)]
pub struct Importer {
    /// The sales table.
    pub store: SalesStore,
    /// The import bucket.
    pub files: ImportFiles,
    /// The time.
    pub clock: Clock,
    /// Where attempts get their names.
    pub random: Random,
    /// Memory for rows held at once, in bytes; [`MEMORY`] but in tests.
    pub memory: u64,
    /// Digests held at once where a day is taken in parts; [`Importer::DIGESTS`] but in tests.
    pub digests: u64,
}

enum Interrupted {
    /// The file is refused, with this reason.
    File(Failure),
    /// The run failed, and is to be repeated.
    Run(ImportError),
}

impl<E: Into<ImportError>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

fn refused(code: &str, message: &(impl ToString + ?Sized)) -> Interrupted {
    Interrupted::File(Failure {
        code: code.to_owned(),
        message: message.to_string(),
    })
}

/// The name of one run, and of the chunks it writes.
struct Attempt {
    name: String,
    chunks: AtomicU64,
    commits: AtomicU64,
}

impl Attempt {
    fn next_chunk(&self) -> String {
        let number = self.chunks.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:06}", self.name)
    }

    /// Writes chunks and lists them in `manifest`.
    async fn put_chunks(
        &self,
        store: &SalesStore,
        date: Date,
        chunks: Vec<Chunk>,
        manifest: &mut Manifest,
    ) -> Result<(), StoreError> {
        for chunk in chunks {
            let name = self.next_chunk();
            store.put_chunk(date, &name, chunk.frame).await?;
            manifest.insert(name, chunk.parts);
        }
        Ok(())
    }
}

/// Whether no run that is still alive can mean to list the chunk.
fn is_orphan(name: &str, oldest: Timestamp) -> bool {
    name.split_once('-')
        .and_then(|(attempt, _)| ids::parse_base32(attempt, ids::BASE32_LENGTH).ok())
        .and_then(|bits| Timestamp::from_millisecond(i64::try_from(bits >> 80).ok()?).ok())
        .is_some_and(|born| born < oldest)
}

struct Run<'a> {
    importer: &'a Importer,
    attempt: Attempt,
    import: ImportId,
    source: &'a Source,
    writes: bool,
    started: Timestamp,
    deadline: Timestamp,
}

impl Run<'_> {
    /// Whether another run could not have more time than this one had.
    fn is_full_length(&self) -> bool {
        self.deadline.duration_since(self.started) >= FULL_LENGTH
    }

    /// Ends the run in time for the next one to be called.
    fn check_time(&self) -> Result<(), ImportError> {
        if self.importer.time_is_short(self.deadline) {
            return Err(ImportError::OutOfTime);
        }
        Ok(())
    }
}

enum End {
    Reached,
    TimeShort,
    Superseded,
}

impl Importer {
    /// Digests held in memory at once where a day is taken in parts: some 10 MB.
    pub const DIGESTS: u64 = 150_000;

    fn attempt(&self) -> Attempt {
        let id = ids::uuid_v7(self.clock.now(), self.random.bytes());
        Attempt {
            name: ids::base32(id.as_u128(), ids::BASE32_LENGTH),
            chunks: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        }
    }

    /// Those of the `unlisted` chunks that no run still alive can mean to list.
    fn orphans(&self, unlisted: Vec<String>) -> Vec<String> {
        let oldest = self.clock.now() - ORPHAN_AGE;
        let is_old = |name: &String| is_orphan(name, oldest);
        unlisted.into_iter().filter(is_old).collect()
    }

    /// Takes the import up, runs it until it ends or `deadline` is near, and keeps its record.
    ///
    /// # Errors
    ///
    /// [`ImportError`]: nothing is lost; another run begins where this one ended.
    pub async fn run(
        &self,
        id: ImportId,
        source: &Source,
        deadline: Timestamp,
    ) -> Result<Outcome, ImportError> {
        let attempt = self.attempt();
        let taken_up = self.take_up(id, source, &attempt.name, deadline).await?;
        let Some((mut import, others_until)) = taken_up else {
            return Ok(Outcome::Idle);
        };
        let run = Run {
            importer: self,
            attempt,
            import: id,
            source,
            writes: !import.dry_run,
            started: self.clock.now(),
            deadline,
        };
        let began_at = (import.status == Status::Importing).then_some(import.next_day);
        let ended = match run.through(&mut import).boxed().await {
            Ok(ended) => ended,
            Err(Interrupted::Run(error)) => match error.into_failure() {
                Ok(failure) => {
                    import.failure = Some(failure);
                    End::Reached
                }
                Err(error) => {
                    // A write whose reply is missing may yet arrive: an undo waits that long.
                    let settled = self.clock.now() + SETTLE;
                    import.active_until = others_until.max(Some(settled));
                    self.save(&mut import).await?;
                    return Err(error);
                }
            },
            Err(Interrupted::File(failure)) => {
                import.failure = Some(failure);
                End::Reached
            }
        };
        match ended {
            End::Superseded => return Ok(Outcome::Idle),
            End::TimeShort
                if began_at == Some(import.next_day)
                    && run.is_full_length()
                    && run.attempt.commits.load(Ordering::Relaxed) == 0 =>
            {
                import.failure = Some(Failure {
                    code: "too-slow".into(),
                    message: "a single day of the file takes longer than a run may: sort the file \
                              by date, or split it"
                        .into(),
                });
            }
            End::TimeShort => {
                import.active_until = others_until;
                return self.kept(import, Outcome::Unfinished).await;
            }
            End::Reached => {}
        }
        import.status = match (&import.failure, import.counts.rejected) {
            (Some(_), _) => Status::Failed,
            (None, 0) => Status::Completed,
            (None, _) => Status::CompletedWithErrors,
        };
        import.active_until = others_until;
        self.kept(import, Outcome::Ended).await
    }

    /// Counts what importing `source` would do, by the same steps, and writes nothing.
    ///
    /// # Errors
    ///
    /// The failure that the import would end with, or an [`ImportError`].
    pub async fn rehearse(
        &self,
        id: ImportId,
        source: &Source,
        deadline: Timestamp,
    ) -> Result<Result<Report, Failure>, ImportError> {
        let run = Run {
            importer: self,
            attempt: self.attempt(),
            import: id,
            source,
            writes: false,
            started: self.clock.now(),
            deadline,
        };
        match run.rehearse().boxed().await {
            Ok(report) => Ok(Ok(report)),
            Err(Interrupted::File(failure)) => Ok(Err(failure)),
            Err(Interrupted::Run(error)) => Err(error),
        }
    }

    /// Claims the import for `attempt`: the run before, if any is alive, stops at its next report.
    /// Until when it may be alive at most comes back too, for an undo has to wait for that.
    async fn take_up(
        &self,
        id: ImportId,
        source: &Source,
        attempt: &str,
        deadline: Timestamp,
    ) -> Result<Option<(Import, Option<Timestamp>)>, ImportError> {
        for _ in 0..COMMIT_TRIES {
            let Some(mut import) = self.store.import(id).await? else {
                return Ok(None);
            };
            if !import.status.is_open() {
                return Ok(None);
            }
            let expected = import.version;
            if import.status == Status::Pending {
                import.status = Status::Validating;
            }
            if let Source::Object(object) = source {
                import.object.get_or_insert_with(|| object.clone());
            }
            import.bytes.total = source.len();
            import.attempt = Some(attempt.to_owned());
            let others_until = import
                .active_until
                .filter(|&until| until > self.clock.now());
            import.active_until = others_until.max(Some(deadline + MARGIN));
            import.updated_at = self.clock.now();
            import.version += 1;
            if self.store.save_import(&import, expected).await? == Write::Done {
                return Ok(Some((import, others_until)));
            }
        }
        Ok(None)
    }

    /// Keeps the record if no other run has taken the import over.
    async fn save(&self, import: &mut Import) -> Result<bool, ImportError> {
        let expected = import.version;
        import.version += 1;
        import.updated_at = self.clock.now();
        Ok(self.store.save_import(import, expected).await? == Write::Done)
    }

    /// Keeps the record, and says how the run ended; idle if another run has taken the import over.
    async fn kept(
        &self,
        mut import: Import,
        outcome: fn(Box<Import>) -> Outcome,
    ) -> Result<Outcome, ImportError> {
        Ok(if self.save(&mut import).await? {
            outcome(Box::new(import))
        } else {
            Outcome::Idle
        })
    }

    fn time_is_short(&self, deadline: Timestamp) -> bool {
        self.clock.now() + MARGIN >= deadline
    }
}

impl ImportError {
    /// What the import fails with for good; the error itself where another run may succeed.
    fn into_failure(self) -> Result<Failure, Self> {
        let code = match &self {
            Self::Files(FilesError::Missing) => "file-missing",
            Self::Files(FilesError::Replaced) => "file-replaced",
            Self::DayFull(_) => "day-full",
            Self::Overflow(_) => "amount-overflow",
            Self::Store(error) if error.retryable() => return Err(self),
            Self::Chunk(_) | Self::Inconsistent | Self::Store(_) | Self::Thread(_) => {
                tracing::error!(error = telemetry::chain(&self), "import failed for good");
                "internal-error"
            }
            _ => return Err(self),
        };
        Ok(Failure {
            code: code.into(),
            message: self.to_string(),
        })
    }
}
