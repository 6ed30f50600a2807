//! Versions of a resource and the conditions that callers put on them.
//!
//! Source: RFC 9110 sections 8.8.3 (`ETag`) and 13.1 (preconditions).

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use axum::response::{IntoResponseParts, ResponseParts};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_128;

use crate::platform::problem::Problem;

/// The version of a stored resource, shown as the strong entity tag `"v7"`. As part of a response it
/// sets `ETag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"v{}\"", self.0)
    }
}

/// A text that is not a version's entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version's entity tag")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("\"v")
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .filter(|version| version.to_string() == text)
            .ok_or(NotAVersion)
    }
}

impl IntoResponseParts for Version {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            parts.headers_mut().insert(ETAG, value);
        }
        Ok(parts)
    }
}

/// What `If-Match` asks of the version that a change is made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `*`: any version, as long as the resource exists.
    Exists,
    /// One of these versions; empty when no tag named one of ours, which no version satisfies.
    AnyOf(Vec<Version>),
}

impl Precondition {
    /// Reads `If-Match`, which a change must carry.
    ///
    /// # Errors
    /// A 428 problem when it is missing, 400 when it is not a list of entity tags.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = joined(headers, &IF_MATCH)?.ok_or_else(Problem::precondition_required)?;
        if text.trim() == "*" {
            return Ok(Self::Exists);
        }
        // A weak tag never matches strongly, and a tag that is not ours matches nothing.
        let versions = tags(&text)?
            .into_iter()
            .filter_map(|tag| tag.parse().ok())
            .collect();
        Ok(Self::AnyOf(versions))
    }

    /// Asks that `current` satisfies the condition.
    ///
    /// # Errors
    /// A 412 problem otherwise.
    pub fn check(&self, current: Version) -> Result<(), Problem> {
        match self {
            Self::AnyOf(versions) if !versions.contains(&current) => {
                Err(Problem::precondition_failed())
            }
            _ => Ok(()),
        }
    }
}

/// The strong entity tag of a body, for what has no version of its own: its 128-bit XXH3.
#[must_use]
pub fn content_tag(body: &[u8]) -> String {
    format!("\"{:032x}\"", xxh3_128(body))
}

/// Whether `If-None-Match` says that the caller has `current` already, so that a `GET` answers 304.
/// Compares weakly, as RFC 9110 asks; a malformed header counts as none.
#[must_use]
pub fn not_modified(headers: &HeaderMap, current: Version) -> bool {
    is_known(headers, &current.to_string())
}

/// As [`not_modified`], of any entity tag.
#[must_use]
pub fn is_known(headers: &HeaderMap, current: &str) -> bool {
    let Ok(Some(text)) = joined(headers, &IF_NONE_MATCH) else {
        return false;
    };
    let is_current = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == current;
    text.trim() == "*" || tags(&text).is_ok_and(|tags| tags.into_iter().any(is_current))
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut texts = Vec::new();
    for value in headers.get_all(name) {
        texts.push(value.to_str().map_err(|_| malformed())?);
    }
    Ok((!texts.is_empty()).then(|| texts.join(",")))
}

/// Splits a list of entity tags; a comma inside a tag does not end it.
fn tags(text: &str) -> Result<Vec<&str>, Problem> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let opening = if rest.starts_with("W/\"") { 3 } else { 1 };
        if opening == 1 && !rest.starts_with('"') {
            return Err(malformed());
        }
        let closing = rest[opening..].find('"').ok_or_else(malformed)? + opening + 1;
        tags.push(&rest[..closing]);
        let after = rest[closing..].trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return Err(malformed());
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    if tags.is_empty() {
        return Err(malformed());
    }
    Ok(tags)
}

fn malformed() -> Problem {
    Problem::bad_request(
        "malformed-entity-tag",
        "the header must be * or a list of entity tags such as \"v7\"",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(text).unwrap())])
    }

    fn status(text: &str) -> u16 {
        Precondition::from_headers(&headers(IF_MATCH, text))
            .and_then(|condition| condition.check(Version(7)))
            .map_or_else(|problem| problem.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_change_needs_the_current_version() {
        for (text, expected) in [
            ("\"v7\"", 200),
            ("*", 200),
            ("\"x,y\", \"v6\" ,\"v7\"", 200),
            ("\"v6\"", 412),
            ("\"v07\"", 412),
            ("W/\"v7\"", 412),
            ("\"\"", 412),
            ("v7", 400),
            ("\"v7", 400),
            ("\"v7\" \"v8\"", 400),
            ("", 400),
        ] {
            assert_eq!(status(text), expected, "{text}");
        }
        let missing = Precondition::from_headers(&HeaderMap::new()).unwrap_err();
        assert_eq!(missing.status().as_u16(), 428);
    }

    #[test]
    fn a_reader_who_has_the_version_gets_304() {
        let has = |text| not_modified(&headers(IF_NONE_MATCH, text), Version(7));
        assert!(has("\"v7\"") && has("W/\"v7\"") && has("\"v1\", \"v7\"") && has("*"));
        assert!(!has("\"v8\"") && !has("v7") && !has(""));
        assert!(!not_modified(&HeaderMap::new(), Version(7)));
    }

    proptest! {
        #[test]
        fn a_version_reads_its_own_tag(version: u64) {
            prop_assert_eq!(Version(version).to_string().parse(), Ok(Version(version)));
        }

        #[test]
        fn any_header_is_read_or_refused(text in "[ -~]{0,40}") {
            let _ = status(&text);
            let _ = not_modified(&headers(IF_NONE_MATCH, &text), Version(7));
        }
    }
}
