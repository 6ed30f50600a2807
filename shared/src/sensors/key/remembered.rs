//! Keys looked up lately, so that not every request reads the table.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    model::{DeviceKey, KeyId},
    store::KeyStore,
};
use crate::platform::{cache::Cache, clock::Clock, table::TableError};

/// How long an active key is taken for active: so long may a revoked one still let a device in.
const ACTIVE: SignedDuration = SignedDuration::from_secs(60);

/// How long a key that lets nobody in is remembered as such.
const REFUSED: SignedDuration = SignedDuration::from_secs(10);

/// Most keys of either kind that are remembered.
const MOST: usize = 10_000;

/// The key store behind a memory of one minute.
#[derive(Debug)]
pub struct RememberedKeys {
    store: KeyStore,
    active: Cache<KeyId, Arc<DeviceKey>>,
    refused: Cache<KeyId, ()>,
}

impl RememberedKeys {
    /// Remembers what `store` says.
    #[must_use]
    pub fn new(store: KeyStore, clock: &Clock) -> Self {
        Self {
            store,
            active: Cache::new(MOST, clock.clone()),
            refused: Cache::new(MOST, clock.clone()),
        }
    }

    /// The key `id` if it is active. A change of a key is seen after one minute at the latest.
    ///
    /// Keys that are not active are remembered apart, so that guesses do not push real keys out.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn active(&self, id: KeyId) -> Result<Option<Arc<DeviceKey>>, TableError> {
        if let Some(key) = self.active.get(&id) {
            return Ok(Some(key));
        }
        if self.refused.get(&id).is_some() {
            return Ok(None);
        }
        let key = self.store.get(id).await?.filter(DeviceKey::is_active);
        let key = key.map(Arc::new);
        match &key {
            Some(key) => self.active.put(id, key.clone(), ACTIVE),
            None => self.refused.put(id, (), REFUSED),
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sensors::key::store::tests::{key, store};

    #[tokio::test]
    async fn a_revoked_key_lets_in_for_a_minute_at_most() {
        let (_database, store) = store().await;
        let active = key(1).activated("g-1".to_owned());
        store.create(&active).await.unwrap();
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let remembered = RememberedKeys::new(store, &clock);
        assert!(remembered.active(active.id()).await.unwrap().is_some());
        let revoked = active.revoked(clock.now());
        remembered
            .store
            .save(&revoked, active.version)
            .await
            .unwrap();
        clock.advance(SignedDuration::from_millis(59_999));
        assert!(remembered.active(active.id()).await.unwrap().is_some());
        clock.advance(SignedDuration::from_millis(1));
        assert!(remembered.active(active.id()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_key_that_was_not_there_is_looked_for_again_soon() {
        let (_database, store) = store().await;
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let remembered = RememberedKeys::new(store, &clock);
        let active = key(2).activated("g-2".to_owned());
        assert!(remembered.active(active.id()).await.unwrap().is_none());
        remembered.store.create(&active).await.unwrap();
        assert!(remembered.active(active.id()).await.unwrap().is_none());
        clock.advance(REFUSED);
        assert_eq!(
            *remembered.active(active.id()).await.unwrap().unwrap(),
            active
        );
    }
}
