//! What a message on the notification queue asks for.

use serde::Deserialize;
use shared::{
    events::cloud_event::{self, CloudEventError},
    notifications::model::{Kind, Notice},
    orders::model::OrderId,
    platform::telemetry::TraceContext,
};

/// A notification that is to be sent. The message may come twice, late, or out of order.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// About which order.
    pub order: OrderId,
    /// Which notification.
    pub notice: Notice,
    /// The request that led to it, where the message's body says so.
    pub trace: Option<TraceContext>,
}

/// A message that asks for no notification.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It is neither of the two forms.
    #[error("neither a request for a notification nor an event")]
    Malformed(#[from] CloudEventError),
    /// It is an event of nothing that anybody is told.
    #[error("nobody is told of {0}")]
    Silent(String),
    /// It names no order, or no refund.
    #[error("{0} is missing or malformed")]
    Missing(&'static str),
}

/// What the saga asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    order_id: OrderId,
    kind: Kind,
}

impl Task {
    /// Reads a message: `{"order_id": …, "kind": …}` from the saga, or one of our events as the event
    /// bus delivers it.
    ///
    /// # Errors
    ///
    /// [`TaskError`] when it is neither, or of an event that nobody is told of.
    pub fn parse(body: &str) -> Result<Self, TaskError> {
        if let Ok(Request { order_id, kind }) = serde_json::from_str(body) {
            return Ok(Self::new(order_id, kind, None, None));
        }
        let event = cloud_event::delivered(body)?;
        let kind = Kind::of_event(&event.kind);
        let kind = kind.ok_or_else(|| TaskError::Silent(event.kind.clone()))?;
        let order = event.aggregate_id.parse();
        let order = order.map_err(|_| TaskError::Missing("order number"))?;
        let refund = match kind {
            Kind::OrderRefunded => {
                let id = event.data["refund_id"].as_str();
                Some(id.ok_or(TaskError::Missing("refund_id"))?.to_owned())
            }
            _ => None,
        };
        Ok(Self::new(order, kind, refund, event.trace()))
    }

    fn new(
        order: OrderId,
        kind: Kind,
        refund: Option<String>,
        trace: Option<TraceContext>,
    ) -> Self {
        let notice = Notice {
            order: order.to_string(),
            kind,
            refund,
        };
        Self {
            order,
            notice,
            trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use shared::events::model::{Aggregate, Event};

    use super::*;

    const ORDER: &str = "ORD-20261120-7K3M9Q2D";

    fn delivery(kind: &str, data: Value) -> String {
        let mut event = Event::new(
            Aggregate::Order,
            ORDER,
            9,
            kind,
            Timestamp::UNIX_EPOCH,
            data,
        );
        event.correlation_id = Some("abc".parse().unwrap());
        let detail: Value = serde_json::from_str(&cloud_event::to_json(&event).unwrap()).unwrap();
        json!({"version": "0", "detail-type": kind, "detail": detail}).to_string()
    }

    #[test]
    fn the_saga_and_the_bus_ask_each_in_its_form() {
        let asked = |body: &str| {
            Task::parse(body)
                .map(|task| task.notice.to_string())
                .unwrap()
        };
        let saga = json!({"order_id": ORDER, "kind": "order-confirmed"}).to_string();
        assert_eq!(asked(&saga), format!("{ORDER}#order-confirmed"));
        for (kind, data, notice) in [
            ("order.created", json!({}), "new-order"),
            ("order.shipped", json!({}), "order-shipped"),
            ("order.delivered", json!({}), "order-delivered"),
            ("order.expired", json!({}), "order-cancelled"),
            (
                "order.refunded",
                json!({"refund_id": "r1"}),
                "order-refunded#r1",
            ),
        ] {
            let task = Task::parse(&delivery(kind, data)).unwrap();
            assert_eq!(task.notice.to_string(), format!("{ORDER}#{notice}"));
            assert_eq!(task.trace.unwrap().correlation_id.as_str(), "abc");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for body in [
            "",
            "[]",
            r#"{"order_id":"ORD-1","kind":"order-confirmed"}"#,
            r#"{"order_id":"ORD-20261120-7K3M9Q2D","kind":"order-lost"}"#,
            r#"{"order_id":"ORD-20261120-7K3M9Q2D","kind":"order-confirmed","to":"x@y.z"}"#,
            &delivery("order.paid", json!({})),
            &delivery("order.refunded", json!({})),
            &delivery("order.shipped", json!({})).replace("ORD-", "PRD-"),
        ] {
            assert!(Task::parse(body).is_err(), "{body}");
        }
    }
}
