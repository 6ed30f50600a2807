//! What plays a handler's crash points: alone, all of them, and in pairs, drawn.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use shared::platform::ids::Random;

use super::state::State;
use crate::support::{
    faults::{Fault, Plan},
    gauntlet::{figure, is_full, seed, sized},
};

/// What a trigger does after a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is done with it.
    Done,
    /// It delivers again.
    Again,
}

impl Delivery {
    pub(super) const fn done(is_done: bool) -> Self {
        if is_done { Self::Done } else { Self::Again }
    }
}

/// A handler, what its trigger delivers, and what must come of it.
pub(super) trait Scenario {
    /// Tables and services around the handler.
    type World;

    /// Function and route, or function and what is delivered.
    fn name(&self) -> String;

    /// Deliveries that the trigger makes at most.
    fn most(&self) -> u32;

    /// The world right before the first delivery; the same each time.
    async fn world(&self) -> Self::World;

    /// Makes the `nth` delivery, from 1, to a process of its own, whose calls all go by `plan`.
    async fn deliver(&self, world: &Self::World, plan: &Arc<Plan>, nth: u32) -> Delivery;

    /// Lets the time pass that the trigger takes until its next delivery. Where no claim has to run out, none
    /// passes, so that times stay comparable.
    async fn wait(&self, _: &Self::World) {}

    /// Has everything else that is on its way happen, undisturbed.
    async fn finish(&self, _: &Self::World) {}

    /// Everything that stands in the end. `lost` are the calls of those processes that died.
    async fn state(&self, world: &Self::World, lost: &[Vec<String>]) -> State;
}

/// The death of a process: before or after its call of this number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Crash {
    at: usize,
    is_after: bool,
}

impl Crash {
    /// Before and after each of `calls`; in the small size, of a row of the same reads only the first and the
    /// last: what they leave behind is the same.
    fn all(calls: &[String]) -> Vec<Self> {
        let is_amid_reads = |at: usize| {
            let around = at.checked_sub(1).and_then(|from| calls.get(from..=at + 1));
            let is_read = calls[at].starts_with("Get") || calls[at] == "Query";
            is_read && around.is_some_and(|around| around.iter().all(|call| *call == calls[at]))
        };
        let struck = (0..calls.len()).filter(|at| is_full() || !is_amid_reads(*at));
        let crashes = struck.flat_map(|at| [false, true].map(|is_after| Self { at, is_after }));
        crashes.collect()
    }

    fn plan(self) -> Arc<Plan> {
        let fault = if self.is_after {
            Fault::DeathAfterCall
        } else {
            Fault::DeathBeforeCall
        };
        Plan::new(fault, self.at)
    }
}

/// How a scenario went.
struct Trial {
    state: State,
    /// The calls of each delivery.
    calls: Vec<Vec<String>>,
    died: usize,
}

async fn play<S: Scenario>(scenario: &S, crashes: &[Crash]) -> Trial {
    let world = scenario.world().await;
    let (mut calls, mut lost, mut is_done) = (Vec::new(), Vec::new(), false);
    for nth in 1..=scenario.most() {
        let crash = crashes.get(calls.len());
        let plan = crash.map_or_else(Plan::none, |crash| crash.plan());
        let delivery = Box::pin(scenario.deliver(&world, &plan, nth));
        let ended = plan.survive(delivery).await;
        calls.push(plan.calls());
        if ended.is_none() {
            lost.push(plan.calls());
        }
        is_done = ended == Some(Delivery::Done);
        if is_done {
            break;
        }
        scenario.wait(&world).await;
    }
    let name = scenario.name();
    assert!(
        is_done,
        "{name} with {crashes:?} is never done with: {calls:?}"
    );
    scenario.finish(&world).await;
    Trial {
        state: scenario.state(&world, &lost).await,
        calls,
        died: lost.len(),
    }
}

/// What a part of the handlers came to.
#[derive(Default)]
pub(super) struct Report {
    handlers: usize,
    points: usize,
    pairs: usize,
    divergences: Vec<String>,
    /// Handler and operation, with how often its process died before and after.
    marks: BTreeMap<String, [usize; 2]>,
}

impl Report {
    /// Plays a scenario undisturbed, with every crash point, and with drawn pairs of them.
    pub(super) async fn play<S: Scenario>(&mut self, scenario: &S) {
        let name = scenario.name();
        let straight = Box::pin(play(scenario, &[])).await;
        let again = Box::pin(play(scenario, &[])).await;
        let told = straight.state.difference(&again.state);
        assert!(told.is_none(), "{name}: undisturbed runs differ: {told:?}");
        let calls = straight.calls.first().map_or(&[][..], Vec::as_slice);
        assert!(!calls.is_empty(), "{name} makes calls");
        self.handlers += 1;
        let mut pairs = Vec::new();
        for crash in Crash::all(calls) {
            let trial = Box::pin(play(scenario, &[crash])).await;
            self.points += 1;
            self.mark(&name, crash, &trial, &straight);
            let next = trial.calls.get(1).map_or(&[][..], Vec::as_slice);
            pairs.extend(Crash::all(next).into_iter().map(|second| [crash, second]));
        }
        let random = Random::seeded(seed());
        for _ in 0..sized(2, 30).min(pairs.len()) {
            let last = u32::try_from(pairs.len() - 1).expect("there are few");
            let drawn = pairs.swap_remove(random.up_to(last) as usize);
            let trial = Box::pin(play(scenario, &drawn)).await;
            self.pairs += 1;
            self.compare(&name, &drawn, &trial, &straight);
        }
    }

    fn mark(&mut self, name: &str, crash: Crash, trial: &Trial, straight: &Trial) {
        assert_eq!(trial.died, 1, "{name} with {crash:?}: the process dies");
        let lost = &trial.calls[0];
        let mark = format!("{name}: {}", lost[crash.at]);
        self.marks.entry(mark).or_default()[usize::from(crash.is_after)] += 1;
        self.compare(name, &[crash], trial, straight);
    }

    fn compare(&mut self, name: &str, crashes: &[Crash], trial: &Trial, straight: &Trial) {
        let Some(difference) = straight.state.difference(&trial.state) else {
            return;
        };
        let told = crashes.iter().zip(&trial.calls).map(|(crash, calls)| {
            let moment = if crash.is_after { "after" } else { "before" };
            let call = calls.get(crash.at).map_or("no call", String::as_str);
            format!("{moment} call {}, {call}", crash.at)
        });
        let told = told.collect::<Vec<_>>().join(", then ");
        self.divergences
            .push(format!("{name}, dead {told}:\n{difference}"));
    }

    /// Tells the figures of a part, and fails where a run did not end as it must.
    pub(super) fn tell(self, part: &str) {
        let check = format!("crash points of {part}");
        figure(&check, "handlers", self.handlers);
        figure(&check, "crash points", self.points);
        figure(&check, "pairs of crash points", self.pairs);
        let struck = self.marks.values().filter(|mark| !mark.contains(&0));
        let struck = format!("{} of {}", struck.count(), self.marks.len());
        figure(&check, "operations dead before and after", struck);
        figure(&check, "divergences", self.divergences.len());
        let mut marks = String::new();
        for (mark, [before, after]) in &self.marks {
            // Writing to a text does not fail.
            let _ = writeln!(marks, "{mark}: {before} dead before, {after} after");
        }
        println!("{marks}");
        let told: Vec<_> = self
            .divergences
            .iter()
            .take(4)
            .map(String::as_str)
            .collect();
        assert!(
            told.is_empty(),
            "{} divergences, GAUNTLET_SEED={}:\n{}",
            self.divergences.len(),
            seed(),
            told.join("\n")
        );
    }
}

/// Runs a part on a runtime of its own.
pub(super) fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(work);
}

/// Mistakes that a handler may make, each of which has to be seen.
mod tests {
    use aws_sdk_dynamodb::{Client, types::AttributeValue};
    use shared::{
        platform::aws::Connection,
        testing::{Database, Table},
    };

    use super::*;

    const TABLE: &str = "Things";

    /// How a handler counts what is delivered to it.
    #[derive(Clone, Copy)]
    enum Counting {
        /// With its own delivery, so that a repetition counts nothing.
        ByKey,
        /// Without looking whether it did so before.
        Again,
        /// After it has noted that it is done with it.
        AfterNoting,
        /// And gives up when it died before.
        ThenGivingUp,
    }

    impl Scenario for Counting {
        type World = Database;

        fn name(&self) -> String {
            "counting".to_owned()
        }

        fn most(&self) -> u32 {
            4
        }

        async fn world(&self) -> Database {
            Database::start(&[Table::new(TABLE)]).await
        }

        async fn deliver(&self, world: &Database, plan: &Arc<Plan>, nth: u32) -> Delivery {
            let http = plan.over(shared::platform::aws::http_client(Some(world.endpoint())));
            let table = Things(Connection::to_emulator(world.endpoint(), http).dynamodb());
            match self {
                Self::ByKey => table.put("counted").await,
                Self::Again => {
                    if !table.has("noted").await {
                        table.add_one().await;
                        table.put("noted").await;
                    }
                }
                Self::AfterNoting => {
                    if !table.has("noted").await {
                        table.put("noted").await;
                        table.put("counted").await;
                    }
                }
                Self::ThenGivingUp if nth == 1 => table.put("counted").await,
                Self::ThenGivingUp => {}
            }
            Delivery::Done
        }

        async fn state(&self, world: &Database, _: &[Vec<String>]) -> State {
            let mut state = State::default();
            state.add_table(world, TABLE, |_| {}).await;
            state
        }
    }

    struct Things(Client);

    impl Things {
        fn text(text: &str) -> AttributeValue {
            AttributeValue::S(text.to_owned())
        }

        async fn put(&self, key: &str) {
            let put = self.0.put_item().table_name(TABLE);
            let put = put.item("pk", Self::text(key)).item("sk", Self::text(key));
            put.send().await.expect("the table takes it");
        }

        async fn has(&self, key: &str) -> bool {
            let get = self.0.get_item().table_name(TABLE);
            let get = get.key("pk", Self::text(key)).key("sk", Self::text(key));
            let found = get.send().await.expect("the table answers");
            found.item.is_some()
        }

        async fn add_one(&self) {
            let update = self.0.update_item().table_name(TABLE);
            let update = update
                .key("pk", Self::text("count"))
                .key("sk", Self::text("count"));
            let update = update
                .update_expression("ADD things :one")
                .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
            update.send().await.expect("the table takes it");
        }
    }

    async fn divergences(counting: Counting) -> Vec<String> {
        let mut report = Report::default();
        report.play(&counting).await;
        report.divergences
    }

    #[tokio::test]
    async fn who_counts_by_key_may_die_anywhere_and_who_does_not_is_found_out() {
        assert_eq!(divergences(Counting::ByKey).await, [""; 0]);
        let again = divergences(Counting::Again).await;
        assert!(again.iter().any(|told| told.contains("\"2\"")), "{again:?}");
        let lost = divergences(Counting::AfterNoting).await;
        assert!(
            lost.iter()
                .any(|told| told.contains("- ") && told.contains("counted")),
            "{lost:?}"
        );
        assert_ne!(divergences(Counting::ThenGivingUp).await, [""; 0]);
    }
}
