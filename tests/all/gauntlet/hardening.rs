//! What every resource of a kind in the template has to have, whoever adds the next one.

use std::{collections::BTreeSet, panic};

use serde_json::{Map, Value, json};

use crate::support::template::{target, template};

fn resources(template: &Value) -> &Map<String, Value> {
    let resources = template["Resources"].as_object();
    resources.expect("the template has resources")
}

/// The resources of a kind by their properties; a rule over none would hold for ever.
fn all<'t>(template: &'t Value, kind: &str) -> Vec<(&'t String, &'t Value)> {
    let of_kind = resources(template).iter();
    let found: Vec<_> = of_kind
        .filter(|(_, resource)| resource["Type"] == kind)
        .map(|(id, resource)| (id, &resource["Properties"]))
        .collect();
    assert!(!found.is_empty(), "the template has no {kind}");
    found
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        single => vec![single],
    }
}

/// Every statement of a policy anywhere in the template.
fn statements(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            found.extend(
                listed(&members.get("Statement").cloned().unwrap_or_default())
                    .into_iter()
                    .cloned(),
            );
            members
                .values()
                .for_each(|member| statements(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| statements(item, found)),
        _ => {}
    }
}

/// A setting that only production, or only what is not the local stage, has.
fn only(condition: &str, on: &Value, off: &Value) -> Value {
    json!({"Fn::If": [condition, on, off]})
}

#[test]
fn every_queue_is_encrypted_and_gives_up_into_one_that_keeps_its_messages_longest() {
    queues(&template());
}

fn queues(template: &Value) {
    let queues = all(template, "AWS::SQS::Queue");
    let mut given_up = BTreeSet::new();
    for (id, queue) in &queues {
        assert_eq!(queue["SqsManagedSseEnabled"], true, "{id}");
        assert!(queue["MessageRetentionPeriod"].is_u64(), "{id}");
        if let Some(dead_letters) = target(&queue["RedrivePolicy"]["deadLetterTargetArn"]) {
            given_up.insert(dead_letters.to_owned());
        }
    }
    let alarms = all(template, "AWS::CloudWatch::Alarm");
    let is_watched = |id: &str| {
        alarms
            .iter()
            .any(|(alarm, _)| **alarm == format!("{id}Filled"))
    };
    for (id, queue) in &queues {
        if given_up.contains(id.as_str()) || !queue["RedrivePolicy"].is_object() {
            // The longest that there is: 14 days.
            assert_eq!(queue["MessageRetentionPeriod"], 1_209_600, "{id}");
            assert!(is_watched(id), "{id} has no dead letters and is none");
            assert!(
                queue["RedrivePolicy"].is_null(),
                "{id} gives up what was given up"
            );
        }
    }
}

#[test]
fn every_bucket_is_encrypted_private_and_takes_no_plain_http() {
    buckets(&template());
}

fn buckets(template: &Value) {
    for (id, bucket) in all(template, "AWS::S3::Bucket") {
        let blocked = &bucket["PublicAccessBlockConfiguration"];
        for block in [
            "BlockPublicAcls",
            "BlockPublicPolicy",
            "IgnorePublicAcls",
            "RestrictPublicBuckets",
        ] {
            assert_eq!(blocked[block], true, "{id}: {block}");
        }
        let rule = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
        let algorithm = &rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"];
        assert_eq!(algorithm, "AES256", "{id}");
        let ownership = &bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"];
        assert_eq!(
            ownership, "BucketOwnerEnforced",
            "{id}: an access list counts"
        );
        let rules = listed(&bucket["LifecycleConfiguration"]["Rules"]);
        assert!(!rules.is_empty(), "{id} keeps everything for ever");
        let is_plain = |policy: &&(&String, &Value)| {
            let statement = &policy.1["PolicyDocument"]["Statement"][0];
            target(&policy.1["Bucket"]) == Some(id.as_str())
                && statement["Effect"] == "Deny"
                && statement["Principal"] == "*"
                && statement["Action"] == "s3:*"
                && listed(&statement["Resource"]).len() == 2
                && statement["Condition"] == json!({"Bool": {"aws:SecureTransport": "false"}})
        };
        let policies = all(template, "AWS::S3::BucketPolicy");
        assert_eq!(
            policies.iter().filter(is_plain).count(),
            1,
            "{id} takes plain HTTP"
        );
    }
}

#[test]
fn every_table_can_be_put_back_and_is_not_lost_with_the_stack() {
    tables(&template());
}

fn tables(template: &Value) {
    for (id, table) in all(template, "AWS::DynamoDB::Table") {
        let recovery = &table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
        assert_eq!(
            *recovery,
            only("IsRemote", &json!(true), &json!(false)),
            "{id}"
        );
        let protection = &table["DeletionProtectionEnabled"];
        assert_eq!(
            *protection,
            only("IsProduction", &json!(true), &json!(false)),
            "{id}"
        );
        assert_eq!(table["BillingMode"], "PAY_PER_REQUEST", "{id}");
    }
    let kept = [
        "AWS::DynamoDB::Table",
        "AWS::S3::Bucket",
        "AWS::Cognito::UserPool",
    ];
    let retained = only("IsProduction", &json!("Retain"), &json!("Delete"));
    for (id, resource) in resources(template) {
        if kept.iter().any(|kind| resource["Type"] == *kind) {
            for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
                assert_eq!(resource[policy], retained, "{id}: {policy}");
            }
        }
    }
}

#[test]
fn every_log_ends() {
    logs(&template());
}

fn logs(template: &Value) {
    for (id, group) in all(template, "AWS::Logs::LogGroup") {
        assert_eq!(
            target(&group["RetentionInDays"]),
            Some("LogRetentionDays"),
            "{id}"
        );
    }
}

#[test]
fn a_service_acts_for_this_stack_alone() {
    services(&template());
}

fn services(template: &Value) {
    let mut found = Vec::new();
    statements(template, &mut found);
    let of_services = found
        .iter()
        .filter(|statement| !statement["Principal"]["Service"].is_null());
    let mut checked = 0;
    for statement in of_services {
        checked += 1;
        // Only the service itself takes on the role, and what it may then do is its account's.
        if statement["Action"] == "sts:AssumeRole" {
            continue;
        }
        let sources = &statement["Condition"]["ArnEquals"]["aws:SourceArn"];
        let sources = listed(sources);
        assert!(!sources.is_empty(), "anybody may send it here: {statement}");
        for source in sources {
            // A rule's own Arn, not a pattern.
            assert!(
                source["Fn::GetAtt"].is_array() && target(source).is_some(),
                "{statement}"
            );
        }
    }
    assert!(checked > 3, "{checked} statements name a service");
    for (id, permission) in all(template, "AWS::Lambda::Permission") {
        assert!(
            target(&permission["SourceArn"]).is_some(),
            "{id}: anybody's may call"
        );
    }
}

#[test]
fn only_what_denies_is_said_of_everybody() {
    everybody(&template());
}

fn everybody(template: &Value) {
    let mut found = Vec::new();
    statements(template, &mut found);
    for statement in found {
        let everybody = statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*";
        assert!(!everybody || statement["Effect"] == "Deny", "{statement}");
    }
}

/// Whether a text of the template refers to a parameter.
fn refers(value: &Value, parameter: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| {
            (name == "Ref" && member == parameter) || refers(member, parameter)
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, parameter)),
        Value::String(text) => text.contains(&format!("${{{parameter}}}")),
        _ => false,
    }
}

#[test]
fn a_secret_is_neither_shown_nor_given_to_a_function_nor_printed() {
    secrets(&template());
}

fn secrets(template: &Value) {
    let parameters = template["Parameters"]
        .as_object()
        .expect("the template has parameters");
    let is_secret = |name: &str| {
        let name = name.to_lowercase();
        let words = ["secret", "password", "token", "apikey"];
        words.iter().any(|word| name.contains(word)) && !name.ends_with("arn")
    };
    let mut secrets = 0;
    for (name, parameter) in parameters {
        if !is_secret(name) {
            continue;
        }
        secrets += 1;
        assert_eq!(parameter["NoEcho"], true, "{name} is shown");
        assert!(
            parameter["Default"].is_null() || parameter["Default"] == "",
            "{name} stands in the template"
        );
        assert!(!refers(&template["Outputs"], name), "{name} is printed");
        for (id, function) in all(template, "AWS::Serverless::Function") {
            assert!(
                !refers(&function["Environment"], name),
                "{id} reads {name} in the open"
            );
        }
    }
    assert!(secrets > 0, "there is a secret among the parameters");
}

#[test]
fn the_api_limits_calls_and_logs_no_bodies() {
    api(&template());
}

fn api(template: &Value) {
    for (id, api) in all(template, "AWS::Serverless::Api") {
        let settings = listed(&api["MethodSettings"]);
        assert!(!settings.is_empty(), "{id}");
        for setting in settings {
            assert_eq!(setting["DataTraceEnabled"], false, "{id} logs bodies");
            assert!(setting["ThrottlingRateLimit"].is_u64(), "{id}");
            assert!(setting["ThrottlingBurstLimit"].is_u64(), "{id}");
        }
        let format = api["AccessLogSetting"]["Format"]
            .as_str()
            .expect("it has a format");
        // https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
        for personal in [
            "identity.",
            "authorizer",
            "$input",
            "querystring",
            "$context.path",
        ] {
            assert!(!format.contains(personal), "{id} logs {personal}");
        }
    }
}

#[test]
fn a_function_runs_on_a_runtime_that_is_looked_after_and_not_for_ever() {
    functions(&template());
}

fn functions(template: &Value) {
    let globals = &template["Globals"]["Function"];
    assert_eq!(globals["Runtime"], "provided.al2023");
    for (id, function) in all(template, "AWS::Serverless::Function") {
        assert!(
            function["Runtime"].is_null(),
            "{id} has a runtime of its own"
        );
        assert!(
            function["Timeout"]
                .as_u64()
                .is_some_and(|seconds| seconds <= 900),
            "{id}"
        );
        assert!(
            function["FunctionUrlConfig"].is_null(),
            "{id} can be called past the API"
        );
        assert!(function["Role"].is_null(), "{id} shares a role");
    }
}

/// Mistakes that somebody may make: the rule that has to notice, where it is, and what stands there then.
const MISTAKES: &str = r#"
queues /Resources/SalesImportQueue/Properties/SqsManagedSseEnabled false
queues /Resources/SalesImportQueue/Properties/MessageRetentionPeriod null
queues /Resources/SalesImportQueue/Properties/RedrivePolicy null
queues /Resources/SalesImportDeadLetters/Properties/MessageRetentionPeriod 345600
queues /Resources/SalesImportDeadLetters/Properties/RedrivePolicy {"maxReceiveCount": 3}
buckets /Resources/ImportsBucket/Properties/PublicAccessBlockConfiguration/BlockPublicPolicy false
buckets /Resources/ImportsBucket/Properties/BucketEncryption null
buckets /Resources/ImportsBucket/Properties/OwnershipControls null
buckets /Resources/ImportsBucket/Properties/LifecycleConfiguration null
buckets /Resources/ImportsBucketPolicy/Properties/Bucket "another"
buckets /Resources/ImportsBucketPolicy/Properties/PolicyDocument/Statement/0/Effect "Allow"
tables /Resources/CommerceTable/Properties/PointInTimeRecoverySpecification null
tables /Resources/CommerceTable/Properties/DeletionProtectionEnabled false
tables /Resources/CommerceTable/Properties/BillingMode "PROVISIONED"
logs /Resources/ApiLogs/Properties/RetentionInDays null
services /Resources/EventPoisonQueuePolicy/Properties/PolicyDocument/Statement/0/Condition null
services /Resources/EventPoisonQueuePolicy/Properties/PolicyDocument/Statement/0/Condition/ArnEquals/aws:SourceArn/0 "arn:*"
services /Resources/CustomerSignupCaller/Properties/SourceArn null
everybody /Resources/EventPoisonQueuePolicy/Properties/PolicyDocument/Statement/0/Principal "*"
everybody /Resources/EventPoisonQueuePolicy/Properties/PolicyDocument/Statement/0/Principal {"AWS": "*"}
secrets /Resources/OrderApi/Properties/Environment/Variables/KEY {"Ref": "GoogleClientSecret"}
secrets /Resources/OrderApi/Properties/Environment/Variables/KEY "${GoogleClientSecret}"
api /Resources/Api/Properties/MethodSettings null
api /Resources/Api/Properties/MethodSettings/0/DataTraceEnabled true
api /Resources/Api/Properties/MethodSettings/0/ThrottlingRateLimit null
api /Resources/Api/Properties/AccessLogSetting/Format "$context.authorizer.claims.email"
functions /Resources/Health/Properties/Runtime "provided.al2"
functions /Resources/Health/Properties/Timeout 901
functions /Resources/Health/Properties/FunctionUrlConfig {"AuthType": "NONE"}
functions /Resources/Health/Properties/Role "another"
tables /Resources/CommerceTable/DeletionPolicy "Delete"
tables /Resources/UserPool/UpdateReplacePolicy null
secrets /Parameters/GoogleClientSecret/NoEcho null
secrets /Parameters/GoogleClientSecret/Default "one"
secrets /Outputs/ApiUrl/Value {"Ref": "GoogleClientSecret"}
functions /Globals/Function/Runtime "provided.al2"
"#;

fn rule(name: &str) -> fn(&Value) {
    match name {
        "api" => api,
        "buckets" => buckets,
        "everybody" => everybody,
        "functions" => functions,
        "logs" => logs,
        "queues" => queues,
        "secrets" => secrets,
        "services" => services,
        "tables" => tables,
        other => panic!("there is no rule {other}"),
    }
}

/// Puts a value where it belongs, beside others or instead of one that is there.
fn put(template: &mut Value, place: &str, value: Value) {
    if let Some(there) = template.pointer_mut(place) {
        *there = value;
        return;
    }
    let (parent, name) = place.rsplit_once('/').expect("a place is below another");
    let parent = template.pointer_mut(parent);
    parent.unwrap_or_else(|| panic!("{place} is nowhere"))[name] = value;
}

#[test]
fn each_mistake_is_noticed_by_the_rule_that_is_for_it() {
    let template = template();
    let unnoticed = MISTAKES.trim().lines().filter(|mistake| {
        let mut words = mistake.splitn(3, ' ');
        let mut word = || words.next().expect("a mistake is of three words");
        let (rule, place, value) = (rule(word()), word(), word());
        let mut mistaken = template.clone();
        let value = serde_json::from_str(value).expect("a value is JSON");
        put(&mut mistaken, place, value);
        panic::catch_unwind(|| rule(&mistaken)).is_ok()
    });
    assert_eq!(unnoticed.collect::<Vec<_>>(), [""; 0]);
}
