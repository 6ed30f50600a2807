//! A query for a series: its buckets and what is wanted of them.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    fill::{Fill, FillError, MaxGap, MaxGapError},
    interval::{Interval, IntervalError},
    stat::{Stat, StatError},
};
use crate::sensors::model::{EARLIEST_MS, LATEST_MS};

/// Most points of a series.
pub const MOST_POINTS: usize = 1_440;

/// The parameters of a query as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parameters<'q> {
    /// `1min`, `5min`, `1hour` or `1day`.
    pub interval: &'q str,
    /// The first instant in RFC 3339, or a date, which is its midnight in the time zone.
    pub start: &'q str,
    /// The first instant after, or a date, which is its midnight in the time zone.
    pub end: &'q str,
    /// The statistics wanted, with commas between; [`Stat::DEFAULT`] where there are none.
    pub stats: Option<&'q str>,
    /// `none` (where it is missing), `null`, `previous` or `linear`.
    pub fill: Option<&'q str>,
    /// A duration; any gap is filled where it is missing.
    pub max_gap: Option<&'q str>,
    /// The name of an IANA time zone, whose days are meant; UTC where it is missing.
    pub tz: Option<&'q str>,
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Of `interval`.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// Of `start` or `end`, which is named.
    #[error("{0} is an RFC 3339 time such as 2026-11-20T08:00:00Z, or a date, from 1900 to 9999")]
    Time(&'static str),
    /// Of `end`.
    #[error("the end must be after the start")]
    Empty,
    /// Of `stats`.
    #[error(transparent)]
    Stats(#[from] StatError),
    /// Of `fill`.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// Of `max_gap`.
    #[error(transparent)]
    MaxGap(#[from] MaxGapError),
    /// Of `max_gap`.
    #[error("max_gap goes with fill=previous or fill=linear")]
    NothingToFill,
    /// Of `tz`.
    #[error("tz is the name of an IANA time zone such as Europe/Berlin")]
    TimeZone,
    /// Of `tz`.
    #[error("tz goes with interval=1day")]
    NotDays,
    /// Of `interval`: the range has more points than [`MOST_POINTS`].
    #[error("the range has more than {MOST_POINTS} points; {}", advice(*.0))]
    TooManyPoints(Option<Interval>),
}

fn advice(fits: Option<Interval>) -> String {
    fits.map_or_else(
        || "ask for a shorter range".to_owned(),
        |interval| format!("ask for interval={interval} or a shorter range"),
    )
}

impl QueryError {
    /// The parameter that is wrong.
    #[must_use]
    pub const fn parameter(&self) -> &'static str {
        match self {
            Self::Interval(_) | Self::TooManyPoints(_) => "interval",
            Self::Time(name) => name,
            Self::Empty => "end",
            Self::Stats(_) => "stats",
            Self::Fill(_) => "fill",
            Self::MaxGap(_) | Self::NothingToFill => "max_gap",
            Self::TimeZone | Self::NotDays => "tz",
        }
    }

    /// A stable word for it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooManyPoints(_) => "too-many-points",
            _ => "invalid-parameter",
        }
    }
}

/// A query for a series, valid: 1 to [`MOST_POINTS`] buckets, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesQuery {
    interval: Interval,
    time_zone: Option<TimeZone>,
    /// Where buckets begin, and where the last ends.
    bounds: Vec<i64>,
    stats: Vec<Stat>,
    fill: Fill,
    max_gap: Option<MaxGap>,
}

impl SeriesQuery {
    /// Reads a query. Its range is widened to whole buckets.
    ///
    /// # Errors
    /// All [`QueryError`]s, at most one for each parameter.
    pub fn parse(parameters: &Parameters<'_>) -> Result<Self, Vec<QueryError>> {
        let mut errors = Vec::new();
        let interval = keep(&mut errors, parameters.interval.parse::<Interval>());
        let stats = keep(
            &mut errors,
            parameters
                .stats
                .map_or_else(|| Ok(Stat::DEFAULT.to_vec()), Stat::list),
        );
        let fill = keep(
            &mut errors,
            parameters.fill.map_or(Ok(Fill::None), str::parse),
        );
        let max_gap = keep(&mut errors, parameters.max_gap.map(str::parse).transpose());
        let time_zone = keep(&mut errors, parameters.tz.map(time_zone).transpose());
        let zone = time_zone.clone().flatten().unwrap_or(TimeZone::UTC);
        let start = keep(&mut errors, time(parameters.start, &zone, "start"));
        let end = keep(&mut errors, time(parameters.end, &zone, "end"));

        if let (Some(Some(_)), Some(Fill::None | Fill::Null)) = (max_gap, fill) {
            errors.push(QueryError::NothingToFill);
        }
        if parameters.tz.is_some() && interval.is_some_and(|interval| interval != Interval::OneDay)
        {
            errors.push(QueryError::NotDays);
        }
        let bounds = match (interval, start, end) {
            (_, Some(start), Some(end)) if end <= start => {
                errors.push(QueryError::Empty);
                None
            }
            (Some(interval), Some(start), Some(end)) => {
                let zone = time_zone.as_ref().and_then(Option::as_ref);
                keep(&mut errors, bounds(interval, zone, start, end))
            }
            _ => None,
        };
        match (interval, stats, fill, max_gap, time_zone, bounds) {
            (
                Some(interval),
                Some(stats),
                Some(fill),
                Some(max_gap),
                Some(time_zone),
                Some(bounds),
            ) if errors.is_empty() => Ok(Self {
                interval,
                time_zone,
                bounds,
                stats,
                fill,
                max_gap,
            }),
            _ => Err(errors),
        }
    }

    /// How long a bucket is.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// The zone whose days are meant, by its name in the IANA database.
    #[must_use]
    pub fn time_zone(&self) -> Option<&str> {
        self.time_zone.as_ref().and_then(TimeZone::iana_name)
    }

    /// The start of the first bucket, in milliseconds of Unix time.
    #[must_use]
    pub fn start(&self) -> i64 {
        self.bounds.first().copied().unwrap_or_default()
    }

    /// The end of the last bucket, in milliseconds of Unix time.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.bounds.last().copied().unwrap_or_default()
    }

    /// The buckets in order, each from its start to before its end, in milliseconds of Unix time.
    #[must_use]
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (i64, i64)> {
        self.bounds
            .array_windows()
            .map(|&[start, end]| (start, end))
    }

    /// The statistics wanted, in the order of the answer.
    #[must_use]
    pub fn stats(&self) -> &[Stat] {
        &self.stats
    }

    /// What stands in buckets without valid readings.
    #[must_use]
    pub const fn fill(&self) -> Fill {
        self.fill
    }

    /// The longest gap that is filled; any, if there is none.
    #[must_use]
    pub const fn max_gap(&self) -> Option<MaxGap> {
        self.max_gap
    }
}

fn keep<T, E: Into<QueryError>>(errors: &mut Vec<QueryError>, read: Result<T, E>) -> Option<T> {
    read.map_err(|error| errors.push(error.into())).ok()
}

fn time_zone(name: &str) -> Result<TimeZone, QueryError> {
    jiff::tz::db().get(name).map_err(|_| QueryError::TimeZone)
}

fn time(text: &str, zone: &TimeZone, name: &'static str) -> Result<i64, QueryError> {
    let read = || {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Some(instant.as_millisecond());
        }
        // A date-time without an offset would pass for a date.
        let is_date = text.len() == "2026-11-20".len();
        midnight(text.parse().ok().filter(|_| is_date)?, zone)
    };
    read()
        .filter(|ms| (EARLIEST_MS..=LATEST_MS + 1).contains(ms))
        .ok_or(QueryError::Time(name))
}

/// When a date begins in a zone: at the minute that holds its first instant, for the offsets of
/// former times are not of whole minutes.
fn midnight(date: Date, zone: &TimeZone) -> Option<i64> {
    let begins = date.to_zoned(zone.clone()).ok()?.timestamp();
    Some(Interval::OneMinute.floor(begins.as_millisecond()))
}

fn bounds(
    interval: Interval,
    zone: Option<&TimeZone>,
    start: i64,
    end: i64,
) -> Result<Vec<i64>, QueryError> {
    let points = |interval: Interval| {
        let range = interval.ceil(end) - interval.floor(start);
        usize::try_from(range / interval.millis()).unwrap_or(usize::MAX)
    };
    // Whole days in UTC are at most two more than those of a zone, or two fewer.
    let room = if zone.is_some() { 2 } else { 0 };
    let fits = |other: &Interval| *other > interval && points(*other) <= MOST_POINTS;
    let too_many = || QueryError::TooManyPoints(Interval::ALL.into_iter().find(fits));
    if points(interval) > MOST_POINTS + room {
        return Err(too_many());
    }
    let bounds: Vec<i64> = match zone {
        None => (0..=points(interval))
            .map_while(|point| i64::try_from(point).ok())
            .map(|point| interval.floor(start) + point * interval.millis())
            .collect(),
        Some(zone) => days(zone, start, end).ok_or(QueryError::Time("end"))?,
    };
    if bounds.len() > MOST_POINTS + 1 {
        return Err(too_many());
    }
    Ok(bounds)
}

/// Where the days of a zone begin that hold the times from `start` to before `end`, and where the
/// last of them ends.
fn days(zone: &TimeZone, start: i64, end: i64) -> Option<Vec<i64>> {
    let first = Timestamp::from_millisecond(start).ok()?;
    let mut date = zone.to_datetime(first).date();
    let mut bounds = vec![midnight(date, zone)?];
    while bounds.last().is_some_and(|&bound| bound < end) {
        date = date.tomorrow().ok()?;
        let bound = midnight(date, zone)?;
        // A zone that crossed the date line left a date out.
        if bounds.last().is_some_and(|&last| last < bound) {
            bounds.push(bound);
        }
    }
    Some(bounds)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "days in hours are small numbers"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sensors::model::HOUR_MS;

    const HOURS: Parameters<'_> = Parameters {
        interval: "1hour",
        start: "2026-11-20T08:30:00Z",
        end: "2026-11-20T10:00:01Z",
        stats: None,
        fill: None,
        max_gap: None,
        tz: None,
    };

    fn errors(parameters: &Parameters<'_>) -> Vec<QueryError> {
        SeriesQuery::parse(parameters).unwrap_err()
    }

    fn lengths_in_hours(start: &str, end: &str, tz: &str) -> Vec<f64> {
        let query = SeriesQuery::parse(&Parameters {
            interval: "1day",
            start,
            end,
            tz: Some(tz),
            ..HOURS
        });
        let hours = |(start, end): (i64, i64)| (end - start) as f64 / HOUR_MS as f64;
        query.unwrap().buckets().map(hours).collect()
    }

    #[test]
    fn a_range_is_widened_to_whole_buckets() {
        let query = SeriesQuery::parse(&HOURS).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(query.start(), at("2026-11-20T08:00:00Z"));
        assert_eq!(query.end(), at("2026-11-20T11:00:00Z"));
        assert_eq!(query.buckets().len(), 3);
        assert_eq!(query.stats(), Stat::DEFAULT);
        assert_eq!((query.fill(), query.time_zone()), (Fill::None, None));
    }

    #[test]
    fn a_date_is_its_midnight() {
        let days = Parameters {
            interval: "1day",
            start: "2026-11-20",
            end: "2026-11-21",
            ..HOURS
        };
        let in_utc = SeriesQuery::parse(&days).unwrap();
        assert_eq!(
            (in_utc.buckets().len(), in_utc.start() % 86_400_000),
            (1, 0)
        );
        let zone = Parameters {
            tz: Some("asia/singapore"),
            ..days
        };
        let there = SeriesQuery::parse(&zone).unwrap();
        assert_eq!(there.start(), in_utc.start() - 8 * HOUR_MS);
        assert_eq!(there.time_zone(), Some("Asia/Singapore"));
    }

    #[test]
    fn days_of_a_zone_are_as_long_as_its_clocks_make_them() {
        assert_eq!(
            lengths_in_hours("2026-03-28", "2026-03-31", "Europe/Berlin"),
            [24.0, 23.0, 24.0]
        );
        assert_eq!(
            lengths_in_hours("2026-10-24", "2026-10-27", "Europe/Berlin"),
            [24.0, 25.0, 24.0]
        );
        assert_eq!(
            lengths_in_hours("2026-04-05", "2026-04-06", "Australia/Lord_Howe"),
            [24.5]
        );
        assert_eq!(
            lengths_in_hours("2026-10-04", "2026-10-05", "Australia/Lord_Howe"),
            [23.5]
        );
        // Samoa went from the 29th to the 31st; Beirut begins a day at one o'clock.
        assert_eq!(
            lengths_in_hours("2011-12-29", "2012-01-01", "Pacific/Apia"),
            [24.0, 24.0]
        );
        assert_eq!(
            lengths_in_hours("2026-03-28", "2026-03-30", "Asia/Beirut"),
            [24.0, 23.0]
        );
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let wrong = Parameters {
            interval: "2min",
            start: "yesterday",
            end: "2026-11-20T10:00:00",
            stats: Some("avg,median"),
            fill: Some("zero"),
            max_gap: Some("a while"),
            tz: Some("Mars/Olympus"),
        };
        let mut names: Vec<_> = errors(&wrong).iter().map(QueryError::parameter).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["end", "fill", "interval", "max_gap", "start", "stats", "tz"]
        );
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        let backwards = Parameters {
            end: HOURS.start,
            ..HOURS
        };
        assert_eq!(errors(&backwards), [QueryError::Empty]);
        let zoned = Parameters {
            tz: Some("UTC"),
            ..HOURS
        };
        assert_eq!(errors(&zoned), [QueryError::NotDays]);
        let unfilled = Parameters {
            max_gap: Some("1h"),
            ..HOURS
        };
        assert_eq!(errors(&unfilled), [QueryError::NothingToFill]);
        let too_early = Parameters {
            start: "1899-12-31",
            ..HOURS
        };
        assert_eq!(errors(&too_early), [QueryError::Time("start")]);
    }

    #[test]
    fn too_many_points_are_refused_with_an_interval_that_fits() {
        let range = |interval, start, end| Parameters {
            interval,
            start,
            end,
            ..HOURS
        };
        let day = range("1min", "2026-11-20", "2026-11-21");
        assert_eq!(
            SeriesQuery::parse(&day).unwrap().buckets().len(),
            MOST_POINTS
        );
        for (interval, end, fits) in [
            ("1min", "2026-11-22", Some(Interval::FiveMinutes)),
            ("1min", "2026-12-20", Some(Interval::OneHour)),
            ("5min", "2027-11-20", Some(Interval::OneDay)),
            ("1day", "2036-11-20", None),
        ] {
            let parameters = range(interval, "2026-11-20", end);
            assert_eq!(
                errors(&parameters),
                [QueryError::TooManyPoints(fits)],
                "{end}"
            );
        }
        let error = QueryError::TooManyPoints(Some(Interval::OneHour));
        assert_eq!(
            (error.code(), error.parameter()),
            ("too-many-points", "interval")
        );
        assert_eq!(
            error.to_string(),
            "the range has more than 1440 points; ask for interval=1hour or a shorter range"
        );
        let zoned = Parameters {
            tz: Some("Europe/Berlin"),
            ..range("1day", "2020-01-01", "2023-12-11")
        };
        assert_eq!(
            SeriesQuery::parse(&zoned).unwrap().buckets().len(),
            MOST_POINTS
        );
        let longer = Parameters {
            end: "2023-12-11T00:01:00Z",
            ..zoned
        };
        assert_eq!(errors(&longer), [QueryError::TooManyPoints(None)]);
    }

    proptest! {
        #[test]
        fn buckets_follow_one_another_and_hold_the_range(
            start in EARLIEST_MS..LATEST_MS - 2_000 * 86_400_000,
            length in 1..1_000 * 86_400_000i64,
            interval in prop::sample::select(&Interval::ALL[..]),
            zone in prop::option::of(prop::sample::select(
                &["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Monrovia"][..],
            )),
        ) {
            let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
            let (from, to) = (text(start), text(start + length));
            let zone = zone.filter(|_| interval == Interval::OneDay);
            let query = SeriesQuery::parse(&Parameters {
                interval: interval.name(), start: &from, end: &to, tz: zone, ..HOURS
            });
            match query {
                Ok(query) => {
                    prop_assert!(query.start() <= start && start + length <= query.end());
                    prop_assert!((1..=MOST_POINTS).contains(&query.buckets().len()));
                    for (start, end) in query.buckets() {
                        prop_assert!(start < end && start % 60_000 == 0);
                    }
                    let mut buckets = query.buckets();
                    let (_, first_end) = buckets.next().unwrap();
                    prop_assert!(start < first_end);
                    let (last_start, _) = buckets.last().unwrap_or((start, 0));
                    prop_assert!(last_start < start + length);
                }
                Err(errors) => {
                    let points = length / interval.millis();
                    prop_assert!(points >= 1_438, "{errors:?}");
                    if let [QueryError::TooManyPoints(Some(fits))] = errors[..] {
                        let again = Parameters { interval: fits.name(), start: &from, end: &to, ..HOURS };
                        prop_assert!(SeriesQuery::parse(&again).is_ok());
                    }
                }
            }
        }
    }
}
