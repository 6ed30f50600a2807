//! What the handlers of ingest work with.

use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, RawRetention, ReadingsQueue, SensorsTable},
        ids::Random,
    },
    sensors::{
        device::store::DeviceStore,
        key::{remembered::RememberedKeys, store::KeyStore},
    },
};

use super::{queue::BatchQueue, registry::Registry};

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The device keys.
    pub keys: RememberedKeys,
    /// The devices.
    pub registry: Registry,
    /// Where accepted readings go.
    pub queue: BatchQueue,
    /// How long raw readings are kept: older ones are taken as a backfill only.
    pub retention: RawRetention,
    /// Tells the time.
    pub clock: Clock,
    /// Names batches.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = SensorsTable::from_env()?;
        let name = || table.as_str().to_owned();
        let clock = Clock::system();
        Ok(Self {
            keys: RememberedKeys::new(KeyStore::new(aws.dynamodb(), name()), &clock),
            registry: Registry::new(DeviceStore::new(aws.dynamodb(), name()), &clock),
            queue: BatchQueue {
                client: aws.sqs(),
                queue: ReadingsQueue::from_env()?,
            },
            retention: RawRetention::from_env()?,
            clock,
            random: Random::system(),
        })
    }
}
