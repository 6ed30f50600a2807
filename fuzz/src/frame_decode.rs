//! Any bytes decode to a frame or an error, in bounded memory, and what decodes can be written
//! again and is then read as the same.
//!
//! The input is tried as it is and as the content of a frame whose checksum is right; otherwise
//! the fuzzer would never get past the checksum.

use shared::frame::{Frame, Limits};
use xxhash_rust::xxh3::xxh3_64;

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(content: &[u8]) {
    let limits = Limits {
        rows: 1 << 12,
        columns: 32,
        decoded_bytes: 1 << 20,
        ..Limits::default()
    };
    // Most inputs end at the checksum; the call is there to show that it ends.
    let _ = Frame::decode(content, &limits);
    let mut sealed = vec![0xcf, 1];
    sealed.extend_from_slice(content);
    let checksum = xxh3_64(&sealed).to_le_bytes();
    sealed.extend_from_slice(&checksum);
    if let Ok(frame) = Frame::decode(&sealed, &limits) {
        let written = frame
            .encode()
            .expect("what was decoded is within the format");
        let read = Frame::decode(&written, &Limits::default()).expect("own bytes decode");
        assert_eq!(
            read.columns(),
            frame.columns(),
            "a frame changed on its way through bytes"
        );
        if let Some((name, column)) = frame.columns().last() {
            let one =
                Frame::decode_columns(&sealed, &[name], &limits).expect("a column decodes alone");
            assert_eq!(
                one.column(name),
                Some(column),
                "a column differs when read alone"
            );
        }
    }
}
