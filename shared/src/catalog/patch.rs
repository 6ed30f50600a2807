//! A change of some members of what callers see, others of which are not theirs to change.

use serde_json::{Map, Value};

use crate::platform::{
    http::{Members, merge_patch},
    problem::FieldError,
};

/// `shown` as the JSON merge patch `patch` changes it, without the members `fixed`; and a fault for
/// each of those that would change.
///
/// # Errors
///
/// A fault when `patch` is no object: it would replace the whole.
pub fn patched(
    shown: &Map<String, Value>,
    patch: &Value,
    fixed: &[&str],
) -> Result<(Value, Vec<FieldError>), Vec<FieldError>> {
    let members = Members::of(patch, "")?;
    let mut target = Value::Object(shown.clone());
    merge_patch(&mut target, patch);
    let mut errors = Vec::new();
    if let Value::Object(target) = &mut target {
        for name in fixed {
            let now = target.remove(*name).filter(|value| !value.is_null());
            if now.as_ref() != shown.get(*name).filter(|value| !value.is_null()) {
                let detail = format!("{name} cannot be changed here");
                let pointer = members.pointer_to(name);
                errors.push(FieldError::new(pointer, "read-only-field", detail));
            }
        }
    }
    Ok((target, errors))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tried(patch: &Value) -> Result<(Value, Vec<String>), Vec<String>> {
        let Value::Object(shown) = json!({"id": 1, "name": "a", "parent": null}) else {
            unreachable!("it is an object");
        };
        let told = |errors: Vec<FieldError>| {
            let told = |error: FieldError| format!("{} {}", error.pointer, error.code);
            errors.into_iter().map(told).collect()
        };
        patched(&shown, patch, &["id", "level", "parent"])
            .map(|(target, errors)| (target, told(errors)))
            .map_err(told)
    }

    #[test]
    fn what_is_fixed_may_be_repeated_and_not_changed_nor_removed_nor_added() {
        let (same, none) = (json!({"name": "b"}), Vec::new());
        assert_eq!(
            tried(&json!({"id": 1, "name": "b", "parent": null})),
            Ok((same, none))
        );
        for (patch, fault) in [
            (json!({"id": 2}), "/id read-only-field"),
            (json!({"id": null}), "/id read-only-field"),
            (json!({"level": 0}), "/level read-only-field"),
        ] {
            let same = json!({"name": "a"});
            assert_eq!(tried(&patch), Ok((same, vec![fault.to_owned()])));
        }
        assert_eq!(tried(&json!(["x"])), Err(vec![" invalid-value".to_owned()]));
    }
}
