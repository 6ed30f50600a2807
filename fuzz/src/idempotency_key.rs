//! A header is a key or none, as RFC 9651 reads a string or as it stands: 1 to 255 visible ASCII
//! characters, and both spellings of the same characters are the same key.

use http::{HeaderMap, HeaderName, HeaderValue};
use shared::platform::idempotency::{Fingerprint, IdempotencyKey, Scope, preferred_wait};

const NAME: HeaderName = HeaderName::from_static("idempotency-key");

fn read(values: &[&[u8]]) -> Option<Scope> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(NAME, HeaderValue::from_bytes(value).ok()?);
    }
    let key = IdempotencyKey::from_headers(&headers).ok()?;
    Some(Scope::new("u-1", "POST", "/api/orders", &key))
}

/// The characters that a header means, written anew from the two grammars.
fn characters(header: &[u8]) -> Option<Vec<u8>> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let from = header.iter().position(|byte| !is_blank(byte))?;
    let to = header.iter().rposition(|byte| !is_blank(byte))?;
    let text = &header[from..=to];
    let mut key = Vec::new();
    if let [b'"', inner @ ..] = text {
        let mut rest = inner;
        loop {
            match rest {
                [b'"'] => break,
                [b'\\', escaped @ (b'"' | b'\\'), tail @ ..] => {
                    key.push(*escaped);
                    rest = tail;
                }
                [b'"' | b'\\', ..] | [] => return None,
                [byte, tail @ ..] => {
                    key.push(*byte);
                    rest = tail;
                }
            }
        }
    } else {
        key.extend_from_slice(text);
    }
    let is_key = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    is_key.then_some(key)
}

fn quoted(key: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in key {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    text
}

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(bytes: &[u8]) {
    // A body says the same whatever its notation, and never panics. No body at all is not JSON, and has
    // a fingerprint all the same.
    let fingerprint = Fingerprint::of_json(bytes).ok();
    if let Some(fingerprint) = fingerprint.filter(|_| !bytes.is_empty()) {
        let spaced = [b" \n", bytes, b"\t "].concat();
        let again = Fingerprint::of_json(&spaced).expect("blanks around JSON are JSON");
        assert!(again == fingerprint);
    }
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        assert!(read(&[bytes]).is_none());
        return;
    };
    let wait = preferred_wait(&HeaderMap::from_iter([(
        HeaderName::from_static("prefer"),
        value,
    )]));
    assert!(wait.as_secs() <= 10);
    let (found, wanted) = (read(&[bytes]), characters(bytes));
    assert_eq!(found.is_some(), wanted.is_some(), "{wanted:?}");
    let Some(key) = wanted else { return };
    assert_eq!(read(&[&quoted(&key)]), found, "quoted");
    if key[0] != b'"' {
        assert_eq!(read(&[&key]), found, "bare");
    }
    assert_eq!(read(&[bytes, bytes]), None, "sent twice");
    let mut other = key.clone();
    other.push(b'x');
    assert!(read(&[&quoted(&other)]).is_none_or(|other| Some(other) != found));
}
