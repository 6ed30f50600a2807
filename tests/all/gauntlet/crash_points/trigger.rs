//! How handlers are called: by requests, and by messages of a queue.

use std::cell::RefCell;

use aws_lambda_events::sqs::SqsBatchResponse;
use axum::{Router, body::Body};
use http::{Method, Request};
use jiff::SignedDuration;
use lambda_http::request::RequestContext;
use lambda_runtime::Context as LambdaContext;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::{
    platform::{caller::Caller, clock::Clock, http::App, ids::Random},
    sensors::key::model::KeyId,
};

use super::driver::Delivery;

/// What the runtime says to a function that has plenty of time.
pub(super) fn context(clock: &Clock) -> LambdaContext {
    let deadline = clock.now() + SignedDuration::from_mins(15);
    let mut context = LambdaContext::default();
    context.deadline = deadline.as_millisecond().unsigned_abs();
    context
}

/// A request that can be made again.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) caller: Caller,
    method: Method,
    pub(super) path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    key: Option<KeyId>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    asks_to_retry: bool,
}

impl Ask {
    pub(super) fn new(caller: Caller, method: Method, path: impl Into<String>) -> Self {
        Self {
            caller,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            key: None,
        }
    }

    pub(super) fn post(caller: Caller, path: impl Into<String>, body: &Value) -> Self {
        Self::new(caller, Method::POST, path).json(body)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// With an `Idempotency-Key`.
    pub(super) fn once(self) -> Self {
        self.header("idempotency-key", "once")
    }

    /// With an `If-Match`.
    pub(super) fn matching(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(super) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", kind)
    }

    /// Of a device that came with this key.
    pub(super) fn of_key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// The request with the `n`th of these for each `{n}`.
    pub(super) fn filled(&self, ids: &[String]) -> Self {
        let fill = |text: String| {
            let ids = ids.iter().enumerate();
            ids.fold(text, |text, (n, id)| text.replace(&format!("{{{n}}}"), id))
        };
        let body = String::from_utf8(self.body.clone()).expect("bodies are text");
        Self {
            path: fill(self.path.clone()),
            body: fill(body).into_bytes(),
            ..self.clone()
        }
    }

    /// The answer of a function of its own.
    pub(super) async fn of(&self, router: Router, clock: &Clock) -> Answer {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header("x-correlation-id", "c-1")
            .extension(self.caller.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some(key) = &self.key {
            let mut context =
                lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequestContext::default();
            let fields = &mut context.authorizer.fields;
            fields.insert("key".to_owned(), json!(key.to_string()));
            request = request.extension(RequestContext::ApiGatewayV1(context));
        }
        let request = request
            .body(Body::from(self.body.clone()))
            .expect("it is a request");
        let app = App::with(router, clock.clone(), Random::system());
        let (parts, body) = app.serve(request).await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await;
        let body = body.expect("the answer is in memory");
        Answer {
            status: parts.status.as_u16(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            asks_to_retry: parts.headers.contains_key("retry-after"),
        }
    }
}

impl Answer {
    /// Whether the caller is done, or has to ask again.
    pub(super) const fn delivery(&self) -> Delivery {
        Delivery::done(!self.asks_to_retry && self.status < 500)
    }

    /// The identifier of what was made.
    pub(super) fn id(&self) -> String {
        let id = self.body["id"].as_str();
        id.unwrap_or_else(|| panic!("{self:?} tells of something"))
            .to_owned()
    }
}

/// The messages that a queue still has to deliver.
#[derive(Debug)]
pub(super) struct Messages(RefCell<Vec<(String, String)>>);

impl Messages {
    pub(super) fn new(bodies: impl IntoIterator<Item = String>) -> Self {
        let bodies = bodies.into_iter().enumerate();
        Self(RefCell::new(
            bodies.map(|(at, body)| (format!("m-{at}"), body)).collect(),
        ))
    }

    /// The event that brings them for the `nth` time.
    pub(super) fn event<T: DeserializeOwned>(&self, nth: u32) -> T {
        let left = self.0.borrow();
        let records = left.iter().map(|(id, body)| {
            json!({
                "messageId": id, "receiptHandle": "r", "body": body, "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:queue", "awsRegion": "us-east-1",
                "attributes": {"ApproximateReceiveCount": nth.to_string()}, "messageAttributes": {},
            })
        });
        let event = json!({"Records": records.collect::<Value>()});
        serde_json::from_value(event).expect("it is an event of a queue")
    }

    /// Takes those off that are done with.
    pub(super) fn settle(&self, response: &SqsBatchResponse) -> Delivery {
        let failures = &response.batch_item_failures;
        let failed = |id: &String| {
            failures
                .iter()
                .any(|failure| failure.item_identifier == *id)
        };
        let mut left = self.0.borrow_mut();
        left.retain(|(id, _)| failed(id));
        Delivery::done(left.is_empty())
    }
}
