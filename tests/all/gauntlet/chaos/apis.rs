//! The other APIs under faults: what they answer is an answer, what they said is done is done once, and
//! nobody has to ask for ever.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use functions::{catalog, customers, sensors};
use http::Method;
use jiff::SignedDuration;
use lambda_http::{
    aws_lambda_events::apigw::ApiGatewayProxyRequestContext, request::RequestContext,
};
use serde_json::{Value, json};
use shared::{
    catalog::{category::store::CategoryStore, product::store::ProductStore},
    customers::store::CustomerStore,
    orders::testing as orders,
    platform::{
        aws::Connection,
        cache::Cache,
        caller::{Caller, Group},
        clock::Clock,
        config::{
            CursorKey, DeviceUsagePlan, RawRetention, ReadingsQueue, StoreCurrency, UserPool,
        },
        idempotency::Idempotency,
        ids::Random,
        money::Currency,
    },
    sensors::{
        batch::Batch,
        device::store::DeviceStore,
        key::{
            model::{DeviceKey, Grant, SecretHash, new_secret},
            remembered::RememberedKeys,
            store::KeyStore,
        },
        store::SensorStore,
    },
    stock::store::StockStore,
    testing::{InlineDatabase, Table, answering},
};

use super::{
    below, once_in,
    site::{Answer, Ask, Site},
};
use crate::support::{
    chaos::{Chaos, Queues, paused},
    gauntlet::{figure, seed, sized},
};

const CHECK: &str = "chaos: other APIs";
const READINGS: &str = "http://queue.invalid/readings";
const PLAN: &str = "devices";

struct World {
    chaos: Arc<Chaos>,
    clock: Clock,
    random: Random,
    database: InlineDatabase,
    queues: Queues,
    admin: Caller,
    customer: Caller,
    /// Says which device key calls.
    device_key: RequestContext,
    /// What was done of each kind.
    done: u64,
    /// Units put on shelves, and addresses and readings that were taken.
    units: BTreeMap<String, i64>,
    addresses: usize,
    readings: usize,
}

struct Sites {
    catalog: Site,
    customers: Site,
    sensors: Site,
    keys: Site,
    ingest: Site,
}

fn tables() -> [Table; 2] {
    [
        orders::table("Commerce")
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk"),
        Table::new("Sensors")
            .index("devices", "devices_pk", "devices_sk")
            .index("keys", "keys_pk", "keys_sk"),
    ]
}

impl World {
    async fn start(seed: u64) -> Self {
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap());
        let chaos = Chaos::start(CHECK, seed, &clock);
        let database = InlineDatabase::with(&tables()).await;
        chaos.lag_behind(&InlineDatabase::with(&tables()).await);
        let hash = SecretHash::of(new_secret([1; 26]).expose()).unwrap();
        let mut context = ApiGatewayProxyRequestContext::default();
        let key = json!(hash.id().to_string());
        context.authorizer.fields.insert("key".to_owned(), key);
        let world = Self {
            random: Random::seeded(seed),
            queues: Queues::new(&clock),
            admin: Caller::new("root", [Group::Admin]),
            customer: Caller::new("ada", []),
            device_key: RequestContext::ApiGatewayV1(context),
            done: 0,
            units: BTreeMap::new(),
            addresses: 0,
            readings: 0,
            database,
            chaos,
            clock,
        };
        let grant = Grant::new("test", &["*".to_owned()]).unwrap();
        let key = DeviceKey::pending(hash, grant, world.clock.now()).activated("g".to_owned());
        let keys = KeyStore::new(world.connection().dynamodb(), "Sensors".to_owned());
        keys.create(&key).await.unwrap();
        world
    }

    fn connection(&self) -> Connection {
        let http = self.chaos.over(self.database.http());
        Connection::to_emulator("http://inline.invalid", http)
    }

    fn sites(&self) -> Sites {
        let client = self.connection().dynamodb();
        let (commerce, table) = (|| "Commerce".to_owned(), || "Sensors".to_owned());
        let clock = || self.clock.clone();
        let random = || Random::seeded(u64::from(self.random.up_to(u32::MAX)));
        let cursors = || CursorKey::new([1; 32]).unwrap();
        let idempotency = |table| Idempotency::new(client.clone(), table, clock(), random());
        let catalog = catalog::context::Context {
            categories: CategoryStore::new(client.clone(), commerce()),
            products: ProductStore::new(client.clone(), commerce()),
            stocks: StockStore::new(client.clone(), commerce()),
            currency: StoreCurrency::new(Currency::SGD),
            clock: clock(),
            random: random(),
            cursors: cursors(),
            idempotency: idempotency(commerce()),
            prices: Cache::new(1, clock()),
        };
        let http = self
            .chaos
            .over(answering(|_| http::Response::new("{}".to_owned())));
        let customers = customers::context::Context {
            customers: CustomerStore::new(client.clone(), commerce()),
            people: customers::people::People {
                client: Connection::to_emulator("http://127.0.0.1:1", http).cognito(),
                pool: UserPool::new("pool"),
            },
            clock: clock(),
            random: random(),
            idempotency: idempotency(commerce()),
        };
        let devices = || DeviceStore::new(client.clone(), table());
        let sensors = sensors::context::Context {
            devices: devices(),
            store: SensorStore::new(client.clone(), table()),
            retention: RawRetention::new(90).unwrap(),
            clock: clock(),
            random: random(),
            cursors: cursors(),
            idempotency: idempotency(table()),
            recent: sensors::context::Recent::new(&self.clock),
        };
        let http = self.chaos.over(gateway());
        let keys = sensors::keys::Context {
            keys: KeyStore::new(client.clone(), table()),
            plan: sensors::usage_plan::UsagePlan {
                client: Connection::to_emulator("http://127.0.0.1:1", http).apigateway(),
                name: DeviceUsagePlan::new(PLAN),
            },
            cursors: cursors(),
            clock: clock(),
            random: random(),
        };
        let http = self.chaos.over(self.queues.service());
        let known = KeyStore::new(client.clone(), table());
        let ingest = sensors::ingest::context::Context {
            keys: RememberedKeys::new(known, &self.clock),
            registry: sensors::ingest::registry::Registry::new(devices(), &self.clock),
            queue: sensors::ingest::queue::BatchQueue {
                client: Connection::to_emulator("http://queue.invalid", http).sqs(),
                queue: ReadingsQueue::new(READINGS),
            },
            retention: RawRetention::new(90).unwrap(),
            clock: clock(),
            random: random(),
        };
        let site = |function, router| Site::new(function, router, &self.chaos, &self.clock);
        Sites {
            catalog: site("CatalogApi", catalog::api::router(catalog)),
            customers: site("CustomerApi", customers::api::router(customers)),
            sensors: site("SensorApi", sensors::api::router(sensors)),
            keys: site("SensorKeys", sensors::keys::router(keys)),
            ingest: site("SensorIngest", sensors::ingest::api::router(ingest)),
        }
    }

    fn key(&mut self) -> String {
        self.done += 1;
        format!("key-{}", self.done)
    }

    fn must(&self, answer: Answer, statuses: &[u16]) -> Answer {
        let is_right = statuses.contains(&answer.status);
        assert!(is_right, "{answer:?}: {}", self.chaos.replay());
        answer
    }

    /// Asks for success.
    async fn see(&self, site: &Site, caller: &Caller, paths: &[String]) {
        for path in paths {
            let answer = site.insist(&Ask::get(caller, path)).await;
            assert!(
                answer.is_success(),
                "{path}: {answer:?}: {}",
                self.chaos.replay()
            );
        }
    }

    /// Changes what a path names, as it is: the change may be overtaken by its own lost reply.
    async fn change(&self, site: &Site, caller: &Caller, path: &str, change: Option<&Value>) {
        let found = site.insist(&Ask::get(caller, path)).await;
        let found = self.must(found, &[200]);
        let version = found.header("etag").expect("it has a version");
        let method = if change.is_some() {
            Method::PATCH
        } else {
            Method::DELETE
        };
        let mut ask = Ask::new(caller, method, path).header("if-match", version);
        if let Some(change) = change {
            ask = ask.body("application/merge-patch+json", change.to_string());
        }
        let answer = site.insist(&ask).await;
        self.must(answer, &[200, 204, 404, 412]);
    }

    async fn catalogue(&mut self, sites: &Sites) {
        let (n, site) = (self.done, &sites.catalog);
        let admin = self.admin.clone();
        let category = Ask::post(&admin, "/api/catalog/categories/")
            .key(self.key())
            .json(&json!({"name": format!("Things {n}")}));
        let category = self.must(site.insist(&category).await, &[201]).json()["id"].clone();
        let category = category.as_str().unwrap();
        let sku = format!("THING-{n}");
        let body = json!({"sku": sku, "name": "Thing", "category_ids": [category],
            "price": {"amount": "3.50", "currency": "SGD"}});
        let product = Ask::post(&admin, "/api/catalog/products/")
            .key(self.key())
            .json(&body);
        let product = self.must(site.insist(&product).await, &[201]).json()["id"].clone();
        let product = format!("/api/catalog/products/{}", product.as_str().unwrap());
        for _ in 0..2 {
            let delta = 1 + i64::from(self.random.up_to(9));
            let adjust = Ask::post(&admin, format!("/api/catalog/stock/{sku}/adjust/"))
                .key(self.key())
                .json(&json!({"delta": delta, "reason": "delivery"}));
            let answer = site.insist(&adjust).await;
            self.must(answer, &[200]);
            *self.units.entry(sku.clone()).or_default() += delta;
        }
        self.change(
            site,
            &admin,
            &product,
            Some(&json!({"name": "Other thing"})),
        )
        .await;
        let of = |what: &str| format!("/api/catalog/categories/{category}/{what}");
        let paths = [
            "/api/catalog/tree".to_owned(),
            "/api/catalog/products?limit=3".to_owned(),
            "/api/catalog/featured".to_owned(),
            of("products"),
            of("avg_price"),
            of("breadcrumbs"),
            format!("{product}/related"),
            format!("/api/catalog/stock/{sku}"),
            format!("/api/catalog/stock/{sku}/events"),
        ];
        self.see(site, &admin, &paths).await;
        if once_in(&self.random, 2) {
            self.change(site, &admin, &product, None).await;
        }
    }

    async fn profile(&mut self, sites: &Sites) {
        let site = &sites.customers;
        let customer = self.customer.clone();
        self.done += 1;
        let name = json!({"name": format!("Ada {}", self.done)});
        self.change(site, &customer, "/api/customers/me", Some(&name))
            .await;
        // A customer keeps a few addresses only.
        if self.addresses < 10 {
            let address = json!({"type": "shipping", "recipient": "Ada Tan", "line1": "1 Raffles Place",
                "city": "Singapore", "country": "SG"});
            let ask = Ask::post(&customer, "/api/customers/me/addresses/")
                .key(self.key())
                .json(&address);
            let answer = site.insist(&ask).await;
            self.must(answer, &[201]);
            self.addresses += 1;
        }
        let list = site
            .insist(&Ask::get(&customer, "/api/customers/me/addresses"))
            .await;
        let count = list.json()["data"].as_array().map(Vec::len);
        assert_eq!(
            count,
            Some(self.addresses),
            "{list:?}: {}",
            self.chaos.replay()
        );
        let gone = Caller::new(format!("guest-{}", self.done), []);
        self.see(site, &gone, &["/api/customers/me".to_owned()])
            .await;
        self.change(site, &gone, "/api/customers/me", None).await;
    }

    async fn devices(&mut self, sites: &Sites) {
        let (n, site) = (self.done, &sites.sensors);
        let admin = self.admin.clone();
        let id = format!("pump-{n}");
        let device = Ask::post(&admin, "/api/sensors/devices/")
            .key(self.key())
            .json(&json!({"device_id": id, "name": "Pump", "type": "custom"}));
        let answer = site.insist(&device).await;
        self.must(answer, &[201]);
        let path = format!("/api/sensors/devices/{id}");
        let bulk =
            json!({"device_id": id, "readings": [{"value": 1.5}, {"metric": "flow", "value": 2}]});
        let bulk = Ask::post(&admin, "/api/sensors/readings/bulk/")
            .context(self.device_key.clone())
            .json(&bulk);
        let taken = sites.ingest.insist(&bulk).await;
        let taken = self.must(taken, &[202]).json()["batch_id"].clone();
        let queued = self.queues.bodies(READINGS);
        let mut queued = queued
            .iter()
            .map(|body| Batch::decode_message(body).unwrap());
        let is_queued = queued.any(|batch| json!(batch.id.to_string()) == taken);
        assert!(is_queued, "{taken}: {}", self.chaos.replay());
        self.readings += 2;
        self.change(site, &admin, &path, Some(&json!({"location": "Roof"})))
            .await;
        let range = "start=2026-11-20T11:00:00Z&end=2026-11-20T12:00:00Z";
        let paths = [
            "/api/sensors/devices?limit=3".to_owned(),
            format!("{path}/readings?{range}"),
            format!("{path}/aggregates?metric=value&interval=1hour&{range}"),
        ];
        self.see(site, &admin, &paths).await;
        self.change(site, &admin, &path, None).await;
    }

    async fn keys(&mut self, sites: &Sites) {
        let (n, site) = (self.done, &sites.keys);
        let admin = self.admin.clone();
        let key = json!({"name": format!("Gateway {n}"), "devices": ["pump-*"]});
        let ask = Ask::post(&admin, "/api/sensors/keys/").json(&key);
        let answer = site.insist(&ask).await;
        let id = self.must(answer, &[201]).json()["id"].clone();
        self.see(site, &admin, &["/api/sensors/keys?limit=3".to_owned()])
            .await;
        let path = format!("/api/sensors/keys/{}", id.as_str().unwrap());
        self.change(site, &admin, &path, None).await;
        self.done += 1;
    }

    /// What is done twice or not at all shows in the sums.
    async fn audit(&self) {
        let stocks = StockStore::new(self.connection().dynamodb(), "Commerce".to_owned());
        for (sku, units) in &self.units {
            let stock = stocks.get(&sku.parse().unwrap()).await.unwrap().unwrap();
            let available = i64::try_from(stock.available).unwrap();
            assert_eq!(available, *units, "{sku}: {}", self.chaos.replay());
        }
    }
}

/// API Gateway: its keys by name.
fn gateway() -> aws_smithy_runtime_api::client::http::SharedHttpClient {
    let keys: Mutex<Vec<(String, String)>> = Mutex::default();
    answering(move |request| {
        let mut keys = keys.lock().unwrap();
        let method = request.method().clone();
        let path = request.uri().path().trim_matches('/').to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.body().bytes().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let path: Vec<&str> = path.split('/').collect();
        let (status, answer) = match (method.as_str(), path.as_slice()) {
            ("GET", ["usageplans"]) => (200, json!({"item": [{"id": "p1", "name": PLAN}]})),
            ("POST", ["usageplans", ..]) => (201, json!({})),
            ("POST", ["apikeys"]) => {
                let name = body["name"].as_str().unwrap().to_owned();
                if keys.iter().any(|(_, known)| *known == name) {
                    (409, json!({"__type": "ConflictException"}))
                } else {
                    let id = format!("k{}", keys.len());
                    keys.push((id.clone(), name));
                    (201, json!({ "id": id }))
                }
            }
            ("GET", ["apikeys"]) => {
                let items = keys
                    .iter()
                    .filter(|(_, name)| query.contains(name.as_str()));
                let items = items.map(|(id, name)| json!({"id": id, "name": name}));
                (200, json!({"item": items.collect::<Vec<_>>()}))
            }
            ("DELETE", ["apikeys", id]) => match keys.iter_mut().find(|(known, _)| known == id) {
                Some(key) => {
                    *key = ("gone".to_owned(), "gone".to_owned());
                    (202, json!({}))
                }
                None => (404, json!({"__type": "NotFoundException"})),
            },
            other => panic!("{other:?} is not asked of API Gateway"),
        };
        let response = http::Response::builder().status(status);
        response.body(answer.to_string()).unwrap()
    })
}

#[test]
fn other_apis_answer_and_do_what_they_said_once() {
    paused(async {
        let mut world = Box::pin(World::start(seed())).await;
        let operations = sized(150, 4_000);
        let mut sites = world.sites();
        let mut calm_from = None;
        loop {
            if world.chaos.invocations() >= operations && calm_from.is_none() {
                // Once more all of it, without faults.
                world.chaos.calm();
                calm_from = Some(world.done);
            }
            if once_in(&world.random, 10) {
                sites = world.sites();
            }
            match (calm_from, below(&world.random, 4)) {
                (Some(_), _) => {
                    Box::pin(world.catalogue(&sites)).await;
                    Box::pin(world.profile(&sites)).await;
                    Box::pin(world.devices(&sites)).await;
                    Box::pin(world.keys(&sites)).await;
                    break;
                }
                (None, 0) => Box::pin(world.catalogue(&sites)).await,
                (None, 1) => Box::pin(world.profile(&sites)).await,
                (None, 2) => Box::pin(world.devices(&sites)).await,
                (None, _) => Box::pin(world.keys(&sites)).await,
            }
            world.clock.advance(SignedDuration::from_secs(7));
        }
        world.audit().await;
        figure(CHECK, "units on shelves", world.units.values().sum::<i64>());
        figure(CHECK, "readings taken", world.readings);
        figure(CHECK, "violations", 0);
        world.chaos.report();
    });
}
