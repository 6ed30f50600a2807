//! Sensors: devices, their readings, and the roll-ups made of them.
//!
//! A reading is identified by its device, its metric and its time in milliseconds. The same reading
//! twice counts once; of two values for one identity the one that arrived later stands.
//!
//! Invariants:
//! - What was accepted is stored: a message leaves the queue only after its chunks and the log entry
//!   that names them are in the table.
//! - A roll-up is a function of the distinct readings of its bucket. Order, repetition, delay and
//!   crashes change when it is right, never whether.
//! - Chunks are immutable under their name, which is a hash of their content; only the compacted
//!   chunk of an hour is replaced, under a version condition, by one that holds at least as much.
//! - Raw data expires, roll-ups stay: a minute without raw data keeps the roll-up it has.

pub mod batch;
pub mod chunk;
pub mod device;
pub mod intake;
pub mod key;
pub mod model;
pub mod readings;
pub mod rollup;
pub mod rules;
pub mod series;
pub mod store;
