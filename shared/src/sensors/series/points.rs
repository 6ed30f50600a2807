//! The points of a series, made of what was read for it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{
    fill::Fill,
    plan::{Part, Plan},
    query::SeriesQuery,
    stat::{Stat, Value},
};
use crate::sensors::{
    model::{Day, Hour},
    rollup::{Rollup, Rollups},
};

/// What was read by a plan. What is missing has no readings; what is more does no harm.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Minutes of hours, stored or made of raw data.
    pub minutes: BTreeMap<Hour, Rollups>,
    /// Hours of days.
    pub hours: BTreeMap<Day, Rollups>,
    /// Days of months, by the first day of the month.
    pub days: BTreeMap<Day, Rollups>,
}

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The start of its bucket, in milliseconds of Unix time.
    pub start: i64,
    /// The first millisecond after its bucket.
    pub end: i64,
    /// Whether its bucket is not over, so that its values may still change as a matter of course.
    pub is_partial: bool,
    /// Whether its values are those of other buckets, or between them.
    pub is_filled: bool,
}

/// The points of a series, each with a value for each statistic of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    list: Vec<Point>,
    values: Vec<Value>,
    width: usize,
}

impl Points {
    /// Makes the points of what was read by `plan`, at `now` in milliseconds of Unix time.
    #[must_use]
    pub fn assemble(query: &SeriesQuery, plan: &Plan, fetched: &Fetched, now: i64) -> Self {
        let buckets: Vec<Bucket<'_>> = query
            .buckets()
            .map(|(start, end)| Bucket {
                start,
                end,
                rollup: fetched.rollup(plan.parts(start, end)),
            })
            .collect();
        let neighbours = neighbours(query, &buckets, now);
        let mut points = Self {
            list: Vec::with_capacity(buckets.len()),
            values: Vec::with_capacity(buckets.len() * query.stats().len()),
            width: query.stats().len(),
        };
        for (bucket, source) in buckets.iter().zip(neighbours) {
            if bucket.rollup.is_none() && query.fill() == Fill::None {
                continue;
            }
            points.list.push(Point {
                start: bucket.start,
                end: bucket.end,
                is_partial: bucket.end > now,
                is_filled: source.is_some(),
            });
            let values = query.stats().iter().map(|&stat| match &source {
                Some(source) if stat.can_be_filled() => source.value(stat),
                _ => stat.of(bucket.rollup.as_deref()),
            });
            points.values.extend(values);
        }
        points
    }

    /// The points in order of time, each with its values in the order of the query's statistics.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Point, &[Value])> {
        // A query has at least one statistic.
        self.list
            .iter()
            .zip(self.values.chunks_exact(self.width.max(1)))
    }

    /// How many points there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no point.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Fetched {
    /// The merged roll-ups of the parts of a bucket, in their order.
    fn rollup(&self, parts: impl Iterator<Item = Part>) -> Option<Cow<'_, Rollup>> {
        let mut total: Option<Cow<'_, Rollup>> = None;
        let mut take = |rollup| match &mut total {
            Some(total) => total.to_mut().merge(rollup),
            None => total = Some(Cow::Borrowed(rollup)),
        };
        for part in parts {
            match part {
                Part::Day(day) => {
                    let date = day.date();
                    let month = self.days.get(&Day::from_date(date.first_of_month()));
                    month
                        .and_then(|days| days.get(date.day().cast_unsigned()))
                        .map(&mut take);
                }
                Part::Hour(hour) => {
                    let day = self.hours.get(&hour.day());
                    day.and_then(|hours| hours.get(hour.of_day()))
                        .map(&mut take);
                }
                Part::Minutes { hour, from, to } => {
                    if let Some(minutes) = self.minutes.get(&hour) {
                        minutes.range(from..to).for_each(|(_, rollup)| take(rollup));
                    }
                }
            }
        }
        total
    }
}

#[derive(Debug)]
struct Bucket<'f> {
    start: i64,
    end: i64,
    rollup: Option<Cow<'f, Rollup>>,
}

impl Bucket<'_> {
    fn has_values(&self) -> bool {
        self.rollup
            .as_ref()
            .is_some_and(|rollup| rollup.valid_count() > 0)
    }
}

/// Where the values of a bucket without values come from: the bucket before, and a share of the
/// way to the bucket after.
#[derive(Clone, Copy, Debug)]
struct Source<'b> {
    before: &'b Rollup,
    after: Option<(&'b Rollup, f64)>,
}

impl Source<'_> {
    fn value(&self, stat: Stat) -> Value {
        let Value::Number(before) = stat.of(Some(self.before)) else {
            return Value::None;
        };
        let Some((after, share)) = self.after else {
            return Value::Number(before);
        };
        let Value::Number(after) = stat.of(Some(after)) else {
            return Value::None;
        };
        // The weighted sum stays finite where the difference would not.
        Value::Number(before * (1.0 - share) + after * share)
    }
}

/// For each bucket, where its values come from if it is to be filled.
#[expect(
    clippy::cast_precision_loss,
    reason = "spans of at most 1,440 days in milliseconds"
)]
fn neighbours<'b>(
    query: &SeriesQuery,
    buckets: &'b [Bucket<'_>],
    now: i64,
) -> Vec<Option<Source<'b>>> {
    let mut sources = vec![None; buckets.len()];
    if !matches!(query.fill(), Fill::Previous | Fill::Linear) {
        return sources;
    }
    let bridges = |gap: i64| query.max_gap().is_none_or(|most| gap <= most.millis());
    let mut known: Vec<usize> = (0..buckets.len())
        .filter(|&at| buckets[at].has_values())
        .collect();
    known.push(buckets.len());
    for &[left, right] in known.array_windows() {
        let (before, after) = (&buckets[left], buckets.get(right));
        let until = after.map_or(now.min(query.end()), |after| after.start);
        let Some(first) = before.rollup.as_deref() else {
            continue;
        };
        if !bridges(until - before.end) {
            continue;
        }
        for at in left + 1..right {
            let bucket = &buckets[at];
            sources[at] = match (query.fill(), after) {
                (Fill::Previous, _) if bucket.start < until => Some(Source {
                    before: first,
                    after: None,
                }),
                (Fill::Linear, Some(after)) => after.rollup.as_deref().map(|last| {
                    let way = (after.start - before.start) as f64;
                    Source {
                        before: first,
                        after: Some((last, (bucket.start - before.start) as f64 / way)),
                    }
                }),
                _ => None,
            };
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};
    use proptest::prelude::*;

    use super::*;
    use crate::sensors::model::{DAY_MS, HOUR_MS, MINUTE_MS};
    use crate::sensors::rollup::Sum;
    use crate::sensors::rules::SETTLED_AFTER;
    use crate::sensors::series::{Interval, Parameters};

    type Reading = (i64, f64, bool);

    fn text(ms: i64) -> String {
        Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    fn fold(readings: &[Reading], start: i64, end: i64) -> Rollup {
        let mut rollup = Rollup::new();
        for &(at, value, is_valid) in readings {
            if (start..end).contains(&at) {
                rollup.add(value, is_valid);
            }
        }
        rollup
    }

    /// What is stored of readings whose log was worked off up to `watermark`, or made of raw data,
    /// as far as a plan asks for it.
    fn fetch(plan: &Plan, readings: &[Reading], watermark: i64) -> Fetched {
        let is_stored = |end: i64| end + SETTLED_AFTER <= watermark;
        let mut fetched = Fetched::default();
        for &(at, value, is_valid) in readings {
            let (hour, day) = (Hour::of(at), Day::of(at));
            let minutes = || plan.minutes.iter().any(|range| range.contains(&hour));
            let is_raw = plan.raw.iter().any(|range| range.contains(&hour));
            if is_raw || is_stored(hour.end()) && minutes() {
                let minute = u8::try_from((at - hour.start()) / MINUTE_MS).unwrap();
                let rollups = fetched.minutes.entry(hour).or_default();
                rollups.slot(minute).add(value, is_valid);
            }
            if is_stored(hour.end()) && plan.hours.iter().any(|range| range.contains(&day)) {
                let rollups = fetched.hours.entry(day).or_default();
                rollups.slot(hour.of_day()).add(value, is_valid);
            }
            if is_stored(day.end()) && plan.days.iter().any(|range| range.contains(&day)) {
                let date = day.date();
                let month = Day::from_date(date.first_of_month());
                let rollups = fetched.days.entry(month).or_default();
                rollups
                    .slot(date.day().cast_unsigned())
                    .add(value, is_valid);
            }
        }
        fetched
    }

    /// Starts of changes of clocks, and an ordinary day.
    const DAYS: [&str; 6] = [
        "2026-03-29T00:00:00Z",
        "2026-10-25T00:00:00Z",
        "2026-03-08T00:00:00Z",
        "2026-11-01T00:00:00Z",
        "2026-04-04T00:00:00Z",
        "2026-10-03T00:00:00Z",
    ];

    const ZONES: [Option<&str>; 5] = [
        None,
        Some("Europe/Berlin"),
        Some("America/New_York"),
        Some("Australia/Lord_Howe"),
        Some("Asia/Kathmandu"),
    ];

    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        let reading = (0..5 * DAY_MS, -5_000i32..5_000, prop::bool::weighted(0.9));
        prop::collection::vec(reading, 0..250).prop_map(|readings| {
            let mut readings: Vec<Reading> = readings
                .into_iter()
                .map(|(at, value, is_valid)| (at, f64::from(value) / 100.0, is_valid))
                .collect();
            readings.sort_by_key(|reading| reading.0);
            readings.dedup_by_key(|reading| reading.0);
            readings
        })
    }

    proptest! {
        #[test]
        fn a_point_is_the_roll_up_of_its_readings_whatever_it_is_made_of(
            mut readings in readings(),
            base in prop::sample::select(&DAYS[..]),
            interval in prop::sample::select(&Interval::ALL[..]),
            zone in prop::sample::select(&ZONES[..]),
            from in 0..4 * DAY_MS,
            length in 1..DAY_MS,
            now in 0..6 * DAY_MS,
            behind in 0..20 * HOUR_MS,
        ) {
            let base = base.parse::<Timestamp>().unwrap().as_millisecond() - 2 * DAY_MS;
            let now = base + now;
            for reading in &mut readings {
                reading.0 += base;
            }
            readings.retain(|reading| reading.0 <= now + super::super::MOST_AHEAD);
            let is_days = interval == Interval::OneDay;
            let length = if is_days { 5 * DAY_MS } else { length };
            let (start, end) = (text(base + from), text(base + from + length));
            let query = SeriesQuery::parse(&Parameters {
                interval: interval.name(),
                start: &start,
                end: &end,
                tz: zone.filter(|_| is_days),
                fill: Some("null"),
                ..Parameters::default()
            });
            let Ok(query) = query else {
                return Ok(());
            };
            let plan = Plan::of(&query, now, Some(now - behind));
            let points = Points::assemble(&query, &plan, &fetch(&plan, &readings, now - behind), now);
            prop_assert_eq!(points.len(), query.buckets().len());
            for (point, values) in points.iter() {
                let whole = fold(&readings, point.start, point.end);
                let whole = Some(&whole).filter(|rollup| rollup.count() > 0);
                let expected: Vec<Value> = query.stats().iter().map(|stat| stat.of(whole)).collect();
                prop_assert_eq!(values, expected);
                prop_assert_eq!(point.is_partial, point.end > now);
            }
        }

        #[test]
        fn a_reading_is_in_the_day_that_clocks_in_the_zone_show(
            readings in readings(),
            base in prop::sample::select(&DAYS[..]),
            zone in prop::sample::select(&ZONES[1..]),
        ) {
            let base = base.parse::<Timestamp>().unwrap().as_millisecond() - 2 * DAY_MS;
            let readings: Vec<Reading> = readings
                .into_iter()
                .map(|(at, value, is_valid)| (base + at, value, is_valid))
                .collect();
            let (start, end) = (text(base), text(base + 5 * DAY_MS));
            let query = SeriesQuery::parse(&Parameters {
                interval: "1day",
                start: &start,
                end: &end,
                stats: Some("count"),
                tz: zone,
                ..Parameters::default()
            }).unwrap();
            let now = base + 30 * DAY_MS;
            let plan = Plan::of(&query, now, Some(now));
            let points = Points::assemble(&query, &plan, &fetch(&plan, &readings, now), now);
            let zone = TimeZone::get(zone.unwrap()).unwrap();
            let date = |ms| zone.to_datetime(Timestamp::from_millisecond(ms).unwrap()).date();
            let mut expected = BTreeMap::new();
            for reading in &readings {
                *expected.entry(date(reading.0)).or_insert(0) += 1;
            }
            let found: BTreeMap<_, _> = points
                .iter()
                .map(|(point, values)| match values {
                    [Value::Count(count)] => (date(point.start), *count),
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }

    /// Minutes 2 and 5 of an hour have values, minute 3 an invalid one; asked for in minute 8.
    fn filled(fill: &str, max_gap: Option<&str>) -> Vec<(bool, Vec<Value>)> {
        let points = points_at(30_000, fill, max_gap);
        let point = |(point, values): (&Point, &[Value])| (point.is_filled, values.to_vec());
        points.iter().map(point).collect()
    }

    /// The same, so many milliseconds after the beginning of minute 8.
    fn points_at(after: i64, fill: &str, max_gap: Option<&str>) -> Points {
        let mut minutes = Rollups::new();
        minutes.slot(2).add(10.0, true);
        minutes.slot(3).add(99.0, false);
        minutes.slot(5).add(16.0, true);
        let query = SeriesQuery::parse(&Parameters {
            interval: "1min",
            start: "2026-11-20T08:01:00Z",
            end: "2026-11-20T08:10:00Z",
            stats: Some("count,sum,avg"),
            fill: Some(fill),
            max_gap,
            tz: None,
        })
        .unwrap();
        let now = query.start() + 7 * MINUTE_MS + after;
        let plan = Plan::of(&query, now, None);
        let mut fetched = Fetched::default();
        fetched.minutes.insert(Hour::of(now), minutes);
        Points::assemble(&query, &plan, &fetched, now)
    }

    fn real(count: u64, value: Option<f64>) -> (bool, Vec<Value>) {
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
        let sum = |value: f64| Sum::Exact {
            mantissa: value as i64,
            scale: 0,
        };
        let sum = match (count, value) {
            (0, _) => Value::None,
            (_, value) => Value::Sum(value.map_or(Sum::ZERO, sum)),
        };
        let avg = value.map_or(Value::None, Value::Number);
        (false, vec![Value::Count(count), sum, avg])
    }

    fn made_up(count: u64, value: f64) -> (bool, Vec<Value>) {
        let (_, mut values) = real(count, None);
        values[2] = Value::Number(value);
        (true, values)
    }

    fn empty() -> (bool, Vec<Value>) {
        real(0, None)
    }

    #[test]
    fn without_filling_only_buckets_with_readings_are_there() {
        let expected = [real(1, Some(10.0)), real(1, None), real(1, Some(16.0))];
        assert_eq!(filled("none", None), expected);
    }

    #[test]
    fn null_leaves_a_point_for_each_bucket() {
        let mut expected = vec![empty(); 9];
        expected[1] = real(1, Some(10.0));
        expected[2] = real(1, None);
        expected[4] = real(1, Some(16.0));
        assert_eq!(filled("null", None), expected);
    }

    #[test]
    fn previous_goes_on_until_now() {
        let expected = [
            empty(),
            real(1, Some(10.0)),
            made_up(1, 10.0),
            made_up(0, 10.0),
            real(1, Some(16.0)),
            made_up(0, 16.0),
            made_up(0, 16.0),
            made_up(0, 16.0),
            empty(),
        ];
        assert_eq!(filled("previous", None), expected);
    }

    #[test]
    fn a_bucket_is_partial_until_it_ends_and_filled_once_it_begins() {
        let of = |after| -> Vec<(bool, bool)> {
            let points = points_at(after, "previous", None);
            let point = |(point, _): (&Point, _)| (point.is_partial, point.is_filled);
            points.iter().skip(6).map(point).collect()
        };
        assert_eq!(of(0), [(false, true), (true, false), (true, false)]);
        assert_eq!(of(1), [(false, true), (true, true), (true, false)]);
        assert_eq!(of(-1), [(true, true), (true, false), (true, false)]);
    }

    #[test]
    fn linear_goes_from_value_to_value() {
        let expected = [
            empty(),
            real(1, Some(10.0)),
            made_up(1, 12.0),
            made_up(0, 14.0),
            real(1, Some(16.0)),
            empty(),
            empty(),
            empty(),
            empty(),
        ];
        assert_eq!(filled("linear", None), expected);
    }

    #[test]
    fn a_gap_is_filled_if_it_is_no_longer_than_allowed() {
        let is_filled = |max_gap| -> Vec<bool> {
            let points = filled("previous", Some(max_gap));
            points.into_iter().map(|point| point.0).collect()
        };
        let (inner, tail) = ([2, 3], [5, 6, 7]);
        for (max_gap, filled) in [
            ("119s", vec![]),
            ("2m", inner.to_vec()),
            ("149s", inner.to_vec()),
        ] {
            let expected: Vec<bool> = (0..9).map(|at| filled.contains(&at)).collect();
            assert_eq!(is_filled(max_gap), expected, "{max_gap}");
        }
        let all: Vec<bool> = (0..9)
            .map(|at| inner.contains(&at) || tail.contains(&at))
            .collect();
        assert_eq!(is_filled("150s"), all);
    }
}
