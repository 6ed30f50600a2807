//! The sweep: each minute it looks at the orders that are due. A reservation that ran out before its
//! payment began is given up; where an execution is waited for, it is seen to that one is at work.
//!
//! This is what makes an order's own item its outbox: an execution that could not be begun, failed or
//! was lost is found by the order, not by whoever began it. Two sweeps beside each other do no harm.

use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::Serialize;
use serde_json::Value;
use shared::{
    orders::{
        model::{Order, OrderId},
        rules::{self, Decision},
        store::{Committed, OrderStore},
    },
    platform::{
        aws::Connection,
        clock::Clock,
        config::{CommerceTable, ConfigError, OrderSaga},
        deadline::stop,
        ids::Random,
        table::TableError,
        telemetry::{self, Invocation, Metrics, TraceContext},
    },
};

use super::execution::{ExecutionError, Executions, Kept};

/// How long a sweep works; the next one begins a minute after it did.
const RUN_TIME: SignedDuration = SignedDuration::from_secs(45);

/// Time that a sweep leaves before it would be stopped.
const SPARE_TIME: SignedDuration = SignedDuration::from_secs(10);

/// Orders read from the index at once.
const ORDERS_AT_ONCE: usize = 100;

/// Orders looked at beside each other.
const AT_ONCE: usize = 8;

/// When an order is looked at again whose execution is at work.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// An order that waits and to which nothing has happened for so long is overdue.
const OVERDUE: SignedDuration = SignedDuration::from_hours(1);

/// What the sweep works with.
#[derive(Debug)]
pub struct Context {
    /// The orders.
    pub orders: OrderStore,
    /// The executions of the state machine.
    pub executions: Executions,
    /// Tells the time.
    pub clock: Clock,
    /// Names invocations.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let connection = Connection::from_env()?;
        let table = CommerceTable::from_env()?.as_str().to_owned();
        let saga = OrderSaga::from_env()?;
        Ok(Self {
            orders: OrderStore::new(connection.dynamodb(), table),
            executions: Executions::new(connection.step_functions(), saga),
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Orders that were due.
    pub looked_at: usize,
    /// Executions begun, or begun again.
    pub started: usize,
    /// Reservations given up.
    pub expired: usize,
    /// Orders whose execution is at work.
    pub postponed: usize,
    /// Orders that could not be seen to; the next sweep tries again.
    pub failed: usize,
    /// Orders among all these to which nothing has happened for an hour.
    pub overdue: usize,
}

/// A sweep that could not read which orders are due.
#[derive(Debug, thiserror::Error)]
#[error("due orders cannot be read")]
pub struct SweepError(#[from] TableError);

impl From<SweepError> for Diagnostic {
    fn from(error: SweepError) -> Self {
        Self {
            error_type: "TableUnavailable".into(),
            error_message: error.to_string(),
        }
    }
}

/// What an order that was due came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It is not due any more.
    Moved,
    Started,
    Expired,
    Postponed,
}

/// Why an order could not be seen to.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

/// Looks at every order that is due, for as long as a sweep may take.
///
/// # Errors
///
/// [`SweepError`] when it cannot be read which these are.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Report, SweepError> {
    let now = context.clock.now();
    let stop = stop(&event.context, now, RUN_TIME, SPARE_TIME);
    let trace = TraceContext::resolve(None, None, now, context.random.bytes());
    let invocation = Invocation::begin(Some(&event.context), trace);
    telemetry::scope(invocation.clone(), async {
        let report = sweep(context, &invocation, stop).await;
        match &report {
            Ok(report) => tell(context, report),
            Err(error) => tracing::error!(error = telemetry::chain(error), "sweep ended early"),
        }
        report
    })
    .await
}

fn tell(context: &Context, report: &Report) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut metrics = Metrics::from_env();
    metrics.count("ReservationsExpired", count(report.expired));
    metrics.count("ExecutionsRestarted", count(report.started));
    metrics.count("SweepFailed", count(report.failed));
    metrics.count("OverdueOrders", count(report.overdue));
    metrics.flush(context.clock.now());
    tracing::info!(
        looked_at = report.looked_at,
        started = report.started,
        expired = report.expired,
        postponed = report.postponed,
        failed = report.failed,
        overdue = report.overdue,
        "due orders looked at"
    );
}

async fn sweep(
    context: &Context,
    invocation: &Invocation,
    stop: Timestamp,
) -> Result<Report, SweepError> {
    let (mut report, mut after) = (Report::default(), None);
    let now = context.clock.now();
    loop {
        let (due, next) = context.orders.due(now, after, ORDERS_AT_ONCE).await?;
        let seen = due.iter().map(|id| see_to(context, invocation, id));
        let mut seen = stream::iter(seen).buffer_unordered(AT_ONCE);
        while let Some((seen, is_overdue)) = seen.next().await {
            report.looked_at += 1;
            report.overdue += usize::from(is_overdue);
            match seen {
                Some(Seen::Moved) => {}
                Some(Seen::Started) => report.started += 1,
                Some(Seen::Expired) => report.expired += 1,
                Some(Seen::Postponed) => report.postponed += 1,
                None => report.failed += 1,
            }
            if context.clock.now() >= stop {
                return Ok(report);
            }
        }
        if next.is_none() {
            return Ok(report);
        }
        after = next;
    }
}

/// Looks at one order, as part of the request that led to its last event; `None` where it could not be
/// seen to. Also tells whether it is overdue.
async fn see_to(context: &Context, invocation: &Invocation, id: &OrderId) -> (Option<Seen>, bool) {
    let now = context.clock.now();
    let mut is_overdue = false;
    let looking = async {
        let Some(order) = context.orders.get(id).await? else {
            return Ok(Seen::Moved);
        };
        is_overdue = !rules::is_settled(&order) && order.updated_at + OVERDUE <= now;
        let invocation = invocation.with_trace(trace(context, invocation, &order).await?);
        telemetry::scope(invocation, Box::pin(look(context, &order, now))).await
    };
    let looking: Result<Seen, OrderError> = looking.await;
    if let Err(error) = &looking {
        let error = telemetry::chain(error);
        tracing::error!(error, order_id = id.as_str(), "order not seen to");
    }
    // One that cannot be read is not among the first of every sweep for ever.
    if matches!(&looking, Err(OrderError::Table(error)) if !error.retryable()) {
        let aside = context.orders.postpone(id, None, now + AGAIN).await;
        if let Err(error) = aside {
            let error = telemetry::chain(&error);
            tracing::error!(error, order_id = id.as_str(), "order stays due");
        }
    }
    (looking.ok(), is_overdue)
}

/// The request that led to the order's last event.
async fn trace(
    context: &Context,
    invocation: &Invocation,
    order: &Order,
) -> Result<TraceContext, TableError> {
    let before = order.version.saturating_sub(1);
    let last = context.orders.events(&order.id, before, 1).await?.pop();
    let known = last.and_then(|event| {
        Some(TraceContext {
            correlation_id: event.correlation_id?,
            trace_parent: event.trace_parent,
        })
    });
    Ok(known.unwrap_or_else(|| invocation.trace.clone()))
}

async fn look(context: &Context, order: &Order, now: Timestamp) -> Result<Seen, OrderError> {
    if rules::awaited(order).is_none_or(|(_, due)| due > now) {
        return Ok(Seen::Moved);
    }
    if let Decision::Change(change) = rules::expire(order, now) {
        return Ok(
            match context.orders.commit(order, change, now, None).await? {
                Committed::Done(_) => Seen::Expired,
                Committed::Conflict | Committed::Short(_) => Seen::Moved,
            },
        );
    }
    let kept = context.executions.keep(order).await?;
    // Where something happens to the order meanwhile, it is due by that.
    let version = Some(order.version);
    context
        .orders
        .postpone(&order.id, version, now + AGAIN)
        .await?;
    Ok(match kept {
        Kept::AtWork => Seen::Postponed,
        Kept::Begun => Seen::Started,
    })
}

#[cfg(test)]
mod tests;
