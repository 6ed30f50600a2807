//! The sending function: tells customers, and staff, what happened to orders.
//!
//! Where the kind is for phones and the customer has one, a text message is tried first; an e-mail
//! stands in for it once it is refused, its retries are used up or its provider's breaker is open. Who
//! left, or left no address, is told nothing.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::{
    notifications::{
        message::Message,
        model::{Channel, Kind, Notice},
        provider::{MessageId, Provider, SendError},
        rules::{PHONE_DELIVERIES, Standing, pause_after},
        store::Claimed,
    },
    orders::{event::CANCELLATION_REFUND, model::Order},
    platform::{
        batch::{self, BatchError, FailedMessages, Failure},
        config::AdminAlertEmail,
        ids::{BASE32_LENGTH, base32},
        secret::Personal,
        table::{TableError, Write},
        telemetry::{self, Metrics},
    },
};

use super::{context::Context, facts::facts, task::Task};

/// Sends the notifications that a batch of messages asks for.
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
    let handler = |message| take(context, message);
    batch::consume(&lambda, event, &context.failed, sources, handler).await
}

async fn take<Q>(context: &Context<Q>, message: SqsMessage) -> Result<(), Failure> {
    let task = Task::parse(message.body.as_deref().unwrap_or_default());
    let task = task.map_err(|error| Failure::permanent(telemetry::chain(&error)))?;
    let work = Box::pin(deliver(context, &task, batch::deliveries(&message)));
    // The bus hands no attributes on: what it delivers has the request's ids in its body.
    match telemetry::current().zip(task.trace.clone()) {
        Some((invocation, trace)) => telemetry::scope(invocation.with_trace(trace), work).await,
        None => work.await,
    }
}

/// Who is told, and how they are reached.
#[derive(Default)]
struct Recipient {
    name: Option<String>,
    phone: Option<Personal<String>>,
    email: Option<Personal<String>>,
}

async fn recipient<Q>(
    context: &Context<Q>,
    kind: Kind,
    order: &Order,
) -> Result<Recipient, TableError> {
    if kind == Kind::NewOrder {
        let email = context.admin.as_ref().map(AdminAlertEmail::as_str);
        return Ok(Recipient {
            email: email.map(|email| email.to_owned().into()),
            ..Recipient::default()
        });
    }
    let contact = context.customers.contact(&order.customer).await?;
    let recipient = contact.map(|contact| Recipient {
        name: contact.name,
        phone: contact
            .phone
            .filter(|_| kind.is_for_phones())
            .map(Personal::new),
        email: contact.email.map(Personal::new),
    });
    Ok(recipient.unwrap_or_default())
}

/// Whether the notice of the order's cancellation says it all: the refund that the cancellation makes
/// comes with it, and a confirmation that comes after it is none any more.
fn is_told_by_another(notice: &Notice, order: &Order) -> bool {
    match notice.kind {
        Kind::OrderRefunded => notice.refund.as_deref() == Some(CANCELLATION_REFUND),
        Kind::OrderConfirmed => order.cancellation.is_some(),
        _ => false,
    }
}

async fn deliver<Q>(context: &Context<Q>, task: &Task, deliveries: u32) -> Result<(), Failure> {
    let (notice, now) = (&task.notice, context.clock.now());
    let order = context.orders.get(&task.order).await?;
    let order = order.ok_or_else(|| Failure::permanent("there is no such order"))?;
    if is_told_by_another(notice, &order) {
        tracing::info!(notice = %notice, "the order's cancellation tells of it");
        return Ok(());
    }
    let mut to = recipient(context, notice.kind, &order).await?;
    if to.phone.is_none() && to.email.is_none() {
        tracing::info!(notice = %notice, "there is nobody to be told");
        return Ok(());
    }
    let facts = facts(notice, &order, to.name.take())
        .ok_or_else(|| Failure::permanent("the order is not as the notification says"))?;
    let message = Message::new(notice.kind, &facts);
    let message = message.map_err(|error| Failure::permanent(telemetry::chain(&error)))?;
    let token = base32(u128::from_le_bytes(context.random.bytes()), BASE32_LENGTH);
    let claim = match context.notifications.claim(notice, token, now).await? {
        Claimed::Won(claim) => claim,
        Claimed::Sent => {
            tracing::info!(notice = %notice, "notification was sent before");
            return Ok(());
        }
        Claimed::Held { until } => {
            let seconds = until.duration_since(now).as_secs().saturating_add(1);
            let seconds = u32::try_from(seconds).unwrap_or_default();
            return Err(Failure::Delayed { seconds });
        }
    };
    let outcome = carry(context, &to, &message, deliveries).await;
    let standing = match &outcome {
        Ok((channel, message_id)) => Standing::Sent {
            channel: *channel,
            message_id: message_id.clone(),
            at: context.clock.now(),
        },
        Err(_) => Standing::Released,
    };
    // Whatever becomes of the record: to have what was sent come again would send it again for sure.
    match context.notifications.end(claim, &standing, now).await {
        Ok(Write::Done) => {}
        Ok(Write::Conflict) => tracing::warn!(notice = %notice, "the try outlived its claim"),
        Err(error) => {
            let error = telemetry::chain(&error);
            tracing::error!(error, notice = %notice, "the end of a try is not recorded");
        }
    }
    let (channel, _) = outcome?;
    let mut metrics = Metrics::from_env();
    metrics.count("NotificationsSent", 1);
    let fallen_back = to.phone.is_some() && channel == Channel::Email;
    metrics.count("NotificationsFallenBack", u32::from(fallen_back));
    metrics.flush(context.clock.now());
    tracing::info!(notice = %notice, %channel, "notification sent");
    Ok(())
}

/// Why a channel did not take a message.
enum Unsent {
    /// The provider is left alone.
    Open,
    Failed(SendError),
}

/// Sends `message` by the first channel that takes it, in the `deliveries`th delivery of its task.
async fn carry<Q>(
    context: &Context<Q>,
    to: &Recipient,
    message: &Message,
    deliveries: u32,
) -> Result<(Channel, MessageId), Failure> {
    let again = |is_fallback, why: &str| match pause_after(deliveries, is_fallback) {
        Some(seconds) => Failure::Delayed { seconds },
        None => Failure::permanent(format!("the retries are used up: {why}")),
    };
    let mut failure = Failure::permanent("the retries are used up");
    if let Some(phone) = to.phone.as_ref().filter(|_| deliveries <= PHONE_DELIVERIES) {
        failure = match attempt(context, &context.sns, phone, message).await? {
            Ok(id) => return Ok((Channel::Sms, id)),
            Err(Unsent::Open) => again(false, "the circuit breaker is open"),
            Err(Unsent::Failed(error @ SendError::Refused(_))) => {
                Failure::permanent(error.to_string())
            }
            Err(Unsent::Failed(error)) => match again(false, &error.to_string()) {
                delayed @ Failure::Delayed { .. } => return Err(delayed),
                failure => failure,
            },
        };
    }
    let Some(email) = &to.email else {
        return Err(failure);
    };
    match attempt(context, &context.ses, email, message).await? {
        Ok(id) => Ok((Channel::Email, id)),
        Err(Unsent::Failed(error @ SendError::Refused(_))) => {
            Err(Failure::permanent(error.to_string()))
        }
        Err(Unsent::Failed(error)) => Err(again(to.phone.is_some(), &error.to_string())),
        Err(Unsent::Open) => Err(again(to.phone.is_some(), "the circuit breaker is open")),
    }
}

/// Makes one try with `provider`, if its breaker lets it.
async fn attempt<Q, P: Provider>(
    context: &Context<Q>,
    provider: &P,
    to: &Personal<String>,
    message: &Message,
) -> Result<Result<MessageId, Unsent>, Failure> {
    let breakers = &context.breakers;
    let Some(permit) = breakers.admit(P::NAME, context.clock.now()).await? else {
        return Ok(Err(Unsent::Open));
    };
    let sent = provider.send(to, message).await;
    // A provider that refuses a message is there.
    let is_there = !matches!(sent, Err(SendError::Transient(_)));
    let now = context.clock.now();
    if let Err(error) = breakers.record(P::NAME, permit, is_there, now).await {
        let error = telemetry::chain(&error);
        tracing::warn!(
            error,
            provider = P::NAME,
            "the circuit breaker does not know"
        );
    }
    Ok(sent.map_err(|error| {
        let channel = P::CHANNEL;
        let error_text = error.to_string();
        tracing::warn!(error = error_text, %channel, "the provider did not take the message");
        Unsent::Failed(error)
    }))
}

#[cfg(test)]
mod tests;
