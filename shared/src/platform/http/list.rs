//! Lists: `{"data": [...], "next_cursor": …}` and the `Link` to the next page.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::LINK;
use serde::Serialize;

use super::body::Json;
use super::query::Query;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct List<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

/// The `Link` to the page that `cursor` opens, relative to the request's own address (RFC 8288, RFC
/// 3986 section 5.3): the function cannot know under which host and stage it is reached.
#[must_use]
pub fn next_link(query: &Query, cursor: &str) -> Option<HeaderValue> {
    let link = format!("<?{}>; rel=\"next\"", query.with("cursor", cursor));
    HeaderValue::from_str(&link).ok()
}

/// Answers with a page and the `Link` to the next one.
pub fn list_response<T: Serialize>(query: &Query, list: List<T>) -> Response {
    let link = list
        .next_cursor
        .as_deref()
        .and_then(|cursor| next_link(query, cursor));
    let mut response = Json(list).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(LINK, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_links_to_the_next_one_with_the_same_query() {
        let query = Query::parse("limit=2&start=3/1/2025&cursor=old");
        let list = List {
            data: vec![1, 2],
            next_cursor: Some("new".to_owned()),
        };
        let response = list_response(&query, list);
        assert_eq!(
            response.headers()[LINK],
            r#"<?limit=2&start=3%2F1%2F2025&cursor=new>; rel="next""#
        );
        let body = axum::body::to_bytes(response.into_body(), 1024).await;
        assert_eq!(body.unwrap(), r#"{"data":[1,2],"next_cursor":"new"}"#);
    }

    #[test]
    fn the_last_page_links_nowhere() {
        let list = List::<u8> {
            data: vec![],
            next_cursor: None,
        };
        let response = list_response(&Query::default(), list);
        assert!(!response.headers().contains_key(LINK));
    }
}
