//! Executions of the state machine that carries orders through.
//!
//! An execution is named after what an order waits for, so that however often one is begun there is
//! one. The steps find their work done where it is; another execution beside it changes nothing.

use std::fmt::Display;

use aws_sdk_sfn::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::start_execution::StartExecutionError,
    types::ExecutionStatus,
};
use serde_json::json;
use shared::{
    orders::{
        model::{Order, Run},
        rules::awaited,
    },
    platform::{config::OrderSaga, telemetry},
};

/// What became of an execution that is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The order waits for none.
    NotNeeded,
    /// It begins.
    New,
    /// There is one of its name, at work or ended.
    Exists,
}

/// What became of an execution that an order still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is at work, or the order waits for none.
    AtWork,
    /// It begins, or begins again where it failed.
    Begun,
}

/// A call on the state machine that failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The service did not answer, or refused.
    #[error("{operation} failed ({code})")]
    Call {
        /// The operation's name.
        operation: &'static str,
        /// The service's word for it.
        code: String,
        /// The whole story.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Every execution of the order has ended, and none can be begun again.
    #[error("execution {0} has ended and cannot be begun again")]
    Ended(String),
}

impl ExecutionError {
    fn of<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| Self::Call {
            operation,
            code: error.code().unwrap_or("no answer").to_owned(),
            source: Box::new(error),
        }
    }
}

/// The executions of the state machine.
#[derive(Debug, Clone)]
pub struct Executions {
    client: Client,
    saga: OrderSaga,
}

impl Executions {
    /// The executions of `saga`.
    #[must_use]
    pub const fn new(client: Client, saga: OrderSaga) -> Self {
        Self { client, saga }
    }

    /// Begins the execution that `order` waits for, with the ids of the current invocation.
    ///
    /// # Errors
    ///
    /// [`ExecutionError`] when it is unknown whether it begins.
    pub async fn begin(&self, order: &Order) -> Result<Begun, ExecutionError> {
        match awaited(order) {
            Some((run, _)) => self.start(order, &run, name(order, &run)).await,
            None => Ok(Begun::NotNeeded),
        }
    }

    /// Sees to it that the execution that `order` waits for is at work: begins it, or has it go on
    /// where it failed, or, where that cannot be, begins another of the order's present version.
    ///
    /// # Errors
    ///
    /// [`ExecutionError`] when it is unknown whether one is at work.
    pub async fn keep(&self, order: &Order) -> Result<Kept, ExecutionError> {
        let Some((run, _)) = awaited(order) else {
            return Ok(Kept::AtWork);
        };
        let first = name(order, &run);
        let again = format!("{first}-v{}", order.version);
        for name in [first, again.clone()] {
            if self.start(order, &run, name.clone()).await? == Begun::New {
                return Ok(Kept::Begun);
            }
            if self.is_at_work(&name).await? {
                return Ok(Kept::AtWork);
            }
            if self.redrive(&name).await {
                return Ok(Kept::Begun);
            }
        }
        Err(ExecutionError::Ended(again))
    }

    async fn start(&self, order: &Order, run: &Run, name: String) -> Result<Begun, ExecutionError> {
        let result = self
            .client
            .start_execution()
            .state_machine_arn(self.saga.as_str())
            .name(name)
            .input(input(order, run))
            .send()
            .await;
        match result {
            Ok(_) => Ok(Begun::New),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(StartExecutionError::is_execution_already_exists) =>
            {
                Ok(Begun::Exists)
            }
            Err(error) => Err(ExecutionError::of("StartExecution")(error)),
        }
    }

    async fn is_at_work(&self, name: &str) -> Result<bool, ExecutionError> {
        let described = self
            .client
            .describe_execution()
            .execution_arn(self.arn(name))
            .send()
            .await
            .map_err(ExecutionError::of("DescribeExecution"))?;
        Ok(matches!(
            described.status(),
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive
        ))
    }

    /// Whether the execution goes on where it failed. One that succeeded, or failed long ago, does
    /// not; and not every emulator can.
    async fn redrive(&self, name: &str) -> bool {
        let redriven = self
            .client
            .redrive_execution()
            .execution_arn(self.arn(name));
        match redriven.send().await {
            Ok(_) => true,
            Err(error) => {
                let error = ExecutionError::of("RedriveExecution")(error);
                tracing::warn!(error = telemetry::chain(&error), name, "not redriven");
                false
            }
        }
    }

    /// <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html>
    fn arn(&self, name: impl Display) -> String {
        let saga = self.saga.as_str();
        format!(
            "{}:{name}",
            saga.replacen(":stateMachine:", ":execution:", 1)
        )
    }
}

fn name(order: &Order, run: &Run) -> String {
    let id = &order.id;
    match run {
        Run::Place => id.to_string(),
        Run::Cancel => format!("{id}-cancel"),
        Run::Refund(refund_id) => format!("{id}-refund-{refund_id}"),
    }
}

/// What the execution works with. Outside an invocation its lines are found by the order's number.
fn input(order: &Order, run: &Run) -> String {
    let (action, refund_id) = match run {
        Run::Place => ("place", None),
        Run::Cancel => ("cancel", None),
        Run::Refund(refund_id) => ("refund", Some(refund_id)),
    };
    let invocation = telemetry::current();
    let trace = invocation.as_ref().map(|invocation| &invocation.trace);
    let correlation_id = trace.map_or(order.id.as_str(), |trace| trace.correlation_id.as_str());
    let mut input = json!({
        "order_id": order.id,
        "action": action,
        "correlation_id": correlation_id,
    });
    if let Some(refund_id) = refund_id {
        input["refund_id"] = json!(refund_id);
    }
    if let Some(parent) = trace.and_then(|trace| trace.trace_parent.as_ref()) {
        input["traceparent"] = json!(parent.as_str());
    }
    input.to_string()
}

#[cfg(test)]
pub(super) mod tests;
