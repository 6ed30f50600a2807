//! The catalogue: categories as a tree, and products in them.
//!
//! Invariants:
//! - The whole tree changes in one write or not at all, whoever else writes: no reader sees a cycle, a
//!   category without its parent, or two of one slug.
//! - A category that has products cannot go: each counts its products in an item of its own, which the
//!   transactions of products and of its deletion both depend on.
//! - Of the products that are not deleted, no two have the same sku.
//! - Lists and price statistics change in the transaction that changes their product, so statistics
//!   equal, at any moment, what the listed products would add up to.

pub mod category;
pub mod id;
pub mod patch;
pub mod product;
