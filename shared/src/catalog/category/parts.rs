//! Rows of the tree in [frames](crate::frame), each row in the part of its place.
//!
//! Columns: `n` (int, free places of the part before the row's), `p` (int, the place above, -1 for
//! none), `h` and `l` (float, the bits of the identifier's halves), `t` (text, the name), `s` (text, the
//! slug), `o` (int, the sort order) and `v` (int, the version). Half an identifier is no number, but
//! bits of a float are kept as they are. The frames are made to be read: every visitor of a shop
//! reads them, and few write.

use uuid::Uuid;

use super::tree::{MOST_CATEGORIES, Node, Place, Tree, part_of};
use crate::{
    catalog::id::CategoryId,
    frame::{Column, Frame, FrameError, Limits, TextColumn},
};

/// Parts of a tree.
pub const PARTS: usize = 16;

/// How far apart the places of a part are: as far as there are parts.
const STEP: i64 = 16;
const _: () = assert!(STEP.unsigned_abs() == PARTS as u64);

/// Most bytes of a part: all of them in one transaction stay below the 4 MB that it takes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const MOST_BYTES: usize = 240 * 1024;

/// Why a part cannot be read or made. None of these passes with time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// The frame cannot be read or made.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A value is out of its range.
    #[error("the part of the tree is corrupt")]
    Corrupt,
    /// The rows take more than an item has room for.
    #[error("the part of the tree is full")]
    Full,
}

/// The rows of a part.
///
/// # Errors
///
/// [`PartError::Full`] when they take too much.
pub fn encode(tree: &Tree, part: usize) -> Result<Vec<u8>, PartError> {
    let nodes: Vec<_> = tree
        .nodes()
        .filter(|node| part_of(node.place) == part)
        .collect();
    let ints = |value: fn(&Node<'_>) -> i64| Column::Int(nodes.iter().map(value).collect());
    let texts = |value: for<'n> fn(&Node<'n>) -> &'n str| {
        TextColumn::try_from_cells(nodes.iter().map(value)).map(Column::Text)
    };
    let bits = |value: fn(&Node<'_>) -> u64| {
        Column::Float(
            nodes
                .iter()
                .map(|node| f64::from_bits(value(node)))
                .collect(),
        )
    };
    let places = (0_i64..).zip(&nodes);
    let free = places.map(|(row, node)| i64::from(node.place.0) / STEP - row);
    let frame = Frame::from_columns([
        ("n", Column::Int(free.collect())),
        (
            "p",
            ints(|node| node.parent.map_or(-1, |place| place.0.into())),
        ),
        ("h", bits(|node| node.id.0.as_u64_pair().0)),
        ("l", bits(|node| node.id.0.as_u64_pair().1)),
        ("t", texts(|node| node.name)?),
        ("s", texts(|node| node.slug)?),
        ("o", ints(|node| node.sort_order.into())),
        ("v", ints(|node| node.version.cast_signed())),
    ])?;
    let bytes = frame.encode_to_be_read()?;
    if bytes.len() > MOST_BYTES {
        return Err(PartError::Full);
    }
    Ok(bytes)
}

/// Adds the rows of a part to a tree that does not have them.
///
/// # Errors
///
/// [`PartError`] when the bytes are no part; any bytes give one or the other, in bounded memory.
pub fn decode(bytes: &[u8], part: usize, tree: &mut Tree) -> Result<(), PartError> {
    let frame = Frame::decode(bytes, &Limits::default())?;
    let (free, parents) = (frame.ints("n")?, frame.ints("p")?);
    let (high, low) = (frame.floats("h")?, frame.floats("l")?);
    let (orders, versions) = (frame.ints("o")?, frame.ints("v")?);
    let texts = frame.texts("t")?.iter().zip(frame.texts("s")?.iter());
    let first = i64::try_from(part).map_err(|_| PartError::Corrupt)?;
    for ((row, (name, slug)), at) in texts.enumerate().zip(0_i64..) {
        let number = free[row]
            .checked_add(at)
            .and_then(|nth| nth.checked_mul(STEP));
        let number = number.and_then(|number| place(number.checked_add(first)?));
        let parent = match parents[row] {
            -1 => None,
            parent => Some(place(parent).ok_or(PartError::Corrupt)?),
        };
        tree.put(Node {
            place: number.ok_or(PartError::Corrupt)?,
            id: CategoryId(Uuid::from_u64_pair(high[row].to_bits(), low[row].to_bits())),
            parent,
            name,
            slug,
            sort_order: i32::try_from(orders[row]).map_err(|_| PartError::Corrupt)?,
            version: versions[row].cast_unsigned(),
        });
    }
    Ok(())
}

fn place(number: i64) -> Option<Place> {
    let is_one = usize::try_from(number).is_ok_and(|number| number < MOST_CATEGORIES);
    let number = u32::try_from(number).ok().filter(|_| is_one)?;
    Some(Place(number))
}
