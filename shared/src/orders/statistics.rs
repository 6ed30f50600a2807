//! What a customer's orders add up to.

use std::collections::BTreeMap;

use jiff::{civil::Date, tz::TimeZone};

use super::model::{Order, PaymentStanding, Status};
use crate::platform::money::{Currency, Money, MoneyError};

/// A number of orders and what they add up to, in each currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many orders.
    pub orders: u64,
    amounts: BTreeMap<Currency, Money>,
}

impl Sum {
    fn add(&mut self, amount: Money) -> Result<(), MoneyError> {
        let currency = amount.currency();
        let zero = Money::zero(currency).rounded();
        let sum = self.amounts.entry(currency).or_insert(zero);
        *sum = sum.checked_add(amount)?;
        self.orders += 1;
        Ok(())
    }

    /// The amounts, one in each currency.
    pub fn amounts(&self) -> impl Iterator<Item = Money> + '_ {
        self.amounts.values().copied()
    }
}

/// Orders by status, and what they came to when they were placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary(BTreeMap<Status, Sum>);

impl Summary {
    /// Counts an order.
    ///
    /// # Errors
    ///
    /// [`MoneyError::OutOfRange`] when the sum has too many digits.
    pub fn add(&mut self, order: &Order) -> Result<(), MoneyError> {
        let sum = self.0.entry(order.status).or_default();
        sum.add(order.totals.total)
    }

    /// The statuses that there are orders of, with their sums.
    pub fn by_status(&self) -> impl Iterator<Item = (Status, &Sum)> {
        self.0.iter().map(|(status, sum)| (*status, sum))
    }
}

/// Money that was taken and not given back, by the UTC month in which its order was placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending(BTreeMap<Date, Sum>);

impl Spending {
    /// Counts an order, if money was taken for it.
    ///
    /// # Errors
    ///
    /// [`MoneyError::OutOfRange`] when the sum has too many digits.
    pub fn add(&mut self, order: &Order) -> Result<(), MoneyError> {
        let taken = |standing| standing == PaymentStanding::Captured;
        let payment = order.payment.as_ref();
        let Some(payment) = payment.filter(|payment| taken(payment.standing)) else {
            return Ok(());
        };
        let month = order
            .created_at
            .to_zoned(TimeZone::UTC)
            .date()
            .first_of_month();
        let spent = payment.captured.checked_sub(payment.refunded)?;
        self.0.entry(month).or_default().add(spent)
    }

    /// What was spent in the month that begins on `first`.
    #[must_use]
    pub fn month(&self, first: Date) -> Sum {
        self.0.get(&first).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};

    use super::*;
    use crate::orders::{
        event::{CANCELLATION_REFUND, Happened, Reference, apply},
        testing,
    };

    fn order(at: &str) -> Order {
        let at: Timestamp = at.parse().unwrap();
        testing::order(1, &testing::created("u-1", "card", &[("A", 2)]), at)
    }

    fn paid(at: &str, refunded: Option<&str>) -> Order {
        let mut order = order(at);
        let amount = order.totals.total;
        let expires_at = order.created_at;
        let mut history = vec![
            Happened::Reserved { expires_at },
            Happened::PaymentStarted {
                expires_at,
                private: Reference {
                    reference: "p".into(),
                },
            },
            Happened::Paid { amount, lines: 1 },
        ];
        history.extend(refunded.map(|refunded| Happened::Refunded {
            refund_id: CANCELLATION_REFUND.to_owned(),
            amount: Money::parse(refunded, order.currency).unwrap(),
            lines: Some(1),
        }));
        for happened in history {
            let (id, at) = (order.id.clone(), order.created_at);
            order = apply(Some(order), &id, &happened, at).unwrap();
        }
        order
    }

    fn shown(sum: &Sum) -> (u64, Vec<String>) {
        (
            sum.orders,
            sum.amounts().map(|money| money.to_string()).collect(),
        )
    }

    #[test]
    fn a_summary_counts_each_status_and_each_currency_apart() {
        let mut euro = order("2026-11-20T00:00:00Z");
        euro.totals.total = Money::parse("5", "EUR".parse().unwrap()).unwrap();
        let mut cancelled = order("2026-11-20T00:00:00Z");
        cancelled.status = Status::Cancelled;
        let mut summary = Summary::default();
        for order in [order("2026-11-20T00:00:00Z"), euro, cancelled] {
            summary.add(&order).unwrap();
        }
        let by_status: Vec<_> = summary
            .by_status()
            .map(|(status, sum)| (status, shown(sum)))
            .collect();
        let sgd = "23.20 SGD".to_owned();
        assert_eq!(
            by_status,
            [
                (
                    Status::Pending,
                    (2, vec!["5.00 EUR".to_owned(), sgd.clone()])
                ),
                (Status::Cancelled, (1, vec![sgd])),
            ]
        );
    }

    #[test]
    fn spending_is_what_was_taken_and_not_given_back_in_the_month_of_the_order() {
        let mut spending = Spending::default();
        for order in [
            paid("2026-10-31T23:59:59.999Z", None),
            paid("2026-11-01T00:00:00Z", Some("3.20")),
            paid("2026-11-30T12:00:00Z", None),
            paid("2026-11-30T12:00:00Z", Some("23.20")),
            order("2026-11-20T00:00:00Z"),
        ] {
            spending.add(&order).unwrap();
        }
        let month = |month| shown(&spending.month(date(2026, month, 1)));
        assert_eq!(month(10), (1, vec!["23.20 SGD".to_owned()]));
        assert_eq!(month(11), (3, vec!["43.20 SGD".to_owned()]));
        assert_eq!(month(12), (0, Vec::new()));
    }
}
