//! Tasks, the order in which they go on, and the time that passes meanwhile.
//!
//! A task runs alone until it pauses. Whichever was to go on first goes on next, and it is that time:
//! how long operations take at random is which of them overtake each other.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use jiff::Timestamp;
use shared::platform::ids::Random;

use crate::{executions, mutants::Mutant, world::World};

/// Milliseconds of a second and a minute.
pub const SECOND: u32 = 1_000;
pub const MINUTE: u32 = 60 * SECOND;

/// 2026-11-20T00:00:00Z.
const BEGIN: i64 = 1_795_132_800_000;

/// Faults come to an end, so that everything can come to rest.
const FAULTS_END: i64 = BEGIN + 3 * 60 * 60 * 1_000;

/// What never ends within so many turns has no end: the longest runs take a tenth of it.
const MOST_TURNS: usize = 50_000;

/// Work that pauses and goes on.
pub type Task<T = ()> = Pin<Box<dyn Future<Output = T>>>;

/// One run.
pub struct Sim {
    /// What the tasks share.
    pub world: RefCell<World>,
    /// The bug that is in it.
    pub mutant: Option<Mutant>,
    /// Percent of the calls that something goes wrong with.
    pub faults: Cell<u32>,
    random: Random,
    now: Cell<i64>,
    wake: Cell<i64>,
    spawned: RefCell<Vec<Task>>,
    alive: Cell<usize>,
}

/// Tasks went on without an end.
#[derive(Debug)]
pub struct Endless;

impl Sim {
    pub fn new(world: World, mutant: Option<Mutant>, faults: u32, random: Random) -> Rc<Self> {
        Rc::new(Self {
            world: RefCell::new(world),
            mutant,
            faults: Cell::new(faults),
            random,
            now: Cell::new(BEGIN),
            wake: Cell::new(BEGIN),
            spawned: RefCell::default(),
            alive: Cell::new(0),
        })
    }

    /// What the clock shows.
    ///
    /// # Panics
    ///
    /// Never: a run lasts days, not millennia.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now.get()).expect("days after 2026 are in range")
    }

    /// A number from 0 to below `end`.
    pub fn below(&self, end: u32) -> u32 {
        self.random.up_to(end - 1)
    }

    /// Whether it happens, as it does in `percent` of a hundred cases.
    pub fn happens(&self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// Whether something may still go wrong.
    pub fn is_faulty(&self) -> bool {
        self.faults.get() > 0 && self.now.get() < FAULTS_END
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// How many tasks have not ended.
    pub fn alive(&self) -> usize {
        self.alive.get()
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push(Box::pin(task));
    }

    /// Lets `milliseconds` pass, and other tasks go on.
    pub async fn pause(&self, milliseconds: u32) {
        let mut is_over = false;
        poll_fn(|_| {
            if is_over {
                return Poll::Ready(());
            }
            is_over = true;
            self.wake.set(self.now.get() + i64::from(milliseconds));
            Poll::Pending
        })
        .await;
    }

    /// Lets an operation take its time: most are quick, and one in sixteen takes up to 40 seconds.
    pub async fn work(&self) {
        let most = match self.below(16) {
            0..=10 => 40,
            11..=14 => 3 * SECOND,
            _ => 40 * SECOND,
        };
        self.pause(self.below(most)).await;
    }

    /// Goes on until all tasks have ended, or something is broken.
    pub fn run(self: &Rc<Self>) -> Result<(), Endless> {
        let mut tasks: Vec<(i64, Task)> = Vec::with_capacity(32);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..MOST_TURNS {
            for started in self.world.borrow_mut().started.drain(..) {
                self.spawn(executions::execute(Rc::clone(self), started));
            }
            let now = self.now.get();
            tasks.extend(self.spawned.borrow_mut().drain(..).map(|task| (now, task)));
            self.alive.set(tasks.len());
            let next = (0..tasks.len()).min_by_key(|at| tasks[*at].0);
            let Some(next) = next.filter(|_| self.world.borrow().broken.is_none()) else {
                return Ok(());
            };
            let (at, task) = &mut tasks[next];
            self.now.set(*at);
            match task.as_mut().poll(&mut context) {
                Poll::Pending => *at = self.wake.get(),
                Poll::Ready(()) => drop(tasks.swap_remove(next)),
            }
        }
        Err(Endless)
    }
}
