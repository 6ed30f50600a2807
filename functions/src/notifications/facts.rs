//! What a notification tells of an order.

use serde_json::json;
use shared::{
    notifications::model::{Facts, FactsLine, Kind, Notice},
    orders::model::Order,
};

/// The facts that `notice` tells of `order` to somebody called `name`; `None` where they are not so:
/// the order is not cancelled, or has no such refund.
pub fn facts(notice: &Notice, order: &Order, name: Option<String>) -> Option<Facts> {
    let mut facts = Facts {
        order: order.id.to_string(),
        name,
        subtotal: order.totals.subtotal.to_string(),
        tax: order.totals.tax.to_string(),
        total: order.totals.total.to_string(),
        ..Facts::default()
    };
    match notice.kind {
        Kind::OrderConfirmed | Kind::NewOrder => {
            facts.lines = order.lines.iter().map(line).collect();
        }
        Kind::OrderCancelled => {
            let reason = json!(order.cancellation.as_ref()?.reason);
            facts.reason = Some(reason.as_str()?.to_owned());
        }
        Kind::OrderShipped => {
            let shipment = order.shipment.as_ref()?;
            facts.carrier.clone_from(&shipment.carrier);
            facts.tracking_number.clone_from(&shipment.tracking_number);
        }
        Kind::OrderDelivered => {}
        Kind::OrderRefunded => {
            let id = notice.refund.as_ref()?;
            let refund = order.refunds.iter().find(|refund| refund.refund_id == *id);
            facts.refund = Some(refund?.amount.to_string());
        }
    }
    Some(facts)
}

fn line(line: &shared::orders::model::Line) -> FactsLine {
    FactsLine {
        name: line.name.clone(),
        quantity: line.quantity,
        total: line.total.to_string(),
    }
}
