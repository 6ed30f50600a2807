//! Messages that come repeated, shuffled, cut off and poisoned, to every function that a queue or the
//! stream feeds: what is stored in the end is a plain fold over the messages, and what is set aside is
//! the poison.

mod imports;
mod notices;
mod poison;
mod readings;
mod refusals;
mod relay;
mod revenue;
mod sqs;
mod stream;
