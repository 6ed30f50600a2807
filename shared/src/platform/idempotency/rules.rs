//! What makes two requests the same, and what becomes of the second.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::platform::problem::Problem;

/// How long an answer is kept.
pub(super) const RETENTION: SignedDuration = SignedDuration::from_hours(24);

/// The longest that `Prefer: wait` makes a request wait.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The caller's name for a request: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads `Idempotency-Key`, bare or as a quoted string (RFC 9651 section 3.3.3); both forms of
    /// the same characters are the same key.
    ///
    /// # Errors
    /// A 400 problem: `idempotency-key-missing`, or `idempotency-key-invalid` when it is malformed or
    /// sent twice.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(KEY_HEADER).iter();
        let Some(value) = values.next() else {
            return Err(Problem::bad_request(
                "idempotency-key-missing",
                "send Idempotency-Key with a unique value for this request",
            ));
        };
        value
            .to_str()
            .ok()
            .filter(|_| values.next().is_none())
            .and_then(|text| Self::parse(text.trim_matches([' ', '\t'])))
            .ok_or_else(|| {
                Problem::bad_request(
                    "idempotency-key-invalid",
                    "Idempotency-Key must be 1 to 255 visible ASCII characters, bare or quoted",
                )
            })
    }

    /// As [`IdempotencyKey::from_headers`], where a request need not have one.
    ///
    /// # Errors
    /// A 400 problem, `idempotency-key-invalid`, as above.
    pub fn if_given(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let is_given = headers.contains_key(KEY_HEADER);
        is_given.then(|| Self::from_headers(headers)).transpose()
    }

    fn parse(text: &str) -> Option<Self> {
        let key = if text.starts_with('"') {
            unquoted(text)?
        } else {
            text.to_owned()
        };
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=255).contains(&key.len()) && is_visible).then_some(Self(key))
    }
}

fn unquoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => key.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    // A lone quote is both the prefix and the suffix that were looked for.
    (text.len() >= 2).then_some(key)
}

/// Where a key counts: one caller, one method, one resolved path. Kept as a SHA-256 hash, so the record
/// tells neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// The scope of `key` for requests of `caller` with `method` to `path` (with its parameters filled
    /// in and without a trailing slash).
    #[must_use]
    pub fn new(caller: &str, method: &str, path: &str, key: &IdempotencyKey) -> Self {
        let mut hash = Sha256::new();
        for part in [caller, method, path.trim_end_matches('/'), &key.0] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hex(&hash.finalize()))
    }

    /// The hash in lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a request says, as a SHA-256 hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a JSON body. White space, the order of members and the notation of strings
    /// and numbers (`1.0`, `1`, `10e-1`) do not count; every digit does. An empty body is one of its own.
    ///
    /// # Errors
    /// A 400 problem when the body is not JSON or nests deeper than 128.
    pub fn of_json(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::of_bytes(body));
        }
        let mut canonical = String::with_capacity(body.len());
        serde_json::from_slice::<&RawValue>(body)
            .ok()
            .and_then(|value| canonicalize(value.get(), &mut canonical, MAX_DEPTH))
            .ok_or_else(|| Problem::bad_request("malformed-json", "the body is not JSON"))?;
        Ok(Self::of_bytes(canonical.as_bytes()))
    }

    /// The fingerprint of a body taken as it is.
    #[must_use]
    pub fn of_bytes(body: &[u8]) -> Self {
        Self(hex(&Sha256::digest(body)))
    }

    pub(super) fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const MAX_DEPTH: usize = 128;

/// Appends the canonical form of the JSON text `raw`: members sorted, strings escaped in one way,
/// numbers as `digits e exponent` without a detour through floats.
fn canonicalize(raw: &str, out: &mut String, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match raw.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
            out.push('{');
            for (name, value) in members {
                out.push_str(&serde_json::to_string(&name).ok()?);
                out.push(':');
                canonicalize(value.get(), out, depth)?;
                out.push(',');
            }
            out.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            out.push('[');
            for item in items {
                canonicalize(item.get(), out, depth)?;
                out.push(',');
            }
            out.push(']');
        }
        b'"' => {
            let text: String = serde_json::from_str(raw).ok()?;
            out.push_str(&serde_json::to_string(&text).ok()?);
        }
        b'-' | b'0'..=b'9' => out.push_str(&canonical_number(raw)?),
        _ => out.push_str(raw),
    }
    Some(())
}

fn canonical_number(raw: &str) -> Option<String> {
    let (mantissa, exponent) = match raw.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (raw, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    let dropped = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(dropped)?;
    Some(format!("{sign}{significant}e{exponent}"))
}

/// Whether an answer is kept for the next same request: success, and refusals that the state of
/// things decided. Refusals of the request itself (its form, its rights, its pace) and failures of ours
/// are not: the same request may fare better.
#[must_use]
pub fn is_stored(status: StatusCode) -> bool {
    const OF_THE_REQUEST: [u16; 20] = [
        400, 401, 403, 405, 406, 408, 411, 412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428,
        429, 431,
    ];
    status.is_success() || (status.is_client_error() && !OF_THE_REQUEST.contains(&status.as_u16()))
}

/// How long `Prefer: wait=N` (RFC 7240 section 4.3) lets a request wait for the first one, at most
/// [`MAX_WAIT`]; zero without the preference.
#[must_use]
pub fn preferred_wait(headers: &HeaderMap) -> Duration {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse().ok())
        .map_or(Duration::ZERO, |seconds: u32| {
            Duration::from_secs(seconds.into()).min(MAX_WAIT)
        })
}

/// An answer as it is kept: status, body, content type, `Location` and `ETag`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    status: u16,
    body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

/// An answer that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredResponseError {
    /// The body would not fit into an item (400 KB) with room to spare.
    #[error("response body is larger than {} bytes", StoredResponse::MAX_BODY)]
    TooLarge,
    /// The body is not text.
    #[error("response body is not UTF-8")]
    NotText,
}

impl StoredResponse {
    /// Bytes that a kept body may have.
    pub const MAX_BODY: usize = 300 * 1024;

    /// Takes what is kept of `response`.
    ///
    /// # Errors
    /// [`StoredResponseError`] when the body is too large or not text.
    pub async fn capture(response: Response) -> Result<Self, StoredResponseError> {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, Self::MAX_BODY)
            .await
            .map_err(|_| StoredResponseError::TooLarge)?;
        let header = |name: HeaderName| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Self {
            status: parts.status.as_u16(),
            body: String::from_utf8(bytes.into()).map_err(|_| StoredResponseError::NotText)?,
            content_type: header(CONTENT_TYPE),
            location: header(LOCATION),
            etag: header(ETAG),
        })
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer to the request that made it.
    #[must_use]
    pub fn into_response(self) -> Response {
        let status = self.status();
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = status;
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (LOCATION, self.location),
            (ETAG, self.etag),
        ] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// The answer to the same request sent again: marked `Idempotent-Replayed: true`.
    #[must_use]
    pub fn into_replay(self) -> Response {
        let mut response = self.into_response();
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED_HEADER, yes);
        response
    }
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) state: State,
    /// When it stops to count.
    pub(super) expires: Timestamp,
    /// The fingerprint of the request that made it.
    pub(super) fingerprint: Fingerprint,
    /// The token of the claim that made it.
    pub(super) token: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    InProgress { until: Timestamp },
    Completed(StoredResponse),
}

/// What a record means for a request that finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing any more: the key may be claimed.
    Vacant,
    /// The caller's own claim, whose answer was lost on the way.
    Own,
    /// The key belongs to another request.
    Reused,
    /// The first request is under way.
    Running,
    /// The first request's answer.
    Done(StoredResponse),
}

impl Record {
    /// Tells what this record means at `now`. Expiry is compared here: the table deletes expired
    /// items only some time later.
    pub(super) fn meaning(self, fingerprint: &Fingerprint, token: &str, now: Timestamp) -> Meaning {
        if self.expires <= now {
            return Meaning::Vacant;
        }
        if self.fingerprint != *fingerprint {
            return Meaning::Reused;
        }
        match self.state {
            State::Completed(response) => Meaning::Done(response),
            State::InProgress { .. } if self.token == token => Meaning::Own,
            State::InProgress { until } if until <= now => Meaning::Vacant,
            State::InProgress { .. } => Meaning::Running,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn key(values: &[&str]) -> Result<String, String> {
        let headers = values
            .iter()
            .map(|value| (KEY_HEADER, HeaderValue::from_str(value).unwrap()))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        IdempotencyKey::from_headers(&headers)
            .map(|key| key.0)
            .map_err(|problem| problem.code().to_owned())
    }

    #[test]
    fn a_key_is_read_bare_or_quoted() {
        assert_eq!(key(&["abc-1"]), Ok("abc-1".to_owned()));
        assert_eq!(key(&["\"abc-1\""]), Ok("abc-1".to_owned()));
        assert_eq!(key(&[r#""a\"b\\c""#]), Ok(r#"a"b\c"#.to_owned()));
        assert_eq!(key(&[&"x".repeat(255)]), Ok("x".repeat(255)));
        assert_eq!(key(&[]), Err("idempotency-key-missing".to_owned()));
        let long = "x".repeat(256);
        for wrong in [
            "", "\"", "\"\"", "a b", "\"a b\"", "\"a", "\"a\"b\"", r#""a\n""#, &long,
        ] {
            assert_eq!(
                key(&[wrong]),
                Err("idempotency-key-invalid".to_owned()),
                "{wrong}"
            );
        }
        assert!(key(&["a", "a"]).is_err());
    }

    fn json(text: &str) -> Fingerprint {
        Fingerprint::of_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn notation_does_not_count_and_every_digit_does() {
        let first = json(r#"{"a": [1, 2.50, "é"], "b": {"x": true, "y": null}}"#);
        assert_eq!(
            first,
            json("{\"b\":{\"y\":null,\"x\":true},\"a\":[1.0,25e-1,\"\\u00e9\"]}")
        );
        assert_eq!(json("-0.0"), json("0e7"));
        assert_eq!(json("1000"), json("1E+3"));
        for (one, other) in [
            ("1.00000000000000001", "1"),
            ("9007199254740993", "9007199254740992"),
            ("[1,2]", "[2,1]"),
            ("[[1],2]", "[[1,2]]"),
            ("\"1\"", "1"),
            ("1", "-1"),
            ("{\"a\":1}", "{\"a\":1,\"b\":null}"),
            ("{\"a,\":1}", "{\"a\":1}"),
        ] {
            assert_ne!(json(one), json(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_not_json_or_nests_without_end_is_refused() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for wrong in [
            "{",
            "nope",
            "1 2",
            "1e99999999999999999999",
            "\"\\ud800\"",
            &deep,
        ] {
            assert!(
                Fingerprint::of_json(wrong.as_bytes()).is_err(),
                "{wrong:.20}"
            );
        }
    }

    #[test]
    fn a_scope_is_one_caller_method_path_and_key() {
        let key = |text| IdempotencyKey::parse(text).unwrap();
        let scope = Scope::new("u-1", "POST", "/api/orders", &key("k"));
        assert_eq!(scope, Scope::new("u-1", "POST", "/api/orders/", &key("k")));
        for other in [
            Scope::new("u-2", "POST", "/api/orders", &key("k")),
            Scope::new("u-1", "PUT", "/api/orders", &key("k")),
            Scope::new("u-1", "POST", "/api/orders/1", &key("k")),
            Scope::new("u-1", "POST", "/api/orders", &key("l")),
            Scope::new("u-", "1POST", "/api/orders", &key("k")),
        ] {
            assert_ne!(scope, other);
        }
        assert_eq!(scope.as_str().len(), 64);
    }

    #[test]
    fn successes_and_refusals_by_state_are_kept_and_nothing_else() {
        let kept: Vec<u16> = (200..600)
            .filter(|status| is_stored(StatusCode::from_u16(*status).unwrap()))
            .filter(|status| {
                StatusCode::from_u16(*status)
                    .unwrap()
                    .canonical_reason()
                    .is_some()
            })
            .filter(|status| *status >= 300)
            .collect();
        assert_eq!(kept, [402, 404, 407, 409, 410, 418, 423, 424, 451]);
        assert!(is_stored(StatusCode::CREATED));
    }

    #[test]
    fn a_wait_is_read_and_capped() {
        let wait = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            preferred_wait(&HeaderMap::from_iter([(
                HeaderName::from_static("prefer"),
                value,
            )]))
        };
        assert_eq!(wait("wait=3"), Duration::from_secs(3));
        assert_eq!(wait("respond-async, Wait=99; x=1"), MAX_WAIT);
        assert_eq!(wait("return=minimal"), Duration::ZERO);
        assert_eq!(wait("wait=-1"), Duration::ZERO);
    }

    #[test]
    fn the_fingerprint_is_looked_at_before_anything_else() {
        let now = Timestamp::from_second(1000).unwrap();
        let later = |seconds| now + SignedDuration::from_secs(seconds);
        let record = |state, expires| Record {
            state,
            expires,
            fingerprint: Fingerprint::of_bytes(b"a"),
            token: "t".to_owned(),
        };
        let done = StoredResponse {
            status: 201,
            body: String::new(),
            content_type: None,
            location: None,
            etag: None,
        };
        let running = |until| State::InProgress {
            until: later(until),
        };
        let same = Fingerprint::of_bytes(b"a");
        let other = Fingerprint::of_bytes(b"b");
        for (state, expires, fingerprint, token, meaning) in [
            (running(9), 99, &same, "t", Meaning::Own),
            (running(9), 99, &same, "u", Meaning::Running),
            (running(0), 99, &same, "u", Meaning::Vacant),
            (running(0), 99, &other, "u", Meaning::Reused),
            (running(9), 0, &other, "u", Meaning::Vacant),
            (
                State::Completed(done.clone()),
                99,
                &other,
                "u",
                Meaning::Reused,
            ),
            (
                State::Completed(done.clone()),
                0,
                &same,
                "u",
                Meaning::Vacant,
            ),
            (
                State::Completed(done.clone()),
                99,
                &same,
                "u",
                Meaning::Done(done),
            ),
        ] {
            let record = record(state, later(expires));
            assert_eq!(record.meaning(fingerprint, token, now), meaning);
        }
    }

    proptest! {
        #[test]
        fn any_key_header_is_read_or_refused(text in "[ -~]{0,300}") {
            let _ = key(&[&text]);
        }

        #[test]
        fn a_quoted_key_is_the_bare_one(text in "[!-~&&[^\"\\\\]]{1,255}") {
            prop_assert_eq!(key(&[&format!("\"{text}\"")]), key(&[&text]));
        }

        #[test]
        fn printing_json_anew_keeps_its_fingerprint(members: BTreeMap<String, Vec<Option<i64>>>) {
            let value: Value = serde_json::to_value(&members).unwrap();
            let compact = json(&serde_json::to_string(&value).unwrap());
            prop_assert_eq!(compact, json(&serde_json::to_string_pretty(&value).unwrap()));
        }

        #[test]
        fn any_bytes_have_a_fingerprint_or_are_refused(bytes: Vec<u8>) {
            let _ = Fingerprint::of_json(&bytes);
        }
    }
}
