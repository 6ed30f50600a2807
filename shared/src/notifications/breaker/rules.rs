//! When a breaker lets a call through, and what an outcome makes of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Failures within [`WINDOW`] that open a breaker.
pub const MOST_FAILURES: usize = 5;

/// For how long a failure counts.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// How long a breaker stays open before a call tries whether the provider is back, and how long that
/// call may take before another is let through.
pub const REST: SignedDuration = SignedDuration::from_secs(60);

/// A breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Breaker {
    /// Calls go through.
    Closed {
        /// When the last calls failed, oldest first; fewer than [`MOST_FAILURES`].
        failures: Vec<Timestamp>,
    },
    /// No call goes through.
    Open {
        /// Until when.
        until: Timestamp,
    },
    /// One call is trying.
    HalfOpen {
        /// When it counts as lost.
        until: Timestamp,
    },
}

/// Leave to make a call; its outcome is reported with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Any number of calls have it.
    Ordinary,
    /// The one call that tries whether the provider is back, named by when it counts as lost.
    Trial(Timestamp),
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed {
            failures: Vec::new(),
        }
    }
}

impl Breaker {
    /// Whether a call may be made at `now`, and the breaker after that if it changes by it.
    #[must_use]
    pub fn admit(&self, now: Timestamp) -> Option<(Permit, Option<Self>)> {
        match self {
            Self::Closed { .. } => Some((Permit::Ordinary, None)),
            Self::Open { until } | Self::HalfOpen { until } if *until <= now => {
                let until = now.saturating_add(REST).unwrap_or(Timestamp::MAX);
                Some((Permit::Trial(until), Some(Self::HalfOpen { until })))
            }
            Self::Open { .. } | Self::HalfOpen { .. } => None,
        }
    }

    /// The breaker after a call with `permit` succeeded, if it changes by it. What was let through
    /// before the breaker opened says nothing about now.
    #[must_use]
    pub fn succeeded(&self, permit: Permit) -> Option<Self> {
        self.is_trial(permit).then(Self::default)
    }

    /// The breaker after a call with `permit` failed at `now`, if it changes by it.
    #[must_use]
    pub fn failed(&self, permit: Permit, now: Timestamp) -> Option<Self> {
        let open = || Self::Open {
            until: now.saturating_add(REST).unwrap_or(Timestamp::MAX),
        };
        match (self, permit) {
            (Self::Closed { failures }, Permit::Ordinary) => {
                let counts = |at: &&Timestamp| now.duration_since(**at) < WINDOW;
                let mut failures: Vec<_> = failures.iter().filter(counts).copied().collect();
                failures.push(now);
                if failures.len() < MOST_FAILURES {
                    Some(Self::Closed { failures })
                } else {
                    Some(open())
                }
            }
            _ => self.is_trial(permit).then(open),
        }
    }

    fn is_trial(&self, permit: Permit) -> bool {
        matches!((self, permit), (Self::HalfOpen { until }, Permit::Trial(trial)) if *until == trial)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn after(breaker: &mut Breaker, next: Option<Breaker>) {
        if let Some(next) = next {
            *breaker = next;
        }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for second in 0..5 {
            let next = breaker.failed(Permit::Ordinary, at(second));
            after(&mut breaker, next);
        }
        breaker
    }

    #[test]
    fn five_failures_within_a_minute_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        for second in [0, 10, 20, 30, 61] {
            let next = breaker.failed(Permit::Ordinary, at(second));
            after(&mut breaker, next);
            assert!(breaker.admit(at(second)).is_some(), "{second}");
        }
        let next = breaker.failed(Permit::Ordinary, at(69));
        after(&mut breaker, next);
        assert_eq!(breaker, Breaker::Open { until: at(129) });
        assert_eq!(breaker.admit(at(128)), None);
    }

    #[test]
    fn after_a_minute_one_call_tries_and_closes_it_or_opens_it_again() {
        let breaker = opened();
        let (permit, half) = breaker.admit(at(64)).unwrap();
        let half = half.unwrap();
        assert_eq!((permit, half.admit(at(65))), (Permit::Trial(at(124)), None));
        assert_eq!(half.succeeded(permit), Some(Breaker::default()));
        let until = at(130);
        assert_eq!(half.failed(permit, at(70)), Some(Breaker::Open { until }));
    }

    #[test]
    fn a_trial_that_is_lost_gives_way_to_another_and_its_late_outcome_does_not_count() {
        let (lost, half) = opened().admit(at(64)).unwrap();
        let (second, half) = half.unwrap().admit(at(124)).unwrap();
        let half = half.unwrap();
        assert_eq!(
            (half.succeeded(lost), half.failed(lost, at(125))),
            (None, None)
        );
        assert_eq!(half.succeeded(second), Some(Breaker::default()));
    }

    #[test]
    fn outcomes_of_calls_from_before_it_opened_do_not_count() {
        let breaker = opened();
        assert_eq!(breaker.succeeded(Permit::Ordinary), None);
        assert_eq!(breaker.failed(Permit::Ordinary, at(6)), None);
    }

    #[test]
    fn it_has_its_wire_format() {
        let closed = Breaker::Closed {
            failures: vec![at(1)],
        };
        let json = serde_json::json!([closed, Breaker::HalfOpen { until: at(2) }]);
        insta::assert_json_snapshot!(json, @r#"
        [
          {
            "failures": [
              "1970-01-01T00:00:01Z"
            ],
            "state": "closed"
          },
          {
            "state": "half-open",
            "until": "1970-01-01T00:00:02Z"
          }
        ]
        "#);
    }

    /// A breaker that remembers everything and forgets nothing, told in the words of the contract.
    #[derive(Default)]
    struct Naive {
        failures: Vec<i64>,
        opened: Option<i64>,
        trial: Option<i64>,
    }

    impl Naive {
        /// Whether a call may be made, and whether it is the trial.
        fn admits(&mut self, now: i64) -> (bool, bool) {
            match (self.opened, self.trial) {
                (None, _) => (true, false),
                (Some(opened), _) if now < opened + 60 => (false, false),
                (Some(_), Some(trial)) if now < trial + 60 => (false, false),
                (Some(_), _) => {
                    self.trial = Some(now);
                    (true, true)
                }
            }
        }

        fn ends(&mut self, trial: Option<i64>, is_failure: bool, now: i64) {
            let is_the_trial = trial.is_some() && trial == self.trial;
            if self.opened.is_some() != is_the_trial {
                return;
            }
            if is_the_trial {
                *self = Self {
                    opened: is_failure.then_some(now),
                    ..Self::default()
                };
            } else if is_failure && trial.is_none() {
                self.failures.push(now);
                let recent = self.failures.iter().filter(|&&at| now - at < 60).count();
                if recent >= 5 {
                    self.opened = Some(now);
                }
            }
        }
    }

    proptest! {
        /// Calls begin at any time, overlap, end in any order or never, and fail in spells.
        #[test]
        fn it_does_what_one_does_that_forgets_nothing(
            steps in prop::collection::vec((0_i64..40, 0_usize..6, prop::bool::weighted(0.7)), 0..200),
        ) {
            let (mut breaker, mut naive, mut now) = (Breaker::default(), Naive::default(), 0);
            let mut running = Vec::new();
            for (pause, which, is_failure) in steps {
                now += pause / 4;
                if which < 3 {
                    let admitted = breaker.admit(at(now));
                    let (is_admitted, is_trial) = naive.admits(now);
                    prop_assert_eq!(admitted.is_some(), is_admitted);
                    if let Some((permit, next)) = admitted {
                        prop_assert_eq!(matches!(permit, Permit::Trial(_)), is_trial);
                        after(&mut breaker, next);
                        running.push((permit, is_trial.then_some(now)));
                    }
                } else if !running.is_empty() {
                    let (permit, trial) = running.remove(which % running.len());
                    let next = if is_failure {
                        breaker.failed(permit, at(now))
                    } else {
                        breaker.succeeded(permit)
                    };
                    after(&mut breaker, next);
                    naive.ends(trial, is_failure, now);
                }
                if let Breaker::Closed { failures } = &breaker {
                    prop_assert!(failures.len() < MOST_FAILURES);
                }
            }
        }
    }
}
