//! What the tasks of a run share: the table's orders, events and stocks, the provider, the executions.

use jiff::{SignedDuration, Timestamp};
use shared::{
    address::model::Address,
    orders::{
        event::{self, Created, Happened, Wishes},
        invariants::{Books, Violation, of_history, violations},
        model::{Line, Order, OrderId, Run, Shortage, Totals},
        rules::{self, Change},
    },
    payments::sandbox::model::Script,
    platform::{
        ids::Random,
        money::{Currency, Money},
    },
    stock::{
        model::{Direction, Move, Sku, Stock},
        rules as stock_rules,
    },
};

use crate::{
    calls::{Actor, Op},
    coverage::{Coverage, Mark},
    executions::first,
    mutants::Mutant,
    provider::Provider,
};

/// Customers of a run, each of whom buys once.
pub const CUSTOMERS: usize = 8;

/// What was found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The books are wrong.
    #[error(transparent)]
    Books(#[from] Violation),
    /// A customer who asked for one thing, if often, has two orders.
    #[error("two orders for one request")]
    OrderedTwice,
    /// Units were to be moved that are not there.
    #[error("{0}: units move that are not there")]
    Short(Sku),
    /// Work goes on without an end, or what people let go on failed again.
    #[error("it never comes to rest")]
    Endless,
}

/// How far an execution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    Alive,
    Succeeded,
    Failed,
}

/// An execution of the state machine. Its name is the first three.
#[derive(Debug, Clone)]
pub struct Execution {
    pub order: usize,
    pub run: Run,
    /// The order's version when it had to be started anew.
    pub anew: Option<u64>,
    /// The step that it goes on with.
    pub step: Actor,
    pub course: Course,
}

/// What a commit came to.
#[derive(Debug)]
pub enum Committed {
    Done(Box<Order>),
    Conflict,
    Short(Vec<Shortage>),
}

pub struct World {
    pub orders: Vec<Order>,
    pub logs: Vec<Vec<(u64, Timestamp, Happened)>>,
    pub stocks: Vec<Stock>,
    pub provider: Provider,
    /// The index of due orders.
    pub due: Vec<Option<Timestamp>>,
    pub executions: Vec<Execution>,
    /// Those that are to begin.
    pub started: Vec<usize>,
    /// Who bought each order; with it the answer that a repeated request gets.
    pub buyers: Vec<usize>,
    /// What each customer wants.
    pub wishes: Vec<Created>,
    /// When the table and the provider do not answer.
    pub outages: [Option<(Timestamp, Timestamp)>; 2],
    pub mutant: Option<Mutant>,
    pub broken: Option<Broken>,
    pub coverage: Coverage,
    /// Whether every operation is printed.
    pub is_traced: bool,
    running: Vec<OrderId>,
}

/// Unit prices of the skus.
const PRICES: [&str; 3] = ["10.00", "0.35", "3.33"];

impl World {
    pub fn new(random: &Random, mutant: Option<Mutant>) -> Self {
        let skus = ["A", "B", "C"].map(|sku| sku.parse::<Sku>().expect("letters are skus"));
        let stock = |sku: &Sku| {
            let received = u64::from(random.up_to(20));
            Stock {
                sku: sku.clone(),
                available: received,
                reserved: 0,
                sold: 0,
                received,
                version: 1,
            }
        };
        Self {
            orders: Vec::with_capacity(CUSTOMERS),
            logs: Vec::with_capacity(CUSTOMERS),
            stocks: skus.iter().map(stock).collect(),
            provider: Provider::default(),
            due: Vec::with_capacity(CUSTOMERS),
            executions: Vec::with_capacity(CUSTOMERS),
            started: Vec::new(),
            buyers: Vec::with_capacity(CUSTOMERS),
            wishes: (0..CUSTOMERS).map(|_| wish(&skus, random)).collect(),
            outages: [None; 2],
            mutant,
            broken: None,
            coverage: Coverage::default(),
            is_traced: false,
            running: Vec::with_capacity(CUSTOMERS),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn mark(&mut self, mark: Mark) {
        self.coverage.mark(mark);
    }

    /// The order of a customer.
    pub fn order_of(&self, customer: usize) -> Option<usize> {
        self.buyers.iter().position(|buyer| *buyer == customer)
    }

    /// Whether who is to do `op` does not answer.
    pub fn is_out(&self, op: Op, now: Timestamp) -> bool {
        let [table, provider] = self.outages;
        let outage =
            (table.filter(|_| op.is_at_table())).or(provider.filter(|_| op.is_at_provider()));
        outage.is_some_and(|(from, to)| from <= now && now < to)
    }

    /// Takes an order, unless its customer's request was answered before.
    pub fn create(&mut self, customer: usize, now: Timestamp) -> usize {
        if let Some(order) = self.order_of(customer)
            && !self.is(Mutant::RequestAnsweredTwice)
        {
            self.mark(Mark::RequestRepeated);
            return order;
        }
        let at = self.orders.len();
        let id: OrderId = format!("ORD-20261120-{at:08}")
            .parse()
            .expect("digits are base32");
        let happened = Happened::Created(Box::new(self.wishes[customer].clone()));
        let order = event::apply(None, &id, &happened, now).expect("a created event comes first");
        self.due.push(rules::awaited(&order).map(|(_, due)| due));
        if self.is(Mutant::NewOrderNotDue) {
            self.due[at] = None;
        }
        self.orders.push(order);
        self.logs.push(vec![(1, now, happened)]);
        self.buyers.push(customer);
        let is_second = self.buyers[..at].contains(&customer);
        if is_second {
            self.broken.get_or_insert(Broken::OrderedTwice);
        }
        self.attend(at);
        at
    }

    /// Writes what happened to an order as it was read, its event and its moves, all or nothing.
    pub fn commit(&mut self, at: usize, read: Order, change: Change, now: Timestamp) -> Committed {
        if self.orders[at].version != read.version && !self.is(Mutant::VersionUnchecked) {
            self.mark(Mark::Conflict);
            return Committed::Conflict;
        }
        let moves = if self.is(Mutant::MovesInTheirOwnWrite) {
            &[]
        } else {
            &change.moves[..]
        };
        if let Err(shortages) = self.shift(moves) {
            self.mark(Mark::Short);
            return Committed::Short(shortages);
        }
        let id = read.id.clone();
        let Ok(order) = event::apply(Some(read), &id, &change.happened, now) else {
            self.broken = Some(Broken::Books(Violation::Misfolded(id)));
            return Committed::Conflict;
        };
        if self.is_traced {
            println!("        {}: {:?}", order.id, change.happened);
        }
        let is_due = !self.is(Mutant::CancellationNotDue) || order.cancellation.is_none();
        self.due[at] = rules::awaited(&order)
            .filter(|_| is_due)
            .map(|(_, due)| due);
        if !self.is(Mutant::EventInItsOwnWrite) {
            self.logs[at].push((order.version, now, change.happened));
        }
        self.orders[at] = order.clone();
        self.attend(at);
        Committed::Done(Box::new(order))
    }

    /// Moves stock, all or nothing.
    pub fn shift(&mut self, moves: &[Move]) -> Result<(), Vec<Shortage>> {
        let mut shortages = Vec::new();
        let mut stocks = self.stocks.clone();
        for Move {
            sku,
            quantity,
            direction,
        } in moves
        {
            let mut found = stocks.iter_mut();
            let stock = found
                .find(|stock| stock.sku == *sku)
                .expect("every sku has its stock");
            match stock_rules::moved(stock.clone(), *direction, *quantity) {
                Ok(after) => *stock = after,
                Err(_) if *direction == Direction::Reserve => {
                    if self.is(Mutant::ReservesWhatIsNotThere) {
                        stock.available = 0;
                        stock.reserved += u64::from(*quantity);
                    } else {
                        shortages.push(Shortage {
                            sku: sku.clone(),
                            wanted: *quantity,
                            available: Some(stock.available),
                        });
                    }
                }
                Err(_) => drop(self.broken.get_or_insert(Broken::Short(sku.clone()))),
            }
        }
        if shortages.is_empty() || self.is(Mutant::ReservesInPart) {
            self.stocks = stocks;
        }
        if shortages.is_empty() {
            Ok(())
        } else {
            Err(shortages)
        }
    }

    /// Starts the execution of this name, or says how far it has come.
    pub fn start(&mut self, order: usize, run: &Run, anew: Option<u64>) -> Option<usize> {
        let found = self.executions.iter().position(|execution| {
            execution.order == order && execution.run == *run && execution.anew == anew
        });
        if found.is_none() {
            self.executions.push(Execution {
                order,
                run: run.clone(),
                anew,
                step: first(run),
                course: Course::Alive,
            });
            self.started.push(self.executions.len() - 1);
            self.attend(order);
        }
        found
    }

    /// Lets a failed execution go on, and says whether there is one.
    pub fn redrive(&mut self, execution: usize) -> bool {
        let is_failed = self.executions[execution].course == Course::Failed;
        if is_failed {
            self.executions[execution].course = Course::Alive;
            self.started.push(execution);
            self.attend(self.executions[execution].order);
        }
        is_failed
    }

    pub fn end(&mut self, execution: usize, course: Course) {
        self.executions[execution].course = course;
        self.attend(self.executions[execution].order);
        self.check(false);
    }

    pub fn postpone(&mut self, order: usize, version: u64, now: Timestamp) {
        if self.orders[order].version == version && self.due[order].is_some() {
            self.due[order] = Some(now + SignedDuration::from_mins(5));
        }
    }

    fn attend(&mut self, order: usize) {
        let mut executions = self.executions.iter();
        let is_running = self.due[order].is_some()
            || executions.any(|other| other.order == order && other.course == Course::Alive);
        let id = &self.orders[order].id;
        match self.running.iter().position(|running| running == id) {
            None if is_running => self.running.push(id.clone()),
            Some(at) if !is_running => drop(self.running.swap_remove(at)),
            _ => {}
        }
    }

    /// Looks for the first thing that is wrong.
    pub fn check(&mut self, settled: bool) {
        if self.broken.is_some() {
            return;
        }
        let books = Books {
            orders: &self.orders,
            stocks: &self.stocks,
            charges: &self.provider.charges,
            running: &self.running,
            settled,
        };
        let mut found = violations(&books).into_iter();
        let histories = self.orders.iter().zip(&self.logs).filter(|_| settled);
        let mut illegal = histories.flat_map(|(order, log)| of_history(order, log));
        self.broken = found.next().or_else(|| illegal.next()).map(Broken::Books);
    }
}

fn wish(skus: &[Sku], random: &Random) -> Created {
    let first = random.up_to(2) as usize;
    let count = 1 + random.up_to(2) as usize;
    let zero = Money::zero(Currency::SGD);
    let line = |at: usize| {
        let quantity = 1 + random.up_to(2);
        let price = Money::parse(PRICES[at], Currency::SGD).expect("prices are decimals");
        let total = price
            .checked_mul(quantity.into())
            .expect("small products are in range");
        Line {
            sku: skus[at].clone(),
            product_id: String::new(),
            name: String::new(),
            tax_class: String::new(),
            tax_rate: "0".parse().expect("zero is a rate"),
            quantity,
            unit_price: price,
            subtotal: total,
            tax: zero,
            total,
            refunded: 0,
        }
    };
    let lines: Vec<Line> = (first..first + count)
        .map(|at| line(at % skus.len()))
        .collect();
    let totals = lines.iter().map(|line| line.total);
    let total = totals.fold(zero, |sum, total| {
        sum.checked_add(total).expect("small sums are in range")
    });
    let script = match random.up_to(15) {
        0 => Script::Decline,
        1 => Script::RequiresAction,
        2 => Script::CaptureFails,
        3 => Script::RefundFails,
        4 => Script::Flaky,
        5 => Script::TimeoutAfterCharge,
        _ => Script::Approve,
    };
    Created {
        customer: String::new(),
        currency: Currency::SGD,
        lines,
        totals: Totals {
            subtotal: total,
            tax: zero,
            total,
        },
        payment_method: script.method().to_owned(),
        private: Wishes {
            shipping_address: Address {
                recipient: String::new(),
                line1: String::new(),
                line2: None,
                city: String::new(),
                region: None,
                postal_code: None,
                country: String::new(),
                phone: None,
            },
            billing_address: None,
            notes: None,
        },
    }
}
