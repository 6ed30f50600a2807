//! Runs an import, and takes one back.
//!
//! A run reads its file twice. The first pass validates every row, writes `errors.csv` and notes
//! where the rows of each day stand; only then the second stores the days, one conditional write a
//! day. Both are safe to stop anywhere and to run again, also twice at the same time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp, civil::Date};
use shared::{
    frame::FrameError,
    platform::{
        clock::Clock,
        ids::{self, Random},
    },
    sales::{
        chunk::{self, ChunkBuilder, ChunkError, DayRows},
        day::{Day, Manifest, Overflow},
        errors_file,
        file::{
            Dialect, Encoding, FileError, Limits, ParsedRow, Parser, RejectedRow, RowError, Sink,
            Start, Summary,
        },
        files::{FilesError, ImportFiles, MOST_BYTES, Plan},
        identity::RowIdentity,
        import::{
            Counts, DaySpan, Failure, Import, ImportId, ObjectVersion, Progress, REPORTED_ERRORS,
            Status,
        },
        rules::{self, Extent, MOST_DAYS, MOST_ROWS_A_DAY, Pass},
        store::{SalesStore, StoreError, Write},
    },
};

/// Bytes read from a file at a time.
const SLICE: u64 = 1024 * 1024;

/// Days stored at the same time.
const DAYS_AT_ONCE: usize = 8;

/// Days stored between two looks at the clock.
const DAYS_BETWEEN_CHECKS: usize = 16;

/// Time left for telling the world that a run must stop.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Least time between two writes of an import's progress.
const REPORT_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// Times that a commit is tried again after somebody else's came first.
const COMMIT_TRIES: u32 = 20;

/// Age from which an unlisted chunk cannot belong to a run still alive: four times the longest run.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(1);

/// Sale IDs held in memory at once while an import is taken back: some 20 MB.
const SALES_AT_ONCE: u64 = 500_000;

/// Rows held in memory at once: about 25 MB.
pub const ROWS_AT_ONCE: u64 = 100_000;

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
    /// Others kept changing the same day.
    #[error("day {0} kept changing")]
    Contended(Date),
    /// The file could not be read once in the time of one run.
    #[error("the first pass over the file ran out of time")]
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

/// Where a run reads its file.
#[derive(Debug, Clone)]
pub enum Source {
    /// In the import bucket.
    Object(ObjectVersion),
    /// In memory.
    Bytes(Bytes),
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::Object(object) => object.size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
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
    /// Most rows held in memory at once; [`ROWS_AT_ONCE`] but in tests.
    pub rows_at_once: u64,
}

struct Scanned {
    plan: Plan,
    rejected: u64,
    errors: Vec<RowError>,
    warnings: Vec<String>,
}

enum ScanError {
    File(Failure),
    Import(ImportError),
}

impl<E: Into<ImportError>> From<E> for ScanError {
    fn from(error: E) -> Self {
        Self::Import(error.into())
    }
}

fn refused(code: &str, message: &(impl ToString + ?Sized)) -> ScanError {
    ScanError::File(Failure {
        code: code.to_owned(),
        message: message.to_string(),
    })
}

struct Run<'a> {
    importer: &'a Importer,
    attempt: String,
    chunks: AtomicU64,
    import: ImportId,
    source: &'a Source,
    writes: bool,
}

impl Importer {
    fn attempt(&self) -> String {
        let id = ids::uuid_v7(self.clock.now(), self.random.bytes());
        ids::base32(id.as_u128(), ids::BASE32_LENGTH)
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
        let Some((mut import, others_until)) = self.take_up(id, source, &attempt, deadline).await?
        else {
            return Ok(Outcome::Idle);
        };
        let run = Run {
            importer: self,
            attempt,
            chunks: AtomicU64::new(0),
            import: id,
            source,
            writes: !import.dry_run,
        };
        let ended = match run.through(&mut import, deadline).boxed().await {
            Ok(ended) => ended,
            Err(ScanError::Import(ImportError::Files(
                gone @ (FilesError::Missing | FilesError::Replaced),
            ))) => {
                import.failure = Some(Failure {
                    code: if matches!(gone, FilesError::Missing) {
                        "file-missing"
                    } else {
                        "file-replaced"
                    }
                    .into(),
                    message: gone.to_string(),
                });
                End::Reached
            }
            Err(ScanError::Import(error)) => return Err(error),
            Err(ScanError::File(failure)) => {
                import.failure = Some(failure);
                End::Reached
            }
        };
        match ended {
            End::Superseded => return Ok(Outcome::Idle),
            End::TimeShort => {
                import.active_until = others_until;
                return Ok(if self.save(&mut import).await? {
                    Outcome::Unfinished(Box::new(import))
                } else {
                    Outcome::Idle
                });
            }
            End::Reached => {}
        }
        import.status = match (&import.failure, import.counts.rejected) {
            (Some(_), _) => Status::Failed,
            (None, 0) => Status::Completed,
            (None, _) => Status::CompletedWithErrors,
        };
        import.active_until = others_until;
        Ok(if self.save(&mut import).await? {
            Outcome::Ended(Box::new(import))
        } else {
            Outcome::Idle
        })
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
            chunks: AtomicU64::new(0),
            import: id,
            source,
            writes: false,
        };
        let scanned = match run.scan(None, deadline, None).await {
            Ok(Some(scanned)) => scanned,
            Ok(None) => return Err(ImportError::Inconsistent),
            Err(ScanError::File(failure)) => return Ok(Err(failure)),
            Err(ScanError::Import(error)) => return Err(error),
        };
        let mut counts = Counts {
            rejected: scanned.rejected,
            ..Counts::default()
        };
        for pass in rules::passes(&scanned.plan.days, None, self.rows_at_once) {
            let mut rows = if pass.parts == 1 {
                run.read(&scanned.plan, pass, 0).await?
            } else {
                BTreeMap::new()
            };
            let days: Vec<Date> = scanned
                .plan
                .days
                .range(pass.first..=pass.last)
                .map(|(day, _)| *day)
                .collect();
            for (_, day) in run
                .store_days(&scanned.plan, pass, &days, &mut rows)
                .await?
            {
                counts.imported += day.imported;
                counts.duplicate += day.duplicate;
            }
        }
        Ok(Ok(Report {
            counts,
            errors: scanned.errors,
            warnings: scanned.warnings,
            days: span(&scanned.plan),
        }))
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

    fn time_is_short(&self, deadline: Timestamp) -> bool {
        self.clock.now() + MARGIN >= deadline
    }

    /// Takes exactly `id`'s rows out of every day, until none is left or `deadline` is near.
    ///
    /// The import must be [`Status::Deleting`].
    ///
    /// # Errors
    ///
    /// [`ImportError`]: nothing is lost; another call goes on.
    pub async fn take_back(
        &self,
        id: ImportId,
        deadline: Timestamp,
    ) -> Result<Outcome, ImportError> {
        let Some(mut import) = self.store.import(id).await? else {
            return Ok(Outcome::Idle);
        };
        if import.status != Status::Deleting {
            return Ok(Outcome::Idle);
        }
        let attempt = self.attempt();
        let days = self.store.import_days(id).await?;
        let from = import.next_day.unwrap_or(Date::MIN);
        let days: Vec<Date> = days.into_iter().filter(|&day| day >= from).collect();
        let chunks = AtomicU64::new(0);
        for days in days.chunks(DAYS_BETWEEN_CHECKS) {
            if self.time_is_short(deadline) {
                import.next_day = days.first().copied();
                self.save(&mut import).await?;
                return Ok(Outcome::Unfinished(Box::new(import)));
            }
            let work: Vec<_> = days
                .iter()
                .map(|&day| self.take_back_day(id, day, &attempt, &chunks).boxed())
                .collect();
            stream::iter(work)
                .buffer_unordered(DAYS_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        import.status = Status::Deleted;
        import.next_day = None;
        self.save(&mut import).await?;
        Ok(Outcome::Ended(Box::new(import)))
    }

    async fn take_back_day(
        &self,
        id: ImportId,
        date: Date,
        attempt: &str,
        chunks: &AtomicU64,
    ) -> Result<(), ImportError> {
        for _ in 0..COMMIT_TRIES {
            let day = self.store.day(date).await?;
            let mut orphans = Vec::new();
            let undo = rules::undo(&day, id);
            let mut builder = ChunkBuilder::default();
            let oldest = self.clock.now() - ORPHAN_AGE;
            self.store
                .visit_chunks(date, |name, frame| {
                    if !day.chunks.contains_key(name) {
                        orphans.extend(is_orphan(name, oldest).then(|| name.to_owned()));
                    } else if undo
                        .as_ref()
                        .is_some_and(|undo| undo.rewrite.iter().any(|other| other == name))
                    {
                        builder
                            .push_chunk(&frame, |import| import != id)
                            .map_err(|error| error.of(name))?;
                    }
                    Ok(())
                })
                .await?;
            let Some(undo) = undo else {
                self.store.delete_chunks(date, &orphans).await?;
                return Ok(());
            };
            let orders = self.orders_without(&day, id).await?;
            let mut manifest = day.chunks.clone();
            let gone: Vec<String> = undo.drop.into_iter().chain(undo.rewrite).collect();
            for name in &gone {
                manifest.remove(name);
            }
            let rewritten = builder.finish().map_err(|error| error.of("rewritten"))?;
            let written =
                put_chunks(&self.store, date, rewritten, attempt, chunks, &mut manifest).await?;
            let next = day.with_chunks(manifest, orders)?;
            match self.store.commit(&next).await? {
                Write::Done => {
                    orphans.extend(gone);
                    self.store.delete_chunks(date, &orphans).await?;
                    return Ok(());
                }
                Write::Conflict => self.store.delete_chunks(date, &written).await?,
            }
        }
        Err(ImportError::Contended(date))
    }

    /// How many orders the day keeps when `id`'s rows go: those that no other import's row names go
    /// with them.
    async fn orders_without(&self, day: &Day, id: ImportId) -> Result<u64, ImportError> {
        let is_alone = day
            .chunks
            .values()
            .flat_map(BTreeMap::keys)
            .all(|import| *import == id);
        if is_alone {
            return Ok(0);
        }
        let rows = day.part_of(id)?.unwrap_or_default().rows;
        let parts = rows.div_ceil(SALES_AT_ONCE).max(1);
        let mut gone = 0;
        for part in 0..parts {
            let mut sales = HashSet::new();
            for takes in [true, false] {
                self.store
                    .visit_chunks(day.date, |name, frame| {
                        if !day.chunks.contains_key(name) {
                            return Ok(());
                        }
                        chunk::visit_identities(&frame, day.date, |row| {
                            let is_own = row.import == id;
                            if takes && is_own && Pass::part_of(parts, row.sale) == part {
                                sales.insert(row.sale);
                            } else if !takes && !is_own {
                                sales.remove(&row.sale);
                            }
                        })
                        .map_err(|error| error.of(name))
                    })
                    .await?;
            }
            gone += sales.len() as u64;
        }
        Ok(day.orders.saturating_sub(gone))
    }
}

/// Whether no run that is still alive can mean to list the chunk.
fn is_orphan(name: &str, oldest: Timestamp) -> bool {
    name.split_once('-')
        .and_then(|(attempt, _)| ids::parse_base32(attempt, ids::BASE32_LENGTH).ok())
        .and_then(|bits| Timestamp::from_millisecond(i64::try_from(bits >> 80).ok()?).ok())
        .is_some_and(|born| born < oldest)
}

async fn put_chunks(
    store: &SalesStore,
    date: Date,
    chunks: Vec<chunk::Chunk>,
    attempt: &str,
    counter: &AtomicU64,
    manifest: &mut Manifest,
) -> Result<Vec<String>, ImportError> {
    let mut names = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let name = format!("{attempt}-{:06}", counter.fetch_add(1, Ordering::Relaxed));
        store.put_chunk(date, &name, chunk.frame).await?;
        manifest.insert(name.clone(), chunk.parts);
        names.push(name);
    }
    Ok(names)
}

fn span(plan: &Plan) -> Option<DaySpan> {
    let (first, last) = (plan.days.keys().next()?, plan.days.keys().next_back()?);
    Some(DaySpan {
        first: *first,
        last: *last,
    })
}

enum End {
    Reached,
    TimeShort,
    Superseded,
}

#[derive(Debug, Default, Clone, Copy)]
struct DayCounts {
    imported: u64,
    duplicate: u64,
}

impl Run<'_> {
    async fn through(&self, import: &mut Import, deadline: Timestamp) -> Result<End, ScanError> {
        let planned = match import.status {
            Status::Importing => self.importer.files.plan(self.import).await?,
            _ => None,
        };
        let plan = match planned {
            Some(plan) => plan,
            None => match self.validate(import, deadline).await? {
                Some(plan) => plan,
                None => return Ok(End::Superseded),
            },
        };
        let mut reported = self.importer.clock.now();
        for pass in rules::passes(&plan.days, import.next_day, self.importer.rows_at_once) {
            let mut rows = if pass.parts == 1 {
                self.read(&plan, pass, 0).await?
            } else {
                BTreeMap::new()
            };
            let days: Vec<Date> = plan
                .days
                .range(pass.first..=pass.last)
                .map(|(day, _)| *day)
                .collect();
            for days in days.chunks(DAYS_BETWEEN_CHECKS) {
                if self.importer.time_is_short(deadline) {
                    import.next_day = days.first().copied();
                    return Ok(End::TimeShort);
                }
                let stored = self.store_days(&plan, pass, days, &mut rows).await?;
                for (date, day) in stored {
                    import.counts.imported += day.imported;
                    import.counts.duplicate += day.duplicate;
                    import.rows.done += plan.days[&date].rows;
                }
                import.next_day = days.last().and_then(|last| last.tomorrow().ok());
                let now = self.importer.clock.now();
                if now.duration_since(reported) >= REPORT_EVERY {
                    reported = now;
                    if !self.importer.save(import).await? {
                        return Ok(End::Superseded);
                    }
                }
            }
        }
        Ok(End::Reached)
    }

    /// The first pass; `None` when another run has taken over.
    async fn validate(
        &self,
        import: &mut Import,
        deadline: Timestamp,
    ) -> Result<Option<Plan>, ScanError> {
        let (store, files) = (&self.importer.store, &self.importer.files);
        let scanned = self.scan(Some(import), deadline, Some(files)).await?;
        let Some(scanned) = scanned else {
            return Ok(None);
        };
        import.bytes.done = import.bytes.total;
        import.rows = Progress {
            done: 0,
            total: scanned.plan.days.values().map(|day| day.rows).sum(),
        };
        import.counts = Counts {
            rejected: scanned.rejected,
            ..Counts::default()
        };
        import.days = span(&scanned.plan);
        import.warnings = scanned.warnings;
        import.next_day = None;
        if !scanned.errors.is_empty() {
            store.put_row_errors(self.import, &scanned.errors).await?;
        }
        if self.writes {
            store
                .put_import_days(self.import, scanned.plan.days.keys().copied())
                .await?;
        }
        files.put_plan(self.import, &scanned.plan).await?;
        import.status = Status::Importing;
        Ok(self.importer.save(import).await?.then_some(scanned.plan))
    }

    /// Reads the whole file once, in the encoding that fits it.
    async fn scan(
        &self,
        mut report: Option<&mut Import>,
        deadline: Timestamp,
        errors_to: Option<&ImportFiles>,
    ) -> Result<Option<Scanned>, ScanError> {
        if self.source.len() > MOST_BYTES {
            return Err(refused("file-too-large", "the file is larger than 5 GiB"));
        }
        let mut encoding = Encoding::Utf8;
        loop {
            match self
                .scan_as(encoding, report.as_deref_mut(), deadline, errors_to)
                .await?
            {
                Ok(scanned) => return Ok(scanned),
                Err(error) => match error.restart_in() {
                    Some(other) if encoding != other => encoding = other,
                    _ => return Err(refused(error.code(), &error)),
                },
            }
        }
    }

    async fn scan_as(
        &self,
        encoding: Encoding,
        mut report: Option<&mut Import>,
        deadline: Timestamp,
        errors_to: Option<&ImportFiles>,
    ) -> Result<Result<Option<Scanned>, FileError>, ScanError> {
        let mut errors_file = errors_to.map(|files| files.errors_file(self.import));
        let mut reported = self.importer.clock.now();
        let mut parsing = Parsing::new(Start::Beginning(encoding), FirstPass::default());
        let (size, mut at) = (self.source.len(), 0);
        let mut slice = self.slice(0, size).await?;
        while !slice.is_empty() {
            at += slice.len() as u64;
            let (fed, next) = tokio::join!(parsing.feed(slice), self.slice(at, size));
            (parsing, slice) = (fed?, next?);
            if let Some(error) = parsing.failed {
                return Ok(Err(error));
            }
            if parsing.sink.days.len() > MOST_DAYS {
                return Err(refused(
                    "too-many-days",
                    &format!("rows fall on more than {MOST_DAYS} days"),
                ));
            }
            if let (Some(file), Some(rejected)) = (&mut errors_file, parsing.sink.take_rejected()) {
                file.write(&rejected).await?;
            }
            let now = self.importer.clock.now();
            if now >= deadline {
                return Err(ImportError::OutOfTime.into());
            }
            if let Some(import) = report.as_deref_mut()
                && now.duration_since(reported) >= REPORT_EVERY
            {
                reported = now;
                import.bytes.done = at;
                if !self.importer.save(import).await? {
                    return Ok(Ok(None));
                }
            }
        }
        let (summary, mut pass) = match parsing.finish().await? {
            Ok(finished) => finished,
            Err(error) => return Ok(Err(error)),
        };
        pass.close_day();
        if let Some(mut file) = errors_file {
            if let Some(rejected) = pass.take_rejected() {
                file.write(&rejected).await?;
            }
            file.finish().await?;
        }
        if let Some((day, _)) = pass
            .days
            .iter()
            .find(|(_, extent)| extent.rows > MOST_ROWS_A_DAY)
        {
            let message = format!("more than {MOST_ROWS_A_DAY} rows fall on {day}: split the file");
            return Err(refused("day-too-large", &message));
        }
        Ok(Ok(Some(Scanned {
            rejected: summary.rejected,
            errors: pass.errors,
            warnings: summary.warnings.iter().map(ToString::to_string).collect(),
            plan: Plan {
                dialect: summary.dialect,
                days: pass.days,
            },
        })))
    }

    async fn slice(&self, from: u64, to: u64) -> Result<Bytes, FilesError> {
        let to = to.min(from + SLICE);
        if from >= to {
            return Ok(Bytes::new());
        }
        match self.source {
            Source::Object(object) => self.importer.files.read(object, from, to).await,
            Source::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(index(from)..index(to)))
            }
        }
    }

    /// The second pass over one stretch: the rows of its days, or of one part of its only day.
    async fn read(
        &self,
        plan: &Plan,
        pass: Pass,
        part: u64,
    ) -> Result<BTreeMap<Date, DayRows>, ImportError> {
        let start = Start::Resume {
            dialect: plan.dialect.clone(),
            offset: pass.from,
            row: 2,
        };
        let mut parsing = Parsing::new(
            start,
            SecondPass {
                pass,
                part,
                days: BTreeMap::new(),
                failed: None,
            },
        );
        let mut at = pass.from;
        let mut slice = self.slice(at, pass.to).await?;
        while !slice.is_empty() {
            at += slice.len() as u64;
            let (fed, next) = tokio::join!(parsing.feed(slice), self.slice(at, pass.to));
            (parsing, slice) = (fed?, next?);
            if parsing.failed.is_some() {
                return Err(ImportError::Inconsistent);
            }
        }
        let (_, rows) = parsing
            .finish()
            .await?
            .map_err(|_| ImportError::Inconsistent)?;
        match rows.failed {
            Some(error) => Err(ChunkError::Frame(error).of("new").into()),
            None => Ok(rows.days),
        }
    }

    async fn store_days(
        &self,
        plan: &Plan,
        pass: Pass,
        days: &[Date],
        rows: &mut BTreeMap<Date, DayRows>,
    ) -> Result<Vec<(Date, DayCounts)>, ImportError> {
        let mut work = Vec::with_capacity(days.len());
        for &date in days {
            let stored = self.store_day(plan, pass, date, rows.remove(&date));
            work.push(stored.map_ok(move |counts| (date, counts)).boxed());
        }
        stream::iter(work)
            .buffer_unordered(DAYS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Adds what is new of a day, and says how many rows that was.
    async fn store_day(
        &self,
        plan: &Plan,
        pass: Pass,
        date: Date,
        rows: Option<DayRows>,
    ) -> Result<DayCounts, ImportError> {
        let store = &self.importer.store;
        let in_file = plan.days[&date].rows;
        for _ in 0..COMMIT_TRIES {
            let day = store.day(date).await?;
            if let Some(part) = day.part_of(self.import)? {
                return Ok(DayCounts {
                    imported: part.rows,
                    duplicate: in_file.saturating_sub(part.rows),
                });
            }
            let mut change = Change {
                manifest: day.chunks.clone(),
                orders: day.orders,
                written: Vec::new(),
                removed: Vec::new(),
                counts: DayCounts::default(),
            };
            match &rows {
                Some(rows) => self.add(&day, rows, &mut change, pass.parts).await?,
                None => {
                    for part in 0..pass.parts {
                        if let Some(rows) = self.read(plan, pass, part).await?.remove(&date) {
                            self.add(&day, &rows, &mut change, pass.parts).await?;
                        }
                    }
                }
            }
            if change.counts.imported + change.counts.duplicate != in_file {
                return Err(ImportError::Inconsistent);
            }
            if !self.writes {
                return Ok(change.counts);
            }
            if change.counts.imported == 0 {
                store.delete_chunks(date, &change.removed).await?;
                return Ok(change.counts);
            }
            let next = day.with_chunks(change.manifest, change.orders)?;
            match store.commit(&next).await? {
                Write::Done => {
                    store.delete_chunks(date, &change.removed).await?;
                    return Ok(change.counts);
                }
                Write::Conflict => store.delete_chunks(date, &change.written).await?,
            }
        }
        Err(ImportError::Contended(date))
    }

    /// Writes the chunks of the rows that `day` does not have yet, and notes them in `change`.
    async fn add(
        &self,
        day: &Day,
        rows: &DayRows,
        change: &mut Change,
        parts: u64,
    ) -> Result<(), ImportError> {
        let store = &self.importer.store;
        let merge = if parts == 1 {
            rules::chunks_to_merge(&day.chunks, 1, chunk::FULL as u64)
        } else {
            Vec::new()
        };
        let in_file: HashSet<RowIdentity> = rows.identities().iter().copied().collect();
        let mut new_sales: HashSet<u128> = rows.sales().iter().copied().collect();
        let mut stored = HashSet::new();
        let mut orphans = Vec::new();
        let mut builder = ChunkBuilder::default();
        let oldest = self.importer.clock.now() - ORPHAN_AGE;
        store
            .visit_chunks(day.date, |name, frame| {
                if !day.chunks.contains_key(name) {
                    orphans.extend(is_orphan(name, oldest).then(|| name.to_owned()));
                    return Ok(());
                }
                chunk::visit_identities(&frame, day.date, |row| {
                    new_sales.remove(&row.sale);
                    if in_file.contains(&row.identity) {
                        stored.insert((row.identity, row.ordinal));
                    }
                })
                .and_then(|()| {
                    if self.writes && merge.iter().any(|small| small == name) {
                        builder.push_chunk(&frame, |_| true)?;
                    }
                    Ok(())
                })
                .map_err(|error| error.of(name))
            })
            .await?;
        let admitted = rules::admit(rows.identities(), &stored);
        change.counts.imported += admitted.len() as u64;
        change.counts.duplicate += (rows.identities().len() - admitted.len()) as u64;
        for orphan in orphans {
            if !change.removed.contains(&orphan) {
                change.removed.push(orphan);
            }
        }
        if admitted.is_empty() || !self.writes {
            return Ok(());
        }
        let mut sales = HashSet::new();
        for (index, ordinal) in admitted {
            if new_sales.contains(&rows.sales()[index]) {
                sales.insert(rows.sales()[index]);
            }
            builder
                .push(rows, index, ordinal, self.import)
                .map_err(|error| error.of("new"))?;
        }
        change.orders += sales.len() as u64;
        for name in merge {
            change.manifest.remove(&name);
            change.removed.push(name);
        }
        let chunks = builder.finish().map_err(|error| error.of("new"))?;
        let written = put_chunks(
            store,
            day.date,
            chunks,
            &self.attempt,
            &self.chunks,
            &mut change.manifest,
        )
        .await?;
        change.written.extend(written);
        Ok(())
    }
}

/// What a run is about to do to a day.
struct Change {
    manifest: Manifest,
    orders: u64,
    written: Vec<String>,
    removed: Vec<String>,
    counts: DayCounts,
}

/// A parser that works on a blocking thread while the next slice is fetched.
struct Parsing<S> {
    parser: Parser,
    sink: S,
    failed: Option<FileError>,
}

impl<S: Sink + Send + 'static> Parsing<S> {
    fn new(start: Start, sink: S) -> Self {
        Self {
            parser: Parser::new(start, Limits::default()),
            sink,
            failed: None,
        }
    }

    async fn feed(mut self, slice: Bytes) -> Result<Self, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || {
            self.failed = self.parser.feed(&slice, &mut self.sink).err();
            self
        })
        .await
    }

    async fn finish(mut self) -> Result<Result<(Summary, S), FileError>, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || {
            let summary = self.parser.finish(&mut self.sink)?;
            Ok((summary, self.sink))
        })
        .await
    }
}

/// Notes where each day's rows stand, and what is wrong with the others.
#[derive(Default)]
struct FirstPass {
    days: BTreeMap<Date, Extent>,
    day: Option<(Date, Extent)>,
    errors: Vec<RowError>,
    dialect: Option<Dialect>,
    rejected: Vec<u8>,
    has_header: bool,
}

impl FirstPass {
    fn close_day(&mut self) {
        let Some((date, stretch)) = self.day.take() else {
            return;
        };
        self.days
            .entry(date)
            .and_modify(|extent| {
                extent.rows += stretch.rows;
                extent.from = extent.from.min(stretch.from);
                extent.to = extent.to.max(stretch.to);
            })
            .or_insert(stretch);
    }

    /// The rows rejected since the last call as lines of `errors.csv`, behind its header the first
    /// time; `None` where there are none.
    fn take_rejected(&mut self) -> Option<Vec<u8>> {
        (!self.rejected.is_empty()).then(|| std::mem::take(&mut self.rejected))
    }
}

impl Sink for FirstPass {
    fn header(&mut self, dialect: &Dialect) {
        self.dialect = Some(dialect.clone());
    }

    fn row(&mut self, row: &ParsedRow<'_>) {
        match &mut self.day {
            Some((date, extent)) if *date == row.date => extent.include(row.start, row.end),
            _ => {
                self.close_day();
                self.day = Some((
                    row.date,
                    Extent {
                        rows: 1,
                        from: row.start,
                        to: row.end,
                    },
                ));
            }
        }
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        if self.errors.len() < REPORTED_ERRORS {
            self.errors.push(row.error.clone());
        }
        let Some(dialect) = &self.dialect else { return };
        if !std::mem::replace(&mut self.has_header, true) {
            errors_file::write_header(&mut self.rejected, dialect);
        }
        errors_file::write_row(&mut self.rejected, dialect, row);
    }
}

/// Keeps the rows of some days.
struct SecondPass {
    pass: Pass,
    part: u64,
    days: BTreeMap<Date, DayRows>,
    failed: Option<FrameError>,
}

impl Sink for SecondPass {
    fn row(&mut self, row: &ParsedRow<'_>) {
        if row.date < self.pass.first || row.date > self.pass.last {
            return;
        }
        let sale = chunk::sale_digest(row.sale_id);
        if Pass::part_of(self.pass.parts, sale) == self.part {
            let day = self.days.entry(row.date).or_default();
            self.failed = self.failed.take().or(day.push(row, sale).err());
        }
    }

    fn rejected(&mut self, _: &RejectedRow<'_>) {}
}
