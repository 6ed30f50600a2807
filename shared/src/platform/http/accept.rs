//! Content negotiation, as far as it goes here: JSON, or CSV for who asks for it.

use http::HeaderMap;
use http::header::ACCEPT;

/// Whether `Accept` asks for CSV by name, and does not refuse it by a quality of zero (RFC 9110
/// section 12.5.1).
#[must_use]
pub fn accepts_csv(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.unwrap_or_default().split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_csv = parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("text/csv"));
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        is_csv && quality.is_none_or(|quality| quality.parse::<f32>().is_ok_and(|q| q > 0.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_for_who_asks_for_it() {
        for (accept, expected) in [
            ("text/csv", true),
            ("application/json, Text/CSV;q=0.5", true),
            ("text/csv;q=0", false),
            ("text/csv; header=present; q=0.0", false),
            ("*/*", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(accepts_csv(&headers), expected, "{accept}");
        }
        assert!(!accepts_csv(&HeaderMap::new()));
    }
}
