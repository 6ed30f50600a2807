//! A call: one run of a step or a request, operation by operation, and what goes wrong with it.
//!
//! Between two operations anything else may happen. An operation is a read, a transaction, or a call of
//! the provider or the state machine; each is done at one moment, or not at all.

use std::{cell::Cell, rc::Rc};

use jiff::Timestamp;
use shared::{
    orders::{
        model::{Order, Shortage},
        rules::{Change, Decision, Refusal},
    },
    payments::model::GatewayError,
};

use crate::{
    coverage::Mark,
    mutants::Mutant,
    people,
    scheduler::{MINUTE, SECOND, Sim, Task},
    steps,
    world::{Committed, Course, World},
};

/// Who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Create,
    Reserve,
    Authorise,
    Confirm,
    Capture,
    Undo,
    Release,
    Cancel,
    Fail,
    Refund,
    Sweep,
    RequestCancellation,
    Advance,
    RequestRefund,
}

impl Actor {
    pub const ALL: [Self; 14] = [
        Self::Create,
        Self::Reserve,
        Self::Authorise,
        Self::Confirm,
        Self::Capture,
        Self::Undo,
        Self::Release,
        Self::Cancel,
        Self::Fail,
        Self::Refund,
        Self::Sweep,
        Self::RequestCancellation,
        Self::Advance,
        Self::RequestRefund,
    ];

    /// The operations that it is made of.
    pub const fn ops(self) -> &'static [Op] {
        use Op::{
            Ask, Authorise, Capture, Commit, Describe, Load, Open, Postpone, Redrive, Refund,
            Start, Void,
        };
        match self {
            Self::Create => &[Commit, Start],
            Self::Authorise => &[Load, Open, Commit, Authorise, Ask],
            Self::Capture => &[Load, Capture, Commit, Ask],
            Self::Undo => &[Load, Commit, Void, Refund, Ask],
            Self::Refund => &[Load, Refund, Commit],
            Self::Sweep => &[Load, Commit, Start, Describe, Redrive, Postpone],
            Self::RequestCancellation | Self::RequestRefund => &[Load, Commit, Start],
            Self::Reserve
            | Self::Confirm
            | Self::Release
            | Self::Cancel
            | Self::Fail
            | Self::Advance => &[Load, Commit],
        }
    }
}

/// What a call does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Reads an order, strongly consistent.
    Load,
    /// Writes an order, its event and its stock in one transaction.
    Commit,
    /// Opens a payment.
    Open,
    /// Has a payment authorised.
    Authorise,
    /// Takes its money.
    Capture,
    /// Lets its money go.
    Void,
    /// Gives its money back.
    Refund,
    /// Asks the provider where it stands.
    Ask,
    /// Starts an execution.
    Start,
    /// Asks how far one has come.
    Describe,
    /// Lets one go on where it failed.
    Redrive,
    /// Has an order looked at again later.
    Postpone,
}

impl Op {
    pub const ALL: [Self; 12] = [
        Self::Load,
        Self::Commit,
        Self::Open,
        Self::Authorise,
        Self::Capture,
        Self::Void,
        Self::Refund,
        Self::Ask,
        Self::Start,
        Self::Describe,
        Self::Redrive,
        Self::Postpone,
    ];

    pub const fn is_at_provider(self) -> bool {
        use Op::{Ask, Authorise, Capture, Open, Refund, Void};
        matches!(self, Open | Authorise | Capture | Void | Refund | Ask)
    }

    /// Whether it is a call of the table.
    pub const fn is_at_table(self) -> bool {
        matches!(self, Self::Load | Self::Commit | Self::Postpone)
    }

    const fn is_write(self) -> bool {
        matches!(self, Self::Commit) || (self.is_at_provider() && !matches!(self, Self::Ask))
    }
}

/// What goes wrong at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before it.
    DeathBefore,
    /// The process dies after it.
    DeathAfter,
    /// It is done, and its reply is lost.
    LostReply,
    /// It is not done.
    Refusal,
    /// It is done much later, when its execution has long gone on or ended.
    Delay,
    /// The whole call begins a second time beside it.
    Repetition,
    /// It is done, and its reply is about something else.
    Garble,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::DeathBefore,
        Self::DeathAfter,
        Self::LostReply,
        Self::Refusal,
        Self::Delay,
        Self::Repetition,
        Self::Garble,
    ];

    /// Whether it is one of `op`'s: only the provider's replies can be about something else.
    pub const fn can_meet(self, op: Op) -> bool {
        !matches!(self, Self::Garble) || op.is_at_provider()
    }
}

/// Why a call fails.
#[derive(Debug)]
pub enum Failure {
    /// The process died.
    Death,
    /// No reply came.
    NoReply,
    /// The reply is not to be trusted.
    Untrusted,
    /// It may come right by itself.
    Transient,
    /// It will not.
    Permanent,
    /// Stock is short.
    Short(Vec<Shortage>),
    /// The money that is held cannot be taken.
    CaptureFailed,
    /// A rule says no.
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        if error.retryable() {
            Self::Transient
        } else {
            Self::Permanent
        }
    }
}

pub type Outcome = Result<(), Failure>;

/// What a call is to do.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub actor: Actor,
    /// The order's place in the world; the customer's for [`Actor::Create`].
    pub order: usize,
    /// Which refund, for the two that are about one.
    pub refund: &'static str,
}

impl Job {
    pub const fn new(actor: Actor, order: usize) -> Self {
        Self {
            actor,
            order,
            refund: "",
        }
    }
}

pub struct Call {
    pub sim: Rc<Sim>,
    pub job: Job,
    /// What goes wrong, and at which operation from 0.
    faults: [Option<(Fault, u32)>; 2],
    /// The execution that it is part of.
    execution: Option<usize>,
    at: Cell<u32>,
}

/// Runs a call. It is boxed, for a call can begin once more in the midst of itself.
fn perform(call: Call) -> Task<Outcome> {
    Box::pin(async move {
        match call.job.actor {
            Actor::Create => people::create(&call).await,
            Actor::Reserve => steps::reserve(&call).await,
            Actor::Authorise => steps::authorise(&call).await,
            Actor::Confirm => steps::confirm(&call).await,
            Actor::Capture => steps::capture(&call).await,
            Actor::Undo => steps::undo(&call).await,
            Actor::Release => steps::release(&call).await,
            Actor::Cancel => steps::cancel(&call).await,
            Actor::Fail => steps::fail(&call).await,
            Actor::Refund => steps::refund(&call).await,
            Actor::Sweep => people::sweep(&call).await,
            Actor::RequestCancellation => people::request_cancellation(&call).await,
            Actor::Advance => people::advance(&call).await,
            Actor::RequestRefund => people::request_refund(&call).await,
        }
    })
}

/// Makes a call, of an execution or of somebody outside. One that an execution waits for in vain runs
/// into its time limit, and goes on nevertheless.
pub async fn make(sim: &Rc<Sim>, job: Job, execution: Option<usize>) -> Outcome {
    let fault = || {
        let fault = Fault::ALL[sim.below(7) as usize];
        (fault, sim.below(8))
    };
    let mut faults = [None, None];
    if sim.is_faulty() && sim.happens(sim.faults.get()) {
        faults[0] = Some(fault());
        faults[1] = sim.happens(30).then(fault);
    }
    let is_delayed = faults
        .iter()
        .flatten()
        .any(|(fault, _)| *fault == Fault::Delay);
    let call = Call {
        sim: Rc::clone(sim),
        job,
        faults,
        execution,
        at: Cell::new(0),
    };
    if !is_delayed || execution.is_none() {
        return perform(call).await;
    }
    sim.spawn(async { drop(perform(call).await) });
    sim.pause(MINUTE).await;
    Err(Failure::Transient)
}

impl Call {
    pub fn is(&self, mutant: Mutant) -> bool {
        self.sim.is(mutant)
    }

    pub fn mark(&self, mark: Mark) {
        self.sim.world.borrow_mut().mark(mark);
    }

    /// Does `act` at one moment, and with it what is to go wrong.
    pub async fn op<T>(&self, op: Op, act: impl FnOnce(&mut World) -> T) -> Result<T, Failure> {
        let at = self.at.replace(self.at.get() + 1);
        let mut faults = self.faults.iter().flatten();
        let fault = faults.find(|(fault, when)| *when == at && fault.can_meet(op));
        let fault = fault.map(|(fault, _)| *fault);
        let sim = &self.sim;
        sim.work().await;
        let is_out = {
            let mut world = sim.world.borrow_mut();
            world.coverage.operations += 1;
            if let Some(fault) = fault {
                world.coverage.fault(self.job.actor, op, fault);
            }
            if world.is_traced {
                let Job { actor, order, .. } = self.job;
                let fault = fault.map(|fault| format!(" {fault:?}")).unwrap_or_default();
                println!("{} {actor:?} {order}: {op:?}{fault}", sim.now());
            }
            world.is_out(op, sim.now())
        };
        match fault {
            Some(Fault::DeathBefore) => return Err(Failure::Death),
            Some(Fault::Delay) => {
                sim.pause(5 * SECOND + sim.below(40 * MINUTE)).await;
                self.meet_end();
            }
            Some(Fault::Repetition) => {
                let call = Self {
                    sim: Rc::clone(sim),
                    faults: [None, None],
                    at: Cell::new(0),
                    ..*self
                };
                sim.spawn(async { drop(perform(call).await) });
            }
            Some(Fault::Refusal) => return Err(Failure::NoReply),
            _ if is_out => return Err(Failure::NoReply),
            _ => {}
        }
        let mut world = sim.world.borrow_mut();
        let done = act(&mut world);
        if op.is_write() {
            world.check(false);
        }
        match fault {
            Some(Fault::DeathAfter) => Err(Failure::Death),
            Some(Fault::LostReply) => Err(Failure::NoReply),
            Some(Fault::Garble) => Err(Failure::Untrusted),
            _ => Ok(done),
        }
    }

    fn meet_end(&self) {
        let mut world = self.sim.world.borrow_mut();
        let ended = self
            .execution
            .map(|execution| world.executions[execution].course);
        if ended.is_some_and(|course| course != Course::Alive) {
            world.mark(Mark::Zombie);
        }
    }

    pub async fn load(&self) -> Result<Order, Failure> {
        let order = self.job.order;
        self.op(Op::Load, |world| world.orders[order].clone()).await
    }

    /// Writes a change. When no reply comes, the order is read again: if the event is there, it is done.
    pub async fn commit(
        &self,
        order: Order,
        change: Change,
        now: Timestamp,
    ) -> Result<Committed, Failure> {
        let at = self.job.order;
        let sequence = order.version + 1;
        let happened = change.happened.clone();
        let later = [Mutant::MovesInTheirOwnWrite, Mutant::EventInItsOwnWrite];
        let parts = later
            .into_iter()
            .any(|mutant| self.is(mutant))
            .then(|| change.clone());
        let committed = self
            .op(Op::Commit, |world| world.commit(at, order, change, now))
            .await;
        let committed = match committed {
            Err(Failure::NoReply) => {
                let found = self.load().await?;
                let world = self.sim.world.borrow();
                let event = world.logs[at].iter().find(|event| event.0 == sequence);
                if event.is_none_or(|event| event.2 != happened) {
                    return Err(Failure::Transient);
                }
                drop(world);
                self.mark(Mark::OwnWriteFound);
                Committed::Done(Box::new(found))
            }
            committed => committed?,
        };
        if let (Some(change), Committed::Done(_)) = (parts, &committed) {
            self.op(Op::Commit, |world| {
                if self.is(Mutant::MovesInTheirOwnWrite) {
                    drop(world.shift(&change.moves));
                } else {
                    world.logs[at].push((sequence, now, change.happened));
                }
            })
            .await?;
        }
        Ok(committed)
    }

    /// Reads the order, decides, and writes what was decided; again when another wrote in between.
    /// Returns the order as it is then.
    pub async fn change(
        &self,
        decide: impl Fn(&Order, Timestamp) -> Result<Decision, Refusal>,
    ) -> Result<Order, Failure> {
        for _ in 0..8 {
            let order = self.load().await?;
            let now = self.sim.now();
            let change = match self.decide(&order, now, &decide)? {
                Decision::Settled => return Ok(order),
                Decision::Change(change) => change,
            };
            match self.commit(order, change, now).await? {
                Committed::Done(order) => return Ok(*order),
                Committed::Short(shortages) => return Err(Failure::Short(shortages)),
                Committed::Conflict => {}
            }
        }
        Err(Failure::Transient)
    }

    /// What the rule says, or the bug in its place.
    pub fn decide(
        &self,
        order: &Order,
        now: Timestamp,
        rule: impl Fn(&Order, Timestamp) -> Result<Decision, Refusal>,
    ) -> Result<Decision, Refusal> {
        let decided = rule(order, now);
        match self.sim.mutant {
            Some(mutant) => mutant.bend(self.job.actor, order, now, decided),
            None => decided,
        }
    }
}
