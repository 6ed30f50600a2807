//! Customers: who they are, how to reach them, and where to send things.
//!
//! A customer is a person of the user pool; the profile is made when they sign up, and on first use
//! where that was missed. What the profile holds is personal, so events tell which parts changed and
//! never what they are, and an erased customer leaves nothing but the number of changes and the time.
//!
//! Invariants:
//! - Of each type of address, one is the default whenever there is any.
//! - A version counts the changes; the event of a change has it for its sequence.
//! - An erased profile stays erased: a token that is still valid does not bring it back.

pub mod model;
pub mod rules;
pub mod store;
