use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::*;
use crate::{
    orders::{
        model::{CancelReason, Units},
        rules::{self, Decision, RefundOf, Refusal as Refused, Undo},
        testing::{created, order as ordered, table},
    },
    platform::ids::Random,
    stock::{
        model::{Sku, Stock},
        rules::is_balanced,
        store::{StockStore, open_write},
    },
    testing,
};

struct Shop {
    _database: testing::Database,
    table: Table,
    orders: OrderStore,
    stocks: StockStore,
}

fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-20T12:00:00.123456789Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

fn sku(name: &str) -> Sku {
    name.parse().unwrap()
}

fn event_of(decision: Decision) -> Change {
    match decision {
        Decision::Change(change) => change,
        Decision::Settled => panic!("nothing to change"),
    }
}

impl Shop {
    async fn new() -> Self {
        let database = testing::Database::start(&[table("Commerce")]).await;
        let (client, name) = (database.client(), || "Commerce".to_owned());
        Self {
            table: Table::new(client.clone(), name()),
            orders: OrderStore::new(client.clone(), name()),
            stocks: StockStore::new(client, name()),
            _database: database,
        }
    }

    /// A shop in which there are `units` of a sku.
    async fn stocking(name: &str, units: u64) -> Self {
        let shop = Self::new().await;
        shop.stock_up(name, units).await;
        shop
    }

    async fn stock_up(&self, name: &str, units: u64) {
        let open = open_write(&self.table, &sku(name)).unwrap();
        self.table.transact(vec![open]).await.unwrap();
        let mut item = self
            .table
            .get(key(format!("STOCK#{name}"), META.into()))
            .await
            .unwrap()
            .unwrap();
        for counter in ["available", "received"] {
            item.insert(counter.into(), number(units));
        }
        self.table.put(item).await.unwrap();
    }

    async fn stock(&self, name: &str) -> Stock {
        self.stocks.get(&sku(name)).await.unwrap().unwrap()
    }

    async fn take(&self, n: u8, customer: &str, items: &[(&str, u32)], now: Timestamp) -> Order {
        let happened = created(customer, "sandbox-approve", items);
        let order = ordered(n, &happened, now);
        let made = self.orders.create(&order, &happened, now, None).await;
        assert_eq!(made.unwrap(), Created::Done);
        order
    }

    async fn done(&self, order: &Order, decision: Decision, now: Timestamp) -> Order {
        let change = event_of(decision);
        match self.orders.commit(order, change, now, None).await.unwrap() {
            Committed::Done(order) => *order,
            other => panic!("{other:?}"),
        }
    }

    async fn folded(&self, id: &OrderId) -> Order {
        let events = self.orders.events(id, 0, 1_000).await.unwrap();
        let fold = events.iter().zip(1..).fold(None, |order, (event, n)| {
            assert_eq!(event.sequence, n);
            let happened = Happened::from_event(event).unwrap();
            Some(apply(order, id, &happened, event.at).unwrap())
        });
        fold.unwrap()
    }

    async fn postpone(&self, order: &Order, until: i64) -> Result<Write, TableError> {
        let version = Some(order.version);
        self.orders.postpone(&order.id, version, at(until)).await
    }

    async fn due(&self, now: Timestamp) -> Vec<OrderId> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (due, next) = self.orders.due(now, after, 1).await.unwrap();
            found.extend(due);
            after = next;
            if after.is_none() {
                return found;
            }
        }
    }

    /// A write that is refused.
    fn refused(&self) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(key("CLAIM".into(), META.into())))
            .condition_expression("attribute_exists(pk)")
            .build();
        TransactWriteItem::builder().put(put.unwrap()).build()
    }
}

#[tokio::test]
async fn a_new_order_is_read_as_it_was_taken() {
    let shop = Shop::new().await;
    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    assert_eq!(
        shop.orders.get(&order.id).await.unwrap(),
        Some(order.clone())
    );
    assert_eq!(shop.folded(&order.id).await, order);
    let other = OrderId::new(at(0), [9; 5]);
    assert_eq!(shop.orders.get(&other).await.unwrap(), None);
}

#[tokio::test]
async fn a_number_is_taken_once_and_by_its_own_order_again() {
    let shop = Shop::new().await;
    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    let again = created("ada", "sandbox-approve", &[("tea", 2)]);
    let made = shop.orders.create(&order, &again, at(0), None).await;
    assert_eq!(made.unwrap(), Created::Done, "the reply was lost");
    let other = created("bob", "sandbox-approve", &[("tea", 2)]);
    let taken = ordered(1, &other, at(1));
    let made = shop.orders.create(&taken, &other, at(1), None).await;
    assert_eq!(made.unwrap(), Created::NumberTaken);
    assert_eq!(shop.orders.get(&order.id).await.unwrap(), Some(order));
}

#[tokio::test]
async fn what_goes_with_a_change_is_refused_with_all_of_it() {
    let shop = Shop::stocking("tea", 5).await;
    let happened = created("ada", "sandbox-approve", &[("tea", 2)]);
    let order = ordered(1, &happened, at(0));
    let refused = Some(shop.refused());
    let made = shop.orders.create(&order, &happened, at(0), refused).await;
    assert!(made.unwrap_err().retryable());
    assert_eq!(shop.orders.get(&order.id).await.unwrap(), None);

    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    let reserve = event_of(rules::reserve(&order, at(1)).unwrap());
    let refused = Some(shop.refused());
    let reserved = shop.orders.commit(&order, reserve, at(1), refused).await;
    assert!(reserved.unwrap_err().retryable());
    assert_eq!(shop.folded(&order.id).await, order);
    assert_eq!(shop.stock("tea").await.reserved, 0);
}

#[tokio::test]
async fn a_change_stands_once_however_often_it_is_sent() {
    let shop = Shop::stocking("tea", 5).await;
    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    let reserve = || event_of(rules::reserve(&order, at(1)).unwrap());
    let first = shop.orders.commit(&order, reserve(), at(1), None).await;
    let second = shop.orders.commit(&order, reserve(), at(1), None).await;
    assert_eq!(first.unwrap(), second.unwrap());
    let later = event_of(rules::reserve(&order, at(2)).unwrap());
    let later = shop.orders.commit(&order, later, at(2), None).await;
    assert_eq!(later.unwrap(), Committed::Conflict);
    let stock = shop.stock("tea").await;
    assert_eq!((stock.available, stock.reserved), (3, 2));
}

#[tokio::test]
async fn each_short_sku_is_named_and_nothing_moves() {
    let shop = Shop::stocking("tea", 5).await;
    shop.stock_up("cup", 1).await;
    let order = shop
        .take(1, "ada", &[("cup", 2), ("tea", 5), ("pot", 1)], at(0))
        .await;
    let reserve = event_of(rules::reserve(&order, at(1)).unwrap());
    let short = |name: &str, wanted, available| Shortage {
        sku: sku(name),
        wanted,
        available,
    };
    assert_eq!(
        shop.orders
            .commit(&order, reserve, at(1), None)
            .await
            .unwrap(),
        Committed::Short(vec![short("cup", 2, Some(1)), short("pot", 1, None)])
    );
    assert_eq!(shop.stock("tea").await.available, 5);
    assert_eq!(shop.folded(&order.id).await, order);
}

#[tokio::test]
async fn stock_that_an_order_holds_and_that_is_not_there_is_an_error_for_good() {
    let shop = Shop::stocking("tea", 5).await;
    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    let reserve = rules::reserve(&order, at(1)).unwrap();
    let order = shop.done(&order, reserve, at(1)).await;
    shop.stock_up("tea", 5).await;
    let mut item = shop.table.get(key("STOCK#tea".into(), META.into())).await;
    let item = item.as_mut().unwrap().as_mut().unwrap();
    item.insert("reserved".into(), number(0));
    shop.table.put(item.clone()).await.unwrap();
    let expire = event_of(rules::expire(&order, at(100_000)));
    let expired = shop.orders.commit(&order, expire, at(100_000), None).await;
    assert!(!expired.unwrap_err().retryable());
}

#[tokio::test]
async fn customers_see_their_orders_newest_first_page_by_page() {
    let shop = Shop::stocking("tea", 100).await;
    let mut mine = Vec::new();
    for n in 0..7 {
        mine.push(shop.take(n, "ada", &[("tea", 1)], at(i64::from(n))).await);
        shop.take(n + 100, "bob", &[("tea", 1)], at(i64::from(n)))
            .await;
    }
    mine.reverse();
    for limit in [1, 3, 7, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = shop
                .orders
                .list_by_customer("ada", &[], Span::default(), after, limit)
                .await;
            let (orders, next) = page.unwrap();
            assert!(orders.len() <= limit);
            found.extend(orders);
            let Some(next) = next else { break };
            after = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(found, mine, "{limit} a page");
    }
    let span = Span {
        from: Some(at(2)),
        before: Some(at(5)),
    };
    let listed = shop.orders.list_by_customer("ada", &[], span, None, 100);
    assert_eq!(listed.await.unwrap().0, mine[2..5]);
    let backwards = Span {
        from: span.before,
        before: span.from,
    };
    let listed = shop
        .orders
        .list_by_customer("ada", &[], backwards, None, 100);
    assert_eq!(listed.await.unwrap(), (Vec::new(), None));
}

#[tokio::test]
async fn a_list_by_status_merges_all_customers_and_follows_each_order() {
    let shop = Shop::stocking("tea", 100).await;
    let mut all = Vec::new();
    for n in 0..9_u8 {
        let customer = format!("customer-{}", n % 3);
        let taken = shop
            .take(n, &customer, &[("tea", 1)], at(i64::from(n)))
            .await;
        all.push(if n % 2 == 0 {
            taken
        } else {
            let cancel = rules::request_cancellation(&taken, CancelReason::Staff, None);
            let taken = shop.done(&taken, cancel.unwrap(), at(100)).await;
            shop.done(&taken, rules::cancelled(&taken).unwrap(), at(101))
                .await
        });
    }
    all.reverse();
    for statuses in [
        &[][..],
        &[Status::Pending],
        &[Status::Cancelled, Status::Pending],
    ] {
        let meant: Vec<_> = all
            .iter()
            .filter(|order| statuses.is_empty() || statuses.contains(&order.status))
            .cloned()
            .collect();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = shop
                .orders
                .list_by_status(statuses, Span::default(), after, 2);
            let (orders, next) = page.await.unwrap();
            found.extend(orders);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, meant, "{statuses:?}");
    }
    let cancelled = shop
        .orders
        .list_by_customer("customer-1", &[Status::Cancelled], Span::default(), None, 5)
        .await;
    let (cancelled, next) = cancelled.unwrap();
    assert_eq!((cancelled.len(), next), (2, None), "numbers 1 and 7");
}

#[tokio::test]
async fn an_order_is_due_from_its_time_until_nothing_is_awaited() {
    let shop = Shop::stocking("tea", 5).await;
    let order = shop.take(1, "ada", &[("tea", 2)], at(0)).await;
    let other = shop.take(2, "ada", &[("tea", 1)], at(-5)).await;
    assert!(shop.due(at(1)).await.is_empty());
    assert_eq!(shop.due(at(90)).await, [other.id.clone(), order.id.clone()]);
    let postponed = shop.postpone(&order, 200).await;
    assert_eq!(postponed.unwrap(), Write::Done);
    assert_eq!(shop.due(at(90)).await, std::slice::from_ref(&other.id));
    assert_eq!(
        shop.due(at(200)).await,
        [other.id.clone(), order.id.clone()]
    );
    assert_eq!(shop.folded(&order.id).await, order, "it is no event");

    let cancel = rules::request_cancellation(&order, CancelReason::Customer, None);
    let cancelling = shop.done(&order, cancel.unwrap(), at(10)).await;
    let late = shop.postpone(&order, 9_999).await;
    assert_eq!(late.unwrap(), Write::Conflict);
    let cancelled = rules::cancelled(&cancelling).unwrap();
    let cancelled = shop.done(&cancelling, cancelled, at(11)).await;
    assert_eq!(shop.due(at(99_999)).await, [other.id]);
    let idle = shop.postpone(&cancelled, 9_999).await;
    assert_eq!(idle.unwrap(), Write::Conflict, "nothing is awaited");
}

#[tokio::test]
async fn an_order_that_moves_while_it_is_listed_is_listed_once() {
    let shop = Shop::new().await;
    let order = shop.take(1, "ada", &[("tea", 1)], at(0)).await;
    let mut item = item(&order).unwrap();
    item.insert("sk".into(), text("STALE"));
    let confirmed = status_partition(Status::Confirmed, shard(&order.id));
    item.insert(BY_STATUS.pk.into(), text(confirmed));
    shop.table.put(item).await.unwrap();
    let listed = shop.orders.list_by_status(&[], Span::default(), None, 5);
    assert_eq!(listed.await.unwrap(), (vec![order], None));
}

#[test]
fn a_position_is_a_time_and_a_number() {
    for wrong in [
        "",
        "x",
        "2026-11-20T12:00:00.000Z",
        "now#ORD-20261120-00000001",
    ] {
        assert_eq!(wrong.parse::<Position>(), Err(NotAPosition), "{wrong}");
    }
    let position = Position::new(at(0), &OrderId::new(at(0), [1; 5]));
    assert_eq!(position.to_string().parse(), Ok(position));
}

/// A random legal next change of `order`, if it has one of the kind that is drawn.
fn drawn(order: &Order, random: &Random, now: Timestamp) -> Option<Change> {
    let seldom = random.up_to(9) == 0;
    let next = [Status::Processing, Status::Shipped, Status::Delivered];
    let decision = match random.up_to(14) {
        0 => rules::reserve(order, now),
        1 => rules::start_payment(order, "reference-1", now),
        2 => rules::authorised(order),
        3 if seldom => rules::declined(order, "expired-card"),
        4 => rules::confirm(order),
        5 => rules::captured(order, order.totals.total),
        6 if seldom => {
            rules::request_cancellation(order, CancelReason::Customer, Some("too dear".into()))
        }
        7 => match rules::to_undo(order) {
            Ok(Undo::Void) => rules::voided(order),
            Ok(Undo::Refund(_)) => rules::given_back(order),
            _ => return None,
        },
        8 => rules::release(order),
        9 => rules::cancelled(order),
        10 => next
            .iter()
            .find_map(|to| rules::advance(order, *to, None).ok())
            .ok_or(Refused::Busy),
        11 if seldom => {
            let sku = order.lines[0].sku.clone();
            let of = match random.up_to(2) {
                0 => RefundOf::Everything,
                _ => RefundOf::Lines(vec![Units { sku, quantity: 1 }]),
            };
            let id = format!("refund-{}", order.version);
            rules::request_refund(order, &id, of, true, Some("broken".into()), now)
        }
        12 => {
            let id = order.refunds.last()?.refund_id.clone();
            match random.up_to(3) {
                0 => rules::refund_failed(order, &id, "gone"),
                _ => rules::refunded(order, &id),
            }
        }
        13 => Ok(rules::expire(order, now)),
        14 if seldom => Ok(rules::compensation_failed(order, "release")),
        _ => return None,
    };
    match decision {
        Ok(Decision::Change(change)) => Some(change),
        _ => None,
    }
}

#[tokio::test]
async fn folding_an_order_s_events_gives_the_stored_order_after_any_legal_history() {
    let shop = Shop::stocking("tea", 400).await;
    shop.stock_up("cup", 400).await;
    let random = Random::seeded(4);
    let (mut statuses, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..40 {
        let mut now = at(i64::from(n));
        let mut order = shop.take(n, "ada", &[("tea", 3), ("cup", 1)], now).await;
        for _ in 0..300 {
            now += SignedDuration::from_millis(random.up_to(60_000).into());
            if let Some(change) = drawn(&order, &random, now) {
                order = shop.done(&order, Decision::Change(change), now).await;
            }
        }
        assert_eq!(
            shop.orders.get(&order.id).await.unwrap().as_ref(),
            Some(&order)
        );
        assert_eq!(shop.folded(&order.id).await, order);
        statuses.insert(order.status);
        let events = shop.orders.events(&order.id, 0, 1_000).await.unwrap();
        kinds.extend(events.into_iter().map(|event| event.kind));
    }
    for name in ["tea", "cup"] {
        assert!(is_balanced(&shop.stock(name).await));
    }
    assert!(statuses.len() >= 3, "{statuses:?}");
    assert_eq!(kinds.len(), 19, "every kind of event: {kinds:?}");
}
