//! The saga's functions and the service that runs them, without anything deployed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use functions::orders::{
    execution::Executions,
    steps::{Orders, StepError, confirm, inventory, payment},
};
use futures_util::future::LocalBoxFuture;
use lambda_runtime::{Context as LambdaContext, Diagnostic, LambdaEvent};
use serde_json::Value;
use shared::{
    orders::store::OrderStore,
    payments::{gateway::Gateway, sandbox::Sandbox},
    platform::{aws::Connection, clock::Clock, config::OrderSaga, ids::Random},
};

use super::machine::{self, Execution, Machine, SAGA, Standing};
use crate::support::faults::Plan;

/// The executions that there are, by name.
pub(crate) type Kept = Arc<Mutex<BTreeMap<String, Execution>>>;

/// One of the executions that are at work, by name.
pub(crate) fn at_work(executions: &Kept) -> Option<(String, Execution)> {
    let executions = executions.lock().expect("nobody panics at it");
    let mut running = executions
        .iter()
        .filter(|(_, execution)| execution.standing == Standing::Running);
    running
        .next()
        .map(|(name, execution)| (name.clone(), execution.clone()))
}

/// The service that keeps executions, for a process that goes by `plan`.
pub(crate) fn service(
    machine: &Arc<Machine>,
    executions: &Kept,
    is_redrivable: bool,
    plan: &Arc<Plan>,
) -> Executions {
    let http = machine::service(machine, executions, is_redrivable);
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
