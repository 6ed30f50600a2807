//! Compressed bodies (RFC 1952), opened no further than they may grow.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

/// What a short body may grow to whatever the ratio.
const RATIO_ALLOWANCE: usize = 64 << 10;

/// Why a compressed body is not opened.
#[derive(Debug, Error)]
pub enum InflateError {
    /// Not gzip, or cut short, or with a wrong checksum, or followed by something else.
    #[error("body is not gzip")]
    Malformed(#[source] io::Error),
    /// Larger than allowed once opened.
    #[error("body is larger than {limit} bytes once decompressed")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Grows faster than readings do.
    #[error("body grows to more than {limit} times its size")]
    TooDense {
        /// The limit, in bytes out for each byte in.
        limit: usize,
    },
}

/// Whether a body begins as gzip does, whatever its headers say; no format of readings does.
#[must_use]
pub fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&[0x1f, 0x8b])
}

/// Decompresses a body of one or more gzip members, to at most `most_bytes`, and to at most
/// `most_ratio` times its size beyond the first 64 KiB.
///
/// # Errors
/// [`InflateError`]; by then, no more memory is taken than the limits allow.
pub fn inflate(body: &[u8], most_bytes: usize, most_ratio: usize) -> Result<Vec<u8>, InflateError> {
    let dense = body
        .len()
        .saturating_mul(most_ratio)
        .saturating_add(RATIO_ALLOWANCE);
    let limit = most_bytes.min(dense);
    let one_more = u64::try_from(limit).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut inflated = Vec::new();
    MultiGzDecoder::new(body)
        .take(one_more)
        .read_to_end(&mut inflated)
        .map_err(InflateError::Malformed)?;
    if inflated.len() <= limit {
        Ok(inflated)
    } else if most_bytes <= dense {
        Err(InflateError::TooLarge { limit: most_bytes })
    } else {
        Err(InflateError::TooDense { limit: most_ratio })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("a Vec takes every write");
        encoder.finish().expect("a Vec takes every write")
    }

    #[test]
    fn members_in_a_row_are_one_body() {
        let body = [gzip(b"one\n"), gzip(b""), gzip(b"two\n")].concat();
        assert!(is_gzip(&body));
        assert_eq!(inflate(&body, 8, 10).expect("it is 8 bytes"), b"one\ntwo\n");
    }

    #[test]
    fn a_body_that_is_not_gzip_to_its_end_is_refused() {
        let whole = gzip(b"content");
        let mut wrong_checksum = whole.clone();
        let at = whole.len() - 8;
        wrong_checksum[at] ^= 1;
        let trailing = [whole.as_slice(), b"\0\0\0"].concat();
        for body in [
            b"".as_slice(),
            b"{}",
            &whole[..whole.len() - 1],
            &wrong_checksum,
            &trailing,
        ] {
            let error = inflate(body, 1 << 20, 1000).expect_err("it is not gzip");
            assert!(matches!(error, InflateError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn bombs_are_not_opened() {
        let bomb = gzip(&vec![0; 20 << 20]);
        let error = inflate(&bomb, 10 << 20, 100_000).expect_err("it is too large");
        assert_eq!(
            error.to_string(),
            "body is larger than 10485760 bytes once decompressed"
        );
        let error = inflate(&bomb, 30 << 20, 200).expect_err("it is too dense");
        assert_eq!(
            error.to_string(),
            "body grows to more than 200 times its size"
        );
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back_if_it_may(content in vec(any::<u8>(), 0..2000), limit in 0..2000usize) {
            let found = inflate(&gzip(&content), limit, 200).ok();
            prop_assert_eq!(found, (content.len() <= limit).then_some(content));
        }
    }
}
