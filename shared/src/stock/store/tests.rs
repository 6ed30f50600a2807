use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    stock::rules::{self, is_balanced},
    testing::{self, Database},
};

struct House {
    _database: Database,
    store: StockStore,
}

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

fn told(next: &Stock) -> Event {
    let at = Timestamp::from_second(1_795_190_400).unwrap();
    let data = json!({"to": next.available});
    Event::new(
        Aggregate::Stock,
        next.sku.as_str(),
        next.version,
        "stock.set",
        at,
        data,
    )
}

impl House {
    async fn new() -> Self {
        let database = Database::start(&[testing::Table::new("Commerce")]).await;
        let store = StockStore::new(database.client(), "Commerce".to_owned());
        Self {
            _database: database,
            store,
        }
    }

    /// A house with `units` of the sku `A`.
    async fn with_units(units: u64) -> Self {
        let house = Self::new().await;
        house.open("A").await;
        let next = rules::set(house.stock().await, units).unwrap();
        let saved = house.store.save(&next, &told(&next), None).await;
        assert_eq!(saved.unwrap(), Write::Done);
        house
    }

    async fn open(&self, text: &str) {
        let write = open_write(&self.store.table, &sku(text)).unwrap();
        let done = self.store.table.transact(vec![write]).await.unwrap();
        assert_eq!(done, Transaction::Done);
    }

    async fn stock(&self) -> Stock {
        self.store.get(&sku("A")).await.unwrap().unwrap()
    }

    async fn shift(&self, direction: Direction, quantity: u32) -> Transaction {
        let moved = Move {
            sku: sku("A"),
            quantity,
            direction,
        };
        let write = move_write(&self.store.table, &moved).unwrap();
        self.store.table.transact(vec![write]).await.unwrap()
    }
}

#[tokio::test]
async fn opening_a_stock_again_changes_nothing() {
    let house = House::with_units(5).await;
    let before = house.stock().await;
    house.open("A").await;
    assert_eq!(house.stock().await, before);
    assert_eq!(
        (before.available, before.received, before.version),
        (5, 5, 2)
    );
    assert_eq!(house.store.get(&sku("B")).await.unwrap(), None);
}

#[tokio::test]
async fn a_refused_move_tells_what_is_left_and_changes_nothing() {
    let house = House::with_units(5).await;
    let Transaction::Refused(refusals) = house.shift(Direction::Reserve, 6).await else {
        panic!("six of five units were reserved");
    };
    assert_eq!(refusals[0].found.as_ref().and_then(left), Some(5));
    assert_eq!(house.stock().await.version, 2);
    let unknown = Move {
        sku: sku("B"),
        quantity: 1,
        direction: Direction::Reserve,
    };
    let write = move_write(&house.store.table, &unknown).unwrap();
    let Transaction::Refused(refusals) = house.store.table.transact(vec![write]).await.unwrap()
    else {
        panic!("a unit of nothing was reserved");
    };
    assert_eq!(refusals[0].found, None);
}

#[tokio::test]
async fn a_change_under_an_old_version_conflicts_and_its_own_repetition_does_not() {
    let house = House::with_units(5).await;
    let stale = house.stock().await;
    let next = rules::set(stale.clone(), 9).unwrap();
    for _ in 0..2 {
        let saved = house.store.save(&next, &told(&next), None).await;
        assert_eq!(saved.unwrap(), Write::Done);
    }
    let other = rules::set(stale, 7).unwrap();
    let saved = house.store.save(&other, &told(&other), None).await;
    assert_eq!(saved.unwrap(), Write::Conflict);
    assert_eq!(house.stock().await, next);
}

#[tokio::test]
async fn a_move_makes_a_change_that_did_not_see_it_conflict() {
    let house = House::with_units(5).await;
    let next = rules::set(house.stock().await, 9).unwrap();
    assert_eq!(house.shift(Direction::Reserve, 2).await, Transaction::Done);
    let saved = house.store.save(&next, &told(&next), None).await;
    assert_eq!(saved.unwrap(), Write::Conflict);
    let stock = house.stock().await;
    assert_eq!((stock.available, stock.reserved, stock.received), (3, 2, 5));
}

#[tokio::test]
async fn many_stocks_are_read_at_once_and_unknown_ones_left_out() {
    let house = House::with_units(5).await;
    house.open("B").await;
    let skus = ["A", "B", "A", "C"].map(sku);
    let stocks = house.store.get_many(&skus).await.unwrap();
    assert_eq!(stocks.len(), 2);
    assert_eq!(stocks[&sku("A")].available, 5);
    assert_eq!(house.store.get_many(&[]).await.unwrap(), HashMap::new());
}

#[tokio::test]
async fn events_tell_what_people_did_in_order() {
    let house = House::with_units(5).await;
    house.shift(Direction::Reserve, 1).await;
    let next = rules::adjusted(house.stock().await, -4).unwrap();
    house.store.save(&next, &told(&next), None).await.unwrap();
    let events = house.store.events(&sku("A"), 0, 10).await.unwrap();
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [2, 4]);
    let later = house.store.events(&sku("A"), 2, 10).await.unwrap();
    assert_eq!(later, events[1..]);
}

#[derive(Debug, Clone)]
enum Act {
    Move(Direction, u32),
    Set(u64),
    Adjust(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let direction = prop_oneof![
        Just(Direction::Reserve),
        Just(Direction::Release),
        Just(Direction::Sell),
        Just(Direction::Restock),
    ];
    prop_oneof![
        4 => (direction, 1_u32..6).prop_map(|(direction, units)| Act::Move(direction, units)),
        1 => (0_u64..20).prop_map(Act::Set),
        1 => (-9_i64..9).prop_map(Act::Adjust),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_table_does_what_the_rules_say_and_the_books_balance(acts in prop::collection::vec(act(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::with_units(10).await;
            let mut expected = house.stock().await;
            for act in acts {
                match act {
                    Act::Move(direction, units) => {
                        let done = house.shift(direction, units).await == Transaction::Done;
                        let ruled = rules::moved(expected.clone(), direction, units);
                        prop_assert_eq!(done, ruled.is_ok());
                        expected = ruled.unwrap_or(expected);
                    }
                    Act::Set(_) | Act::Adjust(_) => {
                        let ruled = match act {
                            Act::Set(units) => rules::set(expected.clone(), units),
                            Act::Adjust(delta) => rules::adjusted(expected.clone(), delta),
                            Act::Move(..) => unreachable!("moves are above"),
                        };
                        if let Ok(next) = ruled {
                            house.store.save(&next, &told(&next), None).await.unwrap();
                            expected = next;
                        }
                    }
                }
                prop_assert_eq!(house.stock().await, expected.clone());
                prop_assert!(is_balanced(&expected));
            }
            Ok(())
        })?;
    }
}
