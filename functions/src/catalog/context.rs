//! What the handlers of the catalogue API work with.

use std::sync::Arc;

use jiff::SignedDuration;
use shared::{
    catalog::{
        category::{
            model::Category,
            store::CategoryStore,
            tree::{Place, Tree},
        },
        id::CategoryId,
        product::{
            model::Product,
            store::{GroupPrices, ProductStore},
        },
    },
    platform::{
        aws::Connection,
        cache::Cache,
        clock::Clock,
        config::{CommerceTable, ConfigError, CursorKey, StoreCurrency},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
    },
    stock::{model::Stock, store::StockStore},
};

use super::problem::{no_category, no_product, no_stock, tree_problem};

/// How long a warm function takes price statistics for what they were: answers made of them may be
/// kept for longer by whoever gets them.
const RECENT: SignedDuration = SignedDuration::from_secs(5);

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The tree of categories.
    pub categories: CategoryStore,
    /// Products and their lists.
    pub products: ProductStore,
    /// The stock of each sku.
    pub stocks: StockStore,
    /// The currency that prices are in.
    pub currency: StoreCurrency,
    /// Tells the time.
    pub clock: Clock,
    /// Names categories and products.
    pub random: Random,
    /// Signs cursors.
    pub cursors: CursorKey,
    /// Remembers answers by their idempotency key.
    pub idempotency: Idempotency,
    /// Price statistics as they were just now.
    pub prices: Cache<(), Arc<Vec<GroupPrices>>>,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing or wrong.
    pub fn from_env() -> Result<Self, ConfigError> {
        let dynamodb = Connection::from_env()?.dynamodb();
        let table = CommerceTable::from_env()?;
        let name = || table.as_str().to_owned();
        let clock = Clock::system();
        Ok(Self {
            categories: CategoryStore::new(dynamodb.clone(), name()),
            products: ProductStore::new(dynamodb.clone(), name()),
            stocks: StockStore::new(dynamodb.clone(), name()),
            currency: StoreCurrency::from_env()?,
            random: Random::system(),
            cursors: CursorKey::from_env()?,
            idempotency: Idempotency::new(dynamodb, name(), clock.clone(), Random::system()),
            prices: Cache::new(1, clock.clone()),
            clock,
        })
    }

    /// The tree of categories as it is now.
    ///
    /// # Errors
    ///
    /// A 503 problem when the table is down.
    pub async fn tree(&self) -> Result<Arc<Tree>, Problem> {
        self.categories.tree().await.map_err(tree_problem)
    }

    /// The statistics of every set of categories, as they were seconds ago at most.
    ///
    /// # Errors
    ///
    /// A 503 problem when the table is down.
    pub async fn group_prices(&self) -> Result<Arc<Vec<GroupPrices>>, Problem> {
        if let Some(prices) = self.prices.get(&()) {
            return Ok(prices);
        }
        let prices = Arc::new(self.products.prices().await?);
        self.prices.put((), Arc::clone(&prices), RECENT);
        Ok(prices)
    }

    /// The product that a path names, also one that is deleted or not active.
    ///
    /// # Errors
    ///
    /// A 404 problem when there is none, 503 when the table is down.
    pub async fn product(&self, id: &str) -> Result<Product, Problem> {
        let id = id.parse().map_err(|_| no_product())?;
        self.products.find(id).await?.ok_or_else(no_product)
    }

    /// The stock that a path names.
    ///
    /// # Errors
    ///
    /// A 404 problem when there is none, 503 when the table is down.
    pub async fn stock(&self, sku: &str) -> Result<Stock, Problem> {
        let sku = sku.parse().map_err(|_| no_stock())?;
        self.stocks.get(&sku).await?.ok_or_else(no_stock)
    }
}

/// The place of the category that a path names.
///
/// # Errors
///
/// A 404 problem when there is none.
pub fn place(tree: &Tree, id: &str) -> Result<Place, Problem> {
    let id: CategoryId = id.parse().map_err(|_| no_category())?;
    tree.find(id).ok_or_else(no_category)
}

/// The category that a path names.
///
/// # Errors
///
/// A 404 problem when there is none.
pub fn category(tree: &Tree, id: &str) -> Result<Category, Problem> {
    let id: CategoryId = id.parse().map_err(|_| no_category())?;
    tree.category(id).ok_or_else(no_category)
}
