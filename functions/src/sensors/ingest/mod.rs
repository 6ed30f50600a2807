//! Ingest: readings over HTTP into the queue.
//!
//! A body is parsed, its devices are looked up, and what may be written is durable in the queue
//! before the answer says so. Sending the same readings again changes nothing: a caller that got no
//! answer, or 503, repeats the request.

pub mod api;
pub mod body;
pub mod bulk;
pub mod caller;
pub mod context;
pub mod queue;
pub mod registry;
pub mod take;
pub mod write;

#[cfg(test)]
mod testing;
