//! Orders: what was bought, at which price, how it is paid and where it stands.
//!
//! An order is one aggregate: its item is what its events fold to, field by field
//! ([`event::apply`]), and its version is the sequence of the last. Commands are pure functions in
//! [`rules`] that say which event follows and which stock moves with it; the store writes the event,
//! the order and the moves in one transaction under the order's version. A step that runs twice finds
//! its fact in the order and changes nothing.
//!
//! Invariants, at all times ([`invariants`]): available + reserved + sold = received; nothing below
//! zero; captured − refunded is the order's paid total; no order stays open without an execution; one
//! charge per order.

pub mod event;
pub mod invariants;
pub mod model;
pub mod price;
pub mod rules;
pub mod statistics;
pub mod store;
pub mod tax;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timeline;
