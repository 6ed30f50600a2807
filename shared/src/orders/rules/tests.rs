use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::orders::{
    event::{self, apply},
    invariants::of_history,
    testing,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const CUSTOMER: CancelReason = CancelReason::Customer;

type Decided = Result<Decision, Refusal>;

fn new() -> Order {
    let created = testing::created("ada", "card", &[("A", 3), ("B", 1)]);
    testing::order(1, &created, NOW)
}

/// The order after what was decided.
#[track_caller]
fn after(order: Order, decide: impl FnOnce(&Order) -> Decided) -> Order {
    let Decision::Change(change) = decide(&order).unwrap() else {
        return order;
    };
    let id = order.id.clone();
    apply(Some(order), &id, &change.happened, NOW).unwrap()
}

fn reserved() -> Order {
    after(new(), |order| reserve(order, NOW))
}

fn started() -> Order {
    after(reserved(), |order| start_payment(order, "p1", NOW))
}

fn confirmed() -> Order {
    after(after(started(), authorised), confirm)
}

fn paid() -> Order {
    after(confirmed(), |order| captured(order, order.totals.total))
}

fn cancelled_by_customer(order: Order) -> Order {
    after(order, |order| request_cancellation(order, CUSTOMER, None))
}

fn advanced(order: Order, to: Status) -> Order {
    after(order, |order| advance(order, to, None))
}

fn refund_of(order: &Order, of: RefundOf) -> Decided {
    request_refund(order, "r1", of, true, None, NOW)
}

fn refunded_in_full() -> Order {
    let order = after(paid(), |order| refund_of(order, RefundOf::Everything));
    after(order, |order| refunded(order, "r1"))
}

fn money(amount: &str) -> Money {
    Money::parse(amount, new().currency).unwrap()
}

fn directions(decided: Decided) -> Vec<Direction> {
    match decided {
        Ok(Decision::Change(change)) => change.moves.iter().map(|of| of.direction).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_status_has_its_moves_and_no_other() {
    let processing = || advanced(paid(), Status::Processing);
    let shipped = || advanced(processing(), Status::Shipped);
    let undone = || {
        let order = after(cancelled_by_customer(confirmed()), voided);
        after(after(order, release), cancelled)
    };
    let orders = [
        new(),
        paid(),
        processing(),
        shipped(),
        advanced(shipped(), Status::Delivered),
        undone(),
        refunded_in_full(),
    ];
    for (order, status) in orders.into_iter().zip(Status::ALL) {
        assert_eq!(order.status, status);
        let moves: Vec<Status> = Status::ALL
            .into_iter()
            .filter(|to| match to {
                Status::Cancelled => request_cancellation(&order, CUSTOMER, None)
                    .is_ok_and(|decision| decision != Decision::Settled),
                Status::Refunded => refund_of(&order, RefundOf::Everything).is_ok(),
                to => advance(&order, *to, None).is_ok(),
            })
            .collect();
        let expected: &[Status] = match status {
            Status::Pending => &[Status::Cancelled],
            Status::Confirmed => &[Status::Processing, Status::Cancelled, Status::Refunded],
            Status::Processing => &[Status::Shipped, Status::Refunded],
            Status::Shipped => &[Status::Delivered, Status::Refunded],
            Status::Delivered => &[Status::Refunded],
            Status::Cancelled | Status::Refunded => &[],
        };
        assert_eq!(moves, expected, "{status}");
    }
}

#[test]
fn a_step_that_was_done_changes_nothing() {
    let order = confirmed();
    let total = order.totals.total;
    assert_eq!(reserve(&order, NOW), Ok(Decision::Settled));
    assert_eq!(start_payment(&order, "p2", NOW), Ok(Decision::Settled));
    assert_eq!(authorised(&order), Ok(Decision::Settled));
    assert_eq!(declined(&order, "late"), Ok(Decision::Settled));
    assert_eq!(confirm(&order), Ok(Decision::Settled));
    assert_eq!(captured(&paid(), total), Ok(Decision::Settled));
    assert_eq!(must_capture(&paid()), Ok(false));
    assert_eq!(out_of_stock(&order, Vec::new()), Decision::Settled);
    let refunded_twice = refunded(&refunded_in_full(), "r1");
    assert_eq!(refunded_twice, Ok(Decision::Settled));
}

#[test]
fn no_step_comes_before_the_one_it_builds_upon() {
    let total = new().totals.total;
    let is_early = |decided: Decided| matches!(decided, Err(Refusal::OutOfOrder(_)));
    assert!(is_early(start_payment(&new(), "p1", NOW)));
    assert!(is_early(authorised(&reserved())));
    assert!(is_early(declined(&reserved(), "code")));
    assert!(is_early(confirm(&started())));
    assert!(is_early(captured(&reserved(), total)));
    assert!(is_early(captured(&started(), total)));
    assert!(must_capture(&after(started(), authorised)).is_err());
}

#[test]
fn nothing_goes_forward_once_an_order_is_to_be_cancelled() {
    for order in [new(), reserved(), started(), confirmed()] {
        let order = cancelled_by_customer(order);
        assert_eq!(go_on(&order), Err(Refusal::OrderCancelled));
        assert_eq!(reserve(&order, NOW), Err(Refusal::OrderCancelled));
        let start = start_payment(&order, "p1", NOW);
        assert_eq!(start, Err(Refusal::OrderCancelled));
        assert_eq!(confirm(&order), Err(Refusal::OrderCancelled));
        assert_eq!(must_capture(&order), Err(Refusal::OrderCancelled));
    }
}

#[test]
fn why_an_order_is_cancelled_is_told_by_its_word() {
    let shortages = vec![Shortage {
        sku: "A".parse().unwrap(),
        wanted: 3,
        available: None,
    }];
    let short = after(new(), |order| Ok(out_of_stock(order, shortages.clone())));
    assert_eq!(go_on(&short), Err(Refusal::OutOfStock(shortages)));
    let refused = after(started(), |order| declined(order, "expired-card"));
    let word = Refusal::PaymentDeclined("expired-card".to_owned());
    assert_eq!(go_on(&refused), Err(word));
    assert_eq!(refused.saga, Saga::Compensating);
}

#[test]
fn a_payment_that_can_still_be_authorised_is_voided() {
    let undo = |order| to_undo(&cancelled_by_customer(order));
    assert_eq!(undo(reserved()), Ok(Undo::Nothing));
    assert_eq!(undo(started()), Ok(Undo::Void));
    assert_eq!(undo(confirmed()), Ok(Undo::Void));
    assert_eq!(undo(paid()), Ok(Undo::Refund(paid().totals.total)));
    let declined = after(started(), |order| declined(order, "requires-action"));
    assert_eq!(to_undo(&declined), Ok(Undo::Void));
    assert_eq!(to_undo(&after(declined, voided)), Ok(Undo::Nothing));
}

#[test]
fn stock_goes_back_after_the_money_did() {
    let held = cancelled_by_customer(confirmed());
    assert!(matches!(release(&held), Err(Refusal::OutOfOrder(_))));
    assert!(matches!(cancelled(&held), Err(Refusal::OutOfOrder(_))));
    let voided = after(held, voided);
    assert_eq!(directions(release(&voided)), [Direction::Release; 2]);
    let kept = cancelled_by_customer(paid());
    assert!(matches!(release(&kept), Err(Refusal::OutOfOrder(_))));
    let given_back = after(kept, given_back);
    assert_eq!(directions(release(&given_back)), [Direction::Restock; 2]);
    assert!(matches!(
        cancelled(&given_back),
        Err(Refusal::OutOfOrder(_))
    ));
    let released = after(given_back, release);
    assert_eq!(release(&released), Ok(Decision::Settled));
    let closed = after(released, cancelled);
    assert_eq!(
        (closed.status, closed.saga),
        (Status::Cancelled, Saga::Compensated)
    );
    assert_eq!(cancelled(&closed), Ok(Decision::Settled));
    assert!(is_settled(&closed));
}

#[test]
fn money_taken_during_a_cancellation_is_on_record_and_goes_back() {
    let order = cancelled_by_customer(confirmed());
    let order = after(order, |order| captured(order, order.totals.total));
    assert_eq!((order.saga, &order.run), (Saga::Compensating, &Run::Place));
    assert_eq!(to_undo(&order), Ok(Undo::Refund(order.totals.total)));
    let late = after(cancelled_by_customer(confirmed()), voided);
    let taken = captured(&late, late.totals.total);
    assert!(matches!(taken, Err(Refusal::OutOfOrder(_))));
}

#[test]
fn what_is_paid_is_undone_only_by_somebodys_wish() {
    let failed = CancelReason::Failed;
    assert_eq!(abort(&paid(), failed), Err(Refusal::OrderCompleted));
    assert_eq!(to_undo(&paid()), Err(Refusal::OrderCompleted));
    assert_eq!(cancelled_by_customer(paid()).run, Run::Cancel);
    assert_eq!(
        abort(&cancelled_by_customer(paid()), failed),
        Ok(Decision::Settled)
    );
    assert_eq!(
        after(confirmed(), |order| abort(order, failed)).run,
        Run::Place
    );
}

#[test]
fn a_reservation_expires_unless_its_payment_began() {
    let end = NOW + RESERVATION;
    let order = reserved();
    assert_eq!(
        expire(&order, end - SignedDuration::from_millis(1)),
        Decision::Settled
    );
    assert_eq!(directions(Ok(expire(&order, end))), [Direction::Release; 2]);
    let closed = after(order, |order| Ok(expire(order, end)));
    assert_eq!(
        (closed.status, closed.saga),
        (Status::Cancelled, Saga::Compensated)
    );
    assert_eq!(go_on(&closed), Err(Refusal::OrderCancelled));
    let later = end + RESERVATION;
    for order in [
        new(),
        started(),
        paid(),
        cancelled_by_customer(reserved()),
        closed,
    ] {
        assert_eq!(expire(&order, later), Decision::Settled);
    }
}

#[test]
fn a_reservation_is_extended_once() {
    let later = NOW + SignedDuration::from_mins(10);
    let order = after(reserved(), |order| start_payment(order, "p1", later));
    let until = |order: &Order| order.reservation.map(|reservation| reservation.expires_at);
    assert_eq!(until(&order), Some(later + RESERVATION));
    let again = start_payment(&order, "p1", later + RESERVATION);
    assert_eq!(again, Ok(Decision::Settled));
}

#[test]
fn an_order_that_waits_is_due() {
    let due = |order: &Order| awaited(order).map(|(run, at)| (run, at.duration_since(NOW)));
    assert_eq!(due(&new()), Some((Run::Place, START)));
    assert_eq!(due(&reserved()), Some((Run::Place, RESERVATION)));
    let stalled = Some((Run::Place, STALL));
    assert_eq!(due(&cancelled_by_customer(confirmed())), stalled);
    assert_eq!(due(&paid()), None);
    let run = Some((Run::Cancel, STALL));
    assert_eq!(due(&cancelled_by_customer(paid())), run);
    let refund = after(paid(), |order| refund_of(order, RefundOf::Everything));
    assert_eq!(due(&refund), Some((Run::Refund("r1".to_owned()), STALL)));
    assert_eq!(due(&refunded_in_full()), None);
    let failed = cancelled_by_customer(confirmed());
    let failed = after(failed, |order| Ok(compensation_failed(order, "undo")));
    assert_eq!(
        (failed.saga, due(&failed)),
        (Saga::CompensationFailed, None)
    );
    assert_eq!(to_undo(&failed), Ok(Undo::Void));
}

#[test]
fn an_order_is_packed_when_it_is_paid() {
    let packed = advance(&confirmed(), Status::Processing, None);
    assert_eq!(packed, Err(Refusal::Busy));
    let cancelled = cancelled_by_customer(paid());
    let packed = advance(&cancelled, Status::Processing, None);
    assert_eq!(packed, Err(Refusal::Busy));
}

#[test]
fn refund_and_cancellation_exclude_each_other() {
    let order = after(paid(), |order| {
        refund_of(order, RefundOf::Amount(money("1")))
    });
    let cancel = |order: &Order| request_cancellation(order, CUSTOMER, None);
    assert_eq!(cancel(&order), Err(Refusal::PartlyRefunded));
    assert_eq!(
        refund_of(&order, RefundOf::Everything),
        Err(Refusal::RefundPending)
    );
    let failed = after(order.clone(), |order| {
        refund_failed(order, "r1", "declined")
    });
    assert!(cancel(&failed).is_ok());
    let done = after(order, |order| refunded(order, "r1"));
    assert_eq!(cancel(&done), Err(Refusal::PartlyRefunded));
    let cancelled = cancelled_by_customer(paid());
    assert_eq!(
        refund_of(&cancelled, RefundOf::Everything),
        Err(Refusal::Busy)
    );
    let closed = after(cancelled, given_back);
    let closed = after(after(closed, release), super::cancelled);
    let refused = refund_of(&closed, RefundOf::Everything);
    assert!(
        matches!(refused, Err(Refusal::IllegalTransition { .. })),
        "{refused:?}"
    );
}

#[test]
fn only_what_is_left_can_be_given_back() {
    let order = paid();
    let refused = |of| refund_of(&order, of).unwrap_err();
    let left = order.totals.total;
    let units = |sku: &str, quantity| {
        let sku = sku.parse().unwrap();
        RefundOf::Lines(vec![Units { sku, quantity }])
    };
    let of_sku = |sku: &str, left| Refusal::RefundUnits {
        sku: sku.parse().unwrap(),
        left,
    };
    let too_much = RefundOf::Amount(left.checked_add(money("0.01")).unwrap());
    assert_eq!(refused(too_much), Refusal::RefundTooLarge { left });
    for amount in ["0", "-1", "0.001"] {
        assert_eq!(
            refused(RefundOf::Amount(money(amount))),
            Refusal::RefundAmount
        );
    }
    let yen = Money::parse("1", "JPY".parse().unwrap()).unwrap();
    assert!(matches!(refused(RefundOf::Amount(yen)), Refusal::Money(_)));
    assert_eq!(refused(units("A", 4)), of_sku("A", 3));
    assert_eq!(refused(units("A", 0)), of_sku("A", 3));
    assert_eq!(refused(units("C", 1)), of_sku("C", 0));
    let twice = Units {
        sku: "A".parse().unwrap(),
        quantity: 1,
    };
    let twice = RefundOf::Lines(vec![twice.clone(), twice]);
    assert_eq!(refused(twice), of_sku("A", 3));
    assert_eq!(refused(RefundOf::Lines(Vec::new())), Refusal::RefundAmount);
    let closed = refund_of(&refunded_in_full(), RefundOf::Everything);
    assert!(matches!(closed, Err(Refusal::IllegalTransition { .. })));
    assert_eq!(to_refund(&order, "r1"), Err(Refusal::NoRefund));
}

#[test]
fn units_given_back_are_available_again_where_staff_says_so() {
    for (restock, moves) in [(true, 2), (false, 0)] {
        let everything = RefundOf::Everything;
        let order = after(paid(), |order| {
            request_refund(order, "r1", everything, restock, None, NOW)
        });
        let back = directions(refunded(&order, "r1"));
        assert_eq!(back, vec![Direction::Restock; moves]);
        let order = after(order, |order| refunded(order, "r1"));
        assert_eq!(order.status, Status::Refunded);
        assert!(
            order
                .lines
                .iter()
                .all(|line| line.refunded == line.quantity)
        );
    }
}

/// Anything that may be asked of an order; most of it is refused or settled most of the time.
fn any_command(order: &Order, choice: u8, id: &str) -> Decided {
    let total = order.totals.total;
    let one = || {
        let sku = order.lines[0].sku.clone();
        RefundOf::Lines(vec![Units { sku, quantity: 1 }])
    };
    let refund = |of| request_refund(order, id, of, choice & 1 == 0, None, NOW);
    let last = order.refunds.last().map_or("", |refund| &refund.refund_id);
    match choice % 24 {
        0 | 1 => reserve(order, NOW),
        2 => Ok(out_of_stock(order, Vec::new())),
        3 | 4 => start_payment(order, "p1", NOW),
        5 | 6 => authorised(order),
        7 => declined(order, "declined"),
        8 | 9 => confirm(order),
        10 | 11 => captured(order, total),
        12 => abort(order, CancelReason::Failed),
        13 => voided(order),
        14 => given_back(order),
        15 => release(order),
        16 => cancelled(order),
        17 => Ok(compensation_failed(order, "undo")),
        18 => Ok(expire(order, NOW + RESERVATION)),
        19 => request_cancellation(order, CUSTOMER, Some("no more".to_owned())),
        20 => {
            let to = [Status::Processing, Status::Shipped, Status::Delivered];
            let next = to.into_iter().find(|to| advance(order, *to, None).is_ok());
            advance(order, next.unwrap_or(Status::Delivered), None)
        }
        21 => refund(if choice > 128 {
            one()
        } else {
            RefundOf::Everything
        }),
        22 => refunded(order, last),
        _ => refund_failed(order, last, "declined"),
    }
}

proptest! {
    #[test]
    fn every_history_is_legal_and_can_be_read_back(choices in vec(any::<u8>(), 0..120)) {
        let created = testing::created("ada", "card", &[("A", 3), ("B", 1)]);
        let mut order = testing::order(1, &created, NOW);
        let id = order.id.clone();
        let mut history = vec![(1, NOW, created)];
        for (number, choice) in choices.into_iter().enumerate() {
            let decided = any_command(&order, choice, &format!("r{number}"));
            let Ok(Decision::Change(change)) = decided else { continue };
            order = apply(Some(order), &id, &change.happened, NOW).unwrap();
            history.push((order.version, NOW, change.happened));
            let payment = order.payment.as_ref();
            let left = payment.map(|payment| payment.captured.amount() - payment.refunded.amount());
            prop_assert!(left.is_none_or(|left| left >= Decimal::ZERO));
        }
        prop_assert_eq!(of_history(&order, &history), []);
        for (sequence, at, happened) in &history {
            let event = happened.to_event(&id, *sequence, *at);
            prop_assert_eq!(&event::Happened::from_event(&event).unwrap(), happened);
        }
        let document = serde_json::to_string(&order).unwrap();
        prop_assert_eq!(serde_json::from_str::<Order>(&document).unwrap(), order);
    }

    #[test]
    fn a_share_is_the_exact_one_rounded_half_up(
        cents in 0_i64..999_999_999_999_999,
        quantity in 1_u32..1_000_000,
        part in any::<Index>(),
    ) {
        let units = u32::try_from(part.index(quantity as usize)).unwrap() + 1;
        let share = money(&Decimal::new(cents, 2).to_string()).share(units, quantity).unwrap();
        let (part, whole) = (i128::from(cents) * i128::from(units), i128::from(quantity));
        let exact = (2 * part + whole) / (2 * whole);
        prop_assert_eq!(share.amount().mantissa(), exact);
    }

    #[test]
    fn refunds_of_units_one_after_the_other_add_up_to_the_line(
        cents in 1_i64..1_000_000,
        quantity in 1_u32..40,
        parts in vec(any::<Index>(), 40),
    ) {
        let mut order = paid();
        let total = money(&Decimal::new(cents, 2).to_string());
        order.lines.truncate(1);
        order.lines[0].quantity = quantity;
        order.lines[0].total = total;
        let mut sum = Money::zero(order.currency);
        for part in parts {
            let left = order.lines[0].quantity - order.lines[0].refunded;
            if left == 0 {
                break;
            }
            let quantity = u32::try_from(part.index(left as usize)).unwrap() + 1;
            let sku = order.lines[0].sku.clone();
            let share = worth(&order, &[Units { sku, quantity }]).unwrap();
            prop_assert!(share.amount() >= Decimal::ZERO && share == share.rounded());
            sum = sum.checked_add(share).unwrap();
            order.lines[0].refunded += quantity;
        }
        prop_assert_eq!(order.lines[0].refunded, quantity);
        prop_assert_eq!(sum, total);
    }
}
