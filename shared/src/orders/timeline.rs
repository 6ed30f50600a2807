//! What became of an order, in the words of its customer.

use jiff::Timestamp;

use super::{
    event::{FoldError, Happened, apply},
    model::{CancelReason, Order, OrderId, Shipment, Status},
};

/// Something that a customer would want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// What happened, in kebab case.
    pub what: &'static str,
    /// The same for people.
    pub message: &'static str,
    /// Particulars: a reason, an amount, a tracking number.
    pub detail: Option<String>,
    /// Where the order stood by it.
    pub status: Status,
    /// When.
    pub at: Timestamp,
}

/// The timeline of what happened to the order `id`, oldest first, from its first event on. What only
/// the machinery has to know is left out.
///
/// # Errors
///
/// [`FoldError`] when the events do not follow upon each other.
pub fn timeline(id: &OrderId, history: &[(Happened, Timestamp)]) -> Result<Vec<Moment>, FoldError> {
    let mut order: Option<Order> = None;
    let mut moments = Vec::new();
    for (happened, at) in history {
        let next = apply(order.take(), id, happened, *at)?;
        moments.extend(told(happened).map(|(what, message, detail)| Moment {
            what,
            message,
            detail,
            status: next.status,
            at: *at,
        }));
        order = Some(next);
    }
    Ok(moments)
}

fn told(happened: &Happened) -> Option<(&'static str, &'static str, Option<String>)> {
    Some(match happened {
        Happened::Created(_) => ("placed", "We have your order", None),
        Happened::Reserved { .. } => ("items-reserved", "Your items are set aside", None),
        Happened::PaymentAuthorised => ("payment-authorised", "Your payment was accepted", None),
        Happened::PaymentDeclined { code } => (
            "payment-declined",
            "Your payment was declined",
            Some(code.clone()),
        ),
        Happened::Confirmed => ("confirmed", "Your order is confirmed", None),
        Happened::Paid { amount, .. } => (
            "paid",
            "We have received your payment",
            Some(amount.to_string()),
        ),
        Happened::CancellationRequested { reason, .. } => (
            "cancelling",
            "Your order is being cancelled",
            Some(because(*reason).to_owned()),
        ),
        Happened::PaymentVoided => ("payment-released", "Your payment was not taken", None),
        Happened::Cancelled { reason } => (
            "cancelled",
            "Your order is cancelled",
            Some(because(*reason).to_owned()),
        ),
        Happened::Expired => (
            "cancelled",
            "Your order is cancelled",
            Some(because(CancelReason::Expired).to_owned()),
        ),
        Happened::Processing => ("processing", "Your order is being packed", None),
        Happened::Shipped(shipment) => ("shipped", "Your order is on its way", carried(shipment)),
        Happened::Delivered => ("delivered", "Your order has arrived", None),
        Happened::RefundRequested(refund) => (
            "refund-started",
            "We are giving you money back",
            Some(refund.amount.to_string()),
        ),
        Happened::Refunded { amount, .. } => (
            "refunded",
            "We have given you money back",
            Some(amount.to_string()),
        ),
        Happened::RefundFailed { .. } => (
            "refund-failed",
            "We could not give you money back yet",
            None,
        ),
        Happened::PaymentStarted { .. }
        | Happened::Released
        | Happened::CompensationFailed { .. } => return None,
    })
}

const fn because(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Customer => "you asked for it",
        CancelReason::Staff => "our staff cancelled it",
        CancelReason::OutOfStock => "an item is out of stock",
        CancelReason::PaymentDeclined => "the payment was declined",
        CancelReason::CaptureFailed => "the payment could not be taken",
        CancelReason::Expired => "the payment was not made in time",
        CancelReason::Failed => "something went wrong on our side",
    }
}

fn carried(shipment: &Shipment) -> Option<String> {
    let parts: Vec<&str> = [&shipment.carrier, &shipment.tracking_number]
        .into_iter()
        .filter_map(Option::as_deref)
        .collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::{
        orders::{
            event::{Note, Reason, Reference, RefundRequest},
            testing,
        },
        platform::money::{Currency, Money},
    };

    fn told_of(later: Vec<Happened>) -> Vec<String> {
        let id = OrderId::new(Timestamp::UNIX_EPOCH, [0; 5]);
        let created = testing::created("u-1", "sandbox-approve", &[("A", 3)]);
        let at = |minutes: usize| Timestamp::UNIX_EPOCH + i64::try_from(minutes).unwrap().minutes();
        let history: Vec<_> = std::iter::once(created)
            .chain(later)
            .enumerate()
            .map(|(minutes, happened)| (happened, at(minutes)))
            .collect();
        let shown = |moment: Moment| {
            let detail = moment.detail.map(|detail| format!(" ({detail})"));
            let detail = detail.unwrap_or_default();
            let time = moment.at.strftime("%H:%M");
            format!("{time} {}: {}{detail}", moment.status, moment.what)
        };
        timeline(&id, &history)
            .unwrap()
            .into_iter()
            .map(shown)
            .collect()
    }

    fn reserved() -> Happened {
        let expires_at = Timestamp::UNIX_EPOCH;
        Happened::Reserved { expires_at }
    }

    fn payment_started() -> Happened {
        Happened::PaymentStarted {
            expires_at: Timestamp::UNIX_EPOCH,
            private: Reference {
                reference: "pi_secret".into(),
            },
        }
    }

    #[test]
    fn an_order_that_was_bought_and_given_back_is_told_without_the_machinery() {
        let amount = Money::parse("34.80", Currency::SGD).unwrap();
        let shipment = Shipment {
            carrier: Some("SingPost".into()),
            tracking_number: Some("RX1".into()),
        };
        let refund = RefundRequest {
            refund_id: "r-1".into(),
            amount,
            lines: Vec::new(),
            restock: false,
            requested_at: Timestamp::UNIX_EPOCH,
            private: Reason {
                reason: Some("private".into()),
            },
        };
        let history = vec![
            reserved(),
            payment_started(),
            Happened::PaymentAuthorised,
            Happened::Confirmed,
            Happened::Paid { amount, lines: 1 },
            Happened::Processing,
            Happened::Shipped(shipment),
            Happened::Delivered,
            Happened::RefundRequested(refund),
            Happened::Refunded {
                refund_id: "r-1".into(),
                amount,
                lines: None,
            },
        ];
        insta::assert_snapshot!(told_of(history).join("\n"), @r"
        00:00 pending: placed
        00:01 pending: items-reserved
        00:03 pending: payment-authorised
        00:04 confirmed: confirmed
        00:05 confirmed: paid (34.80 SGD)
        00:06 processing: processing
        00:07 shipped: shipped (SingPost RX1)
        00:08 delivered: delivered
        00:09 delivered: refund-started (34.80 SGD)
        00:10 refunded: refunded (34.80 SGD)
        ");
    }

    #[test]
    fn a_cancelled_order_says_why_and_not_in_whose_words() {
        let reason = CancelReason::Customer;
        let history = vec![
            reserved(),
            payment_started(),
            Happened::CancellationRequested {
                reason,
                shortages: Vec::new(),
                private: Note {
                    note: Some("private".into()),
                },
            },
            Happened::PaymentVoided,
            Happened::Released,
            Happened::Cancelled { reason },
        ];
        insta::assert_snapshot!(told_of(history).join("\n"), @r"
        00:00 pending: placed
        00:01 pending: items-reserved
        00:03 pending: cancelling (you asked for it)
        00:04 pending: payment-released
        00:06 cancelled: cancelled (you asked for it)
        ");
    }

    #[test]
    fn a_history_without_a_beginning_is_refused() {
        let id = OrderId::new(Timestamp::UNIX_EPOCH, [0; 5]);
        let history = [(Happened::Confirmed, Timestamp::UNIX_EPOCH)];
        assert!(timeline(&id, &history).is_err());
    }
}
