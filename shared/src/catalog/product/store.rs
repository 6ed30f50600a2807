//! Products in the `Commerce` table: the only code that knows their keys and expressions.
//!
//! | item | pk | sk | what for |
//! |---|---|---|---|
//! | a product | `PRODUCT#{id}` | `META` | the product as JSON, with its version |
//! | its sku | `SKU#{sku}` | `META` | names the product that has it; not while that is deleted |
//! | its place in a list | `LIST#{all, featured or a category}` | `{price, 20 digits}#{id}` | by price; indexes `products_by_name` and `products_by_newest` |
//! | its place in a set | `GROUP#{categories}` | `{price, 20 digits}#{id}` | the cheapest and the dearest product of exactly these categories |
//! | the prices of a set | `CATEGORYSTATS` | `{categories}` | count, sum and range of the listed products of exactly these categories; gone with the last of them |
//!
//! All of them change in one transaction. Places follow from the product alone, so the version of the
//! product guards them; prices have a version of their own, which guards the look at what remains when
//! the cheapest or the dearest product goes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::BuildHasher,
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    types::{Delete, Put, TransactWriteItem},
};
use futures_util::future::try_join_all;

use super::{
    list::{Filter, ListName, Order, Stretch, Summary, lists_of, merged},
    model::{Product, folded},
    prices::Prices,
};
use crate::{
    catalog::{
        category::store::count_write,
        id::{CategoryId, ProductId},
    },
    events::{
        model::{Aggregate, Event},
        store as events,
    },
    platform::{
        ids::Random,
        table::{Item, Meter, Table, TableError, Transaction, key, number, parsed, string, text},
    },
    stock::{
        model::Sku,
        store::{StockStore, open_write},
    },
};

const META: &str = "META";
const STATISTICS: &str = "CATEGORYSTATS";

/// Times that a product is written while others write products of the same set of categories.
const MOST_TRIES: u32 = 12;

/// Longest pause before a product is written again, in milliseconds.
const MOST_PAUSE: u32 = 400;

/// Stretches of lists read at most for one page.
const MOST_STRETCHES: usize = 8;

/// Places read of a list at a time where most may not pass a filter.
const FILTERED: usize = 100;

/// How a write of a product ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It stands.
    Done,
    /// The product has changed since it was read.
    Conflict,
    /// Another product has the sku.
    SkuTaken,
    /// There is no such category.
    NoCategory(CategoryId),
}

/// Products, their lists and their statistics.
#[derive(Debug)]
pub struct ProductStore {
    table: Table,
    random: Random,
}

/// The statistics of one set of categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPrices {
    /// The categories that the products have, exactly these, in order.
    pub categories: Vec<CategoryId>,
    /// What those products cost.
    pub prices: Prices,
}

/// What a write of a transaction tells by its refusal.
#[derive(Clone, Copy, Debug)]
enum Guard {
    Version,
    Sku,
    Category(CategoryId),
    Prices,
}

#[derive(Debug, Default)]
struct Writes {
    writes: Vec<TransactWriteItem>,
    guards: HashMap<usize, Guard>,
}

impl Writes {
    fn push(&mut self, write: TransactWriteItem, guard: Option<Guard>) {
        self.guards
            .extend(guard.map(|guard| (self.writes.len(), guard)));
        self.writes.push(write);
    }
}

fn product_key(id: ProductId) -> Item {
    key(
        events::partition(Aggregate::Product, &id.to_string()),
        META.to_owned(),
    )
}

fn sku_key(sku: &Sku) -> Item {
    key(format!("SKU#{sku}"), META.to_owned())
}

fn partition(list: ListName) -> String {
    match list {
        ListName::All => "LIST#all".to_owned(),
        ListName::Featured => "LIST#featured".to_owned(),
        ListName::Category(id) => format!("LIST#{id}"),
    }
}

fn group_name(categories: &[CategoryId]) -> String {
    let ids: Vec<_> = categories.iter().map(CategoryId::to_string).collect();
    ids.join(",")
}

fn price_key(price: u64, id: ProductId) -> String {
    format!("{price:020}#{id}")
}

/// The set of categories whose statistics a product counts in, and its price.
fn counted(product: &Product) -> Option<(String, u64)> {
    let categories = &product.details.category_ids;
    let is_counted = product.is_listed() && !categories.is_empty();
    is_counted.then(|| (group_name(categories), product.price_units()))
}

/// Every place of a product, by partition and sort key.
fn places(product: &Product) -> BTreeMap<(String, String), Item> {
    let sk = price_key(product.price_units(), product.id);
    // A name sorts before those that it begins, and identifiers by creation.
    let name = format!("{}\u{1f}{}", folded(&product.details.name), product.id);
    let summary = serde_json::to_string(&Summary::of(product)).unwrap_or_default();
    let mut places = BTreeMap::new();
    for pk in lists_of(product).into_iter().map(partition) {
        let mut item = key(pk.clone(), sk.clone());
        let attributes = [
            ("list_pk", &pk),
            ("name_sk", &name),
            ("newest_sk", &product.id.to_string()),
            ("product", &summary),
        ];
        item.extend(attributes.map(|(name, value)| (name.to_owned(), text(value))));
        places.insert((pk, sk.clone()), item);
    }
    if let Some((group, _)) = counted(product) {
        let pk = format!("GROUP#{group}");
        places.insert((pk.clone(), sk.clone()), key(pk, sk));
    }
    places
}

fn read_product(item: &Item) -> Result<Product, TableError> {
    let pk = string(item, "product", "pk")?;
    let json = string(item, pk, "product")?;
    serde_json::from_str(json).map_err(|_| TableError::malformed(pk, "product"))
}

fn read_prices(item: &Item) -> Result<(Prices, u64), TableError> {
    let of = STATISTICS;
    let count = parsed(item, of, "count")?;
    let range = (parsed(item, of, "least")?, parsed(item, of, "most")?);
    let prices = Prices {
        count,
        sum: parsed(item, of, "sum")?,
        range: (count > 0).then_some(range),
    };
    Ok((prices, parsed(item, of, "version")?))
}

impl ProductStore {
    /// The products in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
            random: Random::system(),
        }
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.table.meter()
    }

    /// A product, also one that is deleted or not active; strongly consistent.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn find(&self, id: ProductId) -> Result<Option<Product>, TableError> {
        let item = self.table.get(product_key(id)).await?;
        item.as_ref().map(read_product).transpose()
    }

    /// The listed products that have these skus, strongly consistent, but each at its own moment.
    ///
    /// # Errors
    ///
    /// As [`ProductStore::find`].
    pub async fn by_sku(&self, skus: &[Sku]) -> Result<HashMap<Sku, Product>, TableError> {
        let distinct: BTreeSet<&Sku> = skus.iter().collect();
        let claims = distinct.into_iter().map(sku_key).collect();
        let mut keys = Vec::new();
        for claim in self.table.get_many(claims).await? {
            let id = string(&claim, "sku", "product_id")?;
            let id = id
                .parse()
                .map_err(|_| TableError::malformed(id, "product_id"))?;
            keys.push(product_key(id));
        }
        let mut found = HashMap::new();
        for item in self.table.get_many(keys).await? {
            let product = read_product(&item)?;
            if product.is_listed() {
                found.insert(product.sku.clone(), product);
            }
        }
        Ok(found)
    }

    /// Writes a product in place of `before` (`None`: of nothing), with all that follows from it, the
    /// event that tells of it and `also`, the answer to the request.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or refuses `also` alone, or others write products of the same
    /// categories to the last try.
    pub async fn save(
        &self,
        before: Option<&Product>,
        after: &Product,
        event: &Event,
        also: Option<TransactWriteItem>,
    ) -> Result<Saved, TableError> {
        for round in 0..MOST_TRIES {
            let mut writes = self.writes(before, after, event)?;
            self.price_writes(before, after, &mut writes).await?;
            let Writes { mut writes, guards } = writes;
            writes.extend(also.clone());
            let refusals = match self.table.transact(writes).await? {
                Transaction::Done => return Ok(Saved::Done),
                Transaction::Refused(refusals) => refusals,
            };
            // It may have been done by an earlier try of it.
            if events::is_appended(&self.table, event).await? {
                return Ok(Saved::Done);
            }
            let told = refusals.iter().map(|refusal| guards.get(&refusal.at));
            let mut is_crowded = false;
            for guard in told {
                match guard {
                    Some(Guard::Version) => return Ok(Saved::Conflict),
                    Some(Guard::Sku) => return Ok(Saved::SkuTaken),
                    Some(Guard::Category(id)) => return Ok(Saved::NoCategory(*id)),
                    Some(Guard::Prices) => is_crowded = true,
                    None => {}
                }
            }
            if !is_crowded {
                return Err(TableError::claim_lost());
            }
            let pause = self.random.up_to((10_u32 << round).min(MOST_PAUSE));
            tokio::time::sleep(Duration::from_millis(pause.into())).await;
        }
        Err(TableError::Unavailable {
            operation: "TransactWriteItems",
            code: "ConditionalCheckFailed".into(),
            transient: true,
            source: "others wrote products of the same categories".into(),
        })
    }

    fn writes(
        &self,
        before: Option<&Product>,
        after: &Product,
        event: &Event,
    ) -> Result<Writes, TableError> {
        let mut writes = Writes::default();
        let mut item = product_key(after.id);
        let json =
            serde_json::to_string(after).map_err(|_| TableError::malformed(after.id, "product"))?;
        item.insert("product".into(), text(json));
        item.insert("version".into(), number(after.version));
        let expected = before.map_or(0, |before| before.version);
        writes.push(self.put(item, Some(expected))?, Some(Guard::Version));
        writes.push(events::append(&self.table, event)?, Some(Guard::Version));

        let is_there = |product: &&Product| product.deleted_at.is_none();
        match (before.filter(is_there), Some(after).filter(is_there)) {
            (None, Some(after)) => {
                let mut claim = sku_key(&after.sku);
                claim.insert("product_id".into(), text(after.id));
                writes.push(self.put(claim, Some(0))?, Some(Guard::Sku));
                writes.push(open_write(&self.table, &after.sku)?, None);
            }
            (Some(before), None) => writes.push(self.delete(sku_key(&before.sku), None)?, None),
            _ => {}
        }

        let old = before.map(Product::memberships).unwrap_or_default();
        let new = after.memberships();
        for (ids, others, by) in [(old, new, -1), (new, old, 1)] {
            for id in ids.iter().filter(|id| !others.contains(id)) {
                writes.push(
                    count_write(&self.table, *id, by)?,
                    Some(Guard::Category(*id)),
                );
            }
        }

        let (old, new) = (before.map(places).unwrap_or_default(), places(after));
        for (pk, sk) in old.keys().filter(|place| !new.contains_key(*place)) {
            writes.push(self.delete(key(pk.clone(), sk.clone()), None)?, None);
        }
        for (place, item) in new {
            if old.get(&place) != Some(&item) {
                writes.push(self.put(item, None)?, None);
            }
        }
        Ok(writes)
    }

    /// Adds what becomes of the statistics, under the versions at which they are read now.
    async fn price_writes(
        &self,
        before: Option<&Product>,
        after: &Product,
        writes: &mut Writes,
    ) -> Result<(), TableError> {
        let (old, new) = (before.and_then(counted), counted(after));
        if old == new {
            return Ok(());
        }
        let groups: BTreeSet<&String> = old.iter().chain(&new).map(|(group, _)| group).collect();
        for group in groups {
            let key = key(STATISTICS.to_owned(), group.clone());
            let item = self.table.get(key.clone()).await?;
            let read = item.as_ref().map(read_prices).transpose()?;
            // A set that was in use before must not come back under versions that somebody has seen.
            let fresh = 1 + u64::from(self.random.up_to(u32::MAX));
            let (mut prices, version) = read.unwrap_or_default();
            if let Some((_, price)) = old.as_ref().filter(|(from, _)| from == group) {
                let remaining = if prices.is_edge(*price) {
                    self.range_without(group, after.id).await?
                } else {
                    None
                };
                prices = prices.without(*price, remaining);
            }
            if let Some((_, price)) = new.as_ref().filter(|(to, _)| to == group) {
                prices = prices.with(*price);
            }
            if prices.count == 0 && version > 0 {
                let delete = self.delete(key, Some(version))?;
                writes.push(delete, Some(Guard::Prices));
                continue;
            }
            let (least, most) = prices.range.unwrap_or_default();
            let next = if version == 0 { fresh } else { version + 1 };
            let attributes = [
                ("count", number(prices.count)),
                ("sum", number(prices.sum)),
                ("least", number(least)),
                ("most", number(most)),
                ("version", number(next)),
            ];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
            let item = key.into_iter().chain(attributes).collect();
            writes.push(self.put(item, Some(version))?, Some(Guard::Prices));
        }
        Ok(())
    }

    /// The least and the greatest price of the products of exactly these categories but `id`.
    async fn range_without(
        &self,
        group: &str,
        id: ProductId,
    ) -> Result<Option<(u64, u64)>, TableError> {
        let end = async |is_forward: bool| {
            let query = self
                .table
                .query()
                .consistent_read(true)
                .key_condition_expression("pk = :group")
                .expression_attribute_values(":group", text(format!("GROUP#{group}")))
                .scan_index_forward(is_forward)
                .limit(2);
            for item in self.table.page(query).await?.0 {
                let sk = string(&item, group, "sk")?;
                let (price, other) = sk
                    .split_once('#')
                    .ok_or_else(|| TableError::malformed(group, "sk"))?;
                if other != id.to_string() {
                    let price = price.parse::<u64>();
                    return price
                        .map(Some)
                        .map_err(|_| TableError::malformed(group, "sk"));
                }
            }
            Ok(None)
        };
        Ok(end(true).await?.zip(end(false).await?))
    }

    fn put(&self, item: Item, expected: Option<u64>) -> Result<TransactWriteItem, TableError> {
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(item));
        let put = match expected {
            None => put,
            Some(0) => put.condition_expression("attribute_not_exists(pk)"),
            Some(expected) => put
                .condition_expression("#version = :expected")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":expected", number(expected)),
        };
        let put = put
            .build()
            .map_err(|_| TableError::malformed("product", "pk"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn delete(&self, key: Item, expected: Option<u64>) -> Result<TransactWriteItem, TableError> {
        let delete = Delete::builder()
            .table_name(self.table.name())
            .set_key(Some(key));
        let delete = match expected {
            None => delete,
            Some(expected) => delete
                .condition_expression("#version = :expected")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":expected", number(expected)),
        };
        let delete = delete
            .build()
            .map_err(|_| TableError::malformed("product", "pk"))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// At most `limit` products of `lists` that `filter` lets through, each once, and the key after which
    /// to go on; `None` after the last. A page may have fewer than `limit` and yet a next one. Lists by
    /// name and newest may be a moment behind.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn list(
        &self,
        lists: &[ListName],
        order: Order,
        filter: &Filter,
        stocks: &StockStore,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Summary>, Option<String>), TableError> {
        let mut found: Vec<Summary> = Vec::new();
        for _ in 0..MOST_STRETCHES {
            let wanted = if filter.is_none() {
                limit + 1 - found.len()
            } else {
                FILTERED
            };
            let reads = lists
                .iter()
                .map(|list| self.stretch(*list, order, filter, after.as_deref(), wanted));
            let stretch = merged(try_join_all(reads).await?, order.is_ascending());
            let end = stretch.rows.last().map(|(key, _)| key.clone());
            let mut rows = Vec::new();
            for (key, json) in stretch.rows {
                let summary: Summary = serde_json::from_str(&json)
                    .map_err(|_| TableError::malformed(&key, "product"))?;
                // While a product moves, two lists may show it at two places.
                let is_new = found.iter().all(|other| other.id != summary.id);
                if is_new && filter.admits(&summary) {
                    rows.push((key, summary));
                }
            }
            if let Some(in_stock) = filter.in_stock {
                let skus: Vec<Sku> = rows.iter().map(|(_, row)| row.sku.clone()).collect();
                let stocks = stocks.get_many(&skus).await?;
                let is_there = |sku: &Sku| stocks.get(sku).is_some_and(|stock| stock.available > 0);
                rows.retain(|(_, row)| is_there(&row.sku) == in_stock);
            }
            for (key, summary) in rows {
                if found.len() == limit {
                    return Ok((found, after));
                }
                after = Some(key);
                found.push(summary);
            }
            if !stretch.goes_on {
                return Ok((found, None));
            }
            after = end.or(after);
            if found.len() == limit {
                break;
            }
        }
        Ok((found, after))
    }

    async fn stretch(
        &self,
        list: ListName,
        order: Order,
        filter: &Filter,
        after: Option<&str>,
        wanted: usize,
    ) -> Result<Stretch<String>, TableError> {
        let (index, partition_key, sort_key) = match order {
            Order::Newest => (Some("products_by_newest"), "list_pk", "newest_sk"),
            Order::Name | Order::NameDescending => (Some("products_by_name"), "list_pk", "name_sk"),
            Order::Price | Order::PriceDescending => (None, "pk", "sk"),
        };
        // Only prices can be found by their bounds.
        let bound = |price: Option<u64>, end: &str| {
            let price = price.filter(|_| index.is_none());
            price.map(|price| format!("{price:020}{end}"))
        };
        let (mut from, mut to) = (bound(filter.least, ""), bound(filter.most, "~"));
        let is_ascending = order.is_ascending();
        if is_ascending {
            // No key is between the one read last and this: none has the character in it.
            from = from.max(after.map(|after| format!("{after}\u{0}")));
        } else {
            to = [to, after.map(str::to_owned)].into_iter().flatten().min();
        }
        let range = match (&from, &to) {
            (Some(from), Some(to)) if from > to => return Ok(Stretch::default()),
            (Some(_), Some(_)) => format!(" AND {sort_key} BETWEEN :from AND :to"),
            (Some(_), None) => format!(" AND {sort_key} >= :from"),
            (None, Some(_)) => format!(" AND {sort_key} <= :to"),
            (None, None) => String::new(),
        };
        let mut query = self
            .table
            .query()
            .set_index_name(index.map(str::to_owned))
            .consistent_read(index.is_none())
            .scan_index_forward(is_ascending)
            .key_condition_expression(format!("{partition_key} = :list{range}"))
            .expression_attribute_values(":list", text(partition(list)))
            .limit(i32::try_from(wanted + 1).unwrap_or(i32::MAX));
        for (name, value) in [(":from", from), (":to", to)] {
            if let Some(value) = value {
                query = query.expression_attribute_values(name, text(value));
            }
        }
        let (items, more) = self.table.page(query).await?;
        let mut rows = Vec::new();
        for item in &items {
            let key = string(item, "list", sort_key)?.to_owned();
            // Downwards, what was read last is read once more.
            if after != Some(key.as_str()) {
                rows.push((key, string(item, "list", "product")?.to_owned()));
            }
        }
        let goes_on = more.is_some() || rows.len() > wanted;
        rows.truncate(wanted);
        Ok(Stretch { rows, goes_on })
    }

    /// The statistics of every set of categories that products have, not quite up to date.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn prices(&self) -> Result<Vec<GroupPrices>, TableError> {
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :statistics")
            .expression_attribute_values(":statistics", text(STATISTICS));
        let mut groups = Vec::new();
        for item in self.table.pages(query).await? {
            let name = string(&item, STATISTICS, "sk")?;
            let categories: Result<Vec<_>, _> = name.split(',').map(str::parse).collect();
            let (prices, _) = read_prices(&item)?;
            groups.push(GroupPrices {
                categories: categories.map_err(|_| TableError::malformed(STATISTICS, "sk"))?,
                prices,
            });
        }
        Ok(groups)
    }
}

/// What the listed products in any of these categories cost, each counted once.
#[must_use]
pub fn prices_within<S: BuildHasher>(
    groups: &[GroupPrices],
    categories: &HashSet<CategoryId, S>,
) -> Prices {
    groups
        .iter()
        .filter(|group| group.categories.iter().any(|id| categories.contains(id)))
        .fold(Prices::default(), |all, group| all.and(group.prices))
}

#[cfg(test)]
mod tests;
