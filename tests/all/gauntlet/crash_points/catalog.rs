//! The catalogue API: what staff change.

use http::Method;
use serde_json::{Value, json};

use super::{
    commerce::{admin, product},
    driver::{Report, block_on},
    routes::Route,
    trigger::Ask,
};

fn post(path: &str, body: &Value) -> Ask {
    Ask::post(admin(), format!("/api/catalog/{path}"), body)
}

fn on(method: Method, path: &str) -> Ask {
    Ask::new(admin(), method, format!("/api/catalog/{path}")).matching("\"v1\"")
}

fn routes() -> Vec<Route> {
    let category = |name: &str| post("categories", &json!({"name": name}));
    let below = || post("categories", &json!({"name": "Below", "parent_id": "{0}"}));
    let lamp = || post("products", &product("lamp"));
    vec![
        Route::new("catalog-api, POST categories", below())
            .after(category("Above"))
            .once(),
        Route::new(
            "catalog-api, PATCH categories/{id}",
            on(Method::PATCH, "categories/{0}").json(&json!({"name": "Other"})),
        )
        .after(category("Above")),
        Route::new(
            "catalog-api, POST categories/{id}/move",
            on(Method::POST, "categories/{0}/move").json(&json!({"parent_id": "{2}"})),
        )
        .after(category("Above"))
        .after(below())
        .after(category("Beside")),
        Route::new(
            "catalog-api, DELETE categories/{id}",
            on(Method::DELETE, "categories/{0}"),
        )
        .after(category("Above")),
        Route::new("catalog-api, POST products", lamp()).once(),
        Route::new(
            "catalog-api, PATCH products/{id}",
            on(Method::PATCH, "products/{1}").json(&json!({
                "price": {"amount": "9.99", "currency": "SGD"}, "category_ids": ["{0}"],
            })),
        )
        .after(category("Above"))
        .after(lamp()),
        Route::new(
            "catalog-api, DELETE products/{id}",
            on(Method::DELETE, "products/{0}"),
        )
        .after(lamp()),
        Route::new("catalog-api, POST products/{id}/restore", {
            Ask::new(admin(), Method::POST, "/api/catalog/products/{0}/restore")
        })
        .after(lamp())
        .after(on(Method::DELETE, "products/{0}")),
        Route::new(
            "catalog-api, PUT stock/{sku}",
            on(Method::PUT, "stock/lamp").json(&json!({"available": 7, "reason": "Stock-taking"})),
        )
        .after(lamp()),
        Route::new(
            "catalog-api, POST stock/{sku}/adjust",
            post(
                "stock/lamp/adjust",
                &json!({"delta": 3, "reason": "Delivery"}),
            ),
        )
        .after(lamp())
        .once(),
    ]
}

#[test]
fn the_catalogue_api_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for route in routes() {
            report.play(&route).await;
        }
        report.tell("catalog-api");
    });
}
