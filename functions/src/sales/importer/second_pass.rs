//! The second pass: stores the days, each by one conditional write.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::Ordering,
};

use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt, stream};
use jiff::civil::Date;
use shared::{
    platform::table::Write,
    sales::{
        chunk::{self, Chunk, ChunkBuilder, ChunkError, DayRows},
        day::{Day, Manifest},
        file::{ParsedRow, RejectedRow, Sink},
        files::Plan,
        identity::{Ordinals, RowIdentity},
        import::{Counts, Import, ImportId, Status},
        rules::{self, Extent, Pass},
        store::{StoreError, Visit},
    },
};

use super::{
    COMMIT_TRIES, DAYS_AT_ONCE, DAYS_BETWEEN_CHECKS, End, ImportError, Interrupted, REPORT_EVERY,
    Report, Run,
};

/// Most chunks merged by one commit.
const MOST_MERGED: usize = 64;

/// Most bytes of a day's item; the table takes 400 KB.
const MOST_ITEM_BYTES: usize = 380 * 1024;

/// What became of a day's rows.
#[derive(Debug, Default, Clone, Copy)]
struct DayCounts {
    imported: u64,
    duplicate: u64,
}

/// What a run is about to do to a day.
struct Change {
    manifest: Manifest,
    orders: u64,
    removed: Vec<String>,
    counts: DayCounts,
}

impl Change {
    fn of(day: &Day) -> Self {
        Self {
            manifest: day.chunks.clone(),
            orders: day.orders,
            removed: Vec::new(),
            counts: DayCounts::default(),
        }
    }
}

impl Run<'_> {
    /// Both passes, from where the run before stopped.
    pub(super) async fn through(&self, import: &mut Import) -> Result<End, Interrupted> {
        let planned = match import.status {
            Status::Importing => self.importer.files.plan(self.import).await?,
            _ => None,
        };
        let plan = match planned {
            Some(plan) => plan,
            None => match self.validate(import).await? {
                Some(plan) => plan,
                None => return Ok(End::Superseded),
            },
        };
        match self.store_all(&plan, import).await {
            Err(ImportError::OutOfTime) => Ok(End::TimeShort),
            ended => Ok(ended?),
        }
    }

    async fn store_all(&self, plan: &Plan, import: &mut Import) -> Result<End, ImportError> {
        let mut reported = self.importer.clock.now();
        for pass in rules::passes(&plan.days, import.next_day, self.importer.memory) {
            let mut rows = self.rows_of(plan, pass).await?;
            for days in days_of(plan, pass).chunks(DAYS_BETWEEN_CHECKS) {
                self.check_time()?;
                for (date, day) in self.store_days(plan, days, &mut rows).await? {
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

    /// Both passes for a run that writes nothing and keeps no record.
    pub(super) async fn rehearse(&self) -> Result<Report, Interrupted> {
        let Some(scanned) = self.scan(None, None).await? else {
            return Err(ImportError::Inconsistent.into());
        };
        let mut counts = Counts {
            rejected: scanned.rejected,
            ..Counts::default()
        };
        for pass in rules::passes(&scanned.plan.days, None, self.importer.memory) {
            let mut rows = self.rows_of(&scanned.plan, pass).await?;
            for days in days_of(&scanned.plan, pass).chunks(DAYS_BETWEEN_CHECKS) {
                self.check_time()?;
                for (_, day) in self.store_days(&scanned.plan, days, &mut rows).await? {
                    counts.imported += day.imported;
                    counts.duplicate += day.duplicate;
                }
            }
        }
        Ok(Report {
            counts,
            days: scanned.span(),
            errors: scanned.errors,
            warnings: scanned.warnings,
        })
    }

    /// The rows of the days of a pass; none where they are too many to hold.
    async fn rows_of(
        &self,
        plan: &Plan,
        pass: Pass,
    ) -> Result<BTreeMap<Date, DayRows>, ImportError> {
        if pass.is_large {
            return Ok(BTreeMap::new());
        }
        let sink = Collected {
            pass,
            days: BTreeMap::new(),
            failed: None,
        };
        let collected = self.read(plan, pass.extent, sink).await?;
        match collected.failed {
            Some(error) => Err(error.into()),
            None => Ok(collected.days),
        }
    }

    async fn store_days(
        &self,
        plan: &Plan,
        days: &[Date],
        rows: &mut BTreeMap<Date, DayRows>,
    ) -> Result<Vec<(Date, DayCounts)>, ImportError> {
        let mut work = Vec::with_capacity(days.len());
        for &date in days {
            let stored = self.store_day(plan, date, rows.remove(&date));
            work.push(stored.map_ok(move |counts| (date, counts)).boxed());
        }
        stream::iter(work)
            .buffer_unordered(DAYS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Adds what is new of a day, and says how many rows that was. `rows` are all its rows; none
    /// where they are too many to hold.
    async fn store_day(
        &self,
        plan: &Plan,
        date: Date,
        rows: Option<DayRows>,
    ) -> Result<DayCounts, ImportError> {
        let store = &self.importer.store;
        let in_file = plan.days[&date];
        for _ in 0..COMMIT_TRIES {
            self.check_time()?;
            let day = store.day(date).await?;
            if let Some(part) = day.part_of(self.import)? {
                return Ok(DayCounts {
                    imported: part.rows,
                    duplicate: in_file.rows.saturating_sub(part.rows),
                });
            }
            let mut change = Change::of(&day);
            let is_whole = match &rows {
                Some(rows) => self.add(&day, rows, &mut change).await?,
                None => self.add_in_parts(&day, plan, in_file, &mut change).await?,
            };
            if !is_whole {
                continue;
            }
            let counts = change.counts;
            if counts.imported + counts.duplicate != in_file.rows {
                return Err(ImportError::Inconsistent);
            }
            if !self.writes {
                if store.day(date).await?.version == day.version {
                    return Ok(counts);
                }
                continue;
            }
            if counts.imported == 0 {
                return Ok(counts);
            }
            let next = day.with_chunks(change.manifest, change.orders)?;
            if next.item_bytes() > MOST_ITEM_BYTES {
                return Err(ImportError::DayFull(date));
            }
            // After a conflict the chunks just written stay where they are: this write may have
            // been done and built upon, its reply lost. What nobody lists is swept once it is old.
            if store.commit(&next).await? == Write::Done {
                self.attempt.commits.fetch_add(1, Ordering::Relaxed);
                store.delete_chunks(date, &change.removed).await?;
                return Ok(counts);
            }
        }
        Err(ImportError::Contended(date))
    }

    /// Writes the chunks of the rows that `day` does not have yet, and notes them in `change`;
    /// false when the day changed meanwhile.
    async fn add(
        &self,
        day: &Day,
        rows: &DayRows,
        change: &mut Change,
    ) -> Result<bool, ImportError> {
        let in_file: HashSet<RowIdentity> = rows.identities().iter().copied().collect();
        let mut new_sales: HashSet<u128> = rows.sales().iter().copied().collect();
        let mut stored = HashSet::new();
        let mut small = Vec::new();
        let visit = self
            .importer
            .store
            .visit_day(day, |name, frame| {
                chunk::visit_identities(&frame, day.date, |row| {
                    new_sales.remove(&row.sale);
                    if in_file.contains(&row.identity) {
                        stored.insert((row.identity, row.ordinal));
                    }
                })
                .map_err(|error| StoreError::chunk(name, error))?;
                if frame.len() < chunk::SMALL_BYTES && small.len() < MOST_MERGED {
                    small.push((name.to_owned(), frame));
                }
                Ok(())
            })
            .await?;
        let Visit::Whole(unlisted) = visit else {
            return Ok(false);
        };
        self.sweep(day.date, unlisted).await?;
        let admitted = rules::admit(rows.identities(), &stored);
        change.counts.imported += admitted.len() as u64;
        change.counts.duplicate += (rows.identities().len() - admitted.len()) as u64;
        if admitted.is_empty() || !self.writes {
            return Ok(true);
        }
        // No row of a new sale is stored, so all of them are admitted.
        change.orders += new_sales.len() as u64;
        let mut builder = ChunkBuilder::default();
        if rules::merges(small.len()) {
            for (name, frame) in small {
                builder.push_chunk(&frame, |_| true)?;
                change.manifest.remove(&name);
                change.removed.push(name);
            }
        }
        for (index, ordinal) in admitted {
            builder.push(rows, index, ordinal, self.import)?;
        }
        self.put(day.date, builder.finish()?, change).await?;
        Ok(true)
    }

    /// The same for a day of more rows than memory holds: in parts of its identities, one reading
    /// of the file each, the chunks written as they fill.
    async fn add_in_parts(
        &self,
        day: &Day,
        plan: &Plan,
        in_file: Extent,
        change: &mut Change,
    ) -> Result<bool, ImportError> {
        let parts = rules::parts(in_file.rows.max(day.total.rows), self.importer.digests);
        for part in 0..parts {
            let mut stored = HashSet::new();
            let visit = self
                .visit_rows(day, |row| {
                    if rules::part_of(row.identity.bits(), parts) == part {
                        stored.insert((row.identity, row.ordinal));
                    }
                })
                .await?;
            let Visit::Whole(unlisted) = visit else {
                return Ok(false);
            };
            if part == 0 {
                self.sweep(day.date, unlisted).await?;
            }
            let sink = Admitted {
                date: day.date,
                part,
                parts,
                stored,
                ordinals: Ordinals::default(),
                builder: ChunkBuilder::default(),
                import: self.import,
                writes: self.writes,
                counts: DayCounts::default(),
                failed: None,
            };
            let mut stretch = self.stretch(plan, in_file, sink).await?;
            while stretch.advance().await? {
                let full = stretch.sink().map(|sink| sink.builder.take_full());
                self.put(day.date, full.unwrap_or_default(), change).await?;
            }
            let ended = stretch.finish().await?;
            if let Some(error) = ended.failed {
                return Err(error.into());
            }
            change.counts.imported += ended.counts.imported;
            change.counts.duplicate += ended.counts.duplicate;
            self.put(day.date, ended.builder.finish()?, change).await?;
        }
        if change.counts.imported == 0 || !self.writes {
            return Ok(true);
        }
        for part in 0..parts {
            let sink = SaleDigests {
                date: day.date,
                part,
                parts,
                digests: HashSet::new(),
            };
            let mut sales = self.read(plan, in_file, sink).await?.digests;
            let visit = self
                .visit_rows(day, |row| {
                    sales.remove(&row.sale);
                })
                .await?;
            if visit == Visit::Changed {
                return Ok(false);
            }
            change.orders += sales.len() as u64;
        }
        Ok(true)
    }

    /// Removes those of the `unlisted` chunks that nobody can mean to list any more.
    async fn sweep(&self, date: Date, unlisted: Vec<String>) -> Result<(), ImportError> {
        if self.writes {
            let orphans = self.importer.orphans(unlisted);
            self.importer.store.delete_chunks(date, &orphans).await?;
        }
        Ok(())
    }

    async fn visit_rows(
        &self,
        day: &Day,
        mut visit: impl FnMut(chunk::StoredIdentity),
    ) -> Result<Visit, ImportError> {
        let store = &self.importer.store;
        let visited = store.visit_day(day, |name, frame| {
            chunk::visit_identities(&frame, day.date, &mut visit)
                .map_err(|error| StoreError::chunk(name, error))
        });
        Ok(visited.await?)
    }

    async fn put(
        &self,
        date: Date,
        chunks: Vec<Chunk>,
        change: &mut Change,
    ) -> Result<(), ImportError> {
        let store = &self.importer.store;
        self.attempt
            .put_chunks(store, date, chunks, &mut change.manifest)
            .await?;
        Ok(())
    }
}

fn days_of(plan: &Plan, pass: Pass) -> Vec<Date> {
    let days = plan.days.range(pass.first..=pass.last);
    days.map(|(day, _)| *day).collect()
}

/// Keeps the rows of the days of a pass.
struct Collected {
    pass: Pass,
    days: BTreeMap<Date, DayRows>,
    failed: Option<ChunkError>,
}

impl Sink for Collected {
    fn row(&mut self, row: &ParsedRow<'_>) {
        if row.date < self.pass.first || row.date > self.pass.last {
            return;
        }
        let day = self.days.entry(row.date).or_default();
        if let Err(error) = day.push(row, chunk::sale_digest(row.sale_id)) {
            self.failed.get_or_insert(error.into());
        }
    }

    fn rejected(&mut self, _: &RejectedRow<'_>) {}
}

/// Packs the rows of one part of a day that are not stored yet.
struct Admitted {
    date: Date,
    part: u64,
    parts: u64,
    stored: HashSet<(RowIdentity, u32)>,
    ordinals: Ordinals,
    builder: ChunkBuilder,
    import: ImportId,
    writes: bool,
    counts: DayCounts,
    failed: Option<ChunkError>,
}

impl Sink for Admitted {
    fn row(&mut self, row: &ParsedRow<'_>) {
        let identity = row.identity();
        if row.date != self.date || rules::part_of(identity.bits(), self.parts) != self.part {
            return;
        }
        let ordinal = self.ordinals.next(identity);
        if self.stored.contains(&(identity, ordinal)) {
            self.counts.duplicate += 1;
            return;
        }
        self.counts.imported += 1;
        if self.writes
            && let Err(error) = self.builder.push_row(row, ordinal, self.import)
        {
            self.failed.get_or_insert(error);
        }
    }

    fn rejected(&mut self, _: &RejectedRow<'_>) {}
}

/// Tells the sales of one part of a day apart.
struct SaleDigests {
    date: Date,
    part: u64,
    parts: u64,
    digests: HashSet<u128>,
}

impl Sink for SaleDigests {
    fn row(&mut self, row: &ParsedRow<'_>) {
        let sale = chunk::sale_digest(row.sale_id);
        if row.date == self.date && rules::part_of(sale, self.parts) == self.part {
            self.digests.insert(sale);
        }
    }

    fn rejected(&mut self, _: &RejectedRow<'_>) {}
}
