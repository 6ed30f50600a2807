//! Bugs as people write them, to see that the simulation finds each.

use jiff::Timestamp;
use shared::{
    orders::{
        event::{Happened, Note, Reason, RefundRequest},
        model::{CancelReason, Holding, Order, RESERVATION, Units},
        rules::{Change, Decision, Refusal},
    },
    stock::model::{Direction, Move},
};

use crate::calls::Actor;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    // The table.
    /// Two writers of one version both win.
    VersionUnchecked,
    /// Stock is reserved without the condition that it is there.
    ReservesWhatIsNotThere,
    /// Of an order that is short of one sku, the others are reserved.
    ReservesInPart,
    /// Stock moves in a second transaction.
    MovesInTheirOwnWrite,
    /// The event is appended in a second transaction.
    EventInItsOwnWrite,
    /// A new order is not in the index of due orders.
    NewOrderNotDue,
    /// An order to be cancelled leaves the index of due orders.
    CancellationNotDue,
    /// A repeated request makes another order.
    RequestAnsweredTwice,
    // The rules.
    /// A step that reserved reserves again.
    ReservesTwice,
    /// A step that released releases again.
    ReleasesTwice,
    /// Money is taken, and the stock stays reserved.
    SellsWithoutMoving,
    /// A refund that is done is done again, with its stock.
    RefundsTwice,
    /// An order is confirmed though it is to be cancelled.
    ConfirmsCancelled,
    /// Stock is released while money is held.
    ReleasesBeforeVoiding,
    /// A reservation expires though its payment has begun.
    ExpiresPaid,
    /// What was paid for is undone when a late step gives up.
    UndoesCompleted,
    /// An order is cancelled that is on its way.
    CancelsShipped,
    /// An order is cancelled of which a part was refunded.
    CancelsPartlyRefunded,
    /// An order is refunded that is being cancelled.
    RefundsCancelled,
    /// An order is packed before it is paid.
    PacksUnpaid,
    // The steps.
    /// A payment is authorised before the order knows of it.
    AuthorisesBeforeRecord,
    /// Each attempt opens a payment of its own.
    OpensAgain,
    /// Money is taken before the order is confirmed.
    CapturesBeforeConfirming,
    /// It is on record that money was taken before it is.
    RecordsCaptureFirst,
    /// It is on record that money went before it did.
    RecordsVoidFirst,
    /// It is on record that money went back before it did.
    RecordsRefundFirst,
    /// Held money is said to be let go, and is not.
    SkipsVoid,
    /// A payment that was taken is held to be voided.
    TakesCaptureForVoid,
    /// Money that cannot be taken is held to be let go.
    TakesRefusalForVoid,
    /// A declined payment is not voided.
    LeavesDeclined,
    /// The amount of a reply is not checked.
    BelievesAnyAmount,
    /// Each attempt of a refund has a key of its own.
    RefundsUnderFreshKey,
    /// All refunds of an order have one key.
    RefundsUnderOneKey,
    // The executions.
    /// Nobody lets a failed execution go on.
    NeverRedrives,
    // The provider.
    /// A voided payment can be authorised.
    RevivesVoided,
}

impl Mutant {
    /// The step that is run in place of `step`.
    pub(crate) const fn instead(self, step: Actor) -> Actor {
        match (self, step) {
            (Self::CapturesBeforeConfirming, Actor::Confirm) => Actor::Capture,
            (Self::CapturesBeforeConfirming, Actor::Capture) => Actor::Confirm,
            _ => step,
        }
    }

    /// What the bug makes of a rule's decision.
    pub(crate) fn bend(
        self,
        actor: Actor,
        order: &Order,
        now: Timestamp,
        decided: Result<Decision, Refusal>,
    ) -> Result<Decision, Refusal> {
        let holding = order.reservation.map(|reservation| reservation.holding);
        let change = match (self, actor, &decided) {
            (Self::ReservesTwice, Actor::Reserve, Ok(Decision::Settled)) => {
                let expires_at = now + RESERVATION;
                moving(order, Happened::Reserved { expires_at }, Direction::Reserve)
            }
            (Self::ReleasesTwice, Actor::Release, Ok(Decision::Settled)) if holding.is_some() => {
                moving(order, Happened::Released, Direction::Release)
            }
            (Self::SellsWithoutMoving, _, Ok(Decision::Change(change)))
                if matches!(change.happened, Happened::Paid { .. }) =>
            {
                only(change.happened.clone())
            }
            (Self::RefundsTwice, Actor::Refund, Ok(Decision::Settled)) => {
                let refund = order.refunds.last().expect("it is the refund of an order");
                only(Happened::Refunded {
                    refund_id: refund.refund_id.clone(),
                    amount: refund.amount,
                    lines: None,
                })
            }
            (Self::ConfirmsCancelled, Actor::Confirm, Err(_)) => only(Happened::Confirmed),
            (Self::ReleasesBeforeVoiding, Actor::Undo, Err(Refusal::OutOfOrder(_)))
                if holding == Some(Holding::Held) =>
            {
                moving(order, Happened::Released, Direction::Release)
            }
            (Self::ExpiresPaid, Actor::Sweep, Ok(Decision::Settled))
                if holding == Some(Holding::Held) =>
            {
                moving(order, Happened::Expired, Direction::Release)
            }
            (Self::UndoesCompleted, Actor::Undo, Err(Refusal::OrderCompleted)) => {
                only(requested(CancelReason::Failed))
            }
            (
                Self::CancelsShipped,
                Actor::RequestCancellation,
                Err(Refusal::IllegalTransition { .. }),
            )
            | (
                Self::CancelsPartlyRefunded,
                Actor::RequestCancellation,
                Err(Refusal::PartlyRefunded),
            ) => only(requested(CancelReason::Customer)),
            (Self::RefundsCancelled, Actor::RequestRefund, Err(Refusal::Busy)) => {
                only(refund_of_all(order, now))
            }
            (Self::PacksUnpaid, Actor::Advance, Err(Refusal::Busy)) => only(Happened::Processing),
            _ => return decided,
        };
        Ok(Decision::Change(change))
    }
}

fn only(happened: Happened) -> Change {
    Change {
        happened,
        moves: Vec::new(),
    }
}

fn moving(order: &Order, happened: Happened, direction: Direction) -> Change {
    let moves = order.lines.iter().map(|line| Move {
        sku: line.sku.clone(),
        quantity: line.quantity,
        direction,
    });
    Change {
        happened,
        moves: moves.collect(),
    }
}

fn requested(reason: CancelReason) -> Happened {
    Happened::CancellationRequested {
        reason,
        shortages: Vec::new(),
        private: Note { note: None },
    }
}

fn refund_of_all(order: &Order, now: Timestamp) -> Happened {
    let units = order.lines.iter().map(|line| Units {
        sku: line.sku.clone(),
        quantity: line.quantity,
    });
    Happened::RefundRequested(RefundRequest {
        refund_id: "first".to_owned(),
        amount: order.totals.total,
        lines: units.collect(),
        restock: true,
        requested_at: now,
        private: Reason { reason: None },
    })
}
