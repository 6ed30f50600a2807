//! The saga's functions and the service that runs them, without anything deployed.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex},
};

use functions::orders::{
    execution::Executions,
    steps::{Orders, StepError, confirm, inventory, payment},
};
use futures_util::future::LocalBoxFuture;
use lambda_runtime::{Context as LambdaContext, Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use shared::{
    orders::store::OrderStore,
    payments::{gateway::Gateway, sandbox::Sandbox},
    platform::{aws::Connection, clock::Clock, config::OrderSaga, ids::Random},
    testing::answering,
};

use super::machine::{Execution, Machine};
use crate::support::faults::Plan;

const SAGA: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:orders";
const EXECUTION: &str = "arn:aws:states:us-east-1:000000000000:execution:orders:";

/// The executions that there are, by name.
pub(crate) type Kept = Arc<Mutex<BTreeMap<String, Execution>>>;

/// The service that keeps executions, for a process that goes by `plan`.
pub(crate) fn service(
    machine: &Arc<Machine>,
    executions: &Kept,
    is_redrivable: bool,
    plan: &Arc<Plan>,
) -> Executions {
    let (executions, machine) = (executions.clone(), machine.clone());
    let http = answering(move |request| {
        let target = request.headers()["x-amz-target"].to_str().unwrap();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut executions = executions.lock().unwrap();
        let arn = body["executionArn"].as_str().unwrap_or_default();
        let name = arn.strip_prefix(EXECUTION).unwrap_or_default();
        let answer = match target.rsplit('.').next().unwrap() {
            "StartExecution" => {
                let name = body["name"].as_str().unwrap().to_owned();
                let input = serde_json::from_str(body["input"].as_str().unwrap()).unwrap();
                match executions.entry(name) {
                    Entry::Occupied(_) => Err("ExecutionAlreadyExists"),
                    Entry::Vacant(free) => {
                        free.insert(machine.begin(input));
                        Ok(json!({"executionArn": "arn:of:it", "startDate": 1.0}))
                    }
                }
            }
            "DescribeExecution" => Ok(json!({
                "executionArn": arn, "stateMachineArn": SAGA, "startDate": 1.0,
                "status": executions[name].standing.as_str(),
            })),
            "RedriveExecution" if is_redrivable => {
                let execution = executions.get_mut(name).unwrap();
                let redriven = execution.redrive().then(|| json!({"redriveDate": 1.0}));
                redriven.ok_or("ExecutionNotRedrivable")
            }
            _ => Err("InvalidAction"),
        };
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(code) => (400, json!({"__type": code})),
        };
        let response = http::Response::builder().status(status);
        response.body(body.to_string()).unwrap()
    });
    let client = Connection::to_emulator("http://127.0.0.1:1", plan.over(http)).step_functions();
    Executions::new(client, OrderSaga::new(SAGA))
}

/// A run of the function that the state machine calls so, as a process of its own with this connection to
/// `table`.
pub(crate) fn run(
    function: &str,
    payload: Value,
    connection: &Connection,
    table: &str,
    clock: &Clock,
) -> LocalBoxFuture<'static, Result<(), String>> {
    let event = LambdaEvent::new(payload, LambdaContext::default());
    let orders = Orders {
        store: OrderStore::new(connection.dynamodb(), table.to_owned()),
        clock: clock.clone(),
        random: Random::seeded(1),
    };
    let sandbox = Sandbox::new(connection.dynamodb(), table.to_owned());
    let function = function.to_owned();
    Box::pin(async move {
        let result = match function.as_str() {
            "${InventoryStep}" => inventory::handle(&inventory::Context { orders }, event).await,
            "${ConfirmStep}" => confirm::handle(&confirm::Context { orders }, event).await,
            "${PaymentStep}" => {
                let gateway = Gateway::Sandbox(sandbox);
                payment::handle(&payment::Context { orders, gateway }, event).await
            }
            other => panic!("no function is substituted for {other}"),
        };
        let name = |error: StepError| Diagnostic::from(error).error_type;
        result.map(drop).map_err(name)
    })
}
