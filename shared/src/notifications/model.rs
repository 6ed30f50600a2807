//! A notification and what it tells.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The order is confirmed.
    OrderConfirmed,
    /// The order is cancelled.
    OrderCancelled,
    /// The order is on its way.
    OrderShipped,
    /// The order arrived.
    OrderDelivered,
    /// Money was given back.
    OrderRefunded,
    /// Staff are told that there is a new order.
    NewOrder,
}

/// A word that names no kind of notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of notification")]
pub struct InvalidKind;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OrderConfirmed,
        Self::OrderCancelled,
        Self::OrderShipped,
        Self::OrderDelivered,
        Self::OrderRefunded,
        Self::NewOrder,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order-confirmed",
            Self::OrderCancelled => "order-cancelled",
            Self::OrderShipped => "order-shipped",
            Self::OrderDelivered => "order-delivered",
            Self::OrderRefunded => "order-refunded",
            Self::NewOrder => "new-order",
        }
    }

    /// What an event of an order is told as; `None` for one that is told to nobody from the bus.
    #[must_use]
    pub fn of_event(kind: &str) -> Option<Self> {
        match kind {
            "order.created" => Some(Self::NewOrder),
            // What is undone by the saga is told by the saga; what merely ran out, here.
            "order.expired" => Some(Self::OrderCancelled),
            "order.shipped" => Some(Self::OrderShipped),
            "order.delivered" => Some(Self::OrderDelivered),
            "order.refunded" => Some(Self::OrderRefunded),
            _ => None,
        }
    }

    /// Whether it is short and pressing enough for a text message.
    #[must_use]
    pub const fn is_for_phones(self) -> bool {
        matches!(self, Self::OrderShipped | Self::OrderDelivered)
    }
}

impl FromStr for Kind {
    type Err = InvalidKind;

    fn from_str(word: &str) -> Result<Self, InvalidKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or(InvalidKind)
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which notification: it is sent once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The order's number.
    pub order: String,
    /// What about it.
    pub kind: Kind,
    /// Which refund, for an order may have several.
    pub refund: Option<String>,
}

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.order, self.kind)?;
        self.refund.iter().try_for_each(|id| write!(f, "#{id}"))
    }
}

/// How somebody is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// By e-mail.
    Email,
    /// By text message.
    Sms,
}

impl Channel {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

impl Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a notification may tell: nothing of a person but the name. Amounts are texts with their
/// currency, such as `34.88 SGD`.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The order's number.
    pub order: String,
    /// What to call the customer.
    pub name: Option<String>,
    /// What was bought.
    pub lines: Vec<FactsLine>,
    /// The order's sum before tax.
    pub subtotal: String,
    /// Its tax.
    pub tax: String,
    /// What it comes to.
    pub total: String,
    /// Why it was cancelled, in kebab case.
    pub reason: Option<String>,
    /// Who carries it.
    pub carrier: Option<String>,
    /// Its number there.
    pub tracking_number: Option<String>,
    /// What was given back.
    pub refund: Option<String>,
}

/// One of the things that were bought.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct FactsLine {
    /// The product's name.
    pub name: String,
    /// Units.
    pub quantity: u32,
    /// What they come to, with tax.
    pub total: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_word_and_serialized_as_it() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::json!(kind), kind.as_str());
        }
        assert_eq!("order-lost".parse::<Kind>(), Err(InvalidKind));
    }

    #[test]
    fn two_refunds_of_an_order_are_two_notices() {
        let notice = |refund: Option<&str>| Notice {
            order: "ORD-20261120-7K3M9Q2D".into(),
            kind: Kind::OrderRefunded,
            refund: refund.map(str::to_owned),
        };
        assert_eq!(
            [None, Some("r1")].map(|refund| notice(refund).to_string()),
            [
                "ORD-20261120-7K3M9Q2D#order-refunded",
                "ORD-20261120-7K3M9Q2D#order-refunded#r1"
            ]
        );
    }
}
