//! Orders in the `Commerce` table: the only code that knows their keys and expressions.
//!
//! An order is the item `ORDER#{id}`, `META`, which holds it as JSON text; its events stand beside it.
//! Three indexes hold keys only: `orders_by_customer`; `orders_by_status`, each status in
//! [`SHARDS`] partitions; and the sparse `due`, in as many, of the orders that wait for an execution,
//! by the time at which somebody has to look.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    str::FromStr,
};

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{Put, TransactWriteItem},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{
    event::{Happened, apply},
    model::{InvalidOrderId, Order, OrderId, Shortage, Status},
    rules::{Change, awaited},
};
use crate::{
    events::{
        model::{Aggregate, Event},
        store as events,
    },
    platform::{
        clock::rfc3339,
        table::{
            Item, Meter, Refusal, Table, TableError, Transaction, Write, key, number, string, text,
        },
    },
    stock::{
        model::{Direction, Move},
        store::{left, move_write},
    },
};

/// Partitions of a status, and of what is due: a partition takes 1,000 writes a second.
const SHARDS: u8 = 4;

/// Rounds of reading for one page of a list: where a filter lets little through, a page may have
/// fewer orders than it may.
const MOST_LIST_ROUNDS: usize = 12;

/// Sorts before and after every time.
const WHOLE_SPAN: (&str, &str) = ("0", "~");

/// Writes of a commit before the stock's: the order and its event.
const OWN_WRITES: usize = 2;

const META: &str = "META";

/// All orders.
#[derive(Debug)]
pub struct OrderStore {
    table: Table,
}

/// How taking an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It stands.
    Done,
    /// There is an order of its number: it needs another.
    NumberTaken,
}

/// How a change of an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The order as it is by it.
    Done(Box<Order>),
    /// Something else happened to the order first: decide again.
    Conflict,
    /// There are too few units of these.
    Short(Vec<Shortage>),
}

/// When the orders of a list were taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before, to the millisecond.
    pub from: Option<Timestamp>,
    /// Before, to the millisecond.
    pub before: Option<Timestamp>,
}

/// The place in a list after which to go on: an order's, by time and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    time: String,
    id: OrderId,
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the list of orders")]
pub struct NotAPosition;

impl Position {
    fn new(at: Timestamp, id: &OrderId) -> Self {
        Self {
            time: rfc3339(at),
            id: id.clone(),
        }
    }
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.time, self.id)
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (time, id) = text.split_once('#').ok_or(NotAPosition)?;
        time.parse::<Timestamp>().map_err(|_| NotAPosition)?;
        Ok(Self {
            time: time.to_owned(),
            id: id.parse().map_err(|_: InvalidOrderId| NotAPosition)?,
        })
    }
}

/// An index and its keys' names.
struct Index {
    name: &'static str,
    pk: &'static str,
    sk: &'static str,
}

const BY_CUSTOMER: Index = Index {
    name: "orders_by_customer",
    pk: "customer_pk",
    sk: "customer_sk",
};
const BY_STATUS: Index = Index {
    name: "orders_by_status",
    pk: "status_pk",
    sk: "status_sk",
};
const DUE: Index = Index {
    name: "due",
    pk: "due_pk",
    sk: "due_sk",
};

fn order_key(id: &OrderId) -> Item {
    let partition = events::partition(Aggregate::Order, id.as_str());
    key(partition, META.to_owned())
}

/// The number is random, and so is its last character.
fn shard(id: &OrderId) -> u8 {
    id.as_str().bytes().last().unwrap_or(0) % SHARDS
}

fn customer_partition(customer: &str) -> String {
    format!("CUSTOMER#{customer}")
}

fn status_partition(status: Status, shard: u8) -> String {
    format!("STATUS#{status}#{shard}")
}

fn due_partition(shard: u8) -> String {
    format!("DUE#{shard}")
}

fn item(order: &Order) -> Result<Item, TableError> {
    let id = &order.id;
    let document =
        serde_json::to_string(order).map_err(|_| TableError::malformed(id, "document"))?;
    let created = Position::new(order.created_at, id);
    let mut attributes = vec![
        ("document", text(document)),
        ("version", number(order.version)),
        ("customer", text(&order.customer)),
        ("status", text(order.status)),
        (BY_CUSTOMER.pk, text(customer_partition(&order.customer))),
        (BY_CUSTOMER.sk, text(&created)),
        (
            BY_STATUS.pk,
            text(status_partition(order.status, shard(id))),
        ),
        (BY_STATUS.sk, text(&created)),
    ];
    if let Some((_, due)) = awaited(order) {
        attributes.push((DUE.pk, text(due_partition(shard(id)))));
        attributes.push((DUE.sk, text(Position::new(due, id))));
    }
    let mut item = order_key(id);
    let attributes = attributes.into_iter();
    item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
    Ok(item)
}

fn order(item: &Item) -> Result<Order, TableError> {
    let id = string(item, "order", "pk")?;
    let document = string(item, id, "document")?;
    serde_json::from_str(document).map_err(|_| TableError::malformed(id, "document"))
}

impl OrderStore {
    /// The orders in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.table.meter()
    }

    /// An order, strongly consistent.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn get(&self, id: &OrderId) -> Result<Option<Order>, TableError> {
        let item = self.table.get(order_key(id)).await?;
        item.as_ref().map(order).transpose()
    }

    /// Takes a new order, which `happened` made at `now`; in one transaction with `completion`.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or refuses `completion`.
    pub async fn create(
        &self,
        order: &Order,
        happened: &Happened,
        now: Timestamp,
        completion: Option<TransactWriteItem>,
    ) -> Result<Created, TableError> {
        let event = happened.to_event(&order.id, order.version, now);
        let put = Put::builder().condition_expression("attribute_not_exists(pk)");
        let mut writes = vec![self.put(put, order)?, events::append(&self.table, &event)?];
        writes.extend(completion);
        match self.table.transact(writes).await? {
            Transaction::Done => Ok(Created::Done),
            Transaction::Refused(refusals) if !is_own(&refusals) => Err(TableError::claim_lost()),
            Transaction::Refused(_) if events::is_appended(&self.table, &event).await? => {
                Ok(Created::Done)
            }
            Transaction::Refused(_) => Ok(Created::NumberTaken),
        }
    }

    /// Makes a change of `order` stand: the order as it becomes, its event, the stock that moves with
    /// it and `extra`, all or nothing, if nothing else has happened to the order. A refusal by the
    /// call's own success, where an earlier try was done and its reply lost, counts as done.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or refuses `extra`; [`TableError::Malformed`] when `change`
    /// cannot follow, or stock that the order holds is not there.
    pub async fn commit(
        &self,
        order: &Order,
        change: Change,
        now: Timestamp,
        extra: Option<TransactWriteItem>,
    ) -> Result<Committed, TableError> {
        let Change { happened, moves } = change;
        let next = apply(Some(order.clone()), &order.id, &happened, now)
            .map_err(|_| TableError::malformed(&order.id, "document"))?;
        let event = happened.to_event(&order.id, next.version, now);
        let put = Put::builder()
            .condition_expression("#version = :expected")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":expected", number(order.version));
        let mut writes = vec![self.put(put, &next)?, events::append(&self.table, &event)?];
        for moved in &moves {
            writes.push(move_write(&self.table, moved)?);
        }
        writes.extend(extra);
        let refusals = match self.table.transact(writes).await? {
            Transaction::Done => return Ok(Committed::Done(Box::new(next))),
            Transaction::Refused(refusals) => refusals,
        };
        if is_own(&refusals) {
            return Ok(if events::is_appended(&self.table, &event).await? {
                Committed::Done(Box::new(next))
            } else {
                Committed::Conflict
            });
        }
        let short: Vec<_> = refusals
            .iter()
            .filter_map(|refusal| {
                let moved = moves.get(refusal.at.checked_sub(OWN_WRITES)?)?;
                Some((moved, refusal))
            })
            .collect();
        match short.first() {
            None => Err(TableError::claim_lost()),
            Some((moved, _)) if moved.direction != Direction::Reserve => {
                Err(TableError::malformed(&moved.sku, "reserved"))
            }
            Some(_) => Ok(Committed::Short(
                short
                    .into_iter()
                    .map(|(moved, refusal)| shortage(moved, refusal))
                    .collect(),
            )),
        }
    }

    fn put(
        &self,
        put: aws_sdk_dynamodb::types::builders::PutBuilder,
        order: &Order,
    ) -> Result<TransactWriteItem, TableError> {
        let put = put
            .table_name(self.table.name())
            .set_item(Some(item(order)?))
            .build()
            .map_err(|_| TableError::malformed(&order.id, "pk"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// At most `limit` of a customer's orders of `statuses` (all, if there are none), newest first,
    /// and where to go on; `None` after the last. A page may have fewer than `limit` and yet a next
    /// one. An order of a moment ago may be missing.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn list_by_customer(
        &self,
        customer: &str,
        statuses: &[Status],
        span: Span,
        after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<Order>, Option<Position>), TableError> {
        let partitions = vec![customer_partition(customer)];
        self.list(&BY_CUSTOMER, partitions, statuses, span, after, limit)
            .await
    }

    /// As [`OrderStore::list_by_customer`], of all customers.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn list_by_status(
        &self,
        statuses: &[Status],
        span: Span,
        after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<Order>, Option<Position>), TableError> {
        let is_meant = |status: &Status| statuses.is_empty() || statuses.contains(status);
        let partitions = Status::ALL
            .into_iter()
            .filter(is_meant)
            .flat_map(|status| (0..SHARDS).map(move |shard| status_partition(status, shard)));
        let partitions = partitions.collect();
        self.list(&BY_STATUS, partitions, statuses, span, after, limit)
            .await
    }

    async fn list(
        &self,
        index: &Index,
        partitions: Vec<String>,
        statuses: &[Status],
        span: Span,
        mut after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<Order>, Option<Position>), TableError> {
        let mut found = Vec::new();
        for _ in 0..MOST_LIST_ROUNDS {
            let wanted = limit + 1 - found.len();
            let pages = partitions
                .iter()
                .map(|partition| self.newest(index, partition, span, after.as_ref(), wanted));
            let mut positions = try_join_all(pages).await?.concat();
            positions.sort_unstable_by(|one, other| other.cmp(one));
            // One that moves from a status to the next meanwhile is found in both.
            positions.dedup();
            positions.truncate(wanted);
            // The index may lag behind what is read here.
            let mut orders = self.get_many(&positions).await?;
            orders.retain(|_, order| statuses.is_empty() || statuses.contains(&order.status));
            found.extend(
                positions
                    .iter()
                    .filter_map(|place| orders.remove(&place.id)),
            );
            after = positions.get(wanted - 1).cloned();
            if found.len() > limit {
                found.truncate(limit);
                after = found
                    .last()
                    .map(|last| Position::new(last.created_at, &last.id));
                break;
            }
            if after.is_none() {
                break;
            }
        }
        Ok((found, after))
    }

    async fn newest(
        &self,
        index: &Index,
        partition: &str,
        span: Span,
        after: Option<&Position>,
        wanted: usize,
    ) -> Result<Vec<Position>, TableError> {
        let (from, before) = (span.from.map(rfc3339), span.before.map(rfc3339));
        let from = from.unwrap_or_else(|| WHOLE_SPAN.0.to_owned());
        // A bare time sorts before all positions of that time, and thus excludes them.
        let to = after.map(Position::to_string).or(before);
        let to = to.unwrap_or_else(|| WHOLE_SPAN.1.to_owned());
        if from > to {
            return Ok(Vec::new());
        }
        let query = self
            .range(index, partition, from, to)
            .scan_index_forward(false)
            .limit(i32::try_from(wanted + 1).unwrap_or(i32::MAX));
        let (items, _) = self.table.page(query).await?;
        let mut found = positions(&items, index)?;
        found.retain(|position| Some(position) != after);
        Ok(found)
    }

    fn range(
        &self,
        index: &Index,
        partition: &str,
        from: String,
        to: String,
    ) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        self.table
            .query()
            .index_name(index.name)
            .key_condition_expression("#pk = :pk AND #sk BETWEEN :from AND :to")
            .expression_attribute_names("#pk", index.pk)
            .expression_attribute_names("#sk", index.sk)
            .expression_attribute_values(":pk", text(partition))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":to", text(to))
    }

    async fn get_many(
        &self,
        positions: &[Position],
    ) -> Result<HashMap<OrderId, Order>, TableError> {
        let keys = positions.iter().map(|position| order_key(&position.id));
        let items = self.table.get_many(keys.collect()).await?;
        let orders = items.iter().map(order);
        orders
            .map(|order| order.map(|order| (order.id.clone(), order)))
            .collect()
    }

    /// At most `limit` events of an order after sequence `after` (0: from the first), oldest first.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn events(
        &self,
        id: &OrderId,
        after: u64,
        limit: i32,
    ) -> Result<Vec<Event>, TableError> {
        events::list(&self.table, Aggregate::Order, id.as_str(), after, limit).await
    }

    /// At most `limit` of the orders that somebody has to look at by `now`, those that wait longest
    /// first, and where to go on; `None` after the last. What changed a moment ago may still be among
    /// them.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn due(
        &self,
        now: Timestamp,
        after: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<OrderId>, Option<Position>), TableError> {
        let from = after.as_ref().map(Position::to_string);
        let from = from.unwrap_or_else(|| WHOLE_SPAN.0.to_owned());
        let wanted = i32::try_from(limit + 1).unwrap_or(i32::MAX);
        let pages = (0..SHARDS).map(async |shard| {
            let to = format!("{}~", rfc3339(now));
            let query = self.range(&DUE, &due_partition(shard), from.clone(), to);
            let (items, _) = self.table.page(query.limit(wanted)).await?;
            positions(&items, &DUE)
        });
        let mut found = try_join_all(pages).await?.concat();
        found.retain(|position| Some(position) != after.as_ref());
        found.sort_unstable();
        found.truncate(limit);
        let next = found.get(limit - 1).cloned();
        let ids = found.into_iter().map(|position| position.id);
        Ok((ids.collect(), next))
    }

    /// Has an order that is waited for looked at again by `until`, unless something happened to it since
    /// it had `version`; where nobody can say which one it has, in any case.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn postpone(
        &self,
        id: &OrderId,
        version: Option<u64>,
        until: Timestamp,
    ) -> Result<Write, TableError> {
        let update = self
            .table
            .client()
            .update_item()
            .table_name(self.table.name())
            .set_key(Some(order_key(id)))
            .update_expression("SET #sk = :until")
            .expression_attribute_names("#sk", DUE.sk)
            .expression_attribute_values(":until", text(Position::new(until, id)));
        let update = match version {
            None => update.condition_expression("attribute_exists(#sk)"),
            Some(version) => update
                .condition_expression("#version = :version AND attribute_exists(#sk)")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(version)),
        };
        match update.send().await {
            Ok(_) => Ok(Write::Done),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(Write::Conflict)
            }
            Err(error) => Err(TableError::of("UpdateItem")(error)),
        }
    }
}

fn is_own(refusals: &[Refusal]) -> bool {
    refusals.iter().any(|refusal| refusal.at < OWN_WRITES)
}

fn shortage(moved: &Move, refusal: &Refusal) -> Shortage {
    Shortage {
        sku: moved.sku.clone(),
        wanted: moved.quantity,
        available: refusal.found.as_ref().and_then(left),
    }
}

fn positions(items: &[Item], index: &Index) -> Result<Vec<Position>, TableError> {
    let position = |item: &Item| {
        let place = string(item, "order", index.sk)?;
        let parsed = place.parse();
        parsed.map_err(|_| TableError::malformed(place, index.sk))
    };
    items.iter().map(position).collect()
}

#[cfg(test)]
mod tests;
