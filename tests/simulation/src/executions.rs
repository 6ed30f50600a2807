//! Executions of the state machine: which step follows which, and what is tried again.

use std::rc::Rc;

use shared::orders::{model::Run, rules::Refusal};

use crate::{
    calls::{self, Actor, Failure, Job, Outcome},
    coverage::Mark,
    people::REFUNDS,
    scheduler::{SECOND, Sim},
    world::Course,
};

/// Where an execution begins.
pub const fn first(run: &Run) -> Actor {
    match run {
        Run::Place => Actor::Reserve,
        Run::Cancel => Actor::Undo,
        Run::Refund(_) => Actor::Refund,
    }
}

/// What follows after a step came out so.
fn next(step: Actor, outcome: &Outcome) -> Result<Actor, Course> {
    match (step, outcome) {
        (Actor::Reserve, Ok(())) => Ok(Actor::Authorise),
        (Actor::Authorise, Ok(())) => Ok(Actor::Confirm),
        (Actor::Confirm, Ok(())) => Ok(Actor::Capture),
        (Actor::Reserve | Actor::Authorise | Actor::Confirm | Actor::Capture, Err(_)) => {
            Ok(Actor::Undo)
        }
        (Actor::Undo, Ok(())) => Ok(Actor::Release),
        (Actor::Release, Ok(())) => Ok(Actor::Cancel),
        (_, Ok(()) | Err(Failure::Refused(Refusal::OrderCompleted))) => Err(Course::Succeeded),
        (_, Err(_)) => Err(Course::Failed),
    }
}

/// Takes an execution on from the step where it stands, to its end, unless it is lost on the way.
pub async fn execute(sim: Rc<Sim>, execution: usize) {
    let (mut job, bent) = {
        let world = sim.world.borrow();
        let execution = &world.executions[execution];
        let refund = match &execution.run {
            Run::Refund(id) => REFUNDS.into_iter().find(|known| known == id),
            Run::Place | Run::Cancel => None,
        };
        let job = Job {
            actor: execution.step,
            order: execution.order,
            refund: refund.unwrap_or_default(),
        };
        (job, |step| {
            sim.mutant.map_or(step, |mutant| mutant.instead(step))
        })
    };
    let course = loop {
        let step = job.actor;
        sim.world.borrow_mut().executions[execution].step = step;
        if sim.is_faulty() && sim.happens(3) {
            break Course::Failed;
        }
        job.actor = bent(step);
        let mut outcome = tried(&sim, job, step, execution).await;
        // The state machine itself trips over what a step said.
        if !is_backward(step) && sim.is_faulty() && sim.happens(1) {
            outcome = Err(Failure::Permanent);
        }
        if matches!(outcome, Err(Failure::Refused(Refusal::OrderCompleted))) {
            sim.world.borrow_mut().mark(Mark::CompletedAfterAll);
        }
        match next(step, &outcome) {
            Ok(next) => job.actor = next,
            Err(course) => break course,
        }
    };
    sim.world.borrow_mut().end(execution, course);
}

const fn is_backward(step: Actor) -> bool {
    matches!(
        step,
        Actor::Undo | Actor::Release | Actor::Cancel | Actor::Refund
    )
}

/// Runs a step, and again after what may come right by itself; a compensation, after whatever failed.
/// A compensation that fails for the last time says so in the order.
async fn tried(sim: &Rc<Sim>, job: Job, step: Actor, execution: usize) -> Outcome {
    let is_backward = is_backward(step);
    let most_delay = if is_backward { 300 } else { 30 };
    let is_patient = is_backward || matches!(step, Actor::Capture);
    let attempts = if is_patient { 10 } else { 5 };
    let mut attempt = 0;
    loop {
        let outcome = calls::make(sim, job, Some(execution)).await;
        let may_retry = match &outcome {
            Ok(()) | Err(Failure::Refused(Refusal::OrderCompleted)) => false,
            Err(Failure::Death | Failure::NoReply | Failure::Transient) => true,
            Err(_) => is_backward,
        };
        if !may_retry {
            return outcome;
        }
        if attempt == attempts {
            let is_alive = !matches!(outcome, Err(Failure::Death));
            if is_backward && step != Actor::Refund && is_alive {
                let actor = Actor::Fail;
                drop(calls::make(sim, Job { actor, ..job }, Some(execution)).await);
            }
            return outcome;
        }
        let delay = (1 << attempt).min(most_delay) * SECOND;
        sim.pause(sim.below(delay)).await;
        attempt += 1;
    }
}
