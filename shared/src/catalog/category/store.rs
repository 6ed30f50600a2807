//! Categories in the `Commerce` table: the only code that knows their keys and expressions.
//!
//! | item | pk | sk | attributes |
//! |---|---|---|---|
//! | the tree's version | `TREE` | `HEAD` | `version`, `parts`: the version at which each part was written |
//! | a part of the tree | `TREE` | `P#{number, two digits}` | `version`, `frame` |
//! | a category's products | `CATEGORY#{id}` | `META` | `products`: those not deleted that are in it |
//!
//! One Query reads the tree, first its version and then the parts. It is no snapshot: a part may be
//! newer than the version, which the version's list tells, and then it is read again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    types::{Delete, Put, TransactWriteItem, Update},
};

use super::{
    parts::{self, PARTS, PartError},
    tree::{Change, Tree, TreeError},
};
use crate::{
    catalog::id::CategoryId,
    events::{
        model::{Aggregate, Event},
        store as events,
    },
    platform::table::{
        Item, Meter, Table, TableError, Transaction, bytes, key, number, parsed, string,
        take_bytes, text,
    },
};

const TREE: &str = "TREE";
const HEAD: &str = "HEAD";
const META: &str = "META";

/// Times that a tree is read while others are writing it.
const MOST_READS: u32 = 6;

/// A failed call on the tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeStoreError {
    /// The table failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A part cannot be read or made.
    #[error(transparent)]
    Part(#[from] PartError),
    /// Others were writing whenever it was read.
    #[error("the tree changed while it was read")]
    Busy,
}

impl TreeStoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Table(error) => error.retryable(),
            Self::Part(_) => false,
            Self::Busy => true,
        }
    }
}

/// What a change does to a category's own item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It comes to be.
    Created(CategoryId),
    /// It stays.
    Changed,
    /// It goes, if it has no products.
    Deleted(CategoryId),
}

/// How a change of the tree ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It stands.
    Done,
    /// The tree has changed since it was read.
    Conflict,
    /// The tree cannot be so: [`TreeError::Full`] or [`TreeError::NotEmpty`].
    Refused(TreeError),
}

/// The tree of categories.
#[derive(Debug)]
pub struct CategoryStore {
    table: Table,
    last: Mutex<Option<Arc<Tree>>>,
}

fn tree_key(sk: String) -> Item {
    key(TREE.to_owned(), sk)
}

fn part_key(part: usize) -> String {
    format!("P#{part:02}")
}

fn category_key(id: CategoryId) -> Item {
    key(
        events::partition(Aggregate::Category, &id.to_string()),
        META.to_owned(),
    )
}

/// The write that counts `by` more products in a category, for the transaction that changes a product;
/// it fails when there is no such category.
///
/// # Errors
///
/// [`TableError::Malformed`] never in practice: table, key and expression are all that it needs.
pub fn count_write(table: &Table, id: CategoryId, by: i8) -> Result<TransactWriteItem, TableError> {
    let update = Update::builder()
        .table_name(table.name())
        .set_key(Some(category_key(id)))
        .condition_expression("attribute_exists(pk)")
        .update_expression("ADD products :by")
        .expression_attribute_values(":by", number(by))
        .build()
        .map_err(|_| TableError::malformed(id, "pk"))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// The versions at which the parts were written, as the head lists them.
fn listed(head: &Item) -> Result<Vec<u64>, TableError> {
    let versions = string(head, TREE, "parts")?.split(',').map(str::parse);
    let versions: Result<Vec<u64>, _> = versions.collect();
    let versions = versions.ok().filter(|versions| versions.len() == PARTS);
    versions.ok_or_else(|| TableError::malformed(TREE, "parts"))
}

impl CategoryStore {
    /// The tree in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
            last: Mutex::default(),
        }
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.table.meter()
    }

    /// The tree as it is now. What was read before is read again only if it has changed.
    ///
    /// # Errors
    ///
    /// [`TreeStoreError`] when the table fails, or the tree is written again and again meanwhile.
    pub async fn tree(&self) -> Result<Arc<Tree>, TreeStoreError> {
        let last = self.last().clone();
        if let Some(last) = last {
            let head = self.table.get(tree_key(HEAD.to_owned())).await?;
            let version = head
                .map(|head| parsed(&head, TREE, "version"))
                .transpose()?;
            if version.unwrap_or(0) == last.version {
                return Ok(last);
            }
        }
        let tree = Arc::new(self.read().await?);
        *self.last() = Some(Arc::clone(&tree));
        Ok(tree)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Arc<Tree>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self) -> Result<Tree, TreeStoreError> {
        for round in 0..MOST_READS {
            if let Some(tree) = self.try_read().await? {
                return Ok(tree);
            }
            tokio::time::sleep(Duration::from_millis(5 << round)).await;
        }
        Err(TreeStoreError::Busy)
    }

    /// Reads the tree, unless it was written meanwhile.
    async fn try_read(&self) -> Result<Option<Tree>, TreeStoreError> {
        let query = self
            .table
            .query()
            .consistent_read(true)
            .key_condition_expression("pk = :tree")
            .expression_attribute_values(":tree", text(TREE));
        let mut items = self.table.pages(query).await?.into_iter();
        let mut tree = Tree::default();
        let Some(head) = items.next() else {
            return Ok(Some(tree));
        };
        tree.version = parsed(&head, TREE, "version")?;
        let mut missing = listed(&head)?;
        for mut item in items {
            let part = string(&item, TREE, "sk")?.strip_prefix("P#");
            let part = part.and_then(|part| part.parse::<usize>().ok());
            let part = part.filter(|part| *part < PARTS);
            let part = part.ok_or_else(|| TableError::malformed(TREE, "sk"))?;
            let version = parsed::<u64>(&item, TREE, "version")?;
            if std::mem::take(&mut missing[part]) != version {
                return Ok(None);
            }
            parts::decode(&take_bytes(&mut item, TREE, "frame")?, part, &mut tree)?;
        }
        // A part that was first written after the version was read has no place in its list.
        Ok(missing.iter().all(|version| *version == 0).then_some(tree))
    }

    /// Writes what `change` made of the tree, if it is still as it was, with the event that tells of it
    /// and with `also`, the answer to the request.
    ///
    /// # Errors
    ///
    /// [`TreeStoreError`] when the table fails, or refuses `also` alone.
    pub async fn save(
        &self,
        change: Change,
        effect: Effect,
        event: &Event,
        also: Option<TransactWriteItem>,
    ) -> Result<Saved, TreeStoreError> {
        let Change { tree, touched } = change;
        let version = tree.version;
        let head = self.table.get(tree_key(HEAD.to_owned())).await?;
        let mut versions = match &head {
            Some(head) if parsed::<u64>(head, TREE, "version")? + 1 == version => listed(head)?,
            None if version == 1 => vec![0; PARTS],
            _ => return self.unless_done(event, Saved::Conflict).await,
        };
        let mut writes = Vec::new();
        for part in touched {
            let frame = match parts::encode(&tree, part) {
                Err(PartError::Full) => return Ok(Saved::Refused(TreeError::Full)),
                frame => frame?,
            };
            if let Some(listed) = versions.get_mut(part) {
                *listed = version;
            }
            let mut item = tree_key(part_key(part));
            item.insert("version".into(), number(version));
            item.insert("frame".into(), bytes(frame));
            writes.push(put(&self.table, item, None)?);
        }
        let mut item = tree_key(HEAD.to_owned());
        item.insert("version".into(), number(version));
        let listed: Vec<_> = versions.iter().map(u64::to_string).collect();
        item.insert("parts".into(), text(listed.join(",")));
        writes.push(put(&self.table, item, Some(version - 1))?);
        writes.push(events::append(&self.table, event)?);
        match effect {
            Effect::Created(id) => {
                let mut item = category_key(id);
                item.insert("products".into(), number(0));
                writes.push(put(&self.table, item, Some(0))?);
            }
            Effect::Changed => {}
            Effect::Deleted(id) => {
                let delete = Delete::builder()
                    .table_name(self.table.name())
                    .set_key(Some(category_key(id)))
                    .condition_expression("products = :none")
                    .expression_attribute_values(":none", number(0))
                    .build()
                    .map_err(|_| TableError::malformed(id, "pk"))?;
                writes.push(TransactWriteItem::builder().delete(delete).build());
            }
        }
        let own = writes.len();
        writes.extend(also);
        let refusals = match self.table.transact(writes).await? {
            Transaction::Done => {
                *self.last() = Some(Arc::new(tree));
                return Ok(Saved::Done);
            }
            Transaction::Refused(refusals) => refusals,
        };
        let is_only = |at: usize| refusals.iter().all(|refusal| refusal.at == at);
        let saved = if is_only(own) {
            return Err(TableError::claim_lost().into());
        } else if matches!(effect, Effect::Deleted(_)) && is_only(own - 1) {
            Saved::Refused(TreeError::NotEmpty)
        } else {
            Saved::Conflict
        };
        self.unless_done(event, saved).await
    }

    /// Done if an earlier try of the transaction was, or else `saved`.
    async fn unless_done(&self, event: &Event, saved: Saved) -> Result<Saved, TreeStoreError> {
        let is_done = events::is_appended(&self.table, event).await?;
        Ok(if is_done { Saved::Done } else { saved })
    }
}

/// A put, on condition of the version that it replaces (0: of there being none) if one is given.
fn put(table: &Table, item: Item, expected: Option<u64>) -> Result<TransactWriteItem, TableError> {
    let put = Put::builder().table_name(table.name()).set_item(Some(item));
    let put = match expected {
        None => put,
        Some(0) => put.condition_expression("attribute_not_exists(pk)"),
        Some(expected) => put
            .condition_expression("#version = :expected")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":expected", number(expected)),
    };
    let put = put.build().map_err(|_| TableError::malformed(TREE, "pk"))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

#[cfg(test)]
mod tests;
