//! A cursor opens for its own list and caller and gives back its payload; one that was changed, or that
//! nobody signed, never opens.

use shared::platform::{config::CursorKey, http::Query, page::CursorScope};

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn key() -> CursorKey {
    CursorKey::new([7; 32]).expect("the key is long enough")
}

fn open(route: &str, caller: &str, cursor: &str) -> Option<Vec<u8>> {
    let query = Query::parse(&format!("start=a&cursor={cursor}"));
    let scope = CursorScope {
        route,
        query: &query,
        caller,
    };
    key().open(scope).ok().flatten()
}

fn sign(route: &str, caller: &str, payload: &[u8]) -> String {
    let query = Query::parse("start=a");
    let scope = CursorScope {
        route,
        query: &query,
        caller,
    };
    key().sign(scope, payload)
}

/// Tries an input: where to change the cursor, how, and its payload; and the same bytes as a cursor.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(bytes: &[u8]) {
    let forged = String::from_utf8_lossy(bytes);
    assert_eq!(open("/api/sales", "u-1", &forged), None, "{forged:?} opens");

    let [at, with, caller, payload @ ..] = bytes else {
        return;
    };
    // A key of the table has some hundred bytes; longer payloads make cursors that are refused.
    let payload = &payload[..payload.len().min(4_096)];
    let caller = format!("u-{caller}");
    let cursor = sign("/api/sales", &caller, payload);
    assert_eq!(
        open("/api/sales", &caller, &cursor).as_deref(),
        Some(payload)
    );
    assert_eq!(
        open("/api/orders", &caller, &cursor),
        None,
        "for another list"
    );
    assert_eq!(
        open("/api/sales", "u-", &cursor),
        None,
        "for another caller"
    );

    let mut changed = cursor.clone().into_bytes();
    let at = usize::from(*at) * 31 % changed.len();
    changed[at] = ALPHABET[usize::from(*with) % ALPHABET.len()];
    let changed = String::from_utf8(changed).expect("the alphabet is ASCII");
    if changed != cursor {
        assert_eq!(
            open("/api/sales", &caller, &changed),
            None,
            "{changed} opens"
        );
    }
    let (shorter, longer) = (&cursor[..at], format!("{cursor}A"));
    assert_eq!(
        open("/api/sales", &caller, shorter),
        None,
        "{shorter} opens"
    );
    assert_eq!(open("/api/sales", &caller, &longer), None, "{longer} opens");
}
