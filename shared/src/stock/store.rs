//! Stock in the `Commerce` table: the only code that knows its keys and expressions.
//!
//! A stock is the item `STOCK#{sku}`, `META`. It is made with the first product that has the sku and
//! stays when the product goes, for orders may still hold units of it.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::{
    Client,
    types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};

use super::model::{Direction, Move, Sku, Stock};
use crate::{
    events::{
        model::{Aggregate, Event},
        store as events,
    },
    platform::table::{
        Item, Meter, Table, TableError, Transaction, Write, key, number, parsed, string,
    },
};

const META: &str = "META";

/// The stock of every sku.
#[derive(Debug)]
pub struct StockStore {
    table: Table,
}

fn stock_key(sku: &Sku) -> Item {
    key(
        events::partition(Aggregate::Stock, sku.as_str()),
        META.to_owned(),
    )
}

fn stock(item: &Item) -> Result<Stock, TableError> {
    let pk = string(item, "stock", "pk")?;
    let sku = pk.split_once('#').and_then(|(_, sku)| sku.parse().ok());
    Ok(Stock {
        sku: sku.ok_or_else(|| TableError::malformed(pk, "pk"))?,
        available: parsed(item, pk, "available")?,
        reserved: parsed(item, pk, "reserved")?,
        sold: parsed(item, pk, "sold")?,
        received: parsed(item, pk, "received")?,
        version: parsed(item, pk, "version")?,
    })
}

fn built(
    update: aws_sdk_dynamodb::types::builders::UpdateBuilder,
) -> Result<TransactWriteItem, TableError> {
    let update = update
        .build()
        .map_err(|_| TableError::malformed("stock", "pk"))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// The write that makes the stock of a sku, with no units, for the transaction that makes a product
/// of it; it changes nothing when there is one.
///
/// # Errors
///
/// [`TableError::Malformed`] never in practice: table, key and expression are all that it needs.
pub fn open_write(table: &Table, sku: &Sku) -> Result<TransactWriteItem, TableError> {
    let counters = ["available", "reserved", "sold", "received"];
    let zeros = counters.map(|name| format!("{name} = if_not_exists({name}, :zero)"));
    built(
        Update::builder()
            .table_name(table.name())
            .set_key(Some(stock_key(sku)))
            .update_expression(format!(
                "SET {}, #version = if_not_exists(#version, :one)",
                zeros.join(", ")
            ))
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1)),
    )
}

/// The write that moves units, for the transaction of an order's step: the condition that there are
/// as many where they come from keeps each counter from going below zero. [`left`] reads what was
/// there from its refusal.
///
/// # Errors
///
/// As [`open_write`].
pub fn move_write(table: &Table, moved: &Move) -> Result<TransactWriteItem, TableError> {
    let (from, to) = match moved.direction {
        Direction::Reserve => ("available", "reserved"),
        Direction::Release => ("reserved", "available"),
        Direction::Sell => ("reserved", "sold"),
        Direction::Restock => ("sold", "available"),
    };
    built(
        Update::builder()
            .table_name(table.name())
            .set_key(Some(stock_key(&moved.sku)))
            .condition_expression("#from >= :units")
            .update_expression(
                "SET #from = #from - :units, #to = #to + :units, #version = #version + :one",
            )
            .expression_attribute_names("#from", from)
            .expression_attribute_names("#to", to)
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":units", number(moved.quantity))
            .expression_attribute_values(":one", number(1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld),
    )
}

/// The units available in the item that a refused [`move_write`] found.
#[must_use]
pub fn left(found: &Item) -> Option<u64> {
    parsed(found, "stock", "available").ok()
}

impl StockStore {
    /// The stock in `table`.
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

    /// The stock of a sku, strongly consistent.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn get(&self, sku: &Sku) -> Result<Option<Stock>, TableError> {
        let item = self.table.get(stock_key(sku)).await?;
        item.as_ref().map(stock).transpose()
    }

    /// The stocks of many skus, strongly consistent, but each at its own moment; unknown skus are left
    /// out.
    ///
    /// # Errors
    ///
    /// As [`StockStore::get`].
    pub async fn get_many(&self, skus: &[Sku]) -> Result<HashMap<Sku, Stock>, TableError> {
        let distinct: BTreeSet<&Sku> = skus.iter().collect();
        let keys = distinct.into_iter().map(stock_key).collect();
        let items = self.table.get_many(keys).await?;
        let stocks = items.iter().map(stock);
        stocks
            .map(|stock| stock.map(|stock| (stock.sku.clone(), stock)))
            .collect()
    }

    /// Writes what a person made of a stock, if the stored one is the version before `next`, with the
    /// event that tells of it and with `also`, the answer to the request.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails, or refuses `also` alone.
    pub async fn save(
        &self,
        next: &Stock,
        event: &Event,
        also: Option<TransactWriteItem>,
    ) -> Result<Write, TableError> {
        let update = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(stock_key(&next.sku)))
            .condition_expression("#version = :expected")
            .update_expression(
                "SET available = :available, received = :received, #version = :version",
            )
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":expected", number(next.version.saturating_sub(1)))
            .expression_attribute_values(":available", number(next.available))
            .expression_attribute_values(":received", number(next.received))
            .expression_attribute_values(":version", number(next.version));
        let own = vec![built(update)?, events::append(&self.table, event)?];
        let count = own.len();
        let writes = own.into_iter().chain(also).collect();
        match self.table.transact(writes).await? {
            Transaction::Done => Ok(Write::Done),
            // The transaction may have been done by an earlier try of it.
            Transaction::Refused(_) if events::is_appended(&self.table, event).await? => {
                Ok(Write::Done)
            }
            Transaction::Refused(refusals) if refusals.iter().any(|refusal| refusal.at < count) => {
                Ok(Write::Conflict)
            }
            Transaction::Refused(_) => Err(TableError::claim_lost()),
        }
    }

    /// Up to `limit` of a stock's own events after the version `after`, oldest first: what people did.
    /// Moves are told by the events of their orders.
    ///
    /// # Errors
    ///
    /// As [`StockStore::get`].
    pub async fn events(
        &self,
        sku: &Sku,
        after: u64,
        limit: i32,
    ) -> Result<Vec<Event>, TableError> {
        events::list(&self.table, Aggregate::Stock, sku.as_str(), after, limit).await
    }
}

#[cfg(test)]
mod tests;
