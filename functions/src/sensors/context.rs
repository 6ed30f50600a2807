//! What the handlers of the sensor API work with.

use jiff::SignedDuration;
use shared::{
    platform::{
        aws::Connection,
        cache::Cache,
        clock::Clock,
        config::{ConfigError, CursorKey, RawRetention, SensorsTable},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
    },
    sensors::{
        device::{model::Device, store::DeviceStore},
        model::DeviceId,
        store::SensorStore,
    },
};

use super::problem::{no_device, store_problem};

/// How long a warm function takes a device for being there and the watermark for where it was: a
/// dashboard asks many questions at once.
const RECENT: SignedDuration = SignedDuration::from_secs(5);

/// Most devices that are remembered.
const MOST_REMEMBERED: usize = 10_000;

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
    /// What was looked up just now.
    pub recent: Recent,
}

/// What was looked up just now, so that it need not be again.
#[derive(Debug)]
pub struct Recent {
    devices: Cache<DeviceId, ()>,
    watermark: Cache<(), Option<i64>>,
}

impl Recent {
    /// Nothing yet.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self {
            devices: Cache::new(MOST_REMEMBERED, clock.clone()),
            watermark: Cache::new(1, clock.clone()),
        }
    }
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
            recent: Recent::new(&Clock::system()),
        })
    }

    /// The device that a path names.
    ///
    /// # Errors
    ///
    /// A 404 problem when there is none or it is deleted, 503 when the table is down.
    pub async fn device(&self, id: &str) -> Result<Device, Problem> {
        let id = id.parse().map_err(|_| no_device())?;
        let found = self.devices.get(&id).await.map_err(Problem::from)?;
        found.ok_or_else(no_device)
    }
    /// The identifier that a path names, if there is or was just now a device of it.
    ///
    /// # Errors
    ///
    /// As [`Context::device`].
    pub async fn device_id(&self, id: &str) -> Result<DeviceId, Problem> {
        let known: DeviceId = id.parse().map_err(|_| no_device())?;
        if self.recent.devices.get(&known).is_none() {
            self.device(id).await?;
            self.recent.devices.put(known.clone(), (), RECENT);
        }
        Ok(known)
    }

    /// How far the aggregator has come, or had just now: an older watermark only means that more is
    /// read from raw data.
    ///
    /// # Errors
    ///
    /// A 503 problem when the table is down.
    pub async fn watermark(&self) -> Result<Option<i64>, Problem> {
        if let Some(watermark) = self.recent.watermark.get(&()) {
            return Ok(watermark);
        }
        let watermark = self.store.watermark().await.map_err(store_problem)?;
        self.recent.watermark.put((), watermark, RECENT);
        Ok(watermark)
    }
}
