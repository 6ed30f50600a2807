//! Series: the roll-ups of one metric over a range of time, as a query wants them.
//!
//! Pure: [`SeriesQuery::parse`] says what is wanted, [`Plan::of`] what to read for it, and
//! [`Points::assemble`] makes the answer of what was read.
//!
//! Invariant: a point is the roll-up of the readings of its bucket, whatever it was put together
//! from, and wherever a time zone's days begin.

mod fill;
mod interval;
mod plan;
mod points;
mod query;
mod stat;

pub use fill::{Fill, FillError, MaxGap, MaxGapError};
pub use interval::{Interval, IntervalError};
pub use plan::{MOST_AHEAD, MOST_RAW_HOURS, Plan};
pub use points::{Fetched, Point, Points};
pub use query::{MOST_POINTS, Parameters, QueryError, SeriesQuery};
pub use stat::{MOST_STATS, Stat, StatError, Value};
