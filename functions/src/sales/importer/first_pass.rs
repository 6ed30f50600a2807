//! The first pass: validates every row, and notes where the rows of each day stand.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::civil::Date;
use shared::sales::{
    errors_file,
    file::{Dialect, Encoding, FileError, ParsedRow, RejectedRow, RowError, Sink, Start, Warning},
    files::{ImportFiles, MOST_BYTES, ObjectWriter, Plan},
    import::{Counts, DaySpan, Import, Progress, REPORTED_ERRORS, Status},
    rules::{Extent, MOST_DAYS, MOST_ROWS_A_DAY},
};

use super::{ImportError, Interrupted, REPORT_EVERY, Run, reading::Parsing, refused};

/// Bytes parsed between two looks at what was rejected.
const PIECE: usize = 128 * 1024;

/// Most bytes of an import's `errors.csv`.
const MOST_REJECTED_BYTES: usize = 1 << 30;

/// Most characters of a warning.
const MOST_WARNING: usize = 1_000;

fn shortened(warning: &Warning) -> String {
    warning.to_string().chars().take(MOST_WARNING).collect()
}

/// What the first pass found.
pub(super) struct Scanned {
    pub(super) plan: Plan,
    pub(super) rejected: u64,
    pub(super) errors: Vec<RowError>,
    pub(super) warnings: Vec<String>,
}

impl Scanned {
    /// First and last day of the valid rows.
    pub(super) fn span(&self) -> Option<DaySpan> {
        let days = &self.plan.days;
        let (first, last) = (days.keys().next()?, days.keys().next_back()?);
        Some(DaySpan {
            first: *first,
            last: *last,
        })
    }
}

impl Run<'_> {
    /// The first pass; `None` when another run has taken over.
    pub(super) async fn validate(&self, import: &mut Import) -> Result<Option<Plan>, Interrupted> {
        let (store, files) = (&self.importer.store, &self.importer.files);
        let scanned = self.scan(Some(import), Some(files)).await?;
        let Some(scanned) = scanned else {
            return Ok(None);
        };
        import.bytes.done = import.bytes.total;
        let valid: u64 = scanned.plan.days.values().map(|day| day.rows).sum();
        import.rows = Progress {
            done: scanned.rejected,
            total: scanned.rejected + valid,
        };
        import.counts = Counts {
            rejected: scanned.rejected,
            ..Counts::default()
        };
        import.days = scanned.span();
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
    pub(super) async fn scan(
        &self,
        mut report: Option<&mut Import>,
        errors_to: Option<&ImportFiles>,
    ) -> Result<Option<Scanned>, Interrupted> {
        if self.source.len() > MOST_BYTES {
            return Err(refused("file-too-large", "the file is larger than 5 GiB"));
        }
        let mut encoding = Encoding::Utf8;
        loop {
            match self
                .scan_as(encoding, report.as_deref_mut(), errors_to)
                .boxed()
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
        errors_to: Option<&ImportFiles>,
    ) -> Result<Result<Option<Scanned>, FileError>, Interrupted> {
        let mut errors_file = errors_to.map(|files| files.errors_file(self.import));
        let mut reported = self.importer.clock.now();
        let mut parsing = Parsing::new(Start::Beginning(encoding), FirstPass::default());
        let (size, mut at) = (self.source.len(), 0);
        let mut slice = self.slice(0, size).await?;
        while !slice.is_empty() {
            at += slice.len() as u64;
            let fed = feed(parsing, slice, &mut errors_file);
            let (fed, next) = tokio::join!(fed, self.slice(at, size));
            (parsing, slice) = (fed?, next?);
            if let Some(error) = parsing.failed {
                return Ok(Err(error));
            }
            parsing.sink.within_limits()?;
            if self.check_time().is_err() {
                if self.is_full_length() {
                    let message = "the file cannot be read in the time of one run: split it";
                    return Err(refused("too-slow", message));
                }
                return Err(ImportError::OutOfTime.into());
            }
            let now = self.importer.clock.now();
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
        pass.within_limits()?;
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
            warnings: summary.warnings.iter().map(shortened).collect(),
            plan: Plan {
                dialect: summary.dialect,
                days: pass.days,
            },
        })))
    }
}

/// Parses a slice piece by piece, and writes what is rejected before the next piece: a short row
/// can become a long line of `errors.csv`.
async fn feed(
    mut parsing: Parsing<FirstPass>,
    slice: Bytes,
    errors_file: &mut Option<ObjectWriter<'_>>,
) -> Result<Parsing<FirstPass>, ImportError> {
    for from in (0..slice.len()).step_by(PIECE) {
        let piece = slice.slice(from..slice.len().min(from + PIECE));
        parsing = parsing.feed(piece).await?;
        if parsing.failed.is_some() {
            break;
        }
        let rejected = parsing.sink.take_rejected();
        if let (Some(file), Some(rejected)) = (errors_file.as_mut(), rejected) {
            file.write(&rejected).await?;
        }
    }
    Ok(parsing)
}

/// Notes where each day's rows stand, and what is wrong with the others.
#[derive(Default)]
struct FirstPass {
    days: BTreeMap<Date, Extent>,
    day: Option<(Date, Extent)>,
    errors: Vec<RowError>,
    dialect: Option<Dialect>,
    rejected: Vec<u8>,
    rejected_bytes: usize,
    has_header: bool,
}

impl FirstPass {
    /// Refuses what a file may not have so much of.
    fn within_limits(&self) -> Result<(), Interrupted> {
        if self.days.len() > MOST_DAYS {
            let message = format!("rows fall on more than {MOST_DAYS} days");
            return Err(refused("too-many-days", &message));
        }
        if self.rejected_bytes > MOST_REJECTED_BYTES {
            let message = "the rejected rows would fill more than 1 GiB";
            return Err(refused("too-many-errors", message));
        }
        Ok(())
    }

    fn close_day(&mut self) {
        let Some((date, stretch)) = self.day.take() else {
            return;
        };
        self.days
            .entry(date)
            .and_modify(|extent| extent.include(&stretch))
            .or_insert(stretch);
    }

    /// The rows rejected since the last call as lines of `errors.csv`, behind its header the first
    /// time; `None` where there are none.
    fn take_rejected(&mut self) -> Option<Vec<u8>> {
        self.rejected_bytes += self.rejected.len();
        (!self.rejected.is_empty()).then(|| std::mem::take(&mut self.rejected))
    }
}

impl Sink for FirstPass {
    fn header(&mut self, dialect: &Dialect) {
        self.dialect = Some(dialect.clone());
    }

    fn row(&mut self, row: &ParsedRow<'_>) {
        let row_extent = Extent::of_row(row.start, row.end);
        match &mut self.day {
            Some((date, extent)) if *date == row.date => extent.include(&row_extent),
            _ => {
                self.close_day();
                self.day = Some((row.date, row_extent));
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
