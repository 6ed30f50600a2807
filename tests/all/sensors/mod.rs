//! Sensors: ingest, storage, aggregation and queries.

mod cost;
mod devices;
mod hostile;
mod influxdb;
mod ingest;
mod keys;
mod loss;
mod oracle;
mod overlap;
mod queries;
mod recovery;
pub(crate) mod world;
