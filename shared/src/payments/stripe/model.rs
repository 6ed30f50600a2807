//! What is read of Stripe's answers; they hold much more.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A payment. <https://docs.stripe.com/api/payment_intents/object>
#[derive(Debug, Deserialize)]
pub struct PaymentIntent {
    /// Its name.
    pub id: String,
    /// What it is for, in the currency's smallest unit.
    pub amount: u64,
    /// How much is held, where it is told.
    pub amount_capturable: Option<u64>,
    /// How much was taken, where it is told.
    pub amount_received: Option<u64>,
    /// An ISO 4217 code in lower case.
    pub currency: String,
    /// How it stands.
    pub status: Status,
    /// What we told of it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Why the last authorisation failed, if it did.
    pub last_payment_error: Option<ErrorDetail>,
    /// What was taken of the customer.
    pub latest_charge: Option<LatestCharge>,
}

/// How a payment stands. <https://docs.stripe.com/payments/paymentintents/lifecycle>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has no payment method, or the one it had was declined.
    RequiresPaymentMethod,
    /// It waits to be confirmed.
    RequiresConfirmation,
    /// It waits for the customer.
    RequiresAction,
    /// It waits for the bank.
    Processing,
    /// The amount is held.
    RequiresCapture,
    /// It was given up.
    Canceled,
    /// The amount was taken.
    Succeeded,
    /// A word that is not known here.
    #[serde(other)]
    Unknown,
}

/// A charge, whole or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum LatestCharge {
    /// The whole.
    Charge {
        /// How much of it was given back.
        amount_refunded: u64,
    },
    /// Its name.
    Id(String),
}

/// A refund. <https://docs.stripe.com/api/refunds/object>
#[derive(Debug, Deserialize)]
pub struct Refund {
    /// How much is given back, in the currency's smallest unit.
    pub amount: u64,
    /// An ISO 4217 code in lower case.
    pub currency: String,
    /// Of which payment.
    pub payment_intent: Option<String>,
    /// How it stands.
    pub status: Option<RefundStatus>,
    /// What we told of it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// How a refund stands. <https://docs.stripe.com/refunds>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way.
    Pending,
    /// On its way once the customer has told where to.
    RequiresAction,
    /// Done.
    Succeeded,
    /// The bank sent it back.
    Failed,
    /// Given up.
    Canceled,
    /// A word that is not known here.
    #[serde(other)]
    Unknown,
}

/// A page of refunds, newest first.
#[derive(Debug, Deserialize)]
pub struct Refunds {
    /// The refunds.
    pub data: Vec<Refund>,
    /// Whether there are more.
    pub has_more: bool,
}

/// An answer that is no success. <https://docs.stripe.com/api/errors>
#[derive(Debug, Default, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    #[serde(default)]
    pub error: ErrorDetail,
}

/// What is wrong.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorDetail {
    /// The kind of error.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Stripe's word for it.
    pub code: Option<String>,
    /// The bank's word for it.
    pub decline_code: Option<String>,
    /// Which parameter is wrong.
    pub param: Option<String>,
    /// The payment that it happened to.
    pub payment_intent: Option<ErrorIntent>,
}

/// The payment that an error happened to.
#[derive(Debug, Deserialize)]
pub struct ErrorIntent {
    /// Its name.
    pub id: String,
}
