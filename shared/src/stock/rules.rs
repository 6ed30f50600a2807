//! What moves and corrections do to a stock.

use super::model::{Direction, MOST_QUANTITY, Stock};

/// Why a stock cannot change so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// There are not as many units where they are to be taken from.
    #[error("only {left} units are there")]
    Short {
        /// How many there are.
        left: u64,
    },
    /// More than a stock may hold.
    #[error("a stock may have at most {MOST_QUANTITY} available units")]
    TooMany,
}

/// The stock after `quantity` units have moved.
///
/// # Errors
///
/// [`StockError::Short`] when there are fewer to be moved.
pub fn moved(mut stock: Stock, direction: Direction, quantity: u32) -> Result<Stock, StockError> {
    let Stock {
        available,
        reserved,
        sold,
        ..
    } = &mut stock;
    let (from, to) = match direction {
        Direction::Reserve => (available, reserved),
        Direction::Release => (reserved, available),
        Direction::Sell => (reserved, sold),
        Direction::Restock => (sold, available),
    };
    let left = *from;
    *from = left
        .checked_sub(u64::from(quantity))
        .ok_or(StockError::Short { left })?;
    *to += u64::from(quantity);
    stock.version += 1;
    Ok(stock)
}

/// The stock with `available` units to be had; what was received changes by as much.
///
/// # Errors
///
/// [`StockError::TooMany`] above [`MOST_QUANTITY`].
pub fn set(stock: Stock, available: u64) -> Result<Stock, StockError> {
    if available > u64::from(MOST_QUANTITY) {
        return Err(StockError::TooMany);
    }
    Ok(with_available(stock, available))
}

const fn with_available(mut stock: Stock, available: u64) -> Stock {
    stock.available = available;
    stock.received = stock.available + stock.reserved + stock.sold;
    stock.version += 1;
    stock
}

/// The stock with `delta` more (or fewer) units to be had.
///
/// # Errors
///
/// [`StockError::Short`] when there are fewer than are taken out, [`StockError::TooMany`] when adding
/// leads above [`MOST_QUANTITY`]; units that come back may have led there before.
pub fn adjusted(stock: Stock, delta: i64) -> Result<Stock, StockError> {
    let left = stock.available;
    let available = left
        .checked_add_signed(delta)
        .ok_or(StockError::Short { left })?;
    if delta > 0 {
        return set(stock, available);
    }
    Ok(with_available(stock, available))
}

/// Whether `available + reserved + sold = received`.
#[must_use]
pub const fn is_balanced(stock: &Stock) -> bool {
    stock.available + stock.reserved + stock.sold == stock.received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_that_has_more_than_it_may_can_be_lowered_and_not_raised() {
        let most = u64::from(MOST_QUANTITY);
        let none = Stock {
            sku: "TEA".parse().unwrap(),
            available: 0,
            reserved: 0,
            sold: 0,
            received: 0,
            version: 0,
        };
        let full = set(none, most).unwrap();
        let reserved = moved(full, Direction::Reserve, 500_000).unwrap();
        let full = set(reserved, most).unwrap();
        let over = moved(full, Direction::Release, 500_000).unwrap();
        assert_eq!(over.available, most + 500_000);
        assert_eq!(adjusted(over.clone(), 1), Err(StockError::TooMany));
        let lowered = adjusted(over, -1).unwrap();
        assert_eq!(lowered.available, most + 499_999);
        assert!(is_balanced(&lowered));
    }
}
