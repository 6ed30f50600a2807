//! Revenue queries.

pub mod api;
pub mod legacy;
pub mod v1;
