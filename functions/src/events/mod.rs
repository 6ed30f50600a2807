//! The way of events from the table to the event bus.

pub mod relay;
