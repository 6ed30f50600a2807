//! Postal addresses and phone numbers, as customers keep them and orders copy them.

pub mod model;
pub mod phone;
