//! The tree as JSON, written straight from its rows: ten thousand of them in a few milliseconds.

use uuid::fmt::Hyphenated;

use super::tree::{MOST_DEPTH, Place, Tree};

/// Most bytes of a tree as JSON: what Lambda can send, with room for what it adds.
pub const MOST_BYTES: usize = 5 * 1024 * 1024;

/// Bytes of a category as JSON besides its texts, more or less.
const CATEGORY_BYTES: usize = 128;

/// A tree, or what was asked of it, has more than [`MOST_BYTES`] as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has more than {MOST_BYTES} bytes")]
pub struct TooLarge;

/// `{"data": […]}` with the categories at the top, or only `root`, each with its children, `depth`
/// levels of them.
///
/// # Errors
///
/// [`TooLarge`] when it has more than [`MOST_BYTES`].
pub fn render(tree: &Tree, root: Option<Place>, depth: usize) -> Result<Vec<u8>, TooLarge> {
    // Room for all, for copying a megabyte as it grows takes longer than writing it.
    let expected = tree.text_bytes() + tree.len() * CATEGORY_BYTES;
    let mut json = Vec::with_capacity(expected.min(MOST_BYTES));
    json.extend_from_slice(br#"{"data":["#);
    let level = root.map_or(0, |root| tree.path(root).count().saturating_sub(1));
    let one;
    let top = match root {
        Some(root) => {
            one = [root];
            &one[..]
        }
        None => tree.children(None),
    };
    // What is left to write of each level that is open.
    let mut open = vec![top.iter()];
    while let Some(siblings) = open.last_mut() {
        let Some(node) = siblings.next().and_then(|place| tree.node(*place)) else {
            open.pop();
            json.extend_from_slice(if open.is_empty() { b"]" } else { b"]}" });
            continue;
        };
        if json.ends_with(b"}") {
            json.push(b',');
        }
        json.extend_from_slice(br#"{"id":""#);
        let mut id = [0; Hyphenated::LENGTH];
        json.extend_from_slice(node.id.0.hyphenated().encode_lower(&mut id).as_bytes());
        json.extend_from_slice(br#"","name":"#);
        let level = level + open.len() - 1;
        // Writing to memory never fails, and text and numbers are always JSON.
        let _ = serde_json::to_writer(&mut json, node.name);
        json.extend_from_slice(br#","slug":""#);
        json.extend_from_slice(node.slug.as_bytes());
        json.extend_from_slice(br#"","level":"#);
        let _ = serde_json::to_writer(&mut json, &level);
        json.extend_from_slice(br#","sort_order":"#);
        let _ = serde_json::to_writer(&mut json, &node.sort_order);
        json.extend_from_slice(br#","children":["#);
        if json.len() > MOST_BYTES {
            return Err(TooLarge);
        }
        if open.len() < depth.min(MOST_DEPTH) {
            open.push(tree.children(Some(node.place)).iter());
        } else {
            json.extend_from_slice(b"]}");
        }
    }
    json.push(b'}');
    Ok(json)
}
