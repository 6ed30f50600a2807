use std::sync::{Arc, Mutex};

use aws_sdk_cognitoidentityprovider::config::retry::RetryConfig;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::{
    customers::{model::Profile, store::CustomerStore},
    platform::{
        aws::Connection, caller::Caller, clock::Clock, config::UserPool, http::App,
        idempotency::Idempotency, ids::Random,
    },
    testing::{Database, Table, answering},
};

use super::router;
use crate::customers::{context::Context, people::People};

const ME: &str = "/api/customers/me";
const ADDRESSES: &str = "/api/customers/me/addresses";

/// What the user pool does: the people that are in it, and whether it answers.
#[derive(Debug)]
struct Pool {
    people: Vec<String>,
    is_down: bool,
}

struct House {
    database: Database,
    app: App,
    customers: CustomerStore,
    pool: Arc<Mutex<Pool>>,
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

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

fn cognito(pool: &Arc<Mutex<Pool>>) -> aws_sdk_cognitoidentityprovider::Client {
    let shared = pool.clone();
    let http = answering(move |request| {
        assert!(
            request.headers()["x-amz-target"]
                .to_str()
                .unwrap()
                .ends_with(".AdminDeleteUser")
        );
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut pool = shared.lock().unwrap();
        let before = pool.people.len();
        let (status, answer) = if pool.is_down {
            (500, json!({"__type": "InternalErrorException"}))
        } else {
            pool.people.retain(|known| body["Username"] != **known);
            if pool.people.len() < before {
                (200, json!({}))
            } else {
                (400, json!({"__type": "UserNotFoundException"}))
            }
        };
        http::Response::builder()
            .status(status)
            .body(answer.to_string())
            .unwrap()
    });
    let client = Connection::to_emulator("http://127.0.0.1:9", http).cognito();
    let config = client
        .config()
        .to_builder()
        .retry_config(RetryConfig::disabled());
    aws_sdk_cognitoidentityprovider::Client::from_conf(config.build())
}

impl House {
    async fn new() -> Self {
        let database = Database::start(&[Table::new("Commerce")]).await;
        let clock = Clock::fixed(Timestamp::constant(1_795_190_400, 0));
        let pool = Arc::new(Mutex::new(Pool {
            people: vec!["u-1".into(), "u-2".into()],
            is_down: false,
        }));
        let (client, name) = (database.client(), || "Commerce".to_owned());
        let context = Context {
            customers: CustomerStore::new(client.clone(), name()),
            people: People {
                client: cognito(&pool),
                pool: UserPool::new("us-east-1_Example"),
            },
            clock: clock.clone(),
            random: Random::seeded(1),
            idempotency: Idempotency::new(client.clone(), name(), clock.clone(), Random::seeded(2)),
        };
        Self {
            app: App::with(router(context), clock, Random::seeded(3)),
            customers: CustomerStore::new(client, name()),
            database,
            pool,
        }
    }

    async fn send(
        &self,
        sub: &str,
        (method, path): (Method, &str),
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
        let claims =
            json!({"sub": sub, "email": format!("{sub}@example.com"), "email_verified": "true"});
        let caller = Caller::from_claims(claims.as_object().unwrap()).unwrap();
        let body = Body::from(body.map(Value::to_string).unwrap_or_default());
        let request = request.extension(caller).body(body).unwrap();
        let (parts, body) = self.app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("u-1", (Method::GET, path), &[], None).await
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send("u-1", (Method::POST, ADDRESSES), &[], Some(body))
            .await
    }

    async fn change(&self, method: Method, path: &str, etag: &str, body: Option<&Value>) -> Answer {
        self.send("u-1", (method, path), &[("if-match", etag)], body)
            .await
    }
}

fn address(kind: &str) -> Value {
    json!({"type": kind, "recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore",
        "postal_code": "048616", "country": "SG"})
}

fn with(mut value: Value, members: &Value) -> Value {
    let more: &Map<String, Value> = members.as_object().unwrap();
    value.as_object_mut().unwrap().extend(more.clone());
    value
}

#[tokio::test]
async fn the_first_look_at_a_profile_makes_it() {
    let house = House::new().await;
    let found = house.get(ME).await;
    assert_eq!((found.status, found.header("etag")), (200, "\"v1\""));
    insta::assert_json_snapshot!(found.json(), @r#"
    {
      "addresses": [],
      "created_at": "2026-11-20T16:00:00.000Z",
      "customer_id": "u-1",
      "email": "u-1@example.com",
      "locale": null,
      "name": null,
      "phone": null,
      "updated_at": "2026-11-20T16:00:00.000Z",
      "version": 1
    }
    "#);
    let known = [("if-none-match", "\"v1\"")];
    assert_eq!(
        house
            .send("u-1", (Method::GET, ME), &known, None)
            .await
            .status,
        304
    );
    let some = house.get(&format!("{ME}?fields=email,version")).await;
    assert_eq!(
        some.json(),
        json!({"email": "u-1@example.com", "version": 1})
    );
    assert_eq!(
        house.get(&format!("{ME}?fields=password")).await.code().0,
        400
    );
}

#[tokio::test]
async fn a_profile_changes_under_its_version() {
    let house = House::new().await;
    let patch = json!({"name": "Jane Tan", "phone": "+65 6123 4567", "locale": "en-SG"});
    let changed = house
        .change(Method::PATCH, ME, "\"v1\"", Some(&patch))
        .await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"v2\""));
    assert_eq!(changed.json()["phone"], "+6561234567");
    let stale = house
        .change(Method::PATCH, ME, "\"v1\"", Some(&patch))
        .await;
    assert_eq!(stale.status, 412);
    let blind = house
        .send("u-1", (Method::PATCH, ME), &[], Some(&patch))
        .await;
    assert_eq!(blind.status, 428);
    let patch = json!({"email": "x@example.com", "phone": "1"});
    let refused = house
        .change(Method::PATCH, ME, "\"v2\"", Some(&patch))
        .await;
    assert_eq!(refused.code(), (422, "invalid-body".into()));
    assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn addresses_come_change_and_go() {
    let house = House::new().await;
    let first = house.post(&address("shipping")).await;
    assert_eq!((first.status, first.header("etag")), (201, "\"v2\""));
    insta::assert_json_snapshot!(first.json(), {".address_id" => "[id]"}, @r#"
    {
      "address_id": "[id]",
      "city": "Singapore",
      "country": "SG",
      "is_default": true,
      "line1": "1 Raffles Place",
      "postal_code": "048616",
      "recipient": "Jane Tan",
      "type": "shipping"
    }
    "#);
    let place = first.header("location").to_owned();
    assert_eq!(house.get(&place).await.json(), first.json());
    let second = with(
        address("shipping"),
        &json!({"is_default": true, "phone": "6123 4567"}),
    );
    let second = house.post(&second).await;
    assert_eq!(second.json()["phone"], "+6561234567");
    assert_eq!(house.get(&place).await.json()["is_default"], false);

    let patch = json!({"is_default": true, "line2": "#20-01"});
    let patched = house
        .change(Method::PATCH, &place, "\"v3\"", Some(&patch))
        .await;
    assert_eq!((patched.status, patched.header("etag")), (200, "\"v4\""));
    assert_eq!(patched.json()["line2"], "#20-01");
    let removed = house.change(Method::DELETE, &place, "\"v4\"", None).await;
    assert_eq!((removed.status, removed.header("etag")), (204, "\"v5\""));
    let listed = house.get(ADDRESSES).await;
    assert_eq!(listed.header("etag"), "\"v5\"");
    assert_eq!(
        listed.json(),
        json!({"data": [with(second.json(), &json!({"is_default": true}))], "next_cursor": null})
    );
    assert_eq!(house.get(&place).await.code(), (404, "not-found".into()));
    assert_eq!(
        house.change(Method::DELETE, &place, "*", None).await.status,
        404
    );
}

#[tokio::test]
async fn an_address_posted_twice_under_one_key_is_kept_once() {
    let house = House::new().await;
    let key = [("idempotency-key", "k-1")];
    let body = address("billing");
    let first = house
        .send("u-1", (Method::POST, ADDRESSES), &key, Some(&body))
        .await;
    let again = house
        .send("u-1", (Method::POST, ADDRESSES), &key, Some(&body))
        .await;
    assert_eq!(
        (first.status, &first.body, first.header("location")),
        (again.status, &again.body, again.header("location"))
    );
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(
        house.get(ADDRESSES).await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let other = house
        .send(
            "u-1",
            (Method::POST, ADDRESSES),
            &key,
            Some(&address("shipping")),
        )
        .await;
    assert_eq!(other.code(), (422, "idempotency-key-reused".into()));
}

#[tokio::test]
async fn the_twenty_first_address_is_refused() {
    let house = House::new().await;
    for _ in 0..20 {
        assert_eq!(house.post(&address("shipping")).await.status, 201);
    }
    assert_eq!(
        house.post(&address("shipping")).await.code(),
        (409, "too-many-addresses".into())
    );
}

#[tokio::test]
async fn nobody_reaches_another_customers_address() {
    let house = House::new().await;
    let place = house
        .post(&address("shipping"))
        .await
        .header("location")
        .to_owned();
    let any = [("if-match", "*")];
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let body = (method == Method::PATCH).then(|| json!({"city": "Rome"}));
        let answer = house
            .send("u-2", (method, &place), &any, body.as_ref())
            .await;
        assert_eq!(answer.code(), (404, "not-found".into()));
    }
}

#[tokio::test]
async fn an_erased_customer_is_gone_everywhere_and_for_good() {
    let house = House::new().await;
    house.post(&address("shipping")).await;
    assert_eq!(
        house
            .change(Method::DELETE, ME, "\"v1\"", None)
            .await
            .status,
        412
    );
    assert_eq!(
        house
            .change(Method::DELETE, ME, "\"v2\"", None)
            .await
            .status,
        204
    );
    assert_eq!(house.pool.lock().unwrap().people, ["u-2"]);
    let body = address("shipping");
    for (method, path, body) in [
        (Method::GET, ME, None),
        (Method::PATCH, ME, Some(&body)),
        (Method::DELETE, ME, None),
        (Method::GET, ADDRESSES, None),
        (Method::POST, ADDRESSES, Some(&body)),
    ] {
        let answer = house.change(method, path, "\"v3\"", body).await;
        assert_eq!(answer.code(), (404, "customer-erased".into()), "{path}");
    }
    let items = house
        .database
        .client()
        .scan()
        .table_name("Commerce")
        .send()
        .await
        .unwrap();
    let kept = format!("{:?}", items.items());
    assert!(
        !kept.contains("Raffles") && !kept.contains("@example.com"),
        "{kept}"
    );
}

#[tokio::test]
async fn an_erasure_that_broke_off_is_finished_by_the_next() {
    let house = House::new().await;
    house.pool.lock().unwrap().is_down = true;
    assert_eq!(
        house.change(Method::DELETE, ME, "*", None).await.status,
        503
    );
    let stored = house.customers.get("u-1").await.unwrap();
    assert!(matches!(stored, Some(Profile::Erased { version: 2, .. })));
    house.pool.lock().unwrap().is_down = false;
    assert_eq!(
        house
            .change(Method::DELETE, ME, "\"v1\"", None)
            .await
            .status,
        204
    );
    assert_eq!(house.pool.lock().unwrap().people, ["u-2"]);
    let third = house.change(Method::DELETE, ME, "\"v1\"", None).await;
    assert_eq!(third.code(), (404, "customer-erased".into()));
}
