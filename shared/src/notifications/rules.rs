//! Who may send a notification, and what follows a try that failed.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::model::Channel;

/// How long a claim lasts: longer than a run of the sending function may take, so that a claim that
/// has ended is nobody's.
pub const LEASE: SignedDuration = SignedDuration::from_secs(120);

/// How long a notification is remembered: longer than any queue can hold a message of it back.
pub const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Where a notification stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// Somebody may be sending it.
    Claimed {
        /// Who, by a random token.
        token: String,
        /// Until when.
        until: Timestamp,
    },
    /// The last try failed.
    Released,
    /// It is with the provider.
    Sent {
        /// How it went.
        channel: Channel,
        /// The provider's name for it.
        message_id: String,
        /// When.
        at: Timestamp,
    },
}

/// Deliveries of a message, the first included, in which a phone is tried: one and three retries.
pub const PHONE_DELIVERIES: u32 = 4;

/// The pause in seconds after the `deliveries`th delivery of a message (from 1) failed for now: 60,
/// 120 and 240; `None` when the retries are used up. An e-mail that stands in for a text message whose
/// retries are used up has one more, after 480: the queue delivers no more than five times.
#[must_use]
pub const fn pause_after(deliveries: u32, is_fallback: bool) -> Option<u32> {
    match (deliveries, is_fallback) {
        (0..=1, _) => Some(60),
        (2, _) => Some(120),
        (3, _) => Some(240),
        (PHONE_DELIVERIES, true) => Some(480),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_three_retries_and_their_pauses_double() {
        let pauses = |is_fallback| [1, 2, 3, 4, 5].map(|n| pause_after(n, is_fallback));
        let three = [Some(60), Some(120), Some(240), None, None];
        assert_eq!(pauses(false), three);
        let one_more = [Some(60), Some(120), Some(240), Some(480), None];
        assert_eq!(pauses(true), one_more);
    }
}
