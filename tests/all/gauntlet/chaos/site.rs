//! An API under faults, and what it may answer.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request};
use jiff::SignedDuration;
use lambda_http::{RequestExt as _, request::RequestContext};
use serde_json::Value;
use shared::platform::{caller::Caller, clock::Clock, http::App, ids::Random};

use crate::support::chaos::Chaos;

/// Times that a caller asks again.
const PATIENCE: usize = 60;

/// An API of the template.
pub(super) struct Site {
    app: App,
    function: &'static str,
    chaos: Arc<Chaos>,
    clock: Clock,
}

/// A request that can be made again.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    caller: &'a Caller,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    context: Option<RequestContext>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl<'a> Ask<'a> {
    pub(super) fn new(caller: &'a Caller, method: Method, path: impl Into<String>) -> Self {
        Self {
            caller,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            context: None,
        }
    }

    pub(super) fn get(caller: &'a Caller, path: impl Into<String>) -> Self {
        Self::new(caller, Method::GET, path)
    }

    pub(super) fn post(caller: &'a Caller, path: impl Into<String>) -> Self {
        Self::new(caller, Method::POST, path)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn key(self, key: impl Into<String>) -> Self {
        self.header("idempotency-key", key)
    }

    /// As API Gateway says who calls.
    pub(super) fn context(mut self, context: RequestContext) -> Self {
        self.context = Some(context);
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(super) fn body(mut self, kind: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) const fn is_success(&self) -> bool {
        self.status < 300
    }

    fn says_when(&self) -> bool {
        self.header("retry-after").is_some()
    }

    /// Whether the request was not heard, or its answer is not known yet. A conflict of another kind is for
    /// the caller to wait for.
    fn is_for_now(&self) -> bool {
        let is_running = || self.json()["code"] == "idempotency-in-progress";
        self.says_when() && (self.status != 409 || is_running())
    }
}

impl Site {
    pub(super) fn new(
        function: &'static str,
        router: Router,
        chaos: &Arc<Chaos>,
        clock: &Clock,
    ) -> Self {
        Self {
            app: App::with(router, clock.clone(), Random::seeded(1)),
            function,
            chaos: chaos.clone(),
            clock: clock.clone(),
        }
    }

    /// Answers a request.
    ///
    /// # Panics
    ///
    /// When the answer is none that a caller can do something about: a server error other than one that
    /// says when to try again, or an error that is no problem document.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Answer {
        let serve = |context| {
            let mut request = Request::builder()
                .method(&ask.method)
                .uri(&ask.path)
                .extension(ask.caller.clone());
            for (name, value) in &ask.headers {
                request = request.header(*name, value);
            }
            if let Some(context) = &ask.context {
                request = request.extension(context.clone());
            }
            let request = request.body(Body::from(ask.body.clone())).unwrap();
            self.app.serve(request.with_lambda_context(context))
        };
        let answer = self.chaos.invoke(self.function, serve).await;
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let told = || format!("{ask:?}: {answer:?}: {}", self.chaos.replay());
        if answer.status >= 400 {
            let kind = answer.header("content-type");
            assert_eq!(kind, Some("application/problem+json"), "{}", told());
        }
        let is_polite = answer.status < 500 || (answer.status == 503 && answer.says_when());
        assert!(is_polite, "{}", told());
        let says_when = answer.status != 429 || answer.says_when();
        assert!(says_when, "{}", told());
        answer
    }

    /// Asks until the answer is a lasting one, waiting as long as each answer says.
    pub(super) async fn insist(&self, ask: &Ask<'_>) -> Answer {
        for _ in 0..PATIENCE {
            let answer = self.ask(ask).await;
            if !answer.is_for_now() {
                return answer;
            }
            let seconds = answer
                .header("retry-after")
                .and_then(|text| text.parse().ok());
            self.clock.advance(SignedDuration::from_secs(
                seconds.expect("it is in seconds"),
            ));
        }
        panic!("no lasting answer: {ask:?}: {}", self.chaos.replay());
    }
}
