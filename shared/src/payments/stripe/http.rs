//! One HTTP request to Stripe and its answer, within limits.

use std::time::Duration;

use aws_smithy_runtime_api::client::{
    http::{HttpConnector as _, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::{
    payments::model::GatewayError,
    platform::{aws::http_connector, config::StripeUrl, secret::Secret},
};

/// Time of one request with its whole answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Most bytes of an answer's body.
const MOST_ANSWER_BYTES: usize = 256 * 1024;

/// The version of the API that is spoken. <https://docs.stripe.com/api/versioning>
const VERSION: &str = "2024-06-20";

/// Speaks HTTP with Stripe.
#[derive(Debug)]
pub struct Http {
    connector: SharedHttpConnector,
    base: String,
    timeout: Duration,
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// What is posted, as an HTML form; nothing for a question.
    pub form: Option<String>,
    /// Names what is posted, so that it is done once.
    pub idempotency_key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether it is what was answered to the same key before.
    /// <https://docs.stripe.com/error-low-level#idempotency>
    pub is_replayed: bool,
    /// The body.
    pub body: Bytes,
}

impl Http {
    /// Speaks with the API at `url`.
    #[must_use]
    pub fn new(url: &StripeUrl) -> Self {
        Self::with_timeout(url, CALL_TIMEOUT)
    }

    /// As [`Http::new`], with another time for a request.
    #[must_use]
    pub fn with_timeout(url: &StripeUrl, timeout: Duration) -> Self {
        Self {
            connector: http_connector(url.as_str()),
            base: url.as_str().to_owned(),
            timeout,
        }
    }

    /// Sends a request once.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Transient`] when no whole answer comes in time: the request may have been
    /// done. [`GatewayError::Untrusted`] when the answer is too large.
    pub async fn send(
        &self,
        key: &Secret<String>,
        request: &Request,
    ) -> Result<Answer, GatewayError> {
        let exchange = self.exchange(key, request);
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        answer.unwrap_or_else(|_| Err(lost("no answer in time")))
    }

    async fn exchange(
        &self,
        key: &Secret<String>,
        request: &Request,
    ) -> Result<Answer, GatewayError> {
        let answer = self.connector.call(self.request(key, request)?);
        let answer = answer.await.map_err(|_| lost("the connection failed"))?;
        let status = answer.status().as_u16();
        let is_replayed = answer.headers().get("idempotent-replayed") == Some("true");
        let body = Limited::new(answer.into_body(), MOST_ANSWER_BYTES).collect();
        match body.await {
            Ok(body) => Ok(Answer {
                status,
                is_replayed,
                body: body.to_bytes(),
            }),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(GatewayError::Untrusted("it is too large".to_owned()))
            }
            Err(_) => Err(lost("the answer broke off")),
        }
    }

    fn request(
        &self,
        key: &Secret<String>,
        request: &Request,
    ) -> Result<HttpRequest, GatewayError> {
        let is_question = request.form.is_none();
        let mut built = http::Request::builder()
            .method(if is_question { "GET" } else { "POST" })
            .uri(format!("{}{}", self.base, request.path))
            .header("authorization", format!("Bearer {}", key.expose()))
            .header("stripe-version", VERSION);
        if !is_question {
            built = built.header("content-type", "application/x-www-form-urlencoded");
        }
        if let Some(key) = &request.idempotency_key {
            built = built.header("idempotency-key", key);
        }
        let body = SdkBody::from(request.form.clone().unwrap_or_default());
        built
            .body(body)
            .ok()
            .and_then(|built| built.try_into().ok())
            .ok_or_else(|| GatewayError::Permanent("the request cannot be written".to_owned()))
    }
}

fn lost(reason: &str) -> GatewayError {
    GatewayError::Transient(reason.to_owned())
}
