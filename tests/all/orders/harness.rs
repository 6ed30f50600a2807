//! The saga with its real steps, real sweep and the sandbox provider over an embedded table, under a
//! state machine that is interpreted: what is done to a step, and that the slate is clean afterwards.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use aws_sdk_dynamodb::types::AttributeValue;
use functions::orders::{execution::Executions, sweep};
use futures_util::future::LocalBoxFuture;
use jiff::SignedDuration;
use lambda_runtime::{Context as LambdaContext, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    orders::{
        invariants::{Books, of_log, violations},
        model::{CancelReason, Order, OrderId, Saga},
        rules::{self, Decision, RefundOf},
        store::{Committed, Created, OrderStore},
        testing,
    },
    payments::sandbox::model::Script,
    platform::{
        aws::{Connection, http_client},
        clock::Clock,
        ids::Random,
    },
    stock::store::StockStore,
    testing::Database,
};

use super::machine::{ABORTED, Call, Machine};
use super::steps::{self, Kept};
use crate::support::{
    charge::charge,
    faults::{Fault, Plan},
};

const TABLE: &str = "Commerce";

/// Units of each order, of as many as there are.
const UNITS: u32 = 2;
const STOCK: u64 = 5;

/// What happens to an order beside what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// It is bought.
    Bought,
    /// More is bought than there is.
    TooMuch,
    /// It is bought, and cancelled by its customer when it is paid.
    Cancelled,
    /// It is bought, and given back by staff when it is paid.
    Refunded,
}

/// What is done to a step of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something goes wrong at the nth write of its first run.
    Write(Fault, usize),
    /// It is not run, and fails by this name, once or as often as it is tried.
    Fails(&'static str, bool),
    /// It is run, and yet fails by this name, once or as often as it is tried.
    SaysItFails(&'static str, bool),
    /// It runs twice, one after the other.
    Twice,
    /// It runs twice at once.
    Beside,
    /// The customer asks for the order to be cancelled right before it.
    Cancelled,
    /// The customer's cancellation comes between its reading and its nth write.
    Overtaken(usize),
    /// The execution stops before it, as if by an operator's hand.
    Aborted,
}

/// A process that was taken for dead, and goes on when all is over.
type Zombie = (Arc<Plan>, LocalBoxFuture<'static, Result<(), String>>);

/// The table and the services around it.
pub(crate) struct World {
    database: Database,
    clock: Clock,
    machine: Arc<Machine>,
    executions: Kept,
    is_redrivable: bool,
    notified: RefCell<Vec<Value>>,
    trouble: Cell<Option<(&'static str, Trouble)>>,
    is_met: Cell<bool>,
    zombies: RefCell<Vec<Zombie>>,
    taken: Cell<u8>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) order: Order,
    /// Whether what was to be done to a step could be done.
    pub(crate) is_met: bool,
    /// The kinds of notifications, in order.
    pub(crate) notified: Vec<String>,
}

impl World {
    pub(crate) async fn start(is_redrivable: bool) -> Self {
        Self {
            database: Database::start(&[testing::table(TABLE)]).await,
            clock: Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap()),
            machine: Arc::new(Machine::read()),
            executions: Arc::default(),
            is_redrivable,
            notified: RefCell::default(),
            trouble: Cell::new(None),
            is_met: Cell::new(false),
            zombies: RefCell::default(),
            taken: Cell::new(0),
        }
    }

    fn connection(&self, plan: &Arc<Plan>) -> Connection {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        Connection::to_emulator(self.database.endpoint(), http)
    }

    fn store(&self) -> OrderStore {
        OrderStore::new(self.database.client(), TABLE.to_owned())
    }

    async fn order(&self, id: &OrderId) -> Order {
        self.store().get(id).await.unwrap().unwrap()
    }

    /// The service that keeps the executions.
    fn service(&self) -> Executions {
        let plan = Plan::none();
        steps::service(&self.machine, &self.executions, self.is_redrivable, &plan)
    }

    /// A run of a function, as a process of its own.
    fn process(
        &self,
        plan: &Arc<Plan>,
        function: &str,
        payload: Value,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        steps::run(
            function,
            payload,
            &self.connection(plan),
            TABLE,
            &self.clock,
        )
    }

    async fn call(&self, call: Call) -> Result<(), String> {
        let (function, payload) = match call {
            Call::Function(function, payload) => (function, payload),
            Call::Notification(message) => {
                self.notified.borrow_mut().push(message);
                return Ok(());
            }
        };
        let run = |plan: &Arc<Plan>| self.process(plan, &function, payload.clone());
        let well = Plan::none();
        let trouble = match self.trouble.get() {
            Some((action, trouble)) if payload["action"] == action => trouble,
            _ => return run(&well).await,
        };
        let is_over = !matches!(
            trouble,
            Trouble::Fails(_, true) | Trouble::SaysItFails(_, true)
        );
        if is_over {
            self.trouble.set(None);
        }
        self.is_met.set(true);
        let id: OrderId = serde_json::from_value(payload["order_id"].clone()).unwrap();
        match trouble {
            Trouble::Write(fault, at) => {
                let plan = Plan::new(fault, at);
                let mut process = run(&plan);
                let ended = tokio::select! {
                    biased;
                    () = plan.held() => None,
                    ended = plan.survive(&mut process) => Some(ended),
                };
                self.is_met.set(plan.writes() > at);
                match ended {
                    Some(Some(result)) => result,
                    Some(None) => Err("Lambda.Unknown".to_owned()),
                    None => {
                        self.zombies.borrow_mut().push((plan, process));
                        Err("States.Timeout".to_owned())
                    }
                }
            }
            Trouble::Fails(name, _) => Err(name.to_owned()),
            Trouble::SaysItFails(name, _) => {
                let _ = run(&well).await;
                Err(name.to_owned())
            }
            Trouble::Twice => {
                let _ = run(&well).await;
                run(&well).await
            }
            Trouble::Beside => tokio::join!(run(&well), run(&well)).0,
            Trouble::Cancelled => {
                self.is_met.set(self.cancel(&id).await);
                run(&well).await
            }
            Trouble::Overtaken(at) => {
                let plan = Plan::new(Fault::Held, at);
                let mut process = run(&plan);
                tokio::select! {
                    biased;
                    () = plan.held() => {
                        self.is_met.set(self.cancel(&id).await);
                        plan.let_go();
                        process.await
                    }
                    ended = &mut process => {
                        self.is_met.set(false);
                        ended
                    }
                }
            }
            Trouble::Aborted => Err(ABORTED.to_owned()),
        }
    }

    /// Makes something happen to an order, and has its execution begin.
    async fn decide(
        &self,
        id: &OrderId,
        decide: impl Fn(&Order) -> Result<Decision, rules::Refusal>,
    ) -> bool {
        let order = self.order(id).await;
        let Ok(Decision::Change(change)) = decide(&order) else {
            return false;
        };
        let now = self.clock.now();
        let committed = self.store().commit(&order, change, now, None).await;
        let Committed::Done(order) = committed.unwrap() else {
            panic!("something else happened to {id}");
        };
        self.service().begin(&order).await.unwrap();
        true
    }

    async fn cancel(&self, id: &OrderId) -> bool {
        let customer = CancelReason::Customer;
        self.decide(id, |order| {
            rules::request_cancellation(order, customer, None)
        })
        .await
    }

    /// Runs every execution that is at work until it ends.
    async fn execute(&self) {
        while let Some((name, mut execution)) = steps::at_work(&self.executions) {
            let call = async |call| self.call(call).await;
            self.machine.run(&mut execution, &self.clock, call).await;
            self.trouble.set(None);
            self.executions.lock().unwrap().insert(name, execution);
        }
    }

    /// Goes on until nothing is awaited: executions run, and the sweep finds what they leave.
    async fn rest(&self, id: &OrderId) {
        let sweep = sweep::Context {
            orders: self.store(),
            executions: self.service(),
            clock: self.clock.clone(),
            random: Random::seeded(2),
        };
        for _ in 0..12 {
            self.execute().await;
            if rules::is_settled(&self.order(id).await) {
                return;
            }
            self.clock.advance(SignedDuration::from_mins(5));
            let event = LambdaEvent::new(json!({}), LambdaContext::default());
            let report = sweep::handle(&sweep, event).await.unwrap();
            assert_eq!(report.failed, 0);
        }
        panic!("{id} does not come to rest: {:?}", self.order(id).await);
    }

    /// Tells a story of an order with some trouble at a step, sees it through, has every step run late,
    /// and checks that the slate is clean.
    pub(crate) async fn tell(
        &self,
        story: Story,
        script: Script,
        trouble: Option<(&'static str, Trouble)>,
    ) -> Outcome {
        let told = format!("{story:?} by {} with {trouble:?}", script.method());
        let id = self.take(story, script).await;
        self.trouble.set(trouble);
        self.is_met.set(false);
        self.notified.borrow_mut().clear();
        let order = self.order(&id).await;
        self.service().begin(&order).await.unwrap();
        self.rest(&id).await;
        match story {
            Story::Bought | Story::TooMuch => {}
            Story::Cancelled => {
                self.trouble.set(trouble);
                self.cancel(&id).await;
            }
            Story::Refunded => {
                self.trouble.set(trouble);
                let now = self.clock.now();
                let everything = |order: &Order| {
                    let id = format!("R{}", order.version);
                    rules::request_refund(order, &id, RefundOf::Everything, true, None, now)
                };
                self.decide(&id, everything).await;
            }
        }
        self.rest(&id).await;
        self.trouble.set(None);
        let zombies = self.zombies.take();
        for (plan, process) in zombies {
            plan.let_go();
            let _ = process.await;
        }
        self.rest(&id).await;
        if self.order(&id).await.saga == Saga::CompensationFailed {
            self.redrive();
            self.execute().await;
        }
        let order = self.order(&id).await;
        self.run_late(&order).await;
        assert_eq!(
            self.order(&id).await,
            order,
            "{told}: a step that runs late changes nothing"
        );
        self.check(&order, &told).await;
        let kinds = self.notified.borrow();
        let kinds = kinds
            .iter()
            .map(|message| message["kind"].as_str().unwrap().to_owned());
        Outcome {
            order,
            is_met: self.is_met.get(),
            notified: kinds.collect(),
        }
    }

    async fn take(&self, story: Story, script: Script) -> OrderId {
        let n = self.taken.replace(self.taken.get() + 1);
        let sku = format!("tea-{n}");
        let put = self.database.client().put_item().table_name(TABLE);
        let put = put
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("META".into()));
        let counters = [
            ("available", STOCK),
            ("received", STOCK),
            ("reserved", 0),
            ("sold", 0),
        ];
        let counters = counters.into_iter().chain([("version", 1)]);
        let put = counters.fold(put, |put, (name, count)| {
            put.item(name, AttributeValue::N(count.to_string()))
        });
        put.send().await.unwrap();
        let units = if story == Story::TooMuch { 9 } else { UNITS };
        let now = self.clock.now();
        let happened = testing::created("ada", script.method(), &[(sku.as_str(), units)]);
        let order = testing::order(n, &happened, now);
        let created = self.store().create(&order, &happened, now, None).await;
        assert_eq!(created.unwrap(), Created::Done);
        order.id
    }

    /// What people do about an order that could not be undone by itself.
    fn redrive(&self) {
        let mut executions = self.executions.lock().unwrap();
        for execution in executions.values_mut() {
            execution.redrive();
        }
    }

    async fn run_late(&self, order: &Order) {
        let refund_id = order.refunds.first().map(|refund| &refund.refund_id);
        for (function, action) in [
            ("${InventoryStep}", "reserve"),
            ("${PaymentStep}", "authorise"),
            ("${ConfirmStep}", "confirm"),
            ("${PaymentStep}", "capture"),
            ("${PaymentStep}", "undo"),
            ("${InventoryStep}", "release"),
            ("${ConfirmStep}", "cancel"),
            ("${PaymentStep}", "refund"),
        ] {
            let payload = json!({"order_id": order.id, "action": action, "refund_id": refund_id});
            let _ = self.process(&Plan::none(), function, payload).await;
        }
    }

    async fn check(&self, order: &Order, told: &str) {
        let skus: Vec<_> = order.lines.iter().map(|line| line.sku.clone()).collect();
        let stocks = StockStore::new(self.database.client(), TABLE.to_owned());
        let stocks: Vec<_> = stocks
            .get_many(&skus)
            .await
            .unwrap()
            .into_values()
            .collect();
        let charge = charge(&self.database.client(), TABLE, order).await;
        let charges: Vec<_> = charge.into_iter().collect();
        let ever = "9999-01-01T00:00:00Z".parse().unwrap();
        let (due, _) = self.store().due(ever, None, 100).await.unwrap();
        let books = Books {
            orders: std::slice::from_ref(order),
            stocks: &stocks,
            charges: &charges,
            running: &due,
            settled: true,
        };
        let found = violations(&books);
        assert!(found.is_empty(), "{told}: {found:?}: {order:?}");
        assert!(!due.contains(&order.id), "{told}: nothing is due");
        let events = self.store().events(&order.id, 0, 100).await.unwrap();
        let found = of_log(order, &events).unwrap();
        assert!(found.is_empty(), "{told}: {found:?}: {events:?}");
    }
}
