//! Many customers at once, on the deployed stack: nothing is oversold, nothing is charged twice, and a
//! request that is sent ten times is one order.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde_json::json;
use shared::orders::{
    invariants::Charge,
    model::{CancelReason, Order, OrderId, Saga, Status},
    store::Span,
};

use super::shelf::{order, product, request};
use crate::support::{api::Answer, bucket::block_on, commerce::Table, people, stack::unique};

/// One race at a time: two of them are a hundred clients.
fn alone() -> MutexGuard<'static, ()> {
    static TRACK: Mutex<()> = Mutex::new(());
    TRACK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buys one as a client does who sends the same again, under the same key, until it is answered: a
/// function that is out of time on a slow machine may have stored the order. Gives how often it was sent
/// before as well.
fn buy(token: &str, sku: &str, key: &str) -> (Answer, usize) {
    let order = order(&json!([{"sku": sku, "quantity": 1}]));
    let (answer, earlier) = request(token, key, &order).persist();
    assert!(!earlier.contains(&500), "a fault of ours: {earlier:?}");
    (answer, earlier.len())
}

fn id(answer: &Answer) -> OrderId {
    let body = answer.json();
    let id = body["id"].as_str().expect("an order has a number");
    id.parse().expect("it is one")
}

/// Does `work` for each of `0..count`, as many at once as there are `clients`.
fn at_once<T: Send>(clients: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let client = || {
        let numbers = std::iter::from_fn(|| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            (number < count).then_some(number)
        });
        numbers.map(&work).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        running
            .into_iter()
            .flat_map(|client| client.join().expect("a client fails no assertion"))
            .collect()
    })
}

#[test]
fn of_four_hundred_who_buy_one_of_a_hundred_a_hundred_get_it_and_pay_once() {
    let _alone = alone();
    let (sku, token) = (product(100), people::another_customer());
    let begun = Instant::now();
    let ids: BTreeSet<OrderId> =
        at_once(50, 400, |_| id(&buy(&token, &sku, &unique()).0.expect(202)))
            .into_iter()
            .collect();
    let answered = begun.elapsed();
    assert_eq!(ids.len(), 400);
    block_on(async {
        let table = Table::of_the_stack();
        let orders = table.at_rest(&ids).await;
        println!(
            "400 buys by 50 clients: answered in {answered:.1?}, at rest after {:.1?}",
            begun.elapsed()
        );
        let bought =
            |order: &&Order| order.status == Status::Confirmed && order.saga == Saga::Completed;
        let short = |order: &&Order| {
            let cancellation = order.cancellation.as_ref();
            order.status == Status::Cancelled
                && cancellation.is_some_and(|why| why.reason == CancelReason::OutOfStock)
        };
        let counts = (
            orders.iter().filter(bought).count(),
            orders.iter().filter(short).count(),
        );
        assert_eq!(counts, (100, 300));
        let stock = table.stock(&sku).await;
        assert_eq!(
            (stock.available, stock.reserved, stock.sold, stock.received),
            (0, 0, 100, 100)
        );
        let charges = table.charges(&orders).await;
        let captured = |charge: &&Charge| !charge.captured.amount().is_zero();
        assert_eq!(charges.iter().filter(captured).count(), 100);
        table.check(&orders, &[&sku]).await;
    });
}

#[test]
fn ten_racing_copies_of_each_of_two_hundred_requests_are_two_hundred_orders() {
    const KEYS: usize = 200;
    const COPIES: usize = 10;
    let _alone = alone();
    let (sku, token) = (product(1_000), people::another_customer());
    let keys: Vec<String> = (0..KEYS).map(|_| unique()).collect();
    let begun = Instant::now();
    let answers = at_once(50, KEYS * COPIES, |number| {
        let key = &keys[number / COPIES];
        (key, buy(&token, &sku, key))
    });
    let answered = begun.elapsed();
    let mut ids = BTreeSet::new();
    for key in &keys {
        let of_key: Vec<&(Answer, usize)> = answers
            .iter()
            .filter(|(other, _)| *other == key)
            .map(|(_, answer)| answer)
            .collect();
        assert_eq!(of_key.len(), COPIES);
        let same: BTreeSet<OrderId> = of_key
            .iter()
            .map(|(answer, _)| {
                assert_eq!(answer.status, 202, "{}", answer.text());
                id(answer)
            })
            .collect();
        assert_eq!(same.len(), 1, "{same:?}");
        let is_replayed = |answer: &Answer| answer.header("idempotent-replayed") == Some("true");
        let replayed = of_key.iter().filter(|(answer, _)| is_replayed(answer));
        let replayed = replayed.count();
        // All of them when the first was answered to a client that no longer listened.
        let was_sent_again = of_key.iter().any(|(_, earlier)| *earlier > 0);
        assert!(replayed == COPIES - 1 || (was_sent_again && replayed == COPIES));
        ids.extend(same);
    }
    assert_eq!(ids.len(), KEYS);
    block_on(async {
        let table = Table::of_the_stack();
        let orders = table.at_rest(&ids).await;
        println!(
            "200 keys × 10 copies: answered in {answered:.1?}, at rest after {:.1?}",
            begun.elapsed()
        );
        let customer = &orders[0].customer;
        let (mut listed, mut after) = (0, None);
        loop {
            let store = table.orders();
            let page = store.list_by_customer(customer, &[], Span::default(), after, 99);
            let (found, next) = page.await.unwrap();
            listed += found.len();
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, KEYS);
        assert_eq!(table.stock(&sku).await.sold, 200);
        table.check(&orders, &[&sku]).await;
    });
}
