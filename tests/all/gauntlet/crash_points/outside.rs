//! The services around the tables, which note what they are asked: queues, the bus, e-mail and text messages,
//! the user pool, and API Gateway's keys.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use serde_json::{Value, json};
use shared::{platform::aws::Connection, testing::answering};

use crate::support::faults::Plan;

/// The usage plan that device keys are in.
pub(super) const USAGE_PLAN: &str = "millrace-test-devices";

/// What the services know.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Queue and body of each message, in order.
    pub(super) messages: Vec<(String, String)>,
    /// The events on the bus, in order.
    pub(super) events: Vec<Value>,
    /// What was mailed or texted.
    pub(super) sent: Vec<String>,
    /// Who may sign in.
    pub(super) people: Vec<String>,
    /// API Gateway's keys: identifier, name, and whether it is in the plan.
    pub(super) keys: Vec<(String, String, bool)>,
    made: usize,
}

/// The services.
#[derive(Debug, Clone, Default)]
pub(super) struct Outside(Arc<Mutex<Books>>);

impl Outside {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way there of a process that goes by `plan`.
    pub(super) fn connection(&self, plan: &Arc<Plan>) -> Connection {
        let outside = self.clone();
        let http = answering(move |request| outside.books().answer(&request));
        Connection::to_emulator("http://services.invalid", plan.over(http))
    }

    /// Takes the bodies of all messages out of a queue.
    pub(super) fn take(&self, queue: &str) -> Vec<String> {
        let mut books = self.books();
        let of = |(url, _): &mut (String, String)| url.ends_with(queue);
        let taken = books.messages.extract_if(.., of).map(|(_, body)| body);
        taken.collect()
    }
}

impl Books {
    fn answer(&mut self, request: &Request<aws_smithy_types::body::SdkBody>) -> Response<String> {
        let body = request.body().bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(body).into_owned();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let target = request.headers().get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok()?.rsplit('.').next());
        let (status, answer) = match target {
            Some(operation) => self.call(operation, &json),
            None if text.starts_with("Action=Publish") => {
                self.sent.push(text);
                let answer = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult>\
                    </PublishResponse>";
                return Response::new(answer.to_owned());
            }
            None if request.uri().path().contains("/email/") => {
                self.sent.push(json.to_string());
                (200, json!({"MessageId": "m"}))
            }
            None => {
                let target = request.uri().path_and_query();
                let target = target.map(ToString::to_string).unwrap_or_default();
                self.gateway(request.method().as_str(), &target, &json)
            }
        };
        let code = answer["__type"].as_str().unwrap_or_default();
        let response = Response::builder().status(status);
        let response = response.header("x-amzn-errortype", code);
        response.body(answer.to_string()).expect("it is an answer")
    }

    fn call(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match operation {
            "SendMessage" => {
                let message = (text(&body["QueueUrl"]), text(&body["MessageBody"]));
                self.messages.push(message);
                (200, json!({"MessageId": "m"}))
            }
            "SendMessageBatch" => {
                let entries = body["Entries"].as_array().expect("there are messages");
                for entry in entries {
                    let message = (text(&body["QueueUrl"]), text(&entry["MessageBody"]));
                    self.messages.push(message);
                }
                let done = |entry: &Value| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""});
                let done: Value = entries.iter().map(done).collect();
                (200, json!({"Successful": done, "Failed": []}))
            }
            "ChangeMessageVisibility" => (200, json!({})),
            "PutEvents" => {
                let entries = body["Entries"].as_array().expect("there are events");
                for entry in entries {
                    let detail = serde_json::from_str(&text(&entry["Detail"]));
                    self.events.push(detail.expect("an event is JSON"));
                }
                let done: Value = entries.iter().map(|_| json!({"EventId": "e"})).collect();
                (200, json!({"FailedEntryCount": 0, "Entries": done}))
            }
            "AdminDeleteUser" => {
                let before = self.people.len();
                self.people.retain(|known| body["Username"] != **known);
                if self.people.len() < before {
                    (200, json!({}))
                } else {
                    (400, json!({"__type": "UserNotFoundException"}))
                }
            }
            other => panic!("nobody is asked for {other}"),
        }
    }

    fn gateway(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let path = target.split('?').next().unwrap_or_default();
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["usageplans"]) => (200, json!({"item": [{"id": "p1", "name": USAGE_PLAN}]})),
            ("POST", ["apikeys"]) => {
                let name = body["name"].as_str().expect("a key has a name").to_owned();
                if self.keys.iter().any(|(_, known, _)| *known == name) {
                    return (409, json!({"__type": "ConflictException"}));
                }
                self.made += 1;
                let id = format!("k{}", self.made);
                self.keys.push((id.clone(), name, false));
                (201, json!({"id": id}))
            }
            ("GET", ["apikeys"]) => {
                let found = self.keys.iter();
                let found = found.filter(|(_, name, _)| target.ends_with(name.as_str()));
                let found: Value = found
                    .map(|(id, name, _)| json!({"id": id, "name": name}))
                    .collect();
                (200, json!({"item": found}))
            }
            ("POST", ["usageplans", "p1", "keys"]) => {
                for (id, _, is_in_plan) in &mut self.keys {
                    *is_in_plan |= body["keyId"] == **id;
                }
                (201, json!({}))
            }
            ("DELETE", ["apikeys", id]) => {
                let before = self.keys.len();
                self.keys.retain(|(known, _, _)| known != id);
                if self.keys.len() == before {
                    return (404, json!({"__type": "NotFoundException"}));
                }
                (202, Value::Null)
            }
            _ => panic!("nobody is asked for {method} {target}"),
        }
    }
}
