//! The order itself: confirmed, and closed when all that it held is back.

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::{orders::rules, platform::config::ConfigError};

use super::{Action, Answer, Orders, StepError};

/// What the step works with.
#[derive(Debug)]
pub struct Context {
    /// The orders.
    pub orders: Orders,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let orders = Orders::from_env()?;
        Ok(Self { orders })
    }
}

/// Confirms an order, or closes it.
///
/// # Errors
///
/// [`StepError`] by which the state machine goes.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Answer, StepError> {
    let orders = &context.orders;
    let step = async |input: &super::Input, order| match input.action {
        Action::Confirm => orders.record(order, |order, _| rules::confirm(order)).await,
        Action::Cancel => {
            orders
                .record(order, |order, _| rules::cancelled(order))
                .await
        }
        other => Err(StepError::Action(other)),
    };
    Box::pin(orders.run(event, step)).await
}
