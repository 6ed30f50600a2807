//! Accounts for everything that callers were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aws_sdk_sqs::types::Message;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;
use shared::{
    orders::{
        invariants::Charge,
        model::{Order, OrderId, Refund, RefundStanding, Saga, Status},
        store::Span,
    },
    platform::money::Money,
    stock::store::StockStore,
};

use super::{
    CHECK, keep_calling,
    load::{EVERY_MS, Ledger, READINGS, START, Shop, Year},
};
use crate::support::{
    api::{Call, get},
    bucket::block_on,
    commerce::Table,
    gauntlet,
    lambda::import,
    queue,
    sensors::{aggregate, csv_rows, eventually, points, range},
    stack::{stack, variable},
};

/// Times that dead letters are looked at, and things that ought to come by themselves: a minute each.
const ROUNDS: usize = 5;

/// Accounts for a load; `killed` runs of the sending function may each have told something twice.
pub(super) fn reconcile(shop: &Shop, ledger: &Ledger, killed: Option<usize>) {
    let redriven = redrive();
    readings(ledger);
    sales(ledger);
    let (orders, charges) = orders(shop, ledger);
    revenue(&charges);
    notices(shop, &orders, killed.unwrap_or(0));
    let late = redrive();
    gauntlet::figure(
        CHECK,
        "dead letters, all of runs cut off five times",
        redriven + late,
    );
}

/// A queue, and where it came from if it is one of dead letters.
fn dead_letter_queues() -> [(String, Option<String>); 6] {
    let stack = stack();
    let of = |dead: &str, source: &str| (variable(dead), Some(variable(source)));
    [
        (
            stack.dead_letters_url.clone(),
            Some(stack.queue_url.clone()),
        ),
        (
            stack.readings_dead_letters_url.clone(),
            Some(stack.readings_queue_url.clone()),
        ),
        of(
            "MILLRACE_NOTIFICATION_DEAD_LETTERS_URL",
            "MILLRACE_NOTIFICATION_QUEUE_URL",
        ),
        of(
            "MILLRACE_ORDER_REVENUE_DEAD_LETTERS_URL",
            "MILLRACE_ORDER_REVENUE_QUEUE_URL",
        ),
        (variable("MILLRACE_EVENT_POISON_QUEUE_URL"), None),
        (variable("MILLRACE_FAILURES_URL"), None),
    ]
}

/// Explains every dead letter: whose runs were cut off to the last is not to blame, and is sent again.
/// What a function itself has set aside never should be there.
fn redrive() -> usize {
    let mut redriven = 0;
    let failures = variable("MILLRACE_FAILURES_URL");
    for (dead, source) in dead_letter_queues() {
        for message in queue::take_all(&dead) {
            let reason = |message: &Message| {
                let attributes = message.message_attributes.as_ref()?;
                attributes.get("failure-reason")?.string_value.clone()
            };
            let body = message.body().unwrap_or_default();
            assert_eq!(reason(&message), None, "{dead} has {body}");
            match &source {
                Some(source) => queue::send(source, &message),
                None if dead == failures => again(body),
                None => panic!("{dead} has {body}"),
            }
            redriven += 1;
        }
    }
    redriven
}

/// Has the import function handle an event of the bucket whose runs were all cut off.
fn again(failure: &str) {
    let failure: Value = serde_json::from_str(failure).expect("a failure is told as JSON");
    let event = &failure["requestPayload"];
    assert!(event["Records"].is_array(), "{failure}");
    import(event).expect("nothing is killed any more");
}

/// Every reading that was answered 202 is there once, and counted once.
fn readings(ledger: &Ledger) {
    let time = |ms: i64| {
        Timestamp::from_millisecond(ms)
            .expect("it is a time")
            .to_string()
    };
    for (device, batches) in &ledger.batches {
        let count = batches * READINGS;
        let (start, end) = (time(START), time(START + count * EVERY_MS));
        let expected: Vec<String> = (0..count).map(|at| format!("{at}.0")).collect();
        let mut found = Vec::new();
        eventually(&format!("{count} readings of {device}"), || {
            let rows = csv_rows(device, &start, &end);
            found = rows
                .iter()
                .filter_map(|row| row.split(',').nth(2).map(str::to_owned))
                .collect();
            found.len() >= expected.len()
        });
        assert_eq!(found, expected, "{device}");
    }
    aggregate();
    let mut counted = 0;
    for (device, batches) in &ledger.batches {
        let count = batches * READINGS;
        let (start, end) = (time(START), time(START + count * EVERY_MS));
        let query = range(&start, &end, "&interval=1hour&stats=count,sum");
        let points = points(device, &query, &["count", "sum"]);
        let sum = |at: usize| -> f64 {
            let of = |point: &Value| point[at].as_f64().unwrap_or(0.0);
            points.iter().map(of).sum()
        };
        let expected = (count, (0..count).sum::<i64>());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sums of small whole numbers"
        )]
        let found = (sum(1) as i64, sum(2) as i64);
        assert_eq!(found, expected, "{device}: {points:?}");
        counted += found.0;
    }
    gauntlet::figure(CHECK, "readings found in raw data and roll-ups", counted);
}

/// The revenue that imports brought in a year, in cents, and its rows.
fn of_year(year: i16) -> (i64, i64) {
    let path = format!("/api/metrics/v1/revenue?start={year}-01-01&end={year}-12-31&source=import");
    let found = get(&path).send().expect(200).json();
    let total: Decimal = found["total_revenue"]["amount"]
        .as_str()
        .and_then(|amount| amount.parse().ok())
        .unwrap_or_default();
    let cents = (total * Decimal::ONE_HUNDRED)
        .try_into()
        .expect("it is a whole number");
    (
        found["row_count"].as_i64().expect("rows are counted"),
        cents,
    )
}

/// Every row of every file is there once, to the cent.
fn sales(ledger: &Ledger) {
    let (mut rows, mut cents) = (0, 0);
    for Year {
        number: year,
        rows: wanted,
        cents: worth,
    } in &ledger.years
    {
        let mut found = (0, 0);
        eventually(&format!("{wanted} rows of {year}"), || {
            redrive();
            found = of_year(*year);
            found.0 >= *wanted
        });
        assert_eq!(found, (*wanted, *worth), "{year}");
        rows += wanted;
        cents += worth;
    }
    gauntlet::figure(CHECK, "sales rows found", rows);
    gauntlet::figure(CHECK, "cents of them found", cents);
}

/// Every order that was taken is there, at rest, and right with stock, money and its log.
fn orders(shop: &Shop, ledger: &Ledger) -> (Vec<Order>, Vec<Charge>) {
    let taken = ledger.orders.iter();
    let ids: BTreeSet<OrderId> = taken
        .map(|taken| taken.id.parse().expect("it is a number"))
        .collect();
    assert_eq!(
        ids.len(),
        ledger.orders.len(),
        "each request was another order"
    );
    let table = Table::of_the_stack();
    let (sweep, is_over) = (variable("MILLRACE_SWEEP_FUNCTION"), AtomicBool::new(false));
    let orders = thread::scope(|scope| {
        let sweeping = scope.spawn(|| keep_calling(&sweep, &is_over));
        let orders = block_on(table.at_rest(&ids));
        is_over.store(true, Ordering::Relaxed);
        sweeping.join().expect("it only invokes");
        orders
    });
    block_on(async {
        table.check(&orders, &[&shop.plenty, &shop.scarce]).await;
        for sku in [&shop.plenty, &shop.scarce] {
            stock_events(&table, sku).await;
        }
        for (n, customer) in shop.customers.iter().enumerate() {
            let taken = ledger.orders.iter().filter(|taken| taken.customer == n);
            let listed = listed(&table, &customer.sub).await;
            assert_eq!(listed, taken.count(), "each request was one order");
        }
    });
    let done = |order: &Order| {
        order
            .refunds
            .iter()
            .filter(|refund| is_done(refund))
            .count()
    };
    let kept = orders
        .iter()
        .filter(|order| order.status != Status::Cancelled);
    assert_eq!(kept.map(done).sum::<usize>(), ledger.refunds);
    let left_over = orders
        .iter()
        .filter(|order| order.saga == Saga::CompensationFailed);
    let left_over: Vec<_> = left_over.map(|order| &order.id).collect();
    assert!(left_over.is_empty(), "left to people: {left_over:?}");
    let (charges, stock) = block_on(async {
        (
            table.charges(&orders).await,
            table.stock(&shop.plenty).await,
        )
    });
    assert_eq!(
        (stock.received, stock.reserved),
        (ledger.received, 0),
        "{stock:?}"
    );
    let paid = charges
        .iter()
        .filter(|charge| !charge.captured.amount().is_zero());
    gauntlet::figure(CHECK, "orders charged", paid.count());
    gauntlet::figure(CHECK, "units received", stock.received);
    gauntlet::figure(CHECK, "units sold", stock.sold);
    (orders, charges)
}

/// What people did to a sku's stock stands in its events, in order, and comes to what was received; the
/// versions between are moves of orders.
async fn stock_events(table: &Table, sku: &str) {
    let store = StockStore::new(table.client.clone(), table.name.clone());
    let stock = table.stock(sku).await;
    let (mut after, mut units) = (0, 0);
    loop {
        let events = store
            .events(&sku.parse().unwrap(), after, 100)
            .await
            .unwrap();
        let Some(last) = events.last() else {
            break;
        };
        assert!(
            events.is_sorted_by(|one, next| one.sequence < next.sequence),
            "{sku}"
        );
        after = last.sequence;
        let deltas = events.iter().map(|event| event.data["delta"].as_u64());
        units += deltas
            .map(|delta| delta.expect("all are added"))
            .sum::<u64>();
    }
    assert!(after <= stock.version, "{sku}: {after}, {stock:?}");
    assert_eq!(units, stock.received, "{sku}");
}

/// How many orders a customer has.
async fn listed(table: &Table, customer: &str) -> usize {
    let (mut listed, mut after) = (0, None);
    loop {
        let store = table.orders();
        let page = store.list_by_customer(customer, &[], Span::default(), after, 99);
        let (found, next) = page.await.unwrap();
        listed += found.len();
        after = next;
        if after.is_none() {
            return listed;
        }
    }
}

fn is_done(refund: &Refund) -> bool {
    refund.standing == RefundStanding::Done
}

/// What the provider took and gave back is the revenue of orders.
fn revenue(charges: &[Charge]) {
    let kept = |charge: &Charge| {
        let amounts = [charge.captured, charge.refunded];
        let [captured, refunded] = amounts.map(|money: Money| money.amount());
        captured - refunded
    };
    let expected: Decimal = charges.iter().map(kept).sum();
    let now = Timestamp::now();
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (start, end) = (
        day(now - SignedDuration::from_hours(24)),
        day(now + SignedDuration::from_hours(24)),
    );
    let path = format!("/api/metrics/v1/revenue?start={start}&end={end}&source=orders");
    let mut found = Decimal::ZERO;
    for _ in 0..ROUNDS * 60 {
        redrive();
        let revenue = get(&path).send().expect(200).json();
        let amount = revenue["total_revenue"]["amount"].as_str();
        found = amount
            .and_then(|amount| amount.parse().ok())
            .unwrap_or_default();
        if found == expected {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(found, expected, "revenue of orders");
    gauntlet::figure(CHECK, "SGD kept of orders, found as revenue", found);
}

/// What is told of an order, by what its subject says.
type Told = BTreeMap<(String, &'static str), usize>;

fn mailbox(shop: &Shop) -> Told {
    let url = format!("{}/_ministack/ses/messages", stack().endpoint);
    let messages = Call::to("GET", url).send().expect(200).json();
    let messages = messages["messages"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    let mut told = Told::new();
    for message in messages.values().filter_map(Value::as_array).flatten() {
        let subject = message["Subject"].as_str().unwrap_or_default();
        let kinds = ["New order", "is confirmed", "is cancelled", "A refund"];
        let kind = kinds.into_iter().find(|kind| subject.contains(kind));
        let (Some(kind), Some(at)) = (kind, subject.find("ORD-")) else {
            continue;
        };
        let order: String = subject[at..].chars().take(21).collect();
        let to = message["To"][0].as_str().unwrap_or_default();
        let is_known = shop.customers.iter().any(|customer| customer.email == to);
        assert_eq!(is_known, kind != "New order", "{to} is told: {subject}");
        *told.entry((order, kind)).or_default() += 1;
    }
    told
}

/// Everything that an order is told by was told, once but for runs that were killed after telling it.
fn notices(shop: &Shop, orders: &[Order], killed: usize) {
    let mut wanted = Told::new();
    for order in orders {
        let mut want = |kind, count| wanted.insert((order.id.to_string(), kind), count);
        want("New order", 1);
        if order.status == Status::Cancelled {
            want("is cancelled", 1);
        } else {
            want("is confirmed", 1);
            let refunds = order.refunds.iter().filter(|refund| is_done(refund));
            want("A refund", refunds.count());
        }
    }
    wanted.retain(|_, count| *count > 0);
    let mut told = Told::new();
    let is_whole = |told: &Told| {
        wanted
            .iter()
            .all(|(notice, count)| told.get(notice).is_some_and(|found| found >= count))
    };
    for _ in 0..ROUNDS * 60 {
        redrive();
        told = mailbox(shop);
        if is_whole(&told) {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    let missing: Vec<_> = wanted
        .iter()
        .filter(|(notice, count)| told.get(notice).copied().unwrap_or(0) < **count)
        .collect();
    assert!(missing.is_empty(), "never told: {missing:?}");
    let mut twice = 0;
    for (notice, count) in &told {
        // A confirmation may have gone before its order was cancelled.
        let most = wanted
            .get(notice)
            .copied()
            .unwrap_or(usize::from(notice.1 == "is confirmed"));
        twice += count.saturating_sub(most);
    }
    assert!(
        twice <= killed,
        "{twice} told twice by {killed} runs that were killed"
    );
    gauntlet::figure(CHECK, "notices found", wanted.values().sum::<usize>());
    gauntlet::figure(CHECK, "notices told again by a run that was killed", twice);
}
