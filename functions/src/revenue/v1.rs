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
    /// Orders: what was paid, less what was refunded, each on its own day (UTC).
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
    /// Imported rows, and lines of paid orders, less those of orders cancelled after payment; negative
    /// where more were cancelled than paid.
    row_count: i64,
    /// Distinct imported Sale IDs, each day's counted for itself, and paid orders, less likewise.
    order_count: i64,
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
    description = "Of imported sales an order is a Sale ID within one day: one that comes back on another date counts \
        there again. Orders count on the day they are paid, their refunds on the day of the refund, in UTC; both \
        a moment after it happens.",
    params(
        ("start" = String, Query, description = "First day, `M/D/YYYY` or ISO 8601"),
        ("end" = String, Query, description = "Last day, included"),
        ("group_by" = Option<Period>, Query, description = "Sums of each such period as well"),
        ("source" = Option<RevenueSource>, Query, description = "`all` unless asked otherwise"),
        ("fill" = Option<String>, Query, description = "`zero`: periods without revenue too"),
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
    let mut days = Vec::new();
    if source != RevenueSource::Orders {
        let totals = context.store.totals(start, end).await;
        days.extend(totals.map_err(store_problem)?);
    }
    if source != RevenueSource::Import {
        let totals = context.orders.totals(start, end).await;
        days.extend(totals.map_err(|error| store_problem(error.into()))?);
    }
    days.retain(|day| day.rows != 0 || !day.revenue.is_zero());
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use jiff::{Timestamp, civil::date};
    use serde_json::{Value, json};
    use shared::{
        platform::{caller, clock::Clock, http::App, ids::Random},
        sales::{
            day::{Day, Part},
            order_revenue::{model::Entry, store::OrderRevenueStore},
            store::SalesStore,
        },
        testing::{Database, Table},
    };

    use super::*;
    use crate::revenue::api::router;

    /// A day with two imported rows of 10 and one order of 7.50, and a day with nothing but its refund.
    async fn app() -> (Database, App) {
        let database = Database::start(&[Table::new("Sales")]).await;
        let context = Context {
            store: SalesStore::new(database.client(), "Sales".into()),
            orders: OrderRevenueStore::new(database.client(), "Sales".into()),
        };
        let (first, second) = (date(2026, 11, 20), date(2026, 11, 21));
        let imported = Day {
            version: 1,
            total: Part {
                rows: 2,
                revenue: Decimal::from(10),
            },
            orders: 1,
            ..Day::empty(first)
        };
        context.store.commit(&imported).await.unwrap();
        let paid = Entry {
            order: "ORD-20261120-0000000A".into(),
            sequence: 6,
            date: first,
            revenue: Decimal::new(750, 2),
            orders: 1,
            rows: 3,
        };
        let refunded = Entry {
            sequence: 9,
            date: second,
            revenue: Decimal::new(-750, 2),
            orders: 0,
            rows: 0,
            ..paid.clone()
        };
        context.orders.add(first, &[&paid]).await.unwrap();
        context.orders.add(second, &[&refunded]).await.unwrap();
        let clock = Clock::fixed(Timestamp::constant(1_795_190_400, 0));
        (
            database,
            App::with(router(context), clock, Random::seeded(1)),
        )
    }

    async fn ask(app: &App, query: &str) -> Value {
        let path = format!("/api/metrics/v1/revenue?start=2026-11-20&{query}");
        let caller = Caller::new("u-1", [caller::Group::Analyst]);
        let request = Request::get(path)
            .extension(caller)
            .body(Body::empty())
            .unwrap();
        let body = app.serve(request).await.into_body();
        let body = axum::body::to_bytes(body, 65_536).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn orders_and_imports_count_alone_and_together() {
        let (_database, app) = app().await;
        for (source, revenue, orders, rows, average) in [
            ("source=import", "10", 1, 2, "10"),
            ("source=orders", "7.5", 1, 3, "7.5"),
            ("source=all", "17.5", 2, 5, "8.75"),
            ("", "17.5", 2, 5, "8.75"),
        ] {
            let body = ask(&app, &format!("end=2026-11-20&{source}")).await;
            assert_eq!(body["total_revenue"]["amount"], revenue, "{source}");
            assert_eq!(body["order_count"], orders, "{source}");
            assert_eq!(body["row_count"], rows, "{source}");
            assert_eq!(body["average_order_value"]["amount"], average, "{source}");
        }
    }

    #[tokio::test]
    async fn a_day_of_refunds_alone_counts_against_the_others() {
        let (_database, app) = app().await;
        let body = ask(&app, "end=2026-11-30&source=orders&group_by=day").await;
        assert_eq!(
            (&body["total_revenue"]["amount"], &body["order_count"]),
            (&json!("0"), &json!(1))
        );
        let of_day = |group: &Value| {
            (
                group["period"].clone(),
                group["total_revenue"]["amount"].clone(),
            )
        };
        let groups: Vec<_> = body["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(of_day)
            .collect();
        let expected = [("2026-11-20", "7.5"), ("2026-11-21", "-7.5")];
        assert_eq!(
            groups,
            expected.map(|(day, amount)| (json!(day), json!(amount)))
        );
    }
}
