//! Customers: what they change of themselves, and what is done when somebody signs up.

use std::sync::Arc;

use functions::customers::sign_up;
use http::Method;
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{customers::store::CustomerStore, platform::ids::Random};

use super::{
    commerce::{Checkpoint, House, TABLE, jane},
    driver::{Delivery, Report, Scenario, block_on},
    routes::Route,
    state::State,
    trigger::{Ask, context},
};
use crate::support::faults::Plan;

const ME: &str = "/api/customers/me";
const ADDRESSES: &str = "/api/customers/me/addresses";

fn address() -> Value {
    json!({"type": "shipping", "recipient": "Jane Tan", "line1": "1 Raffles Place", "city": "Singapore",
        "postal_code": "048616", "country": "SG"})
}

fn on(method: Method, path: &str, etag: &str) -> Ask {
    Ask::new(jane(), method, path).matching(etag)
}

fn routes() -> Vec<Route> {
    let me = || Ask::new(jane(), Method::GET, ME);
    let added = || Ask::post(jane(), ADDRESSES, &address());
    let one = format!("{ADDRESSES}/{{0}}");
    vec![
        Route::new("customer-api, GET me for the first time", me()),
        Route::new(
            "customer-api, PATCH me",
            on(Method::PATCH, ME, "\"v1\"").json(&json!({"name": "Jane"})),
        )
        .after(me()),
        Route::new("customer-api, POST addresses", added()).once(),
        Route::new(
            "customer-api, PATCH addresses/{id}",
            on(Method::PATCH, &one, "\"v2\"").json(&json!({"city": "Ipoh"})),
        )
        .after(added()),
        Route::new(
            "customer-api, DELETE addresses/{id}",
            on(Method::DELETE, &one, "\"v2\""),
        )
        .after(added()),
        Route::new("customer-api, DELETE me", on(Method::DELETE, ME, "\"v1\"")).after(me()),
    ]
}

struct SignUp;

impl Scenario for SignUp {
    type World = House;

    fn name(&self) -> String {
        "customer-signup, confirmation".to_owned()
    }

    /// The user pool calls three times.
    fn most(&self) -> u32 {
        3
    }

    async fn world(&self) -> House {
        House::of(&Checkpoint::default()).await
    }

    async fn deliver(&self, house: &House, plan: &Arc<Plan>, _: u32) -> Delivery {
        let function = sign_up::Context {
            customers: CustomerStore::new(house.connection(plan).dynamodb(), TABLE.to_owned()),
            clock: house.clock.clone(),
            random: Random::system(),
        };
        let event = json!({
            "version": "1", "region": "us-east-1", "userPoolId": "us-east-1_Example", "userName": "jane",
            "triggerSource": "PostConfirmation_ConfirmSignUp", "response": {},
            "request": {"userAttributes": {"sub": "jane", "email_verified": "true",
                "email": "jane@example.com"}},
        });
        let event = LambdaEvent::new(event, context(&house.clock));
        let Ok(_) = Box::pin(sign_up::handle(&function, event)).await;
        Delivery::Done
    }

    async fn state(&self, house: &House, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        house.add_to(&mut state).await;
        state
    }
}

#[test]
fn whoever_serves_customers_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for route in routes() {
            report.play(&route).await;
        }
        report.play(&SignUp).await;
        report.tell("customers");
    });
}
