//! JSON bodies, read so that every way of being wrong has its own problem.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::platform::problem::{FieldError, Problem};

/// A JSON body. As an extractor it refuses another content type with 415, text that is not JSON with
/// 400 `malformed-json`, and JSON that does not fit `T` with 422 `invalid-body` and a pointer to the
/// place. As a response it is the body, with content type `application/json`.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// Bytes that a JSON body may have; what needs more is not JSON.
const MAX_JSON: usize = 1024 * 1024;

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        let bytes = axum::body::to_bytes(request.into_body(), MAX_JSON)
            .await
            .map_err(|_| Problem::too_large(MAX_JSON))?;
        Self::parse(&bytes)
    }
}

/// A request without a body has none, whatever its content type.
impl<T: DeserializeOwned, S: Send + Sync> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        let json = <Self as FromRequest<S>>::from_request(request, state).await?;
        Ok(Some(json))
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads `bytes`.
    ///
    /// # Errors
    /// A 400 problem for text that is not JSON, a 422 problem for JSON that does not fit.
    pub fn parse(bytes: &Bytes) -> Result<Self, Problem> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let pointer = pointer(error.path());
            refuse(pointer, error.inner())
        })?;
        deserializer
            .end()
            .map_err(|error| refuse(String::new(), &error))?;
        Ok(Self(value))
    }
}

fn refuse(pointer: String, error: &serde_json::Error) -> Problem {
    if error.is_data() {
        // The error's own words name types, which are nobody's business.
        let detail = "what stands here is not what is asked for";
        Problem::unprocessable("invalid-body", "the body does not have the expected form")
            .with_error(FieldError::new(pointer, "invalid-value", detail))
    } else {
        Problem::bad_request("malformed-json", format!("the body is not JSON: {error}"))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim())
        .is_some_and(|essence| {
            let essence = essence.to_ascii_lowercase();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only its reading is tested")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    struct Item {
        #[expect(dead_code, reason = "only its reading is tested")]
        quantity: u32,
    }

    fn problem(body: &'static str) -> (u16, String, String) {
        let problem = Json::<Order>::parse(&Bytes::from_static(body.as_bytes())).unwrap_err();
        let shown = format!("{problem:?}");
        (problem.status().as_u16(), problem.code().to_owned(), shown)
    }

    #[test]
    fn what_does_not_fit_is_pointed_at() {
        let (status, code, shown) = problem(r#"{"items":[{"quantity":1},{"quantity":"two"}]}"#);
        assert_eq!((status, code.as_str()), (422, "invalid-body"));
        assert!(shown.contains("\"/items/1/quantity\""), "{shown}");
    }

    #[test]
    fn a_body_that_does_not_fit_is_told_so_without_the_names_of_types() {
        for body in [
            r#""text""#,
            r#"{"items":[{"quantity":-1}]}"#,
            r#"{"items":[7]}"#,
        ] {
            let (status, _, shown) = problem(body);
            assert_eq!(status, 422, "{body}");
            assert!(
                !["struct", "Order", "Item", "u32"]
                    .iter()
                    .any(|name| shown.contains(name)),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in ["", "{", "{\"items\":[]} x", "nope"] {
            let (status, code, _) = problem(body);
            assert_eq!((status, code.as_str()), (400, "malformed-json"), "{body}");
        }
    }

    #[tokio::test]
    async fn the_content_type_decides_first() {
        let request = |content_type: &str, length: usize| {
            http::Request::post("/")
                .header(CONTENT_TYPE, content_type)
                .body(axum::body::Body::from(vec![b' '; length]))
                .unwrap()
        };
        for (content_type, length, status) in [
            ("text/plain", 2, 415),
            ("application/json; charset=utf-8", MAX_JSON + 1, 413),
            ("application/merge-patch+json", 2, 400),
        ] {
            let result =
                <Json<Order> as FromRequest<()>>::from_request(request(content_type, length), &())
                    .await;
            assert_eq!(result.unwrap_err().status().as_u16(), status);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Json::<Order>::parse(&Bytes::from(bytes));
        }
    }
}
