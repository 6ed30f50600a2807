//! Orders: the saga step by step, and what the deployed stack makes of many and of hostile customers.

mod api;
mod cost;
mod harness;
mod hostile;
pub(crate) mod machine;
mod races;
mod saga;
pub(crate) mod shelf;
pub(crate) mod steps;
