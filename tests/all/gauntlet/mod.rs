//! Faults, crashes, hostile input and security on all three domains: seeded, replayable, and in two
//! sizes.

mod chaos;
mod crash_points;
mod csv_corpus;
mod fuzz;
mod hardening;
mod kills;
mod owasp;
mod queues;
mod responses;
mod roles;
mod supply;
