//! Lets devices in: a Lambda authorizer for requests with a device key.
//!
//! Its answer names the key to API Gateway, which counts the request against the usage plan
//! (`ApiKeySourceType: AUTHORIZER`), and hands the key's identifier to the function behind.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html>

use std::collections::HashMap;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use shared::{
    platform::{
        aws::Connection,
        clock::Clock,
        config::{ConfigError, SensorsTable},
        ids::Random,
        table::TableError,
        telemetry::{self, CORRELATION_HEADER, Invocation, TraceContext},
    },
    sensors::key::{model::SecretHash, remembered::RememberedKeys, store::KeyStore},
};

/// What the handler works with.
#[derive(Debug)]
pub struct Context {
    /// The keys.
    pub keys: RememberedKeys,
    /// Tells the time.
    pub clock: Clock,
    /// Makes correlation ids.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let table = SensorsTable::from_env()?;
        let store = KeyStore::new(
            Connection::from_env()?.dynamodb(),
            table.as_str().to_owned(),
        );
        let clock = Clock::system();
        Ok(Self {
            keys: RememberedKeys::new(store, &clock),
            clock,
            random: Random::system(),
        })
    }
}

/// The part of an authorizer's event that is looked at. It is neither `Debug` nor `Serialize`: the
/// headers hold the key.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerRequest {
    method_arn: String,
    #[serde(default)]
    headers: Option<HashMap<String, Option<String>>>,
}

impl AuthorizerRequest {
    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_ref()?;
        let (_, value) = headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        value.as_deref().map(str::trim)
    }

    /// The secret, from `x-api-key` or from `Authorization` with the scheme `Token`, which is
    /// `InfluxDB`'s, or `Bearer`.
    fn secret(&self) -> Option<&str> {
        self.header("x-api-key").or_else(|| {
            let (scheme, secret) = self.header("authorization")?.split_once(' ')?;
            ["token", "bearer"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known))
                .then(|| secret.trim_start())
        })
    }
}

/// What API Gateway is told of a key that is let in. It is not `Debug`, for it holds the key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    principal_id: String,
    policy_document: Policy,
    context: AdmissionContext,
    usage_identifier_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Policy {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: String,
}

/// What the function behind is told.
#[derive(Serialize)]
struct AdmissionContext {
    /// The identifier of the key.
    key: String,
}

impl Admission {
    fn new(key: String, secret: &str, method_arn: String) -> Self {
        Self {
            principal_id: key.clone(),
            policy_document: Policy {
                version: "2012-10-17",
                statement: [Statement {
                    action: "execute-api:Invoke",
                    effect: "Allow",
                    resource: method_arn,
                }],
            },
            context: AdmissionContext { key },
            usage_identifier_key: secret.to_owned(),
        }
    }
}

/// Why a request is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// No key, or none that is active. API Gateway answers 401 to an error of exactly this text, and
    /// 500 to any other.
    #[error("Unauthorized")]
    Unauthorized,
    /// The table did not answer.
    #[error("device keys are unavailable")]
    Table(#[from] TableError),
}

impl From<AuthorizerError> for Diagnostic {
    fn from(error: AuthorizerError) -> Self {
        let error_type = match error {
            AuthorizerError::Unauthorized => "Unauthorized",
            AuthorizerError::Table(_) => "Unavailable",
        };
        Self {
            error_type: error_type.into(),
            error_message: error.to_string(),
        }
    }
}

/// Lets one request in, for exactly the method it asks for.
///
/// # Errors
///
/// [`AuthorizerError`] when it is not let in.
pub async fn handle(
    context: &Context,
    event: LambdaEvent<AuthorizerRequest>,
) -> Result<Admission, AuthorizerError> {
    let (request, lambda) = event.into_parts();
    let trace = TraceContext::resolve(
        request.header(CORRELATION_HEADER),
        request.header("traceparent"),
        context.clock.now(),
        context.random.bytes(),
    );
    let invocation = Invocation::begin(Some(&lambda), trace);
    telemetry::scope(invocation, async {
        admit(context, request).await.inspect_err(|error| {
            if matches!(error, AuthorizerError::Table(_)) {
                tracing::error!(error = telemetry::chain(error), "key not looked up");
            } else {
                tracing::info!("key refused");
            }
        })
    })
    .await
}

async fn admit(
    context: &Context,
    request: AuthorizerRequest,
) -> Result<Admission, AuthorizerError> {
    let secret = request.secret().ok_or(AuthorizerError::Unauthorized)?;
    let hash = SecretHash::of(secret).ok_or(AuthorizerError::Unauthorized)?;
    let key = context.keys.active(hash.id()).await?;
    let key = key
        .filter(|key| key.hash == hash)
        .ok_or(AuthorizerError::Unauthorized)?;
    let id = key.id().to_string();
    Ok(Admission::new(id, secret, request.method_arn.clone()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use shared::{
        sensors::key::model::{DeviceKey, Grant, new_secret},
        testing::{Database, Table},
    };

    use super::*;

    const METHOD: &str = "arn:aws:execute-api:eu-west-1:123456789012:a1/local/POST/api/v2/write";

    async fn context() -> (Database, Context) {
        let table = Table::new("Sensors").index("keys", "keys_pk", "keys_sk");
        let database = Database::start(&[table]).await;
        let store = KeyStore::new(database.client(), "Sensors".to_owned());
        for (seed, active) in [(1, true), (2, false)] {
            let hash = SecretHash::of(&secret(seed)).unwrap();
            let grant = Grant::new("test", &["*".to_owned()]).unwrap();
            let mut key = DeviceKey::pending(hash, grant, Timestamp::UNIX_EPOCH);
            if active {
                key = key.activated("g-1".to_owned());
            }
            store.create(&key).await.unwrap();
        }
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let context = Context {
            keys: RememberedKeys::new(store, &clock),
            clock,
            random: Random::seeded(1),
        };
        (database, context)
    }

    fn secret(seed: u8) -> String {
        new_secret([seed; 26]).into_exposed()
    }

    async fn ask(context: &Context, headers: &[(&str, &str)]) -> Result<Admission, String> {
        let headers: HashMap<_, _> = headers.iter().copied().collect();
        let event = json!({"type": "REQUEST", "methodArn": METHOD, "headers": headers});
        let event = LambdaEvent::new(
            serde_json::from_value(event).unwrap(),
            lambda_runtime::Context::default(),
        );
        handle(context, event)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn an_active_key_is_let_in_for_exactly_one_method() {
        let (_database, context) = context().await;
        let admission = ask(&context, &[("X-Api-Key", &secret(1))])
            .await
            .ok()
            .unwrap();
        insta::assert_json_snapshot!(admission, @r#"
        {
          "principalId": "7da7aa1e7c61cc6493503bbc495168a7",
          "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
              {
                "Action": "execute-api:Invoke",
                "Effect": "Allow",
                "Resource": "arn:aws:execute-api:eu-west-1:123456789012:a1/local/POST/api/v2/write"
              }
            ]
          },
          "context": {
            "key": "7da7aa1e7c61cc6493503bbc495168a7"
          },
          "usageIdentifierKey": "mr_2081040g2081040g20812081040g2081040g2081"
        }
        "#);
    }

    #[tokio::test]
    async fn a_key_is_taken_from_either_header_in_any_case() {
        let (_database, context) = context().await;
        for (name, value) in [
            ("x-api-key", secret(1)),
            ("X-API-KEY", secret(1)),
            ("Authorization", format!("Token {}", secret(1))),
            ("authorization", format!("token  {} ", secret(1))),
            ("AUTHORIZATION", format!("Bearer {}", secret(1))),
        ] {
            assert!(
                ask(&context, &[(name, &value)]).await.is_ok(),
                "{name}: {value}"
            );
        }
    }

    #[tokio::test]
    async fn everybody_else_is_unauthorized_by_exactly_that_word() {
        let (_database, context) = context().await;
        let (good, pending, unknown) = (secret(1), secret(2), secret(3));
        let basic = format!("Basic {good}");
        for headers in [
            vec![],
            vec![("x-api-key", "")],
            vec![("x-api-key", pending.as_str())],
            vec![("x-api-key", &unknown)],
            vec![("x-api-key", "mr_short")],
            vec![("authorization", &good)],
            vec![("authorization", &basic)],
            // The header that usage plans are made for is the one that counts.
            vec![("x-api-key", &unknown), ("authorization", &good)],
        ] {
            assert_eq!(
                ask(&context, &headers).await.err().as_deref(),
                Some("Unauthorized")
            );
        }
        let diagnostic = Diagnostic::from(AuthorizerError::Unauthorized);
        assert_eq!(diagnostic.error_message, "Unauthorized");
    }

    #[tokio::test]
    async fn a_table_that_is_down_is_not_a_refusal() {
        let (database, mut context) = context().await;
        let store = KeyStore::new(database.client(), "Nowhere".to_owned());
        context.keys = RememberedKeys::new(store, &context.clock);
        let error = ask(&context, &[("x-api-key", &secret(1))]).await.err();
        assert_eq!(error.as_deref(), Some("device keys are unavailable"));
    }
}
