//! Sensors: the registry of devices, and what their readings and roll-ups say.

pub mod aggregates;
pub mod aggregator;
pub mod api;
pub mod authorizer;
pub mod context;
pub mod csv;
pub mod devices;
pub mod ingest;
pub mod keys;
pub mod points;
pub mod problem;
pub mod readings;
pub mod recompute;
pub mod storage;
pub mod time_text;
pub mod usage_plan;
