//! An order and its parts.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::tax::TaxRate;
use crate::{
    address::model::Address,
    platform::{
        ids::{base32, parse_base32},
        money::{Currency, Money},
    },
    stock::model::Sku,
};

/// How long a reservation holds before its payment starts, and again from when it does.
pub const RESERVATION: SignedDuration = SignedDuration::from_mins(15);

/// Most distinct skus of an order: their moves, the order and its event fit one transaction, also
/// where each takes two writes.
pub const MOST_LINES: usize = 45;

const PREFIX: &str = "ORD-";
const RANDOM_CHARS: usize = 8;

/// An order's number, which is also its identifier: `ORD-`, the UTC date of its creation, `-` and
/// eight characters of Crockford base32, as in `ORD-20261120-7K3M9Q2D`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrderId(String);

/// A text that is no order's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an order number")]
pub struct InvalidOrderId;

impl OrderId {
    /// The number for an order of `at`, of 40 random bits.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 5]) -> Self {
        let date = at.to_zoned(TimeZone::UTC).strftime("%Y%m%d").to_string();
        let bits = random
            .iter()
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        Self(format!("{PREFIX}{date}-{}", base32(bits, RANDOM_CHARS)))
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrderId {
    type Err = InvalidOrderId;

    fn from_str(text: &str) -> Result<Self, InvalidOrderId> {
        let parts = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'));
        let (date, random) = parts.ok_or(InvalidOrderId)?;
        let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        let bits = parse_base32(random, RANDOM_CHARS).map_err(|_| InvalidOrderId)?;
        if is_date && base32(bits, RANDOM_CHARS) == random {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidOrderId)
        }
    }
}

impl TryFrom<String> for OrderId {
    type Error = InvalidOrderId;

    fn try_from(text: String) -> Result<Self, InvalidOrderId> {
        text.parse()
    }
}

impl From<OrderId> for String {
    fn from(id: OrderId) -> Self {
        id.0
    }
}

impl Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an order stands for its customer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = OrderStatus)]
pub enum Status {
    /// Taken; stock and payment are being seen to.
    Pending,
    /// Stock is held and payment authorised.
    Confirmed,
    /// Being packed.
    Processing,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Will not be: nothing is held and nothing was kept.
    Cancelled,
    /// All that was paid was given back.
    Refunded,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Confirmed,
        Self::Processing,
        Self::Shipped,
        Self::Delivered,
        Self::Cancelled,
        Self::Refunded,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Processing => "processing",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
        }
    }

    /// The status that `word` names.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the work on an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Saga {
    /// Not begun.
    Waiting,
    /// Going forward.
    Running,
    /// Paid: done.
    Completed,
    /// Being undone.
    Compensating,
    /// Undone.
    Compensated,
    /// Could not be undone by itself; people have to look.
    CompensationFailed,
}

/// Which execution of the state machine an order waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// The one that an order begins with.
    Place,
    /// The one that undoes an order that was paid.
    Cancel,
    /// The one that gives money back.
    Refund(String),
}

/// What a customer buys of one sku, with everything as it was when the order was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which sku.
    pub sku: Sku,
    /// The product it was then.
    pub product_id: String,
    /// The product's name then.
    pub name: String,
    /// The product's tax class then.
    pub tax_class: String,
    /// The rate that applied.
    pub tax_rate: TaxRate,
    /// Units, from 1.
    pub quantity: u32,
    /// Price of a unit before tax.
    pub unit_price: Money,
    /// `unit_price` × `quantity`, rounded to the minor unit.
    pub subtotal: Money,
    /// Tax on the subtotal, rounded to the minor unit.
    pub tax: Money,
    /// `subtotal` + `tax`.
    pub total: Money,
    /// Units given back.
    pub refunded: u32,
}

/// The sums of an order's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Before tax.
    pub subtotal: Money,
    /// Tax.
    pub tax: Money,
    /// What is to be paid.
    pub total: Money,
}

/// Where an order's stock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Holding {
    /// Reserved.
    Held,
    /// Sold.
    Sold,
    /// Available again.
    Released,
}

/// An order's hold on stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Where the stock is.
    pub holding: Holding,
    /// When a hold that nothing came of is given up.
    pub expires_at: Timestamp,
}

/// Where an order's payment stands, as far as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentStanding {
    /// The provider knows of it; no money is touched.
    Opened,
    /// The money is held.
    Authorised,
    /// The money is taken.
    Captured,
    /// The money is let go.
    Voided,
    /// The provider said no.
    Declined,
}

/// An order's payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The provider's name for it.
    pub reference: String,
    /// Where it stands.
    pub standing: PaymentStanding,
    /// What was taken.
    pub captured: Money,
    /// What was given back of it.
    pub refunded: Money,
    /// Why the provider said no.
    pub decline_code: Option<String>,
}

/// Units of a sku.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Units {
    /// Of which sku.
    #[schema(value_type = String)]
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
}

/// How far a refund has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefundStanding {
    /// Asked for.
    Pending,
    /// The money went back.
    Done,
    /// The provider said no.
    Failed,
}

/// Money to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Names it within the order.
    pub refund_id: String,
    /// How much.
    pub amount: Money,
    /// For which units; none for an amount by itself.
    pub lines: Vec<Units>,
    /// Whether these units are available again once it is done.
    pub restock: bool,
    /// Why, in the words of who asked.
    pub reason: Option<String>,
    /// How far it has come.
    pub standing: RefundStanding,
    /// Why the provider said no.
    pub failure: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
}

/// Why an order is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CancelReason {
    /// The customer asked for it.
    Customer,
    /// Staff asked for it.
    Staff,
    /// Some sku has too few units.
    OutOfStock,
    /// The payment was declined.
    PaymentDeclined,
    /// The money that was held could not be taken.
    CaptureFailed,
    /// The reservation ran out before payment began.
    Expired,
    /// Something this depends on failed for too long.
    Failed,
}

/// A sku of which there is too little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Shortage {
    /// Which sku.
    #[schema(value_type = String)]
    pub sku: Sku,
    /// Units wanted.
    pub wanted: u32,
    /// Units there were; `None` where the sku has no stock at all.
    pub available: Option<u64>,
}

/// That an order is to be cancelled, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Why.
    pub reason: CancelReason,
    /// What was short, for [`CancelReason::OutOfStock`].
    pub shortages: Vec<Shortage>,
    /// The words of who asked.
    pub note: Option<String>,
    /// When it was decided.
    pub at: Timestamp,
}

/// How an order travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Shipment {
    /// Who carries it.
    pub carrier: Option<String>,
    /// Its number there.
    pub tracking_number: Option<String>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// The subject of who bought.
    pub customer: String,
    /// Where it stands for the customer.
    pub status: Status,
    /// Where the work on it stands.
    pub saga: Saga,
    /// Which execution does that work.
    pub run: Run,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// What was bought, 1 to [`MOST_LINES`], each sku once.
    pub lines: Vec<Line>,
    /// Sums.
    pub totals: Totals,
    /// Where it goes.
    pub shipping_address: Address,
    /// Who pays, if that is another address.
    pub billing_address: Option<Address>,
    /// How it is paid, in the provider's words.
    pub payment_method: String,
    /// What the customer wishes.
    pub notes: Option<String>,
    /// Its hold on stock.
    pub reservation: Option<Reservation>,
    /// Its payment.
    pub payment: Option<Payment>,
    /// Money given back, or to be.
    pub refunds: Vec<Refund>,
    /// That it is to be cancelled, or was.
    pub cancellation: Option<Cancellation>,
    /// How it travels.
    pub shipment: Option<Shipment>,
    /// Events so far.
    pub version: u64,
    /// When it was taken.
    pub created_at: Timestamp,
    /// When its last event was.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_tells_the_utc_day() {
        let at = "2026-11-20T23:30:00-02:00".parse().unwrap();
        let id = OrderId::new(at, [0, 0, 0, 0, 31]);
        assert_eq!(id.as_str(), "ORD-20261121-0000000Z");
    }

    #[test]
    fn only_numbers_as_they_are_given_out_are_read() {
        for wrong in [
            "",
            "ORD-20261120",
            "ORD-2026112-00000000",
            "ORD-20261120-0000000",
            "ORD-20261120-000000000",
            "ORD-20261120-0000000o",
            "ORD-20261120-0000000z",
            "ORD-20261120-0000000U",
            "ord-20261120-00000000",
            "ORD-2026-1120-0000000",
            "ORD-20261120-00000000 ",
        ] {
            assert_eq!(wrong.parse::<OrderId>(), Err(InvalidOrderId), "{wrong}");
        }
    }

    #[test]
    fn every_status_is_found_by_its_word() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.as_str()), Some(status));
            let json = serde_json::to_value(status).unwrap();
            assert_eq!(json, status.as_str());
        }
        assert_eq!(Status::from_name("Pending"), None);
    }

    proptest! {
        #[test]
        fn numbers_round_trip(seconds in 0_i64..4_000_000_000, random: [u8; 5]) {
            let at = Timestamp::from_second(seconds).unwrap();
            let id = OrderId::new(at, random);
            prop_assert_eq!(id.as_str().parse::<OrderId>(), Ok(id.clone()));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<OrderId>(&json).unwrap(), id);
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(id) = text.parse::<OrderId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
