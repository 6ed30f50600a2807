//! What happened to an aggregate (an order, a stock, a product, a category, a customer), told once.
//!
//! An event is appended in the transaction that changes the aggregate, so neither exists without the
//! other. Its sequence is the version that the aggregate has by it: 1, 2, 3, … without a gap, but that a
//! stock counts what orders move, and a category that one above it moved, which have no event here. The
//! table's stream carries the events to the event bus, each as a `CloudEvent`. There an event may come
//! twice, late or out of order; who listens tells by its id and sequence.

pub mod cloud_event;
pub mod model;
pub mod store;
