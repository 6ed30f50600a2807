//! Notifications in the `Commerce` table: the only code that knows their keys.
//!
//! A notification is the item `NOTIFICATION#{order}#{kind}`, `META` (a refund's has the refund's id
//! besides), replaced under its version.

use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

use super::{
    model::Notice,
    rules::{KEPT, LEASE, Standing},
};
use crate::platform::table::{Item, Table, TableError, Write, key, number, parsed, string, text};

/// The notifications.
#[derive(Debug)]
pub struct NotificationStore {
    table: Table,
}

/// The right to send a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    notice: Notice,
    version: u64,
}

/// What who wants to send a notification finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is theirs to send.
    Won(Claim),
    /// Somebody else may be sending it.
    Held {
        /// Until when.
        until: Timestamp,
    },
    /// It was sent.
    Sent,
}

impl NotificationStore {
    /// The notifications in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Claims a notification at `now` by a random `token`, for as long as [`LEASE`].
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn claim(
        &self,
        notice: &Notice,
        token: String,
        now: Timestamp,
    ) -> Result<Claimed, TableError> {
        let (found, version) = self.read(notice).await?;
        if let Some(claimed) = found.and_then(|standing| obstacle(&standing, now)) {
            return Ok(claimed);
        }
        let until = now.saturating_add(LEASE).unwrap_or(Timestamp::MAX);
        let claim = Claim {
            notice: notice.clone(),
            version: version.saturating_add(1),
        };
        let standing = Standing::Claimed { token, until };
        match self.settle(&claim, version, &standing, now).await? {
            Write::Done => Ok(Claimed::Won(claim)),
            Write::Conflict => {
                let (found, _) = self.read(notice).await?;
                let obstacle = found.and_then(|standing| obstacle(&standing, now));
                Ok(obstacle.unwrap_or(Claimed::Held { until: now }))
            }
        }
    }

    /// Records how a try ended. [`Write::Conflict`]: the claim had ended, and another has claimed it
    /// since.
    ///
    /// # Errors
    ///
    /// As [`NotificationStore::claim`].
    pub async fn end(
        &self,
        claim: Claim,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Write, TableError> {
        let expected = claim.version;
        let claim = Claim {
            version: expected.saturating_add(1),
            ..claim
        };
        self.settle(&claim, expected, standing, now).await
    }

    /// Where a notification stands, if anybody has ever claimed it.
    ///
    /// # Errors
    ///
    /// As [`NotificationStore::claim`].
    pub async fn standing(&self, notice: &Notice) -> Result<Option<Standing>, TableError> {
        self.read(notice).await.map(|(standing, _)| standing)
    }

    async fn read(&self, notice: &Notice) -> Result<(Option<Standing>, u64), TableError> {
        let Some(item) = self.table.get(notice_key(notice)).await? else {
            return Ok((None, 0));
        };
        let standing = serde_json::from_str(string(&item, notice, "standing")?)
            .map_err(|_| TableError::malformed(notice, "standing"))?;
        Ok((Some(standing), parsed(&item, notice, "version")?))
    }

    /// Replaces what is stored as version `expected` by the claim's own.
    async fn settle(
        &self,
        claim: &Claim,
        expected: u64,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<Write, TableError> {
        let notice = &claim.notice;
        let json = serde_json::to_string(standing)
            .map_err(|_| TableError::malformed(notice, "standing"))?;
        let forgotten = now.saturating_add(KEPT).unwrap_or(Timestamp::MAX);
        let mut item = notice_key(notice);
        item.insert("standing".into(), text(json));
        item.insert("version".into(), number(claim.version));
        item.insert("expiration".into(), number(forgotten.as_second()));
        match self.table.put_version(item, expected).await? {
            // The SDK may have written it twice, and seen the second fail on the first.
            Write::Conflict if self.standing(notice).await?.as_ref() == Some(standing) => {
                Ok(Write::Done)
            }
            write => Ok(write),
        }
    }
}

/// What keeps a notification that stands so from being claimed at `now`.
fn obstacle(standing: &Standing, now: Timestamp) -> Option<Claimed> {
    match standing {
        Standing::Sent { .. } => Some(Claimed::Sent),
        Standing::Claimed { until, .. } if *until > now => Some(Claimed::Held { until: *until }),
        Standing::Claimed { .. } | Standing::Released => None,
    }
}

fn notice_key(notice: &Notice) -> Item {
    key(format!("NOTIFICATION#{notice}"), "META".to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::{
        notifications::model::{Channel, Kind},
        testing::{self, Database},
    };

    async fn store() -> (Database, NotificationStore) {
        let database = Database::start(&[testing::Table::new("Commerce")]).await;
        let store = NotificationStore::new(database.client(), "Commerce".to_owned());
        (database, store)
    }

    fn notice() -> Notice {
        Notice {
            order: "ORD-20261120-7K3M9Q2D".into(),
            kind: Kind::OrderShipped,
            refund: None,
        }
    }

    fn sent(at: Timestamp) -> Standing {
        Standing::Sent {
            channel: Channel::Email,
            message_id: "m-1".into(),
            at,
        }
    }

    async fn won(store: &NotificationStore, now: Timestamp) -> Claim {
        match store.claim(&notice(), "t".into(), now).await.unwrap() {
            Claimed::Won(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn of_many_claims_at_once_one_wins() {
        let (_database, store) = store().await;
        let now = Timestamp::UNIX_EPOCH;
        let notice = notice();
        let claims = (0..8).map(|n| store.claim(&notice, n.to_string(), now));
        let found = futures_util::future::join_all(claims).await;
        let held = Claimed::Held { until: now + LEASE };
        let (won, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(Result::unwrap)
            .partition(|claimed| matches!(claimed, Claimed::Won(_)));
        assert_eq!((won.len(), others), (1, vec![held; 7]));
    }

    #[tokio::test]
    async fn what_was_sent_is_not_sent_again_however_late() {
        let (_database, store) = store().await;
        let now = Timestamp::UNIX_EPOCH;
        let claim = won(&store, now).await;
        let standing = sent(now);
        let recorded = store.end(claim.clone(), &standing, now).await.unwrap();
        let again = store.end(claim, &standing, now).await.unwrap();
        assert_eq!((recorded, again), (Write::Done, Write::Done));
        let later = now + 100 * LEASE;
        let claimed = store.claim(&notice(), "u".into(), later).await.unwrap();
        assert_eq!(claimed, Claimed::Sent);
    }

    #[tokio::test]
    async fn what_is_released_may_be_claimed_at_once() {
        let (_database, store) = store().await;
        let now = Timestamp::UNIX_EPOCH;
        let claim = won(&store, now).await;
        store.end(claim, &Standing::Released, now).await.unwrap();
        won(&store, now).await;
    }

    #[tokio::test]
    async fn a_claim_whose_holder_died_passes_on_after_its_lease_and_is_worth_nothing_then() {
        let (_database, store) = store().await;
        let now = Timestamp::UNIX_EPOCH;
        let dead = won(&store, now).await;
        let just_before = now + LEASE - SignedDuration::from_millis(1);
        let claimed = store.claim(&notice(), "u".into(), just_before).await;
        assert_eq!(claimed.unwrap(), Claimed::Held { until: now + LEASE });
        let heir = won(&store, now + LEASE).await;
        let late = store.end(dead, &sent(now), now + LEASE).await.unwrap();
        assert_eq!(late, Write::Conflict);
        let recorded = store.end(heir, &sent(now), now + LEASE).await.unwrap();
        assert_eq!(recorded, Write::Done);
    }
}
