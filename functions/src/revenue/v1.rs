//! `GET /api/metrics/v1/revenue`: totals, orders, averages, and groups.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use shared::{
    platform::{
        caller::Caller,
        http::{Json, Query},
        problem::{FieldError, Problem},
    },
    sales::{
        revenue::{self, Period, Sum},
        rules,
    },
};
use utoipa::ToSchema;

use super::context::{Context, authorise, range};
use crate::sales::problem::{overflow_problem, store_problem};

/// The currency of every sale.
const CURRENCY: &str = "SGD";

/// Where revenue comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevenueSource {
    /// Imported files.
    Import,
    /// Completed orders. None are taken yet, so their revenue is zero.
    Orders,
    /// Both.
    All,
}

/// An exact amount.
#[derive(Debug, Serialize, ToSchema)]
pub struct Amount {
    /// A decimal with every digit that it came with.
    #[schema(example = "5069.044")]
    amount: String,
    /// ISO 4217.
    #[schema(example = "SGD")]
    currency: &'static str,
}

/// Revenue of a range of days.
#[derive(Debug, Serialize, ToSchema)]
pub struct Revenue {
    /// First day.
    #[schema(format = Date)]
    start: String,
    /// Last day.
    #[schema(format = Date)]
    end: String,
    /// Where it comes from.
    source: RevenueSource,
    /// The sums of the whole range.
    #[serde(flatten)]
    sums: Sums,
    /// The sums of each period, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
}

/// Sums over some days.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sums {
    /// The exact sum of all totals paid.
    total_revenue: Amount,
    /// Rows.
    row_count: u64,
    /// Distinct Sale IDs, each day's counted for itself.
    order_count: u64,
    /// Total ÷ orders, rounded half-up to two places; 0 without orders.
    average_order_value: Amount,
}

/// One period.
#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    /// Its first day; weeks begin on Monday (ISO 8601).
    #[schema(format = Date)]
    period: String,
    /// Its sums, over those of its days that lie in the range.
    #[serde(flatten)]
    sums: Sums,
}

fn amount(amount: Decimal) -> Amount {
    Amount {
        amount: amount.normalize().to_string(),
        currency: CURRENCY,
    }
}

impl From<Sum> for Sums {
    fn from(sum: Sum) -> Self {
        Self {
            total_revenue: amount(sum.revenue),
            row_count: sum.rows,
            order_count: sum.orders,
            average_order_value: amount(rules::average(sum.revenue, sum.orders)),
        }
    }
}

fn choice<T: for<'de> Deserialize<'de>>(
    query: &Query,
    name: &str,
    choices: &str,
) -> Result<Option<T>, Problem> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    serde_json::from_value(serde_json::json!(text))
        .map(Some)
        .map_err(|_| {
            Problem::invalid_query(FieldError::query(
                name,
                "unknown-value",
                format!("{name} must be one of {choices}"),
            ))
        })
}

/// Answers with revenue, orders and averages.
///
/// # Errors
///
/// A problem for a caller without the right, a bad query, or a table that is down.
#[utoipa::path(
    get, path = "/api/metrics/v1/revenue", tag = "revenue", operation_id = "getRevenueV1",
    summary = "Revenue, orders and averages of a range of days",
    description = "An order is a Sale ID within one day: one that comes back on another date counts there again.",
    params(
        ("start" = String, Query, description = "First day, `M/D/YYYY` or ISO 8601"),
        ("end" = String, Query, description = "Last day, included"),
        ("group_by" = Option<Period>, Query, description = "Sums of each such period as well"),
        ("source" = Option<RevenueSource>, Query, description = "`all` unless asked otherwise"),
        ("fill" = Option<String>, Query, description = "`zero`: periods without rows too"),
    ),
    responses((status = 200, description = "The revenue", body = Revenue)),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn revenue(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    authorise(&caller)?;
    query.only(&["start", "end", "group_by", "source", "fill"])?;
    let (start, end) = range(&query)?;
    let period: Option<Period> = choice(&query, "group_by", "day, week, month, year")?;
    let source = choice(&query, "source", "import, orders, all")?.unwrap_or(RevenueSource::All);
    let fill = match query.get("fill") {
        None => false,
        Some("zero") => true,
        Some(_) => {
            let error = FieldError::query("fill", "unknown-value", "fill must be zero");
            return Err(Problem::invalid_query(error));
        }
    };
    let days = match source {
        RevenueSource::Import | RevenueSource::All => context
            .store
            .totals(start, end)
            .await
            .map_err(store_problem)?,
        RevenueSource::Orders => Vec::new(),
    };
    let days: Vec<_> = days.into_iter().filter(|day| day.rows > 0).collect();
    let groups = period
        .map(|period| groups(&days, period, (start, end), fill))
        .transpose()?;
    let sums = revenue::total(&days).map_err(overflow_problem)?.into();
    let body = Revenue {
        start: start.to_string(),
        end: end.to_string(),
        source,
        sums,
        groups,
    };
    Ok(Json(body).into_response())
}

fn groups(
    days: &[revenue::DayTotal],
    period: Period,
    range: (Date, Date),
    fill: bool,
) -> Result<Vec<Group>, Problem> {
    let periods = revenue::by_period(days, period, range, fill).map_err(overflow_problem)?;
    let group = |(start, sum): (Date, Sum)| Group {
        period: start.to_string(),
        sums: sum.into(),
    };
    Ok(periods.into_iter().map(group).collect())
}
