//! The API's document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::tree;

const FILE: &str = "infra/openapi.json";

fn document() -> Value {
    serde_json::to_value(functions::openapi::document()).expect("the document is JSON")
}

#[test]
fn the_checked_in_document_is_what_the_code_says() {
    let path = tree::root().join(FILE);
    let fresh = format!("{:#}\n", document());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &fresh).expect("the document can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == fresh,
        "{FILE} is stale; UPDATE_OPENAPI=1 cargo test -p tests --test all openapi writes it"
    );
}

fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let paths = document["paths"]
        .as_object()
        .expect("the document has paths");
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("a path has methods").clone();
        let path = path.clone();
        methods
            .into_iter()
            .map(move |(method, operation)| ((method, path.clone()), operation))
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn every_operation_is_described_and_says_how_it_fails() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    let mut ids = BTreeSet::new();
    for (route, operation) in operations(&document) {
        let id = operation["operationId"]
            .as_str()
            .expect("an operation has an id")
            .to_owned();
        assert!(ids.insert(id), "{route:?}: the id is there twice");
        assert!(operation["summary"].is_string(), "{route:?}");
        assert!(
            operation["tags"][0]
                .as_str()
                .is_some_and(|tag| tags.contains(tag)),
            "{route:?}"
        );
        assert_eq!(
            operation["responses"]["default"],
            json!({"$ref": "#/components/responses/Problem"}),
            "{route:?}"
        );
        assert!(operation["security"].is_array(), "{route:?}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                parameter["description"].is_string(),
                "{route:?}: {parameter}"
            );
        }
        for (status, response) in operation["responses"]
            .as_object()
            .expect("there are responses")
        {
            let is_whole = ["204", "304"].contains(&status.as_str())
                || response.get("$ref").is_some()
                || response["content"].is_object();
            assert!(is_whole, "{route:?}: {status} says nothing of its body");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"), "{found:?}");
    for reference in found {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference}");
    }
}

#[test]
fn device_keys_are_for_ingest_and_ingest_is_for_device_keys() {
    let document = document();
    assert_eq!(
        document["components"]["securitySchemes"]["device_key"]["name"],
        "x-api-key"
    );
    let with_key: Vec<String> = operations(&document)
        .into_iter()
        .filter(|(_, operation)| operation["security"].to_string().contains("device_key"))
        .map(|((_, path), operation)| {
            assert_eq!(operation["security"], json!([{"device_key": []}]), "{path}");
            path
        })
        .collect();
    assert_eq!(with_key, ["/api/sensors/readings/bulk", "/api/v2/write"]);
}
