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
            // Text in a header or a query is never null.
            assert!(
                !parameter["schema"]["type"].is_array(),
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

/// The names that the types of a source have in the document, but for generic ones, which are named
/// with what they hold.
fn schemas(source: &str) -> Vec<String> {
    let derived = source.match_indices("ToSchema").filter(|(at, _)| {
        let before = &source[..*at];
        let list = before.rfind("#[derive(");
        list.is_some_and(|list| !before[list..].contains(")]"))
    });
    let named = derived.filter_map(|(at, _)| {
        let rest = &source[at..];
        let keyword = ["struct ", "enum "].map(|word| rest.find(word).map(|at| at + word.len()));
        let begin = keyword.into_iter().flatten().min()?;
        let word = |text: &str| -> String {
            let is_part = |char: &char| char.is_alphanumeric() || *char == '_';
            text.chars().take_while(is_part).collect()
        };
        let renamed = rest[..begin].split_once("schema(as = ");
        if let Some((_, name)) = renamed {
            Some(word(name))
        } else {
            let name = word(&rest[begin..]);
            (!rest[begin + name.len()..].starts_with("<T>")).then_some(name)
        }
    });
    named.collect()
}

/// Of two types of one name, `utoipa` keeps the one that it sees last, and says nothing.
#[test]
fn no_two_types_have_the_same_name() {
    let mut seen = BTreeMap::new();
    for file in ["shared/src", "functions/src"]
        .into_iter()
        .flat_map(|folder| tree::files_of(folder, "rs"))
    {
        for name in schemas(&tree::source(&file)) {
            let other = seen.insert(name.clone(), file.clone());
            assert_eq!(other, None, "{name} is a schema in {file} as well");
        }
    }
    assert!(seen.len() > 90, "{}", seen.len());
}

#[test]
fn the_schemas_of_a_source_are_found() {
    let source = "use utoipa::{ToSchema, Modify};\n#[derive(Debug, ToSchema)]\n#[schema(as = One)]\npub struct A {}\n\
        #[derive(utoipa::ToSchema)]\nenum Two {}\n#[derive(ToSchema)]\nstruct List<T> {}\n#[derive(Debug)]\nstruct C;";
    assert_eq!(schemas(source), ["One", "Two"]);
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
