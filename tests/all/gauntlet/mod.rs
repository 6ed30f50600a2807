//! Faults, crashes, hostile input and security on all three domains: seeded, replayable, and in two
//! sizes.

mod hardening;
mod roles;
mod supply;
