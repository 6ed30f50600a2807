use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    catalog::category::model::Labels,
    platform::ids::uuid_v7,
    testing::{self, Database},
};

struct House {
    _database: Database,
    store: CategoryStore,
    client: Client,
}

fn id(n: u8) -> CategoryId {
    CategoryId(uuid_v7(Timestamp::UNIX_EPOCH, [n; 10]))
}

fn labels(slug: &str) -> Labels {
    Labels {
        name: slug.to_uppercase(),
        slug: slug.parse().unwrap(),
        sort_order: 0,
    }
}

fn told(id: CategoryId, sequence: u64, word: &str) -> Event {
    let kind = format!("category.{word}");
    let at = Timestamp::UNIX_EPOCH;
    Event::new(
        Aggregate::Category,
        id.to_string(),
        sequence,
        kind,
        at,
        json!({}),
    )
}

impl House {
    async fn new() -> Self {
        let database = Database::start(&[testing::Table::new("Commerce")]).await;
        let client = database.client();
        Self {
            store: CategoryStore::new(client.clone(), "Commerce".to_owned()),
            client,
            _database: database,
        }
    }

    /// Another function's view of the same table.
    fn other(&self) -> CategoryStore {
        CategoryStore::new(self.client.clone(), "Commerce".to_owned())
    }

    async fn create(&self, n: u8, parent: Option<u8>) {
        let tree = self.store.tree().await.unwrap();
        let slug = format!("c-{n}");
        let change = tree.create(id(n), &labels(&slug), parent.map(id)).unwrap();
        let event = told(id(n), 1, "created");
        let saved = self
            .store
            .save(change, Effect::Created(id(n)), &event, None)
            .await;
        assert_eq!(saved.unwrap(), Saved::Done);
    }

    async fn shift(&self, n: u8, to: Option<u8>) -> Saved {
        let tree = self.store.tree().await.unwrap();
        let change = tree.relocate(id(n), to.map(id), None).unwrap();
        let version = tree.category(id(n)).unwrap().version + 1;
        let event = told(id(n), version, "moved");
        self.store
            .save(change, Effect::Changed, &event, None)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn what_one_function_writes_another_reads() {
    let house = House::new().await;
    assert!(house.other().tree().await.unwrap().is_empty());
    let warm = house.other();
    for n in 0..20 {
        house.create(n, n.checked_sub(1)).await;
        let tree = warm.tree().await.unwrap();
        assert_eq!(tree.category(id(n)).unwrap().level, usize::from(n));
    }
    assert_eq!(house.shift(1, None).await, Saved::Done);
    for store in [&warm, &house.other()] {
        let tree = store.tree().await.unwrap();
        assert_eq!(tree.category(id(19)).unwrap().level, 18);
        assert_eq!(tree.len(), 20);
    }
}

#[tokio::test]
async fn a_tree_that_has_not_changed_is_not_read_again() {
    let house = House::new().await;
    for n in 0..20 {
        house.create(n, None).await;
    }
    let warm = house.other();
    let first = warm.tree().await.unwrap();
    let read = warm.meter().read_halves();
    let second = warm.tree().await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(warm.meter().read_halves() - read, 2);
}

#[tokio::test]
async fn of_two_moves_that_would_make_a_cycle_together_one_is_refused() {
    let house = House::new().await;
    for n in 0..20 {
        house.create(n, None).await;
    }
    let tree = house.store.tree().await.unwrap();
    let attempts = [(3, 8), (8, 3)].map(|(n, to)| {
        let change = tree.relocate(id(n), Some(id(to)), None).unwrap();
        let store = house.other();
        async move {
            let event = told(id(n), 2, "moved");
            store
                .save(change, Effect::Changed, &event, None)
                .await
                .unwrap()
        }
    });
    let mut ends = join_all(attempts).await;
    ends.sort_by_key(|end| *end == Saved::Conflict);
    assert_eq!(ends, [Saved::Done, Saved::Conflict]);
    assert_eq!(house.other().tree().await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_change_that_stands_already_is_not_a_conflict() {
    let house = House::new().await;
    house.create(0, None).await;
    let tree = house.store.tree().await.unwrap();
    let change = tree.relabel(id(0), &labels("other")).unwrap();
    for _ in 0..2 {
        let event = told(id(0), 2, "updated");
        let saved = house
            .store
            .save(change.clone(), Effect::Changed, &event, None)
            .await;
        assert_eq!(saved.unwrap(), Saved::Done);
    }
}

#[tokio::test]
async fn a_category_goes_only_without_products() {
    let house = House::new().await;
    house.create(0, None).await;
    let count = async |by| {
        let write = count_write(&house.store.table, id(0), by).unwrap();
        house.store.table.transact(vec![write]).await.unwrap()
    };
    let delete = async || {
        let change = house.store.tree().await.unwrap().delete(id(0)).unwrap();
        let event = told(id(0), 2, "deleted");
        house
            .store
            .save(change, Effect::Deleted(id(0)), &event, None)
            .await
            .unwrap()
    };
    assert_eq!(count(1).await, Transaction::Done);
    assert_eq!(delete().await, Saved::Refused(TreeError::NotEmpty));
    assert_eq!(count(-1).await, Transaction::Done);
    assert_eq!(delete().await, Saved::Done);
    assert!(matches!(count(1).await, Transaction::Refused(_)));
    assert!(house.other().tree().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tree_half_of_which_is_newer_is_not_shown() {
    let house = House::new().await;
    for n in 0..3 {
        house.create(n, None).await;
    }
    let mut head = house
        .store
        .table
        .get(tree_key(HEAD.to_owned()))
        .await
        .unwrap()
        .unwrap();
    head.insert("parts".into(), text(["9"; PARTS].join(",")));
    house.store.table.put(head).await.unwrap();
    let read = house.other().try_read().await.unwrap();
    assert!(read.is_none());
}
