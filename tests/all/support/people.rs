//! People of the user pool besides those that every stack begins with.

use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::lambda::aws;
use super::stack::{unique, variable};

fn output(arguments: &[&str]) -> Output {
    let output = aws(&[&["cognito-idp"], arguments].concat()).output();
    output.expect("make venv installs the AWS command line")
}

fn run(arguments: &[&str]) -> Value {
    let output = output(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn text(value: &Value) -> String {
    value.as_str().expect("the answer has this text").to_owned()
}

/// A user pool, and the app client through which people sign in.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    id: String,
    client: String,
}

/// Somebody of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    client: String,
    password: String,
    /// Their `sub`, where they signed up themselves.
    pub(crate) sub: String,
    /// Their e-mail address.
    pub(crate) name: String,
}

/// What somebody gets who signs in.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) id: String,
    pub(crate) access: String,
}

impl Pool {
    /// The stack's own.
    pub(crate) fn of_the_stack() -> Self {
        Self {
            id: variable("MILLRACE_USER_POOL_ID"),
            client: variable("MILLRACE_USER_POOL_CLIENT_ID"),
        }
    }

    /// A new one, with a group `admin`, that has nothing to do with the stack.
    pub(crate) fn another() -> Self {
        let made = run(&["create-user-pool", "--pool-name", &unique()]);
        let id = text(&made["UserPool"]["Id"]);
        run(&[
            "create-group",
            "--user-pool-id",
            &id,
            "--group-name",
            "admin",
        ]);
        let client = String::new();
        Self { id, client }.with_client("1", "hours")
    }

    /// The same pool through a new client, whose ID tokens are valid for `validity` of `unit`.
    pub(crate) fn with_client(&self, validity: &str, unit: &str) -> Self {
        let made = run(&[
            "create-user-pool-client",
            "--user-pool-id",
            &self.id,
            "--client-name",
            &unique(),
            "--explicit-auth-flows",
            "ALLOW_USER_PASSWORD_AUTH",
            "ALLOW_REFRESH_TOKEN_AUTH",
            "--id-token-validity",
            validity,
            "--token-validity-units",
            &format!("IdToken={unit}"),
        ]);
        Self {
            id: self.id.clone(),
            client: text(&made["UserPoolClient"]["ClientId"]),
        }
    }

    fn somebody(&self) -> Person {
        Person {
            client: self.client.clone(),
            password: format!("Aa1{}", unique()),
            sub: String::new(),
            name: format!("person-{}@example.com", unique()),
        }
    }

    /// Signs in somebody new, who is in `group`, or a customer.
    pub(crate) fn person(&self, group: Option<&str>) -> Tokens {
        let person = self.somebody();
        let run_on = |call: &str, more: &[&str]| {
            let whom = [call, "--user-pool-id", &self.id, "--username", &person.name];
            run(&[&whom, more].concat())
        };
        run_on("admin-create-user", &["--message-action", "SUPPRESS"]);
        if let Some(group) = group {
            run_on("admin-add-user-to-group", &["--group-name", group]);
        }
        let permanent = ["--permanent", "--password", &person.password];
        run_on("admin-set-user-password", &permanent);
        person.sign_in()
    }

    /// Somebody who signed up and confirmed it, as customers do.
    pub(crate) fn signed_up(&self) -> Person {
        let mut person = self.somebody();
        let on = ["--client-id", &self.client, "--username", &person.name];
        let attribute = format!("Name=email,Value={}", person.name);
        let password = ["--password", &person.password];
        let attributes = ["--user-attributes", &attribute];
        let made = run(&[&["sign-up"][..], &on, &password, &attributes].concat());
        // The local cloud sends this code to everybody.
        let code = ["--confirmation-code", "123456"];
        run(&[&["confirm-sign-up"][..], &on, &code].concat());
        person.sub = text(&made["UserSub"]);
        person
    }
}

impl Person {
    fn answer(&self) -> Output {
        let parameters = json!({"USERNAME": self.name, "PASSWORD": self.password}).to_string();
        output(&[
            "initiate-auth",
            "--client-id",
            &self.client,
            "--auth-flow",
            "USER_PASSWORD_AUTH",
            "--auth-parameters",
            &parameters,
        ])
    }

    fn sign_in(&self) -> Tokens {
        let answer = self.answer();
        let answer: Value = serde_json::from_slice(&answer.stdout).expect("the person can sign in");
        let token = |name: &str| text(&answer["AuthenticationResult"][name]);
        Tokens {
            id: token("IdToken"),
            access: token("AccessToken"),
        }
    }

    /// An ID token of theirs.
    pub(crate) fn token(&self) -> String {
        self.sign_in().id
    }

    /// Whether the pool lets them in.
    pub(crate) fn can_sign_in(&self) -> bool {
        self.answer().status.success()
    }
}

/// The ID token of an admin who is nobody else.
pub(crate) fn another_admin() -> String {
    Pool::of_the_stack().person(Some("admin")).id
}

/// The ID token of a customer who is nobody else.
pub(crate) fn another_customer() -> String {
    Pool::of_the_stack().person(None).id
}

/// Waits until a token of these claims has ended.
pub(crate) fn wait_for_end(claims: &Value) {
    let end = claims["exp"].as_u64().expect("a token ends");
    let seconds = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs())
    };
    while seconds() <= end {
        std::thread::sleep(Duration::from_millis(100));
    }
}
