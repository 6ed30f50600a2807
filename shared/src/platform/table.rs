//! One `DynamoDB` table: the calls that every store makes, each with its errors told apart, its
//! unprocessed rest sent again and its capacity counted. A store adds keys and expressions.

use std::{
    collections::HashMap,
    fmt::Display,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    operation::{put_item::PutItemError, query::builders::QueryFluentBuilder},
    primitives::Blob,
    types::{
        AttributeValue, CancellationReason, ConsumedCapacity, DeleteRequest, KeysAndAttributes,
        PutRequest, ReturnConsumedCapacity, TransactWriteItem, WriteRequest,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::platform::ids::Random;

/// An item, or its key.
pub type Item = HashMap<String, AttributeValue>;

/// Most items that one batch of writes takes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
const BATCH_WRITE: usize = 25;

/// Most items that one batch of reads takes.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>
const BATCH_READ: usize = 100;

/// Batches of writes under way at a time.
const WRITES_AT_ONCE: usize = 8;

/// Times that a batch's unprocessed rest is sent again before it is given back to the caller.
const BATCH_ROUNDS: u32 = 8;

/// Times that a transaction is tried when others are at its items.
const TRANSACTION_ROUNDS: u32 = 10;

/// Longest pause before a transaction is tried again, in milliseconds.
const TRANSACTION_PAUSE: u32 = 800;

/// What no repetition mends; a missing right or table may be mended by whoever runs the stack.
const FINAL: &str = "ValidationException";

/// A failed call on a table, or an item in it that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The table did not answer, or refused for now.
    #[error("{operation} failed ({code})")]
    Unavailable {
        /// The operation's name.
        operation: &'static str,
        /// The service's word for it.
        code: String,
        /// Whether the same call may succeed later.
        transient: bool,
        /// The whole story.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item lacks an attribute or holds one of another type.
    #[error("attribute {attribute} of {item} cannot be read")]
    Malformed {
        /// Which item.
        item: String,
        /// Which attribute.
        attribute: &'static str,
    },
    /// A record that does not fit its type.
    #[error("record cannot be converted")]
    Record(#[from] serde_dynamo::Error),
}

impl TableError {
    /// What a failed call of `operation` means.
    pub fn of<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        move |error| Self::Unavailable {
            operation,
            code: error.code().unwrap_or("no answer").to_owned(),
            transient: error.code() != Some(FINAL),
            source: Box::new(error),
        }
    }

    /// That `attribute` of `item` cannot be read.
    pub fn malformed(item: impl Display, attribute: &'static str) -> Self {
        Self::Malformed {
            item: item.to_string(),
            attribute,
        }
    }

    /// That a transaction was refused for the answer that was to be remembered with it, which another
    /// run of the same request has claimed.
    #[must_use]
    pub fn claim_lost() -> Self {
        Self::Unavailable {
            operation: "TransactWriteItems",
            code: "ConditionalCheckFailed".into(),
            transient: true,
            source: "another run claimed the idempotency key".into(),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                transient: true,
                ..
            }
        )
    }
}

/// Capacity that calls have consumed, in half units (the smallest that is billed).
#[derive(Debug, Default)]
pub struct Meter {
    read: AtomicU64,
    write: AtomicU64,
}

impl Meter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "capacity is a small positive multiple of one half"
    )]
    fn add(total: &AtomicU64, consumed: Option<&ConsumedCapacity>) {
        let halves = consumed.and_then(|c| c.capacity_units).unwrap_or(0.0) * 2.0;
        total.fetch_add(halves as u64, Ordering::Relaxed);
    }

    /// Counts what a read has consumed.
    pub fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        Self::add(&self.read, consumed);
    }

    /// Counts what a write has consumed.
    pub fn count_write(&self, consumed: Option<&ConsumedCapacity>) {
        Self::add(&self.write, consumed);
    }

    /// Read units so far, in halves.
    #[must_use]
    pub fn read_halves(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Write units so far, in halves.
    #[must_use]
    pub fn write_halves(&self) -> u64 {
        self.write.load(Ordering::Relaxed)
    }
}

/// How a conditional write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It stands, by this call or an earlier try of it.
    Done,
    /// Somebody else's came first.
    Conflict,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Transaction {
    /// All its writes stand.
    Done,
    /// None does, for the conditions of these did not hold.
    Refused(Vec<Refusal>),
}

/// A write of a transaction whose condition did not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Which write, from 0.
    pub at: usize,
    /// The item as it was, if there is one and the write asked for it.
    pub found: Option<Item>,
}

/// A table and what was consumed of it.
#[derive(Debug)]
pub struct Table {
    client: Client,
    name: String,
    meter: Meter,
    random: Random,
}

impl Table {
    /// The table `name`.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            meter: Meter::default(),
            random: Random::system(),
        }
    }

    /// The SDK's client, for what only one store does.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Reads an item, strongly consistent.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn get(&self, key: Item) -> Result<Option<Item>, TableError> {
        let out = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(TableError::of("GetItem"))?;
        self.meter.count_read(out.consumed_capacity());
        Ok(out.item)
    }

    /// Reads many items, in no order; those that do not exist are left out.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails, or leaves some unprocessed to the last round.
    pub async fn get_many(&self, keys: Vec<Item>) -> Result<Vec<Item>, TableError> {
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH_READ) {
            let mut rest = batch.to_vec();
            for round in 0..BATCH_ROUNDS {
                pause_before(round).await;
                let request = KeysAndAttributes::builder()
                    .set_keys(Some(rest))
                    .consistent_read(true)
                    .build()
                    .map_err(|_| TableError::malformed("batch", "keys"))?;
                let out = self
                    .client
                    .batch_get_item()
                    .request_items(&self.name, request)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await
                    .map_err(TableError::of("BatchGetItem"))?;
                for consumed in out.consumed_capacity() {
                    self.meter.count_read(Some(consumed));
                }
                let items = out
                    .responses
                    .and_then(|mut tables| tables.remove(&self.name));
                found.extend(items.unwrap_or_default());
                rest = out
                    .unprocessed_keys
                    .and_then(|mut tables| tables.remove(&self.name))
                    .map(|rest| rest.keys)
                    .unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
            }
            if !rest.is_empty() {
                return Err(unprocessed("BatchGetItem"));
            }
        }
        Ok(found)
    }

    /// Writes an item, whatever was there.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn put(&self, item: Item) -> Result<(), TableError> {
        let out = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(TableError::of("PutItem"))?;
        self.meter.count_write(out.consumed_capacity());
        Ok(())
    }

    /// Writes an item if the stored one has `version` `expected`, or if there is none and
    /// `expected` is 0.
    ///
    /// A conflict may be the call's own success: the SDK may send a write twice, and see the second
    /// fail on the first. The caller has to look whether what is stored is its own.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn put_version(&self, item: Item, expected: u64) -> Result<Write, TableError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let put = if expected == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("#version = :expected")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":expected", number(expected))
        };
        match put.send().await {
            Ok(out) => {
                self.meter.count_write(out.consumed_capacity());
                Ok(Write::Done)
            }
            Err(error) if is_condition_failure(&error) => Ok(Write::Conflict),
            Err(error) => Err(TableError::of("PutItem")(error)),
        }
    }

    /// Makes up to 100 writes, all or none. Tries again while others are at the same items.
    ///
    /// A refusal may be the call's own success, where an earlier try of it was done and its reply
    /// lost: the caller has to look whether what is stored is its own.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails, or others are at the items to the last round.
    pub async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
    ) -> Result<Transaction, TableError> {
        let mut round = 0;
        loop {
            let result = self
                .client
                .transact_write_items()
                .set_transact_items(Some(writes.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await;
            let error = match result {
                Ok(out) => {
                    for consumed in out.consumed_capacity() {
                        self.meter.count_write(Some(consumed));
                    }
                    return Ok(Transaction::Done);
                }
                Err(error) => error,
            };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    canceled.cancellation_reasons()
                }
                _ => return Err(TableError::of("TransactWriteItems")(error)),
            };
            let refused = refusals(reasons);
            if !refused.is_empty() {
                return Ok(Transaction::Refused(refused));
            }
            round += 1;
            if !is_busy(reasons) || round == TRANSACTION_ROUNDS {
                return Err(canceled(reasons));
            }
            let most = (20_u32 << round).min(TRANSACTION_PAUSE);
            let pause = u64::from(self.random.up_to(most));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// A query on this table that has its capacity counted, to be sent by [`Table::page`].
    #[must_use]
    pub fn query(&self) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    /// Sends a query for one page: its items, and where the next page starts.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn page(
        &self,
        query: QueryFluentBuilder,
    ) -> Result<(Vec<Item>, Option<Item>), TableError> {
        let out = query.send().await.map_err(TableError::of("Query"))?;
        self.meter.count_read(out.consumed_capacity());
        Ok((out.items.unwrap_or_default(), out.last_evaluated_key))
    }

    /// Sends a query for all its pages.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn pages(&self, query: QueryFluentBuilder) -> Result<Vec<Item>, TableError> {
        let (mut items, mut next) = self.page(query.clone()).await?;
        while next.is_some() {
            let query = query.clone().set_exclusive_start_key(next);
            let (more, after) = self.page(query).await?;
            items.extend(more);
            next = after;
        }
        Ok(items)
    }

    /// Writes items with distinct keys, whatever was there; in no order, and some may be written
    /// although the call fails.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails, or leaves some unprocessed to the last round.
    pub async fn put_many(&self, items: Vec<Item>) -> Result<(), TableError> {
        let mut writes = Vec::with_capacity(items.len());
        for item in items {
            let put = PutRequest::builder()
                .set_item(Some(item))
                .build()
                .map_err(|_| TableError::malformed("batch", "item"))?;
            writes.push(WriteRequest::builder().put_request(put).build());
        }
        self.write_many(writes).await
    }

    /// Removes items; those already gone do no harm.
    ///
    /// # Errors
    ///
    /// As [`Table::put_many`].
    pub async fn delete_many(&self, keys: Vec<Item>) -> Result<(), TableError> {
        let mut writes = Vec::with_capacity(keys.len());
        for key in keys {
            let delete = DeleteRequest::builder()
                .set_key(Some(key))
                .build()
                .map_err(|_| TableError::malformed("batch", "key"))?;
            writes.push(WriteRequest::builder().delete_request(delete).build());
        }
        self.write_many(writes).await
    }

    async fn write_many(&self, mut writes: Vec<WriteRequest>) -> Result<(), TableError> {
        let mut batches = Vec::with_capacity(writes.len().div_ceil(BATCH_WRITE));
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().saturating_sub(BATCH_WRITE));
            batches.push(self.write_batch(rest));
        }
        stream::iter(batches)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn write_batch(&self, mut rest: Vec<WriteRequest>) -> Result<(), TableError> {
        for round in 0..BATCH_ROUNDS {
            pause_before(round).await;
            let out = self
                .client
                .batch_write_item()
                .request_items(&self.name, rest)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(TableError::of("BatchWriteItem"))?;
            for consumed in out.consumed_capacity() {
                self.meter.count_write(Some(consumed));
            }
            rest = out
                .unprocessed_items
                .and_then(|mut tables| tables.remove(&self.name))
                .unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(unprocessed("BatchWriteItem"))
    }
}

/// The key of an item.
#[must_use]
pub fn key(pk: String, sk: String) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
    ])
}

/// A text attribute.
pub fn text(value: impl Display) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// A number attribute.
pub fn number(value: impl Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A binary attribute.
#[must_use]
pub fn bytes(value: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// Reads a number attribute of an item that messages call `of`.
///
/// # Errors
///
/// [`TableError::Malformed`] when it is missing, of another type or out of range.
pub fn parsed<T: FromStr>(
    item: &Item,
    of: impl Display,
    attribute: &'static str,
) -> Result<T, TableError> {
    item.get(attribute)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| TableError::malformed(of, attribute))
}

/// Takes a binary attribute out of an item that messages call `of`.
///
/// # Errors
///
/// [`TableError::Malformed`] when it is missing or of another type.
pub fn take_bytes(
    item: &mut Item,
    of: impl Display,
    attribute: &'static str,
) -> Result<Vec<u8>, TableError> {
    match item.remove(attribute) {
        Some(AttributeValue::B(blob)) => Ok(blob.into_inner()),
        _ => Err(TableError::malformed(of, attribute)),
    }
}

/// Reads a text attribute of an item that messages call `of`.
///
/// # Errors
///
/// [`TableError::Malformed`] when it is missing or of another type.
pub fn string<'i>(
    item: &'i Item,
    of: impl Display,
    attribute: &'static str,
) -> Result<&'i str, TableError> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or_else(|| TableError::malformed(of, attribute))
}

/// Whether a conditional put was refused by its condition.
pub fn is_condition_failure<R>(error: &SdkError<PutItemError, R>) -> bool {
    error
        .as_service_error()
        .is_some_and(PutItemError::is_conditional_check_failed_exception)
}

fn refusals(reasons: &[CancellationReason]) -> Vec<Refusal> {
    let failed = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| failed(reason))
        .map(|(at, reason)| Refusal {
            at,
            found: reason.item.clone(),
        })
        .collect()
}

fn is_busy(reasons: &[CancellationReason]) -> bool {
    const BUSY: [&str; 3] = [
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
    ];
    let code = |reason: &CancellationReason| reason.code().is_some_and(|code| BUSY.contains(&code));
    reasons.iter().any(code)
}

fn canceled(reasons: &[CancellationReason]) -> TableError {
    let codes = reasons.iter().filter_map(CancellationReason::code);
    let code = codes.filter(|code| *code != "None").collect::<Vec<_>>();
    TableError::Unavailable {
        operation: "TransactWriteItems",
        code: code.join(", "),
        transient: is_busy(reasons),
        source: "the transaction was canceled".into(),
    }
}

fn unprocessed(operation: &'static str) -> TableError {
    TableError::Unavailable {
        operation,
        code: "unprocessed".into(),
        transient: true,
        source: "items were still unprocessed after the last round".into(),
    }
}

async fn pause_before(round: u32) {
    if let Some(earlier) = round.checked_sub(1) {
        tokio::time::sleep(Duration::from_millis(25 << earlier.min(6))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize};

    use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure};
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    };
    use aws_smithy_types::body::SdkBody;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        platform::aws::Connection,
        testing::{self, Database},
    };

    async fn things() -> (Database, Table) {
        let database = Database::start(&[testing::Table::new("Things")]).await;
        let table = Table::new(database.client(), "Things".to_owned());
        (database, table)
    }

    fn thing(n: usize) -> Item {
        key("ALL".to_owned(), format!("{n:03}"))
    }

    fn with(mut item: Item, attribute: &str, value: AttributeValue) -> Item {
        item.insert(attribute.to_owned(), value);
        item
    }

    fn all(table: &Table) -> QueryFluentBuilder {
        table
            .query()
            .key_condition_expression("pk = :all")
            .expression_attribute_values(":all", text("ALL"))
    }

    #[tokio::test]
    async fn a_version_is_succeeded_once() {
        let (_database, table) = things().await;
        let version = |version: u64| with(thing(1), "version", number(version));
        assert_eq!(table.put_version(version(1), 0).await.unwrap(), Write::Done);
        assert_eq!(
            table.put_version(version(1), 0).await.unwrap(),
            Write::Conflict
        );
        assert_eq!(table.put_version(version(2), 1).await.unwrap(), Write::Done);
        assert_eq!(
            table.put_version(version(2), 1).await.unwrap(),
            Write::Conflict
        );
        assert_eq!(table.get(thing(1)).await.unwrap(), Some(version(2)));
        table.put(version(7)).await.unwrap();
        assert_eq!(table.get(thing(1)).await.unwrap(), Some(version(7)));
    }

    #[tokio::test]
    async fn more_items_than_a_batch_takes_are_written_read_and_removed() {
        let (_database, table) = things().await;
        let count = 2 * BATCH_READ + 1;
        table
            .put_many((0..count).map(thing).collect())
            .await
            .unwrap();
        let found = table.get_many((0..2 * count).map(thing).collect()).await;
        assert_eq!(found.unwrap().len(), count, "what is not there is left out");
        let even = (0..count).step_by(2).map(thing).collect();
        table.delete_many(even).await.unwrap();
        let left = table.pages(all(&table)).await.unwrap();
        assert_eq!(left, (1..count).step_by(2).map(thing).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn pages_are_followed_to_the_last() {
        let (_database, table) = things().await;
        let items: Vec<_> = (0..5).map(thing).collect();
        table.put_many(items.clone()).await.unwrap();
        let (page, next) = table.page(all(&table).limit(2)).await.unwrap();
        assert_eq!((page, next), (items[..2].to_vec(), Some(thing(1))));
        assert_eq!(table.pages(all(&table).limit(2)).await.unwrap(), items);
    }

    #[tokio::test]
    async fn consumption_is_counted_in_halves() {
        let (_database, table) = things().await;
        table.put(thing(1)).await.unwrap();
        assert_eq!(
            (table.meter().read_halves(), table.meter().write_halves()),
            (0, 2)
        );
        table.get(thing(1)).await.unwrap();
        table.pages(all(&table)).await.unwrap();
        assert_eq!(
            (table.meter().read_halves(), table.meter().write_halves()),
            (3, 2)
        );
    }

    #[test]
    fn an_attribute_of_another_kind_is_named() {
        let item = with(thing(1), "n", number(3));
        let mut item = with(item, "frame", bytes(vec![1, 2]));
        assert_eq!(parsed::<u64>(&item, "thing", "n").unwrap(), 3);
        assert_eq!(string(&item, "thing", "sk").unwrap(), "001");
        assert_eq!(
            parsed::<u64>(&item, "thing", "sk").unwrap_err().to_string(),
            "attribute sk of thing cannot be read"
        );
        assert!(parsed::<u8>(&with(thing(1), "n", number(256)), "thing", "n").is_err());
        assert!(string(&item, "thing", "n").is_err());
        assert_eq!(take_bytes(&mut item, "thing", "frame").unwrap(), [1, 2]);
        assert!(
            !take_bytes(&mut item, "thing", "frame")
                .unwrap_err()
                .retryable()
        );
    }

    #[tokio::test]
    async fn a_request_that_no_repetition_mends_is_told_from_one_that_may_succeed() {
        let (database, table) = things().await;
        let no_key = with(Item::new(), "pk", text("ALL"));
        assert!(!table.put(no_key).await.unwrap_err().retryable());
        let absent = Table::new(database.client(), "Nothings".to_owned());
        assert!(absent.put(thing(1)).await.unwrap_err().retryable());
    }

    /// Answers each write after others had their turn, and counts those that wait meanwhile.
    #[derive(Debug, Clone, Default)]
    struct Slow {
        waiting: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        done: Arc<AtomicUsize>,
    }

    impl HttpConnector for Slow {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let slow = self.clone();
            HttpConnectorFuture::new(async move {
                let waiting = slow.waiting.fetch_add(1, Ordering::SeqCst) + 1;
                slow.most.fetch_max(waiting, Ordering::SeqCst);
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                slow.waiting.fetch_sub(1, Ordering::SeqCst);
                slow.done.fetch_add(1, Ordering::SeqCst);
                let ok = http::StatusCode::OK.into();
                Ok(HttpResponse::new(ok, SdkBody::from("{}")))
            })
        }
    }

    #[tokio::test]
    async fn batches_are_written_side_by_side_but_not_all() {
        let slow = Slow::default();
        let connector = SharedHttpConnector::new(slow.clone());
        let http = http_client_fn(move |_, _| connector.clone());
        let client = Connection::to_emulator("http://127.0.0.1:1", http).dynamodb();
        let table = Table::new(client, "Things".to_owned());
        table.put_many((0..501).map(thing).collect()).await.unwrap();
        assert_eq!(slow.done.load(Ordering::SeqCst), 21);
        assert_eq!(slow.most.load(Ordering::SeqCst), WRITES_AT_ONCE);
    }

    /// Answers batches, doing only the first `share` of each and leaving the rest unprocessed.
    #[derive(Debug, Clone)]
    struct Busy {
        share: usize,
        done: Arc<Mutex<Vec<Value>>>,
    }

    impl Busy {
        fn table(share: usize) -> (Table, Self) {
            let busy = Self {
                share,
                done: Arc::default(),
            };
            let connector = SharedHttpConnector::new(busy.clone());
            let http = http_client_fn(move |_, _| connector.clone());
            let client = Connection::to_emulator("http://127.0.0.1:1", http).dynamodb();
            (Table::new(client, "Things".to_owned()), busy)
        }

        fn answer(&self, request: &Value) -> Value {
            let asked = &request["RequestItems"]["Things"];
            let (whole, is_read) = match &asked["Keys"] {
                Value::Null => (asked, false),
                keys => (keys, true),
            };
            let (now, later) = {
                let all = whole.as_array().expect("a batch is a list");
                all.split_at(self.share.min(all.len()))
            };
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.extend_from_slice(now);
            match (later.is_empty(), is_read) {
                (true, true) => json!({"Responses": {"Things": now}, "UnprocessedKeys": {}}),
                (false, true) => json!({
                    "Responses": {"Things": now},
                    "UnprocessedKeys": {"Things": {"Keys": later}},
                }),
                (true, false) => json!({"UnprocessedItems": {}}),
                (false, false) => json!({"UnprocessedItems": {"Things": later}}),
            }
        }

        fn done(&self) -> usize {
            self.done
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len()
        }
    }

    impl HttpConnector for Busy {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = request.body().bytes().expect("a request has a body");
            let answer = self.answer(&serde_json::from_slice(body).expect("it is JSON"));
            let ok = http::StatusCode::OK.into();
            HttpConnectorFuture::ready(Ok(HttpResponse::new(ok, SdkBody::from(answer.to_string()))))
        }
    }

    #[tokio::test]
    async fn what_a_batch_leaves_unprocessed_is_sent_again() {
        let (table, busy) = Busy::table(9);
        table.put_many((0..60).map(thing).collect()).await.unwrap();
        assert_eq!(busy.done(), 60, "each once");
        let (table, busy) = Busy::table(40);
        let mut found = table.get_many((0..150).map(thing).collect()).await.unwrap();
        found.sort_by_key(|item| string(item, "thing", "sk").map(str::to_owned).ok());
        assert_eq!(found, (0..150).map(thing).collect::<Vec<_>>());
        assert_eq!(busy.done(), 150);
    }

    #[tokio::test]
    async fn what_stays_unprocessed_is_an_error_that_may_pass() {
        let (table, busy) = Busy::table(0);
        let (write, read) = tokio::join!(
            table.delete_many(vec![thing(1)]),
            table.get_many(vec![thing(1)])
        );
        let (write, read) = (write.unwrap_err(), read.unwrap_err());
        assert!(write.retryable() && read.retryable());
        assert_eq!(write.to_string(), "BatchWriteItem failed (unprocessed)");
        assert_eq!(busy.done(), 0);
    }

    /// Writes item `n` if there is none, and asks for the one that there is.
    fn new_thing(n: usize) -> TransactWriteItem {
        let put = Put::builder()
            .table_name("Things")
            .set_item(Some(thing(n)))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build();
        TransactWriteItem::builder().put(put.unwrap()).build()
    }

    #[tokio::test]
    async fn all_writes_of_a_transaction_stand_or_none_and_it_says_which_were_refused() {
        let (_database, table) = things().await;
        let done = table.transact(vec![new_thing(1), new_thing(3)]).await;
        assert_eq!(done.unwrap(), Transaction::Done);
        let writes = (0..4).map(new_thing).collect();
        let refused = |at| Refusal {
            at,
            found: Some(thing(at)),
        };
        assert_eq!(
            table.transact(writes).await.unwrap(),
            Transaction::Refused(vec![refused(1), refused(3)])
        );
        let stored = table.pages(all(&table)).await.unwrap();
        assert_eq!(stored, [thing(1), thing(3)]);
    }

    /// A table whose transactions are canceled for `reasons`, each list once, before one is done; and
    /// how many it was asked for.
    fn canceling(reasons: Vec<Vec<&'static str>>) -> (Table, Arc<AtomicUsize>) {
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        let http = testing::answering(move |_| {
            let reasons = reasons.get(count.fetch_add(1, Ordering::SeqCst));
            let codes = reasons.into_iter().flatten();
            let codes: Vec<_> = codes.map(|code| json!({ "Code": code })).collect();
            let (status, answer) = match reasons {
                Some(_) => (
                    400,
                    json!({"__type": "TransactionCanceledException", "CancellationReasons": codes}),
                ),
                None => (
                    200,
                    json!({"ConsumedCapacity": [
                        {"TableName": "Things", "CapacityUnits": 4.0},
                        {"TableName": "Things", "CapacityUnits": 1.5},
                    ]}),
                ),
            };
            let response = http::Response::builder().status(status);
            response.body(answer.to_string()).unwrap()
        });
        let client = Connection::to_emulator("http://127.0.0.1:1", http).dynamodb();
        (Table::new(client, "Things".to_owned()), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_met_others_is_tried_again_and_counted_once() {
        let busy = vec![
            vec!["None", "TransactionConflict"],
            vec!["ThrottlingError", "None"],
            vec!["ProvisionedThroughputExceeded", "TransactionConflict"],
        ];
        let (table, asked) = canceling(busy);
        let done = table.transact(vec![new_thing(0), new_thing(1)]).await;
        assert_eq!(done.unwrap(), Transaction::Done);
        assert_eq!(asked.load(Ordering::SeqCst), 4);
        assert_eq!(table.meter().write_halves(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_meets_others_to_the_last_is_an_error_that_may_pass() {
        let (table, asked) = canceling(vec![vec!["None", "TransactionConflict"]; 99]);
        let error = table.transact(vec![new_thing(0), new_thing(1)]).await;
        let error = error.unwrap_err();
        assert!(error.retryable());
        assert_eq!(
            error.to_string(),
            "TransactWriteItems failed (TransactionConflict)"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 10);
    }

    #[tokio::test]
    async fn a_condition_that_does_not_hold_counts_more_than_others_at_the_items() {
        let mixed = vec!["TransactionConflict", "ConditionalCheckFailed", "None"];
        let (table, asked) = canceling(vec![mixed]);
        let refused = table.transact((0..3).map(new_thing).collect()).await;
        let refusal = Refusal { at: 1, found: None };
        assert_eq!(refused.unwrap(), Transaction::Refused(vec![refusal]));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_transaction_that_can_never_be_done_is_not_tried_again() {
        let (table, asked) = canceling(vec![vec!["None", "ValidationError"]]);
        let error = table.transact(vec![new_thing(0), new_thing(1)]).await;
        let error = error.unwrap_err();
        assert!(!error.retryable());
        assert_eq!(
            error.to_string(),
            "TransactWriteItems failed (ValidationError)"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
