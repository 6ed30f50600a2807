//! What can happen to an order, and what each of it makes of the order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{
    CancelReason, Cancellation, Holding, Line, Order, OrderId, Payment, PaymentStanding, Refund,
    RefundStanding, Reservation, Run, Saga, Shipment, Shortage, Status, Totals, Units,
};
use crate::{
    address::model::Address,
    events::model::{Aggregate, Event},
    platform::money::{Currency, Money},
};

/// The refund that a cancellation makes of all that was paid.
pub const CANCELLATION_REFUND: &str = "cancellation";

/// What stays in the table of a new order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Where it goes.
    pub shipping_address: Address,
    /// Who pays, if that is another address.
    pub billing_address: Option<Address>,
    /// What the customer wishes.
    pub notes: Option<String>,
}

/// A new order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The subject of who bought.
    pub customer: String,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// What was bought.
    pub lines: Vec<Line>,
    /// Sums.
    pub totals: Totals,
    /// How it is paid.
    pub payment_method: String,
    /// What stays in the table.
    pub private: Wishes,
}

/// The words of who asked; they stay in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The words.
    pub note: Option<String>,
}

/// The provider's name for a payment; it stays in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The name.
    pub reference: String,
}

/// Money that is to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequest {
    /// Names it within the order.
    pub refund_id: String,
    /// How much.
    pub amount: Money,
    /// For which units; none for an amount by itself.
    pub lines: Vec<Units>,
    /// Whether these units are available again once it is done.
    pub restock: bool,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// What stays in the table.
    pub private: Reason,
}

/// Why a refund was asked for, in the words of who did; it stays in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The words.
    pub reason: Option<String>,
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Happened {
    /// It was taken.
    #[serde(rename = "order.created")]
    Created(Box<Created>),
    /// Its stock is held.
    #[serde(rename = "order.reserved")]
    Reserved {
        /// Until when.
        expires_at: Timestamp,
    },
    /// It is to be cancelled; whatever it holds has to go back first.
    #[serde(rename = "order.cancellation-requested")]
    CancellationRequested {
        /// Why.
        reason: CancelReason,
        /// What was short.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shortages: Vec<Shortage>,
        /// What stays in the table.
        private: Note,
    },
    /// The provider knows of its payment; no money is touched yet.
    #[serde(rename = "order.payment-started")]
    PaymentStarted {
        /// Until when its stock is held now.
        expires_at: Timestamp,
        /// What stays in the table.
        private: Reference,
    },
    /// The money is held.
    #[serde(rename = "order.payment-authorised")]
    PaymentAuthorised,
    /// The provider said no; it is to be cancelled.
    #[serde(rename = "order.payment-declined")]
    PaymentDeclined {
        /// Why, in kebab case.
        code: String,
    },
    /// Stock is held and payment authorised.
    #[serde(rename = "order.confirmed")]
    Confirmed,
    /// The money is taken and the stock is sold.
    #[serde(rename = "order.paid")]
    Paid {
        /// How much.
        amount: Money,
        /// How many lines it is for.
        lines: usize,
    },
    /// The money is let go.
    #[serde(rename = "order.payment-voided")]
    PaymentVoided,
    /// Its stock is available again.
    #[serde(rename = "order.released")]
    Released,
    /// It is cancelled, and all that it held is back.
    #[serde(rename = "order.cancelled")]
    Cancelled {
        /// Why.
        reason: CancelReason,
    },
    /// Its reservation ran out before payment began: its stock is available again and it is cancelled.
    #[serde(rename = "order.expired")]
    Expired,
    /// It could not be undone by itself.
    #[serde(rename = "order.compensation-failed")]
    CompensationFailed {
        /// The step that failed.
        step: String,
    },
    /// It is being packed.
    #[serde(rename = "order.processing")]
    Processing,
    /// It is on its way.
    #[serde(rename = "order.shipped")]
    Shipped(Shipment),
    /// It arrived.
    #[serde(rename = "order.delivered")]
    Delivered,
    /// Money is to be given back.
    #[serde(rename = "order.refund-requested")]
    RefundRequested(RefundRequest),
    /// Money was given back.
    #[serde(rename = "order.refunded")]
    Refunded {
        /// Which refund.
        refund_id: String,
        /// How much.
        amount: Money,
        /// How many lines the order was for that is cancelled by it; absent for any other refund.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<usize>,
    },
    /// Money could not be given back.
    #[serde(rename = "order.refund-failed")]
    RefundFailed {
        /// Which refund.
        refund_id: String,
        /// Why, in kebab case.
        code: String,
    },
}

/// An event that cannot be read, or cannot have happened to this order.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The event's particulars do not have the form of its kind.
    #[error("event {id} cannot be read")]
    Malformed {
        /// Which event.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no order yet, or one already, or it lacks what the event is about.
    #[error("event cannot follow")]
    OutOfOrder,
    /// Sums have too many digits.
    #[error(transparent)]
    Money(#[from] crate::platform::money::MoneyError),
}

impl Happened {
    /// The event as it is stored, the `sequence`th of order `id`.
    ///
    /// # Panics
    ///
    /// Never: what happened is a struct with text keys, which is JSON.
    #[must_use]
    pub fn to_event(&self, id: &OrderId, sequence: u64, at: Timestamp) -> Event {
        let value = serde_json::to_value(self).expect("structs with text keys are JSON");
        let Value::Object(mut data) = value else {
            unreachable!("a tagged enum is an object");
        };
        let kind = data.remove("type").unwrap_or_default();
        let private = data.remove("private");
        let mut event = Event::new(
            Aggregate::Order,
            id.as_str(),
            sequence,
            kind.as_str().unwrap_or_default(),
            at,
            Value::Object(data),
        );
        event.private = private;
        event
    }

    /// Reads what happened from a stored event.
    ///
    /// # Errors
    ///
    /// [`FoldError::Malformed`] when it is not one of an order's events.
    pub fn from_event(event: &Event) -> Result<Self, FoldError> {
        let mut data = event.data.clone();
        if let Value::Object(members) = &mut data {
            members.insert("type".into(), event.kind.clone().into());
            if let Some(private) = &event.private {
                members.insert("private".into(), private.clone());
            }
        }
        serde_json::from_value(data).map_err(|source| FoldError::Malformed {
            id: event.id(),
            source,
        })
    }
}

/// The order after `happened`, at `at`.
///
/// # Errors
///
/// [`FoldError`] when it cannot have happened to this order.
pub fn apply(
    order: Option<Order>,
    id: &OrderId,
    happened: &Happened,
    at: Timestamp,
) -> Result<Order, FoldError> {
    let Some(mut order) = order else {
        return match happened {
            Happened::Created(created) => Ok(new(id, created, at)),
            _ => Err(FoldError::OutOfOrder),
        };
    };
    order.version += 1;
    order.updated_at = at;
    match happened {
        Happened::Created(_) => return Err(FoldError::OutOfOrder),
        Happened::Reserved { expires_at } => {
            order.saga = Saga::Running;
            order.reservation = Some(Reservation {
                holding: Holding::Held,
                expires_at: *expires_at,
            });
        }
        Happened::CancellationRequested {
            reason,
            shortages,
            private,
        } => cancel(&mut order, *reason, shortages, private.note.clone(), at),
        Happened::PaymentStarted {
            expires_at,
            private,
        } => {
            let zero = Money::zero(order.currency);
            order.payment = Some(Payment {
                reference: private.reference.clone(),
                standing: PaymentStanding::Opened,
                captured: zero,
                refunded: zero,
                decline_code: None,
            });
            reservation(&mut order)?.expires_at = *expires_at;
        }
        Happened::PaymentAuthorised => payment(&mut order)?.standing = PaymentStanding::Authorised,
        Happened::PaymentDeclined { code } => {
            let payment = payment(&mut order)?;
            payment.standing = PaymentStanding::Declined;
            payment.decline_code = Some(code.clone());
            if order.cancellation.is_none() {
                cancel(&mut order, CancelReason::PaymentDeclined, &[], None, at);
            }
        }
        Happened::Confirmed => order.status = Status::Confirmed,
        Happened::Paid { amount, .. } => {
            let payment = payment(&mut order)?;
            payment.standing = PaymentStanding::Captured;
            payment.captured = *amount;
            reservation(&mut order)?.holding = Holding::Sold;
            if order.cancellation.is_none() {
                order.saga = Saga::Completed;
            }
        }
        Happened::PaymentVoided => payment(&mut order)?.standing = PaymentStanding::Voided,
        Happened::Released => reservation(&mut order)?.holding = Holding::Released,
        Happened::Cancelled { .. } => {
            order.status = Status::Cancelled;
            order.saga = Saga::Compensated;
        }
        Happened::Expired => {
            reservation(&mut order)?.holding = Holding::Released;
            cancel(&mut order, CancelReason::Expired, &[], None, at);
            order.status = Status::Cancelled;
            order.saga = Saga::Compensated;
        }
        Happened::CompensationFailed { .. } => order.saga = Saga::CompensationFailed,
        Happened::Processing => order.status = Status::Processing,
        Happened::Shipped(shipment) => {
            order.status = Status::Shipped;
            order.shipment = Some(shipment.clone());
        }
        Happened::Delivered => order.status = Status::Delivered,
        Happened::RefundRequested(request) => {
            order.run = Run::Refund(request.refund_id.clone());
            order.refunds.push(requested(request.clone()));
        }
        Happened::Refunded {
            refund_id, amount, ..
        } => refunded(&mut order, refund_id, *amount)?,
        Happened::RefundFailed { refund_id, code } => {
            let refund = refund(&mut order, refund_id)?;
            refund.standing = RefundStanding::Failed;
            refund.failure = Some(code.clone());
        }
    }
    Ok(order)
}

fn new(id: &OrderId, created: &Created, at: Timestamp) -> Order {
    let Created {
        customer,
        currency,
        lines,
        totals,
        payment_method,
        private,
    } = created.clone();
    Order {
        id: id.clone(),
        customer,
        status: Status::Pending,
        saga: Saga::Waiting,
        run: Run::Place,
        currency,
        lines,
        totals,
        shipping_address: private.shipping_address,
        billing_address: private.billing_address,
        payment_method,
        notes: private.notes,
        reservation: None,
        payment: None,
        refunds: Vec::new(),
        cancellation: None,
        shipment: None,
        version: 1,
        created_at: at,
        updated_at: at,
    }
}

fn cancel(
    order: &mut Order,
    reason: CancelReason,
    shortages: &[Shortage],
    note: Option<String>,
    at: Timestamp,
) {
    if order.saga == Saga::Completed {
        order.run = Run::Cancel;
    }
    order.saga = Saga::Compensating;
    order.cancellation = Some(Cancellation {
        reason,
        shortages: shortages.to_vec(),
        note,
        at,
    });
}

fn requested(request: RefundRequest) -> Refund {
    Refund {
        refund_id: request.refund_id,
        amount: request.amount,
        lines: request.lines,
        restock: request.restock,
        reason: request.private.reason,
        standing: RefundStanding::Pending,
        failure: None,
        requested_at: request.requested_at,
    }
}

/// Counts what was given back; where the refund was asked for, also the units it was for.
fn refunded(order: &mut Order, refund_id: &str, amount: Money) -> Result<(), FoldError> {
    let payment = payment(order)?;
    payment.refunded = payment.refunded.checked_add(amount)?;
    let is_all = payment.refunded == payment.captured;
    if refund_id == CANCELLATION_REFUND {
        return Ok(());
    }
    let refund = refund(order, refund_id)?;
    refund.standing = RefundStanding::Done;
    for units in refund.lines.clone() {
        let line = order.lines.iter_mut().find(|line| line.sku == units.sku);
        line.ok_or(FoldError::OutOfOrder)?.refunded += units.quantity;
    }
    if is_all {
        order.status = Status::Refunded;
    }
    Ok(())
}

fn payment(order: &mut Order) -> Result<&mut Payment, FoldError> {
    order.payment.as_mut().ok_or(FoldError::OutOfOrder)
}

fn reservation(order: &mut Order) -> Result<&mut Reservation, FoldError> {
    order.reservation.as_mut().ok_or(FoldError::OutOfOrder)
}

fn refund<'o>(order: &'o mut Order, refund_id: &str) -> Result<&'o mut Refund, FoldError> {
    let mut refunds = order.refunds.iter_mut();
    let refund = refunds.find(|refund| refund.refund_id == refund_id);
    refund.ok_or(FoldError::OutOfOrder)
}
