//! The money of an order: held, taken, and given back.
//!
//! The order knows the provider's name for its payment before any money moves, so that whatever
//! happens in between, what undoes the order knows what to ask for.

use std::iter;

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::{
    orders::{
        event::CANCELLATION_REFUND,
        model::{CancelReason, Order, PaymentStanding},
        rules::{self, Refusal, Undo},
    },
    payments::{
        gateway::Gateway,
        model::{
            Authorisation, Capture, Charge, DeclineCode, GatewayError, PaymentState, Reference,
            Refunding, Voiding,
        },
        sandbox::Sandbox,
        stripe::Stripe,
    },
    platform::{
        aws::Connection,
        clock::Clock,
        config::{CommerceTable, ConfigError, PaymentProvider, PaymentSecret, StripeUrl},
    },
};

use super::{Action, Answer, Orders, ROUNDS, StepError};

/// Most names under which a cancelled order's money is asked to be given back.
const MOST_REFUND_NAMES: u32 = 20;

/// What the step works with.
#[derive(Debug)]
pub struct Context {
    /// The orders.
    pub orders: Orders,
    /// The payment provider.
    pub gateway: Gateway,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing or wrong.
    pub fn from_env() -> Result<Self, ConfigError> {
        let connection = Connection::from_env()?;
        Ok(Self {
            gateway: match PaymentProvider::from_env()? {
                PaymentProvider::Sandbox => {
                    let table = CommerceTable::from_env()?.as_str().to_owned();
                    Gateway::Sandbox(Sandbox::new(connection.dynamodb(), table))
                }
                PaymentProvider::Stripe => Gateway::Stripe(Stripe::new(
                    connection.secrets_manager(),
                    PaymentSecret::from_env()?,
                    &StripeUrl::from_env()?,
                    Clock::system(),
                )),
            },
            orders: Orders::from_env()?,
        })
    }
}

/// Has an order's money held or taken, or gives it back.
///
/// # Errors
///
/// [`StepError`] by which the state machine goes.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Answer, StepError> {
    let step = async |input: &super::Input, order| match input.action {
        Action::Authorise => authorise(context, order).await,
        Action::Capture => capture(context, order).await,
        Action::Undo => undo(context, order).await,
        Action::Refund => refund(context, order, input.refund_id.as_deref()).await,
        other => Err(StepError::Action(other)),
    };
    Box::pin(context.orders.run(event, step)).await
}

/// What is charged for an order, and the provider's name for its payment.
fn payment(order: &Order) -> Result<(Charge<'_>, Reference), StepError> {
    let payment = order.payment.as_ref();
    let payment = payment.ok_or(Refusal::OutOfOrder("the payment's start"))?;
    let unreadable = |_| GatewayError::Permanent("the payment's name cannot be read".to_owned());
    let reference = payment.reference.parse().map_err(unreadable)?;
    Ok((charge(order), reference))
}

fn charge(order: &Order) -> Charge<'_> {
    Charge {
        order_id: order.id.as_str(),
        amount: order.totals.total,
        method: &order.payment_method,
    }
}

async fn authorise(context: &Context, mut order: Order) -> Result<Order, StepError> {
    let Context { orders, gateway } = context;
    rules::go_on(&order)?;
    if order.payment.is_none() {
        let opened = gateway.open(&charge(&order)).await?;
        let start = |order: &Order, now| rules::start_payment(order, opened.as_str(), now);
        order = orders.record(order, start).await?;
    }
    let standing = order.payment.as_ref().map(|payment| payment.standing);
    if standing == Some(PaymentStanding::Opened) {
        let (charge, reference) = payment(&order)?;
        let answer = gateway.authorise(&charge, &reference).await?;
        let record = |order: &Order, _| match answer {
            Authorisation::Authorised => rules::authorised(order),
            Authorisation::Declined(code) => rules::declined(order, code.as_str()),
        };
        order = orders.record(order, record).await?;
    }
    rules::go_on(&order)?;
    Ok(order)
}

async fn capture(context: &Context, mut order: Order) -> Result<Order, StepError> {
    let Context { orders, gateway } = context;
    if rules::must_capture(&order)? {
        let (charge, reference) = payment(&order)?;
        match gateway.capture(&charge, &reference).await? {
            Capture::Captured(amount) if amount == order.totals.total => {
                let record = |order: &Order, _| rules::captured(order, amount);
                order = orders.record(order, record).await?;
            }
            // What was taken is found by the undoing's void, and given back.
            Capture::Captured(_) => return Err(StepError::WrongAmount),
            Capture::Refused(code) => {
                let abort = |order: &Order, _| rules::abort(order, CancelReason::CaptureFailed);
                orders.record(order, abort).await?;
                return Err(StepError::CaptureFailed(code.as_str()));
            }
        }
    }
    rules::go_on(&order)?;
    Ok(order)
}

/// A void answers how the payment really stands, so that money that was taken without the order
/// knowing goes back as well.
async fn undo(context: &Context, order: Order) -> Result<Order, StepError> {
    let Context { orders, gateway } = context;
    let abort = |order: &Order, _| rules::abort(order, CancelReason::Failed);
    let mut order = orders.record(order, abort).await?;
    for _ in 0..ROUNDS {
        order = match rules::to_undo(&order)? {
            Undo::Nothing => return Ok(order),
            Undo::Void => {
                let (charge, reference) = payment(&order)?;
                let answer = gateway.void(&charge, &reference).await?;
                let record = |order: &Order, _| match answer {
                    Voiding::Voided => rules::voided(order),
                    Voiding::Captured(amount) => rules::captured(order, amount),
                };
                orders.record(order, record).await?
            }
            Undo::Refund(_) => {
                give_back(context, &order).await?;
                orders
                    .record(order, |order, _| rules::given_back(order))
                    .await?
            }
        };
    }
    Err(StepError::Contended)
}

/// Gives back what the provider says is still ours: people may have given back some there. A refund of
/// all that is left is possible only once, so one that was refused is asked for under another name.
async fn give_back(context: &Context, order: &Order) -> Result<(), StepError> {
    let (charge, reference) = payment(order)?;
    let PaymentState::Captured { captured, refunded } =
        context.gateway.state(&charge, &reference).await?
    else {
        let reason = "nothing was taken to be given back";
        return Err(GatewayError::Permanent(reason.to_owned()).into());
    };
    let left = captured.checked_sub(refunded).map_err(Refusal::from)?;
    if left.amount().is_zero() {
        return Ok(());
    }
    let mut refused = DeclineCode::Declined;
    let others = (2..=MOST_REFUND_NAMES).map(|n| format!("{CANCELLATION_REFUND}-{n}"));
    for name in iter::once(CANCELLATION_REFUND.to_owned()).chain(others) {
        let gateway = &context.gateway;
        match gateway.refund(&charge, &reference, left, &name).await? {
            Refunding::Refunded => return Ok(()),
            Refunding::Refused(code) => return Err(StepError::NotGivenBack(code.as_str())),
            Refunding::RefusedBefore(code) => refused = code,
        }
    }
    Err(StepError::NotGivenBack(refused.as_str()))
}

async fn refund(
    context: &Context,
    order: Order,
    refund_id: Option<&str>,
) -> Result<Order, StepError> {
    let refund_id = refund_id.ok_or(Refusal::NoRefund)?;
    let Some(refund) = rules::to_refund(&order, refund_id)? else {
        return Ok(order);
    };
    let (charge, reference) = payment(&order)?;
    let gateway = &context.gateway;
    let answer = gateway.refund(&charge, &reference, refund.amount, refund_id);
    let answer = answer.await?;
    let record = |order: &Order, _| match answer {
        Refunding::Refunded => rules::refunded(order, refund_id),
        Refunding::Refused(code) | Refunding::RefusedBefore(code) => {
            rules::refund_failed(order, refund_id, code.as_str())
        }
    };
    context.orders.record(order, record).await
}
