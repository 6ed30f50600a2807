//! Orders: placed, changed, carried through by the saga's real steps and found again by the sweep; no unit, no
//! cent and no order is ever lost or counted twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_sdk_dynamodb::types::AttributeValue;
use functions::orders::{
    api, context,
    execution::Executions,
    steps::{Orders, confirm, inventory, payment},
    sweep,
};
use futures_util::{StreamExt as _, future::join_all, stream};
use jiff::SignedDuration;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    catalog::{
        id::ProductId,
        product::{
            model::parse_new,
            rules as products,
            store::{ProductStore, Saved},
        },
    },
    customers::store::CustomerStore,
    events::model::{Aggregate, Event},
    orders::{
        invariants::{Books, of_log, violations},
        model::{Order, OrderId, Saga},
        rules::is_settled,
        store::OrderStore,
        tax::TaxTable,
        testing,
    },
    payments::{
        gateway::Gateway,
        sandbox::{Sandbox, model::Script},
    },
    platform::{
        aws::Connection,
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, OrderSaga, StoreCurrency},
        idempotency::Idempotency,
        ids::{Random, uuid_v7},
        money::Currency,
    },
    stock::{model::Sku, store::StockStore},
    testing::{InlineDatabase, Table},
};

use super::{
    below, once_in,
    site::{Ask, Site},
};
use crate::{
    orders::machine::{Call, Execution, Machine, SAGA, Standing, service},
    support::{
        chaos::{Chaos, Fault, paused},
        charge::charge,
        gauntlet::{figure, seed, sized},
    },
};

const CHECK: &str = "chaos: orders";
const TABLE: &str = "Commerce";

/// What is sold, and how much of it there is: enough, and too little.
const GOODS: [(&str, u64); 6] = [
    ("TEA", 1_000_000),
    ("CUP", 1_000_000),
    ("POT", 1_000_000),
    ("TRAY", 1_000_000),
    ("RUG", 9),
    ("LAMP", 4),
];

/// Executions at work beside each other.
const AT_ONCE: usize = 6;

/// Looks at the books while the faults go on.
const AUDITS: u64 = 4;

struct World {
    chaos: Arc<Chaos>,
    clock: Clock,
    random: Random,
    database: InlineDatabase,
    machine: Arc<Machine>,
    executions: Arc<Mutex<BTreeMap<String, Execution>>>,
    customers: Vec<Caller>,
    admin: Caller,
    placed: Vec<(OrderId, usize)>,
    keys: u64,
}

/// Processes of all functions that have to do with orders.
struct Processes {
    site: Site,
    inventory: inventory::Context,
    payment: payment::Context,
    confirm: confirm::Context,
    sweep: sweep::Context,
}

fn table() -> Table {
    testing::table(TABLE)
        .index("products_by_name", "list_pk", "name_sk")
        .index("products_by_newest", "list_pk", "newest_sk")
}

impl World {
    async fn start(seed: u64) -> Self {
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap());
        let chaos = Chaos::start(CHECK, seed, &clock);
        let database = InlineDatabase::with(&[table()]).await;
        chaos.lag_behind(&InlineDatabase::with(&[table()]).await);
        let customers = ["ada", "bob", "cleo", "dan"];
        let world = Self {
            random: Random::seeded(seed),
            machine: Arc::new(Machine::read()),
            executions: Arc::default(),
            customers: customers.map(|name| Caller::new(name, [])).to_vec(),
            admin: Caller::new("root", [Group::Admin]),
            placed: Vec::new(),
            keys: 0,
            database,
            chaos,
            clock,
        };
        for (sku, units) in GOODS {
            world.offer(sku, units).await;
        }
        world
    }

    fn connection(&self) -> Connection {
        let http = self.chaos.over(self.database.http());
        Connection::to_emulator("http://inline.invalid", http)
    }

    fn store(&self) -> OrderStore {
        OrderStore::new(self.connection().dynamodb(), TABLE.to_owned())
    }

    /// Puts a product into the catalogue, and units of it on the shelf.
    async fn offer(&self, sku: &str, units: u64) {
        let now = self.clock.now();
        let body = json!({"sku": sku, "name": sku, "tax_class": "standard",
            "price": {"amount": "19.99", "currency": "SGD"}});
        let (sku, details) = parse_new(&body, Currency::SGD).unwrap();
        let id = ProductId(uuid_v7(now, self.random.bytes()));
        let product = products::create(id, sku.clone(), details, now);
        let event = Event::new(
            Aggregate::Product,
            id.to_string(),
            product.version,
            "made",
            now,
            json!({}),
        );
        let client = self.connection().dynamodb();
        let catalog = ProductStore::new(client.clone(), TABLE.to_owned());
        let saved = catalog.save(None, &product, &event, None).await;
        assert_eq!(saved.unwrap(), Saved::Done);
        let counters = [
            ("available", units),
            ("received", units),
            ("reserved", 0),
            ("sold", 0),
            ("version", 1),
        ];
        let put = client.put_item().table_name(TABLE);
        let put = put
            .item("pk", AttributeValue::S(format!("STOCK#{sku}")))
            .item("sk", AttributeValue::S("META".into()));
        let put = counters.into_iter().fold(put, |put, (name, count)| {
            put.item(name, AttributeValue::N(count.to_string()))
        });
        put.send().await.unwrap();
    }

    fn service(&self) -> Executions {
        let http = service(&self.machine, &self.executions, true);
        let http = self.chaos.over(http);
        let client = Connection::to_emulator("http://127.0.0.1:1", http).step_functions();
        Executions::new(client, OrderSaga::new(SAGA))
    }

    /// New processes of every function.
    fn processes(&self) -> Processes {
        let client = self.connection().dynamodb();
        let name = || TABLE.to_owned();
        let (clock, random) = (
            || self.clock.clone(),
            || Random::seeded(u64::from(self.random.up_to(u32::MAX))),
        );
        let orders = || Orders {
            store: self.store(),
            clock: clock(),
            random: random(),
        };
        let taxes = r#"{"default": "0.16", "rates": []}"#;
        let context = context::Context {
            orders: self.store(),
            catalog: ProductStore::new(client.clone(), name()),
            customers: CustomerStore::new(client.clone(), name()),
            executions: self.service(),
            currency: StoreCurrency::new(Currency::SGD),
            taxes: taxes.parse::<TaxTable>().unwrap(),
            clock: clock(),
            random: random(),
            cursors: CursorKey::new([1; 32]).unwrap(),
            idempotency: Idempotency::new(client.clone(), name(), clock(), random()),
        };
        Processes {
            site: Site::new("OrderApi", api::router(context), &self.chaos, &self.clock),
            inventory: inventory::Context { orders: orders() },
            payment: payment::Context {
                orders: orders(),
                gateway: Gateway::Sandbox(Sandbox::new(client, name())),
            },
            confirm: confirm::Context { orders: orders() },
            sweep: sweep::Context {
                orders: self.store(),
                executions: self.service(),
                clock: clock(),
                random: random(),
            },
        }
    }

    /// Runs a step, or takes note of a notification.
    async fn step(&self, processes: &Processes, call: Call) -> Result<(), String> {
        let Call::Function(function, payload) = call else {
            return Ok(());
        };
        let event = |context| LambdaEvent::new(payload.clone(), context);
        let done = match function.as_str() {
            "${InventoryStep}" => {
                let run = |context| inventory::handle(&processes.inventory, event(context));
                self.chaos.invoke("OrderInventoryStep", run).await
            }
            "${ConfirmStep}" => {
                let run = |context| confirm::handle(&processes.confirm, event(context));
                self.chaos.invoke("OrderConfirmStep", run).await
            }
            "${PaymentStep}" => {
                let run = |context| payment::handle(&processes.payment, event(context));
                self.chaos.invoke("OrderPaymentStep", run).await
            }
            other => panic!("no function is substituted for {other}"),
        };
        done.map(drop)
            .map_err(|error| Diagnostic::from(error).error_type)
    }

    /// Runs every execution that is at work until it ends.
    async fn execute(&self, processes: &Processes) {
        let running: Vec<(String, Execution)> = {
            let executions = self.executions.lock().unwrap();
            let running = executions
                .iter()
                .filter(|(_, execution)| execution.standing == Standing::Running);
            running
                .map(|(name, execution)| (name.clone(), execution.clone()))
                .collect()
        };
        let runs = running.into_iter().map(|(name, mut execution)| async move {
            // The pauses between tries pass for this execution alone.
            let clock = Clock::fixed(self.clock.now());
            let call = async |call| self.step(processes, call).await;
            self.machine.run(&mut execution, &clock, call).await;
            self.executions.lock().unwrap().insert(name, execution);
        });
        stream::iter(runs)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<()>>()
            .await;
    }

    /// A run of the sweep; it may fail, and the next one does what it did not.
    async fn sweep(&self, processes: &Processes) {
        let run = |context| sweep::handle(&processes.sweep, LambdaEvent::new(json!({}), context));
        let _ = self.chaos.invoke("ReservationSweep", run).await;
    }

    fn wanted(&self) -> Value {
        let first = below(&self.random, GOODS.len());
        let count = 1 + below(&self.random, 3);
        let items: Value = (0..count)
            .map(|at| {
                let (sku, _) = GOODS[(first + at) % GOODS.len()];
                json!({"sku": sku, "quantity": 1 + below(&self.random, 2)})
            })
            .collect();
        let script = if once_in(&self.random, 3) {
            Script::ALL[below(&self.random, Script::ALL.len())]
        } else {
            Script::Approve
        };
        json!({
            "items": items,
            "shipping_address": {"recipient": "Ada Tan", "line1": "1 Raffles Place",
                "city": "Singapore", "country": "SG"},
            "payment_method": script.method(),
        })
    }

    /// Places an order, asking until it is answered for good; asked once more, the answer is the same.
    async fn place(&self, processes: &Processes, customer: usize, key: u64) -> OrderId {
        let wanted = self.wanted();
        let ask = Ask::post(&self.customers[customer], "/api/orders/")
            .key(format!("order-{key}"))
            .json(&wanted);
        let is_again = once_in(&self.random, 5);
        let answer = processes.site.insist(&ask).await;
        assert_eq!(answer.status, 202, "{answer:?}: {}", self.chaos.replay());
        if is_again {
            let again = processes.site.insist(&ask).await;
            assert_eq!(again.body, answer.body, "{}", self.chaos.replay());
        }
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// Somebody does something about an order, which may be refused.
    async fn command(&self, processes: &Processes, at: usize, key: u64) {
        let (id, customer) = &self.placed[at];
        let path = |verb: &str| format!("/api/orders/{id}/{verb}");
        let ask = match below(&self.random, 7) {
            0..2 => Ask::post(&self.customers[*customer], path("cancel")),
            2 => Ask::post(&self.admin, path("process")),
            3 => Ask::post(&self.admin, path("ship")),
            4 => Ask::post(&self.admin, path("deliver")),
            5 => Ask::post(&self.admin, path("refunds")).json(&json!({})),
            _ => Ask::post(&self.admin, path("refunds"))
                .json(&json!({"amount": {"amount": "1.00", "currency": "SGD"}})),
        };
        processes
            .site
            .insist(&ask.key(format!("command-{key}")))
            .await;
    }

    /// Somebody looks.
    async fn look(&self, processes: &Processes) {
        let paths = [
            "/api/orders?limit=5",
            "/api/orders/summary",
            "/api/orders?status=confirmed",
        ];
        let path = paths[below(&self.random, paths.len())];
        let caller = match path {
            "/api/orders?limit=5" => &self.customers[0],
            _ => &self.admin,
        };
        let answer = processes.site.insist(&Ask::get(caller, path)).await;
        assert!(answer.is_success(), "{answer:?}: {}", self.chaos.replay());
    }

    /// What may happen in a minute, all at once.
    async fn minute(&mut self, processes: &Processes) {
        let news: Vec<(usize, u64)> = (0..below(&self.random, 3))
            .map(|_| {
                self.keys += 1;
                (below(&self.random, self.customers.len()), self.keys)
            })
            .collect();
        let commands: Vec<(usize, u64)> = (0..below(&self.random, 3))
            .filter(|_| !self.placed.is_empty())
            .map(|_| {
                self.keys += 1;
                let latest = self.placed.len().min(8);
                (
                    self.placed.len() - 1 - below(&self.random, latest),
                    self.keys,
                )
            })
            .collect();
        let is_looked_at = once_in(&self.random, 4);
        let this = &*self;
        let placing = news.iter().map(|&(customer, key)| async move {
            (this.place(processes, customer, key).await, customer)
        });
        let commanding = commands
            .iter()
            .map(|&(at, key)| this.command(processes, at, key));
        let looking = async {
            if is_looked_at {
                this.look(processes).await;
            }
        };
        let (placed, ..) = tokio::join!(
            join_all(placing),
            join_all(commanding),
            looking,
            this.execute(processes),
            this.sweep(processes),
        );
        self.placed.extend(placed);
    }

    async fn orders(&self, store: &OrderStore) -> Vec<Order> {
        let mut orders = Vec::with_capacity(self.placed.len());
        for (id, _) in &self.placed {
            orders.push(
                store
                    .get(id)
                    .await
                    .unwrap()
                    .expect("what was answered is there"),
            );
        }
        orders
    }

    /// Looks at the books; everything has come to rest if `settled`.
    async fn audit(&self, settled: bool) -> Vec<Order> {
        let store = self.store();
        let orders = self.orders(&store).await;
        let client = self.connection().dynamodb();
        let skus: Vec<Sku> = GOODS.iter().map(|(sku, _)| sku.parse().unwrap()).collect();
        let stocks = StockStore::new(client.clone(), TABLE.to_owned());
        let stocks = stocks.get_many(&skus).await.unwrap().into_values();
        let stocks: Vec<_> = stocks.collect();
        let mut charges = Vec::new();
        for order in &orders {
            charges.extend(charge(&client, TABLE, order).await);
        }
        let ever = "9999-01-01T00:00:00Z".parse().unwrap();
        let (mut running, mut next) = store.due(ever, None, 100).await.unwrap();
        while next.is_some() {
            let (more, after) = store.due(ever, next, 100).await.unwrap();
            running.extend(more);
            next = after;
        }
        assert!(
            !settled || running.is_empty(),
            "nothing is due: {running:?}"
        );
        let books = Books {
            orders: &orders,
            stocks: &stocks,
            charges: &charges,
            running: &running,
            settled,
        };
        let found = violations(&books);
        assert!(found.is_empty(), "{found:?}: {}", self.chaos.replay());
        orders
    }

    /// Goes on without faults until nothing is awaited.
    async fn rest(&self, processes: &Processes) {
        let store = self.store();
        let mut open: Vec<OrderId> = self.placed.iter().map(|(id, _)| id.clone()).collect();
        for _ in 0..40 {
            self.execute(processes).await;
            self.sweep(processes).await;
            let mut left = Vec::new();
            for id in open {
                let order = store.get(&id).await.unwrap().unwrap();
                if !is_settled(&order) {
                    left.push(id);
                }
            }
            if left.is_empty() {
                return;
            }
            open = left;
            self.clock.advance(SignedDuration::from_mins(5));
        }
        panic!("{open:?} do not come to rest: {}", self.chaos.replay());
    }

    /// What people do about orders that could not be undone by themselves.
    fn redrive(&self) {
        for execution in self.executions.lock().unwrap().values_mut() {
            execution.redrive();
        }
    }
}

#[test]
fn no_unit_no_cent_and_no_order_is_lost_or_counted_twice() {
    paused(async {
        let mut world = Box::pin(World::start(seed())).await;
        let operations = sized(300, 10_000);
        let mut processes = world.processes();
        for audit in 1..=AUDITS {
            while world.chaos.invocations() < operations * audit / AUDITS {
                if once_in(&world.random, 20) {
                    processes = world.processes();
                }
                Box::pin(world.minute(&processes)).await;
                let seconds = world.random.up_to(180);
                world
                    .clock
                    .advance(SignedDuration::from_secs(seconds.into()));
            }
            world.audit(false).await;
        }
        world.chaos.calm();
        Box::pin(world.rest(&processes)).await;
        world.redrive();
        Box::pin(world.rest(&processes)).await;
        let orders = world.audit(true).await;
        let stuck = orders.iter().filter(|order| {
            let is_refused = order.payment_method == Script::RefundFails.method();
            order.saga == Saga::CompensationFailed && !is_refused
        });
        assert_eq!(stuck.count(), 0, "{}", world.chaos.replay());
        let store = world.store();
        for order in &orders {
            let events = store.events(&order.id, 0, 200).await.unwrap();
            let found = of_log(order, &events).unwrap();
            assert!(found.is_empty(), "{found:?}: {}", world.chaos.replay());
        }
        let paid = orders.iter().filter(|order| order.saga == Saga::Completed);
        figure(CHECK, "orders", orders.len());
        figure(CHECK, "orders paid", paid.count());
        figure(CHECK, "violations", 0);
        world.chaos.report();
    });
}

#[test]
fn an_outage_is_told_in_time_and_made_up_for() {
    paused(async {
        for outage in Fault::OUTAGES {
            let mut world = Box::pin(World::start(seed())).await;
            world.chaos.outage(None);
            let processes = world.processes();
            for _ in 0..6 {
                Box::pin(world.minute(&processes)).await;
            }
            let id = world.place(&processes, 0, 1_000_000).await;
            world.placed.push((id, 0));
            world.clock.advance(SignedDuration::from_mins(6));
            world.chaos.outage(Some(outage));
            Box::pin(world.execute(&processes)).await;
            world.sweep(&processes).await;
            let wanted = world.wanted();
            let ask = Ask::post(&world.customers[0], "/api/orders/")
                .key("in-vain")
                .json(&wanted);
            processes.site.ask(&ask).await;
            world.chaos.outage(None);
            Box::pin(world.rest(&processes)).await;
            world.redrive();
            Box::pin(world.rest(&processes)).await;
        }
    });
}
