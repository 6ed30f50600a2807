//! Orders, stock and money of the deployed stack, as the table has them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::Client;
use shared::{
    orders::{
        invariants::{Books, Charge, of_log, violations},
        model::{Order, OrderId},
        rules,
        store::OrderStore,
    },
    stock::{model::Stock, store::StockStore},
};

use super::{bucket::connection, charge::charge, stack::variable};

/// How long orders may take to come to rest, one after the other if need be.
const PATIENCE: Duration = Duration::from_mins(5);

/// The table that the stack keeps orders in.
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    /// The stack's own.
    pub(crate) fn of_the_stack() -> Self {
        Self {
            client: connection().dynamodb(),
            name: variable("MILLRACE_COMMERCE_TABLE"),
        }
    }

    /// Its orders.
    pub(crate) fn orders(&self) -> OrderStore {
        OrderStore::new(self.client.clone(), self.name.clone())
    }

    /// The orders, once nothing has to be done with any of them by itself.
    pub(crate) async fn at_rest(&self, ids: &BTreeSet<OrderId>) -> Vec<Order> {
        let (store, begun) = (self.orders(), Instant::now());
        let mut rested = Vec::new();
        for id in ids {
            loop {
                let order = store.get(id).await.unwrap().expect("it was taken");
                if rules::is_settled(&order) {
                    rested.push(order);
                    break;
                }
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{order:?} does not come to rest"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        rested
    }

    /// The stock of a sku.
    pub(crate) async fn stock(&self, sku: &str) -> Stock {
        let stocks = StockStore::new(self.client.clone(), self.name.clone());
        let stock = stocks.get(&sku.parse().unwrap()).await.unwrap();
        stock.expect("the product has stock")
    }

    /// What the sandbox provider says of the payments of `orders`.
    pub(crate) async fn charges(&self, orders: &[Order]) -> Vec<Charge> {
        let mut charges = Vec::new();
        for order in orders {
            charges.extend(charge(&self.client, &self.name, order).await);
        }
        charges
    }

    /// Checks every invariant of orders that alone have moved `skus`, and of their events.
    pub(crate) async fn check(&self, orders: &[Order], skus: &[&str]) {
        let mut stocks = Vec::new();
        for sku in skus {
            stocks.push(self.stock(sku).await);
        }
        let books = Books {
            orders,
            stocks: &stocks,
            charges: &self.charges(orders).await,
            running: &[],
            settled: true,
        };
        assert_eq!(violations(&books), []);
        for order in orders {
            let events = self.orders().events(&order.id, 0, 100).await.unwrap();
            assert_eq!(of_log(order, &events).unwrap(), [], "{events:?}");
        }
    }
}
