//! When an invocation has to end.
//!
//! Source: `Lambda-Runtime-Deadline-Ms` of the [Runtime API], after which Lambda stops the process
//! wherever it is.
//!
//! [Runtime API]: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

use jiff::{SignedDuration, Timestamp};
use lambda_runtime::Context;

/// When Lambda stops the invocation; `None` where nobody set a time, as in tests.
#[must_use]
pub fn deadline(context: &Context) -> Option<Timestamp> {
    let millis = i64::try_from(context.deadline).ok()?;
    let deadline = Timestamp::from_millisecond(millis).ok()?;
    (millis > 0).then_some(deadline)
}

/// When work that begins `now` has to stop: after `longest`, or so early that `spare` is left before
/// Lambda stops it.
#[must_use]
pub fn stop(
    context: &Context,
    now: Timestamp,
    longest: SignedDuration,
    spare: SignedDuration,
) -> Timestamp {
    let end = now + longest;
    deadline(context).map_or(end, |deadline| end.min(deadline - spare))
}

/// The millisecond of Unix time from which nothing more is begun: `spare` milliseconds before Lambda
/// stops the invocation, and never where nobody set a time.
#[must_use]
pub fn stop_millis(context: &Context, spare: i64) -> i64 {
    deadline(context).map_or(i64::MAX, |at| at.as_millisecond() - spare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(deadline: u64) -> Context {
        let mut context = Context::default();
        context.deadline = deadline;
        context
    }

    #[test]
    fn no_deadline_is_told_from_one_in_1970() {
        assert_eq!(deadline(&context(0)), None);
        assert_eq!(deadline(&context(u64::MAX)), None);
        let second = Timestamp::from_second(1).unwrap();
        assert_eq!(deadline(&context(1_000)), Some(second));
    }

    #[test]
    fn work_stops_at_its_own_end_or_a_while_before_the_deadline() {
        let seconds = SignedDuration::from_secs;
        let at = |second| Timestamp::from_second(second).unwrap();
        let stop = |deadline| stop(&context(deadline), at(1_000), seconds(25), seconds(2));
        assert_eq!(stop(0), at(1_025));
        assert_eq!(stop(1_030_000), at(1_025));
        assert_eq!(stop(1_020_000), at(1_018));
        assert_eq!(stop(999_000), at(997), "no time is left");
    }

    #[test]
    fn nothing_is_begun_when_only_what_is_spare_is_left() {
        assert_eq!(stop_millis(&context(1_020_000), 20_000), 1_000_000);
        assert_eq!(stop_millis(&Context::default(), 20_000), i64::MAX);
    }
}
