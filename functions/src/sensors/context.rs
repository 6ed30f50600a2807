//! What the handlers of the sensor API work with.

use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, CursorKey, RawRetention, SensorsTable},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
    },
    sensors::{
        device::{model::Device, store::DeviceStore},
        store::SensorStore,
    },
};

use super::problem::{no_device, table_problem};

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The registry of devices.
    pub devices: DeviceStore,
    /// Readings and roll-ups.
    pub store: SensorStore,
    /// How long raw readings are kept.
    pub retention: RawRetention,
    /// Tells the time.
    pub clock: Clock,
    /// Names log entries.
    pub random: Random,
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
        let dynamodb = Connection::from_env()?.dynamodb();
        let table = SensorsTable::from_env()?;
        let name = || table.as_str().to_owned();
        Ok(Self {
            devices: DeviceStore::new(dynamodb.clone(), name()),
            store: SensorStore::new(dynamodb.clone(), name()),
            retention: RawRetention::from_env()?,
            clock: Clock::system(),
            random: Random::system(),
            cursors: CursorKey::from_env()?,
            idempotency: Idempotency::new(dynamodb, name(), Clock::system(), Random::system()),
        })
    }

    /// The device that a path names.
    ///
    /// # Errors
    ///
    /// A 404 problem when there is none or it is deleted, 503 when the table is down.
    pub async fn device(&self, id: &str) -> Result<Device, Problem> {
        let id = id.parse().map_err(|_| no_device())?;
        let found = self.devices.get(&id).await.map_err(table_problem)?;
        found.ok_or_else(no_device)
    }
}
