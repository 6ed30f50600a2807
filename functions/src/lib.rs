//! The handlers: plain async functions that map an event to a rule and back.
//!
//! A folder is named after its context, a file after the one thing it answers. The binaries under
//! `src/bin` only wire a handler to the Lambda runtime.

pub mod catalog;
pub mod customers;
pub mod events;
pub mod health;
pub mod notifications;
pub mod openapi;
pub mod orders;
pub mod revenue;
pub mod sales;
pub mod sensors;
