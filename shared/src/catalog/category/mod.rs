//! Categories: a tree of any shape up to a depth, read and written as a whole.
//!
//! Rows are packed into a few items by their number, and the number of changes of the whole tree stands
//! in one more, which every write is conditional on: what a rule has looked at is what the write
//! changes. Level and path follow from parents in the same read and are stored nowhere, so a subtree
//! of any size moves with its root; the versions of its rows tell that they moved.

pub mod model;
pub mod parts;
pub mod render;
pub mod store;
pub mod tree;
