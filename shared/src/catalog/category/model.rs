//! A category, and how one is read from a body.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    catalog::{id::CategoryId, patch::patched},
    platform::{http::Members, problem::FieldError},
};

/// Most characters of a category's name.
pub const MOST_NAME: usize = 100;

/// Most characters of a slug.
pub const MOST_SLUG: usize = 100;

/// Sort orders go from minus this to this.
pub const MOST_SORT_ORDER: i32 = 1_000_000;

/// What a caller sees of a category and does not change by a patch.
const FIXED: [&str; 5] = ["id", "parent_id", "level", "path", "version"];

/// Names a category in addresses of pages: 1 to 100 of `a–z 0–9 -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

/// A text that cannot be a slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 100 characters of a-z 0-9 -")]
pub struct InvalidSlug;

impl Slug {
    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slug of a name: its Latin letters and digits in lower case, a hyphen for what is between.
    ///
    /// # Errors
    ///
    /// [`InvalidSlug`] when the name has none.
    pub fn of_name(name: &str) -> Result<Self, InvalidSlug> {
        let words = name.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        words.join("-").to_ascii_lowercase().parse()
    }
}

impl FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=MOST_SLUG).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSlug)
        }
    }
}

impl TryFrom<String> for Slug {
    type Error = InvalidSlug;

    fn try_from(text: String) -> Result<Self, InvalidSlug> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a caller says of a category, but for its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// What people call it.
    pub name: String,
    /// Its name in addresses; no two categories have the same.
    pub slug: Slug,
    /// Its place among its siblings: lower first, and by name where it is the same.
    pub sort_order: i32,
}

/// A category. Its JSON form is what callers see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Category {
    /// Names it, for good.
    #[schema(value_type = String, format = "uuid")]
    pub id: CategoryId,
    /// What people call it.
    #[schema(min_length = 1, max_length = 100, example = "Lamps")]
    pub name: String,
    /// Its name in addresses; no two categories have the same.
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,100}$", example = "lamps")]
    pub slug: Slug,
    /// The category above; null at the top.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub parent_id: Option<CategoryId>,
    /// Categories above it.
    #[schema(minimum = 0, maximum = 63)]
    pub level: usize,
    /// The categories above it from the top, and itself.
    #[schema(value_type = Vec<String>)]
    pub path: Vec<CategoryId>,
    /// Its place among its siblings: lower first, and by name where it is the same.
    pub sort_order: i32,
    /// Counts its changes and its moves, also those of categories above; the entity tag.
    pub version: u64,
}

impl Category {
    /// The members that callers see.
    ///
    /// # Panics
    /// Never: names are text, so there is always a JSON object.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a category is a JSON object with text for names"),
        }
    }
}

/// Reads a new category from a body: its labels and the category above.
///
/// # Errors
///
/// What is wrong with which member.
pub fn parse_new(body: &Value) -> Result<(Labels, Option<CategoryId>), Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let labels = labels(&mut members);
    let parent = parent(&mut members);
    members.finish(labels.map(|labels| (labels, parent)))
}

/// The labels of `current` as a JSON merge patch (RFC 7396) changes them. A slug that is removed is
/// made of the name again.
///
/// # Errors
///
/// What is wrong with which member of the patched category.
pub fn parse_patch(current: &Category, patch: &Value) -> Result<Labels, Vec<FieldError>> {
    let (target, mut errors) = patched(&current.document(), patch, &FIXED)?;
    let mut members = Members::of(&target, "")?;
    let labels = labels(&mut members);
    match members.finish(labels) {
        Ok(labels) if errors.is_empty() => Ok(labels),
        Ok(_) => Err(errors),
        Err(others) => {
            errors.extend(others);
            Err(errors)
        }
    }
}

/// Reads where a category goes: below which other one (null for the top), and its sort order there if
/// that changes.
///
/// # Errors
///
/// What is wrong with which member.
pub fn parse_move(body: &Value) -> Result<(Option<CategoryId>, Option<i32>), Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    if body.get("parent_id").is_none() {
        let detail = "parent_id is required; null is the top";
        members.refuse("parent_id", "missing-field", detail);
    }
    let parent = parent(&mut members);
    let sort_order = sort_order(&mut members);
    members.finish(Some((parent, sort_order)))
}

fn labels(members: &mut Members<'_>) -> Option<Labels> {
    let name = members.required_text("name", MOST_NAME);
    let slug = match (members.value("slug"), &name) {
        (None, None) => None,
        (None, Some(name)) => Some(Slug::of_name(name).map_err(|_| {
            "the name has no Latin letter or digit to make a slug of: give a slug".to_owned()
        })),
        (Some(slug), _) => {
            let parsed = slug.as_str().unwrap_or_default().parse::<Slug>();
            Some(parsed.map_err(|error| format!("slug {error}")))
        }
    };
    let slug = slug.and_then(|slug| {
        slug.map_err(|detail| members.refuse("slug", "invalid-value", detail))
            .ok()
    });
    let sort_order = sort_order(members);
    Some(Labels {
        name: name?,
        slug: slug?,
        sort_order: sort_order.unwrap_or(0),
    })
}

fn sort_order(members: &mut Members<'_>) -> Option<i32> {
    let value = members.value("sort_order")?;
    let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
    let number = number.filter(|number| (-MOST_SORT_ORDER..=MOST_SORT_ORDER).contains(number));
    if number.is_none() {
        let detail = format!(
            "sort_order must be a whole number from -{MOST_SORT_ORDER} to {MOST_SORT_ORDER}"
        );
        members.refuse("sort_order", "invalid-value", detail);
    }
    number
}

fn parent(members: &mut Members<'_>) -> Option<CategoryId> {
    let parsed = members.value("parent_id")?;
    let parsed = parsed.as_str().unwrap_or_default().parse();
    parsed
        .map_err(|error| {
            members.refuse("parent_id", "invalid-value", format!("parent_id {error}"));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults<T: fmt::Debug>(read: Result<T, Vec<FieldError>>) -> Vec<String> {
        let told = |error: FieldError| format!("{} {}", error.pointer, error.code);
        read.unwrap_err().into_iter().map(told).collect()
    }

    #[test]
    fn a_slug_is_made_of_the_name_where_none_is_given() {
        for (name, slug) in [
            ("Lamps & Lights", "lamps-lights"),
            ("  --4K TV's! ", "4k-tv-s"),
            ("Küche", "k-che"),
        ] {
            let (labels, parent) = parse_new(&json!({"name": name})).unwrap();
            assert_eq!((labels.slug.as_str(), labels.sort_order), (slug, 0));
            assert_eq!(parent, None);
        }
        let (labels, _) = parse_new(&json!({"name": "ламп", "slug": "lamp"})).unwrap();
        assert_eq!(labels.slug.as_str(), "lamp");
    }

    #[test]
    fn every_bad_member_is_named_at_once() {
        let body = json!({"name": "ламп", "parent_id": "x", "sort_order": 1.5, "level": 3});
        let expected = [
            "/slug invalid-value",
            "/sort_order invalid-value",
            "/parent_id invalid-value",
            "/level unknown-field",
        ];
        assert_eq!(faults(parse_new(&body)), expected);
        let body = json!({"slug": "A b", "sort_order": 1_000_001});
        let expected = [
            "/name missing-field",
            "/slug invalid-value",
            "/sort_order invalid-value",
        ];
        assert_eq!(faults(parse_new(&body)), expected);
        let long = json!({"name": "x".repeat(101), "slug": "x".repeat(101)});
        assert_eq!(faults(parse_new(&long)).len(), 2);
        assert_eq!(faults(parse_move(&json!({}))), ["/parent_id missing-field"]);
        let read = parse_move(&json!({"parent_id": null, "sort_order": -1}));
        assert_eq!(read, Ok((None, Some(-1))));
    }

    #[test]
    fn a_patch_changes_labels_and_nothing_else() {
        let id: CategoryId = "0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b".parse().unwrap();
        let current = Category {
            id,
            name: "Lamps".into(),
            slug: "lights".parse().unwrap(),
            parent_id: None,
            level: 0,
            path: vec![id],
            sort_order: 4,
            version: 2,
        };
        let labels = parse_patch(&current, &json!({"slug": null, "level": 0})).unwrap();
        assert_eq!((labels.slug.as_str(), labels.sort_order), ("lamps", 4));
        let wrong = json!({"parent_id": id, "path": [], "name": null, "x": 1});
        let expected = [
            "/parent_id read-only-field",
            "/path read-only-field",
            "/name missing-field",
            "/x unknown-field",
        ];
        assert_eq!(faults(parse_patch(&current, &wrong)), expected);
    }
}
