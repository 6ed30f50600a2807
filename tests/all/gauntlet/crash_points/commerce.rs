//! The shop: catalogue, customers and orders over one table, the state machine that carries orders through,
//! and a way to begin from where a shop once was.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::Router;
use functions::{
    catalog, customers, orders,
    orders::{execution::Executions, sweep},
};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};
use shared::{
    catalog::{category::store::CategoryStore, product::store::ProductStore},
    customers::store::CustomerStore,
    orders::{store::OrderStore, tax::TaxTable, testing},
    platform::{
        aws::{Connection, http_client},
        cache::Cache,
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, OrderSaga, StoreCurrency, UserPool},
        idempotency::Idempotency,
        ids::Random,
        money::Currency,
    },
    stock::store::StockStore,
    testing::{Database, answering},
};

use super::{
    outside::Outside,
    state::{Item, State, dump, restore, text_of},
    trigger::{Answer, Ask, context},
};
use crate::{
    orders::{
        machine::{ABORTED, Call, Execution, Machine},
        steps,
    },
    support::{faults::Plan, gauntlet::seed},
};

pub(super) const TABLE: &str = "Commerce";

/// A call of a function, and what it was given.
pub(super) type Stopped = (String, Value);

/// Where a shop once was.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoint {
    items: Vec<Item>,
    executions: BTreeMap<String, Execution>,
    notified: Vec<Value>,
    stopped: Option<Stopped>,
    now: Option<Timestamp>,
    processes: u64,
}

/// The shop.
pub(super) struct House {
    database: Database,
    pub(super) outside: Outside,
    pub(super) clock: Clock,
    /// The time by which claims run out.
    pub(super) leases: Clock,
    machine: Arc<Machine>,
    executions: steps::Kept,
    notified: RefCell<Vec<Value>>,
    /// The action before whose step executions stop, as if by an operator's hand.
    pub(super) stop: Cell<Option<&'static str>>,
    /// The step that was not called for it.
    pub(super) stopped: RefCell<Option<Stopped>>,
    /// What that step said when it was called by somebody else.
    pub(super) said: RefCell<Option<Result<(), String>>>,
    /// Whether executions can be begun.
    pub(super) is_up: Cell<bool>,
    processes: Cell<u64>,
}

pub(super) fn admin() -> Caller {
    Caller::new("root", [Group::Admin])
}

pub(super) fn jane() -> Caller {
    let claims = json!({"sub": "jane", "cognito:username": "jane", "email": "jane@example.com", "email_verified": "true"});
    let claims = claims.as_object().expect("they are members");
    Caller::from_claims(claims).expect("they name a person")
}

impl House {
    /// A shop as it was.
    pub(super) async fn of(checkpoint: &Checkpoint) -> Self {
        let table = testing::table(TABLE)
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk");
        let database = Database::start(&[table]).await;
        restore(&database.client(), TABLE, &checkpoint.items).await;
        let first = || "2026-11-20T12:00:00Z".parse().expect("it is a time");
        let now = checkpoint.now.unwrap_or_else(first);
        let outside = Outside::default();
        outside.books().people = vec!["jane".to_owned(), "joe".to_owned()];
        Self {
            database,
            outside,
            clock: Clock::fixed(now),
            leases: Clock::fixed(now),
            machine: Arc::new(Machine::read()),
            executions: Arc::new(Mutex::new(checkpoint.executions.clone())),
            notified: RefCell::new(checkpoint.notified.clone()),
            stop: Cell::new(None),
            stopped: RefCell::new(checkpoint.stopped.clone()),
            said: RefCell::default(),
            is_up: Cell::new(true),
            processes: Cell::new(checkpoint.processes),
        }
    }

    pub(super) async fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            items: dump(&self.database.client(), TABLE).await,
            executions: self.executions.lock().expect("nobody panics at it").clone(),
            notified: self.notified.borrow().clone(),
            stopped: self.stopped.borrow().clone(),
            now: Some(self.clock.now()),
            processes: self.processes.get(),
        }
    }

    fn random(&self) -> Random {
        self.processes.set(self.processes.get() + 1);
        Random::seeded(seed() ^ (self.processes.get() << 40))
    }

    pub(super) fn connection(&self, plan: &Arc<Plan>) -> Connection {
        let http = plan.over(http_client(Some(self.database.endpoint())));
        Connection::to_emulator(self.database.endpoint(), http)
    }

    fn service(&self, plan: &Arc<Plan>) -> Executions {
        if self.is_up.get() {
            return steps::service(&self.machine, &self.executions, true, plan);
        }
        let http = answering(|_| {
            let down = r#"{"__type": "StateMachineDoesNotExist"}"#.to_owned();
            http::Response::builder()
                .status(400)
                .body(down)
                .expect("it is an answer")
        });
        let client = Connection::to_emulator("http://127.0.0.1:1", http).step_functions();
        Executions::new(
            client,
            OrderSaga::new("arn:aws:states:us-east-1:0:stateMachine:orders"),
        )
    }

    /// The function that answers on `path`, as a process of its own.
    pub(super) fn router(&self, plan: &Arc<Plan>, path: &str) -> Router {
        let (client, name) = (self.connection(plan).dynamodb(), || TABLE.to_owned());
        let cursors = CursorKey::new([1; 32]).expect("it is long enough");
        let (clock, leases) = (self.clock.clone(), self.leases.clone());
        let idempotency = Idempotency::new(client.clone(), name(), leases, self.random());
        if path.starts_with("/api/catalog/") {
            return catalog::api::router(catalog::context::Context {
                categories: CategoryStore::new(client.clone(), name()),
                products: ProductStore::new(client.clone(), name()),
                stocks: StockStore::new(client, name()),
                currency: StoreCurrency::new(Currency::SGD),
                prices: Cache::new(1, clock.clone()),
                clock,
                random: self.random(),
                cursors,
                idempotency,
            });
        }
        let customers = CustomerStore::new(client.clone(), name());
        if path.starts_with("/api/customers/") {
            return customers::api::router(customers::context::Context {
                customers,
                people: customers::people::People {
                    client: self.outside.connection(plan).cognito(),
                    pool: UserPool::new("us-east-1_Example"),
                },
                clock,
                random: self.random(),
                idempotency,
            });
        }
        orders::api::router(orders::context::Context {
            orders: OrderStore::new(client.clone(), name()),
            catalog: ProductStore::new(client, name()),
            customers,
            executions: self.service(plan),
            currency: StoreCurrency::new(Currency::SGD),
            taxes: TaxTable::flat("0.16".parse().expect("it is a rate")),
            clock,
            random: self.random(),
            cursors,
            idempotency,
        })
    }

    /// The answer to a request that nothing is in the way of.
    pub(super) async fn ask(&self, ask: &Ask) -> Answer {
        let router = self.router(&Plan::none(), &ask.path);
        let answer = ask.of(router, &self.clock).await;
        assert!(answer.status < 300, "{ask:?}: {answer:?}");
        answer
    }

    /// Puts a product with stock on the shelf.
    pub(super) async fn offer(&self, sku: &str, units: u32) {
        self.ask(&Ask::post(admin(), "/api/catalog/products", &product(sku)))
            .await;
        let stock = format!("/api/catalog/stock/{sku}");
        let stock = Ask::new(admin(), Method::PUT, stock).matching("*");
        self.ask(&stock.json(&json!({"available": units, "reason": "opening"})))
            .await;
    }

    /// Calls a step, as a process of its own.
    pub(super) async fn step(
        &self,
        plan: &Arc<Plan>,
        function: &str,
        payload: Value,
    ) -> Result<(), String> {
        let connection = self.connection(plan);
        steps::run(function, payload, &connection, TABLE, &self.clock).await
    }

    async fn call(&self, call: Call) -> Result<(), String> {
        let (function, payload) = match call {
            Call::Function(function, payload) => (function, payload),
            Call::Notification(message) => {
                self.notified.borrow_mut().push(message);
                return Ok(());
            }
        };
        if self
            .stop
            .get()
            .is_some_and(|action| payload["action"] == action)
        {
            self.stop.set(None);
            *self.stopped.borrow_mut() = Some((function, payload));
            return Err(ABORTED.to_owned());
        }
        if let Some(said) = self.said.take() {
            return said;
        }
        self.step(&Plan::none(), &function, payload).await
    }

    /// Runs every execution that is at work until it ends.
    pub(super) async fn execute(&self) {
        while let Some((name, mut execution)) = steps::at_work(&self.executions) {
            let call = async |call| self.call(call).await;
            Box::pin(self.machine.run(&mut execution, &self.clock, call)).await;
            let mut executions = self.executions.lock().expect("nobody panics at it");
            executions.insert(name, execution);
        }
    }

    /// Has executions that were stopped go on where they were.
    pub(super) fn redrive(&self) {
        let mut executions = self.executions.lock().expect("nobody panics at it");
        for execution in executions.values_mut() {
            execution.redrive();
        }
    }

    /// A sweep, as a process of its own.
    pub(super) async fn sweep(&self, plan: &Arc<Plan>) -> Option<sweep::Report> {
        let function = sweep::Context {
            orders: OrderStore::new(self.connection(plan).dynamodb(), TABLE.to_owned()),
            executions: self.service(plan),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let event = LambdaEvent::new(json!({}), context(&self.clock));
        Box::pin(sweep::handle(&function, event)).await.ok()
    }

    /// Goes on until no order waits for anything: executions run, and the sweep finds what they leave.
    pub(super) async fn settle(&self) {
        for _ in 0..12 {
            self.execute().await;
            let items = dump(&self.database.client(), TABLE).await;
            if items.iter().all(|item| !item.contains_key("due_pk")) {
                return;
            }
            self.clock.advance(SignedDuration::from_mins(5));
            let report = self.sweep(&Plan::none()).await.expect("the table answers");
            assert_eq!(report.failed, 0);
        }
        panic!("the orders come to no rest");
    }

    /// Everything in the table, the executions, what they had told, and who may still sign in.
    pub(super) async fn add_to(&self, state: &mut State) {
        // The tree is packed with the names of its categories, which were drawn; it is told by its answer.
        let tree = self
            .ask(&Ask::new(admin(), Method::GET, "/api/catalog/tree"))
            .await;
        state.add(format!("tree: {}", tree.body));
        let edit = |item: &mut Map<String, Value>| {
            if text_of(item, "pk") == "TREE" {
                item.remove("frame");
            }
            // What a set of categories costs begins under a version that was drawn.
            if text_of(item, "pk") == "CATEGORYSTATS" {
                item.remove("version");
            }
            // Which of an index's partitions an order is in depends on its number, which was drawn.
            let status = text_of(item, "status_pk").rsplit_once('#');
            if let Some(status) = status.map(|(status, _)| json!(status)) {
                item.insert("status_pk".to_owned(), status);
            }
        };
        state.add_table(&self.database, TABLE, edit).await;
        let executions = self.executions.lock().expect("nobody panics at it");
        for (
            name,
            Execution {
                standing, input, ..
            },
        ) in &*executions
        {
            state.add(format!("{name} {}: {input}", standing.as_str()));
        }
        for message in &*self.notified.borrow() {
            state.add(format!("to be told: {message}"));
        }
        let books = self.outside.books();
        state.add(format!("people: {:?}", books.people));
        assert!(books.messages.is_empty() && books.sent.is_empty());
    }
}

pub(super) fn product(sku: &str) -> Value {
    json!({"sku": sku, "name": format!("A {sku}"), "price": {"amount": "19.99", "currency": "SGD"}})
}

/// A request of Jane's for units of skus.
pub(super) fn order(items: &[(&str, u32)], method: &str) -> Value {
    let item = |(sku, quantity): &(&str, u32)| json!({"sku": sku, "quantity": quantity});
    json!({
        "items": items.iter().map(item).collect::<Value>(),
        "shipping_address": {"recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore",
            "postal_code": "048616", "country": "SG"},
        "payment_method": method,
    })
}
