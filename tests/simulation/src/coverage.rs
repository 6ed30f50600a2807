//! What the runs came across.

use crate::calls::{Actor, Fault, Op};

/// A turn of an order's life that is worth knowing to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Mark {
    Delivered,
    Refunded,
    PartlyRefunded,
    RefundFailed,
    OutOfStock,
    PaymentDeclined,
    CaptureFailed,
    Expired,
    CancelledByCustomer,
    GivenUp,
    /// Cancelled after it was paid.
    PaidAndCancelled,
    /// Given up, found to be paid.
    CompletedAfterAll,
    /// Its compensation failed, and people let it go on.
    CompensationFailed,
    /// Another wrote in between.
    Conflict,
    /// Too few units.
    Short,
    /// A customer's request that was answered before.
    RequestRepeated,
    /// A write whose reply was lost was found to be done.
    OwnWriteFound,
    /// A step went on after its execution had ended.
    Zombie,
    /// The sweep found an execution at work, started a lost one, let one go on, replaced one.
    SweepPostponed,
    SweepStarted,
    SweepRedrove,
    SweepReplaced,
    StockAdjusted,
    /// The card's owner did what was required after the order was given up.
    ActedLate,
}

impl Mark {
    const ALL: [Self; 24] = [
        Self::Delivered,
        Self::Refunded,
        Self::PartlyRefunded,
        Self::RefundFailed,
        Self::OutOfStock,
        Self::PaymentDeclined,
        Self::CaptureFailed,
        Self::Expired,
        Self::CancelledByCustomer,
        Self::GivenUp,
        Self::PaidAndCancelled,
        Self::CompletedAfterAll,
        Self::CompensationFailed,
        Self::Conflict,
        Self::Short,
        Self::RequestRepeated,
        Self::OwnWriteFound,
        Self::Zombie,
        Self::SweepPostponed,
        Self::SweepStarted,
        Self::SweepRedrove,
        Self::SweepReplaced,
        Self::StockAdjusted,
        Self::ActedLate,
    ];
}

const MARKS: usize = Mark::ALL.len();
const ACTORS: usize = Actor::ALL.len();
const OPS: usize = Op::ALL.len();
const FAULTS: usize = Fault::ALL.len();

/// What runs came across, and how often: turns of orders, and faults at each operation of each call.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// Operations in all.
    pub operations: u64,
    marks: [u64; MARKS],
    faults: Box<[[[u64; FAULTS]; OPS]; ACTORS]>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            operations: 0,
            marks: [0; MARKS],
            faults: Box::new([[[0; FAULTS]; OPS]; ACTORS]),
        }
    }
}

impl Coverage {
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks[mark as usize] += 1;
    }

    pub(crate) fn fault(&mut self, actor: Actor, op: Op, fault: Fault) {
        self.faults[actor as usize][op as usize][fault as usize] += 1;
    }

    /// Adds what another run came across.
    pub fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        for (sum, count) in self.marks.iter_mut().zip(other.marks) {
            *sum += count;
        }
        let all = other.faults.as_flattened().as_flattened();
        for (sum, count) in self
            .faults
            .as_flattened_mut()
            .as_flattened_mut()
            .iter_mut()
            .zip(all)
        {
            *sum += count;
        }
    }

    /// Faults in all.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.as_flattened().as_flattened().iter().sum()
    }

    /// The turns, and how often each was taken.
    #[must_use]
    pub fn turns(&self) -> String {
        let turns = Mark::ALL.into_iter().zip(self.marks);
        let turns = turns.map(|(mark, count)| format!("{mark:?} {count}"));
        turns.collect::<Vec<_>>().join(", ")
    }

    /// What never came: turns, and faults at operations.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let turns = Mark::ALL.into_iter().zip(self.marks);
        let turns = turns.filter(|(_, count)| *count == 0);
        let places = Actor::ALL
            .into_iter()
            .flat_map(|actor| actor.ops().iter().map(move |op| (actor, *op)));
        let faults = places.flat_map(|(actor, op)| {
            let faults = Fault::ALL
                .into_iter()
                .filter(move |fault| fault.can_meet(op));
            faults.map(move |fault| (actor, op, fault))
        });
        let faults = faults.filter(|(actor, op, fault)| {
            self.faults[*actor as usize][*op as usize][*fault as usize] == 0
        });
        turns
            .map(|(mark, _)| format!("{mark:?}"))
            .chain(faults.map(|(actor, op, fault)| format!("{actor:?}: {fault:?} at {op:?}")))
            .collect()
    }
}
