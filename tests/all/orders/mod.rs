//! Orders: the saga step by step, and what the deployed stack makes of many and of hostile customers.

mod api;
mod charge;
mod cost;
mod harness;
mod hostile;
mod machine;
mod races;
mod saga;
mod shelf;
