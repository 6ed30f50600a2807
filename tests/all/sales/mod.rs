//! Sales, end to end.

mod api;
mod bucket;
mod crash;
mod hostile;
