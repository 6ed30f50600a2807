//! Revenue over a range of days: folds over the days' totals.

use std::collections::BTreeMap;

use jiff::{Span, civil::Date};
use rust_decimal::Decimal;
use serde::Deserialize;
use utoipa::ToSchema;

use super::day::Overflow;

/// Most days a query may span: a hundred years.
pub const MOST_DAYS: i32 = 36_525;

/// The totals of one day, without its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayTotal {
    /// The day.
    pub date: Date,
    /// The exact sum of what was paid.
    pub revenue: Decimal,
    /// Rows; fewer than none where more of orders were cancelled than paid.
    pub rows: i64,
    /// Distinct Sale IDs, or orders, likewise.
    pub orders: i64,
}

/// Sums over some days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The exact sum of what was paid.
    pub revenue: Decimal,
    /// Rows, as of [`DayTotal`].
    pub rows: i64,
    /// Distinct Sale IDs, or orders, each day's counted for itself.
    pub orders: i64,
}

impl Sum {
    fn add(&mut self, day: &DayTotal) -> Result<(), Overflow> {
        self.revenue = self.revenue.checked_add(day.revenue).ok_or(Overflow)?;
        self.rows += day.rows;
        self.orders += day.orders;
        Ok(())
    }
}

/// Sums `days`.
///
/// # Errors
///
/// [`Overflow`] where the sum leaves the range of an exact decimal.
pub fn total(days: &[DayTotal]) -> Result<Sum, Overflow> {
    let mut sum = Sum::default();
    for day in days {
        sum.add(day)?;
    }
    Ok(sum)
}

/// The length of a period that revenue is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A calendar day.
    Day,
    /// An ISO 8601 week, from Monday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Period {
    /// The first day of the period that `date` lies in.
    #[must_use]
    pub fn start_of(self, date: Date) -> Date {
        match self {
            Self::Day => date,
            Self::Week => {
                let back = i64::from(date.weekday().to_monday_zero_offset());
                date.saturating_sub(Span::new().days(back))
            }
            Self::Month => date.first_of_month(),
            Self::Year => date.first_of_year(),
        }
    }

    /// The first day of the period after the one that begins on `start`.
    #[must_use]
    pub fn after(self, start: Date) -> Date {
        start.saturating_add(match self {
            Self::Day => Span::new().days(1),
            Self::Week => Span::new().weeks(1),
            Self::Month => Span::new().months(1),
            Self::Year => Span::new().years(1),
        })
    }
}

/// Sums `days` by the period they lie in, named by its first day; with `fill`, also the empty
/// periods between `start` and `end`, as zeros.
///
/// # Errors
///
/// [`Overflow`] where a sum leaves the range of an exact decimal.
pub fn by_period(
    days: &[DayTotal],
    period: Period,
    (start, end): (Date, Date),
    fill: bool,
) -> Result<BTreeMap<Date, Sum>, Overflow> {
    let mut periods: BTreeMap<Date, Sum> = BTreeMap::new();
    if fill {
        let mut at = period.start_of(start);
        while at <= end {
            periods.insert(at, Sum::default());
            let next = period.after(at);
            if next <= at {
                break;
            }
            at = next;
        }
    }
    for day in days {
        periods
            .entry(period.start_of(day.date))
            .or_default()
            .add(day)?;
    }
    Ok(periods)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn day(date: Date, cents: i64) -> DayTotal {
        DayTotal {
            date,
            revenue: Decimal::new(cents, 2),
            rows: 2,
            orders: 1,
        }
    }

    #[test]
    fn a_week_begins_on_monday_also_across_the_year() {
        assert_eq!(Period::Week.start_of(date(2025, 1, 1)), date(2024, 12, 30));
        assert_eq!(
            Period::Week.start_of(date(2024, 12, 30)),
            date(2024, 12, 30)
        );
        assert_eq!(Period::Week.start_of(date(2025, 1, 5)), date(2024, 12, 30));
    }

    #[test]
    fn filling_names_every_period_of_the_range() {
        let range = (date(2025, 1, 15), date(2025, 4, 1));
        let sums = by_period(&[day(date(2025, 3, 9), 150)], Period::Month, range, true).unwrap();
        assert_eq!(
            sums.iter()
                .map(|(at, sum)| (at.to_string(), sum.revenue.to_string()))
                .collect::<Vec<_>>(),
            [
                ("2025-01-01", "0"),
                ("2025-02-01", "0"),
                ("2025-03-01", "1.50"),
                ("2025-04-01", "0")
            ]
            .map(|(a, b)| (a.to_string(), b.to_string()))
        );
    }

    proptest! {
        #[test]
        fn every_grouping_sums_to_the_same_total(days in prop::collection::btree_map(0_i64..4_000, -10_000_i64..10_000, 0..100)) {
            let start = date(2015, 1, 1);
            let days: Vec<_> = days.into_iter().map(|(n, cents)| day(start + Span::new().days(n), cents)).collect();
            let want = total(&days).unwrap();
            for period in [Period::Day, Period::Week, Period::Month, Period::Year] {
                for fill in [false, true] {
                    let groups = by_period(&days, period, (start, date(2025, 12, 31)), fill).unwrap();
                    let sum: Decimal = groups.values().map(|sum| sum.revenue).sum();
                    prop_assert_eq!(sum, want.revenue);
                    prop_assert_eq!(groups.values().map(|sum| sum.orders).sum::<i64>(), want.orders);
                }
            }
        }
    }
}
