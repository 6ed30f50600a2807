//! What is done when somebody has signed up: they become a customer.
//!
//! Cognito waits five seconds for the function, and a sign-up must not end in an error for a profile
//! that is made on first use anyway: what fails here is told to the log, never to Cognito.
//!
//! Source: <https://docs.aws.amazon.com/cognito/latest/developerguide/user-pool-lambda-post-confirmation.html>.

use std::{convert::Infallible, time::Duration};

use lambda_runtime::LambdaEvent;
use serde_json::Value;
use shared::{
    customers::{model::Claims, store::CustomerStore},
    platform::{
        aws::Connection,
        clock::Clock,
        config::{CommerceTable, ConfigError},
        ids::Random,
        telemetry::{self, Invocation, TraceContext},
    },
};

/// Longest that the profile may take, so that the answer is in time.
const MOST_TIME: Duration = Duration::from_secs(3);

/// The confirmation that is a sign-up; the other one follows a forgotten password.
const SIGN_UP: &str = "PostConfirmation_ConfirmSignUp";

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// The customers.
    pub customers: CustomerStore,
    /// Tells the time.
    pub clock: Clock,
    /// Names the run.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let table = CommerceTable::from_env()?.as_str().to_owned();
        Ok(Self {
            customers: CustomerStore::new(Connection::from_env()?.dynamodb(), table),
            clock: Clock::system(),
            random: Random::system(),
        })
    }
}

/// Makes a profile for who signed up, and gives the event back as Cognito wants it.
///
/// # Errors
///
/// Never.
pub async fn handle(context: &Context, event: LambdaEvent<Value>) -> Result<Value, Infallible> {
    let now = context.clock.now();
    let trace = TraceContext::resolve(None, None, now, context.random.bytes());
    let invocation = Invocation::begin(Some(&event.context), trace);
    telemetry::scope(invocation, async {
        if let Some(claims) = signed_up(&event.payload) {
            let made = Box::pin(context.customers.ensure(&claims, now));
            match tokio::time::timeout(MOST_TIME, made).await {
                Ok(Ok(customer)) => {
                    tracing::info!(version = customer.version, "customer signed up");
                }
                Ok(Err(error)) => {
                    let error = telemetry::chain(&error);
                    tracing::error!(error, "profile is left to be made on first use");
                }
                Err(_) => tracing::error!("profile took too long and is left to first use"),
            }
        }
        Ok(event.payload)
    })
    .await
}

/// Who signed up, if the event is that.
fn signed_up(event: &Value) -> Option<Claims> {
    let source = event.get("triggerSource")?.as_str()?;
    let attributes = event.pointer("/request/userAttributes")?;
    let attribute = |name: &str| attributes.get(name)?.as_str();
    let sub = attribute("sub").filter(|_| source == SIGN_UP)?;
    Some(Claims::read(sub, attribute))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use shared::{
        customers::model::Profile,
        testing::{Database, Table, answering},
    };

    use super::*;

    fn event(source: &str) -> Value {
        json!({
            "version": "1", "region": "us-east-1", "userPoolId": "us-east-1_Example", "userName": "u-1",
            "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": "c"},
            "triggerSource": source,
            "request": {"userAttributes": {"sub": "u-1", "email_verified": "true",
                "cognito:user_status": "CONFIRMED", "email": "jane@example.com", "name": "Jane Tan"}},
            "response": {},
        })
    }

    fn context(customers: CustomerStore) -> Context {
        Context {
            customers,
            clock: Clock::fixed(Timestamp::constant(1_795_190_400, 0)),
            random: Random::seeded(1),
        }
    }

    async fn answer(context: &Context, event: &Value) -> Value {
        let event = LambdaEvent::new(event.clone(), lambda_runtime::Context::default());
        handle(context, event).await.unwrap()
    }

    #[tokio::test]
    async fn who_signs_up_becomes_a_customer_once_and_the_event_comes_back_as_it_was() {
        let database = Database::start(&[Table::new("Commerce")]).await;
        let context = context(CustomerStore::new(database.client(), "Commerce".into()));
        let forgot = event("PostConfirmation_ConfirmForgotPassword");
        assert_eq!(answer(&context, &forgot).await, forgot);
        assert_eq!(context.customers.get("u-1").await.unwrap(), None);
        let event = event(SIGN_UP);
        for _ in 0..2 {
            assert_eq!(answer(&context, &event).await, event);
        }
        let Some(Profile::Active(customer)) = context.customers.get("u-1").await.unwrap() else {
            panic!("a customer was expected");
        };
        assert_eq!(customer.email.as_deref(), Some("jane@example.com"));
        assert_eq!(
            (customer.name.as_deref(), customer.version),
            (Some("Jane Tan"), 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_is_down_does_not_fail_a_sign_up() {
        let down = answering(|_| {
            http::Response::builder()
                .status(500)
                .body(String::new())
                .unwrap()
        });
        let client = Connection::to_emulator("http://127.0.0.1:9", down).dynamodb();
        let context = context(CustomerStore::new(client, "Commerce".into()));
        let event = event(SIGN_UP);
        assert_eq!(answer(&context, &event).await, event);
        assert_eq!(answer(&context, &json!({})).await, json!({}));
    }
}
