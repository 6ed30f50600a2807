//! Breakers in the `Commerce` table: the only code that knows their keys.
//!
//! A breaker is the item `BREAKER#{provider}`, `META`, replaced under its version. There is none for a
//! provider that has never failed.

use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

use super::rules::{Breaker, Permit};
use crate::platform::table::{Item, Table, TableError, Write, key, number, parsed, string, text};

/// Times that a change is decided anew when others change the breaker too. After that the outcome is
/// left out: the others' count.
const ROUNDS: u32 = 5;

/// The breakers.
#[derive(Debug)]
pub struct BreakerStore {
    table: Table,
}

impl BreakerStore {
    /// The breakers in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Whether `provider` may be called at `now`.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn admit(
        &self,
        provider: &str,
        now: Timestamp,
    ) -> Result<Option<Permit>, TableError> {
        let (breaker, version) = self.read(provider).await?;
        match breaker.admit(now) {
            Some((permit, Some(next))) => {
                // Where another changed the breaker first, the trial is theirs.
                let write = self.write(provider, &next, version).await?;
                Ok((write == Write::Done).then_some(permit))
            }
            Some((permit, None)) => Ok(Some(permit)),
            None => Ok(None),
        }
    }

    /// Records how a call with `permit` ended at `now`.
    ///
    /// # Errors
    ///
    /// As [`BreakerStore::admit`].
    pub async fn record(
        &self,
        provider: &str,
        permit: Permit,
        is_success: bool,
        now: Timestamp,
    ) -> Result<(), TableError> {
        if is_success && permit == Permit::Ordinary {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let (breaker, version) = self.read(provider).await?;
            let next = if is_success {
                breaker.succeeded(permit)
            } else {
                breaker.failed(permit, now)
            };
            let Some(next) = next else { return Ok(()) };
            if self.write(provider, &next, version).await? == Write::Done {
                if matches!(next, Breaker::Open { .. }) {
                    tracing::error!(provider, "circuit breaker opened");
                }
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, provider: &str) -> Result<(Breaker, u64), TableError> {
        let Some(item) = self.table.get(breaker_key(provider)).await? else {
            return Ok((Breaker::default(), 0));
        };
        let breaker = serde_json::from_str(string(&item, provider, "breaker")?)
            .map_err(|_| TableError::malformed(provider, "breaker"))?;
        Ok((breaker, parsed(&item, provider, "version")?))
    }

    /// Replaces the breaker of version `expected`. A conflict may be the call's own success, which the
    /// SDK sent twice: then a trial waits for the next minute, or a failure counts twice.
    async fn write(
        &self,
        provider: &str,
        next: &Breaker,
        expected: u64,
    ) -> Result<Write, TableError> {
        let mut item = breaker_key(provider);
        let json =
            serde_json::to_string(next).map_err(|_| TableError::malformed(provider, "breaker"))?;
        item.insert("breaker".into(), text(json));
        item.insert("version".into(), number(expected.saturating_add(1)));
        self.table.put_version(item, expected).await
    }
}

fn breaker_key(provider: &str) -> Item {
    key(format!("BREAKER#{provider}"), "META".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Database};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn stores() -> (Database, BreakerStore, BreakerStore) {
        let database = Database::start(&[testing::Table::new("Commerce")]).await;
        let store = || BreakerStore::new(database.client(), "Commerce".to_owned());
        let (one, other) = (store(), store());
        (database, one, other)
    }

    #[tokio::test]
    async fn what_one_instance_sees_fail_is_left_alone_by_all() {
        let (_database, one, other) = stores().await;
        for store in [&one, &other, &one, &other, &one] {
            let permit = store.admit("ses", at(0)).await.unwrap().unwrap();
            store.record("ses", permit, false, at(0)).await.unwrap();
        }
        assert_eq!(other.admit("ses", at(59)).await.unwrap(), None);
        assert!(other.admit("sns", at(59)).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn of_many_at_once_one_tries_and_its_success_closes_the_breaker() {
        let (_database, one, other) = stores().await;
        let failures = (0..5).map(|_| one.record("ses", Permit::Ordinary, false, at(0)));
        for failure in failures {
            failure.await.unwrap();
        }
        let all = futures_util::future::join_all((0..6).map(|n| {
            let store = if n % 2 == 0 { &one } else { &other };
            store.admit("ses", at(60))
        }));
        let permits: Vec<_> = all.await.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(permits, [Permit::Trial(at(120))]);
        other.record("ses", permits[0], true, at(61)).await.unwrap();
        assert_eq!(
            one.admit("ses", at(61)).await.unwrap(),
            Some(Permit::Ordinary)
        );
    }

    #[tokio::test]
    async fn failures_at_once_are_all_counted() {
        let (_database, one, other) = stores().await;
        let failures = (0..5).map(|n| {
            let store = if n % 2 == 0 { &one } else { &other };
            store.record("sns", Permit::Ordinary, false, at(0))
        });
        let all = futures_util::future::join_all(failures).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(one.admit("sns", at(1)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn success_while_it_is_closed_costs_nothing() {
        let (_database, one, _) = stores().await;
        let permit = one.admit("ses", at(0)).await.unwrap().unwrap();
        one.record("ses", permit, true, at(0)).await.unwrap();
        assert_eq!(one.table.meter().write_halves(), 0);
    }
}
