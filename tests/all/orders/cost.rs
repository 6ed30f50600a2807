//! What an order costs from its request to its payment: units of the table and transitions of the
//! state machine, by the list prices of us-east-1.

use std::sync::{Arc, Mutex};

use functions::orders::steps::{Orders, confirm, inventory, payment};
use lambda_runtime::{Context as LambdaContext, LambdaEvent};
use serde_json::Value;
use shared::{
    orders::{
        model::{Order, OrderId, Saga, Status},
        store::OrderStore,
    },
    payments::{gateway::Gateway, sandbox::Sandbox},
    platform::{aws::http_client, ids::Random},
    stock::store::StockStore,
    testing::answering,
};

use super::machine::{Call, Machine, Standing};
use crate::support::{
    shop::{Shop, executions, request},
    units::Units,
};

/// Dollars for a million write units, read units and standard transitions.
/// <https://aws.amazon.com/dynamodb/pricing/on-demand/>, <https://aws.amazon.com/step-functions/pricing/>
const WRITE: f64 = 0.625;
const READ: f64 = 0.125;
const TRANSITION: f64 = 25.0;

/// What an order of as many lines costs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    read: f64,
    write: f64,
    transitions: u32,
}

impl Cost {
    /// Dollars for a thousand orders.
    fn dollars(self) -> f64 {
        let millionths = self.write * WRITE + self.read * READ;
        (millionths + f64::from(self.transitions) * TRANSITION) / 1_000.0
    }
}

async fn cost(lines: usize) -> Cost {
    let shop = Shop::open(lines, 10).await;
    let units = Arc::new(Units::default());
    let http = || units.over(http_client(Some(shop.database.endpoint())));
    let begun: Arc<Mutex<Option<Value>>> = Arc::default();
    let noted = begun.clone();
    let service = answering(move |request| {
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let input = serde_json::from_str(body["input"].as_str().unwrap()).unwrap();
        *noted.lock().unwrap() = Some(input);
        http::Response::new(r#"{"executionArn": "arn:x", "startDate": 1}"#.to_owned())
    });
    let api = shop.api(http(), executions("http://127.0.0.1:9", service));
    // The customer's first order makes their profile, too.
    assert_eq!(api.serve(request(1, "first")).await.status(), 202);
    let before = units.consumed();
    assert_eq!(api.serve(request(lines, "second")).await.status(), 202);
    let input = begun.lock().unwrap().take().unwrap();

    let dynamodb = shop.connection(http()).dynamodb();
    let table = || "Commerce".to_owned();
    let orders = || Orders {
        store: OrderStore::new(dynamodb.clone(), table()),
        clock: shop.clock.clone(),
        random: Random::system(),
    };
    let call = async |call| {
        let Call::Function(function, payload) = call else {
            return Ok(());
        };
        let event = LambdaEvent::new(payload, LambdaContext::default());
        let done = match function.as_str() {
            "${InventoryStep}" => {
                inventory::handle(&inventory::Context { orders: orders() }, event).await
            }
            "${ConfirmStep}" => {
                confirm::handle(&confirm::Context { orders: orders() }, event).await
            }
            _ => {
                let gateway = Gateway::Sandbox(Sandbox::new(dynamodb.clone(), table()));
                let context = payment::Context {
                    orders: orders(),
                    gateway,
                };
                payment::handle(&context, event).await
            }
        };
        done.map(drop).map_err(|error| error.to_string())
    };
    let machine = Machine::read();
    let mut execution = machine.begin(input.clone());
    machine.run(&mut execution, &shop.clock, call).await;
    assert_eq!(execution.standing, Standing::Succeeded);
    let after = units.consumed();

    let id: OrderId = serde_json::from_value(input["order_id"].clone()).unwrap();
    let order: Order = orders().store.get(&id).await.unwrap().unwrap();
    assert_eq!(
        (order.status, order.saga),
        (Status::Confirmed, Saga::Completed)
    );
    let stocks = StockStore::new(dynamodb.clone(), table());
    let stock = stocks
        .get(&"THING-0".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((stock.available, stock.reserved, stock.sold), (9, 0, 1));
    Cost {
        read: after.0 - before.0,
        write: after.1 - before.1,
        transitions: execution.entered,
    }
}

#[tokio::test]
async fn an_order_costs_no_more_than_it_did_when_it_was_last_looked_at() {
    for (lines, write, read) in [(1, 56.0, 9.0), (3, 76.0, 13.0), (45, 478.0, 113.0)] {
        let cost = cost(lines).await;
        println!(
            "an order of {lines} lines: {} write units, {} read units, {} transitions; 1,000 of them: ${:.3}",
            cost.write,
            cost.read,
            cost.transitions,
            cost.dollars(),
        );
        assert!(cost.write <= write && cost.read <= read, "{cost:?}");
        assert!(cost.transitions <= 8, "{cost:?}");
    }
}
