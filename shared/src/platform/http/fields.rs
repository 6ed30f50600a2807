//! Selected fields: `fields=a,b.c` keeps those members of a resource and drops the rest.

use serde_json::{Map, Value};

use super::query::Query;
use crate::platform::problem::{FieldError, Problem};

/// The members to keep; without the parameter, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Option<Node>);

/// Members to keep by name; one without members of its own is kept whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node(Vec<(String, Node)>);

impl Fields {
    const MAX_FIELDS: usize = 100;

    /// Reads the query parameter `fields` against the dotted paths that the resource has. A path names
    /// a member with everything below it.
    ///
    /// # Errors
    /// A 400 problem `unknown-field` naming each path that is not `known`.
    pub fn from_query(query: &Query, known: &[&str]) -> Result<Self, Problem> {
        let Some(text) = query.get("fields") else {
            return Ok(Self(None));
        };
        let paths: Vec<&str> = text.split(',').map(str::trim).collect();
        let errors: Vec<FieldError> = paths
            .iter()
            .filter(|path| !is_known(path, known))
            .take(10)
            .map(|path| {
                FieldError::query(
                    "fields",
                    "unknown-field",
                    format!("there is no field {path:?}"),
                )
            })
            .collect();
        if !errors.is_empty() || paths.len() > Self::MAX_FIELDS {
            return Err(Problem::bad_request(
                "unknown-field",
                "the resource does not have these fields",
            )
            .with_errors(errors));
        }
        let mut root = Node::default();
        for path in paths {
            root.add(path);
        }
        Ok(Self(Some(root)))
    }

    /// Drops what was not selected from `resource`. Items of an array are treated each.
    #[must_use]
    pub fn apply(&self, resource: Value) -> Value {
        match &self.0 {
            Some(root) => root.select(resource),
            None => resource,
        }
    }
}

impl Node {
    fn add(&mut self, path: &str) {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let existing = self.0.iter_mut().find(|(member, _)| member == name);
        match (existing, rest) {
            // Kept whole already, or from now on.
            (Some((_, child)), rest) => match rest {
                Some(rest) if !child.0.is_empty() => child.add(rest),
                _ => child.0.clear(),
            },
            (None, rest) => {
                let mut child = Self::default();
                if let Some(rest) = rest {
                    child.add(rest);
                }
                self.0.push((name.to_owned(), child));
            }
        }
    }

    fn select(&self, value: Value) -> Value {
        if self.0.is_empty() {
            return value;
        }
        match value {
            Value::Object(mut members) => {
                let kept: Map<String, Value> = self
                    .0
                    .iter()
                    .filter_map(|(name, child)| {
                        let (name, member) = members.remove_entry(name)?;
                        Some((name, child.select(member)))
                    })
                    .collect();
                Value::Object(kept)
            }
            Value::Array(items) => items.into_iter().map(|item| self.select(item)).collect(),
            other => other,
        }
    }
}

fn is_known(path: &str, known: &[&str]) -> bool {
    known.iter().any(|known| {
        known
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: [&str; 4] = ["id", "counts.imported", "counts.rejected", "errors.row"];

    fn select(fields: &str) -> Result<Value, u16> {
        let resource = json!({
            "id": "i-1",
            "counts": {"imported": 5, "rejected": 1},
            "errors": [{"row": 2, "code": "x"}, {"row": 3, "code": "y"}],
        });
        Fields::from_query(&Query::parse(fields), &KNOWN)
            .map(|fields| fields.apply(resource))
            .map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_the_selected_members_stay() {
        assert_eq!(select("fields=id"), Ok(json!({"id": "i-1"})));
        assert_eq!(
            select("fields=counts.imported,errors.row"),
            Ok(json!({"counts": {"imported": 5}, "errors": [{"row": 2}, {"row": 3}]}))
        );
    }

    #[test]
    fn a_whole_member_wins_over_its_parts_in_any_order() {
        let whole = Ok(json!({"counts": {"imported": 5, "rejected": 1}}));
        assert_eq!(select("fields=counts,counts.imported"), whole);
        assert_eq!(select("fields=counts.imported,counts"), whole);
    }

    #[test]
    fn unknown_fields_are_refused_and_no_parameter_keeps_all() {
        for wrong in ["secret", "", "count", "counts.", "id.x", "id,,counts"] {
            assert_eq!(select(&format!("fields={wrong}")), Err(400), "{wrong}");
        }
        assert_eq!(select("").unwrap().as_object().unwrap().len(), 3);
    }
}
