//! Idempotency: a request that is sent again has its effect once and gets the first answer again.
//!
//! A request is the same when caller, method, path and `Idempotency-Key` are (its *scope*) and its
//! body says the same (its *fingerprint*). The first one claims the scope's record by a conditional
//! write; the others see the claim and wait, are told to, or get the stored answer. The record turns
//! `COMPLETED` in the same transaction as the effect where that is a table write
//! ([`Claim::completion`]), so no crash can part the two.
//!
//! A claim holds for a lease, longer than the function may run. When its holder crashes, the same
//! request may claim it after the lease; the holder, should it still live, can then no longer complete,
//! and its transaction fails as a whole.
//!
//! The SDK sends a write again when the answer is lost, and the second try of a conditional write fails
//! on the first one's success. So every claim carries a token, and a failed condition is compared with
//! it before it is believed.

mod post;
mod rules;
mod store;

pub use post::{Content, Post, remembered};
pub use rules::{
    Fingerprint, IdempotencyKey, MAX_WAIT, Scope, StoredResponse, StoredResponseError, is_stored,
    preferred_wait,
};
pub use store::{Claim, Idempotency, IdempotencyError, Started, Work};
