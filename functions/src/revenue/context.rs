//! What the handlers of the revenue API work with, and what they ask of every request.

use jiff::civil::Date;
use shared::{
    platform::{
        aws::Connection,
        caller::{Caller, Group},
        config::{ConfigError, SalesTable},
        http::Query,
        problem::{FieldError, Problem},
    },
    sales::{
        model::parse_date, order_revenue::store::OrderRevenueStore, revenue::MOST_DAYS,
        store::SalesStore,
    },
};

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// Imported sales.
    pub store: SalesStore,
    /// Revenue from orders.
    pub orders: OrderRevenueStore,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let (dynamodb, table) = (Connection::from_env()?.dynamodb(), SalesTable::from_env()?);
        let name = || table.as_str().to_owned();
        Ok(Self {
            store: SalesStore::new(dynamodb.clone(), name()),
            orders: OrderRevenueStore::new(dynamodb, name()),
        })
    }
}

/// Lets through whoever may read metrics.
pub(super) fn authorise(caller: &Caller) -> Result<(), Problem> {
    caller.require_any(&[Group::Admin, Group::Analyst])
}

/// The days that a query asks for, both inclusive.
pub(super) fn range(query: &Query) -> Result<(Date, Date), Problem> {
    let given = |name| {
        query
            .get(name)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let (Some(start), Some(end)) = (given("start"), given("end")) else {
        let missing = ["start", "end"]
            .into_iter()
            .filter(|name| given(name).is_none());
        let errors =
            missing.map(|name| FieldError::query(name, "missing", format!("{name} is required")));
        return Err(
            Problem::bad_request("missing-date", "Missing start or end").with_errors(errors)
        );
    };
    let parsed = |name, text| {
        parse_date(text).map_err(|error| {
            Problem::bad_request("invalid-date", "Invalid date format")
                .with_error(FieldError::query(name, "invalid-date", error.to_string()))
        })
    };
    let (start, end) = (parsed("start", start)?, parsed("end", end)?);
    if end < start {
        return Err(Problem::bad_request(
            "end-before-start",
            "end is before start",
        ));
    }
    if (end - start).get_days() > MOST_DAYS {
        return Err(Problem::bad_request(
            "range-too-long",
            "the range spans more than a hundred years",
        ));
    }
    Ok((start, end))
}
