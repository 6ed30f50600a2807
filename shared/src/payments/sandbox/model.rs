//! A payment in the sandbox, and the scripts by which it goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    payments::model::{DeclineCode, PaymentState},
    platform::money::Money,
};

/// How a payment goes, by its method; any other method is declined as
/// [`DeclineCode::UnknownMethod`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `sandbox-approve`: all goes well.
    Approve,
    /// `sandbox-decline`: declined without a reason.
    Decline,
    /// `sandbox-insufficient-funds`: declined for want of money.
    InsufficientFunds,
    /// `sandbox-requires-action`: the customer would have to confirm.
    RequiresAction,
    /// `sandbox-timeout-after-charge`: the authorisation is made, and its reply lost.
    TimeoutAfterCharge,
    /// `sandbox-flaky`: the authorisation fails [`FLAKY_FAILURES`] times without effect, then goes
    /// well.
    Flaky,
    /// `sandbox-capture-fails`: authorised, but the capture is refused.
    CaptureFails,
    /// `sandbox-refund-fails`: captured, but every refund is refused.
    RefundFails,
}

/// Times that [`Script::Flaky`] fails.
pub const FLAKY_FAILURES: u8 = 3;

impl Script {
    /// Every script.
    pub const ALL: [Self; 8] = [
        Self::Approve,
        Self::Decline,
        Self::InsufficientFunds,
        Self::RequiresAction,
        Self::TimeoutAfterCharge,
        Self::Flaky,
        Self::CaptureFails,
        Self::RefundFails,
    ];

    /// The payment method that goes so.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Approve => "sandbox-approve",
            Self::Decline => "sandbox-decline",
            Self::InsufficientFunds => "sandbox-insufficient-funds",
            Self::RequiresAction => "sandbox-requires-action",
            Self::TimeoutAfterCharge => "sandbox-timeout-after-charge",
            Self::Flaky => "sandbox-flaky",
            Self::CaptureFails => "sandbox-capture-fails",
            Self::RefundFails => "sandbox-refund-fails",
        }
    }

    /// How a payment by `method` goes.
    #[must_use]
    pub fn of_method(method: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|script| script.method() == method)
    }
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The order it is for.
    pub order_id: String,
    /// What it is for.
    pub amount: Money,
    /// By what.
    pub method: String,
    /// How it stands.
    pub state: PaymentState,
    /// Authorisations that failed by script.
    pub failures: u8,
    /// What became of each refund.
    pub refunds: BTreeMap<String, Refund>,
}

/// A refund that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How much.
    pub amount: Money,
    /// Why it was refused, if it was.
    pub refused: Option<DeclineCode>,
}
