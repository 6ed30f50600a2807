//! The one file that knows the `Sales` table's keys and expressions.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | rows of a day | `DAY#{date}` | `CHUNK#{name}` |
//! | totals and manifest of a day | `TOTAL#{year}` | `{mm-dd}` |
//! | an import | `IMPORT#{id}` | `META` |
//! | its first row errors | `IMPORT#{id}` | `ERRORS` |
//! | the days it may touch | `IMPORT#{id}` | `DAYS` |
//! | the latest version of an object | `OBJECT#{key}` | `VERSION` |
//!
//! Imports are listed newest first by the sparse index `imports`.

use std::{collections::BTreeMap, str::FromStr};

use aws_sdk_dynamodb::{
    Client,
    operation::query::builders::QueryFluentBuilder,
    types::{AttributeValue, Put, ReturnConsumedCapacity, TransactWriteItem},
};
use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;

use super::{
    chunk::ChunkError,
    day::{Day, Manifest, Overflow, Part},
    file::RowError,
    import::{Import, ImportId},
    revenue::DayTotal,
};
use crate::platform::table::{
    Item, Meter, Table, TableError, Write, bytes, is_condition_failure, key, number, parsed,
    string, take_bytes, text,
};

/// Days read at once, with their manifests.
const DAYS_AT_ONCE: i32 = 64;

/// Index pages read at most while looking for the imports of one object key.
const MOST_LIST_PAGES: usize = 50;

/// A failed call on the sales table, or an item in it that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table failed, or holds an item of another shape.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A chunk that cannot be decoded, or one that cannot be made.
    #[error("chunk {name} cannot be used")]
    Chunk {
        /// The chunk.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ChunkError,
    },
    /// A chunk that the manifest lists is not there, though nobody changed the manifest.
    #[error("chunk {0} is listed but missing")]
    MissingChunk(String),
    /// A sum left the range of an exact decimal.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl StoreError {
    /// What is wrong with the chunk `name`.
    #[must_use]
    pub fn chunk(name: &str, source: ChunkError) -> Self {
        Self::Chunk {
            name: name.to_owned(),
            source,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Table(error) => error.retryable(),
            Self::Chunk { .. } | Self::MissingChunk(_) | Self::Overflow(_) => false,
        }
    }
}

/// What a visit to a day's chunks met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// Every listed chunk; the names of those that are there without being listed.
    Whole(Vec<String>),
    /// Another writer has changed the day since it was read: begin again.
    Changed,
}

/// The sales table.
#[derive(Debug)]
pub struct SalesStore {
    table: Table,
}

fn chunk_key(date: Date, name: &str) -> Item {
    key(format!("DAY#{date}"), format!("CHUNK#{name}"))
}

fn day_key(date: Date) -> Item {
    key(total_pk(date.year()), month_day(date))
}

fn total_pk(year: i16) -> String {
    format!("TOTAL#{year:04}")
}

fn month_day(date: Date) -> String {
    format!("{:02}-{:02}", date.month(), date.day())
}

fn import_key(id: ImportId, part: &str) -> Item {
    key(format!("IMPORT#{id}"), part.to_owned())
}

fn manifest_attribute(chunks: &Manifest) -> AttributeValue {
    let part =
        |part: &Part| AttributeValue::L(vec![number(part.rows), number(part.revenue.normalize())]);
    AttributeValue::M(
        chunks
            .iter()
            .map(|(name, parts)| {
                let parts = parts
                    .iter()
                    .map(|(import, p)| (import.to_string(), part(p)))
                    .collect();
                (name.clone(), AttributeValue::M(parts))
            })
            .collect(),
    )
}

fn manifest_from(value: &AttributeValue) -> Option<Manifest> {
    let part = |value: &AttributeValue| {
        let [rows, revenue] = value.as_l().ok()?.as_slice() else {
            return None;
        };
        Some(Part {
            rows: rows.as_n().ok()?.parse().ok()?,
            revenue: Decimal::from_str(revenue.as_n().ok()?).ok()?,
        })
    };
    value
        .as_m()
        .ok()?
        .iter()
        .map(|(name, parts)| {
            let parts = parts
                .as_m()
                .ok()?
                .iter()
                .map(|(import, value)| Some((import.parse().ok()?, part(value)?)))
                .collect::<Option<BTreeMap<_, _>>>()?;
            Some((name.clone(), parts))
        })
        .collect()
}

fn day_item(day: &Day) -> Item {
    let mut item = day_key(day.date);
    item.insert("version".into(), number(day.version));
    item.insert("revenue".into(), number(day.total.revenue.normalize()));
    item.insert("rows".into(), number(day.total.rows));
    item.insert("orders".into(), number(day.orders));
    item.insert("chunks".into(), manifest_attribute(&day.chunks));
    item
}

fn day_from(date: Date, item: &Item) -> Result<Day, TableError> {
    Ok(Day {
        date,
        version: parsed(item, date, "version")?,
        total: Part {
            rows: parsed(item, date, "rows")?,
            revenue: parsed(item, date, "revenue")?,
        },
        orders: parsed(item, date, "orders")?,
        chunks: item
            .get("chunks")
            .and_then(manifest_from)
            .ok_or_else(|| TableError::malformed(date, "chunks"))?,
    })
}

impl SalesStore {
    /// The store on `table`.
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

    /// The day as it stands now; [`Day::empty`] where nothing was ever sold.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the item cannot be read.
    pub async fn day(&self, date: Date) -> Result<Day, StoreError> {
        match self.table.get(day_key(date)).await? {
            Some(item) => Ok(day_from(date, &item)?),
            None => Ok(Day::empty(date)),
        }
    }

    /// Replaces a day by its next version.
    ///
    /// The SDK may send the write twice and see the second fail on the first's success: the stored
    /// day is then the one that was to be written, and the write is done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the item cannot be read.
    pub async fn commit(&self, next: &Day) -> Result<Write, StoreError> {
        match self
            .table
            .put_version(day_item(next), next.version - 1)
            .await?
        {
            Write::Conflict if self.day(next.date).await? == *next => Ok(Write::Done),
            write => Ok(write),
        }
    }

    /// Writes a chunk. It does not exist until a day lists it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_chunk(
        &self,
        date: Date,
        name: &str,
        frame: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut item = chunk_key(date, name);
        item.insert("frame".into(), bytes(frame));
        Ok(self.table.put(item).await?)
    }

    /// One chunk's frame, if it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the item cannot be read.
    pub async fn chunk(&self, date: Date, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let item = self.table.get(chunk_key(date, name)).await?;
        Ok(item
            .map(|mut item| take_bytes(&mut item, name, "frame"))
            .transpose()?)
    }

    /// Hands every chunk that `day` lists to `visit`, a page of at most 1 MB in memory.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read, or what `visit` returns;
    /// [`StoreError::MissingChunk`] when a listed chunk is not there though the day is unchanged.
    pub async fn visit_day(
        &self,
        day: &Day,
        mut visit: impl FnMut(&str, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<Visit, StoreError> {
        let (mut unlisted, mut missing) = (Vec::new(), day.chunks.clone());
        self.visit_chunks(day.date, |name, frame| {
            if missing.remove(name).is_some() {
                visit(name, frame)
            } else {
                unlisted.push(name.to_owned());
                Ok(())
            }
        })
        .await?;
        match missing.into_keys().next() {
            None => Ok(Visit::Whole(unlisted)),
            Some(_) if self.day(day.date).await?.version != day.version => Ok(Visit::Changed),
            Some(name) => Err(StoreError::MissingChunk(name)),
        }
    }

    /// Hands every chunk of a day, listed or not, to `visit`, a page of at most 1 MB in memory.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read, or what `visit` returns.
    pub async fn visit_chunks(
        &self,
        date: Date,
        mut visit: impl FnMut(&str, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let query = self
            .table
            .query()
            .key_condition_expression("pk = :day AND begins_with(sk, :chunk)")
            .expression_attribute_values(":day", text(format!("DAY#{date}")))
            .expression_attribute_values(":chunk", text("CHUNK#"))
            .consistent_read(true);
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start);
            let (items, next) = self.table.page(page).await?;
            for mut item in items {
                let name = string(&item, date, "sk")?
                    .strip_prefix("CHUNK#")
                    .ok_or_else(|| TableError::malformed(date, "sk"))?
                    .to_owned();
                let frame = take_bytes(&mut item, &name, "frame")?;
                visit(&name, frame)?;
            }
            start = next;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Removes chunks that no manifest lists; those already gone do no harm.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn delete_chunks(&self, date: Date, names: &[String]) -> Result<(), StoreError> {
        let keys = names.iter().map(|name| chunk_key(date, name)).collect();
        Ok(self.table.delete_many(keys).await?)
    }

    /// Asks for the days of `year` that lie from `start` to `end`.
    fn days_of(&self, year: i16, start: Date, end: Date) -> QueryFluentBuilder {
        let from = if year == start.year() {
            month_day(start)
        } else {
            "01-01".into()
        };
        let to = if year == end.year() {
            month_day(end)
        } else {
            "12-31".into()
        };
        self.table
            .query()
            .key_condition_expression("pk = :year AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":year", text(total_pk(year)))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":to", text(to))
            .consistent_read(true)
    }

    /// The totals of the days from `start` to `end`, both inclusive: one page a calendar year.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn totals(&self, start: Date, end: Date) -> Result<Vec<DayTotal>, StoreError> {
        let mut totals = Vec::new();
        for year in start.year()..=end.year() {
            let query = self
                .days_of(year, start, end)
                .projection_expression("sk, revenue, #rows, orders")
                .expression_attribute_names("#rows", "rows");
            for item in self.table.pages(query).await? {
                totals.push(total_from(year, &item)?);
            }
        }
        Ok(totals)
    }

    /// Some of the days from `start` to `end` on which rows are stored, in order, and the day from
    /// which to ask on; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or an item cannot be read.
    pub async fn days(
        &self,
        start: Date,
        end: Date,
    ) -> Result<(Vec<Day>, Option<Date>), StoreError> {
        let year = start.year();
        let query = self.days_of(year, start, end).limit(DAYS_AT_ONCE);
        let (items, rest) = self.table.page(query).await?;
        let mut days = Vec::new();
        let mut last = None;
        for item in items {
            let date = total_date(year, &item)?;
            last = Some(date);
            let day = day_from(date, &item)?;
            days.extend((day.total.rows > 0).then_some(day));
        }
        let next = match last {
            Some(last) if rest.is_some() => last.tomorrow().ok(),
            _ => Date::new(year + 1, 1, 1).ok(),
        };
        Ok((days, next.filter(|next| *next <= end)))
    }

    /// Writes the record of a new import, whose identifier nobody else has, together with `other`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or refuses `other`.
    pub async fn create_import_with(
        &self,
        import: &Import,
        other: TransactWriteItem,
    ) -> Result<(), StoreError> {
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(import_item(import)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|_| TableError::malformed(import.id, "pk"))?;
        self.table
            .client()
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(other)
            .send()
            .await
            .map_err(TableError::of("TransactWriteItems"))?;
        Ok(())
    }

    /// Writes the record of a new import.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn create_import(&self, import: &Import) -> Result<Write, StoreError> {
        self.save_import(import, 0).await
    }

    /// Replaces an import's record if it still has version `expected`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the record cannot be read.
    pub async fn save_import(&self, import: &Import, expected: u64) -> Result<Write, StoreError> {
        match self
            .table
            .put_version(import_item(import)?, expected)
            .await?
        {
            Write::Conflict if self.import(import.id).await?.as_ref() == Some(import) => {
                Ok(Write::Done)
            }
            write => Ok(write),
        }
    }

    /// An import's record.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the record cannot be read.
    pub async fn import(&self, id: ImportId) -> Result<Option<Import>, StoreError> {
        let item = self.table.get(import_key(id, "META")).await?;
        Ok(item.map(import_from).transpose()?)
    }

    /// Imports older than `before`, newest first, at most `limit` of them; only those of
    /// `object_key` where one is given. A full page may have a next one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or a record cannot be read.
    pub async fn imports(
        &self,
        before: Option<ImportId>,
        object_key: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Import>, StoreError> {
        let ids = self.import_ids(before, object_key, limit).await?;
        let mut found = BTreeMap::new();
        let keys = ids.iter().map(|&id| import_key(id, "META")).collect();
        for item in self.table.get_many(keys).await? {
            let import = import_from(item)?;
            found.insert(import.id, import);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    async fn import_ids(
        &self,
        before: Option<ImportId>,
        object_key: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ImportId>, StoreError> {
        let mut ids = Vec::with_capacity(limit);
        let mut page = None;
        for _ in 0..MOST_LIST_PAGES {
            let mut query = self
                .table
                .query()
                .index_name("imports")
                .scan_index_forward(false)
                .projection_expression("imports_sk")
                .expression_attribute_values(":all", text("IMPORTS"))
                .set_exclusive_start_key(page);
            query = match before {
                Some(before) => query
                    .key_condition_expression("imports_pk = :all AND imports_sk < :before")
                    .expression_attribute_values(":before", text(before)),
                None => query.key_condition_expression("imports_pk = :all"),
            };
            query = match object_key {
                Some(key) => query
                    .filter_expression("object_key = :key")
                    .expression_attribute_values(":key", text(key)),
                None => query.limit(i32::try_from(limit).unwrap_or(i32::MAX)),
            };
            let (items, next) = self.table.page(query).await?;
            for item in &items {
                let id = string(item, "import", "imports_sk")?
                    .parse()
                    .map_err(|_| TableError::malformed("import", "imports_sk"))?;
                ids.push(id);
                if ids.len() == limit {
                    return Ok(ids);
                }
            }
            page = next;
            if page.is_none() {
                break;
            }
        }
        Ok(ids)
    }

    /// Notes that an event announced version `sequencer` of the object `object_key`; false when a
    /// later version was announced before, so that the event came too late to mean anything.
    ///
    /// Sequencers of one key compare as text, the shorter one filled up with zeros
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn note_version(
        &self,
        object_key: &str,
        sequencer: &str,
        forget_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let padded = format!("{sequencer:0<64}");
        let mut item = key(format!("OBJECT#{object_key}"), "VERSION".to_owned());
        item.insert("sequencer".into(), text(&padded));
        item.insert("expiration".into(), number(forget_at.as_second()));
        let put = self
            .table
            .client()
            .put_item()
            .table_name(self.table.name())
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR sequencer <= :sequencer")
            .expression_attribute_values(":sequencer", text(&padded))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match put.send().await {
            Ok(out) => {
                self.table.meter().count_write(out.consumed_capacity());
                Ok(true)
            }
            Err(error) if is_condition_failure(&error) => Ok(false),
            Err(error) => Err(TableError::of("PutItem")(error).into()),
        }
    }

    /// Keeps an import's first row errors.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_row_errors(
        &self,
        id: ImportId,
        errors: &[RowError],
    ) -> Result<(), StoreError> {
        let mut item = import_key(id, "ERRORS");
        let errors = serde_dynamo::to_attribute_value(errors).map_err(TableError::from)?;
        item.insert("errors".into(), errors);
        Ok(self.table.put(item).await?)
    }

    /// An import's first row errors.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the record cannot be read.
    pub async fn row_errors(&self, id: ImportId) -> Result<Vec<RowError>, StoreError> {
        match self.table.get(import_key(id, "ERRORS")).await? {
            None => Ok(Vec::new()),
            Some(mut item) => {
                let errors = item
                    .remove("errors")
                    .ok_or_else(|| TableError::malformed(id, "errors"))?;
                Ok(serde_dynamo::from_attribute_value(errors).map_err(TableError::from)?)
            }
        }
    }

    /// Keeps the days that an import may touch; written before it touches any.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails.
    pub async fn put_import_days(
        &self,
        id: ImportId,
        days: impl IntoIterator<Item = Date>,
    ) -> Result<(), StoreError> {
        let mut item = import_key(id, "DAYS");
        let days: Vec<String> = days.into_iter().map(|day| day.to_string()).collect();
        item.insert("days".into(), text(days.join(" ")));
        Ok(self.table.put(item).await?)
    }

    /// The days that an import may have touched, in order; none if it never came to that.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the table fails or the record cannot be read.
    pub async fn import_days(&self, id: ImportId) -> Result<Vec<Date>, StoreError> {
        let Some(item) = self.table.get(import_key(id, "DAYS")).await? else {
            return Ok(Vec::new());
        };
        let days = string(&item, id, "days")?.split_whitespace();
        Ok(days
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| TableError::malformed(id, "days"))?)
    }
}

fn import_item(import: &Import) -> Result<Item, TableError> {
    let mut item: Item = serde_dynamo::to_item(import)?;
    item.extend(import_key(import.id, "META"));
    item.insert("imports_pk".into(), text("IMPORTS"));
    item.insert("imports_sk".into(), text(import.id));
    Ok(item)
}

fn import_from(item: Item) -> Result<Import, TableError> {
    Ok(serde_dynamo::from_item(item)?)
}

fn total_date(year: i16, item: &Item) -> Result<Date, TableError> {
    format!("{year:04}-{}", string(item, year, "sk")?)
        .parse()
        .map_err(|_| TableError::malformed(year, "sk"))
}

fn total_from(year: i16, item: &Item) -> Result<DayTotal, TableError> {
    let date = total_date(year, item)?;
    Ok(DayTotal {
        date,
        revenue: parsed(item, date, "revenue")?,
        rows: parsed(item, date, "rows")?,
        orders: parsed(item, date, "orders")?,
    })
}
