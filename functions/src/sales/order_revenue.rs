//! The counting function: what orders bring in goes into the days' totals, from the events that the
//! bus delivers into a queue.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::{
    events::{cloud_event, model::Event},
    platform::{
        aws::Connection,
        batch::{self, BatchError, FailedMessages, Failure},
        clock::Clock,
        config::{ConfigError, OrderRevenueDeadLetters, OrderRevenueQueue, SalesTable},
        ids::Random,
        table::TableError,
        telemetry::{self, Metrics, TraceContext},
    },
    sales::order_revenue::{
        model::{Entry, EntryError},
        store::OrderRevenueStore,
    },
};

/// What the handler works with.
#[derive(Debug)]
pub struct Context<Q = batch::Queues> {
    /// Revenue from orders.
    pub store: OrderRevenueStore,
    /// Where messages go that cannot be handled now, or ever.
    pub failed: Q,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = SalesTable::from_env()?.as_str().to_owned();
        Ok(Self {
            store: OrderRevenueStore::new(aws.dynamodb(), table),
            failed: batch::Queues {
                sqs: aws.sqs(),
                queue_url: OrderRevenueQueue::from_env()?.as_str().to_owned(),
                dead_letter_url: OrderRevenueDeadLetters::from_env()?.as_str().to_owned(),
            },
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

/// Counts the events of a batch of messages. Each that tells of no revenue goes to the dead-letter
/// queue. Revenue is counted in SGD: a store with another currency has none here, so its orders are
/// passed over, and told of by the metric `OrdersNotCounted`.
///
/// # Errors
///
/// [`BatchError`] when a message cannot be reported back.
pub async fn handle<Q: FailedMessages>(
    context: &Context<Q>,
    event: LambdaEvent<SqsEvent>,
) -> Result<SqsBatchResponse, BatchError> {
    let (event, lambda) = event.into_parts();
    let sources = (&context.clock, &context.random);
    let handler = |messages| count(context, messages);
    batch::consume_together(&lambda, event, &context.failed, sources, handler).await
}

/// Counts messages day by day; those of a day share its fate.
async fn count(
    context: &Context<impl FailedMessages>,
    messages: Vec<SqsMessage>,
) -> Vec<Result<(), Failure>> {
    let read: Vec<_> = messages.iter().map(read).collect();
    let mut days: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
    for entry in read
        .iter()
        .flatten()
        .filter_map(|(_, entry)| entry.as_ref())
    {
        days.entry(entry.date).or_default().push(entry);
    }
    let mut added = BTreeMap::new();
    for (date, entries) in days {
        let done = context.store.add(date, &entries).await;
        added.insert(date, done.map_err(|error| failure(&error)));
    }
    let (mut outcomes, mut passed_over) = (Vec::with_capacity(read.len()), 0);
    for read in read {
        outcomes.push(match read {
            Err(failure) => Err(failure),
            Ok((event, None)) => {
                passed_over += 1;
                tell(&event, false).await;
                Ok(())
            }
            Ok((event, Some(entry))) => {
                let outcome = added.get(&entry.date).cloned();
                let outcome = outcome.unwrap_or(Err(Failure::Transient));
                tell(&event, outcome.is_ok()).await;
                outcome
            }
        });
    }
    let mut metrics = Metrics::from_env();
    metrics.count("OrdersNotCounted", passed_over);
    metrics.flush(context.clock.now());
    outcomes
}

/// The event of a message, and what it adds; nothing where it is of another currency.
fn read(message: &SqsMessage) -> Result<(Event, Option<Entry>), Failure> {
    let permanent = |error: &dyn std::error::Error| Failure::permanent(error.to_string());
    let body = message.body.as_deref().unwrap_or_default();
    let event = cloud_event::delivered(body).map_err(|error| permanent(&error))?;
    match Entry::try_from(&event) {
        Ok(entry) => Ok((event, Some(entry))),
        Err(EntryError::Currency(_)) => Ok((event, None)),
        Err(error) => Err(permanent(&error)),
    }
}

/// Logs what became of an event under the id of the request that led to it.
async fn tell(event: &Event, is_counted: bool) {
    let told = async { tracing::info!(event = event.id(), is_counted, "revenue of an order") };
    match (telemetry::current(), event.correlation_id.clone()) {
        (Some(invocation), Some(correlation_id)) => {
            let trace = TraceContext {
                correlation_id,
                trace_parent: event.trace_parent.clone(),
            };
            telemetry::scope(invocation.with_trace(trace), told).await;
        }
        _ => told.await,
    }
}

fn failure(error: &TableError) -> Failure {
    let reason = telemetry::chain(error);
    tracing::error!(error = reason, "revenue of orders not counted");
    if error.retryable() {
        Failure::Transient
    } else {
        Failure::permanent(error.to_string())
    }
}

#[cfg(test)]
mod tests;
