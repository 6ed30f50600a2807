//! Payments: by what they are named, what is charged, and how they stand.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::platform::money::Money;

/// Most characters of a payment method.
pub const MOST_METHOD_CHARS: usize = 64;

/// Most characters of a provider's name for a payment.
pub const MOST_REFERENCE_CHARS: usize = 255;

/// Most refunds of a payment.
pub const MOST_REFUNDS: usize = 100;

/// A text that names no payment method and no payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, too long, or with other characters.
    #[error("a payment method is 1 to 64 letters, digits, dots, underscores, colons or hyphens")]
    Method,
    /// Empty, too long, or with other characters.
    #[error(
        "a payment reference is 1 to 255 letters, digits, dots, underscores, colons or hyphens, \
         the first a letter or digit"
    )]
    Reference,
}

fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $error:ident, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let is_valid: fn(&str) -> bool = $valid;
                if is_valid(&text) { Ok(Self(text)) } else { Err(NameError::$error) }
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                text.to_owned().try_into()
            }
        }
    };
}

name!(
    /// What the customer pays with, in the provider's words, such as `pm_card_visa`: 1 to 64 of
    /// `[A-Za-z0-9_.:-]`.
    PaymentMethod, Method, |text| is_name(text, MOST_METHOD_CHARS)
);
name!(
    /// The provider's name for a payment: 1 to 255 of `[A-Za-z0-9_.:-]`, the first a letter or digit,
    /// so that it is one segment of a path.
    Reference, Reference, |text| {
        is_name(text, MOST_REFERENCE_CHARS) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    }
);

/// Reads a payment method.
///
/// # Errors
///
/// [`NameError::Method`] when it is empty, too long, or has other characters.
pub fn parse_method(text: &str) -> Result<PaymentMethod, NameError> {
    text.parse()
}

/// What a payment is for. It is the same at every call for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge<'a> {
    /// The order.
    pub order_id: &'a str,
    /// The order's total, more than nothing.
    pub amount: Money,
    /// What the customer pays with.
    pub method: &'a str,
}

/// Why a payment, a capture or a refund was refused; a provider's words that are not known here are
/// [`DeclineCode::Declined`].
///
/// Source: <https://docs.stripe.com/declines/codes>. What hints at fraud or a lost card is told as
/// [`DeclineCode::Declined`], as that page asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclineCode {
    /// Refused without a reason, or with one that is not to be told.
    Declined,
    /// The account has not enough.
    InsufficientFunds,
    /// The card's limit of amount or number is reached.
    LimitExceeded,
    /// The card has expired.
    ExpiredCard,
    /// A number, date or code of the card is wrong.
    IncorrectDetails,
    /// The card does not take such payments, or not this currency.
    NotSupported,
    /// The customer would have to confirm the payment, which an order does not wait for.
    RequiresAction,
    /// The issuer could not be reached.
    IssuerUnavailable,
    /// No such payment method.
    UnknownMethod,
    /// The payment was voided before, or its authorisation has lapsed.
    Voided,
    /// More than is left of the payment.
    ExceedsPayment,
}

impl DeclineCode {
    /// The word for it, in kebab case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::InsufficientFunds => "insufficient-funds",
            Self::LimitExceeded => "limit-exceeded",
            Self::ExpiredCard => "expired-card",
            Self::IncorrectDetails => "incorrect-details",
            Self::NotSupported => "not-supported",
            Self::RequiresAction => "requires-action",
            Self::IssuerUnavailable => "issuer-unavailable",
            Self::UnknownMethod => "unknown-method",
            Self::Voided => "voided",
            Self::ExceedsPayment => "exceeds-payment",
        }
    }
}

impl Display for DeclineCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a payment stands, as the provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PaymentState {
    /// It has a reference; nothing else has happened.
    Opened,
    /// The amount is held for us.
    Authorised,
    /// We have money.
    Captured {
        /// How much was taken.
        captured: Money,
        /// How much of it was given back.
        refunded: Money,
    },
    /// It was given up; it can never be authorised again.
    Voided,
    /// It was refused.
    Declined {
        /// Why.
        code: DeclineCode,
    },
}

/// How an authorisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorisation {
    /// The amount is held for us, or already taken.
    Authorised,
    /// It is not, and never will be by this payment.
    Declined(DeclineCode),
}

/// How a capture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// So much was taken.
    Captured(Money),
    /// Nothing was, and never will be by this payment.
    Refused(DeclineCode),
}

/// How a void ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voiding {
    /// Nothing is held, and no authorisation can come after.
    Voided,
    /// It was too late: so much was taken, and can be refunded.
    Captured(Money),
}

/// How a refund ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refunding {
    /// The customer gets the money back.
    Refunded,
    /// The provider will not.
    Refused(DeclineCode),
    /// The provider would not when it was asked before, and says so again without trying; another
    /// `refund_id` may fare better.
    RefusedBefore(DeclineCode),
}

/// Why the provider told nothing that can be gone by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// It did not answer, or refused for now, and could not be asked what happened either: the same
    /// call may succeed later.
    #[error("payment provider failed for now: {0}")]
    Transient(String),
    /// It refused the call itself as wrong; repeating does not mend it.
    #[error("payment provider refused the call: {0}")]
    Permanent(String),
    /// Its reply is malformed or too large, or is about another order, amount or currency.
    #[error("payment provider's reply is not to be trusted: {0}")]
    Untrusted(String),
}

impl GatewayError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn methods_and_references_are_short_words_of_a_few_characters() {
        assert_eq!(
            parse_method("pm_card_visa").unwrap().as_str(),
            "pm_card_visa"
        );
        assert!(parse_method(&"m".repeat(64)).is_ok());
        for wrong in ["", "a b", "a/b", "é", "a\n", &"m".repeat(65)] {
            assert_eq!(parse_method(wrong), Err(NameError::Method), "{wrong:?}");
        }
        assert!("pi_3".parse::<Reference>().is_ok());
        for wrong in ["", "..", "_a", "pi/3", "pi?", &"m".repeat(256)] {
            assert_eq!(
                wrong.parse::<Reference>(),
                Err(NameError::Reference),
                "{wrong:?}"
            );
        }
        assert!(serde_json::from_value::<Reference>(json!("../refunds")).is_err());
    }

    #[test]
    fn a_decline_code_is_stored_as_the_word_it_is_told_by() {
        for code in [
            DeclineCode::Declined,
            DeclineCode::InsufficientFunds,
            DeclineCode::LimitExceeded,
            DeclineCode::ExpiredCard,
            DeclineCode::IncorrectDetails,
            DeclineCode::NotSupported,
            DeclineCode::RequiresAction,
            DeclineCode::IssuerUnavailable,
            DeclineCode::UnknownMethod,
            DeclineCode::Voided,
            DeclineCode::ExceedsPayment,
        ] {
            assert_eq!(json!(code), json!(code.as_str()));
        }
    }
}
