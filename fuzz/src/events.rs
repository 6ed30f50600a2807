//! Whatever comes as an event is read or refused: batches of a queue, records of a stream, files put,
//! requests, and our own events on the bus. A batch says of each message whether it comes again; an
//! event is the same once it was written.

use std::{cell::RefCell, collections::BTreeSet, future::Future, sync::Mutex};

use aws_lambda_events::{
    apigw::ApiGatewayProxyRequest,
    dynamodb::Event as Stream,
    eventbridge::EventBridgeEvent,
    s3::S3Event,
    sqs::{SqsEvent, SqsMessage},
};
use jiff::Timestamp;
use lambda_http::{Request, RequestExt as _, request::LambdaRequest};
use serde_json::Value;
use shared::{
    events::{cloud_event, model::Event, store},
    platform::{
        batch::{self, FailedMessages, Failure},
        caller::Caller,
        clock::Clock,
        ids::Random,
        table::Item,
    },
};

/// A dead-letter queue that takes every other message.
#[derive(Default)]
struct Queue {
    buried: Mutex<Vec<String>>,
    refused: Mutex<Vec<String>>,
}

impl FailedMessages for Queue {
    fn bury(&self, message: &SqsMessage, reason: &str) -> impl Future<Output = bool> + Send {
        assert!(!reason.is_empty());
        let id = message.message_id.clone().unwrap_or_default();
        let takes = id.len().is_multiple_of(2);
        let list = if takes { &self.buried } else { &self.refused };
        list.lock().expect("nothing panics that holds it").push(id);
        std::future::ready(takes)
    }

    async fn hide(&self, _: &SqsMessage, seconds: u32) {
        assert!(seconds <= 900);
    }
}

/// An event that came is the same once it was written, but for what is finer than a millisecond.
fn round_trip(event: &Event) {
    let text = cloud_event::to_json(event).expect("an event is JSON");
    let value: Value = serde_json::from_str(&text).expect("an event is JSON");
    let again = cloud_event::parse(&value).expect("what was written can be read");
    let millisecond = |at: Timestamp| at.as_millisecond();
    assert!(millisecond(event.at).abs_diff(millisecond(again.at)) <= 1);
    assert_eq!(
        (again.id(), &again.kind, &again.data),
        (event.id(), &event.kind, &event.data)
    );
    assert_eq!(again.trace(), event.trace());
    assert_eq!(
        cloud_event::to_json(&again).expect("an event is JSON"),
        text
    );
}

async fn queue(event: SqsEvent) {
    let count = event.records.len();
    let ids: Vec<Option<String>> = event.records.iter().map(|m| m.message_id.clone()).collect();
    let failed = Queue::default();
    let (clock, random) = (Clock::fixed(Timestamp::UNIX_EPOCH), Random::seeded(1));
    // A panic of the handler would count as a failure of its message, so what it finds is looked at
    // behind it.
    let seen: Mutex<Vec<Option<Event>>> = Mutex::default();
    let context = lambda_runtime::Context::default();
    let answer = batch::consume(&context, event, &failed, (&clock, &random), |message| {
        let body = message.body.unwrap_or_default();
        let (found, outcome) = match cloud_event::delivered(&body) {
            Ok(event) => (Some(event), Ok(())),
            Err(_) if body.is_empty() => (None, Err(Failure::Transient)),
            Err(error) => (None, Err(Failure::permanent(error.to_string()))),
        };
        seen.lock()
            .expect("nothing panics that holds it")
            .push(found);
        std::future::ready(outcome)
    });
    let Ok(answer) = answer.await else {
        assert!(
            ids.contains(&None),
            "a batch fails whole for a missing id alone"
        );
        return;
    };
    let seen = seen.into_inner().expect("nothing panics that holds it");
    assert_eq!(seen.len(), count);
    seen.iter().flatten().for_each(round_trip);
    let again: Vec<String> = answer
        .batch_item_failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    let known: BTreeSet<&str> = ids.iter().flatten().map(String::as_str).collect();
    assert!(again.iter().all(|id| known.contains(id.as_str())));
    let refused = failed.refused.lock().expect("nothing panics that holds it");
    assert!(
        refused.iter().all(|id| again.contains(id)),
        "what nobody took comes again"
    );
    let buried = failed
        .buried
        .lock()
        .expect("nothing panics that holds it")
        .len();
    assert!(again.len() + buried <= count, "one fate a message");
}

fn stream(stream: Stream) {
    for record in stream.records {
        let keys = Item::from(record.change.keys);
        let item = Item::from(record.change.new_image);
        let _ = store::is_event(&keys);
        if let Ok(event) = store::event(&item) {
            round_trip(&event);
        }
    }
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts"),
    );
}

/// Whether a request has the host, scheme and path that API Gateway sends, or none: `lambda_http` makes an
/// address of them, and panics where that is none.
fn is_of_the_gateway(request: &ApiGatewayProxyRequest) -> bool {
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let is_label =
        |label: &str| !label.starts_with("xn--") && label.replace('-', "").chars().all(plain);
    let is_host = |host: &str| host.ends_with(".amazonaws.com") && host.split('.').all(is_label);
    let header = |name: &str| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    // The name of the domain stands in for a header that is missing.
    let host = header("host").or(request.request_context.domain_name.as_deref());
    let scheme = header("x-forwarded-proto");
    let path = request.path.as_deref();
    host.is_none_or(is_host)
        && scheme.is_none_or(|scheme| scheme == "https")
        && path.is_none_or(|path| path.starts_with('/'))
}

/// Tries an input as each kind of event.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(bytes: &[u8]) {
    if let Ok(event) = serde_json::from_slice::<SqsEvent>(bytes)
        && event.records.len() <= 100
    {
        RUNTIME.with_borrow(|runtime| runtime.block_on(queue(event)));
    }
    if let Ok(event) = serde_json::from_slice::<Stream>(bytes) {
        stream(event);
    }
    if let Ok(event) = serde_json::from_slice::<S3Event>(bytes) {
        let _ = serde_json::to_value(&event).expect("what was read can be written");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(event) = serde_json::from_str::<EventBridgeEvent<Value>>(text)
        && let Ok(own) = cloud_event::parse(&event.detail)
    {
        round_trip(&own);
        assert!(cloud_event::delivered(text).is_ok());
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        if let Ok(event) = cloud_event::parse(&value) {
            round_trip(&event);
        }
        if let Some(claims) = value.as_object()
            && let Some(caller) = Caller::from_claims(claims)
        {
            assert!(!caller.sub().is_empty() && caller.groups().len() <= 2);
        }
    }
    if let Ok(LambdaRequest::ApiGatewayV1(request)) = serde_json::from_str(text)
        && is_of_the_gateway(&request)
        && let request = Request::from(LambdaRequest::ApiGatewayV1(request))
        && let Some(context) = request.request_context_ref()
        && let Some(caller) = Caller::from_request_context(context)
    {
        assert!(!caller.sub().is_empty() && caller.sub().is_ascii());
    }
}
