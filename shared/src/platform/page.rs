//! Pages of a list: how many, and where to go on.
//!
//! A cursor is `base64url(version ‖ payload ‖ tag)`. The payload is whatever the store needs to go on
//! (its last key); the tag is HMAC-SHA-256 cut to 128 bits (RFC 2104 section 5) over the version, the
//! route, the query that made the page and the caller, so a cursor opens only for the list and the
//! caller it was made for. It is signed, not encrypted: a payload must hold nothing secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::platform::config::CursorKey;
use crate::platform::http::Query;
use crate::platform::problem::{FieldError, Problem};

/// Items on a page: 1 to 100, 20 unless asked otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u8);

impl Limit {
    const DEFAULT: u8 = 20;
    const MAX: u8 = 100;

    /// Reads the query parameter `limit`.
    ///
    /// # Errors
    /// A 400 problem when it is not a whole number from 1 to 100.
    pub fn from_query(query: &Query) -> Result<Self, Problem> {
        let Some(text) = query.get("limit") else {
            return Ok(Self::default());
        };
        text.parse()
            .ok()
            .filter(|limit| (1..=Self::MAX).contains(limit))
            .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
            .map(Self)
            .ok_or_else(|| {
                Problem::invalid_query(FieldError::query(
                    "limit",
                    "out-of-range",
                    "limit must be a whole number from 1 to 100",
                ))
            })
    }

    /// The number of items.
    #[must_use]
    pub fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

/// Most rows of a CSV page.
pub const MOST_CSV_ROWS: usize = 10_000;

/// A page ends when it has this many bytes as Lambda sends them ([`sent_bytes`]), which is 6 MB at
/// most.
pub const MOST_PAGE_BYTES: usize = 5 * 1024 * 1024;

/// Reads the query parameter `limit` of a list as CSV: 1 to 10,000 rows, all of them unless asked
/// otherwise.
///
/// # Errors
/// A 400 problem when it is not such a number.
pub fn csv_limit(query: &Query) -> Result<usize, Problem> {
    let Some(text) = query.get("limit") else {
        return Ok(MOST_CSV_ROWS);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST_CSV_ROWS).contains(limit))
        .ok_or_else(|| {
            let detail = format!("limit must be a whole number from 1 to {MOST_CSV_ROWS} for CSV");
            Problem::invalid_query(FieldError::query("limit", "invalid-limit", detail))
        })
}

/// What a cell's text takes of a response at most: Lambda sends the body as JSON text, in which a
/// quote that was doubled or escaped before takes four bytes, and a control character seven.
#[must_use]
pub fn sent_bytes(text: &str) -> usize {
    let sent = |byte: u8| match byte {
        b'"' | b'\\' => 4,
        0..0x20 => 7,
        _ => 1,
    };
    text.bytes().map(sent).sum()
}

/// What a cursor is bound to.
#[derive(Clone, Copy, Debug)]
pub struct CursorScope<'a> {
    /// The route's template, such as `/api/sales/imports`, or its path where that names the list.
    pub route: &'a str,
    /// The query; `limit` and `cursor` do not count, so a page size may change on the way.
    pub query: &'a Query,
    /// The caller's `sub`; empty on a public route.
    pub caller: &'a str,
}

const VERSION: u8 = 1;
const TAG_LENGTH: usize = 16;
/// `DynamoDB` keys take at most 3 KiB; more cannot be ours.
const MAX_CURSOR: usize = 8192;

impl CursorKey {
    /// Makes the cursor that carries `payload` to the next page of the list `scope`.
    #[must_use]
    pub fn sign(&self, scope: CursorScope<'_>, payload: &[u8]) -> String {
        let tag = self.mac(scope, payload).finalize().into_bytes();
        let mut cursor = Vec::with_capacity(1 + payload.len() + TAG_LENGTH);
        cursor.push(VERSION);
        cursor.extend_from_slice(payload);
        cursor.extend_from_slice(&tag[..TAG_LENGTH]);
        URL_SAFE_NO_PAD.encode(cursor)
    }

    /// Opens the query's `cursor`, if it has one, and gives its payload. The comparison takes the
    /// same time wherever a forged tag differs.
    ///
    /// # Errors
    /// A 400 problem `invalid-cursor` when it was not made by this key for this scope.
    pub fn open(&self, scope: CursorScope<'_>) -> Result<Option<Vec<u8>>, Problem> {
        scope
            .query
            .get("cursor")
            .map(|cursor| self.verified(scope, cursor).ok_or_else(invalid_cursor))
            .transpose()
    }

    fn verified(&self, scope: CursorScope<'_>, cursor: &str) -> Option<Vec<u8>> {
        if cursor.len() > MAX_CURSOR {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (payload, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_LENGTH)?)?;
        if *version != VERSION {
            return None;
        }
        self.mac(scope, payload).verify_truncated_left(tag).ok()?;
        Some(payload.to_vec())
    }

    fn mac(&self, scope: CursorScope<'_>, payload: &[u8]) -> Hmac<Sha256> {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.expose()).expect("any length is a key");
        mac.update(&[VERSION]);
        let query = scope.query.canonical(&["cursor", "limit"]);
        for part in [
            scope.route.as_bytes(),
            query.as_bytes(),
            scope.caller.as_bytes(),
            payload,
        ] {
            // Lengths keep parts apart: no two scopes share one input.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

fn invalid_cursor() -> Problem {
    Problem::bad_request(
        "invalid-cursor",
        "the cursor does not belong to this list and caller",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> CursorKey {
        CursorKey::new([byte; 32]).unwrap()
    }

    fn open(key: &CursorKey, route: &str, query: &str, caller: &str) -> Option<Vec<u8>> {
        let query = Query::parse(query);
        let scope = CursorScope {
            route,
            query: &query,
            caller,
        };
        key.open(scope).ok().flatten()
    }

    fn sign(key: &CursorKey, route: &str, query: &str, caller: &str, payload: &[u8]) -> String {
        let query = Query::parse(query);
        let scope = CursorScope {
            route,
            query: &query,
            caller,
        };
        key.sign(scope, payload)
    }

    #[test]
    fn a_cursor_opens_for_its_own_list_only() {
        let cursor = sign(&key(1), "/api/sales", "start=a&end=b", "u-1", b"last");
        let same = format!("limit=5&end=b&cursor={cursor}&start=a");
        let other = format!("start=a&end=c&cursor={cursor}");
        assert_eq!(
            open(&key(1), "/api/sales", &same, "u-1").as_deref(),
            Some(&b"last"[..])
        );
        assert_eq!(open(&key(1), "/api/sales", &other, "u-1"), None);
        assert_eq!(open(&key(1), "/api/sales", &same, "u-2"), None);
        assert_eq!(open(&key(1), "/api/imports", &same, "u-1"), None);
        assert_eq!(open(&key(2), "/api/sales", &same, "u-1"), None);
    }

    #[test]
    fn the_wire_format_stays_readable_by_later_versions() {
        assert_eq!(
            sign(&key(1), "/api/sales", "", "u-1", b"last"),
            "AWxhc3Rx8dwYVbvO1IWeQxjM4tGu"
        );
    }

    #[test]
    fn a_bad_cursor_is_named_and_none_is_none() {
        let query = Query::parse("cursor=zzz");
        let scope = |query| CursorScope {
            route: "/",
            query,
            caller: "",
        };
        let problem = key(1).open(scope(&query)).unwrap_err();
        assert_eq!(
            (problem.status().as_u16(), problem.code()),
            (400, "invalid-cursor")
        );
        assert!(key(1).open(scope(&Query::parse(""))).unwrap().is_none());
    }

    #[test]
    fn a_limit_is_a_whole_number_from_1_to_100() {
        let limit = |query: &str| Limit::from_query(&Query::parse(query)).map(Limit::get).ok();
        assert_eq!(limit(""), Some(20));
        assert_eq!(limit("limit=1"), Some(1));
        assert_eq!(limit("limit=100"), Some(100));
        for wrong in ["0", "101", "-1", "+1", "1.5", "", "9999999999", "ten"] {
            assert_eq!(limit(&format!("limit={wrong}")), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_gives_back_its_payload(payload: Vec<u8>, caller: String, route: String) {
            let cursor = sign(&key(3), &route, "", &caller, &payload);
            let opened = open(&key(3), &route, &format!("cursor={cursor}"), &caller);
            prop_assert_eq!(opened, Some(payload));
        }

        #[test]
        fn a_changed_cursor_never_opens(payload: Vec<u8>, index: prop::sample::Index, flip in 1_u8..) {
            let cursor = sign(&key(3), "/", "", "u", &payload);
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
            let index = index.index(bytes.len());
            bytes[index] ^= flip;
            let forged = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(open(&key(3), "/", &format!("cursor={forged}"), "u"), None);
        }

        #[test]
        fn any_text_is_refused_as_a_cursor(text: String) {
            prop_assert_eq!(key(3).verified(CursorScope { route: "", query: &Query::parse(""), caller: "" }, &text), None);
        }
    }
}
