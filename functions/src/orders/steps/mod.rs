//! The saga's steps, each beside what undoes it.
//!
//! A step loads the order, asks the rules what is to happen, and makes it stand under the order's
//! version; where something else came first, it asks again. A step that runs twice, late or beside
//! itself therefore finds its fact in the order and changes nothing.

pub mod confirm;
pub mod inventory;
pub mod payment;

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{
    orders::{
        model::{Order, OrderId, Shortage, Status},
        rules::{self, Decision, Refusal},
        store::{Committed, OrderStore},
    },
    payments::model::GatewayError,
    platform::{
        aws::Connection,
        clock::Clock,
        config::{CommerceTable, ConfigError},
        deadline::stop,
        ids::Random,
        table::TableError,
        telemetry::{self, Invocation, Metrics, TraceContext},
    },
};

/// How often a decision is made again when something else happened to the order first.
const ROUNDS: usize = 10;

/// How long a step works.
const STEP_TIME: SignedDuration = SignedDuration::from_secs(28);

/// Time that a step leaves before it would be stopped, to say that it failed.
const SPARE_TIME: SignedDuration = SignedDuration::from_secs(2);

/// The number of a compensation's last attempt, counted from 0: the state machine tries ten times
/// again.
const LAST_ATTEMPT: u32 = 10;

/// What a step is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Hold the order's stock.
    Reserve,
    /// Make the order's stock available again.
    Release,
    /// Have the money held.
    Authorise,
    /// Take the money.
    Capture,
    /// Give back whatever money is held or was taken.
    Undo,
    /// Give back what staff said.
    Refund,
    /// Confirm the order.
    Confirm,
    /// Close the order that holds nothing any more.
    Cancel,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Authorise => "authorise",
            Self::Capture => "capture",
            Self::Undo => "undo",
            Self::Refund => "refund",
            Self::Confirm => "confirm",
            Self::Cancel => "cancel",
        }
    }

    const fn is_compensation(self) -> bool {
        matches!(self, Self::Undo | Self::Release | Self::Cancel)
    }
}

/// What the state machine sends a step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Input {
    order_id: OrderId,
    action: Action,
    refund_id: Option<String>,
    correlation_id: Option<String>,
    traceparent: Option<String>,
    #[serde(default)]
    attempt: u32,
}

/// What a step says when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Which order.
    pub order_id: OrderId,
    /// Where it stands.
    pub status: Status,
}

/// Why a step is not done. [`StepError::word`] is the name that the state machine goes by.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Some skus have too few units.
    #[error("too few units of {}", skus(.0))]
    OutOfStock(Vec<Shortage>),
    /// The provider would not have the money held.
    #[error("the payment was declined ({0})")]
    PaymentDeclined(String),
    /// The order is to be cancelled, or is.
    #[error("the order is cancelled")]
    OrderCancelled,
    /// The order is paid, and nobody asked for it to be cancelled.
    #[error("the order is completed")]
    OrderCompleted,
    /// The provider would not have the money taken.
    #[error("the money could not be taken ({0})")]
    CaptureFailed(&'static str),
    /// The payload is none.
    #[error("payload cannot be read")]
    Payload(#[from] serde_json::Error),
    /// The function has no such action.
    #[error("no action {} here", .0.as_str())]
    Action(Action),
    /// There is no such order.
    #[error("no such order")]
    NoOrder,
    /// The order has no such step now.
    #[error(transparent)]
    Refused(Refusal),
    /// The table failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The payment provider failed.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The provider took another amount than the order's total.
    #[error("another amount than the total was taken")]
    WrongAmount,
    /// The provider will not give the money back.
    #[error("the money could not be given back ({0})")]
    NotGivenBack(&'static str),
    /// Other things kept happening to the order.
    #[error("others are at the same order")]
    Contended,
    /// The function's time is up.
    #[error("the time is up")]
    Late,
}

impl StepError {
    /// The error's name in the state machine.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::OutOfStock(_) => "OutOfStock",
            Self::PaymentDeclined(_) => "PaymentDeclined",
            Self::OrderCancelled => "OrderCancelled",
            Self::OrderCompleted => "OrderCompleted",
            Self::CaptureFailed(_) => "CaptureFailed",
            Self::Contended | Self::Late => "Transient",
            Self::Table(error) if error.retryable() => "Transient",
            Self::Gateway(error) if error.retryable() => "Transient",
            _ => "Permanent",
        }
    }
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OutOfStock(shortages) => Self::OutOfStock(shortages),
            Refusal::PaymentDeclined(code) => Self::PaymentDeclined(code),
            Refusal::OrderCancelled => Self::OrderCancelled,
            Refusal::OrderCompleted => Self::OrderCompleted,
            other => Self::Refused(other),
        }
    }
}

impl From<StepError> for Diagnostic {
    fn from(error: StepError) -> Self {
        Self {
            error_type: error.word().into(),
            error_message: error.to_string(),
        }
    }
}

fn skus(shortages: &[Shortage]) -> String {
    shortages.iter().fold(String::new(), |mut text, shortage| {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(text, "{comma}{}", shortage.sku);
        text
    })
}

/// The orders as a step sees them.
#[derive(Debug)]
pub struct Orders {
    /// Where they are.
    pub store: OrderStore,
    /// Tells the time.
    pub clock: Clock,
    /// Names invocations.
    pub random: Random,
}

impl Orders {
    /// The orders of the environment's table.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let table = CommerceTable::from_env()?.as_str().to_owned();
        Ok(Self {
            store: OrderStore::new(Connection::from_env()?.dynamodb(), table),
            clock: Clock::system(),
            random: Random::system(),
        })
    }

    async fn get(&self, id: &OrderId) -> Result<Order, StepError> {
        self.store.get(id).await?.ok_or(StepError::NoOrder)
    }

    /// Makes stand what `decide` says of the order as it is, and gives the order as it is then.
    async fn record(
        &self,
        mut order: Order,
        decide: impl Fn(&Order, Timestamp) -> Result<Decision, Refusal>,
    ) -> Result<Order, StepError> {
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            let Decision::Change(change) = decide(&order, now)? else {
                return Ok(order);
            };
            match self.store.commit(&order, change, now, None).await? {
                Committed::Done(next) => return Ok(*next),
                Committed::Short(shortages) => return Err(StepError::OutOfStock(shortages)),
                Committed::Conflict => order = self.get(&order.id).await?,
            }
        }
        Err(StepError::Contended)
    }

    /// Runs a step as part of the request that it is for, within the function's time.
    async fn run(
        &self,
        event: LambdaEvent<Value>,
        step: impl AsyncFn(&Input, Order) -> Result<Order, StepError>,
    ) -> Result<Answer, StepError> {
        let LambdaEvent { payload, context } = event;
        let input: Input = serde_json::from_value(payload)?;
        let now = self.clock.now();
        let trace = TraceContext::resolve(
            input.correlation_id.as_deref(),
            input.traceparent.as_deref(),
            now,
            self.random.bytes(),
        );
        telemetry::scope(Invocation::begin(Some(&context), trace), async {
            let work = async { step(&input, self.get(&input.order_id).await?).await };
            let left = stop(&context, now, STEP_TIME, SPARE_TIME).duration_since(now);
            let left = left.max(SignedDuration::ZERO).unsigned_abs();
            let done = tokio::time::timeout(left, work).await;
            let result = done.unwrap_or(Err(StepError::Late));
            self.tell(&input, &result).await;
            let order = result?;
            Ok(Answer {
                order_id: order.id,
                status: order.status,
            })
        })
        .await
    }

    async fn tell(&self, input: &Input, result: &Result<Order, StepError>) {
        let (order_id, action) = (input.order_id.as_str(), input.action.as_str());
        let Err(error) = result else {
            tracing::info!(order_id, action, "step done");
            return;
        };
        let (error_type, attempt) = (error.word(), input.attempt);
        let chain = telemetry::chain(error);
        tracing::warn!(
            order_id,
            action,
            attempt,
            error_type,
            error = chain,
            "step not done"
        );
        let mut metrics = Metrics::from_env();
        // Lambda counts these among its errors, and whoever watches those takes them off again.
        if !matches!(error_type, "Transient" | "Permanent") {
            metrics.count("StepRefused", 1);
        }
        if matches!(
            error,
            StepError::Gateway(GatewayError::Untrusted(_)) | StepError::WrongAmount
        ) {
            metrics.count("UntrustedPaymentReply", 1);
        }
        let is_last = input.action.is_compensation() && attempt >= LAST_ATTEMPT;
        if is_last && !matches!(error, StepError::OrderCompleted) {
            metrics.count("CompensationFailed", 1);
            if let Err(error) = self.give_up(input).await {
                let error = telemetry::chain(&error);
                tracing::error!(order_id, error, "failed compensation not recorded");
            }
        }
        metrics.flush(self.clock.now());
    }

    /// Records that people have to look at the order. Where that fails too, the order stays due.
    async fn give_up(&self, input: &Input) -> Result<(), StepError> {
        let order = self.get(&input.order_id).await?;
        let failed =
            |order: &Order, _| Ok(rules::compensation_failed(order, input.action.as_str()));
        self.record(order, failed).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
