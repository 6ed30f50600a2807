//! Point-of-sale revenue: what was sold, read from export files, counted exactly once.
//!
//! # What this context owns
//!
//! The `Sales` table and the import bucket. A sale row is known by its [identity](identity): Sale
//! ID, date, item, total paid, and how many equal rows stood before it in its file.
//!
//! # Invariants
//!
//! - **A chunk that no manifest lists does not exist.** Rows are written first, as
//!   [chunks](chunk), and come into being by one conditional write of their [day](day): totals,
//!   manifest and version change together or not at all.
//! - **Exactly-once is a property of that write**, not of the trigger. A run that finds its import
//!   in a day's manifest leaves the day as it is, so a crash at any point followed by any number of
//!   re-runs, also at the same time, ends in the state of one undisturbed run.
//! - **Chunk names never repeat.** Each run names its chunks by an attempt of its own, so no run
//!   can overwrite what another one's manifest lists.
//! - **Nothing is written before the whole file has been read once**: a file that turns out not to
//!   be a sales file leaves no trace but its report.
//! - **Every cell is kept as it came**, byte for byte; the totals are exact decimals and never pass
//!   through a float.
//! - **An order is a Sale ID within one day.** A Sale ID that comes back on another date counts
//!   there again.

pub mod chunk;
pub mod day;
pub mod errors_file;
pub mod export_file;
pub mod file;
pub mod files;
pub mod identity;
pub mod import;
pub mod model;
pub mod order_revenue;
pub mod revenue;
pub mod rules;
pub mod store;
