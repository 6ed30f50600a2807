//! Sales, end to end.

mod api;
mod bucket;
mod cost;
mod crash;
mod hostile;
