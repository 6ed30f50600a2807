//! Generators of realistic input, with what must come of it.

pub mod sales;
pub mod sensors;
