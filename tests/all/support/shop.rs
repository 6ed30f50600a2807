//! A shop over an embedded table: products with stock, and the order API in front of them.

use aws_sdk_dynamodb::Client;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::body::Body;
use functions::orders::{api::router, context::Context, execution::Executions};
use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    catalog::{
        id::ProductId,
        product::{model::parse_new, rules, store::ProductStore},
    },
    customers::store::CustomerStore,
    events::model::{Aggregate, Event},
    orders::{store::OrderStore, tax::TaxTable, testing},
    platform::{
        aws::Connection,
        caller::Caller,
        clock::Clock,
        config::{CursorKey, OrderSaga, StoreCurrency},
        http::App,
        idempotency::Idempotency,
        ids::{Random, uuid_v7},
        money::Currency,
    },
    stock::{rules as stock, store::StockStore},
    testing::Database,
};

const TABLE: &str = "Commerce";

/// The shop.
pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) clock: Clock,
}

impl Shop {
    /// A shop with as many products, of `units` each.
    pub(crate) async fn open(products: usize, units: u64) -> Self {
        let table = testing::table(TABLE)
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk");
        let database = Database::start(&[table]).await;
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("it is a time");
        fill(&database.client(), TABLE, products, units, now).await;
        Self {
            database,
            clock: Clock::fixed(now),
        }
    }

    /// A connection to the table through `http`.
    pub(crate) fn connection(&self, http: SharedHttpClient) -> Connection {
        Connection::to_emulator(self.database.endpoint(), http)
    }

    /// The order API, with its calls on the table through `http`.
    pub(crate) fn api(&self, http: SharedHttpClient, executions: Executions) -> App {
        let client = self.connection(http).dynamodb();
        let name = || TABLE.to_owned();
        let (clock, random) = (self.clock.clone(), Random::system());
        let context = Context {
            orders: OrderStore::new(client.clone(), name()),
            catalog: ProductStore::new(client.clone(), name()),
            customers: CustomerStore::new(client.clone(), name()),
            executions,
            currency: StoreCurrency::new(Currency::SGD),
            taxes: TaxTable::flat("0.16".parse().expect("it is a rate")),
            clock: clock.clone(),
            random: random.clone(),
            cursors: CursorKey::new([1; 32]).expect("it is long enough"),
            idempotency: Idempotency::new(client, name(), clock.clone(), random.clone()),
        };
        App::with(router(context), clock, random)
    }
}

/// Puts as many products, of `units` each, into a table.
pub(crate) async fn fill(
    client: &Client,
    table: &str,
    products: usize,
    units: u64,
    now: Timestamp,
) {
    let catalog = ProductStore::new(client.clone(), table.to_owned());
    let stocks = StockStore::new(client.clone(), table.to_owned());
    for n in 0..products {
        let body = json!({"sku": sku(n), "name": format!("A thing called {n}"),
                "price": {"amount": "19.99", "currency": "SGD"}});
        let (sku, details) = parse_new(&body, Currency::SGD).expect("it is a product");
        let id = ProductId(uuid_v7(now, Random::system().bytes()));
        let product = rules::create(id, sku.clone(), details, now);
        let event = |aggregate, id: String, sequence| {
            Event::new(aggregate, id, sequence, "made", now, json!({}))
        };
        let made = event(Aggregate::Product, id.to_string(), 1);
        let saved = catalog.save(None, &product, &made, None).await;
        saved.expect("the table takes it");
        let empty = stocks.get(&sku).await.expect("the table answers");
        let filled = stock::set(empty.expect("a product has stock"), units);
        let filled = filled.expect("it is not too much");
        let set = event(Aggregate::Stock, sku.to_string(), filled.version);
        let saved = stocks.save(&filled, &set, None).await;
        saved.expect("the table takes it");
    }
}

/// The sku of a product by its number, from 0.
pub(crate) fn sku(n: usize) -> String {
    format!("THING-{n}")
}

/// Executions of a state machine that is reached through `http`.
pub(crate) fn executions(endpoint: &str, http: SharedHttpClient) -> Executions {
    let saga = "arn:aws:states:us-east-1:000000000000:stateMachine:orders";
    let client = Connection::to_emulator(endpoint, http).step_functions();
    Executions::new(client, OrderSaga::new(saga))
}

/// A request of Jane's for one of each of the first products.
pub(crate) fn request(products: usize, key: &str) -> Request<Body> {
    let items: Value = (0..products)
        .map(|n| json!({"sku": sku(n), "quantity": 1}))
        .collect();
    let body = json!({
        "items": items,
        "shipping_address": {"recipient": "Jane Tan", "line1": "1 Raffles Place", "line2": "#20-01",
            "city": "Singapore", "postal_code": "048616", "country": "SG"},
        "payment_method": "sandbox-approve",
    });
    Request::post("/api/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .extension(Caller::new("jane", []))
        .body(Body::from(body.to_string()))
        .expect("it is a request")
}
