//! Payments: what the provider does with a customer's money, behind one interface.
//!
//! [`gateway`] is the interface: a payment is opened, authorised, captured, and given back by a void
//! or refunds. Each call may be made again at any time and moves money once. [`stripe`] is the real
//! provider, [`sandbox`] one that plays by scripts.

pub mod gateway;
pub mod model;
pub mod rules;
pub mod sandbox;
pub mod stripe;
