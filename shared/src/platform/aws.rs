//! AWS clients that start fast: region and credentials from the environment only, one HTTP client
//! and one TLS set-up for all services, made once while the function starts.
//!
//! A frozen sandbox wakes with connections that the peer has closed long ago. The SDK's standard
//! retry sends such a request again on a new connection, so retries stay on for every client; a
//! conditional write that is sent twice can therefore fail on its own success (see
//! [`idempotency`](crate::platform::idempotency) for how a writer recognises itself).

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_async::rt::sleep::default_async_sleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector};
use aws_types::SdkConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::platform::config::{self, ConfigError};

/// Time to open a connection, TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time of one attempt, up to the head of the response; a body may stream for longer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time of an operation with all its attempts and the pauses between them.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts of an operation, the first included.
const MAX_ATTEMPTS: u32 = 4;
/// Idle connections are closed before the services do it (`DynamoDB` and S3 keep them for tens of
/// seconds), which spares most requests the retry.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Where AWS is and how to reach it; hands out the client of each service.
///
/// A function that asks for one service links only that service's code.
#[derive(Clone, Debug)]
pub struct Connection {
    sdk: SdkConfig,
}

impl Connection {
    /// Reads `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`
    /// (optional) and `AWS_ENDPOINT_URL` (optional: an emulator). Neither profiles nor instance
    /// metadata are looked at: Lambda sets these variables for every function.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let endpoint = config::optional("AWS_ENDPOINT_URL");
        let credentials = Credentials::new(
            config::variable("AWS_ACCESS_KEY_ID")?,
            config::variable("AWS_SECRET_ACCESS_KEY")?,
            config::optional("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        let http = http_client(endpoint.as_deref());
        let region = config::variable("AWS_REGION")?;
        Ok(Self::new(region, credentials, endpoint, http))
    }

    /// Connects to an emulator at `endpoint` with credentials that mean nothing, through `http`: the
    /// seam where tests put an embedded database or a connector that fails on purpose.
    #[must_use]
    pub fn to_emulator(endpoint: impl Into<String>, http: SharedHttpClient) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "emulator");
        Self::new(
            "us-east-1".to_owned(),
            credentials,
            Some(endpoint.into()),
            http,
        )
    }

    fn new(
        region: String,
        credentials: Credentials,
        endpoint: Option<String>,
        http: SharedHttpClient,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let mut sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
            .timeout_config(timeouts);
        sdk.set_endpoint_url(endpoint);
        sdk.set_sleep_impl(default_async_sleep());
        Self { sdk: sdk.build() }
    }

    /// The API Gateway client, for its API keys.
    #[must_use]
    pub fn apigateway(&self) -> aws_sdk_apigateway::Client {
        aws_sdk_apigateway::Client::new(&self.sdk)
    }

    /// The Cognito client, for the user pool.
    #[must_use]
    pub fn cognito(&self) -> aws_sdk_cognitoidentityprovider::Client {
        aws_sdk_cognitoidentityprovider::Client::new(&self.sdk)
    }

    /// The `EventBridge` client.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.sdk)
    }

    /// The Secrets Manager client.
    #[must_use]
    pub fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.sdk)
    }

    /// The client of SES, for e-mail.
    #[must_use]
    pub fn ses(&self) -> aws_sdk_sesv2::Client {
        aws_sdk_sesv2::Client::new(&self.sdk)
    }

    /// The client of SNS, for text messages.
    #[must_use]
    pub fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.sdk)
    }

    /// The Step Functions client.
    #[must_use]
    pub fn step_functions(&self) -> aws_sdk_sfn::Client {
        aws_sdk_sfn::Client::new(&self.sdk)
    }

    /// The `DynamoDB` client.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.sdk)
    }

    /// The S3 client. An emulator is addressed in path style, for its host name has no subdomains.
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.sdk)
            .force_path_style(self.sdk.endpoint_url().is_some())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// The SQS client.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk)
    }
}

/// The clients of every service, for a function that needs them all.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Tables.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// Objects.
    pub s3: aws_sdk_s3::Client,
    /// Queues.
    pub sqs: aws_sdk_sqs::Client,
}

impl Clients {
    /// The clients of [`Connection::from_env`].
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Connection::from_env().map(|connection| Self::new(&connection))
    }

    /// The clients of `connection`.
    #[must_use]
    pub fn new(connection: &Connection) -> Self {
        Self {
            dynamodb: connection.dynamodb(),
            s3: connection.s3(),
            sqs: connection.sqs(),
        }
    }
}

/// An HTTP client for AWS or, given its URL, an emulator. Trust comes from roots inside the binary:
/// scanning the system's takes milliseconds of every cold start.
///
/// # Panics
/// Never: any trust store makes a TLS context.
#[must_use]
pub fn http_client(endpoint: Option<&str>) -> SharedHttpClient {
    let roots = match endpoint {
        None => Roots::Amazon,
        Some(url) if url.starts_with("http://") => Roots::None,
        Some(_) => Roots::All,
    };
    client_trusting(trust_store(roots))
}

/// An HTTP client as for AWS, that trusts one more authority, given as PEM: that of a bench's own service.
///
/// # Panics
/// When the authority is no PEM: a bench cannot go on without.
#[cfg(feature = "testing")]
#[must_use]
pub fn http_client_trusting(authority: &str) -> SharedHttpClient {
    client_trusting(trust_store(Roots::Amazon).with_pem_certificate(authority))
}

fn client_trusting(store: TrustStore) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls_context(store))
        .build_https()
}

/// Carries HTTP requests to `url`, a service that is not AWS, by the same code as the SDK's own; what
/// time a request has is for the caller to say. Redirects are not followed.
///
/// # Panics
/// Never: any trust store makes a TLS context.
#[must_use]
pub fn http_connector(url: &str) -> SharedHttpConnector {
    let is_plain = url.starts_with("http://");
    let roots = if is_plain { Roots::None } else { Roots::All };
    let connector = Connector::builder()
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls_context(trust_store(roots)))
        .build();
    SharedHttpConnector::new(connector)
}

fn tls_context(store: TrustStore) -> TlsContext {
    TlsContext::builder()
        .with_trust_store(store)
        .build()
        .expect("a trust store of embedded roots is a valid TLS context")
}

/// Which certificate authorities a connection trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roots {
    /// Plain HTTP needs none.
    None,
    /// Those that AWS says its endpoints use, <https://www.amazontrust.com/repository/>: a handful
    /// parse in microseconds, and nobody else can vouch for AWS.
    Amazon,
    /// Everything Mozilla trusts, for an endpoint that is not AWS.
    All,
}

fn trust_store(roots: Roots) -> TrustStore {
    let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter(|certificate| {
            roots == Roots::All || (roots == Roots::Amazon && is_amazon_root(certificate))
        });
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        STANDARD.encode_string(certificate, &mut pem);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    TrustStore::empty().with_pem_certificate(pem)
}

fn is_amazon_root(certificate: &[u8]) -> bool {
    const NAMES: [&[u8]; 2] = [
        b"Amazon Root CA ",
        b"Starfield Services Root Certificate Authority - G2",
    ];
    NAMES
        .iter()
        .any(|name| memchr::memmem::find(certificate, name).is_some())
}

/// Whether a failed call may succeed when it is made again later: throttling, a timeout, a broken
/// connection, a 5xx answer. Everything else is wrong with the request and stays wrong.
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            true
        }
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code();
            status == 429 || status >= 500 || code.is_some_and(|c| TRANSIENT_CODES.contains(&c))
        }
        _ => false,
    }
}

const TRANSIENT_CODES: [&str; 14] = [
    "InternalServerError",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    // A table that is not there is a dependency that is down: it comes back with its stack.
    "ResourceNotFoundException",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
];

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn throttling_and_outages_pass_and_wrong_requests_do_not() {
        let answer = |status: u16, code: &str| {
            let metadata = ErrorMetadata::builder().code(code).build();
            let response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
            is_transient(&SdkError::service_error(
                PutItemError::generic(metadata),
                response,
            ))
        };
        assert!(answer(400, "ThrottlingException"));
        assert!(answer(400, "ProvisionedThroughputExceededException"));
        assert!(answer(503, "Anything") && answer(429, "Anything"));
        assert!(!answer(400, "ConditionalCheckFailedException"));
        assert!(!answer(400, "ValidationException"));
        assert!(is_transient(&SdkError::<PutItemError>::timeout_error(
            "late"
        )));
        assert!(!is_transient(
            &SdkError::<PutItemError>::construction_failure("odd")
        ));
    }

    #[test]
    fn the_roots_that_sign_aws_endpoints_are_embedded() {
        let found = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .filter(|certificate| is_amazon_root(certificate))
            .count();
        assert_eq!(found, 5);
    }

    #[test]
    fn every_kind_of_endpoint_gets_a_working_client() {
        for endpoint in [
            None,
            Some("http://127.0.0.1:4566"),
            Some("https://localhost"),
        ] {
            let connection = Connection::to_emulator("http://127.0.0.1:1", http_client(endpoint));
            let clients = Clients::new(&connection);
            assert_eq!(
                clients.s3.config().region().map(ToString::to_string),
                Some("us-east-1".to_owned())
            );
        }
    }
}
