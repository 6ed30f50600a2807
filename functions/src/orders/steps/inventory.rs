//! The stock of an order: held for it, and made available again.

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::{
    orders::{model::Order, rules},
    platform::config::ConfigError,
};

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

/// Holds an order's stock, or makes it available again.
///
/// # Errors
///
/// [`StepError`] by which the state machine goes.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Answer, StepError> {
    let orders = &context.orders;
    let step = async |input: &super::Input, order| match input.action {
        Action::Reserve => reserve(orders, order).await,
        Action::Release => orders.record(order, |order, _| rules::release(order)).await,
        other => Err(StepError::Action(other)),
    };
    Box::pin(orders.run(event, step)).await
}

async fn reserve(orders: &Orders, order: Order) -> Result<Order, StepError> {
    match orders.record(order.clone(), rules::reserve).await {
        Err(StepError::OutOfStock(shortages)) => {
            let short = |order: &Order, _| Ok(rules::out_of_stock(order, shortages.clone()));
            let order = orders.record(order, short).await?;
            // Another run of the step may have held it meanwhile.
            rules::go_on(&order)?;
            Ok(order)
        }
        result => result,
    }
}
