//! The payment provider as the saga's steps see it.
//!
//! Every call is idempotent: the provider gets `{order_id}:{step}` as its idempotency key, and the
//! next of a fixed sequence of keys once it only repeats an old failure for the one before. A call
//! whose reply is lost or no use asks the provider how the payment stands before it says anything;
//! only when that fails too is the answer [`GatewayError::Transient`].

use super::{
    model::{
        Authorisation, Capture, Charge, GatewayError, PaymentState, Reference, Refunding, Voiding,
    },
    rules,
    sandbox::Sandbox,
    stripe::Stripe,
};
use crate::platform::money::Money;

/// A payment provider.
#[derive(Debug)]
pub enum Gateway {
    /// Stripe.
    Stripe(Stripe),
    /// The scripted one.
    Sandbox(Sandbox),
}

impl Gateway {
    /// Opens a payment: the provider names it, and no money moves. Again, it has the same name for
    /// at least a day; one that is opened anew after that costs nothing and lapses.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when nothing is known of it.
    pub async fn open(&self, charge: &Charge<'_>) -> Result<Reference, GatewayError> {
        match self {
            Self::Stripe(stripe) => stripe.open(charge).await,
            Self::Sandbox(sandbox) => sandbox.open(charge).await,
        }
    }

    /// Has the charge's amount held for us, once.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown whether it is.
    pub async fn authorise(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Authorisation, GatewayError> {
        rules::authorisation(match self {
            Self::Stripe(stripe) => stripe.authorise(charge, reference).await?,
            Self::Sandbox(sandbox) => sandbox.authorise(charge, reference).await?,
        })
    }

    /// Takes what is held for us, once.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown whether it was, or nothing is held.
    pub async fn capture(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Capture, GatewayError> {
        rules::capture(match self {
            Self::Stripe(stripe) => stripe.capture(charge, reference).await?,
            Self::Sandbox(sandbox) => sandbox.capture(charge, reference).await?,
        })
    }

    /// Gives up what is held for us, and bars any authorisation that is still on its way.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown whether it was.
    pub async fn void(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Voiding, GatewayError> {
        rules::voiding(match self {
            Self::Stripe(stripe) => stripe.void(charge, reference).await?,
            Self::Sandbox(sandbox) => sandbox.void(charge, reference).await?,
        })
    }

    /// Gives `amount` of what was taken back to the customer, once for each `refund_id`.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown whether it was, or nothing was taken.
    pub async fn refund(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        amount: Money,
        refund_id: &str,
    ) -> Result<Refunding, GatewayError> {
        match self {
            Self::Stripe(stripe) => stripe.refund(charge, reference, amount, refund_id).await,
            Self::Sandbox(sandbox) => sandbox.refund(charge, reference, amount, refund_id).await,
        }
    }

    /// How a payment stands.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when the provider does not say.
    pub async fn state(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<PaymentState, GatewayError> {
        match self {
            Self::Stripe(stripe) => stripe.state(charge, reference).await,
            Self::Sandbox(sandbox) => sandbox.state(charge, reference).await,
        }
    }
}
