//! Stripe's API: a payment is a `PaymentIntent` that is captured by hand.
//!
//! <https://docs.stripe.com/payments/place-a-hold-on-a-payment-method>. Opening creates the intent,
//! authorising confirms it, voiding cancels it; a cancelled intent can never be confirmed.

pub mod api_key;
pub mod client;
pub mod http;
pub mod model;
pub mod rules;
#[cfg(test)]
mod tests;

pub use client::Stripe;
