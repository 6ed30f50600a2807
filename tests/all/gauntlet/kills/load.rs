//! The load: readings, sales files, orders and stock, by callers that repeat a call that failed.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::CHECK;
use crate::{
    orders::shelf::{order, product},
    support::{
        api::{Answer, Call, Role, call},
        bucket::{file, put, row, unique_key},
        gauntlet, people,
        sensors::{NDJSON, bulk, device},
        stack::unique,
    },
};

/// Readings of a batch, and how far apart they are.
pub(super) const READINGS: i64 = 50;
pub(super) const EVERY_MS: i64 = 3_000;
/// 2025-06-01T00:00:00Z in milliseconds of Unix time.
pub(super) const START: i64 = 1_748_736_000_000;

const SENDERS: usize = 3;
const CUSTOMERS: usize = 3;
const STOCKED: u32 = 2_000;
const SCARCE: u32 = 4;
/// Rows of a sales file, and the year of the first one.
const ROWS: i64 = 40;
const FIRST_YEAR: i16 = 1900;
/// How long a caller waits for an order to come to rest.
const PATIENCE: Duration = Duration::from_mins(2);

/// Calls that were repeated.
static REPEATED: AtomicUsize = AtomicUsize::new(0);

/// Sends a call until it is answered for good.
pub(super) fn persist(call: &Call) -> Answer {
    let (answer, earlier) = call.persist();
    REPEATED.fetch_add(earlier.len(), Ordering::Relaxed);
    answer
}

/// A call that makes something, with a key of its own.
fn post(path: &str, body: &Value) -> Call {
    let call = call("POST", path).header("Idempotency-Key", &unique());
    call.body("application/json", body.to_string())
}

/// What there is before the load begins.
pub(super) struct Shop {
    pub(super) devices: Vec<String>,
    /// A product of which there is plenty, and one of which there is little.
    pub(super) plenty: String,
    pub(super) scarce: String,
    pub(super) customers: Vec<Customer>,
}

pub(super) struct Customer {
    pub(super) sub: String,
    pub(super) email: String,
    token: String,
}

impl Shop {
    pub(super) fn open() -> Self {
        let customer = |_| {
            let person = people::Pool::of_the_stack().signed_up();
            let token = person.token();
            // The first use makes the profile where the sign-up's trigger did not.
            call("GET", "/api/customers/me")
                .token(&token)
                .send()
                .expect(200);
            Customer {
                sub: person.sub,
                email: person.name,
                token,
            }
        };
        Self {
            devices: (0..2 * SENDERS).map(|_| device()).collect(),
            plenty: product(STOCKED),
            scarce: product(SCARCE),
            customers: (0..CUSTOMERS).map(customer).collect(),
        }
    }
}

/// A year's sales.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Year {
    pub(super) number: i16,
    pub(super) rows: i64,
    pub(super) cents: i64,
}

/// An order that was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) id: String,
    pub(super) customer: usize,
}

/// What was answered, and so has to be found again.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Batches of each device.
    pub(super) batches: BTreeMap<String, i64>,
    pub(super) years: Vec<Year>,
    pub(super) orders: Vec<Taken>,
    /// Units received of what there is plenty of.
    pub(super) received: u64,
    pub(super) refunds: usize,
}

/// Runs the load until it is over, each part at least once.
pub(super) fn run(shop: &Shop, is_over: &AtomicBool) -> Ledger {
    let mut ledger = Ledger {
        received: STOCKED.into(),
        ..Ledger::default()
    };
    thread::scope(|scope| {
        let senders: Vec<_> = shop
            .devices
            .chunks(shop.devices.len() / SENDERS)
            .map(|devices| scope.spawn(move || send_readings(devices, is_over)))
            .collect();
        let files = scope.spawn(|| send_files(is_over));
        let customers: Vec<_> = (0..shop.customers.len())
            .map(|customer| scope.spawn(move || buy(shop, customer, is_over)))
            .collect();
        let stock = scope.spawn(|| receive_stock(&shop.plenty, is_over));
        let readers = scope.spawn(|| look_around(shop, is_over));
        for sender in senders {
            ledger
                .batches
                .extend(sender.join().expect("readings are taken"));
        }
        ledger.years = files.join().expect("files are taken");
        for customer in customers {
            let (orders, refunds) = customer.join().expect("orders are taken");
            ledger.orders.extend(orders);
            ledger.refunds += refunds;
        }
        ledger.received += stock.join().expect("stock is taken");
        readers.join().expect("questions are answered");
    });
    let readings: i64 = ledger.batches.values().sum::<i64>() * READINGS;
    gauntlet::figure(CHECK, "readings accepted", readings);
    gauntlet::figure(CHECK, "sales files", ledger.years.len());
    gauntlet::figure(CHECK, "orders taken", ledger.orders.len());
    gauntlet::figure(CHECK, "refunds asked for", ledger.refunds);
    gauntlet::figure(CHECK, "calls repeated", REPEATED.load(Ordering::Relaxed));
    ledger
}

/// Counts up until it is over; at least to `least`.
fn rounds(least: usize, is_over: &AtomicBool) -> impl Iterator<Item = usize> + '_ {
    (0..).take_while(move |round| *round < least || !is_over.load(Ordering::Relaxed))
}

fn send_readings(devices: &[String], is_over: &AtomicBool) -> BTreeMap<String, i64> {
    let mut batches = BTreeMap::new();
    for round in rounds(8, is_over) {
        let device = &devices[round % devices.len()];
        let sent = batches.entry(device.clone()).or_insert(0);
        let lines: Vec<String> = (*sent * READINGS..(*sent + 1) * READINGS)
            .map(|at| {
                let timestamp = START + at * EVERY_MS;
                json!({"device_id": device, "timestamp": timestamp, "value": at}).to_string()
            })
            .collect();
        let call = bulk("?backfill=true", NDJSON, lines.join("\n"));
        let report = persist(&call).expect(202).json();
        assert_eq!(report["accepted"], READINGS, "{report}");
        *sent += 1;
        thread::sleep(Duration::from_millis(100));
    }
    batches
}

/// Sends a file a year, in turn into the bucket and by the API, and every third of them once more with
/// further rows.
fn send_files(is_over: &AtomicBool) -> Vec<Year> {
    let mut years = Vec::new();
    for round in rounds(6, is_over).take(900) {
        let year = FIRST_YEAR + i16::try_from(round).expect("there are few");
        let mut rows = Vec::new();
        let mut sold = Year {
            number: year,
            ..Year::default()
        };
        let parts = if round % 3 == 0 { 2 } else { 1 };
        for _ in 0..parts {
            for _ in 0..ROWS {
                let n = sold.rows;
                let cents = 101 * n + 7;
                let total = format!("{}.{:02}", cents / 100, cents % 100);
                let date = format!("{}/{}/{year}", 1 + n % 12, 1 + n % 28);
                rows.push(row(
                    &date,
                    &format!("S{}", n / 2),
                    &format!("item {n}"),
                    &total,
                ));
                sold.rows += 1;
                sold.cents += cents;
            }
            let whole = file(&rows);
            if round % 2 == 0 {
                put(&unique_key("kills.csv"), whole);
            } else {
                let call = call("POST", "/api/sales/import-sales")
                    .role(Role::Admin)
                    .header("Idempotency-Key", &unique())
                    .form(&[], Some(&whole));
                // What a run cannot finish in its time is accepted, and gone on with.
                let answer = persist(&call);
                assert!(matches!(answer.status, 201 | 202), "{}", answer.text());
            }
        }
        years.push(sold);
        thread::sleep(Duration::from_millis(300));
    }
    years
}

/// Buys in every way there is: paid, declined, too much, cancelled, given back.
fn buy(shop: &Shop, customer: usize, is_over: &AtomicBool) -> (Vec<Taken>, usize) {
    let token = &shop.customers[customer].token;
    let (mut placed, mut refunds) = (Vec::new(), 0);
    for round in rounds(6, is_over) {
        let (sku, quantity) = if round % 6 == 2 {
            (&shop.scarce, 2)
        } else {
            (&shop.plenty, 3)
        };
        let mut body = order(&json!([{"sku": sku, "quantity": quantity}]));
        body["payment_method"] = json!(match round % 6 {
            1 => "sandbox-insufficient-funds",
            3 => "sandbox-flaky",
            _ => "sandbox-approve",
        });
        let answer = persist(&post("/api/orders", &body).token(token)).expect(202);
        let answer = answer.json();
        let id = answer["id"]
            .as_str()
            .expect("an order has a number")
            .to_owned();
        let path = format!("/api/orders/{id}");
        match round % 6 {
            4 => {
                let cancel = post(&format!("{path}/cancel"), &json!({"reason": "Changed"}));
                let answer = persist(&cancel.token(token));
                assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
            }
            5 if is_paid(&path, token) => {
                let part = json!({"lines": [{"sku": sku, "quantity": 1}], "restock": true});
                let refund = post(&format!("{path}/refunds"), &part).role(Role::Admin);
                persist(&refund).expect(202);
                refunds += 1;
            }
            _ => {}
        }
        placed.push(Taken { id, customer });
        thread::sleep(Duration::from_millis(200));
    }
    (placed, refunds)
}

/// Whether an order is paid before the patience ends.
fn is_paid(path: &str, token: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let order = persist(&call("GET", path).token(token)).expect(200).json();
        if order["saga"] == "completed" {
            return true;
        }
        thread::sleep(Duration::from_millis(300));
    }
    false
}

/// Receives stock; gives how many units.
fn receive_stock(sku: &str, is_over: &AtomicBool) -> u64 {
    let mut received = 0;
    for round in rounds(6, is_over) {
        let delta = 1 + round as u64 % 5;
        let body = json!({"delta": delta, "reason": "a delivery"});
        let adjust = post(&format!("/api/catalog/stock/{sku}/adjust"), &body).role(Role::Admin);
        persist(&adjust).expect(200);
        received += delta;
        thread::sleep(Duration::from_millis(300));
    }
    received
}

/// Asks every function that only answers.
fn look_around(shop: &Shop, is_over: &AtomicBool) {
    for round in rounds(2, is_over) {
        let get = |path: &str| call("GET", path);
        let token = &shop.customers[round % CUSTOMERS].token;
        let device = &shop.devices[round % shop.devices.len()];
        for call in [
            get("/health/live"),
            get("/api/catalog/tree"),
            get("/api/customers/me").token(token),
            get("/api/orders").token(token),
            get("/api/sensors/keys").role(Role::Admin),
            get(&format!("/api/sensors/devices/{device}")).role(Role::Admin),
            get("/api/sales/imports").role(Role::Admin),
            get("/api/metrics/v1/revenue?start=1900-01-01&end=1900-12-31").role(Role::Analyst),
        ] {
            persist(&call).expect(200);
        }
    }
}
