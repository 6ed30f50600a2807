//! Which of a request's devices may not be written to, and why.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use shared::{
    platform::{cache::Cache, clock::Clock, table::TableError},
    sensors::{
        device::{model::Standing, store::DeviceStore},
        intake::{Refused, RowFault},
        key::model::DeviceKey,
        model::DeviceId,
        readings::Series,
    },
};

/// How long an active device is taken for active: so long is a device written to that was switched
/// off or deleted. Others are looked up every time, so a new device is known at once.
const ACTIVE: SignedDuration = SignedDuration::from_secs(60);

/// Most devices that are remembered.
const MOST: usize = 100_000;

/// The devices, behind a memory of one minute.
#[derive(Debug)]
pub struct Registry {
    store: DeviceStore,
    active: Cache<DeviceId, ()>,
}

impl Registry {
    /// Remembers what `store` says.
    #[must_use]
    pub fn new(store: DeviceStore, clock: &Clock) -> Self {
        Self {
            store,
            active: Cache::new(MOST, clock.clone()),
        }
    }

    /// The devices of `series` that `key` may not write for, that are unknown or that are inactive.
    ///
    /// A device that the key is not for is not looked up: a key tells nothing about other devices.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn refused(&self, key: &DeviceKey, series: &[Series]) -> Result<Refused, TableError> {
        let devices: BTreeSet<&str> = series.iter().map(|one| one.device.as_str()).collect();
        let mut refused = Refused::new();
        let mut unsure: Vec<DeviceId> = Vec::new();
        for device in devices {
            if !key.allows(device) {
                refused.insert(device.to_owned(), RowFault::DeviceNotAllowed);
                continue;
            }
            match device.parse::<DeviceId>() {
                Ok(id) if self.active.get(&id).is_some() => {}
                Ok(id) => unsure.push(id),
                Err(_) => {
                    refused.insert(device.to_owned(), RowFault::InvalidDevice);
                }
            }
        }
        if unsure.is_empty() {
            return Ok(refused);
        }
        let found = self.store.lookup(&unsure).await?;
        for id in unsure {
            let fault = match found.get(&id) {
                Some(Standing::Active) => {
                    self.active.put(id, (), ACTIVE);
                    continue;
                }
                Some(Standing::Inactive) => RowFault::InactiveDevice,
                None => RowFault::UnknownDevice,
            };
            refused.insert(id.as_str().to_owned(), fault);
        }
        Ok(refused)
    }
}
