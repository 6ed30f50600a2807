//! What may be done with an order: each command says which event follows, and which stock moves with
//! it.
//!
//! Steps of the saga run more than once, late and beside each other. Each rule therefore looks at the
//! facts in the order: what is done already is [`Decision::Settled`], what came too late is refused
//! with the word that the saga goes by.

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use super::{
    event::{CANCELLATION_REFUND, Happened, Note, Reason, Reference, RefundRequest},
    model::{
        CancelReason, Holding, Order, PaymentStanding, RESERVATION, Refund, RefundStanding, Run,
        Saga, Shipment, Shortage, Status, Units,
    },
};
use crate::{
    platform::money::{Money, MoneyError},
    stock::model::{Direction, Move, Sku},
};

/// How long a new order may wait for its execution before somebody looks.
const START: SignedDuration = SignedDuration::from_secs(60);

/// How long an order may stand still while it is worked on before somebody looks.
const STALL: SignedDuration = SignedDuration::from_mins(5);

/// Most refunds of an order, failed ones among them: with all its lines in each, the order still fits
/// an item.
const MOST_REFUNDS: usize = 20;

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This is to happen.
    Change(Change),
    /// It has happened before.
    Settled,
}

/// What is to happen, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The order's next event.
    pub happened: Happened,
    /// The stock that moves with it.
    pub moves: Vec<Move>,
}

/// Why a command cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The order is to be cancelled, or is.
    #[error("the order is cancelled")]
    OrderCancelled,
    /// The order is paid: there is nothing to undo.
    #[error("the order is completed")]
    OrderCompleted,
    /// Some skus have too few units.
    #[error("too few units in stock")]
    OutOfStock(Vec<Shortage>),
    /// The provider said no.
    #[error("the payment was declined ({0})")]
    PaymentDeclined(String),
    /// The order's state has no such move.
    #[error("an order that is {from} cannot become {to}")]
    IllegalTransition {
        /// Where it stands.
        from: Status,
        /// Where it was to go.
        to: Status,
    },
    /// Work on the order is under way: payment is not taken yet, or it is being cancelled.
    #[error("the order is being worked on")]
    Busy,
    /// A refund is under way.
    #[error("a refund is under way")]
    RefundPending,
    /// Money was given back, so that the rest is to be refunded, not cancelled.
    #[error("a part of it was refunded")]
    PartlyRefunded,
    /// The order has as many refunds as it may.
    #[error("an order may have {MOST_REFUNDS} refunds")]
    TooManyRefunds,
    /// There is no such refund.
    #[error("no such refund")]
    NoRefund,
    /// More than is left to be given back.
    #[error("at most {left} can be given back")]
    RefundTooLarge {
        /// What is left.
        left: Money,
    },
    /// Nothing, less than nothing, or a fraction of the minor unit.
    #[error("not an amount that can be given back")]
    RefundAmount,
    /// More units than are left to be given back, or a sku that is not in the order.
    #[error("at most {left} units of {sku} can be given back")]
    RefundUnits {
        /// Which sku.
        sku: Sku,
        /// What is left.
        left: u32,
    },
    /// A step came before the one that it builds upon.
    #[error("{0} comes first")]
    OutOfOrder(&'static str),
    /// Amounts cannot be added up.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

fn change(happened: Happened) -> Decision {
    Decision::Change(Change {
        happened,
        moves: Vec::new(),
    })
}

fn moving(happened: Happened, order: &Order, direction: Direction) -> Decision {
    let moves = order.lines.iter().map(|line| Move {
        sku: line.sku.clone(),
        quantity: line.quantity,
        direction,
    });
    Decision::Change(Change {
        happened,
        moves: moves.collect(),
    })
}

/// Whether the saga may go forward with an order.
///
/// # Errors
///
/// The [`Refusal`] that says why it is to be cancelled, or is.
pub fn go_on(order: &Order) -> Result<(), Refusal> {
    let Some(cancellation) = &order.cancellation else {
        return Ok(());
    };
    match cancellation.reason {
        CancelReason::OutOfStock => Err(Refusal::OutOfStock(cancellation.shortages.clone())),
        CancelReason::PaymentDeclined => {
            let payment = order.payment.as_ref();
            let code = payment.and_then(|payment| payment.decline_code.clone());
            Err(Refusal::PaymentDeclined(code.unwrap_or_default()))
        }
        _ => Err(Refusal::OrderCancelled),
    }
}

fn holding(order: &Order) -> Option<Holding> {
    order.reservation.map(|reservation| reservation.holding)
}

fn standing(order: &Order) -> Option<PaymentStanding> {
    order.payment.as_ref().map(|payment| payment.standing)
}

/// Step: hold the order's stock.
///
/// # Errors
///
/// As [`go_on`].
pub fn reserve(order: &Order, now: Timestamp) -> Result<Decision, Refusal> {
    go_on(order)?;
    if order.reservation.is_some() {
        return Ok(Decision::Settled);
    }
    let expires_at = now + RESERVATION;
    Ok(moving(
        Happened::Reserved { expires_at },
        order,
        Direction::Reserve,
    ))
}

/// That the order's stock could not be held.
#[must_use]
pub fn out_of_stock(order: &Order, shortages: Vec<Shortage>) -> Decision {
    if order.cancellation.is_some() || order.reservation.is_some() {
        return Decision::Settled;
    }
    change(Happened::CancellationRequested {
        reason: CancelReason::OutOfStock,
        shortages,
        private: Note { note: None },
    })
}

/// Step: record the provider's name for the order's payment, before any money is touched. The hold on
/// stock is extended by it, once.
///
/// # Errors
///
/// As [`go_on`], or [`Refusal::OutOfOrder`] before stock is held.
pub fn start_payment(order: &Order, reference: &str, now: Timestamp) -> Result<Decision, Refusal> {
    go_on(order)?;
    if order.payment.is_some() {
        return Ok(Decision::Settled);
    }
    if holding(order) != Some(Holding::Held) {
        return Err(Refusal::OutOfOrder("the reservation"));
    }
    Ok(change(Happened::PaymentStarted {
        expires_at: now + RESERVATION,
        private: Reference {
            reference: reference.to_owned(),
        },
    }))
}

/// Step: record that the provider holds the money. It is a fact also where the order is to be
/// cancelled; whether the saga may go on is for [`go_on`] to say.
///
/// # Errors
///
/// [`Refusal::OutOfOrder`] before the payment was started.
pub fn authorised(order: &Order) -> Result<Decision, Refusal> {
    match standing(order) {
        None => Err(Refusal::OutOfOrder("the payment's start")),
        Some(PaymentStanding::Opened) => Ok(change(Happened::PaymentAuthorised)),
        Some(_) => Ok(Decision::Settled),
    }
}

/// Step: record that the provider said no.
///
/// # Errors
///
/// [`Refusal::OutOfOrder`] before the payment was started.
pub fn declined(order: &Order, code: &str) -> Result<Decision, Refusal> {
    match standing(order) {
        None => Err(Refusal::OutOfOrder("the payment's start")),
        Some(PaymentStanding::Opened) => Ok(change(Happened::PaymentDeclined {
            code: code.to_owned(),
        })),
        Some(_) => Ok(Decision::Settled),
    }
}

/// Step: confirm an order whose stock is held and whose payment is authorised.
///
/// # Errors
///
/// As [`go_on`], or [`Refusal::OutOfOrder`] before these.
pub fn confirm(order: &Order) -> Result<Decision, Refusal> {
    go_on(order)?;
    if order.status != Status::Pending {
        return Ok(Decision::Settled);
    }
    if holding(order) != Some(Holding::Held) {
        return Err(Refusal::OutOfOrder("the reservation"));
    }
    if standing(order) != Some(PaymentStanding::Authorised) {
        return Err(Refusal::OutOfOrder("the authorisation"));
    }
    Ok(change(Happened::Confirmed))
}

/// Step: whether the money is still to be taken.
///
/// # Errors
///
/// As [`go_on`], or [`Refusal::OutOfOrder`] before the order is confirmed.
pub fn must_capture(order: &Order) -> Result<bool, Refusal> {
    go_on(order)?;
    match (order.status, standing(order)) {
        (_, Some(PaymentStanding::Captured)) => Ok(false),
        (Status::Confirmed, Some(PaymentStanding::Authorised)) => Ok(true),
        _ => Err(Refusal::OutOfOrder("the confirmation")),
    }
}

/// Step: record that the money is taken, by which the stock is sold. It is a fact also where the order
/// is to be cancelled.
///
/// # Errors
///
/// [`Refusal::OutOfOrder`] where no money was held, or it was let go, or the order was to go on and is
/// not confirmed.
pub fn captured(order: &Order, amount: Money) -> Result<Decision, Refusal> {
    match (standing(order), holding(order)) {
        (Some(PaymentStanding::Captured), _) => Ok(Decision::Settled),
        (Some(PaymentStanding::Opened | PaymentStanding::Authorised), Some(Holding::Held))
            if order.status == Status::Confirmed || order.cancellation.is_some() =>
        {
            let lines = order.lines.len();
            let paid = Happened::Paid { amount, lines };
            Ok(moving(paid, order, Direction::Sell))
        }
        _ => Err(Refusal::OutOfOrder("the confirmation")),
    }
}

/// That the saga cannot go forward for `reason`: from here on it goes back.
///
/// # Errors
///
/// [`Refusal::OrderCompleted`] when the order is paid, and nothing asked for it to be cancelled.
pub fn abort(order: &Order, reason: CancelReason) -> Result<Decision, Refusal> {
    if order.cancellation.is_some() {
        return Ok(Decision::Settled);
    }
    if order.saga == Saga::Completed {
        return Err(Refusal::OrderCompleted);
    }
    Ok(change(Happened::CancellationRequested {
        reason,
        shortages: Vec::new(),
        private: Note { note: None },
    }))
}

/// What has to be undone of an order's payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// Nothing was taken or held, or it went back.
    Nothing,
    /// Held money has to be let go, and the provider never to hold any for it again.
    Void,
    /// Taken money has to go back.
    Refund(Money),
}

/// Compensation: what has to be undone of the payment.
///
/// # Errors
///
/// [`Refusal::OrderCompleted`] where the order is not to be cancelled, or the [`MoneyError`] of sums.
pub fn to_undo(order: &Order) -> Result<Undo, Refusal> {
    if order.cancellation.is_none() {
        return Err(Refusal::OrderCompleted);
    }
    let Some(payment) = &order.payment else {
        return Ok(Undo::Nothing);
    };
    Ok(match payment.standing {
        // A declined payment can still be authorised, once its customer does what was required.
        PaymentStanding::Opened | PaymentStanding::Authorised | PaymentStanding::Declined => {
            Undo::Void
        }
        PaymentStanding::Captured => {
            let left = payment.captured.checked_sub(payment.refunded)?;
            if left.amount().is_zero() {
                Undo::Nothing
            } else {
                Undo::Refund(left)
            }
        }
        PaymentStanding::Voided => Undo::Nothing,
    })
}

/// Compensation: record that held money was let go.
///
/// # Errors
///
/// As [`to_undo`].
pub fn voided(order: &Order) -> Result<Decision, Refusal> {
    Ok(match to_undo(order)? {
        Undo::Void => change(Happened::PaymentVoided),
        Undo::Nothing | Undo::Refund(_) => Decision::Settled,
    })
}

/// Compensation: record that all that was taken went back.
///
/// # Errors
///
/// As [`to_undo`].
pub fn given_back(order: &Order) -> Result<Decision, Refusal> {
    Ok(match to_undo(order)? {
        Undo::Refund(amount) => change(Happened::Refunded {
            refund_id: CANCELLATION_REFUND.to_owned(),
            amount,
            lines: Some(order.lines.len()),
        }),
        Undo::Nothing | Undo::Void => Decision::Settled,
    })
}

/// Compensation: make the order's stock available again.
///
/// # Errors
///
/// As [`to_undo`], or [`Refusal::OutOfOrder`] while money is held or taken.
pub fn release(order: &Order) -> Result<Decision, Refusal> {
    if to_undo(order)? != Undo::Nothing {
        return Err(Refusal::OutOfOrder("the payment's undoing"));
    }
    Ok(match holding(order) {
        None | Some(Holding::Released) => Decision::Settled,
        Some(Holding::Held) => moving(Happened::Released, order, Direction::Release),
        Some(Holding::Sold) => moving(Happened::Released, order, Direction::Restock),
    })
}

/// Compensation: close an order that holds nothing any more.
///
/// # Errors
///
/// As [`release`], or [`Refusal::OutOfOrder`] while stock is held.
pub fn cancelled(order: &Order) -> Result<Decision, Refusal> {
    if release(order)? != Decision::Settled {
        return Err(Refusal::OutOfOrder("the release"));
    }
    let reason = match &order.cancellation {
        Some(cancellation) if order.status != Status::Cancelled => cancellation.reason,
        _ => return Ok(Decision::Settled),
    };
    Ok(change(Happened::Cancelled { reason }))
}

/// Compensation: record that `step` could not be undone.
#[must_use]
pub fn compensation_failed(order: &Order, step: &str) -> Decision {
    if order.saga != Saga::Compensating {
        return Decision::Settled;
    }
    change(Happened::CompensationFailed {
        step: step.to_owned(),
    })
}

/// Gives up an order whose hold on stock ran out before its payment began.
#[must_use]
pub fn expire(order: &Order, now: Timestamp) -> Decision {
    let is_over = order.reservation.is_some_and(|reservation| {
        reservation.holding == Holding::Held && reservation.expires_at <= now
    });
    if is_over && order.payment.is_none() && order.cancellation.is_none() {
        moving(Happened::Expired, order, Direction::Release)
    } else {
        Decision::Settled
    }
}

fn illegal(order: &Order, to: Status) -> Refusal {
    let from = order.status;
    Refusal::IllegalTransition { from, to }
}

fn pending_refund(order: &Order) -> Option<&Refund> {
    let mut refunds = order.refunds.iter();
    refunds.find(|refund| refund.standing == RefundStanding::Pending)
}

/// Asks for an order to be cancelled: by its customer or by staff, while it is pending or confirmed.
///
/// # Errors
///
/// [`Refusal::IllegalTransition`] later, [`Refusal::PartlyRefunded`] once money went or goes back.
pub fn request_cancellation(
    order: &Order,
    reason: CancelReason,
    note: Option<String>,
) -> Result<Decision, Refusal> {
    if order.cancellation.is_some() {
        return Ok(Decision::Settled);
    }
    if !matches!(order.status, Status::Pending | Status::Confirmed) {
        return Err(illegal(order, Status::Cancelled));
    }
    let failed = RefundStanding::Failed;
    if order.refunds.iter().any(|refund| refund.standing != failed) {
        return Err(Refusal::PartlyRefunded);
    }
    Ok(change(Happened::CancellationRequested {
        reason,
        shortages: Vec::new(),
        private: Note { note },
    }))
}

/// Moves a paid order on: to processing, shipped or delivered.
///
/// # Errors
///
/// [`Refusal::IllegalTransition`] for any other move, [`Refusal::Busy`] before it is paid or while it
/// is being cancelled.
pub fn advance(order: &Order, to: Status, shipment: Option<Shipment>) -> Result<Decision, Refusal> {
    let happened = match (order.status, to) {
        (Status::Confirmed, Status::Processing) => Happened::Processing,
        (Status::Processing, Status::Shipped) => Happened::Shipped(shipment.unwrap_or(Shipment {
            carrier: None,
            tracking_number: None,
        })),
        (Status::Shipped, Status::Delivered) => Happened::Delivered,
        _ => return Err(illegal(order, to)),
    };
    if order.saga != Saga::Completed {
        return Err(Refusal::Busy);
    }
    Ok(change(happened))
}

/// What is to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOf {
    /// All that is left.
    Everything,
    /// An amount by itself.
    Amount(Money),
    /// The price of units.
    Lines(Vec<Units>),
}

/// Asks for money of a paid order to be given back. Units are worth what was paid for them: refunds
/// of a line's units one by one add up to the line, to the minor unit.
///
/// # Errors
///
/// [`Refusal::IllegalTransition`] before it is paid or when all went back, [`Refusal::Busy`] while it
/// is being cancelled, [`Refusal::RefundPending`], or what is wrong with the amount or the units.
pub fn request_refund(
    order: &Order,
    refund_id: &str,
    of: RefundOf,
    restock: bool,
    reason: Option<String>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let paid = order.payment.as_ref();
    let paid = paid.filter(|payment| payment.standing == PaymentStanding::Captured);
    let Some(payment) = paid else {
        return Err(illegal(order, Status::Refunded));
    };
    if matches!(order.status, Status::Cancelled | Status::Refunded) {
        return Err(illegal(order, Status::Refunded));
    }
    if order.cancellation.is_some() {
        return Err(Refusal::Busy);
    }
    if pending_refund(order).is_some() {
        return Err(Refusal::RefundPending);
    }
    if order.refunds.len() >= MOST_REFUNDS {
        return Err(Refusal::TooManyRefunds);
    }
    let left = payment.captured.checked_sub(payment.refunded)?;
    let (amount, lines) = match of {
        RefundOf::Everything => (left, rest(order)),
        RefundOf::Amount(amount) => (amount, Vec::new()),
        RefundOf::Lines(lines) => (worth(order, &lines)?, lines),
    };
    if amount.currency() != left.currency() {
        return Err(MoneyError::CurrencyMismatch(left.currency(), amount.currency()).into());
    }
    if amount.amount() <= Decimal::ZERO || amount.rounded() != amount {
        return Err(Refusal::RefundAmount);
    }
    if amount.amount() > left.amount() {
        return Err(Refusal::RefundTooLarge { left });
    }
    Ok(change(Happened::RefundRequested(RefundRequest {
        refund_id: refund_id.to_owned(),
        amount,
        restock: restock && !lines.is_empty(),
        lines,
        requested_at: now,
        private: Reason { reason },
    })))
}

/// The units that were not given back yet.
fn rest(order: &Order) -> Vec<Units> {
    let left = order.lines.iter().map(|line| Units {
        sku: line.sku.clone(),
        quantity: line.quantity - line.refunded,
    });
    left.filter(|units| units.quantity > 0).collect()
}

/// What was paid for units: each line's share, as the difference of its rounded shares after and
/// before, so that all shares of a line add up to it.
fn worth(order: &Order, lines: &[Units]) -> Result<Money, Refusal> {
    let mut total = Money::zero(order.currency);
    for (at, units) in lines.iter().enumerate() {
        let line = order.lines.iter().find(|line| line.sku == units.sku);
        let is_repeated = lines[..at].iter().any(|other| other.sku == units.sku);
        let left = line.map_or(0, |line| line.quantity - line.refunded);
        let Some(line) = line.filter(|_| (1..=left).contains(&units.quantity) && !is_repeated)
        else {
            let sku = units.sku.clone();
            return Err(Refusal::RefundUnits { sku, left });
        };
        let before = line.total.share(line.refunded, line.quantity)?;
        let after = line
            .total
            .share(line.refunded + units.quantity, line.quantity)?;
        total = total.checked_add(after.checked_sub(before)?)?;
    }
    Ok(total)
}

/// Step: the refund that is still to be carried out, if it is.
///
/// # Errors
///
/// [`Refusal::NoRefund`] where there is none of this name.
pub fn to_refund<'o>(order: &'o Order, refund_id: &str) -> Result<Option<&'o Refund>, Refusal> {
    let mut refunds = order.refunds.iter();
    let refund = refunds.find(|refund| refund.refund_id == refund_id);
    let refund = refund.ok_or(Refusal::NoRefund)?;
    Ok((refund.standing == RefundStanding::Pending).then_some(refund))
}

/// Step: record that a refund went back, by which its units may become available again.
///
/// # Errors
///
/// As [`to_refund`].
pub fn refunded(order: &Order, refund_id: &str) -> Result<Decision, Refusal> {
    let Some(refund) = to_refund(order, refund_id)? else {
        return Ok(Decision::Settled);
    };
    let units = refund.lines.iter().filter(|_| refund.restock);
    let moves = units.map(|units| Move {
        sku: units.sku.clone(),
        quantity: units.quantity,
        direction: Direction::Restock,
    });
    Ok(Decision::Change(Change {
        happened: Happened::Refunded {
            refund_id: refund_id.to_owned(),
            amount: refund.amount,
            lines: None,
        },
        moves: moves.collect(),
    }))
}

/// Step: record that the provider would not give a refund back.
///
/// # Errors
///
/// As [`to_refund`].
pub fn refund_failed(order: &Order, refund_id: &str, code: &str) -> Result<Decision, Refusal> {
    Ok(match to_refund(order, refund_id)? {
        None => Decision::Settled,
        Some(_) => change(Happened::RefundFailed {
            refund_id: refund_id.to_owned(),
            code: code.to_owned(),
        }),
    })
}

/// Whether nothing is left to be done with an order by itself.
#[must_use]
pub fn is_settled(order: &Order) -> bool {
    awaited(order).is_none()
}

/// The execution that an order waits for, and when somebody has to look whether it is at work; `None`
/// for an order that nothing has to be done with by itself.
#[must_use]
pub fn awaited(order: &Order) -> Option<(Run, Timestamp)> {
    if let Some(refund) = pending_refund(order) {
        let run = Run::Refund(refund.refund_id.clone());
        return Some((run, order.updated_at + STALL));
    }
    let due = match order.saga {
        Saga::Waiting => order.updated_at + START,
        Saga::Running => match order.reservation {
            Some(reservation) if reservation.holding == Holding::Held => reservation.expires_at,
            _ => order.updated_at + STALL,
        },
        Saga::Compensating => order.updated_at + STALL,
        Saga::Completed | Saga::Compensated | Saga::CompensationFailed => return None,
    };
    Some((order.run.clone(), due))
}

#[cfg(test)]
mod tests;
