//! The template as CloudFormation sees it once its loops are unrolled, with every short form of a
//! function in its long form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use yaml_serde::value::TaggedValue;

use super::tree;

/// The template's resources by logical id.
pub(crate) fn resources() -> BTreeMap<String, Value> {
    let template = template();
    let Value::Object(resources) = &template["Resources"] else {
        panic!("the template has resources")
    };
    resources
        .iter()
        .map(|(id, resource)| (id.clone(), resource.clone()))
        .collect()
}

/// The resources of one type.
pub(crate) fn of_type(kind: &str) -> BTreeMap<String, Value> {
    resources()
        .into_iter()
        .filter(|(_, resource)| resource["Type"] == kind)
        .collect()
}

/// The whole template.
pub(crate) fn template() -> Value {
    let mut yaml: yaml_serde::Value =
        yaml_serde::from_str(&tree::source("template.yaml")).expect("it is YAML");
    yaml.apply_merge().expect("its merge keys name mappings");
    unrolled(&long(&yaml))
}

fn long(yaml: &yaml_serde::Value) -> Value {
    match yaml {
        yaml_serde::Value::Tagged(tagged) => function(tagged),
        yaml_serde::Value::Mapping(mapping) => {
            let members = mapping.iter().map(|(key, value)| {
                let key = key
                    .as_str()
                    .map_or_else(|| json!(long(key)).to_string(), str::to_owned);
                (key, long(value))
            });
            Value::Object(members.collect())
        }
        yaml_serde::Value::Sequence(items) => items.iter().map(long).collect(),
        plain => serde_json::to_value(plain).expect("scalars are JSON"),
    }
}

fn function(tagged: &TaggedValue) -> Value {
    let argument = long(&tagged.value);
    match tagged.tag.to_string().trim_start_matches('!') {
        name @ ("Ref" | "Condition") => json!({ name: argument }),
        "GetAtt" => {
            let path = argument.as_str().and_then(|path| path.split_once('.'));
            let argument = path.map_or(argument.clone(), |(id, attribute)| json!([id, attribute]));
            json!({ "Fn::GetAtt": argument })
        }
        name => json!({ format!("Fn::{name}"): argument }),
    }
}

/// Unrolls `Fn::ForEach`, as the transform `AWS::LanguageExtensions` does.
fn unrolled(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut out = Map::new();
            for (name, member) in members {
                if !name.starts_with("Fn::ForEach::") {
                    out.insert(name.clone(), unrolled(member));
                    continue;
                }
                let (variable, items) = (
                    member[0].as_str().expect("a loop names its variable"),
                    &member[1],
                );
                for item in items.as_array().expect("a loop has a list") {
                    let item = item.as_str().expect("a loop runs over words");
                    let Value::Object(round) = unrolled(&bound(&member[2], variable, item)) else {
                        panic!("a loop makes a mapping")
                    };
                    out.extend(round);
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(unrolled).collect(),
        plain => plain.clone(),
    }
}

/// `value` with the loop's variable replaced.
fn bound(value: &Value, variable: &str, item: &str) -> Value {
    let text = |text: &str| text.replace(&format!("${{{variable}}}"), item);
    match value {
        Value::Object(members)
            if members.len() == 1 && members.get("Ref").is_some_and(|name| name == variable) =>
        {
            json!(item)
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (text(name), bound(member, variable, item)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|member| bound(member, variable, item))
            .collect(),
        Value::String(plain) => json!(text(plain)),
        plain => plain.clone(),
    }
}

/// The logical id that a `Ref` or `Fn::GetAtt` names.
pub(crate) fn target(value: &Value) -> Option<&str> {
    value["Ref"]
        .as_str()
        .or_else(|| value["Fn::GetAtt"][0].as_str())
}
