//! The statistics that can be asked for, and their values.

use std::{fmt, str::FromStr};

use crate::sensors::rollup::{Percentile, PercentileError, Rollup, Sum};

/// Most statistics of one query.
pub const MOST_STATS: usize = 20;

/// A statistic of a bucket's readings. All but the count are of the valid ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stat {
    /// `count`: readings, valid or not.
    Count,
    /// `valid_count`: valid readings.
    ValidCount,
    /// `sum`
    Sum,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `avg`: the arithmetic mean.
    Avg,
    /// `stddev`: the standard deviation of the readings as a whole population.
    Stddev,
    /// `first`: the earliest value.
    First,
    /// `last`: the latest value.
    Last,
    /// `p50`, `p99.9`: a percentile, within 1 % of the value at its rank.
    Percentile(Percentile),
}

/// A list of statistics that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatError {
    /// No such statistic.
    #[error(
        "known statistics: count, valid_count, sum, min, max, avg, stddev, first, last, p0 to p100"
    )]
    Unknown,
    /// No such percentile.
    #[error(transparent)]
    Percentile(#[from] PercentileError),
    /// The same one twice.
    #[error("{0} comes more than once")]
    Repeated(Stat),
    /// Too many.
    #[error("at most {MOST_STATS} statistics can be asked for")]
    TooMany,
}

impl Stat {
    /// Those that are given where none are asked for.
    pub const DEFAULT: [Self; 12] = [
        Self::Count,
        Self::ValidCount,
        Self::Sum,
        Self::Min,
        Self::Max,
        Self::Avg,
        Self::Stddev,
        Self::First,
        Self::Last,
        Self::Percentile(Percentile::P50),
        Self::Percentile(Percentile::P95),
        Self::Percentile(Percentile::P99),
    ];

    const NAMED: [(&'static str, Self); 9] = [
        ("count", Self::Count),
        ("valid_count", Self::ValidCount),
        ("sum", Self::Sum),
        ("min", Self::Min),
        ("max", Self::Max),
        ("avg", Self::Avg),
        ("stddev", Self::Stddev),
        ("first", Self::First),
        ("last", Self::Last),
    ];

    /// Reads a list with commas between, such as `avg,p95`.
    ///
    /// # Errors
    /// [`StatError`] for the first that is wrong.
    pub fn list(text: &str) -> Result<Vec<Self>, StatError> {
        let mut stats = Vec::new();
        for name in text.split(',') {
            let stat = name.trim().parse()?;
            if stats.contains(&stat) {
                return Err(StatError::Repeated(stat));
            }
            if stats.len() == MOST_STATS {
                return Err(StatError::TooMany);
            }
            stats.push(stat);
        }
        Ok(stats)
    }

    /// Its value of a bucket; `None` stands for a bucket without readings.
    #[must_use]
    pub fn of(self, rollup: Option<&Rollup>) -> Value {
        let Some(rollup) = rollup else {
            return match self {
                Self::Count | Self::ValidCount => Value::Count(0),
                _ => Value::None,
            };
        };
        let number = match self {
            Self::Count => return Value::Count(rollup.count()),
            Self::ValidCount => return Value::Count(rollup.valid_count()),
            Self::Sum => return rollup.sum().map_or(Value::None, Value::Sum),
            Self::Min => rollup.min(),
            Self::Max => rollup.max(),
            Self::Avg => rollup.avg(),
            Self::Stddev => rollup.stddev(),
            Self::First => rollup.first(),
            Self::Last => rollup.last(),
            Self::Percentile(percentile) => rollup.percentile(percentile),
        };
        number.map_or(Value::None, Value::Number)
    }

    /// Whether it is a value that the readings had or came near to, which a bucket without readings
    /// may have had too. Counts, sums and deviations are not made up.
    #[must_use]
    pub const fn can_be_filled(self) -> bool {
        match self {
            Self::Count | Self::ValidCount | Self::Sum | Self::Stddev => false,
            Self::Min | Self::Max | Self::Avg | Self::First | Self::Last | Self::Percentile(_) => {
                true
            }
        }
    }
}

impl FromStr for Stat {
    type Err = StatError;

    fn from_str(text: &str) -> Result<Self, StatError> {
        let named = Self::NAMED.iter().find(|(name, _)| *name == text);
        match (named, text.strip_prefix('p')) {
            (Some(&(_, stat)), _) => Ok(stat),
            (None, Some(percentile)) => Ok(Self::Percentile(percentile.parse()?)),
            (None, None) => Err(StatError::Unknown),
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, stat)| stat == self) {
            Some((name, _)) => f.write_str(name),
            None => match self {
                Self::Percentile(percentile) => write!(f, "p{percentile}"),
                _ => Ok(()),
            },
        }
    }
}

/// The value of a statistic. Numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// There is none.
    None,
    /// A count.
    Count(u64),
    /// A sum.
    Sum(Sum),
    /// Any other.
    Number(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_its_order() {
        let p999 = "99.9".parse().unwrap();
        assert_eq!(
            Stat::list("p99.9, avg,count"),
            Ok(vec![Stat::Percentile(p999), Stat::Avg, Stat::Count])
        );
    }

    #[test]
    fn every_name_reads_back() {
        let names: Vec<String> = Stat::DEFAULT.iter().map(Stat::to_string).collect();
        assert_eq!(Stat::list(&names.join(",")), Ok(Stat::DEFAULT.to_vec()));
        assert_eq!(names[2..5].join(" "), "sum min max");
        assert_eq!(names[9], "p50");
    }

    #[test]
    fn unknown_repeated_and_too_many_statistics_are_refused() {
        let many: Vec<String> = (0..=20).map(|p| format!("p{p}")).collect();
        assert_eq!(Stat::list(&many.join(",")), Err(StatError::TooMany));
        assert!(Stat::list(&many[1..].join(",")).is_ok());
        assert_eq!(Stat::list("avg,median"), Err(StatError::Unknown));
        assert_eq!(Stat::list(""), Err(StatError::Unknown));
        assert_eq!(
            Stat::list("p101"),
            Err(StatError::Percentile(PercentileError))
        );
        let p50 = Stat::Percentile(Percentile::P50);
        assert_eq!(Stat::list("p50,p50.0"), Err(StatError::Repeated(p50)));
    }

    #[test]
    fn a_bucket_without_readings_has_counts_of_zero_and_nothing_else() {
        for stat in Stat::DEFAULT {
            let expected = match stat {
                Stat::Count | Stat::ValidCount => Value::Count(0),
                _ => Value::None,
            };
            assert_eq!(stat.of(None), expected, "{stat}");
        }
    }
}
