//! Who acts upon orders from outside: customers, staff, and the sweep that looks after them all.

use std::rc::Rc;

use shared::{
    orders::{
        model::{CancelReason, Order, Run, Saga, Status, Units},
        rules::{self, Decision, RefundOf},
    },
    payments::sandbox::model::Script,
    stock,
};

use crate::{
    calls::{self, Actor, Call, Failure, Job, Op, Outcome},
    coverage::Mark,
    mutants::Mutant,
    scheduler::{MINUTE, SECOND, Sim},
    world::{CUSTOMERS, Course},
};

/// Refunds that staff ask for, an order each.
pub const REFUNDS: [&str; 3] = ["first", "second", "third"];

/// Sends everybody to work.
pub fn begin(sim: &Rc<Sim>) {
    let spread = [SECOND, 10 * SECOND, 10 * MINUTE][sim.below(3) as usize];
    for customer in 0..CUSTOMERS {
        let begin = sim.below(spread);
        sim.spawn(buy(Rc::clone(sim), customer, begin));
    }
    if sim.happens(30) {
        for _ in 0..4 {
            sim.spawn(count_stock(Rc::clone(sim)));
        }
    }
    sim.spawn(look_after(Rc::clone(sim)));
}

/// Somebody finds more or fewer units on a shelf than there should be.
async fn count_stock(sim: Rc<Sim>) {
    sim.pause(sim.below(10 * MINUTE)).await;
    let (at, delta) = (sim.below(3) as usize, i64::from(sim.below(9)) - 4);
    let mut world = sim.world.borrow_mut();
    if let Ok(stock) = stock::rules::adjusted(world.stocks[at].clone(), delta) {
        world.stocks[at] = stock;
        world.mark(Mark::StockAdjusted);
        world.check(false);
    }
}

/// A customer asks until there is an answer, at most four times; then it goes its way.
async fn buy(sim: Rc<Sim>, customer: usize, begin: u32) {
    sim.pause(begin).await;
    for _ in 0..4 {
        if calls::make(&sim, Job::new(Actor::Create, customer), None)
            .await
            .is_ok()
        {
            break;
        }
        sim.pause(SECOND).await;
    }
    let Some(order) = sim.world.borrow().order_of(customer) else {
        return;
    };
    if sim.happens(30) {
        let job = Job::new(Actor::RequestCancellation, order);
        let after = [SECOND, 20 * SECOND, 2 * MINUTE, 30 * MINUTE][sim.below(4) as usize];
        sim.spawn(ask(Rc::clone(&sim), job, sim.below(after)));
    }
    let method = Script::RequiresAction.method();
    if sim.world.borrow().orders[order].payment_method == method {
        sim.spawn(act(Rc::clone(&sim), order));
    }
    if sim.happens(60) {
        for _ in 0..3 {
            let job = Job::new(Actor::Advance, order);
            sim.spawn(ask(Rc::clone(&sim), job, sim.below(20 * MINUTE)));
        }
    }
    if sim.happens(30) {
        for refund in REFUNDS {
            let job = Job {
                refund,
                ..Job::new(Actor::RequestRefund, order)
            };
            sim.spawn(ask(Rc::clone(&sim), job, sim.below(20 * MINUTE)));
        }
    }
}

/// Asks for something after a while, and once more when there is no answer.
async fn ask(sim: Rc<Sim>, job: Job, after: u32) {
    sim.pause(after).await;
    let answer = calls::make(&sim, job, None).await;
    if !matches!(answer, Ok(()) | Err(Failure::Refused(_))) {
        drop(calls::make(&sim, job, None).await);
    }
}

async fn ask_once(sim: Rc<Sim>, job: Job) {
    drop(calls::make(&sim, job, None).await);
}

/// The customer does what the bank required.
async fn act(sim: Rc<Sim>, order: usize) {
    sim.pause(sim.below(5 * MINUTE)).await;
    let world = &mut *sim.world.borrow_mut();
    let order = &world.orders[order];
    if order.cancellation.is_some() {
        world.coverage.mark(Mark::ActedLate);
    }
    world.provider.act(order);
    world.check(false);
}

pub async fn create(call: &Call) -> Outcome {
    let customer = call.job.order;
    let now = call.sim.now();
    let order = call
        .op(Op::Commit, |world| world.create(customer, now))
        .await?;
    drop(
        call.op(Op::Start, |world| world.start(order, &Run::Place, None))
            .await,
    );
    Ok(())
}

/// Starts the execution that an order waits for, if it can.
async fn begin_run(call: &Call, order: &Order) {
    if let Some((run, _)) = rules::awaited(order) {
        let at = call.job.order;
        drop(
            call.op(Op::Start, |world| world.start(at, &run, None))
                .await,
        );
    }
}

pub async fn request_cancellation(call: &Call) -> Outcome {
    let reason = CancelReason::Customer;
    let order = call
        .change(|order, _| rules::request_cancellation(order, reason, None))
        .await?;
    begin_run(call, &order).await;
    Ok(())
}

pub async fn advance(call: &Call) -> Outcome {
    call.change(|order, _| {
        let to = match order.status {
            Status::Confirmed => Status::Processing,
            Status::Processing => Status::Shipped,
            _ => Status::Delivered,
        };
        rules::advance(order, to, None)
    })
    .await
    .map(drop)
}

pub async fn request_refund(call: &Call) -> Outcome {
    let Job { order, refund, .. } = call.job;
    let kind = order + refund.len();
    let order = call
        .change(|order, now| {
            // A repeated request is answered as the first was.
            if order.refunds.iter().any(|known| known.refund_id == refund) {
                return Ok(Decision::Settled);
            }
            let of = wanted(order, kind);
            rules::request_refund(order, refund, of, kind.is_multiple_of(2), None, now)
        })
        .await?;
    begin_run(call, &order).await;
    Ok(())
}

fn wanted(order: &Order, kind: usize) -> RefundOf {
    let line = &order.lines[kind % order.lines.len()];
    match kind % 3 {
        0 => RefundOf::Everything,
        1 => RefundOf::Amount(line.unit_price),
        _ => RefundOf::Lines(vec![Units {
            sku: line.sku.clone(),
            quantity: 1,
        }]),
    }
}

/// Sweeps each minute, also while earlier sweeps are at work, until nothing is left to be done.
async fn look_after(sim: Rc<Sim>) {
    loop {
        sim.pause(MINUTE).await;
        let due = sim.world.borrow().due.iter().any(Option::is_some);
        if sim.alive() == 1 && !due {
            return;
        }
        let now = sim.now();
        let count = sim.world.borrow().orders.len();
        for order in 0..count {
            if sim.world.borrow().due[order].is_some_and(|due| due <= now) {
                let job = Job::new(Actor::Sweep, order);
                sim.spawn(ask_once(Rc::clone(&sim), job));
            }
        }
    }
}

/// Gives up an order whose hold on stock ran out, or sees to it that its execution is at work.
pub async fn sweep(call: &Call) -> Outcome {
    let order = call.load().await?;
    let now = call.sim.now();
    let Some((run, due)) = rules::awaited(&order) else {
        return Ok(());
    };
    if due > now {
        return Ok(());
    }
    if let Decision::Change(change) =
        call.decide(&order, now, |order, now| Ok(rules::expire(order, now)))?
    {
        return call.commit(order, change, now).await.map(drop);
    }
    keep(call, &order, &run).await?;
    let (at, version) = (call.job.order, order.version);
    call.op(Op::Postpone, |world| world.postpone(at, version, now))
        .await
}

async fn keep(call: &Call, order: &Order, run: &Run) -> Outcome {
    let at = call.job.order;
    for anew in [None, Some(order.version)] {
        let started = call.op(Op::Start, |world| world.start(at, run, anew));
        let Some(execution) = started.await? else {
            call.mark(match anew {
                None => Mark::SweepStarted,
                Some(_) => Mark::SweepReplaced,
            });
            return Ok(());
        };
        let describe = call.op(Op::Describe, |world| world.executions[execution].course);
        if describe.await? == Course::Alive {
            call.mark(Mark::SweepPostponed);
            return Ok(());
        }
        if call.is(Mutant::NeverRedrives) {
            return Ok(());
        }
        let redrive = call.op(Op::Redrive, |world| world.redrive(execution));
        if redrive.await? {
            call.mark(Mark::SweepRedrove);
            return Ok(());
        }
    }
    Err(Failure::Permanent)
}

/// People let every execution go on that could not undo an order.
pub fn let_go_on(sim: &Sim) {
    let mut world = sim.world.borrow_mut();
    world.provider.relent();
    for order in 0..world.orders.len() {
        if world.orders[order].saga == Saga::CompensationFailed {
            world.mark(Mark::CompensationFailed);
            let executions = world.executions.iter().rposition(|execution| {
                execution.order == order && execution.course == Course::Failed
            });
            if let Some(execution) = executions {
                world.redrive(execution);
            }
        }
    }
}
