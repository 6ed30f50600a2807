//! The order functions: the API that takes orders, and what carries them through.

pub mod api;
mod command;
pub mod context;
pub mod create;
pub mod execution;
pub mod history;
pub mod lookup;
pub mod problem;
pub mod refunds;
pub mod request;
pub mod steps;
pub mod sweep;
pub mod totals;
pub mod transitions;
pub mod view;
