use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_sdk_sfn::config::retry::RetryConfig;
use jiff::Timestamp;
use serde_json::Value;
use shared::{
    orders::{
        event::{Happened, Reference, apply},
        model::CancelReason,
        rules::{Decision, RefundOf, request_cancellation, request_refund},
        testing,
    },
    platform::{
        aws::Connection,
        telemetry::{Invocation, TraceContext, scope},
    },
    testing::answering,
};

use super::*;

const SAGA: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:orders";

/// Step Functions: the input and status of each execution, by name.
#[derive(Debug, Default)]
pub(in crate::orders) struct Machine {
    pub(in crate::orders) executions: BTreeMap<String, (Value, &'static str)>,
    pub(in crate::orders) redrivable: bool,
    pub(in crate::orders) down: bool,
}

impl Machine {
    pub(in crate::orders) fn serve(self) -> (Executions, Arc<Mutex<Self>>) {
        let machine = Arc::new(Mutex::new(self));
        let served = machine.clone();
        let http = answering(move |request| {
            let target = request.headers()["x-amz-target"].to_str().unwrap();
            let operation = target.rsplit('.').next().unwrap().to_owned();
            let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let answer = served.lock().unwrap().answer(&operation, &body);
            let (status, body) = match answer {
                Ok(body) => (200, body),
                Err(code) => (400, json!({"__type": code, "message": "no"})),
            };
            let response = http::Response::builder().status(status);
            response.body(body.to_string()).unwrap()
        });
        let client = Connection::to_emulator("http://127.0.0.1:1", http).step_functions();
        let config = client.config().to_builder();
        let config = config.retry_config(RetryConfig::disabled()).build();
        let executions = Executions::new(Client::from_conf(config), OrderSaga::new(SAGA));
        (executions, machine)
    }

    fn answer(&mut self, operation: &str, body: &Value) -> Result<Value, &'static str> {
        if self.down {
            return Err("ServiceUnavailable");
        }
        let arn = body["executionArn"].as_str().unwrap_or_default();
        let name = arn.strip_prefix("arn:aws:states:us-east-1:000000000000:execution:orders:");
        match operation {
            "StartExecution" => {
                assert_eq!(body["stateMachineArn"], SAGA);
                let name = body["name"].as_str().unwrap().to_owned();
                assert!(name.len() <= 80, "{name}");
                if self.executions.contains_key(&name) {
                    return Err("ExecutionAlreadyExists");
                }
                let input = serde_json::from_str(body["input"].as_str().unwrap()).unwrap();
                self.executions.insert(name, (input, "RUNNING"));
                Ok(json!({"executionArn": arn, "startDate": 1.0}))
            }
            "DescribeExecution" => {
                let (_, status) = &self.executions[name.unwrap()];
                Ok(json!({
                    "executionArn": arn, "stateMachineArn": SAGA, "startDate": 1.0,
                    "status": status,
                }))
            }
            "RedriveExecution" if self.redrivable => {
                self.executions.get_mut(name.unwrap()).unwrap().1 = "RUNNING";
                Ok(json!({"redriveDate": 1.0}))
            }
            "RedriveExecution" => Err("ExecutionNotRedrivable"),
            other => panic!("{other} is not what an order needs"),
        }
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn after(order: Order, decision: &Decision) -> Order {
    let Decision::Change(change) = decision else {
        panic!("nothing to change");
    };
    let id = order.id.clone();
    apply(Some(order), &id, &change.happened, now()).unwrap()
}

fn placed() -> Order {
    let happened = testing::created("ada", "sandbox-approve", &[("tea", 2)]);
    testing::order(1, &happened, now())
}

fn paid() -> Order {
    let amount = placed().totals.total;
    let private = Reference {
        reference: "sandbox:1".to_owned(),
    };
    let expires_at = now();
    [
        Happened::Reserved { expires_at },
        Happened::PaymentStarted {
            expires_at,
            private,
        },
        Happened::PaymentAuthorised,
        Happened::Confirmed,
        Happened::Paid { amount, lines: 1 },
    ]
    .iter()
    .fold(placed(), |order, happened| {
        apply(Some(order.clone()), &order.id, happened, now()).unwrap()
    })
}

fn started(machine: &Mutex<Machine>) -> Vec<(String, Value)> {
    let machine = machine.lock().unwrap();
    let started = machine.executions.iter();
    started
        .map(|(name, (input, _))| (name.clone(), input.clone()))
        .collect()
}

#[tokio::test]
async fn an_execution_is_named_after_what_the_order_waits_for_and_carries_the_request_s_ids() {
    let (executions, machine) = Machine::default().serve();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::resolve(Some("request-1"), Some(parent), now(), [0; 10]);
    let cancelled = request_cancellation(&paid(), CancelReason::Customer, None).unwrap();
    let refund_id = "019aa1b2-7c00-7000-8000-000000000001";
    let refunded = request_refund(&paid(), refund_id, RefundOf::Everything, true, None, now());
    for order in [
        placed(),
        after(paid(), &cancelled),
        after(paid(), &refunded.unwrap()),
    ] {
        let begun = scope(
            Invocation::begin(None, trace.clone()),
            executions.begin(&order),
        );
        assert_eq!(begun.await.unwrap(), Begun::New);
        assert_eq!(executions.begin(&order).await.unwrap(), Begun::Exists);
    }
    assert_eq!(executions.begin(&paid()).await.unwrap(), Begun::NotNeeded);
    let id = placed().id;
    let input = |action: &str| {
        json!({
            "order_id": id, "action": action, "correlation_id": "request-1", "traceparent": parent,
        })
    };
    let mut refund = input("refund");
    refund["refund_id"] = json!(refund_id);
    assert_eq!(
        started(&machine),
        [
            (id.to_string(), input("place")),
            (format!("{id}-cancel"), input("cancel")),
            (format!("{id}-refund-{refund_id}"), refund),
        ]
    );
}

#[tokio::test]
async fn outside_a_request_an_execution_is_found_by_its_order() {
    let (executions, machine) = Machine::default().serve();
    executions.begin(&placed()).await.unwrap();
    let (_, input) = started(&machine).remove(0);
    assert_eq!(input["correlation_id"], json!(placed().id));
    assert_eq!(input.get("traceparent"), None);
}

#[tokio::test]
async fn an_awaited_execution_is_kept_at_work_in_the_way_that_is_left() {
    let id = placed().id.to_string();
    let again = format!("{id}-v1");
    let kept = async |found: &[(&str, &'static str)], redrivable| {
        let executions = found.iter();
        let executions =
            executions.map(|(name, status)| ((*name).to_owned(), (json!({}), *status)));
        let (executions, machine) = Machine {
            executions: executions.collect(),
            redrivable,
            down: false,
        }
        .serve();
        let kept = executions.keep(&placed()).await;
        let machine = machine.lock().unwrap();
        let running = machine
            .executions
            .iter()
            .filter(|(_, (_, status))| *status == "RUNNING");
        (
            kept.ok(),
            running.map(|(name, _)| name.clone()).collect::<Vec<_>>(),
        )
    };
    let first = vec![id.clone()];
    assert_eq!(kept(&[], true).await, (Some(Kept::Begun), first.clone()));
    assert_eq!(
        kept(&[(&id, "RUNNING")], true).await,
        (Some(Kept::AtWork), first.clone())
    );
    assert_eq!(
        kept(&[(&id, "PENDING_REDRIVE")], true).await,
        (Some(Kept::AtWork), Vec::new())
    );
    for ended in ["FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED"] {
        let redriven = kept(&[(&id, ended)], true).await;
        assert_eq!(redriven, (Some(Kept::Begun), first.clone()), "{ended}");
        let anew = kept(&[(&id, ended)], false).await;
        assert_eq!(anew, (Some(Kept::Begun), vec![again.clone()]), "{ended}");
    }
    let other = kept(&[(&id, "FAILED"), (&again, "RUNNING")], false).await;
    assert_eq!(other, (Some(Kept::AtWork), vec![again.clone()]));
    let none = kept(&[(&id, "FAILED"), (&again, "FAILED")], false).await;
    assert_eq!(none, (None, Vec::new()));
}
