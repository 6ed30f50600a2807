//! What the handlers of the order API work with.

use shared::{
    catalog::product::store::ProductStore,
    customers::store::CustomerStore,
    orders::{
        model::Order,
        store::OrderStore,
        tax::{InvalidTaxTable, TaxTable},
    },
    platform::{
        aws::Connection,
        caller::{Caller, Group},
        clock::Clock,
        config::{CommerceTable, ConfigError, CursorKey, OrderSaga, StoreCurrency, TaxRates},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
        telemetry,
    },
};

use super::{execution::Executions, problem::no_order};

/// How long an answer waits for the state machine to begin: an order that it does not begin with in
/// time is due to be looked at by itself.
const BEGIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The orders.
    pub orders: OrderStore,
    /// What can be bought.
    pub catalog: ProductStore,
    /// Who buys.
    pub customers: CustomerStore,
    /// The executions of the state machine.
    pub executions: Executions,
    /// The currency that orders are paid in.
    pub currency: StoreCurrency,
    /// The tax rates.
    pub taxes: TaxTable,
    /// Tells the time.
    pub clock: Clock,
    /// Numbers orders and refunds.
    pub random: Random,
    /// Signs cursors.
    pub cursors: CursorKey,
    /// Remembers answers by their idempotency key.
    pub idempotency: Idempotency,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing or wrong.
    pub fn from_env() -> Result<Self, ConfigError> {
        let connection = Connection::from_env()?;
        let dynamodb = connection.dynamodb();
        let table = CommerceTable::from_env()?;
        let name = || table.as_str().to_owned();
        let taxes = TaxRates::from_env()?.as_str().parse();
        Ok(Self {
            orders: OrderStore::new(dynamodb.clone(), name()),
            catalog: ProductStore::new(dynamodb.clone(), name()),
            customers: CustomerStore::new(dynamodb.clone(), name()),
            executions: Executions::new(connection.step_functions(), OrderSaga::from_env()?),
            currency: StoreCurrency::from_env()?,
            taxes: taxes.map_err(|_: InvalidTaxTable| ConfigError::InvalidVariable {
                name: "TAX_RATES",
                reason: "needs a table of tax rates as JSON, each class once in a place",
            })?,
            clock: Clock::system(),
            random: Random::system(),
            cursors: CursorKey::from_env()?,
            idempotency: Idempotency::new(dynamodb, name(), Clock::system(), Random::system()),
        })
    }

    /// The order that a path names, for its customer or an admin.
    ///
    /// # Errors
    ///
    /// A 404 problem when there is none or it is another customer's, 503 when the table is down.
    pub async fn order(&self, caller: &Caller, id: &str) -> Result<Order, Problem> {
        let id = id.parse().map_err(|_| no_order())?;
        let order = self.orders.get(&id).await?;
        let may = |order: &Order| {
            order.customer == caller.sub() || caller.groups().contains(&Group::Admin)
        };
        order.filter(may).ok_or_else(no_order)
    }

    /// Has the state machine begin with what `order` waits for, if it can be had now. Where it cannot,
    /// the order is found by when it is due.
    pub async fn begin(&self, order: &Order) {
        let begun = tokio::time::timeout(BEGIN, self.executions.begin(order)).await;
        let error = match begun {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => telemetry::chain(&error),
            Err(late) => telemetry::chain(&late),
        };
        tracing::warn!(error, order_id = order.id.as_str(), "execution not begun");
    }
}
