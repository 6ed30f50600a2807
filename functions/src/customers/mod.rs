//! The customer functions: a customer's own profile and addresses, and what is done when somebody
//! signs up.

pub mod addresses;
pub mod api;
pub mod context;
pub mod me;
pub mod people;
pub mod problem;
pub mod sign_up;
