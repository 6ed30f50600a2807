//! What the sandbox provider says of an order's payment.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use shared::{
    orders::{invariants::Charge, model::Order},
    payments::{model::PaymentState, sandbox::model::Payment},
    platform::money::Money,
};

/// The payment of `order` that the provider keeps in `table`, if it knows of one.
pub(crate) async fn charge(client: &Client, table: &str, order: &Order) -> Option<Charge> {
    let reference = format!("sandbox:{}", order.id);
    let get = client.get_item().table_name(table).consistent_read(true);
    let got = get
        .key("pk", AttributeValue::S(format!("SANDBOX#{reference}")))
        .key("sk", AttributeValue::S("META".into()))
        .send()
        .await
        .unwrap();
    let text = got.item()?["payment"].as_s().unwrap().clone();
    let payment: Payment = serde_json::from_str(&text).unwrap();
    let zero = Money::zero(payment.amount.currency());
    let (held, captured, refunded) = match payment.state {
        PaymentState::Authorised => (payment.amount, zero, zero),
        PaymentState::Captured { captured, refunded } => (zero, captured, refunded),
        PaymentState::Opened | PaymentState::Voided | PaymentState::Declined { .. } => {
            (zero, zero, zero)
        }
    };
    Some(Charge {
        order: order.id.clone(),
        reference,
        held,
        captured,
        refunded,
    })
}
