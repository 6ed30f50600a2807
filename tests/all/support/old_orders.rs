//! Orders on the deployed stack as an hour ago left them: taken, and then nobody came.

use axum::body::{Body, to_bytes};
use functions::orders::{
    api::router,
    context::Context,
    execution::Executions,
    steps::{Orders, inventory},
};
use http::Request;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Context as LambdaContext, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    catalog::product::store::ProductStore,
    customers::store::CustomerStore,
    orders::{store::OrderStore, tax::TaxTable},
    platform::{
        aws::{Connection, http_client},
        caller::Caller,
        clock::Clock,
        config::{CursorKey, OrderSaga, StoreCurrency},
        http::App,
        idempotency::Idempotency,
        ids::Random,
        money::Currency,
    },
};
use tower::ServiceExt as _;

use super::bucket::{block_on, connection};
use super::stack::{unique, variable};

pub(crate) fn an_hour_ago() -> Clock {
    Clock::fixed(Timestamp::now() - SignedDuration::from_hours(1))
}

fn table() -> String {
    variable("MILLRACE_COMMERCE_TABLE")
}

/// Takes an order of one `sku` for a customer by a clock; its execution could not be begun. Gives its number.
pub(crate) fn take(clock: Clock, customer: &str, sku: &str) -> String {
    let client = connection().dynamodb();
    let random = Random::system();
    // Nobody listens there.
    let nowhere = Connection::to_emulator("http://127.0.0.1:9", http_client(None));
    let saga = OrderSaga::new(variable("MILLRACE_ORDER_SAGA_ARN"));
    let context = Context {
        orders: OrderStore::new(client.clone(), table()),
        catalog: ProductStore::new(client.clone(), table()),
        customers: CustomerStore::new(client.clone(), table()),
        executions: Executions::new(nowhere.step_functions(), saga),
        currency: StoreCurrency::new(Currency::SGD),
        taxes: TaxTable::flat("0.16".parse().expect("it is a rate")),
        clock: clock.clone(),
        random: random.clone(),
        cursors: CursorKey::new([1; 32]).expect("it is long enough"),
        idempotency: Idempotency::new(client, table(), clock.clone(), random.clone()),
    };
    let body = json!({
        "items": [{"sku": sku, "quantity": 1}],
        "shipping_address": {"recipient": "A Test", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"},
        "payment_method": "sandbox-approve",
    });
    let request = Request::post("/api/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", unique())
        .extension(Caller::new(customer, []))
        .body(Body::from(body.to_string()))
        .expect("it is a request");
    block_on(async {
        let app = App::with(router(context), clock, random);
        let answer = app.oneshot(request).await.expect("it answers");
        let body = to_bytes(answer.into_body(), 1 << 20)
            .await
            .expect("it has a body");
        let order: Value = serde_json::from_slice(&body).expect("it is JSON");
        let id = order["id"].as_str();
        id.unwrap_or_else(|| panic!("{order}")).to_owned()
    })
}

/// Holds the stock of an order, as its first step does.
pub(crate) fn reserve(id: &str) {
    let orders = Orders {
        store: OrderStore::new(connection().dynamodb(), table()),
        clock: an_hour_ago(),
        random: Random::system(),
    };
    let input = json!({"order_id": id, "action": "reserve"});
    let event = LambdaEvent::new(input, LambdaContext::default());
    let reserved = block_on(inventory::handle(&inventory::Context { orders }, event));
    reserved.expect("there is enough");
}
