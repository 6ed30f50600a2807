//! Revenue queries.

pub mod api;
pub mod context;
pub mod legacy;
pub mod v1;
