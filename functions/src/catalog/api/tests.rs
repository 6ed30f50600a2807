use axum::body::Body;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::{
    catalog::{category::store::CategoryStore, product::store::ProductStore},
    platform::{
        cache::Cache,
        caller::{Caller, Group},
        clock::Clock,
        config::{CursorKey, StoreCurrency},
        http::App,
        idempotency::Idempotency,
        ids::Random,
        money::Currency,
    },
    stock::store::StockStore,
    testing::{Database, Table},
};

use super::{super::context::Context, router};

const CATEGORIES: &str = "/api/catalog/categories";
const PRODUCTS: &str = "/api/catalog/products";

struct House {
    _database: Database,
    app: App,
    clock: Clock,
}

#[derive(Debug)]
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

    fn faults(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let told = |error: &Value| {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("pointer"), text("code"))
        };
        errors.iter().map(told).collect()
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    fn id(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.body);
        self.json()["id"].as_str().unwrap().to_owned()
    }

    /// The names of a list, end to end.
    fn names(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.body);
        let body = self.json();
        let data = body["data"].as_array().unwrap().iter();
        data.map(|one| one["name"].as_str().unwrap()).collect()
    }
}

impl House {
    async fn new() -> Self {
        let table = Table::new("Commerce")
            .index("products_by_name", "list_pk", "name_sk")
            .index("products_by_newest", "list_pk", "newest_sk");
        let database = Database::start(&[table]).await;
        let clock = Clock::fixed(Timestamp::from_second(1_795_190_400).unwrap());
        let (client, name) = (database.client(), || "Commerce".to_owned());
        let context = Context {
            categories: CategoryStore::new(client.clone(), name()),
            products: ProductStore::new(client.clone(), name()),
            stocks: StockStore::new(client.clone(), name()),
            currency: StoreCurrency::new(Currency::SGD),
            clock: clock.clone(),
            random: Random::seeded(1),
            cursors: CursorKey::new([1; 32]).unwrap(),
            idempotency: Idempotency::new(client, name(), clock.clone(), Random::seeded(2)),
            prices: Cache::new(1, clock.clone()),
        };
        Self {
            app: App::with(router(context), clock.clone(), Random::seeded(3)),
            clock,
            _database: database,
        }
    }

    async fn send(
        &self,
        caller: Option<&[Group]>,
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
        if let Some(groups) = caller {
            request = request.extension(Caller::new("u-1", groups));
        }
        let body = Body::from(body.map(Value::to_string).unwrap_or_default());
        let response = self.app.serve(request.body(body).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(None, Method::GET, path, &[], None).await
    }

    async fn admin(&self, method: Method, path: &str, etag: &str, body: Option<&Value>) -> Answer {
        let etag = [("if-match", etag)];
        let headers = if etag[0].1.is_empty() { &[][..] } else { &etag };
        self.send(Some(&[Group::Admin]), method, path, headers, body)
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.admin(Method::POST, path, "", Some(body)).await
    }

    async fn category(&self, name: &str, parent: Option<&str>) -> String {
        let body = json!({"name": name, "parent_id": parent});
        self.post(CATEGORIES, &body).await.id()
    }

    /// A product made a second after the one before.
    async fn product(&self, name: &str, price: &str, categories: &[&str]) -> String {
        self.clock.advance(SignedDuration::from_secs(1));
        let mut body = lamp(&format!("SKU-{name}"));
        body["name"] = json!(name);
        body["price"]["amount"] = json!(price);
        body["category_ids"] = json!(categories);
        self.post(PRODUCTS, &body).await.id()
    }
}

fn lamp(sku: &str) -> Value {
    json!({"sku": sku, "name": "Lamp", "price": {"amount": "34.9", "currency": "SGD"}})
}

fn path_of(route: &str, id: &str) -> String {
    format!("{route}/{id}")
}

#[tokio::test]
async fn reads_are_public_and_changes_are_for_admins() {
    let house = House::new().await;
    let category = path_of(CATEGORIES, &house.category("A", None).await);
    let product = path_of(PRODUCTS, &house.product("x", "1", &[]).await);
    let below = |path: &str, rest: &str| format!("{path}/{rest}");
    for path in [
        "/api/catalog/tree/",
        "/api/catalog/featured",
        PRODUCTS,
        &category,
        &product,
        &below(&category, "breadcrumbs"),
        &below(&category, "products"),
        &below(&category, "avg_price"),
        &below(&product, "related"),
    ] {
        let answer = house.get(path).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.body);
        assert_eq!(
            answer.header("cache-control"),
            "public, max-age=60",
            "{path}"
        );
        let known = [("if-none-match", answer.header("etag"))];
        let again = house.send(None, Method::GET, path, &known, None).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), answer.header("etag"), "{path}");
        assert_eq!(
            again.header("cache-control"),
            "public, max-age=60",
            "{path}"
        );
    }
    for (method, path) in [
        (Method::POST, CATEGORIES),
        (Method::PATCH, &category),
        (Method::DELETE, &category),
        (Method::POST, &below(&category, "move")),
        (Method::POST, PRODUCTS),
        (Method::PATCH, &product),
        (Method::DELETE, &product),
        (Method::POST, &below(&product, "restore")),
        (Method::GET, "/api/catalog/stock/SKU-x"),
        (Method::PUT, "/api/catalog/stock/SKU-x"),
        (Method::POST, "/api/catalog/stock/SKU-x/adjust"),
        (Method::GET, "/api/catalog/stock/SKU-x/events"),
    ] {
        for (groups, status) in [
            (None, 401),
            (Some(&[][..]), 403),
            (Some(&[Group::Analyst]), 403),
        ] {
            let answer = house.send(groups, method.clone(), path, &[], None).await;
            assert_eq!(answer.status, status, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_category_comes_changes_moves_and_goes() {
    let house = House::new().await;
    let made = house
        .post(CATEGORIES, &json!({"name": "Desk & Floor"}))
        .await;
    let id = made.id();
    let path = path_of(CATEGORIES, &id);
    assert_eq!(
        (made.header("location"), made.header("etag")),
        (path.as_str(), "\"v1\"")
    );
    assert_eq!(made.json()["slug"], "desk-floor");
    assert_eq!(house.get(&path).await.json(), made.json());
    let above = house.category("Lamps", None).await;

    let rename = json!({"name": "Desk"});
    let renamed = house
        .admin(Method::PATCH, &path, "\"v1\"", Some(&rename))
        .await;
    assert_eq!((renamed.status, renamed.header("etag")), (200, "\"v2\""));
    let to = format!("{path}/move");
    let moved = house
        .admin(
            Method::POST,
            &to,
            "\"v2\"",
            Some(&json!({"parent_id": above})),
        )
        .await;
    assert_eq!(moved.json()["path"], json!([above, id]));
    let crumbs = house.get(&format!("{path}/breadcrumbs")).await;
    assert_eq!(crumbs.names(), "LampsDesk");

    let upper = path_of(CATEGORIES, &above);
    let full = house.admin(Method::DELETE, &upper, "\"v1\"", None).await;
    assert_eq!(full.code(), (409, "category-not-empty".into()));
    let gone = house.admin(Method::DELETE, &path, "\"v3\"", None).await;
    assert_eq!((gone.status, gone.header("etag")), (204, "\"v4\""));
    assert_eq!(house.get(&path).await.status, 404);
    assert_eq!(
        house.admin(Method::DELETE, &upper, "*", None).await.status,
        204
    );
    let tree = house.get("/api/catalog/tree").await;
    assert_eq!(
        (tree.body.as_str(), tree.header("etag")),
        (r#"{"data":[]}"#, "\"v6\"")
    );
}

#[tokio::test]
async fn changes_need_the_version_that_they_are_made_to() {
    let house = House::new().await;
    let category = path_of(CATEGORIES, &house.category("A", None).await);
    let product = path_of(PRODUCTS, &house.product("x", "1", &[]).await);
    let (rename, top) = (json!({"name": "B"}), json!({"parent_id": null}));
    let set = json!({"available": 1, "reason": "counted"});
    for (method, path, body) in [
        (Method::PATCH, &category, Some(&rename)),
        (Method::POST, &format!("{category}/move"), Some(&top)),
        (Method::DELETE, &category, None),
        (Method::PATCH, &product, Some(&rename)),
        (Method::DELETE, &product, None),
        (
            Method::PUT,
            &"/api/catalog/stock/SKU-x".to_owned(),
            Some(&set),
        ),
    ] {
        let without = house.admin(method.clone(), path, "", body).await;
        assert_eq!(
            without.code(),
            (428, "if-match-required".into()),
            "{method} {path}"
        );
        let stale = house.admin(method.clone(), path, "\"v7\"", body).await;
        assert_eq!(
            stale.code(),
            (412, "stale-version".into()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_tree_that_cannot_be_is_refused_with_its_reason() {
    let house = House::new().await;
    let top = house.category("Top", None).await;
    let low = house.category("Low", Some(&top)).await;
    let to = format!("{CATEGORIES}/{top}/move");
    let cycle = house
        .admin(Method::POST, &to, "*", Some(&json!({"parent_id": low})))
        .await;
    assert_eq!(cycle.code(), (409, "category-cycle".into()));
    let nowhere = "0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b";
    let orphan = house
        .post(CATEGORIES, &json!({"name": "X", "parent_id": nowhere}))
        .await;
    assert_eq!(orphan.code(), (422, "invalid-body".into()));
    assert_eq!(orphan.faults(), ["/parent_id no-such-category"]);
    let twice = house.post(CATEGORIES, &json!({"name": "LOW"})).await;
    assert_eq!(twice.code(), (409, "slug-taken".into()));
}

#[tokio::test]
async fn two_moves_that_make_a_cycle_together_do_not_both_come_about() {
    let house = House::new().await;
    let ids = [
        house.category("A", None).await,
        house.category("B", None).await,
    ];
    let moves = [(0, 1), (1, 0)].map(|(one, other)| {
        let (to, body) = (
            format!("{CATEGORIES}/{}/move", ids[one]),
            json!({"parent_id": ids[other]}),
        );
        let house = &house;
        async move {
            house
                .admin(Method::POST, &to, "\"v1\"", Some(&body))
                .await
                .status
        }
    });
    let mut ends = join_all(moves).await;
    ends.sort_unstable();
    assert!(ends == [200, 409] || ends == [200, 412], "{ends:?}");
    assert_eq!(
        house.get("/api/catalog/tree").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn of_categories_made_together_one_gets_the_slug_and_a_key_makes_one() {
    let house = House::new().await;
    let made = join_all(
        (0..4).map(|_| async { house.post(CATEGORIES, &json!({"name": "A"})).await.status }),
    );
    let mut ends = made.await;
    ends.sort_unstable();
    assert_eq!(ends, [201, 409, 409, 409]);
    let send = async || {
        let key = [("idempotency-key", "k-1")];
        let body = json!({"name": "B"});
        house
            .send(
                Some(&[Group::Admin]),
                Method::POST,
                CATEGORIES,
                &key,
                Some(&body),
            )
            .await
    };
    let (first, again) = (send().await, send().await);
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (201, "true")
    );
    assert_eq!(
        (again.body, again.headers["location"].clone()),
        (first.body, first.headers["location"].clone())
    );
}

#[tokio::test]
async fn the_tree_is_shown_in_parts() {
    let house = House::new().await;
    let top = house.category("Top", None).await;
    let low = house.category("Low", Some(&top)).await;
    house.category("Lowest", Some(&low)).await;
    let part = house
        .get(&format!("/api/catalog/tree?root={low}&depth=1"))
        .await
        .json();
    let expected = json!({"data": [{"id": low, "name": "Low", "slug": "low", "level": 1, "sort_order": 0,
        "children": []}]});
    assert_eq!(part, expected);
    for (query, status) in [
        ("root=x", 404),
        ("depth=0", 400),
        ("depth=65", 400),
        ("deep=1", 400),
    ] {
        let answer = house.get(&format!("/api/catalog/tree?{query}")).await;
        assert_eq!(answer.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_product_comes_changes_goes_and_comes_back() {
    let house = House::new().await;
    let made = house.post(PRODUCTS, &lamp("LAMP-7")).await;
    let path = path_of(PRODUCTS, &made.id());
    assert_eq!(
        (made.header("location"), made.header("etag")),
        (path.as_str(), "\"v1\"")
    );
    assert_eq!(
        made.json()["price"],
        json!({"amount": "34.90", "currency": "SGD"})
    );
    assert_eq!(house.get(&path).await.json(), made.json());
    let fields = house.get(&format!("{path}?fields=sku,price.amount")).await;
    assert_eq!(
        fields.json(),
        json!({"sku": "LAMP-7", "price": {"amount": "34.90"}})
    );

    let taken = house.post(PRODUCTS, &lamp("LAMP-7")).await;
    assert_eq!(taken.code(), (409, "sku-taken".into()));
    let hide = json!({"is_active": false});
    let hidden = house
        .admin(Method::PATCH, &path, "\"v1\"", Some(&hide))
        .await;
    assert_eq!((hidden.status, hidden.header("etag")), (200, "\"v2\""));
    assert_eq!(house.get(&path).await.status, 404);
    let shown = house
        .admin(Method::PATCH, &path, "*", Some(&json!({"is_active": true})))
        .await;
    assert_eq!(shown.status, 200);

    assert_eq!(
        house
            .admin(Method::DELETE, &path, "\"v3\"", None)
            .await
            .status,
        204
    );
    assert_eq!(house.get(&path).await.status, 404);
    assert_eq!(
        house
            .admin(Method::PATCH, &path, "*", Some(&hide))
            .await
            .status,
        404
    );
    let restore = format!("{path}/restore");
    let second = path_of(PRODUCTS, &house.post(PRODUCTS, &lamp("LAMP-7")).await.id());
    let refused = house.admin(Method::POST, &restore, "", None).await;
    assert_eq!(refused.code(), (409, "sku-taken".into()));
    assert_eq!(
        house.admin(Method::DELETE, &second, "*", None).await.status,
        204
    );
    let restored = house.admin(Method::POST, &restore, "", None).await;
    assert_eq!((restored.status, restored.header("etag")), (200, "\"v5\""));
    let again = house.admin(Method::POST, &restore, "", None).await;
    assert_eq!(again.code(), (409, "not-deleted".into()));
}

#[tokio::test]
async fn hostile_bodies_are_refused_with_every_fault() {
    let house = House::new().await;
    let mut body = lamp("A");
    body["price"] = json!({"amount": "1.999", "currency": "SGD"});
    body["version"] = json!(7);
    body["is_active"] = json!("yes");
    let faults = [
        "/price invalid-value",
        "/is_active invalid-value",
        "/version unknown-field",
    ];
    let refused = house.post(PRODUCTS, &body).await;
    assert_eq!(
        (refused.code().0, refused.faults()),
        (422, faults.map(str::to_owned).to_vec())
    );
    for price in [
        json!({"amount": "1", "currency": "EUR"}),
        json!({"amount": "-1", "currency": "SGD"}),
        json!({"amount": "1e3", "currency": "SGD"}),
        json!({"amount": 1, "currency": "SGD"}),
        json!({"amount": "1", "currency": "SGD", "x": 1}),
        json!("1"),
        json!(1.5),
    ] {
        let mut body = lamp("A");
        body["price"] = price.clone();
        let refused = house.post(PRODUCTS, &body).await;
        assert_eq!(refused.status, 422, "{price}");
        assert!(refused.faults()[0].starts_with("/price "), "{price}");
    }
    let mut body = lamp("A");
    body["category_ids"] = json!(["0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b"]);
    assert_eq!(
        house.post(PRODUCTS, &body).await.faults(),
        ["/category_ids no-such-category"]
    );
    assert_eq!(house.post(PRODUCTS, &json!([])).await.status, 422);
    assert_eq!(house.post(CATEGORIES, &json!("x")).await.status, 422);
    let mut long = lamp("A");
    long["description"] = json!("ä".repeat(4097));
    assert_eq!(
        house.post(PRODUCTS, &long).await.faults(),
        ["/description invalid-value"]
    );
}

#[tokio::test]
async fn lists_filter_order_and_page() {
    let house = House::new().await;
    let top = house.category("Top", None).await;
    let low = house.category("Low", Some(&top)).await;
    let other = house.category("Other", None).await;
    for (name, price, categories) in [
        ("b", "3", vec![low.as_str(), top.as_str()]),
        ("A", "1", vec![top.as_str(), other.as_str()]),
        ("c", "2.50", vec![other.as_str()]),
        ("d", "0.99", vec![]),
    ] {
        house.product(name, price, &categories).await;
    }
    house
        .post(
            "/api/catalog/stock/SKU-c/adjust",
            &json!({"delta": 3, "reason": "delivery"}),
        )
        .await;
    for (query, expected) in [
        ("", "dcAb"),
        ("ordering=name", "Abcd"),
        ("ordering=-name", "dcbA"),
        ("ordering=price", "dAcb"),
        ("ordering=-price", "bcAd"),
        ("price_min=1&price_max=2.5&ordering=price", "Ac"),
        ("price_max=0.99", "d"),
        ("in_stock=true", "c"),
        ("in_stock=false&ordering=name", "Abd"),
        ("q=B", "b"),
        (&format!("category={top}"), "Ab"),
        (&format!("category={low}"), "b"),
        (&format!("category={other}&ordering=price"), "Ac"),
    ] {
        assert_eq!(
            house.get(&format!("{PRODUCTS}?{query}")).await.names(),
            expected,
            "{query}"
        );
    }
    let of = house
        .get(&format!("{CATEGORIES}/{top}/products?ordering=-price"))
        .await;
    assert_eq!(of.names(), "bA");

    let first = house.get(&format!("{PRODUCTS}?limit=3&fields=name")).await;
    assert_eq!(
        first.json()["data"],
        json!([{"name": "d"}, {"name": "c"}, {"name": "A"}])
    );
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    assert!(first.header("link").contains(&cursor));
    let next = house
        .get(&format!("{PRODUCTS}?fields=name&cursor={cursor}"))
        .await;
    assert_eq!(
        (next.names().as_str(), &next.json()["next_cursor"]),
        ("b", &Value::Null)
    );
    for query in [
        format!("cursor={cursor}"),
        "cursor=x".into(),
        "ordering=cheap".into(),
        "price_min=-1".into(),
        "price_min=1.001".into(),
        "in_stock=1".into(),
        "limit=101".into(),
        "fields=secret".into(),
        "status=any".into(),
    ] {
        assert_eq!(
            house.get(&format!("{PRODUCTS}?{query}")).await.status,
            400,
            "{query}"
        );
    }
    assert_eq!(
        house.get(&format!("{PRODUCTS}?category=x")).await.status,
        404
    );
}

#[tokio::test]
async fn a_subtree_of_many_categories_is_listed_as_one_of_few() {
    let house = House::new().await;
    let top = house.category("Top", None).await;
    let mut last = top.clone();
    for n in 0..30 {
        last = house.category(&format!("C{n}"), Some(&top)).await;
    }
    house.product("in", "1", &[&last]).await;
    house.product("out", "1", &[]).await;
    let of = house.get(&format!("{CATEGORIES}/{top}/products")).await;
    assert_eq!(of.names(), "in");
}

#[tokio::test]
async fn featured_and_related_products_are_found() {
    let house = House::new().await;
    let (one, two) = (
        house.category("One", None).await,
        house.category("Two", None).await,
    );
    let id = house.product("x", "1", &[&one, &two]).await;
    house.product("both", "1", &[&one, &two]).await;
    let lone = house.product("lone", "1", &[&two]).await;
    house.product("none", "1", &[]).await;
    let related = format!("{PRODUCTS}/{id}/related");
    assert_eq!(house.get(&related).await.names(), "bothlone");
    assert_eq!(
        house.get(&format!("{related}?limit=1")).await.names(),
        "both"
    );
    assert_eq!(house.get("/api/catalog/featured").await.names(), "");
    let feature = json!({"is_featured": true});
    house
        .admin(
            Method::PATCH,
            &path_of(PRODUCTS, &lone),
            "*",
            Some(&feature),
        )
        .await;
    assert_eq!(house.get("/api/catalog/featured").await.names(), "lone");
}

#[tokio::test]
async fn a_subtree_averages_each_of_its_products_once() {
    let house = House::new().await;
    let top = house.category("Top", None).await;
    let low = house.category("Low", Some(&top)).await;
    let of = |id: &str| format!("{CATEGORIES}/{id}/avg_price");
    let none = json!({"average_price": null, "product_count": 0, "price_range": {"min": null, "max": null}});
    assert_eq!(house.get(&of(&top)).await.json(), none);
    let first = house.product("a", "0.01", &[&top, &low]).await;
    house.product("b", "0.02", &[&low]).await;
    house.product("c", "5", &[]).await;
    let sgd = |amount: &str| json!({"amount": amount, "currency": "SGD"});
    let both = json!({"average_price": sgd("0.02"), "product_count": 2,
        "price_range": {"min": sgd("0.01"), "max": sgd("0.02")}});
    house.clock.advance(SignedDuration::from_secs(5));
    assert_eq!(house.get(&of(&top)).await.json(), both);
    assert_eq!(house.get(&of(&low)).await.json(), both);
    house
        .admin(Method::DELETE, &path_of(PRODUCTS, &first), "*", None)
        .await;
    house.clock.advance(SignedDuration::from_secs(5));
    let one = json!({"average_price": sgd("0.02"), "product_count": 1,
        "price_range": {"min": sgd("0.02"), "max": sgd("0.02")}});
    assert_eq!(house.get(&of(&top)).await.json(), one);
}

#[tokio::test]
async fn a_category_with_products_stays_until_they_are_gone() {
    let house = House::new().await;
    let id = house.category("A", None).await;
    let product = path_of(PRODUCTS, &house.product("x", "1", &[&id]).await);
    let category = path_of(CATEGORIES, &id);
    let refused = house.admin(Method::DELETE, &category, "*", None).await;
    assert_eq!(refused.code(), (409, "category-not-empty".into()));
    house.admin(Method::DELETE, &product, "*", None).await;
    assert_eq!(
        house
            .admin(Method::DELETE, &category, "*", None)
            .await
            .status,
        204
    );
    let restored = house
        .admin(Method::POST, &format!("{product}/restore"), "", None)
        .await;
    assert_eq!(restored.json()["category_ids"], json!([]));
}

#[tokio::test]
async fn stock_is_set_under_its_version_and_adjusted_by_what_is_said() {
    let house = House::new().await;
    house.product("x", "1", &[]).await;
    let path = "/api/catalog/stock/SKU-x";
    let admin = Some(&[Group::Admin][..]);
    let empty = house.send(admin, Method::GET, path, &[], None).await;
    assert_eq!(
        (empty.json()["available"].as_u64(), empty.header("etag")),
        (Some(0), "\"v1\"")
    );
    assert_eq!(empty.header("cache-control"), "no-store");
    let set = json!({"available": 10, "reason": "counted"});
    let done = house.admin(Method::PUT, path, "\"v1\"", Some(&set)).await;
    assert_eq!((done.status, done.header("etag")), (200, "\"v2\""));
    let adjust = format!("{path}/adjust");
    let taken = house
        .post(&adjust, &json!({"delta": -4, "reason": "broken"}))
        .await;
    assert_eq!(taken.json()["available"], 6);
    let short = house
        .post(&adjust, &json!({"delta": -7, "reason": "broken"}))
        .await;
    assert_eq!(short.code(), (409, "insufficient-stock".into()));
    for body in [
        json!({"delta": 0, "reason": "x"}),
        json!({"delta": 1.5, "reason": "x"}),
        json!({"delta": 1_000_001, "reason": "x"}),
        json!({"delta": 1}),
        json!({"delta": 1, "reason": "x", "sku": "y"}),
        json!({"delta": "1", "reason": "x".repeat(201)}),
    ] {
        assert_eq!(house.post(&adjust, &body).await.status, 422, "{body}");
    }
    let bad = json!({"available": -1, "reason": "x"});
    let refused = house.admin(Method::PUT, path, "*", Some(&bad)).await;
    assert_eq!(refused.faults(), ["/available invalid-value"]);
    let unknown = house
        .send(admin, Method::GET, "/api/catalog/stock/y", &[], None)
        .await;
    assert_eq!(unknown.status, 404);

    let events = house
        .send(
            admin,
            Method::GET,
            &format!("{path}/events?limit=1"),
            &[],
            None,
        )
        .await;
    let first = json!({"sequence": 2, "type": "stock.set", "time": "2026-11-20T16:00:01.000Z",
        "data": {"from": 0, "to": 10, "delta": 10, "reason": "counted", "by": "u-1"}});
    assert_eq!(events.json()["data"], json!([first]));
    let cursor = events.json()["next_cursor"].as_str().unwrap().to_owned();
    let rest = house
        .send(
            admin,
            Method::GET,
            &format!("{path}/events?cursor={cursor}"),
            &[],
            None,
        )
        .await;
    assert_eq!(rest.json()["data"][0]["data"]["delta"], -4);
    assert_eq!(rest.json()["next_cursor"], Value::Null);
}

#[tokio::test]
async fn adjustments_that_come_together_all_count_and_a_repeated_one_once() {
    let house = House::new().await;
    house.product("x", "1", &[]).await;
    let path = "/api/catalog/stock/SKU-x/adjust";
    let body = json!({"delta": 3, "reason": "delivery"});
    let ends = join_all((0..4).map(|_| async { house.post(path, &body).await.status })).await;
    assert_eq!(ends, [200; 4]);
    for replayed in ["", "true"] {
        let key = [("idempotency-key", "k-1")];
        let answer = house
            .send(Some(&[Group::Admin]), Method::POST, path, &key, Some(&body))
            .await;
        assert_eq!(answer.header("idempotent-replayed"), replayed);
        assert_eq!(answer.json()["available"], 15);
    }
}
