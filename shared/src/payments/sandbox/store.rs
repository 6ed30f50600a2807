//! The sandbox's payments in the `Commerce` table: the only code that knows their keys.
//!
//! A payment is the item `SANDBOX#{reference}`, `META`; its reference is made of the order's
//! identifier, so that an order has one payment however often it is opened.

use aws_sdk_dynamodb::Client;

use super::{model::Payment, rules};
use crate::{
    payments::{
        model::{Charge, GatewayError, PaymentState, Reference, Refunding},
        rules::Outcome,
    },
    platform::{
        money::Money,
        table::{Item, Table, TableError, Write, key, number, parsed, string, text},
    },
};

/// Times that a change is tried when others change the same payment.
const ROUNDS: usize = 8;

/// The provider.
#[derive(Debug)]
pub struct Sandbox {
    table: Table,
}

impl From<TableError> for GatewayError {
    fn from(error: TableError) -> Self {
        if error.retryable() {
            Self::Transient(error.to_string())
        } else {
            Self::Permanent(error.to_string())
        }
    }
}

fn payment_key(reference: &Reference) -> Item {
    key(format!("SANDBOX#{reference}"), "META".to_owned())
}

impl Sandbox {
    /// The provider whose payments are in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// Opens a payment, or finds the one that is open.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when the table fails, or the order's payment is for another charge.
    pub async fn open(&self, charge: &Charge<'_>) -> Result<Reference, GatewayError> {
        let reference = format!("sandbox:{}", charge.order_id)
            .parse()
            .map_err(|_| GatewayError::Permanent("the order has no valid name".to_owned()))?;
        let payment = rules::open(charge)?;
        if self.put(&reference, &payment, 1).await? == Write::Conflict {
            self.state(charge, &reference).await?;
        }
        Ok(reference)
    }

    /// Holds the amount.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when the table fails, or the payment is for another charge.
    pub async fn authorise(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        let outcome = self.alter(charge, reference, rules::authorise).await?;
        match outcome.failure {
            None => Ok(outcome),
            failure => Ok(Outcome {
                state: self.state(charge, reference).await?,
                failure,
            }),
        }
    }

    /// Takes what is held.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::authorise`].
    pub async fn capture(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        self.alter(charge, reference, rules::capture).await
    }

    /// Gives up what is held.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::authorise`].
    pub async fn void(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        self.alter(charge, reference, rules::void).await
    }

    /// Gives back some of what was taken.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::authorise`], and as [`rules::refund`].
    pub async fn refund(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        amount: Money,
        refund_id: &str,
    ) -> Result<Refunding, GatewayError> {
        let refund = |payment: &mut Payment| rules::refund(payment, amount, refund_id);
        self.alter(charge, reference, refund).await?
    }

    /// How a payment stands.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::authorise`].
    pub async fn state(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<PaymentState, GatewayError> {
        let (payment, _) = self.find(charge, reference).await?;
        Ok(payment.state)
    }

    /// An alteration that finds itself made already, as after a lost reply, must alter nothing.
    async fn alter<T>(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        by: impl Fn(&mut Payment) -> T,
    ) -> Result<T, GatewayError> {
        for _ in 0..ROUNDS {
            let (before, version) = self.find(charge, reference).await?;
            let mut after = before.clone();
            let answer = by(&mut after);
            if after == before || self.put(reference, &after, version + 1).await? == Write::Done {
                return Ok(answer);
            }
        }
        Err(GatewayError::Transient(
            "others are at the same payment".to_owned(),
        ))
    }

    async fn find(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<(Payment, u64), GatewayError> {
        let item = self.table.get(payment_key(reference)).await?;
        let item = item.ok_or_else(|| GatewayError::Permanent("no such payment".to_owned()))?;
        let payment = serde_json::from_str(string(&item, reference, "payment")?)
            .map_err(|_| TableError::malformed(reference, "payment"))?;
        rules::check(&payment, charge)?;
        Ok((payment, parsed(&item, reference, "version")?))
    }

    async fn put(
        &self,
        reference: &Reference,
        payment: &Payment,
        version: u64,
    ) -> Result<Write, GatewayError> {
        let json = serde_json::to_string(payment)
            .map_err(|_| TableError::malformed(reference, "payment"))?;
        let mut item = payment_key(reference);
        item.insert("payment".to_owned(), text(json));
        item.insert("version".to_owned(), number(version));
        Ok(self.table.put_version(item, version - 1).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        payments::{
            gateway::Gateway,
            model::{Authorisation, Capture, DeclineCode, Voiding},
            sandbox::model::{FLAKY_FAILURES, Script},
        },
        platform::money::Currency,
        testing,
    };

    const DECLINED: Capture = Capture::Refused(DeclineCode::Declined);

    async fn sandbox() -> (testing::Database, Gateway) {
        let database = testing::Database::start(&[testing::Table::new("Commerce")]).await;
        let sandbox = Sandbox::new(database.client(), "Commerce".to_owned());
        (database, Gateway::Sandbox(sandbox))
    }

    fn charge(method: &str) -> Charge<'_> {
        Charge {
            order_id: method,
            amount: sgd("34.88"),
            method,
        }
    }

    fn sgd(amount: &str) -> Money {
        Money::parse(amount, Currency::SGD).unwrap()
    }

    #[tokio::test]
    async fn every_script_goes_as_its_name_says() {
        let (_database, gateway) = sandbox().await;
        let mut answers = BTreeMap::new();
        for method in Script::ALL.map(Script::method).into_iter().chain(["visa"]) {
            let charge = charge(method);
            let reference = gateway.open(&charge).await.unwrap();
            assert_eq!(gateway.open(&charge).await, Ok(reference.clone()));
            let authorisation = gateway.authorise(&charge, &reference).await;
            answers.insert(method, authorisation);
        }
        let transient = answers.remove(Script::Flaky.method()).unwrap();
        assert!(transient.unwrap_err().retryable());
        let declined = |code| Ok(Authorisation::Declined(code));
        let expected = BTreeMap::from([
            ("sandbox-approve", Ok(Authorisation::Authorised)),
            ("sandbox-capture-fails", Ok(Authorisation::Authorised)),
            ("sandbox-decline", declined(DeclineCode::Declined)),
            (
                "sandbox-insufficient-funds",
                declined(DeclineCode::InsufficientFunds),
            ),
            ("sandbox-refund-fails", Ok(Authorisation::Authorised)),
            (
                "sandbox-requires-action",
                declined(DeclineCode::RequiresAction),
            ),
            (
                "sandbox-timeout-after-charge",
                Ok(Authorisation::Authorised),
            ),
            ("visa", declined(DeclineCode::UnknownMethod)),
        ]);
        assert_eq!(answers, expected);

        let flaky = charge(Script::Flaky.method());
        let reference = gateway.open(&flaky).await.unwrap();
        for _ in 1..FLAKY_FAILURES {
            assert!(gateway.authorise(&flaky, &reference).await.is_err());
        }
        let settled = gateway.authorise(&flaky, &reference).await;
        assert_eq!(settled, Ok(Authorisation::Authorised));

        let stubborn = charge(Script::CaptureFails.method());
        let reference = gateway.open(&stubborn).await.unwrap();
        assert_eq!(gateway.capture(&stubborn, &reference).await, Ok(DECLINED));
        assert_eq!(
            gateway.void(&stubborn, &reference).await,
            Ok(Voiding::Voided)
        );
    }

    #[tokio::test]
    async fn a_payment_goes_its_way_once_however_often_it_is_told_to() {
        let (_database, gateway) = sandbox().await;
        let charge = charge("sandbox-timeout-after-charge");
        let reference = gateway.open(&charge).await.unwrap();
        let runs = || {
            futures_util::future::join_all((0..5).map(|_| async {
                gateway.authorise(&charge, &reference).await.unwrap();
                gateway.capture(&charge, &reference).await.unwrap()
            }))
        };
        let captured = Capture::Captured(sgd("34.88"));
        assert_eq!(runs().await, [captured; 5]);
        let refund = |amount, id| gateway.refund(&charge, &reference, sgd(amount), id);
        for refused in [Refunding::Refused, Refunding::RefusedBefore] {
            assert_eq!(refund("30.00", "R1").await, Ok(Refunding::Refunded));
            let refused = refused(DeclineCode::ExceedsPayment);
            assert_eq!(refund("5", "R2").await, Ok(refused));
        }
        assert_eq!(runs().await, [captured; 5]);
        let late = gateway.void(&charge, &reference).await;
        assert_eq!(late, Ok(Voiding::Captured(sgd("34.88"))));
        assert_eq!(
            gateway.state(&charge, &reference).await,
            Ok(PaymentState::Captured {
                captured: sgd("34.88"),
                refunded: sgd("30"),
            })
        );
    }

    #[tokio::test]
    async fn what_was_voided_is_never_authorised() {
        let (_database, gateway) = sandbox().await;
        let charge = charge("sandbox-approve");
        let reference = gateway.open(&charge).await.unwrap();
        for _ in 0..2 {
            assert_eq!(gateway.void(&charge, &reference).await, Ok(Voiding::Voided));
            let late = gateway.authorise(&charge, &reference).await;
            assert_eq!(late, Ok(Authorisation::Declined(DeclineCode::Voided)));
        }
        let capture = gateway.capture(&charge, &reference).await;
        assert_eq!(capture, Ok(Capture::Refused(DeclineCode::Voided)));
    }

    #[tokio::test]
    async fn a_payment_is_for_one_charge() {
        let (_database, gateway) = sandbox().await;
        let charge = charge("sandbox-approve");
        let reference = gateway.open(&charge).await.unwrap();
        let dearer = Charge {
            amount: sgd("34.89"),
            ..charge
        };
        let refused = gateway.open(&dearer).await.unwrap_err();
        assert!(matches!(refused, GatewayError::Permanent(_)), "{refused}");
        assert!(gateway.authorise(&dearer, &reference).await.is_err());
        let state = gateway.state(&charge, &reference).await;
        assert_eq!(state, Ok(PaymentState::Opened));
        let nobody = "sandbox:nobody".parse().unwrap();
        assert!(gateway.state(&charge, &nobody).await.is_err());
    }
}
