//! What no business word names: configuration, AWS clients, telemetry, HTTP, paging, batches,
//! idempotency, money, ids and time.
//!
//! Nothing here knows a context. Time and randomness enter through [`clock`] and [`ids`], secrets and
//! personal data through [`secret`], so that rules stay pure and logs stay clean.

pub mod aws;
pub mod batch;
pub mod cache;
pub mod caller;
pub mod clock;
pub mod config;
pub mod deadline;
pub mod health;
pub mod http;
pub mod idempotency;
pub mod ids;
pub mod money;
pub mod page;
pub mod problem;
pub mod secret;
pub mod table;
pub mod telemetry;
pub mod upload_form;
