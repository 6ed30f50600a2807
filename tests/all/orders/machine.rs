//! An interpreter of the order's state machine, of as much of the Amazon States Language as it uses:
//! Task, Choice, Succeed and Fail; Retry, Catch and Assign.
//! <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html>

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use shared::{platform::clock::Clock, testing::answering};

use crate::support::tree;

/// The state machine's name, and what those of its executions begin with.
pub(crate) const SAGA: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:orders";
const EXECUTION: &str = "arn:aws:states:us-east-1:000000000000:execution:orders:";

/// How an execution stands, in the service's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Running,
    Succeeded,
    Failed,
}

impl Standing {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// An execution: where it is, and what it knows. A failed one goes on in the state in which it failed.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) input: Value,
    pub(crate) standing: Standing,
    /// States entered so far, each of which is a transition that is paid for.
    pub(crate) entered: u32,
    state: String,
    variables: Map<String, Value>,
}

/// The error by which a task says that its execution was stopped by hand: it fails where it is.
pub(crate) const ABORTED: &str = "aborted";

/// What a task calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A function, by its name in the definition, with a payload.
    Function(String, Value),
    /// A message to the notification queue.
    Notification(Value),
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Machine {
    definition: Value,
}

impl Machine {
    /// The one that is deployed.
    pub(crate) fn read() -> Self {
        let text = tree::source("infra/order-saga.asl.yaml");
        Self {
            definition: yaml_serde::from_str(&text).expect("the definition is YAML"),
        }
    }

    /// An execution that has not entered a state.
    pub(crate) fn begin(&self, input: Value) -> Execution {
        Execution {
            input,
            standing: Standing::Running,
            entered: 0,
            state: text(&self.definition["StartAt"]).to_owned(),
            variables: Map::new(),
        }
    }

    /// Runs an execution until it ends. Waiting takes no time but the clock's.
    pub(crate) async fn run(
        &self,
        execution: &mut Execution,
        clock: &Clock,
        call: impl AsyncFn(Call) -> Result<(), String>,
    ) {
        while execution.standing == Standing::Running {
            let state = &self.definition["States"][&execution.state];
            execution.entered += 1;
            match text(&state["Type"]) {
                "Choice" => execution.state = chosen(state, &execution.input),
                "Succeed" => execution.standing = Standing::Succeeded,
                "Fail" => execution.standing = Standing::Failed,
                "Task" => match attempt(state, execution, clock, &call).await {
                    Ok(()) => go_on(state, state, execution),
                    Err(error) if error == ABORTED => execution.standing = Standing::Failed,
                    Err(error) => match handler(&state["Catch"], &error) {
                        Some(at) => go_on(&state["Catch"][at], state, execution),
                        None => execution.standing = Standing::Failed,
                    },
                },
                other => panic!("{other} is not interpreted"),
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

/// Takes the transition that `step`, a state or one of its catchers, says.
fn go_on(step: &Value, state: &Value, execution: &mut Execution) {
    if let Some(assigned) = step["Assign"].as_object() {
        execution.variables.extend(assigned.clone());
    }
    if let Some(next) = step["Next"].as_str() {
        next.clone_into(&mut execution.state);
    } else {
        assert_eq!(state["End"], true, "a state goes on or ends");
        execution.standing = Standing::Succeeded;
    }
}

fn chosen(state: &Value, input: &Value) -> String {
    let holds = |choice: &&Value| {
        let condition = text(&choice["Condition"]);
        let wanted = condition
            .strip_prefix("{% $states.input.action = '")
            .and_then(|rest| rest.strip_suffix("' %}"));
        input["action"] == wanted.expect("a choice is by the action")
    };
    let choice = state["Choices"]
        .as_array()
        .and_then(|all| all.iter().find(holds));
    text(choice.map_or(&state["Default"], |choice| &choice["Next"])).to_owned()
}

/// The first of a list of retriers or catchers that is for `error`.
fn handler(handlers: &Value, error: &str) -> Option<usize> {
    let is_for = |handler: &Value| {
        let names = handler["ErrorEquals"]
            .as_array()
            .expect("errors are a list");
        names
            .iter()
            .any(|name| name == error || name == "States.ALL")
    };
    handlers.as_array()?.iter().position(is_for)
}

/// Calls a task until it succeeds or is not to be tried again.
async fn attempt(
    state: &Value,
    execution: &Execution,
    clock: &Clock,
    call: &impl AsyncFn(Call) -> Result<(), String>,
) -> Result<(), String> {
    let mut tries = BTreeMap::new();
    for count in 0.. {
        let Err(error) = call(called(state, execution, count)).await else {
            return Ok(());
        };
        let Some(at) = handler(&state["Retry"], &error).filter(|_| error != ABORTED) else {
            return Err(error);
        };
        let retrier = &state["Retry"][at];
        let number = |name: &str| retrier[name].as_u64();
        let tries = tries.entry(at).or_insert(0);
        if *tries >= number("MaxAttempts").unwrap_or(3) {
            return Err(error);
        }
        let pause = number("IntervalSeconds").unwrap_or(1)
            * number("BackoffRate")
                .unwrap_or(2)
                .pow(u32::try_from(*tries).unwrap());
        let pause = pause.min(number("MaxDelaySeconds").unwrap_or(u64::MAX));
        *tries += 1;
        clock.advance(SignedDuration::from_secs(pause.try_into().unwrap()));
    }
    unreachable!("every retrier has a last attempt")
}

fn called(state: &Value, execution: &Execution, count: u64) -> Call {
    let arguments = &state["Arguments"];
    match text(&state["Resource"]) {
        "arn:aws:states:::lambda:invoke" => {
            let payload = text(&arguments["Payload"]);
            let action = payload
                .split_once("$merge([$states.context.Execution.Input,")
                .and_then(|(_, rest)| rest.trim().strip_prefix("{'action': '"))
                .and_then(|rest| {
                    rest.split_once("', 'attempt': $states.context.State.RetryCount}])")
                })
                .map(|(action, _)| action);
            let mut input = execution.input.clone();
            input["action"] = json!(action.expect("a payload is the input, action and attempt"));
            input["attempt"] = json!(count);
            Call::Function(text(&arguments["FunctionName"]).to_owned(), input)
        }
        "arn:aws:states:::sqs:sendMessage" => {
            let body = text(&arguments["MessageBody"]);
            let members =
                "{% {'order_id': $states.context.Execution.Input.order_id, 'kind': $kind} %}";
            assert_eq!(body, members);
            let kind = &execution.variables["kind"];
            Call::Notification(json!({"order_id": execution.input["order_id"], "kind": kind}))
        }
        other => panic!("{other} is not interpreted"),
    }
}

impl Execution {
    /// Has a failed execution go on.
    pub(crate) fn redrive(&mut self) -> bool {
        let is_failed = self.standing == Standing::Failed;
        if is_failed {
            self.standing = Standing::Running;
        }
        is_failed
    }
}

/// The service that keeps executions of `machine`.
pub(crate) fn service(
    machine: &Arc<Machine>,
    executions: &Arc<Mutex<BTreeMap<String, Execution>>>,
    is_redrivable: bool,
) -> SharedHttpClient {
    let (executions, machine) = (executions.clone(), machine.clone());
    answering(move |request| {
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
    })
}
