//! The orders' own rules under a seeded scheduler: eight customers buy scarce stock, cancel and are
//! given their money back, while the processes that do the work die, repeat themselves, come late, and
//! hear nothing or nonsense from the payment provider.
//!
//! A run is its seed: the same seed plays the same run. After each write the books are looked through
//! ([`shared::orders::invariants`]), and once more when everything has come to rest, which it must.
//! Rules, events, stock and invariants are those of the functions; the steps between them are written
//! here once more, without input and output.

mod calls;
mod command;
mod coverage;
mod executions;
mod mutants;
mod people;
mod provider;
mod scheduler;
mod steps;
mod world;

use jiff::SignedDuration;
use shared::{
    orders::model::{CancelReason, Order, RefundStanding, Saga, Status},
    platform::ids::Random,
};

pub use self::{
    command::Command,
    coverage::Coverage,
    mutants::Mutant,
    world::{Broken, CUSTOMERS},
};
use self::{coverage::Mark, scheduler::Sim, world::World};

/// Plays the run of `seed`: what it came across, and the first thing that was wrong. A traced run is
/// printed operation by operation.
#[must_use]
pub fn play(seed: u64, mutant: Option<Mutant>, is_traced: bool) -> (Coverage, Option<Broken>) {
    let random = Random::seeded(seed);
    let mut world = World::new(&random, mutant);
    world.is_traced = is_traced;
    let faults = [0, 5, 15, 40][random.up_to(3) as usize];
    let sim = Sim::new(world, mutant, faults, random);
    if faults > 0 {
        sim.world.borrow_mut().outages = [6, 12].map(|percent| {
            let from = sim.now() + SignedDuration::from_secs(sim.below(600).into());
            let to = from + SignedDuration::from_mins(sim.below(120).into());
            sim.happens(percent).then_some((from, to))
        });
    }
    people::begin(&sim);
    let mut end = sim.run();
    sim.faults.set(0);
    sim.world.borrow_mut().outages = [None; 2];
    people::let_go_on(&sim);
    end = end.and_then(|()| sim.run());
    let mut world = sim.world.borrow_mut();
    let is_healed = |order: &Order| order.saga != Saga::CompensationFailed;
    if end.is_err() || !world.orders.iter().all(is_healed) {
        world.broken.get_or_insert(Broken::Endless);
    }
    world.check(true);
    let mut coverage = std::mem::take(&mut world.coverage);
    for order in &world.orders {
        outcomes(order, &mut coverage);
    }
    (coverage, world.broken.take())
}

fn outcomes(order: &Order, coverage: &mut Coverage) {
    match order.status {
        Status::Delivered => coverage.mark(Mark::Delivered),
        Status::Refunded => coverage.mark(Mark::Refunded),
        _ => {}
    }
    for refund in &order.refunds {
        match refund.standing {
            RefundStanding::Done if order.status != Status::Refunded => {
                coverage.mark(Mark::PartlyRefunded);
            }
            RefundStanding::Failed => coverage.mark(Mark::RefundFailed),
            _ => {}
        }
    }
    let Some(cancellation) = &order.cancellation else {
        return;
    };
    coverage.mark(match cancellation.reason {
        CancelReason::OutOfStock => Mark::OutOfStock,
        CancelReason::PaymentDeclined => Mark::PaymentDeclined,
        CancelReason::CaptureFailed => Mark::CaptureFailed,
        CancelReason::Expired => Mark::Expired,
        CancelReason::Customer | CancelReason::Staff => Mark::CancelledByCustomer,
        CancelReason::Failed => Mark::GivenUp,
    });
    let payment = order.payment.as_ref();
    if payment.is_some_and(|payment| !payment.captured.amount().is_zero()) {
        coverage.mark(Mark::PaidAndCancelled);
    }
}

#[cfg(test)]
mod tests;
