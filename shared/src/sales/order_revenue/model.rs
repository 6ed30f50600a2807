//! What an event of an order adds to revenue.

use jiff::{civil::Date, tz::TimeZone};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::{
    events::model::{Aggregate, Event},
    platform::money::{Currency, Money},
};

/// What one event adds to a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of which order.
    pub order: String,
    /// Which of the order's events.
    pub sequence: u64,
    /// The day it happened on (UTC).
    pub date: Date,
    /// What was paid, or refunded as a negative amount.
    pub revenue: Decimal,
    /// Orders paid: 1, 0 for a refund, -1 where the refund cancels the order.
    pub orders: i64,
    /// Lines of them.
    pub rows: i64,
}

/// Why an event adds nothing.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It is none of those that revenue comes from.
    #[error("event {0} has no revenue")]
    Kind(String),
    /// Its particulars are not those of such an event.
    #[error("event of an order lacks its amount")]
    Data(#[from] serde_json::Error),
    /// The amount is negative.
    #[error("amount of an order is negative")]
    Negative,
    /// The amount is of a currency that revenue is not counted in.
    #[error("revenue is counted in SGD, not {0}")]
    Currency(Currency),
}

#[derive(Deserialize)]
struct Paid {
    amount: Money,
    lines: u32,
}

#[derive(Deserialize)]
struct Refunded {
    amount: Money,
    /// Those of the order that is cancelled by it.
    lines: Option<u32>,
}

impl TryFrom<&Event> for Entry {
    type Error = EntryError;

    fn try_from(event: &Event) -> Result<Self, EntryError> {
        let (paid, sign, lines) = match event.kind.as_str() {
            "order.paid" => {
                let Paid { amount, lines } = Paid::deserialize(&event.data)?;
                (amount, 1, Some(lines))
            }
            "order.refunded" => {
                let Refunded { amount, lines } = Refunded::deserialize(&event.data)?;
                (amount, -1, lines)
            }
            _ => return Err(EntryError::Kind(event.kind.clone())),
        };
        if event.aggregate != Aggregate::Order {
            return Err(EntryError::Kind(event.kind.clone()));
        }
        if paid.currency() != Currency::SGD {
            return Err(EntryError::Currency(paid.currency()));
        }
        let amount = paid.amount();
        if amount < Decimal::ZERO {
            return Err(EntryError::Negative);
        }
        Ok(Self {
            order: event.aggregate_id.clone(),
            sequence: event.sequence,
            date: event.at.to_zoned(TimeZone::UTC).date(),
            revenue: amount * Decimal::from(sign),
            orders: sign * i64::from(lines.is_some()),
            rows: sign * i64::from(lines.unwrap_or(0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};
    use serde_json::{Value, json};

    use super::*;

    /// A millisecond before midnight.
    const LATE: Timestamp = Timestamp::constant(1_795_219_199, 999_000_000);

    fn event(aggregate: Aggregate, kind: &str, data: Value) -> Event {
        Event::new(aggregate, "ORD-20261120-0000000A", 7, kind, LATE, data)
    }

    fn entry(kind: &str, data: Value) -> Result<Entry, String> {
        Entry::try_from(&event(Aggregate::Order, kind, data)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_payment_adds_and_a_refund_takes_away_on_their_utc_day() {
        let amount = json!({"amount": "34.88", "currency": "SGD"});
        let paid = entry("order.paid", json!({"amount": amount, "lines": 3})).unwrap();
        assert_eq!((paid.date, paid.sequence), (date(2026, 11, 20), 7));
        assert_eq!(
            (paid.revenue, paid.orders, paid.rows),
            (Decimal::new(3488, 2), 1, 3)
        );
        let refunded = entry(
            "order.refunded",
            json!({"refund_id": "r", "amount": amount}),
        )
        .unwrap();
        assert_eq!(
            (refunded.revenue, refunded.orders, refunded.rows),
            (Decimal::new(-3488, 2), 0, 0)
        );
        let cancelled = json!({"refund_id": "cancellation", "amount": amount, "lines": 3});
        let cancelled = entry("order.refunded", cancelled).unwrap();
        assert_eq!(
            (cancelled.revenue, cancelled.orders, cancelled.rows),
            (Decimal::new(-3488, 2), -1, -3),
            "as if it had never been paid"
        );
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let paid = |amount: &str, currency: &str| {
            let amount = json!({"amount": amount, "currency": currency});
            entry("order.paid", json!({"amount": amount, "lines": 1}))
        };
        assert_eq!(
            paid("-1", "SGD").unwrap_err(),
            "amount of an order is negative"
        );
        assert_eq!(
            paid("1", "USD").unwrap_err(),
            "revenue is counted in SGD, not USD"
        );
        assert_eq!(
            entry("order.paid", json!({"lines": 1})).unwrap_err(),
            "event of an order lacks its amount"
        );
        assert_eq!(
            entry("order.shipped", json!({})).unwrap_err(),
            "event order.shipped has no revenue"
        );
        let odd = event(
            Aggregate::Stock,
            "order.refunded",
            json!({"amount": {"amount": "1", "currency": "SGD"}}),
        );
        assert!(matches!(Entry::try_from(&odd), Err(EntryError::Kind(_))));
    }
}
