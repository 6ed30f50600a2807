//! Batches of which a part is done: the request for that part, and the answer that tells what is left.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Map, Value, json};
use shared::platform::ids::Random;

use super::fault::{answer, json_of};

/// A batch cut in two.
#[derive(Debug)]
pub(crate) struct Halves {
    operation: String,
    /// For each entry of the whole, whether it is done.
    done: Vec<bool>,
    whole: Value,
    body: Value,
}

impl Halves {
    /// Draws which entries of a batch are done; not all of them.
    pub(crate) fn draw(operation: &str, request: &HttpRequest, random: &Random) -> Self {
        let whole = json_of(request);
        let count = match operation {
            "BatchWriteItem" | "BatchGetItem" => lists(&whole)
                .map(|(_, entries)| entries.len())
                .sum::<usize>(),
            _ => whole["Entries"].as_array().map_or(0, Vec::len),
        };
        let mut done: Vec<bool> = (0..count).map(|_| random.up_to(1) == 0).collect();
        if count > 0 {
            let left = random.up_to(u32::try_from(count - 1).unwrap_or(u32::MAX)) as usize;
            done[left] = false;
        }
        let mut halves = Self {
            operation: operation.to_owned(),
            done,
            body: whole.clone(),
            whole,
        };
        halves.body = halves.part(true);
        halves
    }

    /// Whether anything is done at all.
    pub(crate) fn is_any_done(&self) -> bool {
        self.done.contains(&true)
    }

    /// The request for what is done.
    pub(crate) fn request(&self, mut request: HttpRequest) -> HttpRequest {
        let text = self.body.to_string();
        let headers = request.headers_mut();
        headers.insert("content-length", text.len().to_string());
        *request.body_mut() = SdkBody::from(text);
        request
    }

    /// The whole request with the entries alone that are done, or those alone that are not.
    fn part(&self, done: bool) -> Value {
        let mut whole = self.whole.clone();
        let mut fates = self.done.iter();
        let mut keep = |entries: &Value| -> Value {
            let entries = entries.as_array().into_iter().flatten();
            let kept = entries.filter(|_| fates.next() == Some(&done));
            kept.cloned().collect()
        };
        match self.operation.as_str() {
            "BatchWriteItem" | "BatchGetItem" => {
                let tables = whole["RequestItems"].as_object_mut();
                for table in tables.into_iter().flat_map(Map::values_mut) {
                    let entries = entries_of(table);
                    *entries = keep(entries);
                }
            }
            _ => whole["Entries"] = keep(&self.whole["Entries"]),
        }
        whole
    }

    /// What is said of the whole batch, given what was said of the part that is done.
    pub(crate) fn answer(&self, of_part: &Value) -> HttpResponse {
        let mut all = of_part.clone();
        match self.operation.as_str() {
            "BatchWriteItem" => all["UnprocessedItems"] = self.left_of_tables(),
            "BatchGetItem" => {
                if all["Responses"].is_null() {
                    all["Responses"] = json!({});
                }
                all["UnprocessedKeys"] = self.left_of_tables();
            }
            "SendMessageBatch" => {
                let failed = self.part(false)["Entries"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|entry| {
                        json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"})
                    })
                    .collect::<Vec<_>>();
                if all["Successful"].is_null() {
                    all["Successful"] = json!([]);
                }
                all["Failed"] = json!(failed);
            }
            _ => {
                let mut taken = of_part["Entries"].as_array().into_iter().flatten();
                let entries = self.done.iter().map(|done| match done {
                    true => taken.next().cloned().unwrap_or_default(),
                    false => json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "busy"}),
                });
                let entries: Vec<Value> = entries.collect();
                let failed = self.done.iter().filter(|done| !**done).count();
                all = json!({"FailedEntryCount": failed, "Entries": entries});
            }
        }
        answer(200, all.to_string())
    }

    fn left_of_tables(&self) -> Value {
        let left = self.part(false);
        let tables = left["RequestItems"].as_object().into_iter().flatten();
        let tables = tables.filter(|(_, table)| {
            let entries = table.get("Keys").unwrap_or(table);
            entries
                .as_array()
                .is_some_and(|entries| !entries.is_empty())
        });
        let tables: Map<String, Value> = tables
            .map(|(name, table)| (name.clone(), table.clone()))
            .collect();
        Value::Object(tables)
    }
}

/// The list of a table in a batch: its writes, or its keys.
fn entries_of(table: &mut Value) -> &mut Value {
    if table.get("Keys").is_some() {
        &mut table["Keys"]
    } else {
        table
    }
}

fn lists(whole: &Value) -> impl Iterator<Item = (&String, &Vec<Value>)> {
    let tables = whole["RequestItems"].as_object().into_iter().flatten();
    tables.filter_map(|(name, table)| {
        let entries = table.get("Keys").unwrap_or(table);
        Some((name, entries.as_array()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &Value) -> HttpRequest {
        HttpRequest::new(SdkBody::from(body.to_string()))
    }

    fn json(response: &HttpResponse) -> Value {
        serde_json::from_slice(response.body().bytes().unwrap()).unwrap()
    }

    #[test]
    fn what_is_done_and_what_is_left_make_the_whole_batch() {
        let random = Random::seeded(1);
        let writes: Vec<Value> = (0..20).map(|n| json!({ "n": n })).collect();
        let body = json!({"RequestItems": {"Things": writes}});
        let halves = Halves::draw("BatchWriteItem", &request(&body), &random);
        let sent = json_of(&halves.request(request(&body)));
        let told = json(&halves.answer(&json!({})));
        let count = |list: &Value| list.as_array().unwrap().len();
        let (done, left) = (
            count(&sent["RequestItems"]["Things"]),
            count(&told["UnprocessedItems"]["Things"]),
        );
        assert_eq!(done + left, 20);
        assert!(done > 0 && left > 0);
    }

    #[test]
    fn keys_stay_with_how_they_are_read_and_events_in_their_order() {
        let random = Random::seeded(2);
        let body = json!({"RequestItems": {"T": {"Keys": [1, 2, 3], "ConsistentRead": true}}});
        let halves = Halves::draw("BatchGetItem", &request(&body), &random);
        let told = json(&halves.answer(&json!({"Responses": {"T": []}})));
        assert_eq!(told["UnprocessedKeys"]["T"]["ConsistentRead"], true);
        let body = json!({"Entries": [{"Detail": "a"}, {"Detail": "b"}, {"Detail": "c"}]});
        let halves = Halves::draw("PutEvents", &request(&body), &random);
        let taken = halves.done.iter().filter(|done| **done);
        let taken: Vec<Value> = taken.map(|_| json!({"EventId": "x"})).collect();
        let told = json(&halves.answer(&json!({"Entries": taken})));
        for (entry, done) in told["Entries"].as_array().unwrap().iter().zip(&halves.done) {
            assert_eq!(entry.get("EventId").is_some(), *done);
        }
    }
}
