//! The operations of the API's document, and requests made of them.

use serde_json::{Map, Value, json};

use crate::support::api::{Call, Role, call};
use crate::support::sensors::JSON;
use crate::support::stack::{stack, unique};

/// Values of the query parameters that some operations cannot do without: those of sensors take times,
/// the others days.
fn required(path: &str) -> [(&'static str, &'static str); 3] {
    let (start, end) = if path.starts_with("/api/sensors/") {
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    } else {
        ("2026-01-01", "2026-01-02")
    };
    [("start", start), ("end", end), ("interval", "1hour")]
}

/// A route and method of the document.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    said: Value,
}

/// Every operation of the document.
pub(super) fn all() -> Vec<Operation> {
    let document = document();
    let paths = document["paths"]
        .as_object()
        .expect("the document has paths");
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("a path has methods") {
            found.push(Operation {
                id: operation["operationId"]
                    .as_str()
                    .expect("an operation has an id")
                    .to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                said: operation.clone(),
            });
        }
    }
    found
}

fn document() -> Value {
    serde_json::to_value(functions::openapi::document()).expect("the document is JSON")
}

impl Operation {
    /// Whether anybody may call it.
    pub(super) fn is_public(&self) -> bool {
        self.said["security"] == json!([{}])
    }

    /// Whether it is for devices.
    pub(super) fn is_for_devices(&self) -> bool {
        self.said["security"] == json!([{"device_key": []}])
    }

    /// Whether it is for some of those who are signed in.
    pub(super) fn is_for_groups(&self) -> bool {
        !self.is_public() && !self.is_for_devices() && self.role() != Role::Customer
    }

    /// The lowest role that may call it.
    pub(super) fn role(&self) -> Role {
        let security = self.said["security"].to_string();
        if security.contains("analyst") {
            Role::Analyst
        } else if security.contains("admin") {
            Role::Admin
        } else {
            Role::Customer
        }
    }

    /// Whether the path names something.
    pub(super) fn names_something(&self) -> bool {
        self.path.contains('{')
    }

    /// The path with `id` for what it leaves open.
    pub(super) fn filled(&self, id: &str) -> String {
        match (self.path.find('{'), self.path.find('}')) {
            (Some(from), Some(to)) => {
                format!("{}{id}{}", &self.path[..from], &self.path[to + 1..])
            }
            _ => self.path.clone(),
        }
    }

    /// The query parameters that it takes.
    pub(super) fn query(&self) -> Vec<String> {
        let parameters = self.said["parameters"].as_array();
        let of_query = parameters
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query");
        of_query
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// The query without which it is refused, with its question mark; empty where there is none.
    pub(super) fn required_query(&self) -> String {
        let known = self.query();
        let pairs: Vec<_> = required(&self.path)
            .iter()
            .filter(|(name, _)| known.iter().any(|known| known == name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        }
    }

    /// The content types of its body; of one that is not asked for, JSON.
    pub(super) fn refused_bodies(&self) -> Vec<String> {
        let bodies = self.bodies();
        if bodies.is_empty() && self.method == "POST" {
            vec![JSON.to_owned()]
        } else {
            bodies
        }
    }

    /// The content types of its body.
    pub(super) fn bodies(&self) -> Vec<String> {
        let content = self.said["requestBody"]["content"].as_object();
        content.into_iter().flat_map(Map::keys).cloned().collect()
    }

    /// Whether it may be done once by a key.
    fn takes_key(&self) -> bool {
        let mut parameters = self.said["parameters"].as_array().into_iter().flatten();
        parameters.any(|parameter| parameter["name"] == "Idempotency-Key")
    }

    /// A request by the lowest who may make it, `customer` being a customer's token, under a new key
    /// where it takes one.
    pub(super) fn permitted(&self, path_and_query: &str, customer: &str) -> Call {
        let mut call = call(&self.method, path_and_query);
        if self.takes_key() {
            call = call.header("Idempotency-Key", &unique());
        }
        if self.is_public() {
            call
        } else if self.is_for_devices() {
            call.header("x-api-key", &stack().device_key)
        } else if self.role() == Role::Customer {
            call.token(customer)
        } else {
            call.role(self.role())
        }
    }

    /// A body that the document allows for the content type `kind`: what is required of it, and what
    /// `given` says by a member's name.
    pub(super) fn sample(&self, kind: &str, given: &Map<String, Value>) -> Value {
        let schema = &self.said["requestBody"]["content"][kind]["schema"];
        sample(&document(), schema, given)
    }
}

fn sample(document: &Value, schema: &Value, given: &Map<String, Value>) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return sample(
            document,
            target.expect("a reference leads somewhere"),
            given,
        );
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let parts = parts.iter().map(|part| sample(document, part, given));
        let members = parts.filter_map(|part| part.as_object().cloned()).flatten();
        return Value::Object(members.collect());
    }
    if let Some(first) = schema["oneOf"].get(0).or(schema["enum"].get(0)) {
        return match first {
            Value::Object(_) => sample(document, first, given),
            value => value.clone(),
        };
    }
    if !schema["example"].is_null() {
        return schema["example"].clone();
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let names = schema["required"].as_array().into_iter().flatten();
            let members = names.filter_map(Value::as_str).map(|name| {
                let value = given.get(name).cloned();
                let value =
                    value.unwrap_or_else(|| sample(document, &schema["properties"][name], given));
                (name.to_owned(), value)
            });
            Value::Object(members.collect())
        }
        Some("array") => json!([sample(document, &schema["items"], given)]),
        Some("integer" | "number") => schema["minimum"].as_i64().unwrap_or(1).max(1).into(),
        Some("boolean") => json!(true),
        _ => json!("a"),
    }
}
