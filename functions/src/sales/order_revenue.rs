//! The counting function: what orders bring in goes into the days' totals, from the events that the
//! bus delivers into a queue.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::civil::Date;
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

/// Counts messages day by day. Those of a day share its fate, but for one that the table never takes:
/// then each is counted alone, so that only it goes to the dead-letter queue.
async fn count(
    context: &Context<impl FailedMessages>,
    messages: Vec<SqsMessage>,
) -> Vec<Result<(), Failure>> {
    let read: Vec<_> = messages.iter().map(read).collect();
    let mut days: BTreeMap<_, Vec<(usize, &Entry)>> = BTreeMap::new();
    for (at, read) in read.iter().enumerate() {
        if let Ok((_, Some(entry))) = read {
            days.entry(entry.date).or_default().push((at, entry));
        }
    }
    let mut added = BTreeMap::new();
    for (date, entries) in days {
        let all: Vec<&Entry> = entries.iter().map(|(_, entry)| *entry).collect();
        let together = add(context, date, &all).await;
        let is_blamed = all.len() > 1 && matches!(together, Err(Failure::Permanent { .. }));
        for (at, entry) in entries {
            let outcome = if is_blamed {
                add(context, date, &[entry]).await
            } else {
                together.clone()
            };
            added.insert(at, outcome);
        }
    }
    let (mut outcomes, mut passed_over) = (Vec::with_capacity(read.len()), 0);
    for (at, read) in read.into_iter().enumerate() {
        outcomes.push(match read {
            Err(failure) => Err(failure),
            Ok((event, None)) => {
                passed_over += 1;
                tell(&event, false).await;
                Ok(())
            }
            Ok((event, Some(_))) => {
                let outcome = added.remove(&at).unwrap_or(Err(Failure::Transient));
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

async fn add(
    context: &Context<impl FailedMessages>,
    date: Date,
    entries: &[&Entry],
) -> Result<(), Failure> {
    let done = context.store.add(date, entries).await;
    done.map_err(|error| failure(&error))
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
