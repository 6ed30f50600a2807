//! Orders as the tests of every package need them.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::{
    event::{Created, Happened, Wishes, apply},
    model::{Line, Order, OrderId, Totals},
};
use crate::{
    address::model::Address,
    platform::money::{Currency, Money},
    testing::Table,
};

/// A table for orders, with their indexes.
#[must_use]
pub fn table(name: &str) -> Table {
    Table::new(name)
        .keys_index("orders_by_customer", "customer_pk", "customer_sk")
        .keys_index("orders_by_status", "status_pk", "status_sk")
        .keys_index("due", "due_pk", "due_sk")
}

/// Somewhere in Singapore.
#[must_use]
pub fn address() -> Address {
    Address {
        recipient: "Ada Tan".to_owned(),
        line1: "1 Orchard Road".to_owned(),
        line2: None,
        city: "Singapore".to_owned(),
        region: None,
        postal_code: Some("238823".to_owned()),
        country: "SG".to_owned(),
        phone: None,
    }
}

/// A new order's first event: `customer` buys units of skus at 10.00 each, 16 % tax on top, to be
/// paid by `method`.
///
/// # Panics
/// When a sku cannot be one.
#[must_use]
pub fn created(customer: &str, method: &str, items: &[(&str, u32)]) -> Happened {
    let currency: Currency = "SGD".parse().expect("it is a currency");
    let money = |cents: i64| {
        Money::parse(&Decimal::new(cents, 2).to_string(), currency).expect("it is an amount")
    };
    let line = |&(sku, quantity): &(&str, u32)| {
        let cents = 1_000 * i64::from(quantity);
        Line {
            sku: sku.parse().expect("it is a sku"),
            product_id: format!("product-{sku}"),
            name: format!("Product {sku}"),
            tax_class: "standard".to_owned(),
            tax_rate: "0.16".parse().expect("it is a rate"),
            quantity,
            unit_price: money(1_000),
            subtotal: money(cents),
            tax: money(cents * 16 / 100),
            total: money(cents * 116 / 100),
            refunded: 0,
        }
    };
    let cents = items
        .iter()
        .map(|(_, quantity)| 1_000 * i64::from(*quantity));
    let cents: i64 = cents.sum();
    Happened::Created(Box::new(Created {
        customer: customer.to_owned(),
        currency,
        lines: items.iter().map(line).collect(),
        totals: Totals {
            subtotal: money(cents),
            tax: money(cents * 16 / 100),
            total: money(cents * 116 / 100),
        },
        payment_method: method.to_owned(),
        private: Wishes {
            shipping_address: address(),
            billing_address: None,
            notes: Some("ring twice".to_owned()),
        },
    }))
}

/// The order that [`created`] makes, of the `n`th number of `at`'s day.
///
/// # Panics
/// When `happened` makes no order.
#[must_use]
pub fn order(n: u8, happened: &Happened, at: Timestamp) -> Order {
    let id = OrderId::new(at, [0, 0, 0, 0, n]);
    apply(None, &id, happened, at).expect("it makes an order")
}
