//! Faults, crashes, hostile input and security on all three domains: seeded, replayable, and in two
//! sizes.

mod csv_corpus;
mod fuzz;
