//! What a body is, by its headers, and its plain bytes.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use shared::{
    platform::problem::Problem,
    sensors::intake::{InflateError, inflate, is_gzip},
};

/// Most bytes of a body, before and after decompression: base64, in which bodies reach a function,
/// makes 5.6 MB of it, and Lambda takes 6 MB.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that one byte of gzip may become; readings rarely reach 40.
const MOST_RATIO: usize = 200;

/// The type that a body says it is, in lower case and without parameters; `None` if it does not say.
///
/// # Errors
///
/// A 415 problem for a character set other than UTF-8, or a header that is no text.
pub fn media_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = text(headers, &CONTENT_TYPE)? else {
        return Ok(None);
    };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    });
    let is_utf8 = |charset: &str| {
        let charset = charset.trim().trim_matches('"');
        ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|known| charset.eq_ignore_ascii_case(known))
    };
    if !charset.is_none_or(is_utf8) {
        return Err(Problem::unsupported_media_type("UTF-8"));
    }
    Ok(Some(essence).filter(|essence| !essence.is_empty()))
}

/// The plain bytes of a body.
///
/// Whether it is compressed, its first bytes say: API Gateway decompresses a body with
/// `Content-Encoding: gzip` itself, and may leave the header
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-make-request-with-compressed-payload.html>);
/// no text begins as gzip does.
///
/// # Errors
///
/// A problem: 415 for another encoding, 413 for a body too large, 400 for gzip that is broken.
pub fn plain<'b>(headers: &HeaderMap, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Problem> {
    let encoding = text(headers, &CONTENT_ENCODING)?.unwrap_or_default();
    let is_known = ["", "identity", "gzip", "x-gzip"]
        .iter()
        .any(|known| encoding.trim().eq_ignore_ascii_case(known));
    if !is_known {
        return Err(Problem::unsupported_media_type("plain or gzip"));
    }
    if body.len() > MOST_BYTES {
        return Err(Problem::too_large(MOST_BYTES));
    }
    if !is_gzip(body) {
        return Ok(Cow::Borrowed(body));
    }
    match inflate(body, MOST_BYTES, MOST_RATIO) {
        Ok(plain) => Ok(Cow::Owned(plain)),
        Err(InflateError::Malformed(error)) => {
            let problem = Problem::bad_request("malformed-gzip", "the body is not whole gzip");
            Err(problem.with_cause(error))
        }
        Err(InflateError::TooLarge { .. } | InflateError::TooDense { .. }) => {
            Err(Problem::too_large(MOST_BYTES))
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    headers
        .get(name)
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_| Problem::unsupported_media_type("of a type that is text"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn status(headers: &HeaderMap, body: &[u8]) -> u16 {
        plain(headers, body).map_or_else(|problem| problem.status().as_u16(), |_| 200)
    }

    #[test]
    fn a_type_is_read_without_its_parameters() {
        for (value, expected) in [
            ("text/plain", Ok(Some("text/plain"))),
            ("Text/Plain; charset=UTF-8", Ok(Some("text/plain"))),
            (
                "text/plain;boundary=x; charset=\"utf-8\"",
                Ok(Some("text/plain")),
            ),
            ("", Ok(None)),
            ("text/plain; charset=iso-8859-1", Err(415)),
        ] {
            let read = media_type(&headers(CONTENT_TYPE, value));
            let read = read.map_err(|problem| problem.status().as_u16());
            assert_eq!(
                read,
                expected.map(|found| found.map(str::to_owned)),
                "{value}"
            );
        }
        assert_eq!(media_type(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn compression_is_told_by_the_first_bytes_whatever_the_header_says() {
        let compressed = gzip(b"m,device_id=a v=1");
        for encoding in ["", "identity", "gzip", "GZIP", "x-gzip"] {
            let headers = headers(CONTENT_ENCODING, encoding);
            for body in [&compressed[..], b"m,device_id=a v=1"] {
                assert_eq!(
                    *plain(&headers, body).unwrap(),
                    *b"m,device_id=a v=1",
                    "{encoding}"
                );
            }
        }
        for encoding in ["br", "deflate", "gzip, gzip"] {
            assert_eq!(
                status(&headers(CONTENT_ENCODING, encoding), b"x"),
                415,
                "{encoding}"
            );
        }
    }

    #[test]
    fn a_body_is_measured_before_and_after_decompression() {
        let none = HeaderMap::new();
        let noise: Vec<u8> = (0..=MOST_BYTES)
            .map(|at| ((at * at) >> 7).to_le_bytes()[0] | 1)
            .collect();
        assert_eq!(status(&none, &noise[..MOST_BYTES]), 200);
        assert_eq!(status(&none, &noise), 413);
        assert_eq!(status(&none, &gzip(&noise)), 413);
        assert_eq!(status(&none, &gzip(&vec![b' '; 64 * 1024 * 1024])), 413);
        let whole = gzip(b"content");
        assert_eq!(status(&none, &whole[..whole.len() - 1]), 400);
    }

    proptest! {
        #[test]
        fn any_bytes_have_plain_ones_or_are_refused(rest: Vec<u8>, is_gzip: bool) {
            let mut body = if is_gzip { vec![0x1f, 0x8b, 8] } else { Vec::new() };
            body.extend(rest);
            let _ = plain(&HeaderMap::new(), &body);
        }
    }
}
