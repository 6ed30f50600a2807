//! What every Millrace function is built from.
//!
//! [`platform`] holds what no business word names: configuration, AWS clients, telemetry, HTTP,
//! idempotency. [`frame`] is the column format that packs many small records into one table item.
//! Every other module is a context, named after the noun it owns: its `rules` are pure functions,
//! its `store` is the only code that knows the table's keys and expressions.
//!
//! Dependencies run one way: binary → handler → context → platform. Contexts do not import each
//! other.

pub mod address;
pub mod catalog;
pub mod customers;
pub mod events;
pub mod frame;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod platform;
pub mod sales;
pub mod sensors;
pub mod stock;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
