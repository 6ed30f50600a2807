//! What an order costs: each line's price and tax, rounded half-up to the minor unit, and their sums.

use rust_decimal::Decimal;

use super::{
    model::{Line, Totals},
    tax::TaxRate,
};
use crate::{
    platform::money::{Currency, Money, MoneyError},
    stock::model::Sku,
};

/// What no amount of an order may reach: money in text has at most 15 digits before the point.
const TOO_MUCH: u64 = 1_000_000_000_000_000;

/// What is bought of one sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which sku.
    pub sku: Sku,
    /// The product.
    pub product_id: String,
    /// The product's name.
    pub name: String,
    /// The product's tax class.
    pub tax_class: String,
    /// The rate that applies.
    pub tax_rate: TaxRate,
    /// Units, from 1.
    pub quantity: u32,
    /// Price of a unit before tax.
    pub unit_price: Money,
}

/// The line of an order that an item becomes.
///
/// # Errors
///
/// [`MoneyError::OutOfRange`] when it would cost 10¹⁵ or more.
pub fn line(item: Item) -> Result<Line, MoneyError> {
    let exact = item.unit_price.checked_mul(item.quantity.into())?;
    let subtotal = in_range(exact.rounded())?;
    let tax = subtotal.checked_mul(item.tax_rate.decimal())?.rounded();
    Ok(Line {
        total: in_range(subtotal.checked_add(tax)?)?,
        sku: item.sku,
        product_id: item.product_id,
        name: item.name,
        tax_class: item.tax_class,
        tax_rate: item.tax_rate,
        quantity: item.quantity,
        unit_price: item.unit_price,
        subtotal,
        tax,
        refunded: 0,
    })
}

/// The sums of `lines`.
///
/// # Errors
///
/// [`MoneyError::CurrencyMismatch`] when a line is in another currency, [`MoneyError::OutOfRange`]
/// when they come to 10¹⁵ or more.
pub fn totals(currency: Currency, lines: &[Line]) -> Result<Totals, MoneyError> {
    let sum = |of: fn(&Line) -> Money| {
        let zero = Money::zero(currency).rounded();
        let sum = lines
            .iter()
            .try_fold(zero, |sum, line| sum.checked_add(of(line)));
        sum.and_then(in_range)
    };
    Ok(Totals {
        subtotal: sum(|line| line.subtotal)?,
        tax: sum(|line| line.tax)?,
        total: sum(|line| line.total)?,
    })
}

fn in_range(amount: Money) -> Result<Money, MoneyError> {
    if amount.amount() < Decimal::from(TOO_MUCH) {
        Ok(amount)
    } else {
        Err(MoneyError::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(sku: &str, price: &str, quantity: u32, rate: &str) -> Item {
        Item {
            sku: sku.parse().unwrap(),
            product_id: "p".into(),
            name: "Name".into(),
            tax_class: "standard".into(),
            tax_rate: rate.parse().unwrap(),
            quantity,
            unit_price: Money::parse(price, Currency::SGD).unwrap(),
        }
    }

    fn costs(price: &str, quantity: u32, rate: &str) -> Result<[String; 3], MoneyError> {
        let line = line(item("a", price, quantity, rate))?;
        Ok([line.subtotal, line.tax, line.total].map(|money| money.amount().to_string()))
    }

    #[test]
    fn a_line_is_rounded_half_up_to_the_minor_unit() {
        for (price, quantity, rate, expected) in [
            ("10.00", 3, "0.16", ["30.00", "4.80", "34.80"]),
            ("0.05", 1, "0.1", ["0.05", "0.01", "0.06"]),
            ("0.04", 1, "0.1", ["0.04", "0.00", "0.04"]),
            ("0.125", 1, "0", ["0.13", "0.00", "0.13"]),
            ("0.125", 2, "0.16", ["0.25", "0.04", "0.29"]),
            ("0", 5, "0.16", ["0.00", "0.00", "0.00"]),
            (
                "19.99",
                1_000_000,
                "0.09",
                ["19990000.00", "1799100.00", "21789100.00"],
            ),
        ] {
            assert_eq!(
                costs(price, quantity, rate),
                Ok(expected.map(str::to_owned)),
                "{quantity} × {price} at {rate}"
            );
        }
    }

    #[test]
    fn what_money_cannot_hold_is_refused() {
        for (price, quantity, rate, fits) in [
            ("999999999.99", 1_000_000, "0", true),
            ("1000000000.00", 1_000_000, "0", false),
            ("999999999.99", 1_000_000, "0.01", false),
            ("999999999999999", 1_000_000, "1", false),
        ] {
            assert_eq!(costs(price, quantity, rate).is_ok(), fits, "{price}");
        }
        let half = line(item("a", "500000000", 1_000_000, "0")).unwrap();
        let sum = totals(Currency::SGD, &[half.clone(), half]);
        assert_eq!(sum, Err(MoneyError::OutOfRange));
    }

    #[test]
    fn lines_of_another_currency_are_refused() {
        let line = line(item("a", "1", 1, "0")).unwrap();
        let euro = "EUR".parse().unwrap();
        let mismatch = Err(MoneyError::CurrencyMismatch(euro, Currency::SGD));
        assert_eq!(totals(euro, &[line]), mismatch);
    }

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let one = (0_i64..1_000_000_000, 1_u32..=1_000_000, 0_u32..=1_000_000);
        let item = one.prop_map(|(cents, quantity, rate)| {
            let (cents, rate) = (Decimal::new(cents, 2), Decimal::new(rate.into(), 6));
            item("a", &cents.to_string(), quantity, &rate.to_string())
        });
        proptest::collection::vec(item, 1..=45)
    }

    proptest! {
        #[test]
        fn totals_are_the_sums_of_the_lines_in_any_order(items in items(), turn in 0_usize..45) {
            let mut lines: Vec<Line> = items.into_iter().map(line).collect::<Result<_, _>>().unwrap();
            let before = totals(Currency::SGD, &lines).unwrap();
            prop_assert_eq!(before.subtotal.checked_add(before.tax).unwrap(), before.total);
            let sum: Decimal = lines.iter().map(|line| line.total.amount()).sum();
            prop_assert_eq!(sum, before.total.amount());
            let turn = turn % lines.len();
            lines.rotate_left(turn);
            lines.reverse();
            prop_assert_eq!(totals(Currency::SGD, &lines).unwrap(), before);
        }

        #[test]
        fn every_amount_is_within_half_a_minor_unit_of_the_exact_one(items in items()) {
            let half = Decimal::new(5, 3);
            for item in items {
                let line = line(item).unwrap();
                let tax = line.subtotal.amount() * line.tax_rate.decimal();
                prop_assert!((line.tax.amount() - tax).abs() <= half);
                prop_assert_eq!(line.total.rounded(), line.total);
                let stored = serde_json::to_string(&line).unwrap();
                prop_assert_eq!(serde_json::from_str::<Line>(&stored).unwrap(), line);
            }
        }
    }
}
