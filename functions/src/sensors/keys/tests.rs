use std::sync::{Arc, Mutex};

use aws_sdk_apigateway::config::retry::RetryConfig;
use axum::body::Body;
use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    platform::http::App,
    testing::{Database, Table, answering},
};

use super::*;

const PLAN: &str = "millrace-test-devices";

/// API Gateway: its keys by identifier and name, those in the plan, and what it refuses.
#[derive(Debug, Default)]
struct Gateway {
    keys: Vec<(String, String)>,
    in_plan: Vec<String>,
    made: usize,
    /// Method and path of calls that are answered 503.
    down: Option<(&'static str, &'static str)>,
}

impl Gateway {
    fn answer(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let path = target.split('?').next().unwrap();
        if self
            .down
            .is_some_and(|(verb, start)| verb == method && path.starts_with(start))
        {
            return (503, json!({"message": "down"}));
        }
        match (
            method,
            path.trim_matches('/')
                .split('/')
                .collect::<Vec<_>>()
                .as_slice(),
        ) {
            ("GET", ["usageplans"]) => (
                200,
                json!({"item": [
                    {"id": "p0", "name": "another"}, {"id": "p1", "name": PLAN}
                ]}),
            ),
            ("POST", ["apikeys"]) => {
                let name = body["name"].as_str().unwrap().to_owned();
                if self.keys.iter().any(|(_, known)| *known == name) {
                    return (409, json!({"__type": "ConflictException"}));
                }
                self.made += 1;
                let id = format!("k{}", self.made);
                self.keys.push((id.clone(), name));
                (201, json!({"id": id}))
            }
            ("GET", ["apikeys"]) => {
                let items: Vec<_> = self
                    .keys
                    .iter()
                    .filter(|(_, name)| target.ends_with(name.as_str()))
                    .map(|(id, name)| json!({"id": id, "name": name}))
                    .collect();
                (200, json!({"item": items}))
            }
            ("POST", ["usageplans", "p1", "keys"]) => {
                self.in_plan
                    .push(body["keyId"].as_str().unwrap().to_owned());
                (201, json!({}))
            }
            ("DELETE", ["apikeys", id]) => {
                let before = self.keys.len();
                self.keys.retain(|(known, _)| known != id);
                self.in_plan.retain(|known| known != id);
                if self.keys.len() == before {
                    return (404, json!({"__type": "NotFoundException"}));
                }
                (202, Value::Null)
            }
            _ => panic!("unexpected call: {method} {target}"),
        }
    }
}

struct World {
    _database: Database,
    app: App,
    keys: KeyStore,
    gateway: Arc<Mutex<Gateway>>,
}

impl World {
    async fn new() -> Self {
        let table = Table::new("Sensors").index("keys", "keys_pk", "keys_sk");
        let database = Database::start(&[table]).await;
        let keys = || KeyStore::new(database.client(), "Sensors".to_owned());
        let gateway = Arc::new(Mutex::new(Gateway::default()));
        let shared = gateway.clone();
        let http = answering(move |request| {
            let target = request.uri().path_and_query().unwrap().to_string();
            let body = request.body().bytes().unwrap_or_default();
            let body = serde_json::from_slice(body).unwrap_or_default();
            let mut gateway = shared.lock().unwrap();
            let (status, body) = gateway.answer(request.method().as_str(), &target, &body);
            http::Response::builder()
                .status(status)
                .header(
                    "x-amzn-errortype",
                    body["__type"].as_str().unwrap_or_default(),
                )
                .body(body.to_string())
                .unwrap()
        });
        let clock = Clock::fixed(Timestamp::from_millisecond(1_795_190_400_000).unwrap());
        let client = Connection::to_emulator("http://gateway.invalid", http).apigateway();
        let once = client
            .config()
            .to_builder()
            .retry_config(RetryConfig::disabled());
        let context = Context {
            keys: keys(),
            plan: UsagePlan {
                client: aws_sdk_apigateway::Client::from_conf(once.build()),
                name: DeviceUsagePlan::new(PLAN),
            },
            cursors: CursorKey::new([1; 32]).unwrap(),
            clock: clock.clone(),
            random: Random::seeded(1),
        };
        Self {
            app: App::with(router(context), clock, Random::seeded(2)),
            keys: keys(),
            _database: database,
            gateway,
        }
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Value,
    ) -> (u16, http::HeaderMap, Value) {
        self.send_as(&[Group::Admin], request, body).await
    }

    async fn send_as(
        &self,
        groups: &[Group],
        request: http::request::Builder,
        body: Value,
    ) -> (u16, http::HeaderMap, Value) {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let request = request
            .header("content-type", "application/json")
            .header("x-correlation-id", "test")
            .extension(Caller::new("u-1", groups))
            .body(body)
            .unwrap();
        let (parts, body) = self.app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (parts.status.as_u16(), parts.headers, body)
    }

    async fn create(&self) -> (u16, http::HeaderMap, Value) {
        let body = json!({"name": "line 4", "devices": ["line4.*", "pump-1"]});
        self.send(Request::post("/api/sensors/keys/"), body).await
    }
}

#[tokio::test]
async fn a_key_is_made_in_the_table_and_in_the_plan_and_shown_once() {
    let world = World::new().await;
    let (status, headers, key) = world.create().await;
    assert_eq!((status, headers["etag"].to_str().unwrap()), (201, "\"v2\""));
    let secret = key["secret"].as_str().unwrap();
    let id = SecretHash::of(secret).unwrap().id();
    assert_eq!(key["id"], json!(id.to_string()));
    assert_eq!(
        headers["location"].to_str().unwrap(),
        format!("/api/sensors/keys/{id}")
    );
    {
        let gateway = world.gateway.lock().unwrap();
        assert_eq!(gateway.keys, [("k1".to_owned(), format!("{PLAN}-{id}"))]);
        assert_eq!(gateway.in_plan, ["k1"]);
    }
    let stored = world.keys.get(id).await.unwrap().unwrap();
    assert!(stored.is_active() && stored.allows("pump-1"));
    assert_eq!(stored.gateway_id.as_deref(), Some("k1"));

    let (status, headers, shown) = world
        .send(Request::get(format!("/api/sensors/keys/{id}")), Value::Null)
        .await;
    assert_eq!((status, headers["etag"].to_str().unwrap()), (200, "\"v2\""));
    insta::assert_json_snapshot!(shown, {".id" => "[id]"}, @r#"
    {
      "created_at": "2026-11-20T16:00:00.000Z",
      "devices": [
        "line4.*",
        "pump-1"
      ],
      "id": "[id]",
      "name": "line 4",
      "revoked_at": null,
      "status": "active",
      "version": 2
    }
    "#);
}

#[tokio::test]
async fn a_key_that_was_not_finished_leaves_nothing_that_works() {
    for down in [
        ("GET", "/usageplans"),
        ("POST", "/apikeys"),
        ("POST", "/usageplans"),
    ] {
        let world = World::new().await;
        world.gateway.lock().unwrap().down = Some(down);
        let (status, headers, _) = world.create().await;
        assert_eq!(
            (status, headers.contains_key("retry-after")),
            (503, true),
            "{down:?}"
        );
        assert_eq!(world.gateway.lock().unwrap().keys, []);
        assert_eq!(world.keys.list(None, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn half_a_key_is_listed_as_pending_and_can_be_deleted() {
    let world = World::new().await;
    let hash = SecretHash::of(new_secret([1; 26]).expose()).unwrap();
    let grant = Grant::new("half", &["*".to_owned()]).unwrap();
    let pending = DeviceKey::pending(hash, grant, Timestamp::UNIX_EPOCH);
    world.keys.create(&pending).await.unwrap();
    let name = format!("{PLAN}-{}", pending.id());
    world
        .gateway
        .lock()
        .unwrap()
        .keys
        .push(("k9".to_owned(), name));
    let (_, _, listed) = world
        .send(Request::get("/api/sensors/keys"), Value::Null)
        .await;
    assert_eq!(listed["data"][0]["status"], json!("pending"));
    let request = Request::delete(format!("/api/sensors/keys/{}", pending.id()));
    let (status, _, key) = world
        .send(request.header("if-match", "\"v1\""), Value::Null)
        .await;
    assert_eq!((status, &key["status"]), (200, &json!("revoked")));
    assert_eq!(world.gateway.lock().unwrap().keys, []);
}

#[tokio::test]
async fn a_revoked_key_is_dead_at_once_and_its_copy_goes_in_the_end() {
    let world = World::new().await;
    let (_, _, key) = world.create().await;
    let path = format!("/api/sensors/keys/{}", key["id"].as_str().unwrap());
    let delete = |tag: &str| Request::delete(&path).header("if-match", tag);

    assert_eq!(world.send(Request::delete(&path), Value::Null).await.0, 428);
    assert_eq!(world.send(delete("\"v1\""), Value::Null).await.0, 412);
    world.gateway.lock().unwrap().down = Some(("DELETE", "/apikeys"));
    assert_eq!(world.send(delete("\"v2\""), Value::Null).await.0, 503);
    let id = key["id"].as_str().unwrap().parse().unwrap();
    assert!(!world.keys.get(id).await.unwrap().unwrap().is_active());

    world.gateway.lock().unwrap().down = None;
    for _ in 0..2 {
        let (status, headers, key) = world.send(delete("\"v3\""), Value::Null).await;
        assert_eq!((status, &key["status"]), (200, &json!("revoked")));
        assert_eq!(headers["etag"].to_str().unwrap(), "\"v3\"");
        assert_eq!(key["revoked_at"], json!("2026-11-20T16:00:00.000Z"));
        assert_eq!(world.gateway.lock().unwrap().keys, []);
    }
}

#[tokio::test]
async fn a_request_that_does_not_fit_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let post = || Request::post("/api/sensors/keys");
    let good = json!({"name": "n", "devices": ["*"]});
    for (request, body, expected) in [
        (
            post(),
            json!({"name": "", "devices": ["a b"]}),
            (422, "invalid-body"),
        ),
        (post(), json!({"name": "n"}), (422, "invalid-body")),
        // A list of a request's members in their order is no request.
        (post(), json!(["n", ["*"]]), (422, "invalid-body")),
        (
            post(),
            json!({"name": 1, "devices": ["*"]}),
            (422, "invalid-body"),
        ),
        (
            post(),
            json!({"name": "n", "devices": ["*", 1]}),
            (422, "invalid-body"),
        ),
        (
            post(),
            json!({"name": "n", "devices": ["*"], "secret": "x"}),
            (422, "invalid-body"),
        ),
        (
            post().header("idempotency-key", "k"),
            good.clone(),
            (400, "idempotency-key-refused"),
        ),
    ] {
        let (status, _, answer) = world.send(request, body).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), expected);
    }
    for groups in [&[][..], &[Group::Analyst]] {
        for (request, body) in [
            (post(), good.clone()),
            (Request::get("/api/sensors/keys"), Value::Null),
            (Request::get("/api/sensors/keys/x"), Value::Null),
            (
                Request::delete("/api/sensors/keys/x").header("if-match", "*"),
                Value::Null,
            ),
        ] {
            assert_eq!(world.send_as(groups, request, body).await.0, 403);
        }
    }
    assert_eq!(
        world
            .send(Request::get("/api/sensors/keys/x"), Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(world.gateway.lock().unwrap().made, 0);
    assert_eq!(world.keys.list(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn keys_are_listed_page_by_page_with_the_fields_asked_for() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.create().await.0, 201);
    }
    let get = |target: String| Request::get(target);
    let (status, _, first) = world
        .send(
            get("/api/sensors/keys?limit=2&fields=id".into()),
            Value::Null,
        )
        .await;
    assert_eq!((status, first["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!(first["data"][0].as_object().unwrap().len(), 1);
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = format!("/api/sensors/keys?limit=2&fields=id&cursor={cursor}");
    let (_, _, second) = world.send(get(next), Value::Null).await;
    assert_eq!(second["data"].as_array().unwrap().len(), 1);
    assert_eq!(second["next_cursor"], Value::Null);
    assert!(
        !first["data"]
            .as_array()
            .unwrap()
            .contains(&second["data"][0])
    );
}
