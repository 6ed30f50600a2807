//! The template: every function has what a function needs, and every alarm can ring.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::template::{of_type, resources, target, template};
use crate::support::tree;

/// The functions by logical id, with the template's globals filled in.
fn functions() -> BTreeMap<String, Value> {
    let globals = template()["Globals"]["Function"].clone();
    let functions = of_type("AWS::Serverless::Function");
    assert!(!functions.is_empty(), "the template has functions");
    functions
        .into_iter()
        .map(|(id, function)| {
            let mut merged = globals.clone();
            merge(&mut merged, &function["Properties"]);
            (id, merged)
        })
        .collect()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn binary(function: &Value) -> &str {
    let uri = function["CodeUri"].as_str().expect("a function has code");
    uri.strip_prefix("target/lambda/")
        .expect("the code is where the build puts it")
}

fn events(function: &Value) -> impl Iterator<Item = &Value> {
    function["Events"]
        .as_object()
        .into_iter()
        .flat_map(|events| events.values())
}

#[test]
fn every_function_traces_and_logs_into_a_group_of_its_own_with_an_end() {
    let resources = resources();
    let mut groups = BTreeSet::new();
    for (id, function) in functions() {
        assert_eq!(function["Tracing"], "Active", "{id}");
        let group = target(&function["LoggingConfig"]["LogGroup"])
            .unwrap_or_else(|| panic!("{id} names a log group"));
        assert_eq!(resources[group]["Type"], "AWS::Logs::LogGroup", "{id}");
        assert!(
            !resources[group]["Properties"]["RetentionInDays"].is_null(),
            "{group} keeps logs for ever"
        );
        assert!(groups.insert(group.to_owned()), "{group} has two functions");
    }
}

/// What an alarm looks at: one metric, or those that it calculates with.
fn watched(alarm: &Value) -> Vec<&Value> {
    let alarm = &alarm["Properties"];
    match alarm["Metrics"].as_array() {
        Some(metrics) => metrics
            .iter()
            .map(|metric| &metric["MetricStat"]["Metric"])
            .filter(|metric| !metric.is_null())
            .collect(),
        None => vec![alarm],
    }
}

#[test]
fn every_function_has_its_alarms_and_they_ring_somewhere() {
    let alarms = of_type("AWS::CloudWatch::Alarm");
    for id in functions().keys() {
        for metric in ["Errors", "Throttles", "Duration"] {
            let watches = |alarm: &&Value| {
                watched(alarm).iter().any(|watched| {
                    watched["Namespace"] == "AWS/Lambda"
                        && watched["MetricName"] == metric
                        && watched["Dimensions"][0]["Name"] == "FunctionName"
                        && target(&watched["Dimensions"][0]["Value"]) == Some(id)
                })
            };
            assert_eq!(
                alarms.values().filter(watches).count(),
                1,
                "alarm on {metric} of {id}"
            );
        }
    }
    for (id, alarm) in &alarms {
        let topic = target(&alarm["Properties"]["AlarmActions"][0]);
        assert_eq!(topic, Some("AlarmTopic"), "{id}");
        // What has to happen again and again is missed by the lack of its figures.
        let missing = match alarm["Properties"]["ComparisonOperator"].as_str() {
            Some("LessThanThreshold") => "breaching",
            _ => "notBreaching",
        };
        assert_eq!(alarm["Properties"]["TreatMissingData"], missing, "{id}");
    }
}

/// An alarm on a metric that does not exist never rings, and looks just like one that does.
#[test]
fn every_alarm_watches_a_metric_that_exists() {
    let resources = resources();
    let services: BTreeSet<String> = functions()
        .values()
        .map(|function| service(function).to_owned())
        .collect();
    let mappings = template()["Mappings"].clone();
    let namespace = template()["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"].clone();
    let handlers: String = tree::files_of("functions/src", "rs")
        .iter()
        .map(|name| tree::source(name))
        .collect();
    let alarms = of_type("AWS::CloudWatch::Alarm");
    let looked_at = alarms
        .iter()
        .flat_map(|(id, alarm)| watched(alarm).into_iter().map(move |metric| (id, metric)));
    for (id, alarm) in looked_at {
        let dimensions = alarm["Dimensions"]
            .as_array()
            .expect("an alarm has dimensions");
        assert_eq!(dimensions.len(), 1, "{id}");
        let (name, value) = (&dimensions[0]["Name"], &dimensions[0]["Value"]);
        match alarm["Namespace"].as_str() {
            Some("AWS/Lambda") => {
                let function = target(value).unwrap_or_else(|| panic!("{id} names a function"));
                assert_eq!(
                    (name.as_str(), &resources[function]["Type"]),
                    (Some("FunctionName"), &"AWS::Serverless::Function".into()),
                    "{id}"
                );
            }
            Some("AWS/States") => {
                let machine = target(value).unwrap_or_else(|| panic!("{id} names a machine"));
                assert_eq!(
                    (name.as_str(), &resources[machine]["Type"]),
                    (
                        Some("StateMachineArn"),
                        &"AWS::Serverless::StateMachine".into()
                    ),
                    "{id}"
                );
            }
            Some("AWS/SQS") => {
                assert_eq!(value["Fn::GetAtt"][1], "QueueName", "{id}");
                let queue = target(value).unwrap_or_else(|| panic!("{id} names a queue"));
                assert_eq!(
                    (name.as_str(), &resources[queue]["Type"]),
                    (Some("QueueName"), &"AWS::SQS::Queue".into()),
                    "{id}"
                );
            }
            Some(own) if namespace == own => {
                assert_eq!(
                    name, "service",
                    "{id}: our metrics carry no other dimension"
                );
                let found = &value["Fn::FindInMap"];
                let map = |at: usize| found[at].as_str().unwrap_or_default();
                let mapped = &mappings[map(0)][map(1)][map(2)];
                let service = value.as_str().or(mapped.as_str());
                let service = service.expect("a service is a word");
                assert!(
                    services.contains(service),
                    "{id}: no function calls itself {service}"
                );
                let metric = alarm["MetricName"]
                    .as_str()
                    .expect("an alarm names its metric");
                assert!(
                    handlers.contains(&format!("\"{metric}\"")),
                    "{id}: nothing emits {metric}"
                );
            }
            other => panic!("{id}: nobody emits into {other:?}"),
        }
    }
}

#[test]
fn what_is_given_up_on_lands_in_a_queue_that_is_watched() {
    let (alarms, queues) = (
        of_type("AWS::CloudWatch::Alarm"),
        of_type("AWS::SQS::Queue"),
    );
    let is_watched = |queue: &str| {
        alarms.values().any(|alarm| {
            alarm["Properties"]["MetricName"] == "ApproximateNumberOfMessagesVisible"
                && target(&alarm["Properties"]["Dimensions"][0]["Value"]) == Some(queue)
        })
    };
    // Whoever invokes an HTTP function waits for its answer, and a scheduled run is followed by the
    // next; all others have nobody.
    let is_given_up = |event: &Value| event["Type"] != "Api" && event["Type"] != "Schedule";
    let asynchronous = functions()
        .into_iter()
        .filter(|(_, function)| events(function).any(is_given_up));
    for (id, function) in asynchronous {
        let destination = &function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"];
        assert_eq!(destination["Type"], "SQS", "{id}");
        let queue =
            target(&destination["Destination"]).unwrap_or_else(|| panic!("{id} has a destination"));
        assert!(queues.contains_key(queue) && is_watched(queue), "{id}");
    }
    for (id, source) in of_type("AWS::Lambda::EventSourceMapping") {
        let source = &source["Properties"];
        assert_eq!(
            source["FunctionResponseTypes"][0], "ReportBatchItemFailures",
            "{id}"
        );
        let from = target(&source["EventSourceArn"]).expect("a source has a name");
        if source["EventSourceArn"]["Fn::GetAtt"][1] == "StreamArn" {
            assert_eq!(source["BisectBatchOnFunctionError"], true, "{id}");
            assert!(
                source["MaximumRetryAttempts"].is_u64()
                    && source["MaximumRecordAgeInSeconds"].is_u64(),
                "{id}: one batch stops its shard for a day"
            );
            let given_up = &source["DestinationConfig"]["OnFailure"]["Destination"];
            assert!(
                is_watched(target(given_up).expect("a stream gives up somewhere")),
                "{id}"
            );
            continue;
        }
        let queue = &queues[from]["Properties"];
        let redrive = &queue["RedrivePolicy"];
        assert_eq!(redrive["maxReceiveCount"], 5, "{id}");
        assert!(
            is_watched(target(&redrive["deadLetterTargetArn"]).expect("a queue has dead letters")),
            "{id}"
        );
        let function =
            &functions()[target(&source["FunctionName"]).expect("a source has a function")];
        let (visibility, timeout) = (
            queue["VisibilityTimeout"].as_u64(),
            function["Timeout"].as_u64(),
        );
        // https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
        assert!(
            visibility >= timeout.map(|timeout| 6 * timeout),
            "{id}: a message comes back while it is worked on"
        );
    }
}

#[test]
fn a_scheduled_run_is_not_repeated_but_followed_by_the_next_and_missed_when_it_does_not_come() {
    let alarms = of_type("AWS::CloudWatch::Alarm");
    let mut scheduled = functions();
    scheduled.retain(|_, function| events(function).any(|event| event["Type"] == "Schedule"));
    assert!(scheduled.contains_key("SensorAggregate"), "{scheduled:?}");
    for (id, function) in scheduled {
        let retries = &function["EventInvokeConfig"]["MaximumRetryAttempts"];
        assert_eq!(*retries, 0, "{id}");
        let misses = |alarm: &Value| {
            let alarm = &alarm["Properties"];
            alarm["MetricName"] == "Invocations"
                && alarm["ComparisonOperator"] == "LessThanThreshold"
                && target(&alarm["Dimensions"][0]["Value"]) == Some(&id)
        };
        assert!(alarms.values().any(misses), "{id}");
    }
}

fn service(function: &Value) -> &str {
    let name = &function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"];
    name.as_str().expect("a function has a service name")
}

#[test]
fn a_function_calls_itself_what_its_binary_is_called() {
    for (id, function) in functions() {
        assert_eq!(service(&function), binary(&function), "{id}");
    }
}

/// The variables that each configuration type reads, from its definition.
fn settings() -> BTreeMap<String, String> {
    let text = tree::source("shared/src/platform/config.rs");
    let mut settings = BTreeMap::new();
    for (at, mark) in text.match_indices("setting!(") {
        let body = text[at + mark.len()..]
            .split(");")
            .next()
            .unwrap_or_default();
        let last = body
            .lines()
            .rfind(|line| line.contains('"'))
            .unwrap_or_default();
        if let Some((name, variable)) = last.trim().split_once(',') {
            settings.insert(
                name.to_owned(),
                variable.trim().trim_matches('"').to_owned(),
            );
        }
    }
    for (at, mark) in text.match_indices("impl ") {
        let body = text[at + mark.len()..]
            .split("\n}")
            .next()
            .unwrap_or_default();
        let name = body.split([' ', '<']).next().unwrap_or_default();
        if let Some((_, rest)) = body.split_once("VARIABLE: &'static str = \"") {
            settings.insert(
                name.to_owned(),
                rest.split('"').next().unwrap_or_default().to_owned(),
            );
        }
    }
    settings
}

/// The handler's file that a main takes its context from, with what the saga's steps have in common.
fn handler(binary: &str) -> String {
    let main = tree::source(&format!("functions/src/bin/{binary}.rs"));
    let rest = main
        .lines()
        .filter_map(|line| line.strip_prefix("use functions::"))
        .find(|path| path.contains("Context"))
        .expect("a main uses a context");
    let path: Vec<&str> = rest
        .split("::")
        .take_while(|part| !part.starts_with(['{', 'C']))
        .collect();
    let source = tree::source(&format!("functions/src/{}.rs", path.join("/")));
    if source.contains("Orders::from_env()") {
        return source + &tree::source("functions/src/orders/steps/mod.rs");
    }
    source
}

/// Variables that no source of ours reads: what is logged goes by one, the C library by the other.
const OF_LIBRARIES: [&str; 2] = ["POWERTOOLS_SERVICE_NAME", "MALLOC_ARENA_MAX"];

#[test]
fn a_function_is_given_the_variables_that_it_reads_and_no_others() {
    let settings = settings();
    for known in ["SalesTable", "ImportQueue", "CursorKey"] {
        assert!(settings.contains_key(known), "{settings:?}");
    }
    let common = template()["Globals"]["Function"]["Environment"]["Variables"].clone();
    for (id, function) in functions() {
        let source = handler(binary(&function));
        let reads: BTreeSet<&str> = settings
            .iter()
            .filter(|(name, _)| source.contains(&format!("{name}::from_env()")))
            .map(|(_, variable)| variable.as_str())
            .collect();
        let given = function["Environment"]["Variables"]
            .as_object()
            .expect("a function has variables");
        let given: BTreeSet<&str> = given
            .keys()
            .map(String::as_str)
            .filter(|name| common.get(*name).is_none() && !OF_LIBRARIES.contains(name))
            .collect();
        assert_eq!(reads, given, "{id}");
    }
}

/// The statements of every policy in the template.
fn statements(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Array(statements)) = members.get("Statement") {
                found.extend(statements.iter().cloned());
            }
            members
                .values()
                .for_each(|member| statements(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| statements(item, found)),
        _ => {}
    }
}

/// What can only be given on everything: a telephone number and the delivery of logs have no ARN.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html>
const WITHOUT_RESOURCE: [&str; 9] = [
    "sns:Publish",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
];

#[test]
fn rights_are_given_action_by_action_and_not_on_everything() {
    let mut found = Vec::new();
    statements(&template(), &mut found);
    let allowed: Vec<_> = found
        .into_iter()
        .filter(|statement| statement["Effect"] == "Allow")
        .collect();
    assert!(
        allowed.len() > functions().len(),
        "every function has rights"
    );
    let words = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(items) => items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            value => value.as_str().map(str::to_owned).into_iter().collect(),
        }
    };
    for statement in allowed {
        assert!(
            words(&statement["Action"])
                .iter()
                .all(|action| !action.contains('*')),
            "{statement}"
        );
        assert!(
            words(&statement["Action"])
                .iter()
                .all(|action| WITHOUT_RESOURCE.contains(&action.as_str()))
                || words(&statement["Resource"])
                    .iter()
                    .all(|resource| resource != "*"),
            "{statement}"
        );
        assert!(
            statement.get("NotAction").is_none() && statement.get("NotResource").is_none(),
            "{statement}"
        );
    }
}

/// The routes of the template as `(method, path, is public)`.
fn routes() -> BTreeSet<(String, String, bool)> {
    let mut routes = BTreeSet::new();
    for function in functions().values() {
        for event in events(function).filter(|event| event["Type"] == "Api") {
            let event = &event["Properties"];
            let text = |name: &str| {
                event[name]
                    .as_str()
                    .unwrap_or_else(|| panic!("a route has a {name}"))
                    .to_owned()
            };
            let is_public = event["Auth"]["Authorizer"] == "NONE";
            assert!(
                routes.insert((text("Method"), text("Path"), is_public)),
                "{event} is there twice"
            );
        }
    }
    routes
}

#[test]
fn the_routes_are_those_of_the_document() {
    let document =
        serde_json::to_value(functions::openapi::document()).expect("the document is JSON");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"]
        .as_object()
        .expect("the document has paths")
    {
        for (method, operation) in item.as_object().expect("a path has methods") {
            let is_public = operation["security"] == serde_json::json!([{}]);
            documented.insert((method.clone(), path.clone(), is_public));
        }
    }
    assert_eq!(routes(), documented);
}

#[test]
fn a_route_is_private_until_it_says_otherwise() {
    for (id, api) in of_type("AWS::Serverless::Api") {
        let auth = &api["Properties"]["Auth"];
        let authorizer = auth["DefaultAuthorizer"]
            .as_str()
            .unwrap_or_else(|| panic!("{id} has a default authorizer"));
        assert_eq!(
            target(&auth["Authorizers"][authorizer]["UserPoolArn"]),
            Some("UserPool"),
            "{id}"
        );
    }
    let public: BTreeSet<(String, String)> = routes()
        .into_iter()
        .filter(|route| route.2)
        .map(|route| (route.0, route.1))
        .collect();
    let wanted = [
        "/api/catalog/categories/{id}",
        "/api/catalog/categories/{id}/avg_price",
        "/api/catalog/categories/{id}/breadcrumbs",
        "/api/catalog/categories/{id}/products",
        "/api/catalog/featured",
        "/api/catalog/products",
        "/api/catalog/products/{id}",
        "/api/catalog/products/{id}/related",
        "/api/catalog/tree",
        "/health",
        "/health/live",
        "/health/ready",
    ];
    let wanted = wanted.map(|path| ("get".to_owned(), path.to_owned()));
    assert_eq!(public, BTreeSet::from(wanted));
}

#[test]
fn a_rule_delivers_to_queues_that_take_its_events_alone_and_sets_aside_what_it_cannot_deliver() {
    let policies = of_type("AWS::SQS::QueuePolicy");
    let takes = |queue: &str, rule: &str| {
        policies.values().any(|policy| {
            let policy = &policy["Properties"];
            let statement = &policy["PolicyDocument"]["Statement"][0];
            let from = &statement["Condition"]["ArnEquals"]["aws:SourceArn"];
            let from = from
                .as_array()
                .map_or_else(|| vec![from], |rules| rules.iter().collect());
            target(&policy["Queues"][0]) == Some(queue)
                && statement["Principal"]["Service"] == "events.amazonaws.com"
                && statement["Action"] == "sqs:SendMessage"
                && from.iter().any(|arn| target(arn) == Some(rule))
        })
    };
    let rules = of_type("AWS::Events::Rule");
    assert!(!rules.is_empty(), "the template has rules");
    for (id, rule) in rules {
        let rule = &rule["Properties"];
        assert_eq!(target(&rule["EventBusName"]), Some("EventBus"), "{id}");
        for to in rule["Targets"].as_array().expect("a rule has targets") {
            for arn in [&to["Arn"], &to["DeadLetterConfig"]["Arn"]] {
                let queue = target(arn).unwrap_or_else(|| panic!("{id} names a queue"));
                assert!(takes(queue, &id), "{queue} refuses what {id} sends");
            }
        }
    }
}

fn saga() -> Value {
    yaml_serde::from_str(&tree::source("infra/order-saga.asl.yaml")).expect("it is YAML")
}

/// The states of the saga by name.
fn states() -> BTreeMap<String, Value> {
    serde_json::from_value(saga()["States"].clone()).expect("a machine has states")
}

/// The `${…}` of the saga.
fn placeholders() -> BTreeSet<String> {
    let text = saga().to_string();
    let found = text.split("${").skip(1);
    found
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn the_saga_names_functions_and_queues_of_the_template_and_may_use_just_these() {
    let functions = functions();
    for (id, machine) in of_type("AWS::Serverless::StateMachine") {
        let machine = &machine["Properties"];
        assert_eq!(
            machine["DefinitionUri"], "infra/order-saga.asl.yaml",
            "{id}"
        );
        let given = machine["DefinitionSubstitutions"]
            .as_object()
            .expect("a machine has substitutions");
        let names: BTreeSet<String> = given.keys().cloned().collect();
        assert_eq!(names, placeholders(), "{id}");
        let mut statements_of = Vec::new();
        statements(&machine["Policies"], &mut statements_of);
        let may = |action: &str| -> BTreeSet<String> {
            statements_of
                .iter()
                .filter(|statement| statement["Action"] == action)
                .flat_map(|statement| match &statement["Resource"] {
                    Value::Array(resources) => resources.clone(),
                    resource => vec![resource.clone()],
                })
                .filter_map(|resource| target(&resource).map(str::to_owned))
                .collect()
        };
        let mut used = BTreeMap::<&str, BTreeSet<String>>::new();
        for (name, state) in states() {
            let (action, place) = match state["Resource"].as_str() {
                Some("arn:aws:states:::lambda:invoke") => ("lambda:InvokeFunction", "FunctionName"),
                Some("arn:aws:states:::sqs:sendMessage") => ("sqs:SendMessage", "QueueUrl"),
                None => continue,
                Some(other) => panic!("{name} uses {other}"),
            };
            let placeholder = state["Arguments"][place].as_str().unwrap_or_default();
            let placeholder = placeholder.trim_start_matches("${").trim_end_matches('}');
            let to = target(&given[placeholder]).expect("a substitution names a resource");
            used.entry(action).or_default().insert(to.to_owned());
            if let Some(function) = functions.get(to) {
                assert!(
                    state["TimeoutSeconds"].as_u64() > function["Timeout"].as_u64(),
                    "{name}: a retry would overtake a run that still works"
                );
            }
        }
        for (action, resources) in used {
            assert_eq!(may(action), resources, "{id}: {action}");
        }
    }
}

/// Where a state may lead.
fn followers(state: &Value) -> Vec<String> {
    let branches = ["Catch", "Choices"].map(|list| state[list].as_array());
    let branches = branches.into_iter().flatten().flatten();
    branches
        .map(|branch| &branch["Next"])
        .chain([&state["Next"], &state["Default"]])
        .filter_map(|next| next.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn every_state_of_the_saga_is_reached_and_leads_to_one_that_is_there() {
    let states = states();
    let mut reached = BTreeSet::new();
    let mut next = vec![saga()["StartAt"].as_str().expect("it begins").to_owned()];
    while let Some(name) = next.pop() {
        let state = states
            .get(&name)
            .unwrap_or_else(|| panic!("there is no state {name}"));
        if reached.insert(name) {
            next.extend(followers(state));
        }
    }
    assert_eq!(reached, states.keys().cloned().collect());
}

#[test]
fn an_order_that_succeeds_takes_at_most_eight_transitions() {
    let states = states();
    let start = saga()["StartAt"].as_str().expect("it begins").to_owned();
    let first = &states[&start]["Choices"][0];
    assert!(
        first["Condition"]
            .as_str()
            .is_some_and(|rule| rule.contains("'place'"))
    );
    let mut path = vec![
        start,
        first["Next"].as_str().expect("it goes on").to_owned(),
    ];
    while let Some(next) = states[&path[path.len() - 1]]["Next"].as_str() {
        path.push(next.to_owned());
        assert!(path.len() <= 8, "{path:?}");
    }
    assert_eq!(
        path,
        [
            "ChooseAction",
            "ReserveInventory",
            "AuthorisePayment",
            "ConfirmOrder",
            "CapturePayment",
            "NotifyCustomer"
        ]
    );
}

#[test]
fn each_step_of_the_saga_is_retried_as_promised() {
    for (name, state) in states() {
        if state["Type"] != "Task" {
            continue;
        }
        let retries = state["Retry"].as_array().expect("a step is retried");
        let (last, first) = retries.split_last().expect("a step is retried");
        for refused in first {
            assert_eq!(refused["MaxAttempts"], 0, "{name}");
        }
        let is_forward = state["Catch"][0]["ErrorEquals"][0] == "States.ALL";
        let (attempts, delay) = match (is_forward, name.as_str()) {
            (true, "CapturePayment") => (10, 30),
            (true, _) => (5, 30),
            (false, _) => (10, 300),
        };
        let wanted = serde_json::json!({
            "ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": attempts, "BackoffRate": 2,
            "MaxDelaySeconds": delay, "JitterStrategy": "FULL",
        });
        assert_eq!(*last, wanted, "{name}");
    }
}

#[test]
fn a_machine_logs_which_step_ran_and_never_what_went_through_it() {
    let resources = resources();
    for (id, machine) in of_type("AWS::Serverless::StateMachine") {
        let machine = &machine["Properties"];
        assert_eq!(machine["Tracing"]["Enabled"], true, "{id}");
        assert_eq!(machine["Logging"]["Level"], "ALL", "{id}");
        assert_eq!(machine["Logging"]["IncludeExecutionData"], false, "{id}");
        let group = &machine["Logging"]["Destinations"][0]["CloudWatchLogsLogGroup"]["LogGroupArn"];
        let group = target(group).unwrap_or_else(|| panic!("{id} names a log group"));
        assert!(
            !resources[group]["Properties"]["RetentionInDays"].is_null(),
            "{group} keeps logs for ever"
        );
    }
}

/// The text of a file without its tests.
fn code(path: &str) -> String {
    let text = tree::source(path);
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].to_owned()
}

/// The partitions that the code of a store names: texts such as `SKU#`, words such as `TREE`, and the
/// aggregates whose events it appends.
fn partitions(code: &str) -> BTreeSet<String> {
    let is_word = |word: &str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase());
    let mut found = BTreeSet::new();
    for text in code.split('"').skip(1).step_by(2) {
        match text.split_once('#') {
            Some((word, _)) if is_word(word) => found.insert(format!("{word}#")),
            None if is_word(text) => found.insert(text.to_owned()),
            _ => false,
        };
    }
    for text in code.split("Aggregate::").skip(1) {
        let name = text.split(|c: char| !c.is_alphanumeric()).next();
        let name = name.unwrap_or_default().to_ascii_uppercase();
        found.insert(format!("{name}#"));
    }
    // Who moves a stock has it from the store of stocks.
    if code.contains("move_write(") {
        found.insert("STOCK#".to_owned());
    }
    found
}

/// The partitions that each store names, by the store's type.
fn stores() -> BTreeMap<String, BTreeSet<String>> {
    let files = tree::files_of("shared/src", "rs");
    let mut stores = BTreeMap::new();
    for path in files.iter().filter(|path| path.ends_with("/store.rs")) {
        let code = code(path);
        for text in code.split("pub struct ").skip(1) {
            let name = text.split(|c: char| !c.is_alphanumeric()).next();
            stores.insert(name.unwrap_or_default().to_owned(), partitions(&code));
        }
    }
    stores
}

/// What stores name that is no partition of a table: sort keys, states and partitions of indexes.
const ELSEWHERE: [&str; 15] = [
    "CHUNK#",
    "COMPLETED",
    "DAYS",
    "DEVICES#",
    "DUE#",
    "ERRORS",
    "HEAD",
    "IMPORTS",
    "INPROGRESS",
    "KEYS",
    "META",
    "RECORD",
    "STATUS#",
    "VERSION",
    "WATERMARK",
];

/// What the stores of a function have to do with that the function itself has not.
const UNTOUCHED: [(&str, &[&str]); 8] = [
    ("NotificationSend", &["STOCK#"]),
    ("OrderApi", &["CATEGORYSTATS", "GROUP#", "LIST#", "STOCK#"]),
    ("OrderConfirmStep", &["CUSTOMER#", "STOCK#"]),
    ("OrderInventoryStep", &["CUSTOMER#"]),
    ("OrderPaymentStep", &["CUSTOMER#"]),
    ("ReservationSweep", &["CUSTOMER#"]),
    (
        "RevenueApi",
        &["DAY#", "IMPORT#", "OBJECT#", "ORDERREVENUE#"],
    ),
    ("SensorStore", &["AGG#", "STATE"]),
];

#[test]
fn a_function_may_use_just_the_partitions_that_its_stores_name() {
    let (stores, untouched) = (stores(), BTreeMap::from(UNTOUCHED));
    let mut checked = 0;
    for (id, function) in functions() {
        let mut found = Vec::new();
        statements(&function["Policies"], &mut found);
        let keys = found.iter().filter_map(|statement| {
            statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"].as_array()
        });
        let given: BTreeSet<String> = keys
            .flatten()
            .filter_map(Value::as_str)
            .map(|key| key.trim_end_matches('*').to_owned())
            .collect();
        if given.is_empty() {
            continue;
        }
        checked += 1;
        let handler = handler(binary(&function));
        let named = stores.iter().filter(|(name, _)| {
            let made = format!("{name}::new(");
            let at = handler.find(&made);
            at.is_some_and(|at| !handler[..at].ends_with(char::is_alphanumeric))
        });
        let mut named: BTreeSet<String> = named.flat_map(|(_, keys)| keys.clone()).collect();
        let other = untouched.get(id.as_str()).copied().unwrap_or_default();
        named.retain(|key| !ELSEWHERE.contains(&key.as_str()) && !other.contains(&key.as_str()));
        assert_eq!(given, named, "{id}");
    }
    assert!(checked > 9, "{checked} functions are held to keys");
}

/// The number that a constant of a file is made of.
fn constant(path: &str, name: &str) -> u64 {
    let text = code(path);
    let (_, rest) = text
        .split_once(&format!("const {name}: "))
        .unwrap_or_else(|| panic!("{path} has {name}"));
    let (_, value) = rest.split_once('=').expect("a constant has a value");
    let value = value.split(';').next().unwrap_or_default();
    let value = value.rsplit("::").next().unwrap_or_default();
    let digits: String = value.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("the constant is a number")
}

#[test]
fn a_compensation_knows_its_last_attempt() {
    let last = constant("functions/src/orders/steps/mod.rs", "LAST_ATTEMPT");
    let states = states();
    for name in ["UndoPayment", "ReleaseInventory", "CancelOrder"] {
        let retries = states[name]["Retry"].as_array().expect("it is retried");
        let retries = retries.last().expect("it is retried");
        assert_eq!(retries["MaxAttempts"], last, "{name}");
    }
}

#[test]
fn what_is_claimed_or_waited_for_outlasts_or_fits_the_function_that_does_it() {
    let functions = functions();
    let timeout = |id: &str| functions[id]["Timeout"].as_u64().expect("it has a timeout");
    let lease = constant("shared/src/platform/idempotency/store.rs", "LEASE");
    for (id, function) in &functions {
        if handler(binary(function)).contains("Idempotency::new(") {
            assert!(timeout(id) < lease, "{id}: another may take its claim");
        }
    }
    let lease = constant("shared/src/notifications/rules.rs", "LEASE");
    assert!(timeout("NotificationSend") < lease);
    let margin = constant("functions/src/events/relay.rs", "MARGIN") / 1_000;
    assert!(timeout("EventRelay") > 2 * margin);
    let budget = constant("shared/src/payments/stripe/client.rs", "BUDGET");
    let spare = constant("functions/src/orders/steps/mod.rs", "SPARE_TIME");
    assert!(timeout("OrderPaymentStep") > budget + spare);
    let work = constant("functions/src/orders/sweep.rs", "RUN_TIME")
        + constant("functions/src/orders/sweep.rs", "SPARE_TIME");
    assert!(timeout("ReservationSweep") >= work);
    let sign_up = constant("functions/src/customers/sign_up.rs", "MOST_TIME");
    assert!(timeout("CustomerSignup") > sign_up);
}

#[test]
fn an_email_address_that_is_not_confirmed_replaces_none() {
    let pool = &resources()["UserPool"]["Properties"];
    let required =
        &pool["UserAttributeUpdateSettings"]["AttributesRequireVerificationBeforeUpdate"];
    assert_eq!(*required, serde_json::json!(["email"]));
}
