//! Revenue from orders in the `Sales` table: the only code that knows its keys and expressions.
//!
//! | item | pk | sk |
//! |---|---|---|
//! | what orders brought in on a day | `ORDERTOTAL#{year}` | `{mm-dd}` |
//! | an event that was counted | `ORDERREVENUE#{order}` | `{sequence}` |

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    Client,
    types::{Put, TransactWriteItem, Update},
};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::model::Entry;
use crate::{
    platform::table::{Item, Table, TableError, Transaction, key, number, parsed, string, text},
    sales::revenue::DayTotal,
};

/// Events counted in one transaction, which takes 100 writes.
const EVENTS_AT_ONCE: usize = 90;

/// Revenue from orders.
#[derive(Debug)]
pub struct OrderRevenueStore {
    table: Table,
}

fn partition(year: i16) -> String {
    format!("ORDERTOTAL#{year:04}")
}

fn month_day(date: Date) -> String {
    format!("{:02}-{:02}", date.month(), date.day())
}

fn total(year: i16, item: &Item) -> Result<DayTotal, TableError> {
    let of = "order total";
    let date = format!("{year:04}-{}", string(item, of, "sk")?).parse();
    Ok(DayTotal {
        date: date.map_err(|_| TableError::malformed(of, "sk"))?,
        revenue: parsed(item, of, "revenue")?,
        rows: parsed(item, of, "rows")?,
        orders: parsed(item, of, "orders")?,
    })
}

impl OrderRevenueStore {
    /// Revenue from orders in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Counts those of `entries` that have not been counted, all of the day `date`. After an error some
    /// may have been counted; the call can be repeated.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn add(&self, date: Date, entries: &[&Entry]) -> Result<(), TableError> {
        let distinct: BTreeMap<_, _> = entries
            .iter()
            .map(|entry| ((&entry.order, entry.sequence), *entry))
            .collect();
        let distinct: Vec<&Entry> = distinct.into_values().collect();
        for some in distinct.chunks(EVENTS_AT_ONCE) {
            let mut left = some.to_vec();
            while !left.is_empty() {
                match self.table.transact(self.counting(date, &left)?).await? {
                    Transaction::Done => break,
                    Transaction::Refused(refused) => {
                        let mut place = 0..;
                        left.retain(|_| {
                            let place = place.next();
                            refused.iter().all(|refusal| Some(refusal.at) != place)
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The writes that count `entries`: a marker for each, in order, and their sum.
    fn counting(
        &self,
        date: Date,
        entries: &[&Entry],
    ) -> Result<Vec<TransactWriteItem>, TableError> {
        let unbuilt = |_| TableError::malformed("order total", "pk");
        let mut writes = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            let pk = format!("ORDERREVENUE#{}", entry.order);
            let marker = Put::builder()
                .table_name(self.table.name())
                .set_item(Some(key(pk, entry.sequence.to_string())))
                .condition_expression("attribute_not_exists(pk)")
                .build()
                .map_err(unbuilt)?;
            writes.push(TransactWriteItem::builder().put(marker).build());
        }
        let revenue: Decimal = entries.iter().map(|entry| entry.revenue).sum();
        let rows: i64 = entries.iter().map(|entry| entry.rows).sum();
        let orders: i64 = entries.iter().map(|entry| entry.orders).sum();
        let sum = Update::builder()
            .table_name(self.table.name())
            .set_key(Some(key(partition(date.year()), month_day(date))))
            .update_expression("ADD revenue :revenue, #rows :rows, orders :orders")
            .expression_attribute_names("#rows", "rows")
            .expression_attribute_values(":revenue", number(revenue.normalize()))
            .expression_attribute_values(":rows", number(rows))
            .expression_attribute_values(":orders", number(orders))
            .build()
            .map_err(unbuilt)?;
        writes.push(TransactWriteItem::builder().update(sum).build());
        Ok(writes)
    }

    /// What orders brought in on the days from `start` to `end`, both inclusive: one page a calendar
    /// year. A day may have refunds and no orders; where it has more cancellations than orders, it has
    /// less than none.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn totals(&self, start: Date, end: Date) -> Result<Vec<DayTotal>, TableError> {
        let mut totals = Vec::new();
        for year in start.year()..=end.year() {
            let first = if year == start.year() {
                month_day(start)
            } else {
                "01-01".to_owned()
            };
            let last = if year == end.year() {
                month_day(end)
            } else {
                "12-31".to_owned()
            };
            let query = self
                .table
                .query()
                .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
                .expression_attribute_values(":pk", text(partition(year)))
                .expression_attribute_values(":first", text(first))
                .expression_attribute_values(":last", text(last))
                .consistent_read(true);
            for item in self.table.pages(query).await? {
                totals.push(total(year, &item)?);
            }
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, Database};

    const DAY: Date = date(2026, 11, 20);

    async fn start() -> (Database, OrderRevenueStore) {
        let database = Database::start(&[testing::Table::new("Sales")]).await;
        let store = OrderRevenueStore::new(database.client(), "Sales".into());
        (database, store)
    }

    /// The event `n`: a payment, every third a cancellation.
    fn entry(n: u64) -> Entry {
        let is_refund = n % 3 == 2;
        let amount = Decimal::new(i64::try_from(n).unwrap() * 7 + 1, 2);
        Entry {
            order: format!("ORD-20261120-{:08}", n / 3),
            sequence: n,
            date: DAY,
            revenue: if is_refund { -amount } else { amount },
            orders: if is_refund { -1 } else { 1 },
            rows: i64::try_from(n % 5 + 1).unwrap() * if is_refund { -1 } else { 1 },
        }
    }

    fn sum<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> DayTotal {
        let mut sum = DayTotal {
            date: DAY,
            revenue: Decimal::ZERO,
            rows: 0,
            orders: 0,
        };
        for entry in entries {
            sum.revenue += entry.revenue;
            sum.rows += entry.rows;
            sum.orders += entry.orders;
        }
        sum
    }

    #[tokio::test]
    async fn sums_are_exact_and_each_day_and_year_has_its_own() {
        let (_database, store) = start().await;
        let amounts = [
            (date(2025, 12, 31), "0.1"),
            (DAY, "0.1"),
            (DAY, "0.2"),
            (DAY, "-0.30"),
        ];
        for (n, (day, amount)) in (0..).zip(amounts) {
            let entry = Entry {
                revenue: amount.parse().unwrap(),
                date: day,
                ..entry(n)
            };
            store.add(day, &[&entry]).await.unwrap();
        }
        let totals = store
            .totals(date(2025, 1, 1), date(2026, 11, 20))
            .await
            .unwrap();
        let shown: Vec<_> = totals
            .iter()
            .map(|day| (day.date.to_string(), day.revenue.to_string()))
            .collect();
        assert_eq!(
            shown,
            [("2025-12-31", "0.1"), ("2026-11-20", "0")].map(|(a, b)| (a.into(), b.into()))
        );
        assert_eq!(
            store
                .totals(DAY.tomorrow().unwrap(), date(2027, 1, 1))
                .await
                .unwrap(),
            []
        );
    }

    #[tokio::test]
    async fn more_events_than_a_transaction_takes_are_counted_once_each() {
        let (_database, store) = start().await;
        let entries: Vec<Entry> = (0..200).map(entry).collect();
        let all: Vec<&Entry> = entries.iter().chain(&entries).collect();
        store.add(DAY, &all[50..120]).await.unwrap();
        let (a, b) = tokio::join!(store.add(DAY, &all), store.add(DAY, &all));
        a.and(b).unwrap();
        assert_eq!(store.totals(DAY, DAY).await.unwrap(), [sum(&entries)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn order_repetition_and_splitting_do_not_change_the_totals(
            deliveries in proptest::collection::vec(proptest::collection::vec(0..12_u64, 1..8), 1..8)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let totals = runtime.block_on(async {
                let (_database, store) = start().await;
                for delivery in &deliveries {
                    let entries: Vec<Entry> = delivery.iter().map(|n| entry(*n)).collect();
                    store.add(DAY, &entries.iter().collect::<Vec<_>>()).await.unwrap();
                }
                store.totals(DAY, DAY).await.unwrap()
            });
            let distinct: std::collections::BTreeSet<u64> = deliveries.concat().into_iter().collect();
            let entries: Vec<Entry> = distinct.into_iter().map(entry).collect();
            prop_assert_eq!(totals, [sum(&entries)]);
        }
    }
}
