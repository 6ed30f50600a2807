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

#[test]
fn every_function_has_its_alarms_and_they_ring_somewhere() {
    let alarms = of_type("AWS::CloudWatch::Alarm");
    for id in functions().keys() {
        for metric in ["Errors", "Throttles", "Duration"] {
            let watches = |alarm: &&Value| {
                let alarm = &alarm["Properties"];
                alarm["Namespace"] == "AWS/Lambda"
                    && alarm["MetricName"] == metric
                    && alarm["Dimensions"][0]["Name"] == "FunctionName"
                    && target(&alarm["Dimensions"][0]["Value"]) == Some(id)
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
    let namespace = template()["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"].clone();
    let handlers: String = tree::files_of("functions/src", "rs")
        .iter()
        .map(|name| tree::source(name))
        .collect();
    for (id, alarm) in of_type("AWS::CloudWatch::Alarm") {
        let alarm = &alarm["Properties"];
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
                let service = value.as_str().expect("a service is a word");
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
        let queue =
            &queues[target(&source["EventSourceArn"]).expect("a source is a queue")]["Properties"];
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

/// The handler's file that a main takes its context from.
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
    tree::source(&format!("functions/src/{}.rs", path.join("/")))
}

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
            .filter(|name| common.get(*name).is_none() && *name != "POWERTOOLS_SERVICE_NAME")
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
            words(&statement["Resource"])
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
    let public: Vec<String> = routes()
        .into_iter()
        .filter(|route| route.2)
        .map(|route| route.1)
        .collect();
    assert_eq!(public, ["/health", "/health/live", "/health/ready"]);
}
