//! Payments: the provider's adapter against an emulator of its API.

mod stripe;
