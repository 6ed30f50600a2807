//! What becomes of a device: pure functions from what is stored and what is asked to what to store.

use jiff::Timestamp;
use serde_json::Value;

use super::model::{Attributes, Device, member_error, parse_attributes};
use crate::{
    platform::{http::merge_patch, problem::FieldError},
    sensors::model::DeviceId,
};

/// Members that callers see and cannot change; a body may repeat them as they are.
const READ_ONLY: [&str; 4] = ["device_id", "version", "created_at", "updated_at"];

/// A device of that identifier is registered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device is registered already")]
pub struct DeviceExists;

/// Registers a device. One that was deleted comes back with new attributes; its version goes on.
///
/// # Errors
///
/// [`DeviceExists`] when `stored` is there and not deleted.
pub fn create(
    stored: Option<&Device>,
    device_id: DeviceId,
    attributes: Attributes,
    now: Timestamp,
) -> Result<Device, DeviceExists> {
    match stored {
        Some(stored) if stored.deleted_at.is_none() => Err(DeviceExists),
        stored => Ok(Device {
            device_id,
            attributes,
            version: stored.map_or(1, |stored| stored.version + 1),
            created_at: stored.map_or(now, |stored| stored.created_at),
            updated_at: now,
            deleted_at: None,
        }),
    }
}

/// Replaces the attributes of `current` by those of `body`; what `body` leaves out is as in a new
/// device.
///
/// # Errors
///
/// What is wrong with which member of `body`.
pub fn replace(current: &Device, body: &Value, now: Timestamp) -> Result<Device, Vec<FieldError>> {
    let shown = current.document();
    let mut errors: Vec<FieldError> = READ_ONLY
        .into_iter()
        .filter(|member| {
            body.get(member)
                .is_some_and(|value| shown.get(*member) != Some(value))
        })
        .map(|member| {
            let detail = format!("{member} cannot be changed: repeat it as it is or leave it out");
            member_error(member, "read-only-field", detail)
        })
        .collect();
    match parse_attributes(body, &READ_ONLY) {
        Ok(attributes) if errors.is_empty() => Ok(Device {
            attributes,
            version: current.version + 1,
            updated_at: now,
            ..current.clone()
        }),
        Ok(_) => Err(errors),
        Err(others) => {
            errors.extend(others);
            Err(errors)
        }
    }
}

/// Changes `current` by a JSON merge patch (RFC 7396) of the form that callers see.
///
/// # Errors
///
/// What is wrong with which member of the patched device.
pub fn update(current: &Device, patch: &Value, now: Timestamp) -> Result<Device, Vec<FieldError>> {
    let mut target = Value::Object(current.document());
    merge_patch(&mut target, patch);
    // A patch cannot say that a member is as it is by removing it.
    let removed = READ_ONLY
        .into_iter()
        .filter(|member| patch.get(member).is_some_and(Value::is_null));
    let errors: Vec<FieldError> = removed
        .map(|member| {
            member_error(
                member,
                "read-only-field",
                format!("{member} cannot be removed"),
            )
        })
        .collect();
    match replace(current, &target, now) {
        Ok(device) if errors.is_empty() => Ok(device),
        Ok(_) => Err(errors),
        Err(others) => Err([errors, others].concat()),
    }
}

/// Deletes `current` softly.
#[must_use]
pub fn delete(current: &Device, now: Timestamp) -> Device {
    Device {
        version: current.version + 1,
        updated_at: now,
        deleted_at: Some(now),
        ..current.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sensors::device::model::{DeviceType, parse_new};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn device() -> Device {
        let body = json!({"device_id": "b-1", "name": "Boiler", "type": "temperature", "unit": "°C",
            "latitude": 1, "longitude": 2, "metadata": {"a": {"b": 1, "c": 2}}});
        let (id, attributes) = parse_new(&body).unwrap();
        create(None, id, attributes, at(10)).unwrap()
    }

    fn codes(result: Result<Device, Vec<FieldError>>) -> Vec<String> {
        let errors = result.unwrap_err().into_iter();
        errors
            .map(|error| format!("{} {}", error.pointer, error.code))
            .collect()
    }

    #[test]
    fn a_deleted_device_comes_back_with_its_version_going_on() {
        let first = device();
        let again = |stored: &Device| {
            create(
                Some(stored),
                first.device_id.clone(),
                first.attributes.clone(),
                at(30),
            )
        };
        assert_eq!((first.version, again(&first)), (1, Err(DeviceExists)));
        let gone = delete(&first, at(20));
        assert_eq!((gone.version, gone.deleted_at), (2, Some(at(20))));
        let back = again(&gone).unwrap();
        assert_eq!((back.version, back.deleted_at), (3, None));
        assert_eq!((back.created_at, back.updated_at), (at(10), at(30)));
    }

    #[test]
    fn what_a_replacement_leaves_out_is_as_in_a_new_device() {
        let next = replace(
            &device(),
            &json!({"name": "Pump", "type": "motion"}),
            at(20),
        )
        .unwrap();
        assert_eq!(
            (next.version, next.attributes.kind),
            (2, DeviceType::Motion)
        );
        assert_eq!(
            (next.attributes.unit, next.attributes.latitude),
            (None, None)
        );
        assert!(next.attributes.metadata.is_empty());
    }

    #[test]
    fn a_device_can_be_put_back_as_it_was_read() {
        let current = device();
        let next = replace(&current, &Value::Object(current.document()), at(20)).unwrap();
        assert_eq!(next.attributes, current.attributes);
        let changed = json!({"device_id": "b-2", "version": 9, "name": "x", "type": "light"});
        assert_eq!(
            codes(replace(&current, &changed, at(20))),
            ["/device_id read-only-field", "/version read-only-field"]
        );
    }

    #[test]
    fn a_patch_changes_what_it_names_and_removes_what_it_nulls() {
        let patch =
            json!({"unit": null, "is_active": false, "metadata": {"a": {"b": null}, "d": 4}});
        let next = update(&device(), &patch, at(20)).unwrap();
        assert_eq!(
            (&next.attributes.unit, next.attributes.is_active),
            (&None, false)
        );
        assert_eq!(
            json!(next.attributes.metadata),
            json!({"a": {"c": 2}, "d": 4})
        );
        assert_eq!((next.attributes.name.as_str(), next.version), ("Boiler", 2));
    }

    #[test]
    fn a_patch_cannot_take_away_what_a_device_needs() {
        let refused = |patch: Value| codes(update(&device(), &patch, at(20)));
        assert_eq!(refused(json!({"name": null})), ["/name missing-field"]);
        assert_eq!(
            refused(json!({"latitude": null})),
            ["/latitude missing-field"]
        );
        assert_eq!(
            refused(json!({"version": null})),
            ["/version read-only-field"]
        );
        assert_eq!(refused(json!({"color": 1})), ["/color unknown-field"]);
        assert_eq!(refused(json!([1])), [" invalid-value"]);
    }
}
