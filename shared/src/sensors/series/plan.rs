//! What to read for a query.

use std::ops::RangeInclusive;

use super::query::SeriesQuery;
use crate::sensors::{
    model::{DAY_MS, Day, EARLIEST_MS, Hour, MINUTE_MS},
    rules::SETTLED_AFTER,
};

/// How far ahead of now a reading's time may be.
pub const MOST_AHEAD: i64 = 10 * MINUTE_MS;

/// Hours before the present one that are at most read from raw data, should the aggregator stand
/// still.
pub const MOST_RAW_HOURS: i64 = 24;

/// What to read for a query: as few items as hold it.
///
/// Hours and days are stored once they are settled, which the aggregator's watermark tells; what is
/// not stored yet is made of the next smaller: days of hours, hours of raw data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Hours whose minutes are wanted.
    pub minutes: Vec<RangeInclusive<Hour>>,
    /// Days whose hours are wanted.
    pub hours: Vec<RangeInclusive<Day>>,
    /// Days that are wanted, by the months they are in.
    pub days: Option<RangeInclusive<Day>>,
    /// Hours whose raw data is wanted, to be rolled up by the minute.
    pub raw: Option<RangeInclusive<Hour>>,
    sources: Sources,
}

impl Plan {
    /// What to read at `now`, in milliseconds of Unix time, if all that was stored up to
    /// `watermark` has been worked off; `None` if nothing ever was.
    #[must_use]
    pub fn of(query: &SeriesQuery, now: i64, watermark: Option<i64>) -> Self {
        let sources = Sources::of(now, watermark);
        let mut plan = Self {
            minutes: Vec::new(),
            hours: Vec::new(),
            days: None,
            raw: None,
            sources,
        };
        for (start, end) in query.buckets() {
            for part in sources.parts(start, end) {
                plan.want(part);
            }
        }
        plan
    }

    /// What a bucket is made of, in order of time.
    pub(super) fn parts(&self, start: i64, end: i64) -> impl Iterator<Item = Part> + use<> {
        self.sources.parts(start, end)
    }

    fn want(&mut self, part: Part) {
        match part {
            Part::Day(day) => widen(&mut self.days, day),
            Part::Hour(hour) => extend(&mut self.hours, hour.day(), Day::next),
            Part::Minutes { hour, .. } if hour < self.sources.raw.0 => {
                extend(&mut self.minutes, hour, Hour::next);
            }
            Part::Minutes { hour, .. } if hour <= self.sources.raw.1 => widen(&mut self.raw, hour),
            Part::Minutes { .. } => {}
        }
    }
}

fn widen<T: Copy>(range: &mut Option<RangeInclusive<T>>, to: T) {
    let from = range.as_ref().map_or(to, |range| *range.start());
    *range = Some(from..=to);
}

/// Adds what is not before the last range to it, or as a range of its own.
fn extend<T: Copy + Ord>(ranges: &mut Vec<RangeInclusive<T>>, to: T, next: impl Fn(T) -> T) {
    match ranges.last_mut() {
        Some(last) if to <= next(*last.end()) => *last = *last.start()..=to,
        _ => ranges.push(to..=to),
    }
}

/// What a bucket is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A stored day.
    Day(Day),
    /// A stored hour.
    Hour(Hour),
    /// Minutes of an hour, from one to before another.
    Minutes { hour: Hour, from: u8, to: u8 },
}

/// Where things are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sources {
    /// The first day that may not be stored.
    open_day: Day,
    /// The hours that are read from raw data, the first and the last.
    raw: (Hour, Hour),
}

impl Sources {
    fn of(now: i64, watermark: Option<i64>) -> Self {
        let settled = watermark.unwrap_or(EARLIEST_MS).min(now) - SETTLED_AFTER;
        let present = Hour::of(now);
        let oldest = Hour::new(present.number() - MOST_RAW_HOURS);
        Self {
            open_day: Day::of(settled),
            raw: (Hour::of(settled).max(oldest), Hour::of(now + MOST_AHEAD)),
        }
    }

    fn parts(self, start: i64, end: i64) -> impl Iterator<Item = Part> {
        let mut at = start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (day, hour) = (Day::of(at), Hour::of(at));
            if day.start() == at && end - at == DAY_MS && day < self.open_day {
                at = end;
                return Some(Part::Day(day));
            }
            let until = end.min(hour.end());
            let minute = |ms: i64| u8::try_from((ms - hour.start()) / MINUTE_MS).unwrap_or(60);
            let part = if until - at == hour.end() - hour.start() && hour < self.raw.0 {
                Part::Hour(hour)
            } else {
                Part::Minutes {
                    hour,
                    from: minute(at),
                    to: minute(until),
                }
            };
            at = until;
            Some(part)
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sensors::series::Parameters;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn hour(text: &str) -> Hour {
        Hour::of(at(text))
    }

    fn day(text: &str) -> Day {
        Day::from_date(text.parse().unwrap())
    }

    fn query(interval: &str, start: &str, end: &str, tz: Option<&str>) -> SeriesQuery {
        let parameters = Parameters {
            interval,
            start,
            end,
            tz,
            ..Parameters::default()
        };
        SeriesQuery::parse(&parameters).unwrap()
    }

    /// At ten past ten, worked off up to two minutes before: nine o'clock is not settled.
    fn plan(query: &SeriesQuery) -> Plan {
        let now = at("2026-11-20T10:10:00Z");
        Plan::of(query, now, Some(now - 120_000))
    }

    #[test]
    fn minutes_are_read_as_stored_up_to_the_last_settled_hour_and_from_raw_data_after() {
        let plan = plan(&query("1min", "2026-11-20", "2026-11-21", None));
        assert_eq!(
            plan.minutes,
            [hour("2026-11-20T00:00Z")..=hour("2026-11-20T08:00Z")]
        );
        assert_eq!(
            plan.raw,
            Some(hour("2026-11-20T09:00Z")..=hour("2026-11-20T10:00Z"))
        );
        assert_eq!((plan.hours, plan.days), (vec![], None));
    }

    #[test]
    fn a_month_up_to_today_is_its_days_and_todays_hours_and_the_raw_tail() {
        let plan = plan(&query("1day", "2026-10-25", "2026-11-21", None));
        assert_eq!(plan.days, Some(day("2026-10-25")..=day("2026-11-19")));
        assert_eq!(plan.hours, [day("2026-11-20")..=day("2026-11-20")]);
        assert_eq!(
            plan.raw,
            Some(hour("2026-11-20T09:00Z")..=hour("2026-11-20T10:00Z"))
        );
        assert_eq!(plan.minutes, []);
    }

    #[test]
    fn days_of_a_zone_are_made_of_hours_and_of_minutes_where_an_hour_is_split() {
        let berlin = plan(&query(
            "1day",
            "2026-11-01",
            "2026-11-03",
            Some("Europe/Berlin"),
        ));
        assert_eq!(berlin.hours, [day("2026-10-31")..=day("2026-11-02")]);
        assert_eq!(
            (berlin.minutes, berlin.days, berlin.raw),
            (vec![], None, None)
        );
        let kathmandu = plan(&query(
            "1day",
            "2026-11-01",
            "2026-11-03",
            Some("Asia/Kathmandu"),
        ));
        let split = [
            "2026-10-31T18:00Z",
            "2026-11-01T18:00Z",
            "2026-11-02T18:00Z",
        ]
        .map(hour);
        assert_eq!(kathmandu.minutes, split.map(|hour| hour..=hour));
        assert_eq!(kathmandu.hours, [day("2026-10-31")..=day("2026-11-02")]);
    }

    #[test]
    fn an_aggregator_that_stands_still_has_its_hours_read_from_raw_data_for_a_day() {
        let now = at("2026-11-20T10:10:00Z");
        let query = query("1hour", "2026-11-17", "2026-11-21", None);
        let raw = |watermark| Plan::of(&query, now, watermark).raw.unwrap();
        assert_eq!(
            *raw(Some(now - 6 * 3_600_000)).start(),
            hour("2026-11-20T03:00Z")
        );
        assert_eq!(
            *raw(Some(now - 60 * 3_600_000)).start(),
            hour("2026-11-19T10:00Z")
        );
        assert_eq!(raw(None), raw(Some(now - 60 * 3_600_000)));
    }

    #[test]
    fn of_the_future_only_the_minutes_are_read_that_readings_may_be_ahead() {
        let now = at("2026-11-20T10:55:00Z");
        let query = query("1hour", "2026-11-20", "2026-11-22", None);
        let raw = Plan::of(&query, now, Some(now)).raw.unwrap();
        assert_eq!(raw, hour("2026-11-20T10:00Z")..=hour("2026-11-20T11:00Z"));
    }
}
