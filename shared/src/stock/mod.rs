//! The stock of each sku: what is available, reserved, sold and was received.
//!
//! Always `available + reserved + sold = received`, and none of them is below zero. Orders move
//! quantities between the three in their own transactions; people set or adjust what is available,
//! which changes what was received by as much.

pub mod model;
pub mod rules;
pub mod store;
