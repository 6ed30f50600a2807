//! The tree as JSON, written straight from its rows: ten thousand of them in a few milliseconds.

use std::io::Write as _;

use uuid::fmt::Hyphenated;

use super::tree::{MOST_DEPTH, Place, Tree};

/// Most bytes of a tree as JSON: what Lambda can send, with room for what it adds.
pub const MOST_BYTES: usize = 5 * 1024 * 1024;

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
    let mut json = br#"{"data":["#.to_vec();
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
        // Writing to memory never fails, and text is always JSON.
        let _ = serde_json::to_writer(&mut json, node.name);
        let _ = write!(
            json,
            r#","slug":"{}","level":{level},"sort_order":{},"children":["#,
            node.slug, node.sort_order
        );
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
