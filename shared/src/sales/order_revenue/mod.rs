//! Revenue from orders, beside that from imported files: what was paid counts on the day of the
//! payment, what was refunded on the day of the refund (both UTC).
//!
//! An event counts once, however often it comes: what it adds and the marker that it was added are
//! one transaction.

pub mod model;
pub mod store;
