//! Batches from SQS, each message on its own: one that fails does not take the others with it.
//!
//! A handler says how a message failed. A permanent failure goes to the dead-letter queue at once,
//! with its reason, and is done. A transient one is reported back, so SQS delivers it again, after a
//! pause that grows and is spread at random; five deliveries later SQS itself moves it to the
//! dead-letter queue. A panic counts as transient, and so does work that the invocation has no time for:
//! an invocation that Lambda stops takes with it what was done of the batch, and what is to be said of it.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::types::MessageAttributeValue;
use futures_util::FutureExt as _;
use jiff::SignedDuration;
use tokio::time::{Instant, timeout_at};

use crate::platform::clock::Clock;
use crate::platform::deadline::deadline;
use crate::platform::ids::Random;
use crate::platform::table::TableError;
use crate::platform::telemetry::{self, Invocation, TraceContext};

/// Time of an invocation that is kept for telling the queues what became of the messages.
const REPORT_TIME: Duration = Duration::from_secs(5);

/// Time of an invocation that is kept for its answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The longest that Lambda lets an invocation work.
const MOST_TIME: Duration = Duration::from_mins(15);

/// How a message failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Trying again cannot help. The reason is kept with the message and logged, so it must hold
    /// nothing secret or personal.
    Permanent {
        /// What is wrong.
        reason: String,
    },
    /// Trying again later may help.
    Transient,
    /// Trying again may help, after a pause that the handler knows.
    Delayed {
        /// The pause in seconds, at most 43,200.
        seconds: u32,
    },
}

impl Failure {
    /// A permanent failure.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent {
            reason: reason.into(),
        }
    }
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        let reason = telemetry::chain(&error);
        tracing::error!(error = reason, "the table failed");
        if error.retryable() {
            Self::Transient
        } else {
            Self::permanent(reason)
        }
    }
}

/// A batch that cannot be answered message by message; the invocation fails and all come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A message has no id to report.
    #[error("queue message has no id")]
    MissingMessageId,
}

impl From<BatchError> for lambda_runtime::Diagnostic {
    fn from(error: BatchError) -> Self {
        Self {
            error_type: "UnknownEvent".into(),
            error_message: error.to_string(),
        }
    }
}

/// The pause before delivery `deliveries + 1`, at most: `min(5 · 2ⁿ, 900)` seconds, `n` being the
/// deliveries before the latest.
#[must_use]
pub fn backoff_ceiling(deliveries: u32) -> u32 {
    let doubled = 5_u32.checked_mul(1 << deliveries.saturating_sub(1).min(20));
    doubled.unwrap_or(900).min(900)
}

/// What can be done with a message that failed.
pub trait FailedMessages: Sync {
    /// Puts the message into the dead-letter queue with its reason; whether it got there.
    fn bury(&self, message: &SqsMessage, reason: &str) -> impl Future<Output = bool> + Send;

    /// Hides the message for `seconds`, if that is possible; it comes back sooner otherwise.
    fn hide(&self, message: &SqsMessage, seconds: u32) -> impl Future<Output = ()> + Send;
}

/// The queue a batch came from and its dead-letter queue.
#[derive(Clone, Debug)]
pub struct Queues {
    /// The client for both.
    pub sqs: aws_sdk_sqs::Client,
    /// URL of the queue.
    pub queue_url: String,
    /// URL of its dead-letter queue.
    pub dead_letter_url: String,
}

/// Attributes that a message may have.
const MAX_ATTRIBUTES: usize = 10;
/// Characters of a reason that are kept.
const MAX_REASON: usize = 1024;

impl FailedMessages for Queues {
    async fn bury(&self, message: &SqsMessage, reason: &str) -> bool {
        let sent = self
            .sqs
            .send_message()
            .queue_url(&self.dead_letter_url)
            .message_body(message.body.as_deref().unwrap_or_default())
            .set_message_attributes(Some(burial_attributes(message, reason)))
            .send()
            .await;
        if let Err(error) = &sent {
            let error = telemetry::chain(error);
            tracing::error!(error, "message could not be moved to the dead-letter queue");
        }
        sent.is_ok()
    }

    async fn hide(&self, message: &SqsMessage, seconds: u32) {
        let changed = self
            .sqs
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .set_receipt_handle(message.receipt_handle.clone())
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send()
            .await;
        if let Err(error) = changed {
            let error = telemetry::chain(&error);
            tracing::warn!(error, "message comes back without its pause");
        }
    }
}

fn burial_attributes(message: &SqsMessage, reason: &str) -> HashMap<String, MessageAttributeValue> {
    let reason: String = reason.chars().take(MAX_REASON).collect();
    let own = [
        ("failure-reason", Some(reason)),
        ("source-message-id", message.message_id.clone()),
    ];
    let mut kept: Vec<(&str, Option<String>)> = message
        .message_attributes
        .iter()
        .map(|(name, attribute)| (name.as_str(), attribute.string_value.clone()))
        .filter(|(name, _)| own.iter().all(|(ours, _)| ours != name))
        .collect();
    kept.sort();
    kept.truncate(MAX_ATTRIBUTES - own.len());
    kept.into_iter()
        .chain(own)
        .filter_map(|(name, value)| {
            let value = value.filter(|value| !value.is_empty())?;
            let attribute = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value)
                .build()
                .ok()?;
            Some((name.to_owned(), attribute))
        })
        .collect()
}

/// When an invocation has to be done with its messages, and with telling of them.
#[derive(Clone, Copy, Debug)]
struct Limits {
    work: Instant,
    reports: Instant,
}

impl Limits {
    fn of(context: &lambda_runtime::Context, clock: &Clock) -> Self {
        let left =
            deadline(context).map_or(SignedDuration::MAX, |at| at.duration_since(clock.now()));
        let left = left.max(SignedDuration::ZERO).unsigned_abs().min(MOST_TIME);
        let begun = Instant::now();
        Self {
            work: begun + left.saturating_sub(REPORT_TIME),
            reports: begun + left.saturating_sub(ANSWER_TIME),
        }
    }
}

/// Gives each message to `handler`, one after the other, and says which ones SQS must deliver again.
/// Every message runs under the correlation id it carries.
///
/// # Errors
/// [`BatchError`] when a message cannot be reported; nothing has been handled then.
pub async fn consume<Q, H, F>(
    context: &lambda_runtime::Context,
    event: SqsEvent,
    failed: &Q,
    (clock, random): (&Clock, &Random),
    handler: H,
) -> Result<SqsBatchResponse, BatchError>
where
    Q: FailedMessages,
    H: Fn(SqsMessage) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    check_reportable(&event.records)?;
    let limits = Limits::of(context, clock);
    let mut response = SqsBatchResponse::default();
    let mut invocation: Option<Invocation> = None;
    for message in event.records {
        let trace =
            TraceContext::from_message(&message.message_attributes, clock.now(), random.bytes());
        let scope = match &invocation {
            Some(first) => first.with_trace(trace),
            None => Invocation::begin(Some(context), trace),
        };
        invocation.get_or_insert_with(|| scope.clone());
        let id = message.message_id.clone().unwrap_or_default();
        let done = telemetry::scope(scope, async {
            let work = AssertUnwindSafe(async { handler(message.clone()).await });
            let outcome = match timeout_at(limits.work, work.catch_unwind()).await {
                Ok(outcome) => outcome.unwrap_or(Err(Failure::Transient)),
                Err(_) => out_of_time(),
            };
            settle(&message, outcome, failed, limits.reports, random).await
        });
        if !done.await {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            response.batch_item_failures.push(failure);
        }
    }
    Ok(response)
}

fn check_reportable(messages: &[SqsMessage]) -> Result<(), BatchError> {
    if messages.iter().any(|m| m.message_id.is_none()) {
        tracing::error!("a message has no identifier to be reported by");
        return Err(BatchError::MissingMessageId);
    }
    Ok(())
}

/// Gives all messages to `handler` at once, which says for each, in order, what became of it, and
/// says which ones SQS must deliver again. The work runs under the correlation id of the first
/// message; what becomes of each is told under its own. A panic fails every message for now.
///
/// # Errors
/// [`BatchError`] when a message cannot be reported; nothing has been handled then.
pub async fn consume_together<Q, H, F>(
    context: &lambda_runtime::Context,
    event: SqsEvent,
    failed: &Q,
    (clock, random): (&Clock, &Random),
    handler: H,
) -> Result<SqsBatchResponse, BatchError>
where
    Q: FailedMessages,
    H: FnOnce(Vec<SqsMessage>) -> F,
    F: Future<Output = Vec<Result<(), Failure>>>,
{
    let messages = event.records;
    check_reportable(&messages)?;
    let limits = Limits::of(context, clock);
    let mut response = SqsBatchResponse::default();
    let trace = |message: &SqsMessage| {
        TraceContext::from_message(&message.message_attributes, clock.now(), random.bytes())
    };
    let Some(first) = messages.first() else {
        return Ok(response);
    };
    let invocation = Invocation::begin(Some(context), trace(first));
    let work = AssertUnwindSafe(async { handler(messages.clone()).await });
    let work = timeout_at(limits.work, work.catch_unwind());
    let outcomes = telemetry::scope(invocation.clone(), async {
        match work.await {
            Ok(outcomes) => outcomes.unwrap_or_default(),
            Err(_) => vec![out_of_time(); messages.len()],
        }
    });
    let mut outcomes = outcomes.await.into_iter();
    for message in messages {
        let outcome = outcomes.next().unwrap_or(Err(Failure::Transient));
        let scope = invocation.with_trace(trace(&message));
        let done = telemetry::scope(scope, async {
            let done = settle(&message, outcome, failed, limits.reports, random).await;
            if done {
                // The work spoke under one id; this is where each request's own leads to.
                tracing::info!("message done with");
            }
            done
        });
        if !done.await {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.unwrap_or_default();
            response.batch_item_failures.push(failure);
        }
    }
    Ok(response)
}

fn out_of_time() -> Result<(), Failure> {
    tracing::warn!("no time left for the message");
    Err(Failure::Transient)
}

/// Sees to a message that was handled, as far as that can be done by `until`; whether it is done with.
async fn settle<Q: FailedMessages>(
    message: &SqsMessage,
    outcome: Result<(), Failure>,
    failed: &Q,
    until: Instant,
    random: &Random,
) -> bool {
    match outcome {
        Ok(()) => true,
        Err(Failure::Permanent { reason }) => {
            tracing::error!(reason, "message failed for good");
            let buried = timeout_at(until, failed.bury(message, &reason)).await;
            buried.unwrap_or(false)
        }
        Err(Failure::Transient) => {
            let seconds = random.up_to(backoff_ceiling(deliveries(message)));
            put_off(message, seconds, failed, until).await
        }
        Err(Failure::Delayed { seconds }) => put_off(message, seconds, failed, until).await,
    }
}

async fn put_off<Q: FailedMessages>(
    message: &SqsMessage,
    seconds: u32,
    failed: &Q,
    until: Instant,
) -> bool {
    let deliveries = deliveries(message);
    tracing::warn!(deliveries, seconds, "message failed and comes again");
    let hidden = timeout_at(until, failed.hide(message, seconds)).await;
    if hidden.is_err() {
        tracing::warn!("no time left to hide the message, which comes back by itself");
    }
    false
}

/// Times that a message has been delivered, this one included.
#[must_use]
pub fn deliveries(message: &SqsMessage) -> u32 {
    message
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse().ok())
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[derive(Default)]
    struct Fake {
        burial_fails: bool,
        buried: Mutex<Vec<(String, String)>>,
        hidden: Mutex<Vec<(String, u32)>>,
    }

    impl FailedMessages for Fake {
        async fn bury(&self, message: &SqsMessage, reason: &str) -> bool {
            let id = message.message_id.clone().unwrap();
            self.buried.lock().unwrap().push((id, reason.to_owned()));
            !self.burial_fails
        }

        async fn hide(&self, message: &SqsMessage, seconds: u32) {
            let id = message.message_id.clone().unwrap();
            self.hidden.lock().unwrap().push((id, seconds));
        }
    }

    fn event(bodies: &[&str]) -> SqsEvent {
        let records: Vec<_> = bodies
            .iter()
            .map(|body| {
                json!({
                    "messageId": format!("id-{body}"), "receiptHandle": "r", "body": body,
                    "attributes": {"ApproximateReceiveCount": "3"},
                    "messageAttributes": {"correlation-id": {
                        "stringValue": format!("c-{body}"), "dataType": "String"}},
                })
            })
            .collect();
        serde_json::from_value(json!({ "Records": records })).unwrap()
    }

    async fn handle(message: SqsMessage) -> Result<(), Failure> {
        let correlation = telemetry::current().unwrap().trace.correlation_id.clone();
        let body = message.body.unwrap();
        assert_eq!(correlation.as_str(), format!("c-{body}"));
        match body.as_str() {
            "bad" => Err(Failure::permanent("not an import")),
            "later" => Err(Failure::Transient),
            "tomorrow" => Err(Failure::Delayed { seconds: 43_200 }),
            "panic" => panic!("bug"),
            _ => Ok(()),
        }
    }

    async fn run(fake: &Fake, event: SqsEvent) -> Result<SqsBatchResponse, BatchError> {
        let sources = (&Clock::fixed(Timestamp::UNIX_EPOCH), &Random::seeded(1));
        consume(
            &lambda_runtime::Context::default(),
            event,
            fake,
            sources,
            handle,
        )
        .await
    }

    #[tokio::test]
    async fn each_message_succeeds_or_fails_on_its_own() {
        let fake = Fake::default();
        let event = event(&["a", "bad", "later", "panic", "b"]);
        let response = run(&fake, event).await.unwrap();
        insta::assert_json_snapshot!(response, @r#"
        {
          "batchItemFailures": [
            {
              "itemIdentifier": "id-later"
            },
            {
              "itemIdentifier": "id-panic"
            }
          ]
        }
        "#);
        let buried = fake.buried.into_inner().unwrap();
        assert_eq!(buried, [("id-bad".to_owned(), "not an import".to_owned())]);
        let hidden = fake.hidden.into_inner().unwrap();
        assert!(hidden.iter().all(|(_, seconds)| *seconds <= 20) && hidden.len() == 2);
    }

    /// A queue that never answers.
    struct Mute;

    impl FailedMessages for Mute {
        async fn bury(&self, _: &SqsMessage, _: &str) -> bool {
            std::future::pending().await
        }

        async fn hide(&self, _: &SqsMessage, _: u32) {
            std::future::pending::<()>().await;
        }
    }

    /// A minute from a clock that shows the beginning of 1970.
    fn a_minute() -> lambda_runtime::Context {
        let mut context = lambda_runtime::Context::default();
        context.deadline = 60_000;
        context
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_answered_in_time_though_neither_work_nor_queue_comes_to_an_end() {
        let begun = Instant::now();
        let (clock, random) = (Clock::fixed(Timestamp::UNIX_EPOCH), Random::seeded(1));
        let (sources, context) = ((&clock, &random), a_minute());
        let answer = consume(&context, event(&["a", "b"]), &Mute, sources, |_| {
            std::future::pending()
        });
        assert_eq!(answer.await.unwrap().batch_item_failures.len(), 2);
        assert_eq!(begun.elapsed(), Duration::from_secs(59));
        let begun = Instant::now();
        let answer = consume_together(&context, event(&["a", "b"]), &Mute, sources, |_| {
            std::future::pending()
        });
        assert_eq!(answer.await.unwrap().batch_item_failures.len(), 2);
        assert_eq!(begun.elapsed(), Duration::from_secs(59));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_takes_all_the_time_leaves_those_before_it_done() {
        let fake = Fake::default();
        let (clock, random) = (Clock::fixed(Timestamp::UNIX_EPOCH), Random::seeded(1));
        let (sources, context) = ((&clock, &random), a_minute());
        let handler = |message: SqsMessage| async move {
            if message.body.as_deref() == Some("slow") {
                tokio::time::sleep(Duration::from_mins(2)).await;
            }
            Ok(())
        };
        let answer = consume(&context, event(&["a", "slow"]), &fake, sources, handler);
        let failures = answer.await.unwrap().batch_item_failures;
        let failures: Vec<_> = failures
            .into_iter()
            .map(|one| one.item_identifier)
            .collect();
        assert_eq!(failures, ["id-slow"]);
        assert_eq!(fake.hidden.into_inner().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_pause_that_the_handler_knows_is_kept() {
        let fake = Fake::default();
        let response = run(&fake, event(&["tomorrow"])).await.unwrap();
        assert_eq!(response.batch_item_failures.len(), 1);
        let hidden = fake.hidden.into_inner().unwrap();
        assert_eq!(hidden, [("id-tomorrow".to_owned(), 43_200)]);
    }

    #[tokio::test]
    async fn a_batch_without_failures_answers_an_empty_list() {
        let response = run(&Fake::default(), event(&["a"])).await.unwrap();
        insta::assert_json_snapshot!(response, @r#"
        {
          "batchItemFailures": []
        }
        "#);
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_buried_stays_in_the_queue() {
        let fake = Fake {
            burial_fails: true,
            ..Fake::default()
        };
        let response = run(&fake, event(&["bad"])).await.unwrap();
        assert_eq!(response.batch_item_failures[0].item_identifier, "id-bad");
    }

    #[tokio::test]
    async fn a_message_without_an_id_fails_the_batch_before_any_work() {
        let mut event = event(&["a", "b"]);
        event.records[1].message_id = None;
        let result = run(&Fake::default(), event).await;
        assert_eq!(result, Err(BatchError::MissingMessageId));
    }

    #[tokio::test]
    async fn messages_handled_together_fail_on_their_own() {
        let fake = Fake::default();
        let sources = (&Clock::fixed(Timestamp::UNIX_EPOCH), &Random::seeded(1));
        let context = lambda_runtime::Context::default();
        let judge =
            async |messages: Vec<SqsMessage>| -> Vec<Result<(), Failure>> {
                let correlation = telemetry::current().unwrap().trace.correlation_id.clone();
                assert_eq!(correlation.as_str(), "c-a");
                // One answer too few: what is not answered comes again.
                let judged = messages.len() - 1;
                let outcomes = messages.into_iter().take(judged).map(|message| {
                    match message.body.as_deref() {
                        Some("bad") => Err(Failure::permanent("not a batch")),
                        Some("later") => Err(Failure::Transient),
                        _ => Ok(()),
                    }
                });
                outcomes.collect()
            };
        let messages = event(&["a", "bad", "later", "b", "c"]);
        let response = consume_together(&context, messages, &fake, sources, judge).await;
        let failures = response.unwrap().batch_item_failures;
        let failed: Vec<&str> = failures
            .iter()
            .map(|f| f.item_identifier.as_str())
            .collect();
        assert_eq!(failed, ["id-later", "id-c"]);
        let buried = fake.buried.into_inner().unwrap();
        assert_eq!(buried, [("id-bad".to_owned(), "not a batch".to_owned())]);
    }

    #[tokio::test]
    async fn a_panic_over_a_batch_brings_every_message_back() {
        let sources = (&Clock::fixed(Timestamp::UNIX_EPOCH), &Random::seeded(1));
        let context = lambda_runtime::Context::default();
        let panics = async |_: Vec<SqsMessage>| panic!("bug");
        let response = consume_together(
            &context,
            event(&["a", "b"]),
            &Fake::default(),
            sources,
            panics,
        )
        .await;
        assert_eq!(response.unwrap().batch_item_failures.len(), 2);
    }

    #[test]
    fn the_pause_doubles_up_to_a_quarter_of_an_hour() {
        let ceilings: Vec<u32> = (0..=10).map(backoff_ceiling).collect();
        assert_eq!(ceilings, [5, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        assert_eq!(backoff_ceiling(u32::MAX), 900);
    }

    #[test]
    fn a_buried_message_keeps_its_attributes_within_the_limit() {
        let mut message = event(&["bad"]).records.remove(0);
        for number in 0..12 {
            let attribute = message.message_attributes["correlation-id"].clone();
            message
                .message_attributes
                .insert(format!("x{number:02}"), attribute);
        }
        let attributes = burial_attributes(&message, &"é".repeat(2000));
        assert_eq!(attributes.len(), MAX_ATTRIBUTES);
        let value = |name: &str| attributes[name].string_value().unwrap();
        assert_eq!(value("correlation-id"), "c-bad");
        assert_eq!(value("source-message-id"), "id-bad");
        assert_eq!(value("failure-reason").chars().count(), MAX_REASON);
    }
}
