//! A request to an API of the shop: what was asked before it, and how often it is made again.

use std::{cell::RefCell, sync::Arc};

use jiff::SignedDuration;
use tokio::sync::OnceCell;

use super::{
    commerce::{Checkpoint, House},
    driver::{Delivery, Scenario},
    state::State,
    trigger::{Answer, Ask},
};
use crate::support::faults::Plan;

/// A request. In its path and body, `{0}` stands for the identifier of what the first request before it made,
/// and so on.
pub(super) struct Route {
    name: &'static str,
    before: Vec<Ask>,
    ask: Ask,
    is_once: bool,
    is_executed: bool,
    is_untimed: bool,
    begun: OnceCell<(Checkpoint, Vec<String>)>,
}

/// The shop, and what was answered last.
pub(super) struct Asked {
    house: House,
    ids: Vec<String>,
    answer: RefCell<Option<Answer>>,
}

impl Route {
    pub(super) fn new(name: &'static str, ask: Ask) -> Self {
        Self {
            name,
            before: Vec::new(),
            ask,
            is_once: false,
            is_executed: true,
            is_untimed: false,
            begun: OnceCell::new(),
        }
    }

    /// With an `Idempotency-Key`, by which every answer is the same.
    pub(super) fn once(mut self) -> Self {
        self.ask = self.ask.once();
        self.is_once = true;
        self
    }

    /// After another request.
    pub(super) fn after(mut self, ask: Ask) -> Self {
        self.before.push(ask);
        self
    }

    /// Before the executions that were begun get on.
    pub(super) const fn before_executions(mut self) -> Self {
        self.is_executed = false;
        self
    }

    /// It has an execution begin, which is begun minutes later where its process died.
    pub(super) const fn begins_one(mut self) -> Self {
        self.is_untimed = true;
        self
    }

    async fn begin(&self) -> (Checkpoint, Vec<String>) {
        let house = House::of(&Checkpoint::default()).await;
        house.offer("tea", 5).await;
        let mut ids = Vec::new();
        for ask in &self.before {
            let answer = house.ask(&ask.filled(&ids)).await;
            let names = ["id", "address_id"].map(|name| answer.body[name].as_str());
            ids.push(names.into_iter().flatten().collect());
            if self.is_executed {
                house.execute().await;
            }
        }
        (house.checkpoint().await, ids)
    }
}

impl Scenario for Route {
    type World = Asked;

    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn most(&self) -> u32 {
        10
    }

    async fn world(&self) -> Asked {
        let (checkpoint, ids) = self.begun.get_or_init(|| self.begin()).await;
        Asked {
            house: House::of(checkpoint).await,
            ids: ids.clone(),
            answer: RefCell::default(),
        }
    }

    async fn deliver(&self, world: &Asked, plan: &Arc<Plan>, nth: u32) -> Delivery {
        let ask = self.ask.filled(&world.ids);
        let router = world.house.router(plan, &ask.path);
        let answer = ask.of(router, &world.house.clock).await;
        assert!(nth > 1 || answer.status < 300, "{ask:?}: {answer:?}");
        let delivery = answer.delivery();
        *world.answer.borrow_mut() = Some(answer);
        delivery
    }

    async fn wait(&self, world: &Asked) {
        world.house.leases.advance(SignedDuration::from_secs(31));
    }

    async fn finish(&self, world: &Asked) {
        world.house.settle().await;
    }

    async fn state(&self, world: &Asked, _: &[Vec<String>]) -> State {
        let mut state = if self.is_untimed {
            State::untimed()
        } else {
            State::default()
        };
        world.house.add_to(&mut state).await;
        let answer = world.answer.borrow();
        if let Some(Answer { status, body, .. }) = answer.as_ref().filter(|_| self.is_once) {
            state.add(format!("answered {status}: {body}"));
        }
        state
    }
}
