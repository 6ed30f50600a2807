//! Functions invoked past their triggers.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::stack::{stack, unique};
use super::tree;

/// The AWS command line, which the environment leads to the stack.
pub(crate) fn aws(arguments: &[&str]) -> Command {
    let mut command = Command::new(tree::root().join(".venv/bin/aws"));
    command.args(arguments);
    command
}

/// The deployed function behind a resource of the template.
fn function(resource: &str) -> String {
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
    let name = NAME.get_or_init(|| function("SalesImport"));
    let out = std::env::temp_dir().join(format!("millrace-{}.json", unique()));
    let file = out.to_string_lossy();
    let arguments = [
        "lambda",
        "invoke",
        "--function-name",
        name,
        "--payload",
        "fileb:///dev/stdin",
        "--cli-read-timeout",
        "120",
        &file,
    ];
    let mut child = aws(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("make venv installs the AWS command line");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin
        .write_all(event.to_string().as_bytes())
        .expect("the command reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let invoked: Value =
        serde_json::from_slice(&output.stdout).expect("the command answers in JSON");
    let payload = std::fs::read(&out).expect("the command wrote the payload");
    let _ = std::fs::remove_file(&out);
    let payload: Value = serde_json::from_slice(&payload).expect("functions answer in JSON");
    if invoked.get("FunctionError").is_some() {
        Err(payload)
    } else {
        Ok(payload)
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
