//! Notifications: what customers and staff are told of orders, by e-mail or text message.
//!
//! Each notification is sent once. Before it is sent it is claimed in the table, for as long as one
//! try may take at most; after the provider's answer it is recorded as sent. Neither provider takes a
//! key by which it could tell a second call from a first, so what was sent without being recorded (the
//! process died in between, or the answer was lost on the way) is sent again: better twice than not
//! at all.
//!
//! A provider that keeps failing is left alone for a while: its circuit [`breaker`] is in the table,
//! so every instance knows.

pub mod breaker;
pub mod message;
pub mod model;
pub mod provider;
pub mod rules;
pub mod store;
