//! Taking an import back: exactly its rows, a conditional write a day.

use std::collections::{BTreeMap, HashSet};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use shared::{
    platform::table::Write,
    sales::{
        chunk::{self, ChunkBuilder},
        day::Day,
        import::{ImportId, Status},
        rules,
        store::{StoreError, Visit},
    },
};

use super::{
    Attempt, COMMIT_TRIES, DAYS_AT_ONCE, DAYS_BETWEEN_CHECKS, ImportError, Importer, Outcome,
};

impl Importer {
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
        for days in days.chunks(DAYS_BETWEEN_CHECKS) {
            if self.time_is_short(deadline) {
                import.next_day = days.first().copied();
                return self.kept(import, Outcome::Unfinished).await;
            }
            let work: Vec<_> = days
                .iter()
                .map(|&day| self.take_back_day(id, day, &attempt).boxed())
                .collect();
            stream::iter(work)
                .buffer_unordered(DAYS_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        import.status = Status::Deleted;
        import.next_day = None;
        self.kept(import, Outcome::Ended).await
    }

    async fn take_back_day(
        &self,
        id: ImportId,
        date: Date,
        attempt: &Attempt,
    ) -> Result<(), ImportError> {
        for _ in 0..COMMIT_TRIES {
            let day = self.store.day(date).await?;
            let undo = rules::undo(&day, id);
            let mut builder = ChunkBuilder::default();
            let visit = self
                .store
                .visit_day(&day, |name, frame| {
                    let rewrites =
                        |undo: &rules::Undo| undo.rewrite.iter().any(|other| other == name);
                    if undo.as_ref().is_some_and(rewrites) {
                        builder
                            .push_chunk(&frame, |import| import != id)
                            .map_err(|error| StoreError::chunk(name, error))?;
                    }
                    Ok(())
                })
                .await?;
            let Visit::Whole(unlisted) = visit else {
                continue;
            };
            let mut removed = self.orphans(unlisted);
            let Some(undo) = undo else {
                self.store.delete_chunks(date, &removed).await?;
                return Ok(());
            };
            let Some(orders) = self.orders_without(&day, id).await? else {
                continue;
            };
            let mut manifest = day.chunks.clone();
            let gone: Vec<String> = undo.drop.into_iter().chain(undo.rewrite).collect();
            for name in &gone {
                manifest.remove(name);
            }
            attempt
                .put_chunks(&self.store, date, builder.finish()?, &mut manifest)
                .await?;
            let next = day.with_chunks(manifest, orders)?;
            // After a conflict the chunks just written stay: see the second pass.
            if self.store.commit(&next).await? == Write::Done {
                removed.extend(gone);
                self.store.delete_chunks(date, &removed).await?;
                return Ok(());
            }
        }
        Err(ImportError::Contended(date))
    }

    /// How many orders the day keeps when `id`'s rows go: those that no other import's row names go
    /// with them. `None` when the day changed meanwhile.
    async fn orders_without(&self, day: &Day, id: ImportId) -> Result<Option<u64>, ImportError> {
        let is_alone = day
            .chunks
            .values()
            .flat_map(BTreeMap::keys)
            .all(|import| *import == id);
        if is_alone {
            return Ok(Some(0));
        }
        let rows = day.part_of(id)?.unwrap_or_default().rows;
        let parts = rules::parts(rows, self.digests);
        let mut gone = 0;
        for part in 0..parts {
            let mut sales = HashSet::new();
            for takes in [true, false] {
                let visit = self
                    .store
                    .visit_day(day, |name, frame| {
                        chunk::visit_identities(&frame, day.date, |row| {
                            let is_own = row.import == id;
                            if takes && is_own && rules::part_of(row.sale, parts) == part {
                                sales.insert(row.sale);
                            } else if !takes && !is_own {
                                sales.remove(&row.sale);
                            }
                        })
                        .map_err(|error| StoreError::chunk(name, error))
                    })
                    .await?;
                if visit == Visit::Changed {
                    return Ok(None);
                }
            }
            gone += sales.len() as u64;
        }
        Ok(Some(day.orders.saturating_sub(gone)))
    }
}
