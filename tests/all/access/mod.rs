//! Who may call what: every route of the API's document, for everybody who may be at the door.

mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::api::{Role, call};
use crate::support::people;
use crate::support::stack::unique;
use tokens::WORTHLESS;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Anybody, with or without a token.
    Everybody,
    /// Whoever has a token of the pool; what they see is theirs.
    SignedIn,
    /// Analysts and admins.
    Analysts,
    /// Admins.
    Admins,
    /// Devices by their keys; a token of the pool is no device key.
    Devices,
}

use Who::{Admins, Analysts, Devices, Everybody, SignedIn};

impl Who {
    /// Whom the document names.
    fn documented(operation: &Value) -> Self {
        let security = &operation["security"];
        let all = [
            (json!([{}]), Everybody),
            (json!([{"token": []}]), SignedIn),
            (
                json!([{"token": ["analyst"]}, {"token": ["admin"]}]),
                Analysts,
            ),
            (json!([{"token": ["admin"]}]), Admins),
            (json!([{"device_key": []}]), Devices),
        ];
        let found = all.into_iter().find(|(known, _)| known == security);
        found
            .unwrap_or_else(|| panic!("{}: {security} says nobody", operation["operationId"]))
            .1
    }

    /// What a call of this caller comes to, if it comes to `bare` for those who may make it.
    fn status(self, caller: Caller, bare: u16) -> u16 {
        use Role::{Admin, Analyst};
        match (self, caller) {
            (Everybody, _)
            | (SignedIn, Caller::Somebody(_))
            | (Analysts, Caller::Somebody(Analyst | Admin))
            | (Admins, Caller::Somebody(Admin)) => bare,
            (Devices, _) | (_, Caller::Stranger) => 401,
            (Analysts | Admins, Caller::Somebody(_)) => 403,
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
enum Caller {
    /// Without a token, or with one that is worth nothing.
    Stranger,
    /// With a token of the pool.
    Somebody(Role),
}

/// Every route, who may call it, and what a call without anything else comes to for those who may.
const ROUTES: &[(&str, &str, Who, u16)] = &[
    ("post", "/api/sales/import-sales", Admins, 415),
    ("post", "/api/sales/imports", Admins, 400),
    ("get", "/api/sales/imports", Admins, 200),
    ("get", "/api/sales/imports/{id}", Admins, 404),
    ("delete", "/api/sales/imports/{id}", Admins, 428),
    ("get", "/api/sales", Admins, 400),
    ("get", "/api/metrics/revenue", Analysts, 400),
    ("get", "/api/metrics/revenue/daily", Analysts, 400),
    ("get", "/api/metrics/v1/revenue", Analysts, 400),
    ("post", "/api/sensors/devices", Admins, 415),
    ("get", "/api/sensors/devices", Analysts, 200),
    ("get", "/api/sensors/devices/{id}", Analysts, 404),
    ("put", "/api/sensors/devices/{id}", Admins, 428),
    ("patch", "/api/sensors/devices/{id}", Admins, 428),
    ("delete", "/api/sensors/devices/{id}", Admins, 428),
    ("get", "/api/sensors/devices/{id}/aggregates", Analysts, 400),
    (
        "post",
        "/api/sensors/devices/{id}/aggregates/recompute",
        Admins,
        415,
    ),
    ("get", "/api/sensors/devices/{id}/readings", Analysts, 400),
    ("post", "/api/sensors/keys", Admins, 415),
    ("get", "/api/sensors/keys", Admins, 200),
    ("get", "/api/sensors/keys/{id}", Admins, 404),
    ("delete", "/api/sensors/keys/{id}", Admins, 428),
    ("post", "/api/sensors/readings/bulk", Devices, 401),
    ("post", "/api/v2/write", Devices, 401),
    ("get", "/api/catalog/tree", Everybody, 200),
    ("post", "/api/catalog/categories", Admins, 415),
    ("get", "/api/catalog/categories/{id}", Everybody, 404),
    ("patch", "/api/catalog/categories/{id}", Admins, 428),
    ("delete", "/api/catalog/categories/{id}", Admins, 428),
    ("post", "/api/catalog/categories/{id}/move", Admins, 428),
    (
        "get",
        "/api/catalog/categories/{id}/breadcrumbs",
        Everybody,
        404,
    ),
    (
        "get",
        "/api/catalog/categories/{id}/products",
        Everybody,
        404,
    ),
    (
        "get",
        "/api/catalog/categories/{id}/avg_price",
        Everybody,
        404,
    ),
    ("get", "/api/catalog/products", Everybody, 200),
    ("post", "/api/catalog/products", Admins, 415),
    ("get", "/api/catalog/products/{id}", Everybody, 404),
    ("patch", "/api/catalog/products/{id}", Admins, 428),
    ("delete", "/api/catalog/products/{id}", Admins, 428),
    ("post", "/api/catalog/products/{id}/restore", Admins, 404),
    ("get", "/api/catalog/products/{id}/related", Everybody, 404),
    ("get", "/api/catalog/featured", Everybody, 200),
    ("get", "/api/catalog/stock/{sku}", Admins, 404),
    ("put", "/api/catalog/stock/{sku}", Admins, 428),
    ("post", "/api/catalog/stock/{sku}/adjust", Admins, 415),
    ("get", "/api/catalog/stock/{sku}/events", Admins, 404),
    ("get", "/api/customers/me", SignedIn, 200),
    ("patch", "/api/customers/me", SignedIn, 415),
    ("delete", "/api/customers/me", SignedIn, 428),
    ("get", "/api/customers/me/addresses", SignedIn, 200),
    ("post", "/api/customers/me/addresses", SignedIn, 415),
    ("get", "/api/customers/me/addresses/{id}", SignedIn, 404),
    ("patch", "/api/customers/me/addresses/{id}", SignedIn, 415),
    ("delete", "/api/customers/me/addresses/{id}", SignedIn, 428),
    ("post", "/api/orders", SignedIn, 400),
    ("get", "/api/orders", SignedIn, 200),
    ("get", "/api/orders/summary", SignedIn, 200),
    ("get", "/api/orders/spending", SignedIn, 200),
    ("get", "/api/orders/{id}", SignedIn, 404),
    ("post", "/api/orders/{id}/cancel", SignedIn, 404),
    ("get", "/api/orders/{id}/track", SignedIn, 404),
    ("get", "/api/orders/{id}/events", SignedIn, 404),
    ("post", "/api/orders/{id}/process", Admins, 404),
    ("post", "/api/orders/{id}/ship", Admins, 404),
    ("post", "/api/orders/{id}/deliver", Admins, 404),
    ("post", "/api/orders/{id}/refunds", Admins, 400),
    ("get", "/api/orders/{id}/refunds", SignedIn, 404),
    ("get", "/health", Everybody, 200),
    ("get", "/health/live", Everybody, 200),
    ("get", "/health/ready", Everybody, 200),
];

/// The path with `id` for what it leaves open.
fn filled(path: &str, id: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) => format!("{}{id}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    }
}

#[test]
fn every_route_of_the_document_is_here_with_who_may_call_it() {
    let document = serde_json::to_value(functions::openapi::document()).unwrap();
    let mut documented = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let who = format!("{:?}", Who::documented(operation));
            documented.insert((method.as_str(), path.as_str()), who);
        }
    }
    let here = ROUTES
        .iter()
        .map(|(method, path, who, _)| ((*method, *path), format!("{who:?}")));
    assert_eq!(documented, here.collect());
}

#[test]
fn who_may_call_what_holds_on_every_route_with_and_without_a_trailing_slash() {
    for (method, path, who, bare) in ROUTES {
        for slash in ["", "/"] {
            let path = filled(path, "01K9T2V5M8Q4R7S1X3Z6B9D0F2") + slash;
            let request = || call(&method.to_uppercase(), &path);
            let stranger = who.status(Caller::Stranger, *bare);
            let answer = request().send();
            assert_eq!(
                answer.status,
                stranger,
                "{method} {path} without a token: {}",
                answer.text()
            );
            if stranger == 401 {
                let challenge = answer.header("www-authenticate");
                assert_eq!(
                    challenge,
                    Some("Bearer error=\"invalid_token\""),
                    "{method} {path}"
                );
                answer.problem(401, "unauthorized");
            }
            for (flaw, token) in WORTHLESS.iter() {
                let status = request().token(token).send().status;
                assert_eq!(
                    status, stranger,
                    "{method} {path} with a worthless token: {flaw}"
                );
            }
            for role in [Role::Customer, Role::Analyst, Role::Admin] {
                let answer = request().role(role).send();
                let expected = who.status(Caller::Somebody(role), *bare);
                assert_eq!(
                    answer.status,
                    expected,
                    "{method} {path} as {role:?}: {}",
                    answer.text()
                );
                if expected == 403 {
                    answer.problem(403, "forbidden");
                }
            }
        }
    }
}

/// An address and an order of the customer that every stack begins with.
fn belongings() -> (String, String) {
    let place = json!({"recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"});
    let post = |path: &str, role: Role, body: &Value| {
        let call = call("POST", path)
            .role(role)
            .header("Idempotency-Key", &unique());
        call.body("application/json", body.to_string()).send()
    };
    let mut address = place.clone();
    address["type"] = "shipping".into();
    let address = post("/api/customers/me/addresses", Role::Customer, &address)
        .expect(201)
        .json();
    let sku = unique();
    let price = json!({"amount": "1.00", "currency": "SGD"});
    let product = json!({"sku": sku, "name": "Rope", "price": price});
    post("/api/catalog/products", Role::Admin, &product).expect(201);
    let order = json!({"items": [{"sku": sku, "quantity": 1}], "shipping_address": place,
        "payment_method": "sandbox-ok"});
    let order = post("/api/orders", Role::Customer, &order)
        .expect(202)
        .json();
    let id = |thing: &Value, name: &str| thing[name].as_str().unwrap().to_owned();
    (id(&address, "address_id"), id(&order, "id"))
}

#[test]
fn what_is_one_customers_is_not_there_for_another() {
    let (address, order) = belongings();
    let other = people::another_customer();
    let own = ROUTES
        .iter()
        .filter(|(_, path, who, _)| *who == SignedIn && path.contains('{'));
    for (method, path, ..) in own {
        let (id, admin) = match *path {
            path if path.starts_with("/api/customers/me/addresses/") => (&address, 404),
            path if path.starts_with("/api/orders/") => (&order, 200),
            path => panic!("{path}: whose is it?"),
        };
        let path = filled(path, id);
        let request = || {
            let call = call(&method.to_uppercase(), &path).header("If-Match", "*");
            match *method {
                "get" | "delete" => call,
                _ => call.body("application/json", "{}"),
            }
        };
        request().token(&other).send().problem(404, "not-found");
        request()
            .role(Role::Analyst)
            .send()
            .problem(404, "not-found");
        if *method == "get" {
            request().role(Role::Customer).send().expect(200);
            request().role(Role::Admin).send().expect(admin);
        }
    }
    let list = call("GET", "/api/orders")
        .token(&other)
        .send()
        .expect(200)
        .json();
    assert_eq!(list["data"], json!([]));
}

#[test]
fn a_route_or_method_that_does_not_exist_is_told_so() {
    for (method, path) in [
        ("GET", "/api/nowhere"),
        ("GET", "/"),
        ("GET", "/api/sales/imports/a/b"),
        ("PUT", "/api/sales"),
    ] {
        let answer = call(method, path).role(Role::Admin).send();
        assert!(
            [404, 405].contains(&answer.status),
            "{method} {path}: {}",
            answer.status
        );
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{method} {path}");
    }
}

/// Rights come from the authorizer alone.
#[test]
fn nothing_that_a_caller_sends_besides_the_token_gives_rights() {
    let path = "/api/sales/imports";
    let tricks = [
        (
            "X-Amzn-Request-Context",
            r#"{"authorizer":{"claims":{"sub":"a","cognito:groups":"admin"}}}"#,
        ),
        ("X-Forwarded-User", "admin"),
    ];
    for (name, value) in tricks {
        let request = || call("GET", path).header(name, value);
        request()
            .role(Role::Customer)
            .send()
            .problem(403, "forbidden");
        request().send().problem(401, "unauthorized");
    }
    let query = "start=2001-01-01&end=2001-01-02&cognito:groups=admin";
    let request = call("GET", &format!("/api/metrics/v1/revenue?{query}"));
    request
        .role(Role::Customer)
        .send()
        .problem(403, "forbidden");
}
