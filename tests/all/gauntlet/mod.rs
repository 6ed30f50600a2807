//! Faults, crashes, hostile input and security on all three domains: seeded, replayable, and in two
//! sizes.

mod kills;
mod queues;
