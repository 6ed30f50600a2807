//! The sending of notifications.

pub mod context;
mod facts;
pub mod send;
mod task;
