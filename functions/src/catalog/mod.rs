//! The catalogue API: the tree of categories, products and their lists, and stock.

pub mod api;
pub mod categories;
pub mod change;
pub mod context;
pub mod lists;
pub mod prices;
pub mod problem;
pub mod products;
pub mod public;
pub mod stock;
pub mod tree;
