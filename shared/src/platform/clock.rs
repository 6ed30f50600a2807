//! Time as an argument: rules never read the clock, they are told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Tells the time. A handler's context owns one; rules take the [`Timestamp`] it gives.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `at` (kept to the millisecond) until [`advance`](Self::advance)
    /// moves it; clones share the time.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.as_millisecond()))))
    }

    /// The present moment, in whole milliseconds: what is stored of a time is what callers are shown.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => {
                let now = Timestamp::now();
                Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
            }
            Source::Fixed(milliseconds) => {
                Timestamp::from_millisecond(milliseconds.load(Ordering::SeqCst))
                    .unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Moves a fixed clock by whole milliseconds of `by`; the system clock is not moved.
    pub fn advance(&self, by: SignedDuration) {
        if let Source::Fixed(milliseconds) = &self.0 {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            milliseconds.fetch_add(by, Ordering::SeqCst);
        }
    }
}

/// Writes `at` as RFC 3339 UTC with milliseconds, such as `2026-11-20T15:50:28.123Z`. Fractions of
/// a millisecond are cut off, never rounded up into the future.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let floor = at.as_nanosecond().div_euclid(1_000_000);
    let truncated = i64::try_from(floor)
        .ok()
        .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
        .unwrap_or(at);
    format!("{truncated:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let shared = clock.clone();
        assert_eq!(clock.now(), clock.now());
        shared.advance(SignedDuration::from_secs(5));
        assert_eq!(clock.now().as_second(), 5);
    }

    #[test]
    fn times_are_written_with_exactly_three_decimals_and_never_rounded_up() {
        let at = |text: &str| rfc3339(text.parse().unwrap());
        assert_eq!(at("2026-11-20T15:50:28Z"), "2026-11-20T15:50:28.000Z");
        assert_eq!(at("2026-11-20T15:50:28.9999Z"), "2026-11-20T15:50:28.999Z");
        assert_eq!(at("1969-12-31T23:59:59.9999Z"), "1969-12-31T23:59:59.999Z");
        assert_eq!(
            at("2026-11-20T23:50:28.5+08:00"),
            "2026-11-20T15:50:28.500Z"
        );
    }
}
