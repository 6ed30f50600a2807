//! Products: what is known of them, the lists they stand in, and what they cost on average.
//!
//! A product that is active and not deleted is *listed*: in the list of all, in that of each of its
//! categories, and in that of the featured ones if it is one. Price statistics count each listed product
//! once, however many of its categories are asked about, because they are kept for each *set* of
//! categories that products have, and a product has one.

pub mod list;
pub mod model;
pub mod prices;
pub mod rules;
pub mod store;
