use futures_util::future::join_all;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    catalog::{
        category::{
            model::Labels,
            store::{CategoryStore, Effect},
        },
        product::{
            model::{parse_new, tests::body},
            rules,
        },
    },
    platform::{ids::uuid_v7, money::Currency},
    testing::{self, Database},
};

struct House {
    _database: Database,
    store: ProductStore,
    stocks: StockStore,
    client: Client,
}

fn category(n: usize) -> CategoryId {
    let n = u8::try_from(n).unwrap();
    CategoryId(uuid_v7(Timestamp::UNIX_EPOCH, [n; 10]))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A product of the second `n`, so that what has the greater `n` is newer.
fn made(n: u8, name: &str, cents: u64, categories: &[usize]) -> Product {
    let mut body = body(&format!("SKU-{n}"));
    body["name"] = json!(name);
    body["price"]["amount"] = json!(format!("{}.{:02}", cents / 100, cents % 100));
    body["category_ids"] = categories.iter().map(|n| json!(category(*n))).collect();
    let (sku, details) = parse_new(&body, Currency::SGD).unwrap();
    let now = at(n.into());
    rules::create(ProductId(uuid_v7(now, [n; 10])), sku, details, now)
}

fn told(product: &Product) -> Event {
    let data = json!({"of": product.details.name});
    let id = product.id.to_string();
    let at = product.updated_at;
    Event::new(
        Aggregate::Product,
        id,
        product.version,
        "product.changed",
        at,
        data,
    )
}

fn patched(product: &Product, patch: &Value) -> Product {
    rules::update(product, patch, Currency::SGD, at(99)).unwrap()
}

impl House {
    /// A house with the categories 0 to 3.
    async fn new() -> Self {
        let table = testing::Table::new("Commerce")
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk");
        let database = Database::start(&[table]).await;
        let client = database.client();
        let categories = CategoryStore::new(client.clone(), "Commerce".to_owned());
        for n in 0..4 {
            let labels = Labels {
                name: "C".to_owned(),
                slug: format!("c-{n}").parse().unwrap(),
                sort_order: 0,
            };
            let (tree, id) = (categories.tree().await.unwrap(), category(n));
            let change = tree.create(id, &labels, None).unwrap();
            let event = Event::new(
                Aggregate::Category,
                id.to_string(),
                1,
                "x",
                at(0),
                json!({}),
            );
            let saved = categories
                .save(change, Effect::Created(id), &event, None)
                .await;
            saved.unwrap();
        }
        Self {
            store: ProductStore::new(client.clone(), "Commerce".to_owned()),
            stocks: StockStore::new(client.clone(), "Commerce".to_owned()),
            client,
            _database: database,
        }
    }

    async fn save(&self, before: Option<&Product>, after: &Product) -> Saved {
        let saved = self.store.save(before, after, &told(after), None).await;
        saved.unwrap()
    }

    async fn put(&self, product: &Product) {
        assert_eq!(self.save(None, product).await, Saved::Done);
    }

    /// All of a list, page by page.
    async fn listed(
        &self,
        lists: &[ListName],
        order: Order,
        filter: &Filter,
        limit: usize,
    ) -> Vec<Summary> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .store
                .list(lists, order, filter, &self.stocks, after, limit);
            let (found, next) = page.await.unwrap();
            assert!(found.len() <= limit);
            all.extend(found);
            let Some(next) = next else { return all };
            after = Some(next);
        }
    }

    async fn names(
        &self,
        lists: &[ListName],
        order: Order,
        filter: &Filter,
        limit: usize,
    ) -> String {
        let listed = self.listed(lists, order, filter, limit).await;
        listed.into_iter().map(|summary| summary.name).collect()
    }

    async fn prices(&self, categories: &[usize]) -> Prices {
        let groups = self.store.prices().await.unwrap();
        let categories: HashSet<_> = categories.iter().map(|n| category(*n)).collect();
        prices_within(&groups, &categories)
    }
}

#[tokio::test]
async fn a_product_reads_back_as_written_and_has_a_stock() {
    let house = House::new().await;
    let product = made(1, "Lamp", 3490, &[0, 2]);
    house.put(&product).await;
    assert_eq!(
        house.store.find(product.id).await.unwrap(),
        Some(product.clone())
    );
    let stock = house.stocks.get(&product.sku).await.unwrap().unwrap();
    assert_eq!((stock.available, stock.version), (0, 1));
    let skus = [product.sku.clone(), "OTHER".parse().unwrap()];
    let found = house.store.by_sku(&skus).await.unwrap();
    assert_eq!(
        found,
        HashMap::from([(product.sku.clone(), product.clone())])
    );
    let inactive = patched(&product, &json!({"is_active": false}));
    assert_eq!(house.save(Some(&product), &inactive).await, Saved::Done);
    assert!(house.store.by_sku(&skus).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_products_made_together_one_gets_the_sku() {
    let house = House::new().await;
    let attempts = (1..=4).map(|n| {
        let mut product = made(n, "Lamp", 100, &[0]);
        product.sku = "SAME".parse().unwrap();
        let house = &house;
        async move { house.save(None, &product).await }
    });
    let ends = join_all(attempts).await;
    let done = ends.iter().filter(|end| **end == Saved::Done).count();
    assert_eq!(done, 1);
    assert!(
        ends.iter()
            .all(|end| matches!(end, Saved::Done | Saved::SkuTaken))
    );
    assert_eq!(house.prices(&[0]).await.count, 1);
}

#[tokio::test]
async fn a_deleted_product_frees_its_sku_and_takes_it_again_if_it_can() {
    let house = House::new().await;
    let first = made(1, "Lamp", 100, &[0]);
    house.put(&first).await;
    let deleted = rules::delete(&first, at(50));
    assert_eq!(house.save(Some(&first), &deleted).await, Saved::Done);
    let mut second = made(2, "Lamp", 200, &[0]);
    second.sku = first.sku.clone();
    house.put(&second).await;
    let restored = rules::restore(&deleted, |_| true, at(60));
    assert_eq!(house.save(Some(&deleted), &restored).await, Saved::SkuTaken);
    let gone = rules::delete(&second, at(70));
    assert_eq!(house.save(Some(&second), &gone).await, Saved::Done);
    assert_eq!(house.save(Some(&deleted), &restored).await, Saved::Done);
    assert_eq!(house.prices(&[0]).await, Prices::default().with(100));
}

#[tokio::test]
async fn a_set_of_categories_that_no_product_has_any_more_is_not_kept() {
    let house = House::new().await;
    let lamp = made(1, "Lamp", 100, &[0, 1]);
    house.put(&lamp).await;
    let moved = patched(&lamp, &json!({"category_ids": [category(2).to_string()]}));
    assert_eq!(house.save(Some(&lamp), &moved).await, Saved::Done);
    let sets = house.store.prices().await.unwrap();
    assert_eq!(sets.len(), 1, "{sets:?}");
    assert_eq!(sets[0].categories, [category(2)]);
    let hidden = patched(&moved, &json!({"is_active": false}));
    assert_eq!(house.save(Some(&moved), &hidden).await, Saved::Done);
    assert!(house.store.prices().await.unwrap().is_empty());
    let shown = patched(&hidden, &json!({"is_active": true}));
    assert_eq!(house.save(Some(&hidden), &shown).await, Saved::Done);
    assert_eq!(house.prices(&[2]).await, Prices::default().with(100));
}

#[tokio::test]
async fn a_write_under_an_old_version_conflicts_and_its_own_repetition_does_not() {
    let house = House::new().await;
    let product = made(1, "Lamp", 100, &[0]);
    house.put(&product).await;
    house.put(&product).await;
    let one = patched(&product, &json!({"name": "One"}));
    let other = patched(&product, &json!({"name": "Other", "category_ids": []}));
    assert_eq!(house.save(Some(&product), &one).await, Saved::Done);
    assert_eq!(house.save(Some(&product), &one).await, Saved::Done);
    assert_eq!(house.save(Some(&product), &other).await, Saved::Conflict);
    assert_eq!(house.prices(&[0]).await.count, 1);
}

#[tokio::test]
async fn a_product_cannot_be_in_a_category_that_there_is_not() {
    let house = House::new().await;
    let product = made(1, "Lamp", 100, &[0, 9]);
    assert_eq!(
        house.save(None, &product).await,
        Saved::NoCategory(category(9))
    );
    assert_eq!(house.store.find(product.id).await.unwrap(), None);
}

#[tokio::test]
async fn products_of_one_category_written_together_all_count() {
    let house = House::new().await;
    let writers: Vec<_> = (1..=6_u8)
        .map(|n| made(n, "Lamp", u64::from(n) * 100, &[0, 1]))
        .collect();
    let stores: Vec<_> = writers
        .iter()
        .map(|_| ProductStore::new(house.client.clone(), "Commerce".to_owned()))
        .collect();
    let attempts = writers
        .iter()
        .zip(&stores)
        .map(|(product, store)| async move {
            store
                .save(None, product, &told(product), None)
                .await
                .unwrap()
        });
    assert!(
        join_all(attempts)
            .await
            .iter()
            .all(|end| *end == Saved::Done)
    );
    let prices = house.prices(&[1]).await;
    assert_eq!(
        (prices.count, prices.sum, prices.range),
        (6, 2100, Some((100, 600)))
    );
}

#[tokio::test]
async fn lists_are_in_order_and_filtered_whatever_the_page() {
    let house = House::new().await;
    for (n, name, cents, categories) in [
        (1, "b", 300, &[0][..]),
        (2, "A", 100, &[0, 1]),
        (3, "d", 300, &[1]),
        (4, "C", 20, &[2]),
        (5, "e", 100, &[]),
    ] {
        house.put(&made(n, name, cents, categories)).await;
    }
    let sku = "SKU-3".parse().unwrap();
    let stock = house.stocks.get(&sku).await.unwrap().unwrap();
    let stock = crate::stock::rules::set(stock, 5).unwrap();
    let event = Event::new(
        Aggregate::Stock,
        "SKU-3",
        stock.version,
        "stock.set",
        at(0),
        json!({}),
    );
    house.stocks.save(&stock, &event, None).await.unwrap();

    let all = [ListName::All];
    let both = [0, 1].map(|n| ListName::Category(category(n)));
    let none = Filter::default();
    let price = |least, most| Filter {
        least,
        most,
        ..Filter::default()
    };
    let within = Some([1, 2].map(category).into());
    for limit in 1..=6 {
        for (lists, order, filter, expected) in [
            (&all[..], Order::Newest, &none, "eCdAb"),
            (&all, Order::Name, &none, "AbCde"),
            (&all, Order::NameDescending, &none, "edCbA"),
            (&all, Order::Price, &none, "CAebd"),
            (&all, Order::PriceDescending, &none, "dbeAC"),
            (&both, Order::Newest, &none, "dAb"),
            (&both, Order::Name, &none, "Abd"),
            (&both, Order::PriceDescending, &none, "dbA"),
            (&all, Order::Price, &price(Some(100), Some(299)), "Ae"),
            (
                &all,
                Order::PriceDescending,
                &price(Some(21), Some(300)),
                "dbeA",
            ),
            (&all, Order::Newest, &price(None, Some(100)), "eCA"),
            (&all, Order::Price, &price(Some(5), Some(4)), ""),
            (
                &all,
                Order::Name,
                &Filter {
                    within: within.clone(),
                    ..none.clone()
                },
                "ACd",
            ),
            (
                &all,
                Order::Name,
                &Filter {
                    name: Some("E".into()),
                    ..none.clone()
                },
                "e",
            ),
            (
                &all,
                Order::Name,
                &Filter {
                    in_stock: Some(true),
                    ..none.clone()
                },
                "d",
            ),
            (
                &all,
                Order::Price,
                &Filter {
                    in_stock: Some(false),
                    ..none.clone()
                },
                "CAeb",
            ),
        ] {
            let listed = house.names(lists, order, filter, limit).await;
            assert_eq!(listed, expected, "{order:?} {filter:?} by {limit}");
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Create(u64, Vec<usize>),
    Price(usize, u64),
    Categories(usize, Vec<usize>),
    Switch(usize, &'static str, bool),
    Delete(usize),
    Restore(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let categories = || prop::collection::btree_set(0_usize..4, 0..4).prop_map(Vec::from_iter);
    let n = || 0_usize..6;
    prop_oneof![
        3 => (0_u64..5, categories()).prop_map(|(price, categories)| Act::Create(price, categories)),
        2 => (n(), 0_u64..5).prop_map(|(n, price)| Act::Price(n, price)),
        2 => (n(), categories()).prop_map(|(n, categories)| Act::Categories(n, categories)),
        1 => (n(), prop_oneof![Just("is_active"), Just("is_featured")], any::<bool>())
            .prop_map(|(n, name, on)| Act::Switch(n, name, on)),
        1 => n().prop_map(Act::Delete),
        1 => n().prop_map(Act::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn statistics_and_lists_are_what_the_listed_products_make(acts in prop::collection::vec(act(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new().await;
            let mut products: Vec<Product> = Vec::new();
            for act in acts {
                let (index, next) = match act {
                    Act::Create(price, categories) => {
                        let n = u8::try_from(products.len() + 1).unwrap();
                        let product = made(n, "x", price, &categories);
                        house.put(&product).await;
                        products.push(product);
                        continue;
                    }
                    Act::Price(n, price) => (n, json!({"price": {"amount": format!("0.0{price}")}})),
                    Act::Categories(n, categories) => {
                        let ids: Vec<_> = categories.into_iter().map(category).collect();
                        (n, json!({"category_ids": ids}))
                    }
                    Act::Switch(n, name, on) => (n, json!({name: on})),
                    Act::Delete(n) => (n, json!("delete")),
                    Act::Restore(n) => (n, json!("restore")),
                };
                let Some(before) = products.get_mut(index) else { continue };
                let after = match (next.as_str(), before.deleted_at) {
                    (Some("delete"), None) => rules::delete(before, at(200)),
                    (Some("restore"), Some(_)) => rules::restore(before, |_| true, at(201)),
                    (None, None) => patched(before, &next),
                    _ => continue,
                };
                prop_assert_eq!(house.save(Some(before), &after).await, Saved::Done);
                *before = after;
            }
            let listed: Vec<_> = products.iter().filter(|product| product.is_listed()).collect();
            for subtree in [&[0][..], &[1], &[0, 1], &[1, 2, 3], &[0, 1, 2, 3]] {
                let is_in = |product: &&&Product| {
                    let ids = &product.details.category_ids;
                    subtree.iter().any(|n| ids.contains(&category(*n)))
                };
                let within = listed.iter().filter(is_in);
                let expected = within.clone().fold(Prices::default(), |all, product| all.with(product.price_units()));
                prop_assert_eq!(house.prices(subtree).await, expected);

                let mut ids: Vec<_> = within.map(|product| (product.price_units(), product.id)).collect();
                ids.sort_unstable();
                let lists: Vec<_> = subtree.iter().map(|n| ListName::Category(category(*n))).collect();
                let found = house.listed(&lists, Order::Price, &Filter::default(), 3).await;
                let found: Vec<_> = found.into_iter().map(|one| (super::super::model::units(one.price), one.id)).collect();
                prop_assert_eq!(found, ids);
            }
            let mut featured: Vec<_> = listed.iter().filter(|product| product.details.is_featured).map(|product| product.id).collect();
            featured.sort_unstable_by(|a, b| b.cmp(a));
            let found = house.listed(&[ListName::Featured], Order::Newest, &Filter::default(), 2).await;
            prop_assert_eq!(found.into_iter().map(|one| one.id).collect::<Vec<_>>(), featured);
            for n in 0..4 {
                let members = products.iter().filter(|product| product.memberships().contains(&category(n))).count();
                let item = house.store.table.get(key(format!("CATEGORY#{}", category(n)), META.to_owned())).await.unwrap();
                prop_assert_eq!(parsed::<usize>(&item.unwrap(), "category", "products").unwrap(), members);
            }
            Ok(())
        })?;
    }
}
