//! The circuit breaker of a provider: while it keeps failing nobody calls it, and then one call tries
//! whether it is back.
//!
//! Source: M. Nygard, *Release It!*, second edition, section 5.2.

pub mod rules;
pub mod store;
