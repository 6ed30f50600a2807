//! A payment provider without a bank: payments are items of the `Commerce` table, and the payment
//! method says how they go ([`model::Script`]). It keeps every promise that the real one is relied
//! on for, and is refused in production.

pub mod model;
pub mod rules;
pub mod store;

pub use store::Sandbox;
