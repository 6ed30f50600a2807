//! Each step of the saga fails in turn, in every way that it can, and leaves a clean slate.

use shared::{
    orders::model::{Saga, Status},
    payments::sandbox::model::Script,
};

use super::harness::{Outcome, Story, Trouble, World};
use crate::support::faults::Fault;

const FORWARD: [&str; 4] = ["reserve", "authorise", "confirm", "capture"];
const BACK: [&str; 3] = ["undo", "release", "cancel"];

const FAULTS: [Fault; 4] = [
    Fault::DeathBefore,
    Fault::DeathAfter,
    Fault::LostReply,
    Fault::Held,
];

fn is_paid(outcome: &Outcome) -> bool {
    let order = &outcome.order;
    (order.status, order.saga) == (Status::Confirmed, Saga::Completed)
}

fn is_undone(outcome: &Outcome) -> bool {
    let order = &outcome.order;
    (order.status, order.saga) == (Status::Cancelled, Saga::Compensated)
}

/// Has every fault happen at every write of a step, and counts the writes.
async fn at_every_write(
    world: &World,
    (story, script): (Story, Script),
    action: &'static str,
    ends_well: fn(&Outcome) -> bool,
) -> usize {
    let mut writes = 0;
    for fault in FAULTS {
        for at in 0.. {
            let trouble = Trouble::Write(fault, at);
            let outcome = world.tell(story, script, Some((action, trouble))).await;
            assert!(
                ends_well(&outcome),
                "{story:?} {action} {trouble:?}: {outcome:?}"
            );
            if !outcome.is_met {
                writes = writes.max(at);
                break;
            }
        }
    }
    writes
}

#[tokio::test]
async fn a_forward_step_that_dies_is_lost_or_is_late_at_any_write_still_leads_to_a_paid_order() {
    let world = World::start(true).await;
    let bought = (Story::Bought, Script::Approve);
    let mut writes = Vec::new();
    for action in FORWARD {
        writes.push(at_every_write(&world, bought, action, is_paid).await);
    }
    // The provider's are writes as well: it opens, holds and takes.
    assert_eq!(writes, [1, 4, 1, 2]);
}

#[tokio::test]
async fn a_compensation_that_dies_is_lost_or_is_late_at_any_write_still_leads_to_a_clean_slate() {
    let world = World::start(true).await;
    let undone = (Story::Bought, Script::CaptureFails);
    let mut writes = Vec::new();
    for action in BACK {
        writes.push(at_every_write(&world, undone, action, is_undone).await);
    }
    assert_eq!(writes, [2, 1, 1], "held money is let go");
}

#[tokio::test]
async fn what_was_paid_goes_back_once_whatever_happens_to_a_step() {
    let world = World::start(true).await;
    let cancelled = (Story::Cancelled, Script::Approve);
    let mut writes = Vec::new();
    for action in BACK {
        writes.push(at_every_write(&world, cancelled, action, is_undone).await);
    }
    assert_eq!(writes, [2, 1, 1]);
    let is_refunded = |outcome: &Outcome| outcome.order.status == Status::Refunded;
    let refunded = (Story::Refunded, Script::Approve);
    assert_eq!(
        at_every_write(&world, refunded, "refund", is_refunded).await,
        2
    );
}

#[tokio::test]
async fn a_step_that_runs_twice_or_beside_itself_does_its_work_once() {
    let world = World::start(true).await;
    for trouble in [Trouble::Twice, Trouble::Beside] {
        for action in FORWARD {
            let outcome = world
                .tell(Story::Bought, Script::Approve, Some((action, trouble)))
                .await;
            assert!(outcome.is_met && is_paid(&outcome), "{outcome:?}");
            assert_eq!(outcome.notified, ["order-confirmed"]);
        }
        for (story, script) in [
            (Story::Bought, Script::CaptureFails),
            (Story::Cancelled, Script::Approve),
            (Story::TooMuch, Script::Approve),
            (Story::Bought, Script::Decline),
        ] {
            for action in BACK {
                let outcome = world.tell(story, script, Some((action, trouble))).await;
                assert!(outcome.is_met && is_undone(&outcome), "{outcome:?}");
                assert_eq!(outcome.notified.last().unwrap(), "order-cancelled");
            }
        }
    }
}

/// The names that a step can fail by: its own, the others', and the service's.
const NAMES: [&str; 8] = [
    "OutOfStock",
    "PaymentDeclined",
    "OrderCancelled",
    "CaptureFailed",
    "Transient",
    "Permanent",
    "States.Timeout",
    "Lambda.Unknown",
];

#[tokio::test]
async fn a_forward_step_that_fails_by_any_name_whether_or_not_it_did_its_work_leaves_a_clean_slate()
{
    let world = World::start(true).await;
    let bought = (Story::Bought, Script::Approve);
    for action in FORWARD {
        for name in NAMES {
            for trouble in [Trouble::Fails(name, true), Trouble::SaysItFails(name, true)] {
                let outcome = world
                    .tell(bought.0, bought.1, Some((action, trouble)))
                    .await;
                assert!(outcome.is_met, "{outcome:?}");
                // Money that was taken stays taken when nobody asks for it back.
                let was_done = action == "capture" && matches!(trouble, Trouble::SaysItFails(..));
                let ends_well = if was_done { is_paid } else { is_undone };
                assert!(ends_well(&outcome), "{action} {trouble:?}: {outcome:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_compensation_that_fails_for_good_is_taken_up_again_in_every_way_there_is() {
    for is_redrivable in [true, false] {
        let world = World::start(is_redrivable).await;
        for action in BACK {
            for trouble in [
                Trouble::Fails("Transient", true),
                Trouble::SaysItFails("Lambda.Unknown", true),
                Trouble::Aborted,
            ] {
                let cancelled = (Story::Cancelled, Script::Approve);
                for (story, script) in [cancelled, (Story::Bought, Script::CaptureFails)] {
                    let outcome = world.tell(story, script, Some((action, trouble))).await;
                    assert!(
                        outcome.is_met && is_undone(&outcome),
                        "{action} {trouble:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn an_execution_that_stops_anywhere_is_taken_up_again_or_its_reservation_runs_out() {
    for is_redrivable in [true, false] {
        let world = World::start(is_redrivable).await;
        for action in FORWARD {
            let trouble = Some((action, Trouble::Aborted));
            let outcome = world.tell(Story::Bought, Script::Approve, trouble).await;
            // Stock is held and payment has not begun: there is nothing to wait for.
            let ends_well = if action == "authorise" {
                is_undone
            } else {
                is_paid
            };
            assert!(
                outcome.is_met && ends_well(&outcome),
                "{action}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_customer_may_cancel_before_any_step_and_gets_everything_back() {
    let world = World::start(true).await;
    for action in FORWARD {
        let trouble = Some((action, Trouble::Cancelled));
        let outcome = world.tell(Story::Bought, Script::Approve, trouble).await;
        assert!(
            outcome.is_met && is_undone(&outcome),
            "{action}: {outcome:?}"
        );
        assert_eq!(outcome.notified, ["order-cancelled"], "{action}");
    }
}

#[tokio::test]
async fn a_cancellation_that_overtakes_any_write_of_a_step_is_followed_at_once() {
    let world = World::start(true).await;
    for (action, writes) in FORWARD.into_iter().zip([1, 4, 1, 2]) {
        for at in 0..writes {
            let trouble = Some((action, Trouble::Overtaken(at)));
            let outcome = world.tell(Story::Bought, Script::Approve, trouble).await;
            assert!(
                outcome.is_met && is_undone(&outcome),
                "{action} {at}: {outcome:?}"
            );
            assert_eq!(outcome.notified, ["order-cancelled"], "{action} {at}");
        }
    }
}

#[tokio::test]
async fn every_script_of_the_provider_ends_as_it_says() {
    let world = World::start(true).await;
    for script in Script::ALL {
        let outcome = world.tell(Story::Bought, script, None).await;
        let approves = matches!(
            script,
            Script::Approve | Script::TimeoutAfterCharge | Script::Flaky | Script::RefundFails
        );
        let (ends_well, kind): (fn(&Outcome) -> bool, _) = if approves {
            (is_paid, "order-confirmed")
        } else {
            (is_undone, "order-cancelled")
        };
        assert!(ends_well(&outcome), "{script:?}: {outcome:?}");
        assert_eq!(outcome.notified, [kind], "{script:?}");
    }
    let outcome = world.tell(Story::TooMuch, Script::Approve, None).await;
    assert!(is_undone(&outcome));
    assert_eq!(outcome.order.payment, None);
}

#[tokio::test]
async fn money_that_the_provider_keeps_is_left_to_people() {
    let world = World::start(true).await;
    let outcome = world
        .tell(Story::Cancelled, Script::RefundFails, None)
        .await;
    assert_eq!(outcome.order.saga, Saga::CompensationFailed);
    assert_eq!(outcome.order.status, Status::Confirmed);
    let outcome = world.tell(Story::Refunded, Script::RefundFails, None).await;
    assert!(is_paid(&outcome), "{outcome:?}");
}
