//! What surrounds every router: ids, headers, paths, limits, errors, the access log and metrics.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use lambda_http::RequestExt as _;
use tower::{Service, ServiceExt as _};

use crate::platform::caller::Caller;
use crate::platform::clock::Clock;
use crate::platform::deadline::deadline;
use crate::platform::ids::Random;
use crate::platform::problem::Problem;
use crate::platform::telemetry::{
    self, CORRELATION_HEADER, Invocation, Metrics, TraceContext, Unit,
};

/// Bytes that a request body may have: what Lambda itself can pass on (6 MiB).
const MAX_BODY: usize = 6 * 1024 * 1024;

/// Time before the end of an invocation at which a request is given up, so that its caller is told.
const SPARE: Duration = Duration::from_secs(1);

/// Serves `router` under Lambda behind API Gateway, with everything [`App`] adds, an access log line
/// and the metrics `Requests`, `Errors4xx`, `Errors5xx` and `Latency`.
///
/// # Errors
/// When the Lambda runtime fails; the process then ends and Lambda starts another.
pub async fn run(router: Router) -> Result<(), lambda_http::Error> {
    let app = App::new(router);
    let metrics = Metrics::from_env();
    lambda_http::run(lambda_http::service_fn(move |request| {
        let (app, metrics) = (app.clone(), metrics.clone());
        async move {
            let response = app.serve(request).await;
            if let Some(outcome) = response.extensions().get::<Outcome>() {
                outcome.metrics(metrics).flush(app.clock.now());
            }
            Ok::<_, Infallible>(response)
        }
    }))
    .await
}

/// A router with everything that surrounds it in production, callable without Lambda.
///
/// Around the router: the correlation id is taken or made and sent back; the caller is read from the
/// authorizer's claims; trailing slashes are dropped before routing; a body over 6 MiB is 413; what the
/// router answers in plain text (an unknown path, a wrong method) becomes a problem, and so does a
/// panic; who works on when the invocation is about to end is stopped where it is, as Lambda would stop it,
/// and the caller told to try again; every response carries the security headers and, unless it says
/// otherwise, `no-store`.
#[derive(Clone)]
pub struct App {
    router: Router,
    clock: Clock,
    random: Random,
}

/// What became of a request: the access log's line and the metrics.
#[derive(Clone, Debug)]
struct Outcome {
    method: Method,
    route: String,
    status: StatusCode,
    milliseconds: f64,
}

/// The template of the route that answered.
#[derive(Clone)]
struct Route(MatchedPath);

impl App {
    /// Surrounds `router`.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self::with(router, Clock::system(), Random::system())
    }

    /// Surrounds `router`, with correlation ids made from the given sources.
    #[must_use]
    pub fn with(router: Router, clock: Clock, random: Random) -> Self {
        let router = router
            // The whole body is measured before routing, so extractors need no second limit.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn(note_route));
        Self {
            router,
            clock,
            random,
        }
    }

    /// Answers one request. Every failure is an answer too.
    pub async fn serve<B>(&self, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let started = Instant::now();
        let trace = self.trace(request.headers());
        let invocation = Invocation::begin(request.lambda_context_ref(), trace.clone())
            .with_path(request.uri().path());
        let (method, left) = (request.method().clone(), self.time_for(&request));
        telemetry::scope(invocation, async {
            let routed = AssertUnwindSafe(self.route(request)).catch_unwind();
            let mut response = match tokio::time::timeout(left, routed).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => Problem::panicked().into_response(),
                Err(elapsed) => Problem::unavailable(elapsed).into_response(),
            };
            if method == Method::HEAD {
                *response.body_mut() = Body::empty();
            }
            set_headers(response.headers_mut(), &trace);
            let outcome = Outcome {
                route: response
                    .extensions()
                    .get::<Route>()
                    .map_or("unmatched", |route| route.0.as_str())
                    .to_owned(),
                method,
                status: response.status(),
                milliseconds: whole_microseconds(started.elapsed()),
            };
            outcome.log();
            response.extensions_mut().insert(outcome);
            response
        })
        .await
    }

    /// How long a request may be worked on.
    fn time_for<B>(&self, request: &Request<B>) -> Duration {
        let deadline = request.lambda_context_ref().and_then(deadline);
        let left = deadline.map(|deadline| deadline.duration_since(self.clock.now()));
        left.map_or(Duration::MAX, |left| {
            let left = Duration::try_from(left).unwrap_or_default();
            left.saturating_sub(SPARE)
        })
    }

    fn trace(&self, headers: &HeaderMap) -> TraceContext {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        TraceContext::resolve(
            text(CORRELATION_HEADER),
            text("traceparent"),
            self.clock.now(),
            self.random.bytes(),
        )
    }

    async fn route<B>(&self, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let caller = request
            .request_context_ref()
            .and_then(Caller::from_request_context);
        let (mut parts, body) = request.into_parts();
        if let Some(caller) = caller {
            parts.extensions.insert(caller);
        }
        parts.uri = without_trailing_slash(parts.uri);
        let Ok(body) = axum::body::to_bytes(Body::new(body), MAX_BODY).await else {
            return Problem::too_large(MAX_BODY).into_response();
        };
        let request = Request::from_parts(parts, Body::from(body));
        let Ok(response) = self.router.clone().oneshot(request).await;
        as_problem(response)
    }
}

impl<B> Service<Request<B>> for App
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let app = self.clone();
        Box::pin(async move { Ok(app.serve(request).await) })
    }
}

impl Outcome {
    fn log(&self) {
        tracing::info!(
            method = self.method.as_str(),
            route = self.route,
            status = self.status.as_u16(),
            duration_ms = self.milliseconds,
            "request served"
        );
    }

    fn metrics(&self, mut metrics: Metrics) -> Metrics {
        metrics.count("Requests", 1);
        metrics.count("Errors4xx", self.status.is_client_error().into());
        metrics.count("Errors5xx", self.status.is_server_error().into());
        metrics.put("Latency", Unit::Milliseconds, self.milliseconds);
        metrics
    }
}

/// Milliseconds without the digits that no clock measures.
fn whole_microseconds(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}

async fn note_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(Route(route));
    }
    response
}

fn without_trailing_slash(uri: Uri) -> Uri {
    let path = uri.path().trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    if path == uri.path() {
        return uri;
    }
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // A prefix of a valid path with its own query is valid.
    path_and_query.parse().unwrap_or(uri)
}

/// The framework answers errors of its own in plain text; callers get problems only.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !is_plain {
        return response;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => Problem::not_found("there is no such resource"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(MAX_BODY),
        _ if status.is_server_error() => Problem::internal(format!("the router answered {status}")),
        _ => {
            let title = status.canonical_reason().unwrap_or("Error");
            let code = title.to_lowercase().replace(' ', "-");
            Problem::new(status, code, "the request is malformed")
        }
    };
    let (mut kept, _) = response.into_parts();
    let (parts, body) = problem.into_response().into_parts();
    kept.headers.remove(http::header::CONTENT_LENGTH);
    kept.headers.extend(parts.headers);
    kept.status = parts.status;
    Response::from_parts(kept, body)
}

fn set_headers(headers: &mut HeaderMap, trace: &TraceContext) {
    for (name, value) in [
        (
            STRICT_TRANSPORT_SECURITY,
            "max-age=31536000; includeSubDomains; preload",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(trace.correlation_id.as_str()) {
        headers.insert(CORRELATION_HEADER, id);
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use axum::routing::{get, post};
    use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;
    use crate::platform::caller::Group;
    use crate::platform::problem::PROBLEM_JSON;

    async fn boom() -> &'static str {
        panic!("secret reason")
    }

    fn app() -> App {
        let router = Router::new()
            .route("/things", get(|| async { "all" }).post(|| async { "made" }))
            .route(
                "/things/{id}",
                get(|Path(id): Path<u8>| async move { id.to_string() }),
            )
            .route(
                "/me",
                get(|caller: Caller| async move { caller.sub().to_owned() }),
            )
            .route(
                "/body",
                post(|body: Bytes| async move { body.len().to_string() }),
            )
            .route("/boom", get(boom))
            .route("/forever", get(std::future::pending::<&'static str>))
            .route(
                "/page",
                get(|| async { ([(CACHE_CONTROL, "max-age=60")], "page") }),
            );
        App::with(
            router,
            Clock::fixed(Timestamp::UNIX_EPOCH),
            Random::seeded(1),
        )
    }

    async fn send(
        request: http::request::Builder,
        body: impl Into<Body>,
    ) -> (Response<()>, String) {
        let response = app().serve(request.body(body.into()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (Response::from_parts(parts, ()), text)
    }

    fn code(body: &str) -> String {
        let body: Value = serde_json::from_str(body).unwrap();
        body["code"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn every_response_carries_the_security_headers() {
        let (response, body) = send(Request::get("/nowhere/"), "").await;
        let headers: std::collections::BTreeMap<_, _> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        insta::assert_json_snapshot!(headers, @r#"
        {
          "cache-control": "no-store",
          "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
          "content-type": "application/problem+json",
          "referrer-policy": "no-referrer",
          "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
          "x-content-type-options": "nosniff",
          "x-correlation-id": "00000000-0000-715c-8289-ec2d0a9167ec",
          "x-frame-options": "DENY"
        }
        "#);
        let body: Value = serde_json::from_str(&body).unwrap();
        insta::assert_json_snapshot!(body, @r#"
        {
          "code": "not-found",
          "correlation_id": "00000000-0000-715c-8289-ec2d0a9167ec",
          "detail": "there is no such resource",
          "instance": "/nowhere/",
          "status": 404,
          "title": "Not Found",
          "type": "https://errors.invalid/not-found"
        }
        "#);
    }

    #[tokio::test]
    async fn a_trailing_slash_means_the_same() {
        for path in ["/things", "/things/", "/things/?a=b", "/things//"] {
            assert_eq!(send(Request::get(path), "").await.1, "all", "{path}");
        }
        assert_eq!(send(Request::get("/things/7/"), "").await.1, "7");
    }

    #[tokio::test]
    async fn a_wrong_method_is_told_the_right_ones() {
        let (response, body) = send(Request::delete("/things/"), "").await;
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[ALLOW], "GET,HEAD,POST");
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(code(&body), "method-not-allowed");
    }

    #[tokio::test]
    async fn what_an_extractor_refuses_is_a_problem() {
        let (response, body) = send(Request::get("/things/seven"), "").await;
        assert_eq!(
            (response.status().as_u16(), code(&body).as_str()),
            (400, "bad-request")
        );
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_without_its_reason() {
        let (response, body) = send(Request::get("/boom"), "").await;
        assert_eq!(
            (response.status().as_u16(), code(&body).as_str()),
            (500, "internal-error")
        );
        assert!(!body.contains("secret"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_works_on_when_the_invocation_is_about_to_end_is_stopped_and_the_caller_told() {
        let mut context = lambda_http::lambda_runtime::Context::default();
        context.deadline = 29_000;
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let begun = tokio::time::Instant::now();
            let request = request.with_lambda_context(context.clone());
            (app().serve(request).await, begun.elapsed())
        };
        let (response, took) = ask("/forever").await;
        assert_eq!((response.status().as_u16(), took.as_secs()), (503, 28));
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        let (response, took) = ask("/things").await;
        assert_eq!((response.status().as_u16(), took.as_secs()), (200, 0));
    }

    #[tokio::test]
    async fn head_answers_as_get_without_a_body() {
        for (path, status) in [("/things", 200), ("/nowhere", 404)] {
            let (response, body) = send(Request::head(path), "").await;
            assert_eq!((response.status().as_u16(), body.as_str()), (status, ""));
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let (response, _) = send(Request::post("/body"), vec![0; MAX_BODY]).await;
        assert_eq!(response.status(), 200);
        let (response, body) = send(Request::post("/body"), vec![0; MAX_BODY + 1]).await;
        assert_eq!(
            (response.status().as_u16(), code(&body).as_str()),
            (413, "body-too-large")
        );
    }

    #[tokio::test]
    async fn a_route_may_say_how_long_it_keeps() {
        let (response, _) = send(Request::get("/page"), "").await;
        assert_eq!(response.headers()[CACHE_CONTROL], "max-age=60");
    }

    #[tokio::test]
    async fn a_correlation_id_comes_back_if_it_is_one() {
        let (response, _) = send(
            Request::get("/things").header("X-Correlation-Id", "abc"),
            "",
        )
        .await;
        assert_eq!(response.headers()[CORRELATION_HEADER], "abc");
        let (response, _) = send(
            Request::get("/things").header("X-Correlation-Id", "a b"),
            "",
        )
        .await;
        assert_ne!(response.headers()[CORRELATION_HEADER], "a b");
    }

    #[tokio::test]
    async fn a_caller_comes_from_the_authorizer_and_from_nowhere_else() {
        let (response, _) = send(Request::get("/me").header("x-sub", "u-1"), "").await;
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));

        let event = serde_json::json!({
            "resource": "/me", "path": "/me/", "httpMethod": "GET",
            "headers": {"Host": "api.example.com"},
            "multiValueHeaders": {"Host": ["api.example.com"]},
            "queryStringParameters": null, "multiValueQueryStringParameters": null,
            "pathParameters": null, "stageVariables": null, "body": null, "isBase64Encoded": false,
            "requestContext": {
                "httpMethod": "GET", "resourcePath": "/me", "path": "/me/", "protocol": "HTTP/1.1",
                "requestId": "r-1", "identity": {"sourceIp": "127.0.0.1"},
                "authorizer": {"claims": {"sub": "u-1", "cognito:groups": "admin"}},
            },
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let context = request.request_context_ref().unwrap();
        let caller = Caller::from_request_context(context).unwrap();
        assert_eq!(caller, Caller::new("u-1", [Group::Admin]));
        let response = app().serve(request).await;
        let body = axum::body::to_bytes(response.into_body(), 1024).await;
        assert_eq!(body.unwrap(), "u-1");
    }

    #[tokio::test]
    async fn the_outcome_names_the_template_and_never_the_path() {
        let request = Request::get("/things/7?token=x")
            .body(Body::empty())
            .unwrap();
        let response = app().oneshot(request).await.unwrap();
        let outcome = response.extensions().get::<Outcome>().unwrap();
        assert_eq!(outcome.route, "/things/{id}");
        let lines = outcome
            .metrics(Metrics::new("Millrace", "test"))
            .render(Timestamp::UNIX_EPOCH);
        let metrics: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(metrics["Requests"], 1.0);
        assert_eq!(metrics["Errors4xx"], 0.0);
    }
}
