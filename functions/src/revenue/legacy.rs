//! `GET /api/metrics/revenue` and `/api/metrics/revenue/daily`, in their legacy envelope.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{
    platform::{
        caller::Caller,
        http::{Json, Query},
        money::JsonNumber,
        problem::Problem,
    },
    sales::{revenue, rules},
};
use utoipa::ToSchema;

use super::context::{Context, authorise, range};
use crate::sales::problem::{overflow_problem, store_problem};

/// The legacy envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<T> {
    /// Always 200.
    status: u16,
    /// Always `success`.
    message: &'static str,
    /// The answer.
    data: T,
}

impl<T> Envelope<T> {
    const fn success(data: T) -> Self {
        Self {
            status: 200,
            message: "success",
            data,
        }
    }
}

/// Revenue of a range of days.
#[derive(Debug, Serialize, ToSchema)]
pub struct Total {
    /// The exact sum of all totals paid.
    #[schema(value_type = f64, example = 5069.044)]
    total_revenue_sgd: JsonNumber,
    /// Total ÷ rows, rounded half-up to two places; 0 without rows.
    #[schema(value_type = f64, example = 55.1)]
    average_order_value_sg: JsonNumber,
}

/// Revenue of one day.
#[derive(Debug, Serialize, ToSchema)]
pub struct Daily {
    /// The day.
    #[schema(format = Date, example = "2025-03-01")]
    date: String,
    /// The exact sum of its totals paid.
    #[schema(value_type = f64, example = 5069.044)]
    revenue_sgd: JsonNumber,
}

/// Answers with the revenue of a range.
///
/// # Errors
///
/// A problem for a caller without the right, a bad range, or a table that is down.
#[utoipa::path(
    get, path = "/api/metrics/revenue", tag = "revenue", operation_id = "getRevenue",
    summary = "Revenue of a range of days, in the legacy form",
    description = "Imported sales alone; orders are in `/api/metrics/v1/revenue`.",
    params(
        ("start" = String, Query, description = "First day, `M/D/YYYY` or ISO 8601"),
        ("end" = String, Query, description = "Last day, included"),
    ),
    responses((status = 200, description = "The revenue; zeros for an empty range", body = Envelope<Total>)),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn total(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    authorise(&caller)?;
    let (start, end) = range(&query)?;
    let days = context
        .store
        .totals(start, end)
        .await
        .map_err(store_problem)?;
    let sum = revenue::total(&days).map_err(overflow_problem)?;
    let data = Total {
        total_revenue_sgd: JsonNumber(sum.revenue.normalize()),
        average_order_value_sg: JsonNumber(rules::average(sum.revenue, sum.rows)),
    };
    Ok(Json(Envelope::success(data)).into_response())
}

/// Answers with the revenue of each day of a range.
///
/// # Errors
///
/// A problem for a caller without the right, a bad range, or a table that is down.
#[utoipa::path(
    get, path = "/api/metrics/revenue/daily", tag = "revenue", operation_id = "getDailyRevenue",
    summary = "Revenue of each day that has rows, in the legacy form",
    description = "Imported sales alone; orders are in `/api/metrics/v1/revenue`.",
    params(
        ("start" = String, Query, description = "First day, `M/D/YYYY` or ISO 8601"),
        ("end" = String, Query, description = "Last day, included"),
    ),
    responses((status = 200, description = "The days in order", body = Envelope<Vec<Daily>>)),
    security(("token" = ["analyst"]), ("token" = ["admin"])),
)]
pub async fn daily(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
) -> Result<Response, Problem> {
    authorise(&caller)?;
    let (start, end) = range(&query)?;
    let days = context
        .store
        .totals(start, end)
        .await
        .map_err(store_problem)?;
    let data: Vec<Daily> = days
        .into_iter()
        .filter(|day| day.rows > 0)
        .map(|day| Daily {
            date: day.date.to_string(),
            revenue_sgd: JsonNumber(day.revenue.normalize()),
        })
        .collect();
    Ok(Json(Envelope::success(data)).into_response())
}
