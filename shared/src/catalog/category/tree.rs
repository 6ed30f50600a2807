//! The tree of all categories, and what becomes of it.

use std::{collections::BTreeSet, sync::OnceLock};

use super::{
    model::{Category, Labels},
    parts::PARTS,
};
use crate::catalog::id::CategoryId;

/// Most categories.
pub const MOST_CATEGORIES: usize = 20_000;

/// Most categories from the top to the lowest.
pub const MOST_DEPTH: usize = 64;

/// Why the tree cannot change so. None of these passes with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// No such category.
    #[error("there is no such category")]
    NotFound,
    /// The category that is to be above does not exist.
    #[error("there is no category to be above")]
    NoParent,
    /// Another category has the slug.
    #[error("another category has this slug")]
    SlugTaken,
    /// A category cannot be below itself.
    #[error("a category cannot be below itself")]
    Cycle,
    /// The lowest category would be too far down.
    #[error("categories may be {MOST_DEPTH} deep")]
    TooDeep,
    /// There is no room for more.
    #[error("there may be {MOST_CATEGORIES} categories, in as much text as fits")]
    Full,
    /// There are categories below.
    #[error("there are categories below")]
    NotEmpty,
}

/// A category's place in the tree that was read, which says nothing of other trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(pub(super) u32);

/// A stretch of [`Tree::texts`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    id: CategoryId,
    parent: Option<Place>,
    name: Span,
    slug: Span,
    sort_order: i32,
    version: u64,
}

/// A category as the tree holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'t> {
    /// Where it is.
    pub place: Place,
    /// Its identifier.
    pub id: CategoryId,
    /// The category above.
    pub parent: Option<Place>,
    /// Its name.
    pub name: &'t str,
    /// Its slug.
    pub slug: &'t str,
    /// Its place among its siblings.
    pub sort_order: i32,
    /// Its version.
    pub version: u64,
}

/// Places in the order in which siblings are shown, those of one parent together.
#[derive(Clone, Debug)]
struct Family {
    order: Vec<Place>,
    /// Where the children of a place begin in `order`; after the last place, those at the top.
    starts: Vec<usize>,
}

/// All categories.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Changes of the whole tree so far.
    pub version: u64,
    /// By place; a place may be free.
    rows: Vec<Option<Row>>,
    /// Names and slugs end to end; what was replaced stays until the tree is read anew.
    texts: String,
    family: OnceLock<Family>,
}

/// The tree as a change makes it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The whole.
    pub tree: Tree,
    /// Parts with rows that the change made, changed or took.
    pub touched: BTreeSet<usize>,
}

impl Tree {
    /// Puts a row at a place, which must be free.
    pub(super) fn put(&mut self, node: Node<'_>) {
        let index = node.place.0 as usize;
        if self.rows.len() <= index {
            self.rows.resize(index + 1, None);
        }
        let row = Row {
            id: node.id,
            parent: node.parent,
            name: self.text(node.name),
            slug: self.text(node.slug),
            sort_order: node.sort_order,
            version: node.version,
        };
        self.rows[index] = Some(row);
    }

    fn text(&mut self, text: &str) -> Span {
        let start = self.texts.len();
        self.texts.push_str(text);
        let end = self.texts.len();
        Span { start, end }
    }

    fn row(&self, place: Place) -> Option<&Row> {
        self.rows.get(place.0 as usize)?.as_ref()
    }

    /// The category at a place.
    #[must_use]
    pub fn node(&self, place: Place) -> Option<Node<'_>> {
        let row = self.row(place)?;
        Some(Node {
            place,
            id: row.id,
            parent: row.parent,
            name: self.texts.get(row.name.start..row.name.end)?,
            slug: self.texts.get(row.slug.start..row.slug.end)?,
            sort_order: row.sort_order,
            version: row.version,
        })
    }

    /// Every category, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let places = (0..).map(Place).take(self.rows.len());
        places.filter_map(|place| self.node(place))
    }

    /// Bytes that the categories' texts take, or a little more.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.texts.len()
    }

    /// Number of categories.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.iter().flatten().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a category is.
    #[must_use]
    pub fn find(&self, id: CategoryId) -> Option<Place> {
        let is_it = |row: &Option<Row>| row.is_some_and(|row| row.id == id);
        let index = self.rows.iter().position(is_it)?;
        u32::try_from(index).ok().map(Place)
    }

    /// A category with what follows from its place.
    #[must_use]
    pub fn category(&self, id: CategoryId) -> Option<Category> {
        let node = self.node(self.find(id)?)?;
        let path: Vec<_> = self.path(node.place).map(|above| above.id).collect();
        Some(Category {
            id,
            name: node.name.to_owned(),
            slug: node.slug.parse().ok()?,
            parent_id: node.parent.and_then(|parent| Some(self.row(parent)?.id)),
            level: path.len().saturating_sub(1),
            path,
            sort_order: node.sort_order,
            version: node.version,
        })
    }

    /// The categories above a place from the top, and the one at it.
    pub fn path(&self, place: Place) -> impl Iterator<Item = Node<'_>> {
        let up = |node: &Node<'_>| self.node(node.parent?);
        let mut path: Vec<_> = std::iter::successors(self.node(place), up)
            .take(MOST_DEPTH)
            .collect();
        path.reverse();
        path.into_iter()
    }

    fn family(&self) -> &Family {
        self.family.get_or_init(|| {
            let top = self.rows.len();
            let slot =
                |parent: Option<Place>| parent.map_or(top, |parent| top.min(parent.0 as usize));
            let mut starts = vec![0; top + 2];
            for node in self.nodes() {
                starts[slot(node.parent) + 1] += 1;
            }
            for slot in 0..=top {
                starts[slot + 1] += starts[slot];
            }
            let mut free = starts.clone();
            let mut order = vec![Place(0); starts[top + 1]];
            for node in self.nodes() {
                let next = &mut free[slot(node.parent)];
                order[*next] = node.place;
                *next += 1;
            }
            // Text is in the order of its bytes, and cutting text costs more than comparing it.
            let name = |name: Span| self.texts.as_bytes().get(name.start..name.end);
            let rank = |place: &Place| {
                self.row(*place)
                    .map(|row| (row.sort_order, name(row.name), row.id))
            };
            for siblings in starts.windows(2) {
                order[siblings[0]..siblings[1]].sort_unstable_by(|a, b| rank(a).cmp(&rank(b)));
            }
            Family { order, starts }
        })
    }

    /// The categories right below a place (`None`: at the top), in the order in which they are shown.
    #[must_use]
    pub fn children(&self, parent: Option<Place>) -> &[Place] {
        let Family { order, starts } = self.family();
        let slot = parent.map_or(self.rows.len(), |parent| parent.0 as usize);
        match (starts.get(slot), starts.get(slot + 1)) {
            (Some(&start), Some(&end)) => order.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// A place and all below it, level by level; and how many levels these are.
    #[must_use]
    pub fn subtree(&self, root: Place) -> (Vec<Place>, usize) {
        let (mut all, mut level, mut levels) = (Vec::new(), vec![root], 0);
        while !level.is_empty() && levels <= MOST_DEPTH {
            all.extend_from_slice(&level);
            let below = level.iter().flat_map(|place| self.children(Some(*place)));
            level = below.copied().collect();
            levels += 1;
        }
        (all, levels)
    }

    /// The identifiers of a category and all below it.
    #[must_use]
    pub fn within(&self, root: Place) -> Vec<CategoryId> {
        let (places, _) = self.subtree(root);
        let ids = places.into_iter().filter_map(|place| self.row(place));
        ids.map(|row| row.id).collect()
    }

    fn change(&self) -> Change {
        Change {
            tree: Self {
                version: self.version + 1,
                family: OnceLock::new(),
                ..self.clone()
            },
            touched: BTreeSet::new(),
        }
    }

    fn refuse_slug(&self, slug: &str, of: Option<Place>) -> Result<(), TreeError> {
        let mut others = self.nodes().filter(|node| Some(node.place) != of);
        if others.any(|node| node.slug == slug) {
            return Err(TreeError::SlugTaken);
        }
        Ok(())
    }

    /// The place of the category `parent`, and the level below it.
    fn below(&self, parent: Option<CategoryId>) -> Result<(Option<Place>, usize), TreeError> {
        let Some(parent) = parent else {
            return Ok((None, 0));
        };
        let place = self.find(parent).ok_or(TreeError::NoParent)?;
        Ok((Some(place), self.path(place).count()))
    }

    /// With a new category.
    ///
    /// # Errors
    ///
    /// [`TreeError::SlugTaken`], [`TreeError::NoParent`], [`TreeError::TooDeep`] or
    /// [`TreeError::Full`].
    pub fn create(
        &self,
        id: CategoryId,
        labels: &Labels,
        parent: Option<CategoryId>,
    ) -> Result<Change, TreeError> {
        self.refuse_slug(labels.slug.as_str(), None)?;
        let (parent, level) = self.below(parent)?;
        if level >= MOST_DEPTH {
            return Err(TreeError::TooDeep);
        }
        // The first free place keeps numbers small, and with them what the rows take.
        let free = self.rows.iter().position(Option::is_none);
        let index = free.unwrap_or(self.rows.len());
        if index >= MOST_CATEGORIES {
            return Err(TreeError::Full);
        }
        let place = u32::try_from(index)
            .map(Place)
            .map_err(|_| TreeError::Full)?;
        let mut change = self.change();
        change.put(Node {
            place,
            id,
            parent,
            name: &labels.name,
            slug: labels.slug.as_str(),
            sort_order: labels.sort_order,
            version: 1,
        });
        Ok(change)
    }

    /// With other labels on a category.
    ///
    /// # Errors
    ///
    /// [`TreeError::NotFound`] or [`TreeError::SlugTaken`].
    pub fn relabel(&self, id: CategoryId, labels: &Labels) -> Result<Change, TreeError> {
        let node = self.existing(id)?;
        self.refuse_slug(labels.slug.as_str(), Some(node.place))?;
        let mut change = self.change();
        change.put(Node {
            name: &labels.name,
            slug: labels.slug.as_str(),
            sort_order: labels.sort_order,
            version: node.version + 1,
            ..node
        });
        Ok(change)
    }

    /// With a category, and all that is below it, below another one or at the top.
    ///
    /// # Errors
    ///
    /// [`TreeError::NotFound`], [`TreeError::NoParent`], [`TreeError::Cycle`] or
    /// [`TreeError::TooDeep`].
    pub fn relocate(
        &self,
        id: CategoryId,
        parent: Option<CategoryId>,
        sort_order: Option<i32>,
    ) -> Result<Change, TreeError> {
        let node = self.existing(id)?;
        let (parent, level) = self.below(parent)?;
        if parent.is_some_and(|parent| self.path(parent).any(|above| above.id == id)) {
            return Err(TreeError::Cycle);
        }
        let (places, levels) = self.subtree(node.place);
        if level + levels > MOST_DEPTH {
            return Err(TreeError::TooDeep);
        }
        let mut change = self.change();
        for below in places.into_iter().filter_map(|place| self.node(place)) {
            let version = below.version + 1;
            if below.id == id {
                let sort_order = sort_order.unwrap_or(node.sort_order);
                change.put(Node {
                    parent,
                    sort_order,
                    version,
                    ..below
                });
            } else {
                change.put(Node { version, ..below });
            }
        }
        Ok(change)
    }

    /// Without a category.
    ///
    /// # Errors
    ///
    /// [`TreeError::NotFound`], or [`TreeError::NotEmpty`] while there are others below.
    pub fn delete(&self, id: CategoryId) -> Result<Change, TreeError> {
        let node = self.existing(id)?;
        if !self.children(Some(node.place)).is_empty() {
            return Err(TreeError::NotEmpty);
        }
        let mut change = self.change();
        change.touched.insert(part_of(node.place));
        if let Some(row) = change.tree.rows.get_mut(node.place.0 as usize) {
            *row = None;
        }
        Ok(change)
    }

    fn existing(&self, id: CategoryId) -> Result<Node<'_>, TreeError> {
        let place = self.find(id).ok_or(TreeError::NotFound)?;
        self.node(place).ok_or(TreeError::NotFound)
    }
}

impl Change {
    fn put(&mut self, node: Node<'_>) {
        self.touched.insert(part_of(node.place));
        self.tree.put(node);
    }
}

/// The part that has the row of a place.
#[must_use]
pub const fn part_of(place: Place) -> usize {
    place.0 as usize % PARTS
}

#[cfg(test)]
mod tests;
