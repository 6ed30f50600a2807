//! A device, and how one is read from a body: every bad member is named at once.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    platform::{clock::rfc3339, problem::FieldError},
    sensors::model::{DeviceId, MOST_UNIT_BYTES},
};

/// Most characters of a device's name.
pub const MOST_NAME: usize = 200;

/// Most characters of a device's location.
pub const MOST_LOCATION: usize = 200;

/// Most bytes of a device's metadata, as compact JSON.
pub const MOST_METADATA: usize = 4096;

/// Most faults that are told of one body.
const MOST_ERRORS: usize = 100;

/// What a device measures; lists are in this order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum DeviceType {
    /// Temperature.
    Temperature,
    /// Humidity.
    Humidity,
    /// Pressure.
    Pressure,
    /// Motion.
    Motion,
    /// Light.
    Light,
    /// Anything else.
    Custom,
}

impl DeviceType {
    /// Every type, in order.
    pub const ALL: [Self; 6] = [
        Self::Temperature,
        Self::Humidity,
        Self::Pressure,
        Self::Motion,
        Self::Light,
        Self::Custom,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Humidity => "humidity",
            Self::Pressure => "pressure",
            Self::Motion => "motion",
            Self::Light => "light",
            Self::Custom => "custom",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller says of a device.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Attributes {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200, example = "Boiler, return pipe")]
    pub name: String,
    /// What it measures.
    #[serde(rename = "type")]
    pub kind: DeviceType,
    /// Where it is, in words.
    #[schema(max_length = 200)]
    pub location: Option<String>,
    /// Degrees north; given together with the longitude or not at all.
    #[schema(minimum = -90, maximum = 90)]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180)]
    pub longitude: Option<f64>,
    /// The unit of what it measures, at most 32 bytes.
    #[schema(max_length = 32, example = "°C")]
    pub unit: Option<String>,
    /// Whether its readings are taken; true unless said otherwise.
    pub is_active: bool,
    /// Anything else, at most 4 KiB as compact JSON.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// A device. Its JSON form is what callers see.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Device {
    /// Names it, for good: 1 to 100 of `[A-Za-z0-9._:-]`.
    #[schema(value_type = String, example = "boiler-7")]
    pub device_id: DeviceId,
    /// What is said of it.
    #[serde(flatten)]
    pub attributes: Attributes,
    /// Counts its changes; the entity tag.
    pub version: u64,
    /// When it was first registered.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was deleted, if it is.
    #[serde(skip)]
    pub deleted_at: Option<Timestamp>,
}

fn milliseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

/// Whether a registered device may send readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// It is switched off.
    Inactive,
}

impl Device {
    /// The members that callers see.
    ///
    /// # Panics
    /// Never: names are text and numbers finite, so there is always a JSON object.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a device is a JSON object with text for names and finite numbers"),
        }
    }
}

/// A name as it is compared: characters in lower case, each for itself, so that what begins with a
/// prefix still does when both are folded.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// Whether text can be shown and searched: not blank, no control characters, at most `most`
/// characters.
#[must_use]
pub fn is_shown(text: &str, most: usize) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= most
}

/// Reads a new device from a body.
///
/// # Errors
///
/// What is wrong with which member, in the order of [`Attributes`].
pub fn parse_new(body: &Value) -> Result<(DeviceId, Attributes), Vec<FieldError>> {
    let mut reader = Reader::of(body)?;
    let id = match reader.given("device_id") {
        None => {
            reader.refuse("device_id", "missing-field", "device_id is required");
            None
        }
        Some(value) => match value.as_str().map(str::parse::<DeviceId>) {
            Some(Ok(id)) => Some(id),
            Some(Err(error)) => {
                reader.refuse("device_id", "invalid-value", error.to_string());
                None
            }
            None => {
                reader.refuse("device_id", "invalid-value", "device_id must be text");
                None
            }
        },
    };
    let attributes = reader.attributes(&["device_id"]);
    match (id, attributes) {
        (Some(id), Some(attributes)) if reader.errors.is_empty() => Ok((id, attributes)),
        _ => Err(reader.errors()),
    }
}

/// Reads attributes from a body, of which the members `also` have been looked at before.
///
/// # Errors
///
/// As [`parse_new`].
pub fn parse_attributes(body: &Value, also: &[&str]) -> Result<Attributes, Vec<FieldError>> {
    let mut reader = Reader::of(body)?;
    match reader.attributes(also) {
        Some(attributes) if reader.errors.is_empty() => Ok(attributes),
        _ => Err(reader.errors()),
    }
}

const MEMBERS: [&str; 8] = [
    "name",
    "type",
    "location",
    "latitude",
    "longitude",
    "unit",
    "is_active",
    "metadata",
];

struct Reader<'b> {
    members: &'b Map<String, Value>,
    errors: Vec<FieldError>,
}

impl<'b> Reader<'b> {
    fn of(body: &'b Value) -> Result<Self, Vec<FieldError>> {
        let members = body.as_object().ok_or_else(|| {
            let detail = "the body must be a JSON object";
            vec![FieldError::new("", "invalid-value", detail)]
        })?;
        let errors = Vec::new();
        Ok(Self { members, errors })
    }

    fn errors(mut self) -> Vec<FieldError> {
        self.errors.truncate(MOST_ERRORS);
        self.errors
    }

    fn refuse(&mut self, member: &str, code: &'static str, detail: impl Into<String>) {
        self.errors.push(member_error(member, code, detail));
    }

    /// A member's value; null says the same as nothing.
    fn given(&self, member: &str) -> Option<&'b Value> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    fn attributes(&mut self, also: &[&str]) -> Option<Attributes> {
        let name = self.name();
        let kind = self.kind();
        let location = self.text(
            "location",
            |text| is_shown(text, MOST_LOCATION),
            "200 characters",
        );
        let (latitude, longitude) = self.position();
        let unit = self.text(
            "unit",
            |text| text.len() <= MOST_UNIT_BYTES && is_shown(text, MOST_UNIT_BYTES),
            "32 bytes",
        );
        let is_active = self.is_active();
        let metadata = self.metadata();
        for member in self.members.keys() {
            if !MEMBERS.contains(&member.as_str()) && !also.contains(&member.as_str()) {
                self.refuse(member, "unknown-field", "a device has no such member");
            }
        }
        Some(Attributes {
            name: name?,
            kind: kind?,
            location,
            latitude,
            longitude,
            unit,
            is_active,
            metadata,
        })
    }

    fn name(&mut self) -> Option<String> {
        if self.given("name").is_none() {
            self.refuse("name", "missing-field", "name is required");
        }
        self.text("name", |text| is_shown(text, MOST_NAME), "200 characters")
    }

    fn text(&mut self, member: &str, fits: impl Fn(&str) -> bool, most: &str) -> Option<String> {
        let value = self.given(member)?;
        let text = value.as_str().filter(|text| fits(text));
        if text.is_none() {
            let detail =
                format!("{member} must be text without control characters, at most {most}");
            self.refuse(member, "invalid-value", detail);
        }
        text.map(str::to_owned)
    }

    fn kind(&mut self) -> Option<DeviceType> {
        let Some(value) = self.given("type") else {
            self.refuse("type", "missing-field", "type is required");
            return None;
        };
        let kind = value.as_str().and_then(DeviceType::from_name);
        if kind.is_none() {
            let names = DeviceType::ALL.map(DeviceType::as_str).join(", ");
            self.refuse(
                "type",
                "invalid-value",
                format!("type must be one of {names}"),
            );
        }
        kind
    }

    fn position(&mut self) -> (Option<f64>, Option<f64>) {
        for (member, other) in [("latitude", "longitude"), ("longitude", "latitude")] {
            if self.given(member).is_none() && self.given(other).is_some() {
                let detail = format!("{member} and {other} belong together");
                self.refuse(member, "missing-field", detail);
            }
        }
        (
            self.degrees("latitude", 90.0),
            self.degrees("longitude", 180.0),
        )
    }

    fn degrees(&mut self, member: &str, most: f64) -> Option<f64> {
        let degrees = self.given(member)?.as_f64();
        let degrees = degrees.filter(|degrees| (-most..=most).contains(degrees));
        if degrees.is_none() {
            let detail = format!("{member} must be a number from -{most} to {most}");
            self.refuse(member, "invalid-value", detail);
        }
        degrees
    }

    fn is_active(&mut self) -> bool {
        match self.given("is_active") {
            None => true,
            Some(Value::Bool(is_active)) => *is_active,
            Some(_) => {
                self.refuse(
                    "is_active",
                    "invalid-value",
                    "is_active must be true or false",
                );
                true
            }
        }
    }

    fn metadata(&mut self) -> Map<String, Value> {
        let Some(value) = self.given("metadata") else {
            return Map::new();
        };
        let Some(metadata) = value.as_object() else {
            self.refuse(
                "metadata",
                "invalid-value",
                "metadata must be a JSON object",
            );
            return Map::new();
        };
        let length = value.to_string().len();
        if length > MOST_METADATA {
            let detail = format!("metadata may have {MOST_METADATA} bytes, not {length}");
            self.refuse("metadata", "too-large", detail);
        }
        metadata.clone()
    }
}

/// A fault of the member `name` of a body.
#[must_use]
pub fn member_error(name: &str, code: &'static str, detail: impl Into<String>) -> FieldError {
    let name = name.replace('~', "~0").replace('/', "~1");
    FieldError::new(format!("/{name}"), code, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn faults(body: &Value) -> Vec<(String, String)> {
        let errors = parse_new(body).unwrap_err();
        let told = |error: FieldError| (error.pointer, error.code.into_owned());
        errors.into_iter().map(told).collect()
    }

    fn fault(pointer: &str, code: &str) -> (String, String) {
        (pointer.to_owned(), code.to_owned())
    }

    #[test]
    fn the_least_that_is_said_makes_an_active_device() {
        let (id, attributes) =
            parse_new(&json!({"device_id": "b-1", "name": "Boiler", "type": "light"})).unwrap();
        assert_eq!(id.as_str(), "b-1");
        assert_eq!(
            (attributes.kind, attributes.is_active),
            (DeviceType::Light, true)
        );
        assert_eq!((attributes.latitude, attributes.unit), (None, None));
        assert!(attributes.metadata.is_empty());
    }

    #[test]
    fn every_bad_member_is_named_at_once() {
        let body = json!({
            "device_id": "a b", "name": " ", "type": "sound", "location": 5, "latitude": 90.1,
            "unit": "x".repeat(33), "is_active": "yes", "metadata": [], "a/b": 1,
        });
        let expected = [
            fault("/device_id", "invalid-value"),
            fault("/name", "invalid-value"),
            fault("/type", "invalid-value"),
            fault("/location", "invalid-value"),
            fault("/longitude", "missing-field"),
            fault("/latitude", "invalid-value"),
            fault("/unit", "invalid-value"),
            fault("/is_active", "invalid-value"),
            fault("/metadata", "invalid-value"),
            fault("/a~1b", "unknown-field"),
        ];
        assert_eq!(faults(&body), expected);
    }

    #[test]
    fn what_is_required_is_asked_for() {
        let required = ["/device_id", "/name", "/type"].map(|at| fault(at, "missing-field"));
        assert_eq!(faults(&json!({})), required);
        assert_eq!(faults(&json!({"name": null})), required);
        assert_eq!(faults(&json!([])), [fault("", "invalid-value")]);
    }

    #[test]
    fn limits_are_met_exactly() {
        let body = |name: &str, metadata: usize| {
            json!({"device_id": "d", "name": name, "type": "custom", "latitude": -90, "longitude": 180,
                "metadata": {"k": "x".repeat(metadata - r#"{"k":""}"#.len())}})
        };
        assert!(parse_new(&body(&"ä".repeat(MOST_NAME), MOST_METADATA)).is_ok());
        assert_eq!(
            faults(&body(&"ä".repeat(MOST_NAME + 1), MOST_METADATA + 1)),
            [
                fault("/name", "invalid-value"),
                fault("/metadata", "too-large")
            ]
        );
    }

    #[test]
    fn a_device_has_its_wire_format() {
        let (device_id, attributes) = parse_new(&json!({
            "device_id": "b-1", "name": "Boiler", "type": "temperature", "latitude": 1.5,
            "longitude": 103, "unit": "°C", "metadata": {"floor": 3},
        }))
        .unwrap();
        let at = Timestamp::from_nanosecond(1_795_190_400_123_456_789).unwrap();
        let device = Device {
            device_id,
            attributes,
            version: 7,
            created_at: at,
            updated_at: at,
            deleted_at: Some(at),
        };
        let shown = json!({
            "device_id": "b-1",
            "name": "Boiler",
            "type": "temperature",
            "location": null,
            "latitude": 1.5,
            "longitude": 103.0,
            "unit": "°C",
            "is_active": true,
            "metadata": {"floor": 3},
            "version": 7,
            "created_at": "2026-11-20T16:00:00.123Z",
            "updated_at": "2026-11-20T16:00:00.123Z",
        });
        assert_eq!(Value::Object(device.document()), shown);
    }

    proptest! {
        #[test]
        fn a_folded_name_begins_with_every_folded_beginning(name: String, cut: prop::sample::Index) {
            let begin: String = name.chars().take(cut.index(name.chars().count() + 1)).collect();
            prop_assert!(folded(&name).starts_with(&folded(&begin)));
        }
    }
}
