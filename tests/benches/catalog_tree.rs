//! What a shop's questions cost the catalogue API: the tree of 10,000 categories, and the average price
//! of 100,000 products below one of them. Prints the handler's CPU time, from the request to the body,
//! the SDK and its HTTP included and the database, which is on another thread, left out; and the read
//! units.

use axum::body::Body;
use functions::catalog::{api::router, context::Context};
use http::Request;
use jiff::Timestamp;
use serde_json::json;
use shared::{
    catalog::{
        category::{
            model::Labels,
            parts::PARTS,
            store::{CategoryStore, Effect},
            tree::{Change, Tree},
        },
        id::CategoryId,
        product::store::ProductStore,
    },
    events::model::{Aggregate, Event},
    platform::{
        cache::Cache,
        clock::Clock,
        config::{CursorKey, StoreCurrency},
        http::App,
        idempotency::Idempotency,
        ids::{Random, uuid_v7},
        money::Currency,
        table::{self, number},
    },
    stock::store::StockStore,
    testing::{Database, Table},
};

const CATEGORIES: u32 = 10_000;
const PRODUCTS: u32 = 100_000;
const REQUESTS: u32 = 100;

/// Children of each category until there are enough.
const CHILDREN: usize = 6;

/// Nanoseconds that this thread has been on a processor, as the kernel counts them.
/// <https://docs.kernel.org/scheduler/sched-stats.html>
fn thread_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(measure());
}

/// The context of a function that has just started.
fn context(database: &Database) -> Context {
    let (client, name) = (database.client(), || "Commerce".to_owned());
    let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
    Context {
        categories: CategoryStore::new(client.clone(), name()),
        products: ProductStore::new(client.clone(), name()),
        stocks: StockStore::new(client.clone(), name()),
        currency: StoreCurrency::new(Currency::SGD),
        random: Random::seeded(1),
        cursors: CursorKey::new([1; 32]).expect("long enough"),
        idempotency: Idempotency::new(client, name(), clock.clone(), Random::seeded(2)),
        prices: Cache::new(1, clock.clone()),
        clock,
    }
}

/// A tree with names as long as a shop's, each category named by when it was made.
fn grown(ids: &[CategoryId]) -> Tree {
    let mut tree = Tree::default();
    for (n, id) in ids.iter().enumerate() {
        let labels = Labels {
            name: format!("Category number {n}"),
            slug: format!("category-number-{n}").parse().expect("a slug"),
            sort_order: 0,
        };
        let parent = (n > 0).then(|| ids[(n - 1) / CHILDREN]);
        let change = tree.create(*id, &labels, parent);
        tree = change.expect("the tree has room").tree;
    }
    tree
}

async fn measure() {
    let table = Table::new("Commerce")
        .index("products_by_name", "list_pk", "name_sk")
        .index("products_by_newest", "list_pk", "newest_sk");
    let database = Database::start(&[table]).await;
    let random = Random::seeded(7);
    let made = |n| Timestamp::from_second(1_700_000_000 + i64::from(n)).expect("of this century");
    let ids: Vec<_> = (0..CATEGORIES)
        .map(|n| CategoryId(uuid_v7(made(n), random.bytes())))
        .collect();
    let mut tree = grown(&ids);
    tree.version = 1;
    let change = Change {
        tree,
        touched: (0..PARTS).collect(),
    };
    let event = Event::new(Aggregate::Category, "all", 1, "grown", made(0), json!({}));
    let store = CategoryStore::new(database.client(), "Commerce".into());
    let saved = store.save(change, Effect::Changed, &event, None).await;
    saved.expect("the database takes it");
    let statistics = table::Table::new(database.client(), "Commerce".into());
    let rows = ids.iter().map(|id| {
        let mut item = table::key("CATEGORYSTATS".into(), id.to_string());
        let count = u64::from(PRODUCTS / CATEGORIES);
        let values = [
            ("count", count),
            ("sum", count * 3490),
            ("least", 990),
            ("most", 12_990),
            ("version", count),
        ];
        item.extend(values.map(|(name, value)| (name.to_owned(), number(value))));
        item
    });
    statistics
        .put_many(rows.collect())
        .await
        .expect("the database takes it");

    let average = format!("/api/catalog/categories/{}/avg_price", ids[0]);
    for (what, path, is_cold) in [
        ("the tree, cold", "/api/catalog/tree", true),
        ("the tree, warm", "/api/catalog/tree", false),
        ("the average of 100,000 products, cold", &average, true),
        ("the average of 100,000 products, warm", &average, false),
    ] {
        report(&database, what, path, is_cold).await;
    }
    let units = |halves: u64| halves / 2;
    let fresh = context(&database);
    fresh.categories.tree().await.expect("the tree is there");
    println!(
        "the tree: {} read units",
        units(fresh.categories.meter().read_halves())
    );
    let groups = fresh.products.prices().await.expect("they are there");
    println!(
        "the statistics: {} sets, {} read units",
        groups.len(),
        units(fresh.products.meter().read_halves())
    );
}

async fn report(database: &Database, what: &str, path: &str, is_cold: bool) {
    let app = || App::new(router(context(database)));
    let mut warm = app();
    let (mut times, mut bytes) = (Vec::new(), 0);
    for round in 0..=REQUESTS {
        if is_cold {
            warm = app();
        }
        let request = Request::get(path)
            .body(Body::empty())
            .expect("a valid request");
        let before = thread_nanoseconds();
        let response = warm.serve(request).await;
        assert_eq!(response.status(), 200);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        if round > 0 {
            times.push(thread_nanoseconds() - before);
        }
        bytes = body.expect("the body is in memory").len();
    }
    times.sort_unstable();
    let micros = |share: usize| times[times.len() * share / 100] / 1000;
    println!(
        "{what}: {} µs CPU at the median, {} µs at the 90th percentile, {bytes} bytes of JSON",
        micros(50),
        micros(90),
    );
}
