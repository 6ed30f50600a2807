//! People of the user pool besides those that every stack begins with.

use serde_json::{Value, json};

use super::lambda::aws;
use super::stack::{stack, unique};

fn run(arguments: &[&str]) -> Value {
    let output = aws(arguments)
        .output()
        .expect("make venv installs the AWS command line");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// The ID token of an admin who is nobody else.
pub(crate) fn another_admin() -> String {
    let _ = stack();
    let outputs = run(&[
        "cloudformation",
        "describe-stacks",
        "--stack-name",
        "millrace-local",
    ]);
    let outputs = outputs["Stacks"][0]["Outputs"]
        .as_array()
        .expect("the stack has outputs")
        .clone();
    let output = |name: &str| {
        let found = outputs.iter().find(|output| output["OutputKey"] == name);
        found
            .and_then(|output| output["OutputValue"].as_str())
            .expect("the stack has this output")
            .to_owned()
    };
    let (pool, client) = (output("UserPoolId"), output("UserPoolClientId"));
    let name = format!("admin-{}@example.com", unique());
    let password = format!("Aa1{}", unique());
    let user = ["--user-pool-id", &pool, "--username", &name];
    run(&[
        [
            "cognito-idp",
            "admin-create-user",
            "--message-action",
            "SUPPRESS",
        ],
        user,
    ]
    .concat());
    run(&[
        [
            "cognito-idp",
            "admin-add-user-to-group",
            "--group-name",
            "admin",
        ],
        user,
    ]
    .concat());
    run(&[
        &[
            "cognito-idp",
            "admin-set-user-password",
            "--permanent",
            "--password",
            &password,
        ],
        &user[..],
    ]
    .concat());
    let parameters = json!({"USERNAME": name, "PASSWORD": password}).to_string();
    let answer = run(&[
        "cognito-idp",
        "initiate-auth",
        "--client-id",
        &client,
        "--auth-flow",
        "USER_PASSWORD_AUTH",
        "--auth-parameters",
        &parameters,
    ]);
    answer["AuthenticationResult"]["IdToken"]
        .as_str()
        .expect("the person can sign in")
        .to_owned()
}
