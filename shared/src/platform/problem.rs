//! Errors as callers see them: `application/problem+json`.
//!
//! Source: RFC 9457, Problem Details for HTTP APIs. The members `code`, `correlation_id` and `errors`
//! are ours. What the caller reads (`detail`) and what the log reads (the cause) are apart: a cause
//! never leaves the function.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::platform::{aws, table::TableError, telemetry};

/// Content type of every problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is an error. Boxed inside, so that a `Result` with it stays small.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// What is wrong with one part of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: a JSON Pointer (RFC 6901) into the body, or `/query/{name}` for a query parameter.
    pub pointer: String,
    /// What, as a stable kebab-case word.
    pub code: Cow<'static, str>,
    /// What, for people.
    pub detail: String,
}

impl FieldError {
    /// An error at `pointer` in the body.
    pub fn new(
        pointer: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
            detail: detail.into(),
        }
    }

    /// An error in the query parameter `name`, whose characters `~` and `/` the pointer escapes.
    pub fn query(
        name: &str,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self::new(format!("/query/{name}"), code, detail)
    }
}

/// The body of a problem.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A URI that names the kind of problem; not meant to be fetched.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'a str,
    /// The HTTP status code.
    status: u16,
    /// What went wrong this time.
    detail: &'a str,
    /// The path of the request that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The kind of problem as a stable kebab-case word.
    code: &'a str,
    /// The id that finds this request in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    /// What is wrong with which part of the input.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem of any status; the named constructors say which headers go with theirs.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// 400: the request is malformed.
    pub fn bad_request(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 400 for one query parameter.
    #[must_use]
    pub fn invalid_query(error: FieldError) -> Self {
        Self::bad_request("invalid-query", error.detail.clone()).with_error(error)
    }

    /// 401: no valid token came with the request.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid token is required",
        )
        .with_header(
            WWW_AUTHENTICATE,
            HeaderValue::from_static(r#"Bearer error="invalid_token""#),
        )
    }

    /// 403: the caller may not do this.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the caller may not do this",
        )
    }

    /// 404: no such resource, or not the caller's.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 405; the router adds `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "the resource does not have this method",
        )
    }

    /// 409: the state of the resource forbids it.
    pub fn conflict(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: the resource has changed since the caller read it.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "stale-version",
            "the resource has changed since it was read",
        )
    }

    /// 413: the body is larger than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body may have at most {limit} bytes"),
        )
    }

    /// 415: the body must be of the type `expected`.
    #[must_use]
    pub fn unsupported_media_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            format!("the body must be {expected}"),
        )
    }

    /// 422: the body is well formed and says something invalid.
    pub fn unprocessable(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 428: the change needs `If-Match`.
    #[must_use]
    pub fn precondition_required() -> Self {
        Self::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if-match-required",
            "send If-Match with the ETag of the version to change",
        )
    }

    /// 429: too many requests; try again after `seconds`.
    #[must_use]
    pub fn too_many_requests(seconds: u32) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "too many requests",
        )
        .with_retry_after(seconds)
    }

    /// 500: a fault of ours. `cause` goes to the log, once, and nowhere else.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::panicked().with_cause(cause)
    }

    /// 500 for a panic, which the panic hook has logged.
    #[must_use]
    pub(super) fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "an internal error occurred",
        )
    }

    /// 503: something this depends on is overloaded or down; try again in a second. `cause` goes to
    /// the log, once, and nowhere else.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the service is temporarily unavailable",
        )
        .with_retry_after(1)
        .with_cause(cause)
    }

    /// 503 for a failure of AWS that passes, 500 for one that does not.
    #[must_use]
    pub fn aws<E>(error: SdkError<E>) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let retryable = aws::is_transient(&error);
        Self::failed(error, retryable)
    }

    /// 503 for a failure that may pass, 500 for one that does not.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>, retryable: bool) -> Self {
        if retryable {
            Self::unavailable(error)
        } else {
            Self::internal(error)
        }
    }

    /// Adds what is wrong with one part of the input.
    #[must_use]
    pub fn with_error(mut self, error: FieldError) -> Self {
        self.0.errors.push(error);
        self
    }

    /// Adds what is wrong with several parts of the input.
    #[must_use]
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        self.0.errors.extend(errors);
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(self, seconds: u32) -> Self {
        self.with_header(RETRY_AFTER, seconds.into())
    }

    /// Adds the cause, for the log only.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable word that names the problem.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What went wrong, as the caller reads it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    fn body(&self, invocation: Option<&telemetry::Invocation>) -> Vec<u8> {
        let parts = &self.0;
        let body = ProblemBody {
            kind: format!("https://errors.invalid/{}", parts.code),
            title: parts.status.canonical_reason().unwrap_or("Error"),
            status: parts.status.as_u16(),
            detail: &parts.detail,
            instance: invocation.and_then(|i| i.path.as_deref()),
            code: &parts.code,
            correlation_id: invocation.map(|i| i.trace.correlation_id.as_str()),
            errors: &parts.errors,
        };
        // Strings and numbers under fixed keys have no way to fail.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        let retryable = error.retryable();
        Self::failed(error, retryable)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.status.as_u16(), self.0.code)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0
            .cause
            .as_deref()
            .map(|cause| cause as &(dyn Error + 'static))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(cause) = &self.0.cause {
            let error = telemetry::chain(cause.as_ref());
            if self.0.status.is_server_error() {
                tracing::error!(error, code = self.code(), "request failed");
            } else {
                tracing::info!(error, code = self.code(), "request refused");
            }
        }
        let body = self.body(telemetry::current().as_deref());
        let mut headers = self.0.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        (self.0.status, headers, body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::platform::telemetry::{Invocation, TraceContext, scope};

    async fn body(response: Response) -> Value {
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await;
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_names_the_request_and_every_wrong_part() {
        let trace = TraceContext::resolve(Some("abc"), None, Timestamp::UNIX_EPOCH, [0; 10]);
        let invocation = Invocation::begin(None, trace).with_path("/api/orders");
        let response = scope(invocation, async {
            Problem::unprocessable("invalid-body", "the order is invalid")
                .with_error(FieldError::new(
                    "/items/0/quantity",
                    "out-of-range",
                    "must be at least 1",
                ))
                .into_response()
        })
        .await;
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        insta::assert_json_snapshot!(body(response).await, @r#"
        {
          "code": "invalid-body",
          "correlation_id": "abc",
          "detail": "the order is invalid",
          "errors": [
            {
              "code": "out-of-range",
              "detail": "must be at least 1",
              "pointer": "/items/0/quantity"
            }
          ],
          "instance": "/api/orders",
          "status": 422,
          "title": "Unprocessable Entity",
          "type": "https://errors.invalid/invalid-body"
        }
        "#);
    }

    #[tokio::test]
    async fn a_cause_never_leaves() {
        let cause = std::io::Error::other("table Sales-prod at 10.0.0.7 said no");
        for problem in [
            Problem::internal(std::io::Error::other("Sales-prod")),
            Problem::unavailable(cause),
        ] {
            let text = body(problem.into_response()).await.to_string();
            assert!(!text.contains("Sales"), "{text}");
        }
    }

    #[test]
    fn statuses_come_with_their_headers() {
        let header = |problem: Problem, name: HeaderName| {
            let response = problem.into_response();
            response.headers()[name].to_str().unwrap().to_owned()
        };
        assert_eq!(
            header(Problem::unauthorized(), WWW_AUTHENTICATE),
            r#"Bearer error="invalid_token""#
        );
        assert_eq!(header(Problem::too_many_requests(7), RETRY_AFTER), "7");
        assert_eq!(header(Problem::unavailable("down"), RETRY_AFTER), "1");
    }
}
