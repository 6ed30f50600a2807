//! Skus, stock and moves of it.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Most characters of a sku.
pub const MOST_SKU: usize = 64;

/// Most units of a sku that an order may have, and that a person may set at once.
pub const MOST_QUANTITY: u32 = 1_000_000;

/// Names an item of stock: 1 to 64 of `A–Z a–z 0–9 . _ -`, case kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

/// A text that cannot be a sku.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidSku;

impl Sku {
    /// The sku as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = InvalidSku;

    fn from_str(text: &str) -> Result<Self, InvalidSku> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=MOST_SKU).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSku)
        }
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidSku;

    fn try_from(text: String) -> Result<Self, InvalidSku> {
        text.parse()
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

impl Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The stock of a sku, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Whose stock.
    pub sku: Sku,
    /// What can be reserved.
    pub available: u64,
    /// What orders hold that are not paid yet.
    pub reserved: u64,
    /// What paid orders have taken.
    pub sold: u64,
    /// What ever came in, less what people took out: `available + reserved + sold`.
    pub received: u64,
    /// Changes so far.
    pub version: u64,
}

/// Where an order moves units of a sku.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From available to reserved.
    Reserve,
    /// From reserved back to available.
    Release,
    /// From reserved to sold.
    Sell,
    /// From sold back to available.
    Restock,
}

/// Units of a sku that an order moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Of which sku.
    pub sku: Sku,
    /// How many, from 1.
    pub quantity: u32,
    /// From where to where.
    pub direction: Direction,
}
