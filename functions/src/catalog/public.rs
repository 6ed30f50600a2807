//! Answers that anybody may have and keep for a minute.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LINK},
};
use serde::Serialize;
use shared::platform::{
    http::{List, Query, content_tag, is_known, next_link},
    problem::Problem,
};

/// How long an answer may be kept.
const CACHING: &str = "public, max-age=60";

/// Answers with JSON of an entity tag, or 304 where the caller has it.
#[must_use]
pub fn tagged(headers: &HeaderMap, tag: String, json: Vec<u8>) -> Response {
    if is_known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, kept(tag)).into_response();
    }
    (kept(tag), [(CONTENT_TYPE, "application/json")], json).into_response()
}

/// Says that an answer may be kept, and by which entity tag it is known.
#[must_use]
pub fn kept(tag: String) -> [(http::HeaderName, String); 2] {
    [(CACHE_CONTROL, CACHING.to_owned()), (ETAG, tag)]
}

/// Answers with a value that has no version, known by what it says.
///
/// # Errors
///
/// A 500 problem when it cannot be JSON, which no value here can be.
pub fn answer<T: Serialize>(headers: &HeaderMap, value: &T) -> Result<Response, Problem> {
    let json = serde_json::to_vec(value).map_err(Problem::internal)?;
    Ok(tagged(headers, content_tag(&json), json))
}

/// Answers with a page of a list and the `Link` to the next one.
///
/// # Errors
///
/// As [`answer`].
pub fn page<T: Serialize>(
    headers: &HeaderMap,
    query: &Query,
    list: &List<T>,
) -> Result<Response, Problem> {
    let mut response = answer(headers, list)?;
    let cursor = list.next_cursor.as_deref();
    if let Some(link) = cursor.and_then(|cursor| next_link(query, cursor)) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}
