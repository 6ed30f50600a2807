//! The order API: what customers and staff ask for.

use http::Method;
use serde_json::json;

use super::{
    commerce::{admin, jane, order},
    driver::{Report, block_on},
    routes::Route,
    trigger::Ask,
};

fn place() -> Ask {
    Ask::post(
        jane(),
        "/api/orders",
        &order(&[("tea", 2)], "sandbox-approve"),
    )
}

fn on(verb: &str) -> Ask {
    Ask::new(admin(), Method::POST, format!("/api/orders/{{0}}/{verb}"))
}

fn routes() -> Vec<Route> {
    let placed = || place().once();
    vec![
        Route::new("order-api, POST orders", place())
            .once()
            .begins_one(),
        Route::new("order-api, POST orders of a new customer and too much", {
            let body = order(&[("tea", 6)], "sandbox-approve");
            Ask::post(jane(), "/api/orders", &body)
        })
        .once()
        .begins_one(),
        Route::new("order-api, POST cancel of a pending one", on("cancel"))
            .after(placed())
            .before_executions()
            .once()
            .begins_one(),
        Route::new("order-api, POST cancel of a paid one", on("cancel"))
            .after(placed())
            .begins_one(),
        Route::new("order-api, POST process", on("process"))
            .after(placed())
            .once(),
        Route::new("order-api, POST ship", on("ship"))
            .after(placed())
            .after(on("process")),
        Route::new("order-api, POST deliver", on("deliver"))
            .after(placed())
            .after(on("process"))
            .after(on("ship"))
            .once(),
        Route::new(
            "order-api, POST refunds",
            on("refunds").json(&json!({"amount": {"amount": "5.00", "currency": "SGD"}})),
        )
        .after(placed())
        .once()
        .begins_one(),
    ]
}

#[test]
fn the_order_api_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for route in routes() {
            report.play(&route).await;
        }
        report.tell("order-api");
    });
}
