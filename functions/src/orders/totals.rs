//! `/api/orders/summary` and `/api/orders/spending`: what the caller's orders add up to.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use jiff::{SignedDuration, Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde::Serialize;
use shared::{
    orders::{
        model::{Order, Status},
        statistics::{Spending, Sum, Summary},
        store::Span,
    },
    platform::{
        caller::Caller,
        http::{Json, Query},
        money::{Money, MoneyError},
        problem::{FieldError, Problem},
    },
};
use utoipa::ToSchema;

use super::{context::Context, lookup::span, view::milliseconds};

/// Days that a summary covers unless asked otherwise, and at most.
const YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// Months of spending unless asked otherwise, and at most.
const MONTHS: i32 = 12;
const MOST_MONTHS: usize = 60;

/// Most orders that are added up in one answer.
const MOST_ORDERS: usize = 10_000;

/// Orders read at a time, one less than a batch of reads takes, as a page looks one ahead.
const PAGE: usize = 99;

/// The caller's orders by status.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderSummary {
    /// Orders placed at this time or later.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    created_from: Timestamp,
    /// Orders placed before this time.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    created_to: Timestamp,
    /// How many orders there are.
    orders: u64,
    /// The statuses that there are orders of.
    by_status: Vec<StatusTotal>,
}

/// Orders of a status.
#[derive(Debug, Serialize, ToSchema)]
struct StatusTotal {
    /// Which status.
    status: Status,
    /// How many orders.
    orders: u64,
    /// What they came to, in each currency.
    totals: Vec<Money>,
}

/// What the caller spent, by month.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpendingByMonth {
    /// Every month of the range, the first one first.
    months: Vec<MonthSpending>,
}

/// What was spent in a month.
#[derive(Debug, Serialize, ToSchema)]
struct MonthSpending {
    /// The month, UTC.
    #[schema(example = "2026-11")]
    month: String,
    /// How many orders were paid.
    orders: u64,
    /// What was taken and not given back, in each currency.
    spent: Vec<Money>,
}

/// Adds the caller's orders up by status.
///
/// # Errors
///
/// A problem for a bad range, too many orders, or a table that is down.
#[utoipa::path(
    get, path = "/api/orders/summary", tag = "orders", operation_id = "summariseOrders",
    summary = "How many orders the caller has, and what they came to, by status",
    description = "Of the last 365 days unless asked otherwise; of at most 366 days and 10,000 orders.",
    params(
        ("created_from" = Option<String>, Query, description = "Only orders placed at this RFC 3339 time or later"),
        ("created_to" = Option<String>, Query, description = "Only orders placed before this time"),
    ),
    responses(
        (status = 200, description = "The sums", body = OrderSummary),
        (status = 400, description = "`range-too-large`, or a bad range"),
    ),
    security(("token" = [])),
)]
pub async fn summary(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&["created_from", "created_to"])?;
    let span = span(&query)?;
    let to = span
        .before
        .unwrap_or_else(|| context.clock.now() + SignedDuration::from_millis(1));
    let from = span
        .from
        .or_else(|| to.checked_sub(YEAR).ok())
        .unwrap_or(to);
    if to.duration_since(from) > LONGEST {
        return Err(range_too_large("the range may be at most 366 days"));
    }
    let mut summary = Summary::default();
    let span = Span {
        from: Some(from),
        before: Some(to),
    };
    each(&context, &caller, span, |order| summary.add(order)).await?;
    let total = |(status, sum): (Status, &Sum)| StatusTotal {
        status,
        orders: sum.orders,
        totals: sum.amounts().collect(),
    };
    let by_status: Vec<StatusTotal> = summary.by_status().map(total).collect();
    let body = OrderSummary {
        created_from: from,
        created_to: to,
        orders: by_status.iter().map(|status| status.orders).sum(),
        by_status,
    };
    Ok(Json(body).into_response())
}

/// Adds the caller's spending up by month.
///
/// # Errors
///
/// As [`summary`].
#[utoipa::path(
    get, path = "/api/orders/spending", tag = "orders", operation_id = "monthlySpending",
    summary = "What the caller spent, by month",
    description = "What was paid and not given back, in the month in which the order was placed (UTC). The last twelve \
        months unless asked otherwise; at most 60 months and 10,000 orders.",
    params(
        ("from" = Option<String>, Query, description = "The first month, such as `2026-01`"),
        ("to" = Option<String>, Query, description = "The last month"),
    ),
    responses(
        (status = 200, description = "The months", body = SpendingByMonth),
        (status = 400, description = "`range-too-large`, or a bad range"),
    ),
    security(("token" = [])),
)]
pub async fn spending(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    query.only(&["from", "to"])?;
    let this_month = context
        .clock
        .now()
        .to_zoned(TimeZone::UTC)
        .date()
        .first_of_month();
    let last = query.parsed("to", month)?.unwrap_or(this_month);
    let first = match query.parsed("from", month)? {
        Some(first) => first,
        None => last.saturating_sub((MONTHS - 1).months()),
    };
    if last < first {
        let detail = "to must not be before from";
        let error = FieldError::query("to", "invalid-parameter", detail);
        return Err(Problem::invalid_query(error));
    }
    let months: Vec<Date> = first
        .series(1.month())
        .take_while(|month| *month <= last)
        .take(MOST_MONTHS + 1)
        .collect();
    if months.len() > MOST_MONTHS {
        return Err(range_too_large("the range may be at most 60 months"));
    }
    let span = Span {
        from: Some(start(first)),
        before: Some(start(last.saturating_add(1.month()))),
    };
    let mut spending = Spending::default();
    each(&context, &caller, span, |order| spending.add(order)).await?;
    let view = |month: Date| {
        let sum = spending.month(month);
        MonthSpending {
            month: month.strftime("%Y-%m").to_string(),
            orders: sum.orders,
            spent: sum.amounts().collect(),
        }
    };
    let months = months.into_iter().map(view).collect();
    Ok(Json(SpendingByMonth { months }).into_response())
}

/// The first day of a month such as `2026-11`, of a year from 1900 to 9998.
fn month(text: &str) -> Result<Date, &'static str> {
    let form = "must be a month such as 2026-11";
    let is_form = text.len() == 7
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'-');
    let first: Date = format!("{text}-01").parse().map_err(|_| form)?;
    let is_known = is_form && (1900..=9998).contains(&first.year());
    is_known.then_some(first).ok_or(form)
}

/// The beginning of a day, UTC.
fn start(day: Date) -> Timestamp {
    let start = day.to_zoned(TimeZone::UTC);
    start.map_or(Timestamp::MAX, |start| start.timestamp())
}

fn range_too_large(detail: &'static str) -> Problem {
    Problem::bad_request("range-too-large", detail)
}

/// Has `add` count each of the caller's orders of a time.
async fn each(
    context: &Context,
    caller: &Caller,
    span: Span,
    mut add: impl FnMut(&Order) -> Result<(), MoneyError>,
) -> Result<(), Problem> {
    let (mut after, mut count) = (None, 0);
    loop {
        let orders = &context.orders;
        let (page, next) = orders
            .list_by_customer(caller.sub(), &[], span, after, PAGE)
            .await?;
        count += page.len();
        if count > MOST_ORDERS {
            return Err(range_too_large(
                "more than 10,000 orders: ask for a shorter range",
            ));
        }
        for order in &page {
            add(order).map_err(Problem::internal)?;
        }
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}
