use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::{
    catalog::{
        id::ProductId,
        product::{
            model::{Product, parse_new},
            rules as products,
            store::{ProductStore, Saved},
        },
    },
    customers::{model::Profile, rules as customers, store::CustomerStore},
    events::model::{Aggregate, Event},
    orders::{
        model::{CancelReason, Order, Run},
        rules::{self, Decision},
        store::{Committed, OrderStore},
        tax::TaxTable,
        testing,
    },
    platform::{
        aws::Connection,
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, OrderSaga, StoreCurrency},
        http::App,
        idempotency::Idempotency,
        ids::{Random, uuid_v7},
        money::Currency,
    },
    testing::{Database, answering},
};

use super::router;
use crate::orders::{context::Context, execution::Executions};

const ORDERS: &str = "/api/orders";

/// 2026-11-20T16:00:00Z.
const NOW: i64 = 1_795_190_400_000;

type Begun = Arc<Mutex<Vec<Value>>>;

struct House {
    app: App,
    orders: OrderStore,
    catalog: ProductStore,
    customers: CustomerStore,
    clock: Clock,
    begun: Begun,
    _database: Database,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        (self.status, code)
    }

    /// Status, and the first fault's pointer and code.
    fn fault(&self) -> (u16, String) {
        let fault = &self.json()["errors"][0];
        let text = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
        (self.status, format!("{} {}", text("pointer"), text("code")))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn jane() -> Caller {
    Caller::new("jane", [])
}

fn joe() -> Caller {
    Caller::new("joe", [])
}

fn admin() -> Caller {
    Caller::new("root", [Group::Admin])
}

fn body(items: &[(&str, u32)]) -> Value {
    let items: Value = items
        .iter()
        .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
        .collect();
    json!({
        "items": items,
        "shipping_address": {"recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"},
        "payment_method": "sandbox-approve",
    })
}

/// A state machine that notes what is begun, or is down.
fn state_machine(begun: &Begun, is_up: bool) -> Executions {
    let noted = Arc::clone(begun);
    let http = answering(move |request| {
        if !is_up {
            let down = http::Response::builder().status(400);
            let body = r#"{"__type": "StateMachineDoesNotExist"}"#.to_owned();
            return down.body(body).unwrap();
        }
        let input = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        noted.lock().unwrap().push(input);
        let answer = r#"{"executionArn": "arn:x", "startDate": 1}"#;
        http::Response::new(answer.to_owned())
    });
    let client = Connection::to_emulator("http://127.0.0.1:9", http).step_functions();
    let saga = "arn:aws:states:us-east-1:000000000000:stateMachine:saga";
    Executions::new(client, OrderSaga::new(saga))
}

impl House {
    async fn new() -> Self {
        Self::with_state_machine(true).await
    }

    async fn with_state_machine(is_up: bool) -> Self {
        let table = testing::table("Commerce")
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk");
        let database = Database::start(&[table]).await;
        let clock = Clock::fixed(Timestamp::from_millisecond(NOW).unwrap());
        let begun = Begun::default();
        let (client, name) = (database.client(), || "Commerce".to_owned());
        let orders = || OrderStore::new(client.clone(), name());
        let catalog = || ProductStore::new(client.clone(), name());
        let customers = || CustomerStore::new(client.clone(), name());
        let taxes = r#"{"default": "0.16", "rates": [{"class": "reduced", "country": "SG", "rate": "0.09"}]}"#;
        let context = Context {
            orders: orders(),
            catalog: catalog(),
            customers: customers(),
            executions: state_machine(&begun, is_up),
            currency: StoreCurrency::new(Currency::SGD),
            taxes: taxes.parse::<TaxTable>().unwrap(),
            clock: clock.clone(),
            random: Random::seeded(1),
            cursors: CursorKey::new([1; 32]).unwrap(),
            idempotency: Idempotency::new(client.clone(), name(), clock.clone(), Random::seeded(2)),
        };
        let house = Self {
            app: App::with(router(context), clock.clone(), Random::seeded(3)),
            orders: orders(),
            catalog: catalog(),
            customers: customers(),
            clock,
            begun,
            _database: database,
        };
        house.product("LAMP", "19.99", "standard").await;
        house.product("BOOK", "7.50", "reduced").await;
        house
    }

    async fn product(&self, sku: &str, price: &str, tax_class: &str) -> Product {
        let body = json!({"sku": sku, "name": format!("A {sku}"), "tax_class": tax_class,
            "price": {"amount": price, "currency": "SGD"}});
        let (sku, details) = parse_new(&body, Currency::SGD).unwrap();
        let id = ProductId(uuid_v7(self.clock.now(), Random::system().bytes()));
        let product = products::create(id, sku, details, self.clock.now());
        self.save_product(None, &product).await;
        product
    }

    async fn save_product(&self, before: Option<&Product>, after: &Product) {
        let (id, at) = (after.id.to_string(), after.updated_at);
        let event = Event::new(Aggregate::Product, id, after.version, "x", at, json!({}));
        let saved = self.catalog.save(before, after, &event, None).await;
        assert_eq!(saved.unwrap(), Saved::Done);
    }

    async fn send(
        &self,
        caller: &Caller,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = Body::from(body.map(Value::to_string).unwrap_or_default());
        let request = request.extension(caller.clone()).body(body).unwrap();
        let (parts, body) = self.app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn place(&self, caller: &Caller, key: &str, body: &Value) -> Answer {
        let key = [("idempotency-key", key)];
        self.send(caller, Method::POST, ORDERS, &key, Some(body))
            .await
    }

    /// Places an order of one lamp for Jane.
    async fn lamp(&self, key: &str) -> String {
        let placed = self.place(&jane(), key, &body(&[("LAMP", 1)])).await;
        assert_eq!(placed.status, 202, "{}", placed.body);
        placed.id()
    }

    async fn get(&self, caller: &Caller, path: &str) -> Answer {
        self.send(caller, Method::GET, path, &[], None).await
    }

    async fn post(&self, caller: &Caller, path: &str, body: Option<&Value>) -> Answer {
        self.send(caller, Method::POST, path, &[], body).await
    }

    async fn order(&self, id: &str) -> Order {
        self.orders
            .get(&id.parse().unwrap())
            .await
            .unwrap()
            .unwrap()
    }

    /// Has what the saga does happen to an order, up to its payment.
    async fn pay(&self, id: &str) -> Order {
        let now = self.clock.now();
        let mut order = self.order(id).await;
        let total = order.totals.total;
        let steps: [&dyn Fn(&Order) -> Decision; 5] = [
            &|order| match rules::reserve(order, now).unwrap() {
                Decision::Change(mut change) => {
                    change.moves.clear();
                    Decision::Change(change)
                }
                Decision::Settled => Decision::Settled,
            },
            &|order| rules::start_payment(order, "pi_secret", now).unwrap(),
            &|order| rules::authorised(order).unwrap(),
            &|order| rules::confirm(order).unwrap(),
            &|order| match rules::captured(order, total).unwrap() {
                Decision::Change(mut change) => {
                    change.moves.clear();
                    Decision::Change(change)
                }
                Decision::Settled => Decision::Settled,
            },
        ];
        for step in steps {
            let Decision::Change(change) = step(&order) else {
                panic!("every step is new");
            };
            let committed = self.orders.commit(&order, change, now, None).await;
            let Committed::Done(next) = committed.unwrap() else {
                panic!("nothing is in the way");
            };
            order = *next;
        }
        order
    }

    fn begun(&self) -> Vec<String> {
        let begun = self.begun.lock().unwrap();
        let name = |input: &Value| input["name"].as_str().unwrap().to_owned();
        begun.iter().map(name).collect()
    }
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "most of them are the order as it is shown"
)]
async fn an_order_is_taken_at_the_catalogues_prices_and_begun() {
    let house = House::new().await;
    let mut order = body(&[("LAMP", 3), ("BOOK", 1)]);
    order["notes"] = json!("Ring twice 🔔");
    let headers = [("idempotency-key", "k-1"), ("x-correlation-id", "c-1")];
    let placed = house
        .send(
            &jane(),
            Method::POST,
            "/api/orders/",
            &headers,
            Some(&order),
        )
        .await;
    assert_eq!(
        (placed.status, placed.header("etag")),
        (202, "\"v1\""),
        "{}",
        placed.body
    );
    let id = placed.id();
    assert_eq!(placed.header("location"), format!("{ORDERS}/{id}"));
    let mut shown = placed.json();
    for item in shown["items"].as_array_mut().unwrap() {
        item["product_id"] = json!("…");
    }
    shown["id"] = json!("…");
    insta::assert_json_snapshot!(shown, @r#"
        {
          "billing_address": null,
          "cancellation": null,
          "created_at": "2026-11-20T16:00:00.000Z",
          "currency": "SGD",
          "customer_id": "jane",
          "id": "…",
          "items": [
            {
              "name": "A LAMP",
              "product_id": "…",
              "quantity": 3,
              "refunded_quantity": 0,
              "sku": "LAMP",
              "subtotal": {
                "amount": "59.97",
                "currency": "SGD"
              },
              "tax": {
                "amount": "9.60",
                "currency": "SGD"
              },
              "tax_class": "standard",
              "tax_rate": "0.16",
              "total": {
                "amount": "69.57",
                "currency": "SGD"
              },
              "unit_price": {
                "amount": "19.99",
                "currency": "SGD"
              }
            },
            {
              "name": "A BOOK",
              "product_id": "…",
              "quantity": 1,
              "refunded_quantity": 0,
              "sku": "BOOK",
              "subtotal": {
                "amount": "7.50",
                "currency": "SGD"
              },
              "tax": {
                "amount": "0.68",
                "currency": "SGD"
              },
              "tax_class": "reduced",
              "tax_rate": "0.09",
              "total": {
                "amount": "8.18",
                "currency": "SGD"
              },
              "unit_price": {
                "amount": "7.50",
                "currency": "SGD"
              }
            }
          ],
          "notes": "Ring twice 🔔",
          "payment": {
            "captured": {
              "amount": "0.00",
              "currency": "SGD"
            },
            "decline_code": null,
            "method": "sandbox-approve",
            "refunded": {
              "amount": "0.00",
              "currency": "SGD"
            },
            "status": "pending"
          },
          "refunds": [],
          "reservation": null,
          "saga": "waiting",
          "shipment": null,
          "shipping_address": {
            "city": "Singapore",
            "country": "SG",
            "line1": "1 Raffles Place",
            "recipient": "Jane Tan"
          },
          "status": "pending",
          "totals": {
            "subtotal": {
              "amount": "67.47",
              "currency": "SGD"
            },
            "tax": {
              "amount": "10.28",
              "currency": "SGD"
            },
            "total": {
              "amount": "77.75",
              "currency": "SGD"
            }
          },
          "updated_at": "2026-11-20T16:00:00.000Z",
          "version": 1
        }
        "#);
    assert!(id.starts_with("ORD-20261120-") && id.len() == 21, "{id}");
    let begun = house.begun.lock().unwrap().clone();
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0]["name"], id);
    let input: Value = serde_json::from_str(begun[0]["input"].as_str().unwrap()).unwrap();
    assert_eq!(
        input,
        json!({"order_id": id, "action": "place", "correlation_id": "c-1"})
    );
    let stored = house.get(&jane(), &format!("{ORDERS}/{id}")).await;
    assert_eq!(stored.json(), placed.json());
    let profile = house.customers.get("jane").await.unwrap();
    assert!(matches!(profile, Some(Profile::Active(_))));
}

#[tokio::test]
async fn an_order_stands_though_the_state_machine_is_down() {
    let house = House::with_state_machine(false).await;
    let id = house.lamp("k-1").await;
    let later = house.clock.now() + SignedDuration::from_mins(2);
    let (due, _) = house.orders.due(later, None, 10).await.unwrap();
    assert_eq!(due.first().map(ToString::to_string), Some(id));
}

#[tokio::test]
async fn ten_racing_copies_are_one_order() {
    let house = House::new().await;
    let order = body(&[("LAMP", 1)]);
    let headers = [("idempotency-key", "k-1"), ("prefer", "wait=10")];
    let copies = (0..10).map(|_| {
        let caller = jane();
        let (house, order) = (&house, &order);
        async move {
            house
                .send(&caller, Method::POST, ORDERS, &headers, Some(order))
                .await
        }
    });
    let answers = join_all(copies).await;
    let first = answers[0].json();
    let mut replayed = 0;
    for answer in &answers {
        assert_eq!((answer.status, answer.json()), (202, first.clone()));
        assert_eq!(answer.header("etag"), "\"v1\"");
        replayed += usize::from(answer.header("idempotent-replayed") == "true");
    }
    assert_eq!((replayed, house.begun().len()), (9, 1));
    let listed = house.get(&jane(), ORDERS).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let other = house.place(&jane(), "k-1", &body(&[("LAMP", 2)])).await;
    assert_eq!(other.code(), refused(422, "idempotency-key-reused"));
    assert_eq!(house.place(&joe(), "k-1", &order).await.status, 202);
}

#[tokio::test]
async fn what_cannot_be_bought_is_refused_by_item_and_may_be_asked_for_again() {
    let house = House::new().await;
    let lamp = house
        .catalog
        .by_sku(&["LAMP".parse().unwrap()])
        .await
        .unwrap();
    let lamp = &lamp[&"LAMP".parse().unwrap()];
    let inactive = products::update(
        lamp,
        &json!({"is_active": false}),
        Currency::SGD,
        house.clock.now(),
    );
    let inactive = inactive.unwrap();
    let order = body(&[("BOOK", 1), ("LAMP", 1)]);
    let unknown = refused(422, "/items/1/sku unknown-sku");
    house.save_product(Some(lamp), &inactive).await;
    assert_eq!(house.place(&jane(), "k-1", &order).await.fault(), unknown);
    let back = products::update(
        &inactive,
        &json!({"is_active": true}),
        Currency::SGD,
        house.clock.now(),
    );
    let back = back.unwrap();
    house.save_product(Some(&inactive), &back).await;
    assert_eq!(house.place(&jane(), "k-1", &order).await.status, 202);
    let deleted = products::delete(&back, house.clock.now());
    house.save_product(Some(&back), &deleted).await;
    assert_eq!(house.place(&jane(), "k-2", &order).await.fault(), unknown);
    assert_eq!(
        house
            .place(&jane(), "k-3", &body(&[("NONE", 1)]))
            .await
            .fault(),
        refused(422, "/items/0/sku unknown-sku")
    );
    assert_eq!(house.begun().len(), 1);
}

#[tokio::test]
async fn a_product_of_another_currency_is_refused() {
    let house = House::new().await;
    let book = house
        .catalog
        .by_sku(&["BOOK".parse().unwrap()])
        .await
        .unwrap();
    let mut book = book.into_values().next().unwrap();
    let before = book.clone();
    book.details.price =
        serde_json::from_value(json!({"amount": "7.50", "currency": "EUR"})).unwrap();
    book.version += 1;
    house.save_product(Some(&before), &book).await;
    let answer = house
        .place(&jane(), "k-1", &body(&[("LAMP", 1), ("BOOK", 1)]))
        .await;
    assert_eq!(
        answer.fault(),
        refused(422, "/items/1/sku currency-mismatch")
    );
}

#[tokio::test]
async fn an_order_that_costs_nothing_or_too_much_is_refused() {
    let house = House::new().await;
    house.product("FREE", "0", "standard").await;
    house.product("YACHT", "900000000000", "standard").await;
    let answer = house.place(&jane(), "k-1", &body(&[("FREE", 3)])).await;
    assert_eq!(answer.code(), refused(422, "nothing-to-pay"));
    let answer = house
        .place(&jane(), "k-2", &body(&[("YACHT", 1_000_000)]))
        .await;
    assert_eq!(
        answer.fault(),
        refused(422, "/items/0/quantity out-of-range")
    );
    let answer = house
        .place(&jane(), "k-3", &body(&[("YACHT", 900), ("FREE", 1)]))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.body);
}

#[tokio::test]
async fn a_request_that_is_not_an_order_is_refused_and_nothing_is_written() {
    let house = House::new().await;
    let order = body(&[("LAMP", 1)]);
    let bare = house.post(&jane(), ORDERS, Some(&order)).await;
    assert_eq!(bare.code(), refused(400, "idempotency-key-missing"));
    let key = [("idempotency-key", "k-1")];
    let none = house.send(&jane(), Method::POST, ORDERS, &key, None).await;
    assert_eq!(none.status, 415);
    let query = house
        .send(
            &jane(),
            Method::POST,
            "/api/orders?price=0",
            &key,
            Some(&order),
        )
        .await;
    assert_eq!(query.code(), refused(400, "invalid-query"));
    for (member, value) in [
        ("status", json!("delivered")),
        ("total", json!("0.01")),
        ("notes", json!("x".repeat(65_536))),
        ("items", json!([{"sku": "LAMP", "quantity": 1.5}])),
        (
            "items",
            json!([{"sku": "LAMP", "quantity": 1, "unit_price": "0.01"}]),
        ),
    ] {
        let mut order = order.clone();
        order[member] = value;
        let answer = house.place(&jane(), "k-1", &order).await;
        assert_eq!(
            answer.code(),
            refused(422, "invalid-body"),
            "{}",
            answer.body
        );
    }
    let mut huge = order.clone();
    huge["notes"] = json!("x".repeat(1 << 20));
    assert_eq!(house.place(&jane(), "k-1", &huge).await.status, 413);
    assert!(house.begun().is_empty());
    assert_eq!(house.place(&jane(), "k-1", &order).await.status, 202);
}

#[tokio::test]
async fn an_erased_customer_buys_nothing() {
    let house = House::new().await;
    house.lamp("k-1").await;
    let Some(Profile::Active(customer)) = house.customers.get("jane").await.unwrap() else {
        panic!("the first order made a profile");
    };
    let (erased, event) = customers::erase(&customer, house.clock.now());
    house.customers.save(&erased, &event, None).await.unwrap();
    let answer = house.place(&jane(), "k-2", &body(&[("LAMP", 1)])).await;
    assert_eq!(answer.code(), refused(404, "customer-erased"));
}

#[tokio::test]
async fn an_order_is_its_customers_and_staffs_alone() {
    let house = House::new().await;
    let id = house.lamp("k-1").await;
    let order = format!("{ORDERS}/{id}");
    for path in ["", "/track", "/events", "/refunds"] {
        let path = format!("{order}{path}");
        assert_eq!(house.get(&jane(), &path).await.status, 200, "{path}");
        assert_eq!(house.get(&admin(), &path).await.status, 200, "{path}");
        assert_eq!(
            house.get(&joe(), &path).await.code(),
            refused(404, "not-found"),
            "{path}"
        );
    }
    let cancel = format!("{order}/cancel");
    assert_eq!(
        house.post(&joe(), &cancel, None).await.code(),
        refused(404, "not-found")
    );
    for action in ["process", "ship", "deliver", "refunds"] {
        let path = format!("{order}/{action}");
        for caller in [jane(), joe(), Caller::new("ann", [Group::Analyst])] {
            let answer = house.post(&caller, &path, Some(&json!({}))).await;
            assert_eq!(answer.code(), refused(403, "forbidden"), "{action}");
        }
    }
    for id in ["ORD-20261120-00000000", "x", "ORD-20261120-0000000u", "%00"] {
        let answer = house.get(&admin(), &format!("{ORDERS}/{id}")).await;
        assert_eq!(answer.code(), refused(404, "not-found"), "{id}");
    }
    assert_eq!(house.order(&id).await.version, 1);
}

#[tokio::test]
async fn an_order_is_read_again_only_when_it_has_changed() {
    let house = House::new().await;
    let path = format!("{ORDERS}/{}", house.lamp("k-1").await);
    let known = [("if-none-match", "\"v1\"")];
    let same = house.send(&jane(), Method::GET, &path, &known, None).await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    let fields = format!("{path}?fields=status,items.sku,totals.total");
    assert_eq!(
        house.get(&jane(), &fields).await.json(),
        json!({"status": "pending", "items": [{"sku": "LAMP"}],
            "totals": {"total": {"amount": "23.19", "currency": "SGD"}}})
    );
    let unknown = house
        .get(&jane(), &format!("{path}?fields=payment.reference"))
        .await;
    assert_eq!(unknown.code(), refused(400, "unknown-field"));
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_page_status_and_time() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(house.lamp(&format!("k-{n}")).await);
        house.clock.advance(SignedDuration::from_hours(1));
    }
    house.place(&joe(), "k-1", &body(&[("BOOK", 1)])).await;
    house.pay(&ids[1]).await;
    let ids_of = |answer: &Answer| -> Vec<String> {
        let json = answer.json();
        let data = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
        data.iter()
            .map(|order| order["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut newest = ids.clone();
    newest.reverse();
    let first = house.get(&jane(), "/api/orders?limit=3").await;
    assert_eq!(ids_of(&first), newest[..3]);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = house
        .get(&jane(), &format!("/api/orders?limit=3&cursor={cursor}"))
        .await;
    assert_eq!(ids_of(&second), newest[3..]);
    assert_eq!(second.json()["next_cursor"], Value::Null);
    let stolen = house
        .get(&joe(), &format!("/api/orders?limit=3&cursor={cursor}"))
        .await;
    assert_eq!(stolen.code(), refused(400, "invalid-cursor"));

    let listed = async |caller: &Caller, query: &str| {
        ids_of(&house.get(caller, &format!("{ORDERS}?{query}")).await)
    };
    assert_eq!(listed(&jane(), "status=confirmed").await, [ids[1].clone()]);
    assert_eq!(listed(&jane(), "status=pending,confirmed").await, newest);
    assert_eq!(
        listed(
            &jane(),
            "created_from=2026-11-20T17:00:00Z&created_to=2026-11-20T19:00:00Z"
        )
        .await,
        [ids[2].clone(), ids[1].clone()]
    );
    assert_eq!(listed(&admin(), "").await.len(), 6);
    assert_eq!(listed(&admin(), "status=confirmed").await, [ids[1].clone()]);
    assert_eq!(listed(&admin(), "customer=joe").await.len(), 1);
    assert_eq!(listed(&jane(), "customer=jane").await, newest);
    assert_eq!(
        house.get(&jane(), "/api/orders?customer=joe").await.status,
        403
    );
    for query in [
        "status=open",
        "status=",
        "created_from=yesterday",
        "created_from=2026-11-21T00:00:00Z&created_to=2026-11-20T00:00:00Z",
        "limit=0",
        "sort=up",
        "status=pending&status=confirmed",
    ] {
        let answer = house.get(&jane(), &format!("{ORDERS}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_customers_orders_are_added_up() {
    let house = House::new().await;
    let paid = house.lamp("k-1").await;
    house.lamp("k-2").await;
    house.place(&joe(), "k-3", &body(&[("LAMP", 1)])).await;
    house.pay(&paid).await;
    let summary = house.get(&jane(), "/api/orders/summary").await.json();
    insta::assert_json_snapshot!(summary, @r#"
        {
          "by_status": [
            {
              "orders": 1,
              "status": "pending",
              "totals": [
                {
                  "amount": "23.19",
                  "currency": "SGD"
                }
              ]
            },
            {
              "orders": 1,
              "status": "confirmed",
              "totals": [
                {
                  "amount": "23.19",
                  "currency": "SGD"
                }
              ]
            }
          ],
          "created_from": "2025-11-20T16:00:00.001Z",
          "created_to": "2026-11-20T16:00:00.001Z",
          "orders": 2
        }
        "#);
    let spending = house
        .get(&jane(), "/api/orders/spending?from=2026-10")
        .await
        .json();
    insta::assert_json_snapshot!(spending, @r#"
        {
          "months": [
            {
              "month": "2026-10",
              "orders": 0,
              "spent": []
            },
            {
              "month": "2026-11",
              "orders": 1,
              "spent": [
                {
                  "amount": "23.19",
                  "currency": "SGD"
                }
              ]
            }
          ]
        }
        "#);
    let months = house.get(&jane(), "/api/orders/spending").await.json();
    let months = months["months"].as_array().unwrap().clone();
    assert_eq!((months.len(), &months[0]["month"]), (12, &json!("2025-12")));
    for path in [
        "summary?created_from=2025-11-01T00:00:00Z&created_to=2026-11-20T00:00:00Z",
        "spending?from=2021-01&to=2026-01",
        "spending?from=2026-11&to=2026-10",
        "spending?from=2026-13",
        "spending?from=2026-1",
        "spending?from=0000-01",
        "summary?customer=joe",
    ] {
        assert_eq!(
            house.get(&jane(), &format!("{ORDERS}/{path}")).await.status,
            400,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_pending_order_is_cancelled_by_its_customer_and_a_paid_one_by_its_own_execution() {
    let house = House::new().await;
    let (pending, paid) = (house.lamp("k-1").await, house.lamp("k-2").await);
    house.pay(&paid).await;
    let reason = json!({"reason": "Ordered twice"});
    let answer = house
        .post(
            &jane(),
            &format!("{ORDERS}/{pending}/cancel"),
            Some(&reason),
        )
        .await;
    let shown = answer.json();
    assert_eq!(
        (answer.status, answer.header("etag")),
        (202, "\"v2\""),
        "{shown}"
    );
    assert_eq!(shown["saga"], "compensating");
    assert_eq!(
        (
            &shown["cancellation"]["reason"],
            &shown["cancellation"]["note"]
        ),
        (&json!("customer"), &json!("Ordered twice"))
    );
    let again = house
        .post(&jane(), &format!("{ORDERS}/{pending}/cancel"), None)
        .await;
    assert_eq!((again.status, again.json()), (202, shown));

    let answer = house
        .post(&admin(), &format!("{ORDERS}/{paid}/cancel"), None)
        .await;
    assert_eq!(answer.json()["cancellation"]["reason"], "staff");
    assert_eq!(house.order(&paid).await.run, Run::Cancel);
    let begun = house.begun();
    assert_eq!(begun[2..], [pending, format!("{paid}-cancel")]);
}

#[tokio::test]
async fn staff_move_a_paid_order_on_and_nobody_skips_a_move() {
    let house = House::new().await;
    let id = house.lamp("k-1").await;
    let path = |action: &str| format!("{ORDERS}/{id}/{action}");
    let illegal = refused(409, "illegal-transition");
    let send =
        async |action: &str, body: Option<&Value>| house.post(&admin(), &path(action), body).await;
    for action in ["process", "ship", "deliver"] {
        assert_eq!(send(action, None).await.code(), illegal, "{action}");
    }
    house.pay(&id).await;
    assert_eq!(send("ship", None).await.code(), illegal);
    assert_eq!(
        send("process", Some(&json!({"force": true}))).await.fault(),
        refused(422, "/force unknown-field")
    );
    let stale = [("if-match", "\"v5\"")];
    let answer = house
        .send(&admin(), Method::POST, &path("process"), &stale, None)
        .await;
    assert_eq!(answer.status, 412);
    let current = [("if-match", "\"v6\""), ("idempotency-key", "p-1")];
    let answer = house
        .send(&admin(), Method::POST, &path("process"), &current, None)
        .await;
    assert_eq!(
        (answer.status, answer.header("etag")),
        (200, "\"v7\""),
        "{}",
        answer.body
    );
    let again = house
        .send(&admin(), Method::POST, &path("process"), &current, None)
        .await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.json(), answer.json());
    assert_eq!(send("process", None).await.code(), illegal);
    assert_eq!(
        house.post(&jane(), &path("cancel"), None).await.code(),
        illegal
    );
    let shipment = json!({"carrier": "SingPost", "tracking_number": "RX1"});
    let shipped = send("ship", Some(&shipment)).await.json();
    assert_eq!(
        (&shipped["status"], &shipped["shipment"]),
        (&json!("shipped"), &shipment)
    );
    assert_eq!(send("deliver", None).await.json()["status"], "delivered");
    assert_eq!(send("deliver", None).await.code(), illegal);
    assert_eq!(house.begun(), std::slice::from_ref(&id));
}

#[tokio::test]
async fn money_is_given_back_once_per_key_and_never_more_than_was_paid() {
    let house = House::new().await;
    let id = house.lamp("k-1").await;
    let path = format!("{ORDERS}/{id}/refunds");
    let send = async |key: &str, body: Value| {
        let key = [("idempotency-key", key)];
        house
            .send(&admin(), Method::POST, &path, &key, Some(&body))
            .await
    };
    let bare = house.post(&admin(), &path, Some(&json!({}))).await;
    assert_eq!(bare.code(), refused(400, "idempotency-key-missing"));
    assert_eq!(
        send("r-0", json!({})).await.code(),
        refused(409, "illegal-transition")
    );
    house.pay(&id).await;
    let money =
        |amount: &str, currency: &str| json!({"amount": {"amount": amount, "currency": currency}});
    for (body, code) in [
        (money("23.20", "SGD"), "refund-too-large"),
        (money("0", "SGD"), "refund-amount"),
        (money("-1", "SGD"), "refund-amount"),
        (money("0.001", "SGD"), "refund-amount"),
        (money("1", "EUR"), "currency-mismatch"),
        (
            json!({"lines": [{"sku": "BOOK", "quantity": 1}]}),
            "refund-units",
        ),
        (
            json!({"lines": [{"sku": "LAMP", "quantity": 2}]}),
            "refund-units",
        ),
    ] {
        assert_eq!(send("r-1", body).await.code(), refused(422, code));
    }
    let refund = send("r-1", json!({"lines": [{"sku": "LAMP", "quantity": 1}]})).await;
    let shown = refund.json();
    assert_eq!(refund.status, 202, "{shown}");
    assert_eq!(
        (
            &shown["status"],
            &shown["amount"]["amount"],
            &shown["restock"]
        ),
        (&json!("pending"), &json!("23.19"), &json!(true))
    );
    let again = send("r-1", json!({"lines": [{"sku": "LAMP", "quantity": 1}]})).await;
    assert_eq!(
        (again.header("idempotent-replayed"), again.json()),
        ("true", shown.clone())
    );
    let spelt = path.replace('-', "%2D");
    let key = [("idempotency-key", "r-1")];
    let of_lines = json!({"lines": [{"sku": "LAMP", "quantity": 1}]});
    let again = house
        .send(&admin(), Method::POST, &spelt, &key, Some(&of_lines))
        .await;
    assert_eq!(
        again.header("idempotent-replayed"),
        "true",
        "the path in another spelling is the same path"
    );
    for _ in 0..2 {
        let pending = send("r-2", json!({})).await;
        assert_eq!(pending.code(), refused(409, "refund-pending"));
        assert_eq!(
            (
                pending.header("retry-after"),
                pending.header("idempotent-replayed")
            ),
            ("1", "")
        );
    }
    let refund_id = shown["refund_id"].as_str().unwrap();
    assert_eq!(house.begun()[1..], [format!("{id}-refund-{refund_id}")]);
    let listed = house.get(&jane(), &path).await.json();
    assert_eq!(listed, json!({"data": [shown], "next_cursor": null}));
}

#[tokio::test]
async fn an_orders_history_is_told_without_the_providers_reference() {
    let house = House::new().await;
    let id = house.lamp("k-1").await;
    house.pay(&id).await;
    let track = house.get(&jane(), &format!("{ORDERS}/{id}/track")).await;
    let what: Vec<Value> = track.json()["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|moment| moment["what"].clone())
        .collect();
    assert_eq!(
        what,
        [
            "placed",
            "items-reserved",
            "payment-authorised",
            "confirmed",
            "paid"
        ]
    );
    let (mut events, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = house
            .get(&jane(), &format!("{ORDERS}/{id}/events?limit=4{cursor}"))
            .await;
        assert!(!page.body.contains("pi_secret"), "{}", page.body);
        let page = page.json();
        events.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let sequences: Vec<u64> = events
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    assert_eq!(events[0]["type"], "order.created");
    assert_eq!(
        events[0]["private"]["shipping_address"]["city"],
        "Singapore"
    );
    assert!(events[0]["data"].get("private").is_none());
    let refund = json!({"reason": "broken"});
    let (path, key) = (
        format!("{ORDERS}/{id}/refunds"),
        [("idempotency-key", "r-1")],
    );
    let refund = house
        .send(&admin(), Method::POST, &path, &key, Some(&refund))
        .await;
    assert_eq!(refund.json()["reason"], "broken", "{}", refund.body);
    let last = house
        .get(&jane(), &format!("{ORDERS}/{id}/events?limit=7"))
        .await;
    let last = &last.json()["data"][6];
    assert_eq!(last["private"], json!({"reason": "broken"}));
    assert!(!last["data"].to_string().contains("broken"), "{last}");
    for path in ["", "/track", "/events"] {
        let answer = house.get(&jane(), &format!("{ORDERS}/{id}{path}")).await;
        assert!(!answer.body.contains("pi_secret"), "{path}");
    }
}

#[tokio::test]
async fn a_change_that_comes_between_is_decided_upon_again() {
    let house = House::new().await;
    let id = house.lamp("k-1").await;
    let path = format!("{ORDERS}/{id}/cancel");
    let requests = (0..6).map(|_| {
        let (house, path) = (&house, &path);
        async move { house.post(&jane(), path, None).await.status }
    });
    assert_eq!(join_all(requests).await, [202; 6]);
    let order = house.order(&id).await;
    assert_eq!(order.version, 2);
    assert_eq!(
        order.cancellation.map(|cancellation| cancellation.reason),
        Some(CancelReason::Customer)
    );
}
