//! What is always true of orders, their stock and their money, whatever failed in between; and what is
//! true once everything has come to rest.
//!
//! Every tier of tests looks at its world through [`Books`]: the simulation after each write, the saga
//! harness and the deployed stack when their orders have come to rest.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    event::{self, FoldError, Happened},
    model::{CancelReason, Holding, Order, OrderId, RefundStanding, Saga, Status},
    rules,
};
use crate::{
    events::model::Event,
    platform::money::Money,
    stock::{
        model::{Sku, Stock},
        rules::is_balanced,
    },
};

/// What a payment provider says of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The order it is for.
    pub order: OrderId,
    /// The provider's name for it.
    pub reference: String,
    /// Held, and neither taken nor let go yet.
    pub held: Money,
    /// Taken.
    pub captured: Money,
    /// Given back of what was taken.
    pub refunded: Money,
}

/// All that can be known of a set of orders at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Books<'b> {
    /// The orders: all that ever moved any of `stocks`.
    pub orders: &'b [Order],
    /// The stock of every sku that they name.
    pub stocks: &'b [Stock],
    /// Every payment that the provider knows of for them.
    pub charges: &'b [Charge],
    /// The orders that somebody sees to: by an execution that lives, or an entry in the index of due
    /// orders.
    pub running: &'b [OrderId],
    /// Whether everything has come to rest: nothing is under way or awaited any more.
    pub settled: bool,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An order names a sku that has no stock.
    #[error("{0}: an order holds it, yet there is no stock of it")]
    NoStock(Sku),
    /// Available, reserved and sold units are not what was received.
    #[error("{0}: available + reserved + sold is not received")]
    Unbalanced(Sku),
    /// The stock's reserved units are not those that orders hold.
    #[error("{sku}: {stock} units are reserved, orders hold {orders}")]
    Reserved {
        /// Of which sku.
        sku: Sku,
        /// What the stock says.
        stock: u64,
        /// What the orders add up to.
        orders: u64,
    },
    /// The stock's sold units are not those of paid orders, less what they gave back.
    #[error("{sku}: {stock} units are sold, orders have {orders}")]
    Sold {
        /// Of which sku.
        sku: Sku,
        /// What the stock says.
        stock: u64,
        /// What the orders add up to.
        orders: u64,
    },
    /// Money is or was touched by a payment that its order does not know of.
    #[error("{0}: a payment touched money and is not on record")]
    Unrecorded(OrderId),
    /// Money is held or was taken by more than one payment.
    #[error("{0}: charged more than once")]
    ChargedTwice(OrderId),
    /// More is held or was taken than the order comes to, or in another currency.
    #[error("{0}: charged more than its total")]
    Overcharged(OrderId),
    /// More was given back than was taken.
    #[error("{0}: more was given back than was taken")]
    Overrefunded(OrderId),
    /// The order's record says that more was taken or given back than the provider says.
    #[error("{0}: its record is ahead of the provider")]
    Invented(OrderId),
    /// Money was taken for an order that was not confirmed.
    #[error("{0}: money was taken before it was confirmed")]
    Premature(OrderId),
    /// Money is held or kept, and no stock for it.
    #[error("{0}: money is held or kept without its stock")]
    MoneyWithoutStock(OrderId),
    /// A cancelled order still has stock or money.
    #[error("{0}: cancelled, yet it holds stock or money")]
    CancelledHolds(OrderId),
    /// An order is on its way to its customer without being paid in full.
    #[error("{0}: handed over without being paid in full")]
    Unpaid(OrderId),
    /// A refunded order keeps money.
    #[error("{0}: refunded, yet it keeps money")]
    RefundedKeeps(OrderId),
    /// Nobody sees to an order that is not finished.
    #[error("{0}: open, and neither executed nor due")]
    Unattended(OrderId),
    /// An order is not finished, although everything has come to rest.
    #[error("{0}: not finished")]
    Unfinished(OrderId),
    /// At rest, the order's record is not what the provider says.
    #[error("{0}: its record differs from the provider's")]
    Misrecorded(OrderId),
    /// An event of its log is missing or is there twice.
    #[error("{0}: its events have a gap")]
    Gap(OrderId),
    /// Its status moved as it may not.
    #[error("{order}: {from} became {to}")]
    IllegalMove {
        /// Which order.
        order: OrderId,
        /// Where it stood.
        from: Status,
        /// Where it went.
        to: Status,
    },
    /// An order that was paid is undone without anybody having asked for it.
    #[error("{0}: undone unasked after it was paid")]
    UndoneUnasked(OrderId),
    /// Its events do not fold to the order that is stored.
    #[error("{0}: its events do not fold to it")]
    Misfolded(OrderId),
}

/// Everything that is wrong with the books; nothing, always.
#[must_use]
pub fn violations(books: &Books) -> Vec<Violation> {
    let mut found = Vec::new();
    for stock in books.stocks {
        of_stock(stock, books.orders, &mut found);
    }
    for order in books.orders {
        let lines = order.lines.iter().filter(|_| order.reservation.is_some());
        let unknown = lines.filter(|line| !books.stocks.iter().any(|stock| stock.sku == line.sku));
        found.extend(unknown.map(|line| Violation::NoStock(line.sku.clone())));
        of_order(order, books, &mut found);
    }
    let strangers = books
        .charges
        .iter()
        .filter(|charge| is_touched(charge))
        .filter(|charge| !books.orders.iter().any(|order| order.id == charge.order));
    found.extend(strangers.map(|charge| Violation::Unrecorded(charge.order.clone())));
    found
}

fn of_stock(stock: &Stock, orders: &[Order], found: &mut Vec<Violation>) {
    if !is_balanced(stock) {
        found.push(Violation::Unbalanced(stock.sku.clone()));
    }
    let (mut reserved, mut sold) = (0, 0);
    for order in orders {
        let units = || -> u64 {
            let lines = order.lines.iter().filter(|line| line.sku == stock.sku);
            lines.map(|line| u64::from(line.quantity)).sum()
        };
        match order.reservation.map(|reservation| reservation.holding) {
            Some(Holding::Held) => reserved += units(),
            Some(Holding::Sold) => sold += units().saturating_sub(restocked(order, &stock.sku)),
            Some(Holding::Released) | None => {}
        }
    }
    let sku = || stock.sku.clone();
    if stock.reserved != reserved {
        found.push(Violation::Reserved {
            sku: sku(),
            stock: stock.reserved,
            orders: reserved,
        });
    }
    if stock.sold != sold {
        found.push(Violation::Sold {
            sku: sku(),
            stock: stock.sold,
            orders: sold,
        });
    }
}

/// Units that refunds made available again.
fn restocked(order: &Order, sku: &Sku) -> u64 {
    let done = order
        .refunds
        .iter()
        .filter(|refund| refund.restock && refund.standing == RefundStanding::Done);
    let units = done
        .flat_map(|refund| &refund.lines)
        .filter(|units| units.sku == *sku);
    units.map(|units| u64::from(units.quantity)).sum()
}

fn is_touched(charge: &Charge) -> bool {
    !charge.held.amount().is_zero() || !charge.captured.amount().is_zero()
}

fn of_order(order: &Order, books: &Books, found: &mut Vec<Violation>) {
    let mut report = |broken: bool, violation: fn(OrderId) -> Violation| {
        if broken {
            found.push(violation(order.id.clone()));
        }
    };
    let payment = order.payment.as_ref();
    let total = order.totals.total;
    let (mut held, mut captured, mut refunded) = (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO);
    let mut touched = 0;
    let charges = books.charges.iter();
    for charge in charges.filter(|charge| charge.order == order.id && is_touched(charge)) {
        touched += 1;
        let is_known = payment.is_some_and(|payment| payment.reference == charge.reference);
        report(!is_known, Violation::Unrecorded);
        let currencies = [&charge.held, &charge.captured, &charge.refunded].map(Money::currency);
        let is_foreign = currencies != [total.currency(); 3];
        report(is_foreign, Violation::Overcharged);
        held += charge.held.amount();
        captured += charge.captured.amount();
        refunded += charge.refunded.amount();
    }
    let recorded = payment.map_or((Decimal::ZERO, Decimal::ZERO), |payment| {
        (payment.captured.amount(), payment.refunded.amount())
    });
    let holding = order.reservation.map(|reservation| reservation.holding);
    let has_stock = matches!(holding, Some(Holding::Held | Holding::Sold));
    let has_money = !held.is_zero() || captured > refunded;
    let is_paid = captured == total.amount() && recorded.0 == captured;

    report(touched > 1, Violation::ChargedTwice);
    report(held + captured > total.amount(), Violation::Overcharged);
    report(refunded > captured, Violation::Overrefunded);
    report(
        recorded.0 > captured || recorded.1 > refunded,
        Violation::Invented,
    );
    let is_premature = order.status == Status::Pending && !captured.is_zero();
    report(is_premature, Violation::Premature);
    report(has_money && !has_stock, Violation::MoneyWithoutStock);
    match order.status {
        Status::Pending | Status::Confirmed => {}
        Status::Processing | Status::Shipped | Status::Delivered => {
            report(!is_paid, Violation::Unpaid);
        }
        Status::Cancelled => report(has_stock || has_money, Violation::CancelledHolds),
        Status::Refunded => report(has_money || !is_paid, Violation::RefundedKeeps),
    }
    let is_open = !rules::is_settled(order)
        || matches!(
            order.saga,
            Saga::Waiting | Saga::Running | Saga::Compensating
        );
    report(
        is_open && !books.running.contains(&order.id),
        Violation::Unattended,
    );
    // What could not be undone is for people to see to; until then only the above can be said of it.
    if !books.settled || order.saga == Saga::CompensationFailed {
        return;
    }
    report(
        is_open || order.status == Status::Pending,
        Violation::Unfinished,
    );
    report(
        recorded != (captured, refunded) || !held.is_zero(),
        Violation::Misrecorded,
    );
    let is_kept = order.status == Status::Confirmed;
    report(
        is_kept && !(is_paid && holding == Some(Holding::Sold)),
        Violation::Unpaid,
    );
}

/// Everything that is wrong with an order's stored log.
///
/// # Errors
///
/// [`FoldError`] when an event cannot be read.
pub fn of_log(order: &Order, events: &[Event]) -> Result<Vec<Violation>, FoldError> {
    let read = |event: &Event| Ok((event.sequence, event.at, Happened::from_event(event)?));
    let events: Vec<_> = events.iter().map(read).collect::<Result<_, FoldError>>()?;
    Ok(of_history(order, &events))
}

/// Everything that is wrong with what happened to an order, each with its sequence and time, oldest
/// first.
#[must_use]
pub fn of_history(order: &Order, history: &[(u64, Timestamp, Happened)]) -> Vec<Violation> {
    let mut found = Vec::new();
    let sequences = history.iter().map(|(sequence, ..)| *sequence);
    if !sequences.eq(1..=order.version) {
        found.push(Violation::Gap(order.id.clone()));
    }
    let mut folded: Option<Order> = None;
    for (_, at, happened) in history {
        let is_completed = folded
            .as_ref()
            .is_some_and(|order| order.saga == Saga::Completed);
        let asked = [CancelReason::Customer, CancelReason::Staff];
        if let Happened::CancellationRequested { reason, .. } = happened
            && is_completed
            && !asked.contains(reason)
        {
            found.push(Violation::UndoneUnasked(order.id.clone()));
        }
        let from = folded.as_ref().map(|order| order.status);
        folded = event::apply(folded, &order.id, happened, *at).ok();
        let to = folded.as_ref().map(|order| order.status);
        if let (Some(from), Some(to)) = (from, to)
            && !may_become(from, to)
        {
            let order = order.id.clone();
            found.push(Violation::IllegalMove { order, from, to });
        }
    }
    if folded.as_ref() != Some(order) {
        found.push(Violation::Misfolded(order.id.clone()));
    }
    found
}

/// The moves of an order's status that there are; none is one of them.
fn may_become(from: Status, to: Status) -> bool {
    use Status::{Cancelled, Confirmed, Delivered, Pending, Processing, Refunded, Shipped};
    from == to
        || matches!(
            (from, to),
            (Pending, Confirmed | Cancelled)
                | (Confirmed, Processing | Cancelled | Refunded)
                | (Processing, Shipped | Refunded)
                | (Shipped, Delivered | Refunded)
                | (Delivered, Refunded)
        )
}

#[cfg(test)]
mod tests;
