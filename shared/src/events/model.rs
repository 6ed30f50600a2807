//! An event of an aggregate.

use std::{
    fmt::{self, Display},
    str::FromStr,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::platform::telemetry::{CorrelationId, TraceContext, TraceParent};

/// A kind of things that events happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// A category of the catalogue.
    Category,
    /// A customer's profile.
    Customer,
    /// An order.
    Order,
    /// A product of the catalogue.
    Product,
    /// The stock of a sku.
    Stock,
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Category,
        Self::Customer,
        Self::Order,
        Self::Product,
        Self::Stock,
    ];

    /// The word for it, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Customer => "customer",
            Self::Order => "order",
            Self::Product => "product",
            Self::Stock => "stock",
        }
    }

    /// The word for the part of the system it belongs to, by which listeners choose.
    #[must_use]
    pub const fn domain(self) -> &'static str {
        match self {
            Self::Category | Self::Product => "catalog",
            Self::Customer => "customers",
            Self::Order => "orders",
            Self::Stock => "stock",
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of aggregate")]
pub struct NotAnAggregate;

impl FromStr for Aggregate {
    type Err = NotAnAggregate;

    fn from_str(word: &str) -> Result<Self, NotAnAggregate> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or(NotAnAggregate)
    }
}

/// Something that happened to an aggregate.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of thing it happened to.
    pub aggregate: Aggregate,
    /// Which one.
    pub aggregate_id: String,
    /// The version that the aggregate has by it, from 1.
    pub sequence: u64,
    /// What happened, such as `order.confirmed`.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// The particulars, for everybody who listens.
    pub data: Value,
    /// Particulars that stay in the table: addresses, notes, names.
    pub private: Option<Value>,
    /// The request that led to it.
    pub correlation_id: Option<CorrelationId>,
    /// The request's place in a trace.
    pub trace_parent: Option<TraceParent>,
}

impl Event {
    /// An event that no request is known for.
    pub fn new(
        aggregate: Aggregate,
        aggregate_id: impl Into<String>,
        sequence: u64,
        kind: impl Into<String>,
        at: Timestamp,
        data: Value,
    ) -> Self {
        Self {
            aggregate,
            aggregate_id: aggregate_id.into(),
            sequence,
            kind: kind.into(),
            at,
            data,
            private: None,
            correlation_id: None,
            trace_parent: None,
        }
    }

    /// With particulars that stay in the table.
    #[must_use]
    pub fn with_private(mut self, private: Value) -> Self {
        self.private = Some(private);
        self
    }

    /// With the request that led to it.
    #[must_use]
    pub fn with_trace(mut self, trace: &TraceContext) -> Self {
        self.correlation_id = Some(trace.correlation_id.clone());
        self.trace_parent.clone_from(&trace.trace_parent);
        self
    }

    /// The request that led to it, if one is known: what comes of the event belongs to it too.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        Some(TraceContext {
            correlation_id: self.correlation_id.clone()?,
            trace_parent: self.trace_parent.clone(),
        })
    }

    /// Names the event for good, so that who gets it twice can tell: `order:ORD-…:3`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.aggregate, self.aggregate_id, self.sequence)
    }
}
