//! Device API keys: what a device shows to be let in, and which devices it may write for.
//!
//! A key's secret is shown once, to the administrator who makes it. The table knows its SHA-256
//! only; API Gateway keeps the secret itself, for it counts requests against the usage plan by it.

pub mod model;
pub mod remembered;
pub mod store;
