//! Functions invoked past their triggers.

use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

use super::api::Call;
use super::stack::{stack, variable};
use super::tree;

/// The AWS command line, which the environment leads to the stack.
pub(crate) fn aws(arguments: &[&str]) -> Command {
    let mut command = Command::new(tree::root().join(".venv/bin/aws"));
    command.args(arguments);
    command
}

/// The deployed function behind a resource of the template.
pub(crate) fn function(resource: &str) -> String {
    let _ = stack();
    let arguments = [
        "cloudformation",
        "describe-stack-resource",
        "--stack-name",
        "millrace-local",
        "--logical-resource-id",
        resource,
        "--query",
        "StackResourceDetail.PhysicalResourceId",
        "--output",
        "text",
    ];
    let output = aws(&arguments)
        .output()
        .expect("make venv installs the AWS command line");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Invokes the import function with an event and waits; gives what it answers, or its error.
pub(crate) fn import(event: &Value) -> Result<Value, Value> {
    static NAME: OnceLock<String> = OnceLock::new();
    invoke(NAME.get_or_init(|| function("SalesImport")), event)
}

/// Invokes a function by its name and waits; gives what it answers, or its error.
pub(crate) fn invoke(function: &str, event: &Value) -> Result<Value, Value> {
    let url = format!(
        "{}/2015-03-31/functions/{function}/invocations",
        stack().endpoint
    );
    let body = event.to_string();
    let identity = Credentials::new(
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "tests",
    )
    .into();
    let region = variable("AWS_REGION");
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name("lambda")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("every parameter is given")
        .into();
    let request = SignableRequest::new(
        "POST",
        &url,
        std::iter::empty(),
        SignableBody::Bytes(body.as_bytes()),
    );
    let signed = sign(request.expect("the request is valid"), &parameters);
    let (instructions, _) = signed.expect("the request can be signed").into_parts();
    let mut call = Call::to("POST", &url);
    for (name, value) in instructions.headers() {
        call = call.header(name, value);
    }
    let answer = call.body("application/json", body).send().expect(200);
    match answer.header("x-amz-function-error") {
        Some(_) => Err(answer.json()),
        None => Ok(answer.json()),
    }
}

/// The event of one object put into the bucket.
pub(crate) fn object_created(key: &str, size: u64, etag: &str, sequencer: &str) -> Value {
    let text = std::fs::read_to_string(tree::root().join("events/sales/s3-object-created.json"));
    let mut event: Value =
        serde_json::from_str(&text.expect("the event is there")).expect("the event is JSON");
    let s3 = &mut event["Records"][0]["s3"];
    s3["bucket"]["name"] = stack().bucket.clone().into();
    s3["object"]["key"] = key.into();
    s3["object"]["size"] = size.into();
    s3["object"]["eTag"] = etag.into();
    s3["object"]["sequencer"] = sequencer.into();
    event
}
