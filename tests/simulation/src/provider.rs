//! The payment provider: the sandbox's own rules, and what can be asked of them at any time.

use shared::{
    orders::{event::CANCELLATION_REFUND, invariants::Charge, model::Order},
    payments::{
        model::{self, DeclineCode, GatewayError, PaymentState},
        sandbox::{
            model::{Payment, Script},
            rules,
        },
    },
    platform::money::Money,
};

#[derive(Debug, Default)]
pub struct Provider {
    payments: Vec<(u32, Payment)>,
    /// What it says of each payment.
    pub charges: Vec<Charge>,
}

impl Provider {
    /// The reference of the order's payment opened under this key, the same each time.
    pub fn open(&mut self, order: &Order, key: u32) -> Result<String, GatewayError> {
        let payment = rules::open(&model::Charge {
            order_id: order.id.as_str(),
            amount: order.totals.total,
            method: &order.payment_method,
        })?;
        let mut payments = self.payments.iter();
        let is_same =
            |(known, other): &(u32, Payment)| *known == key && other.order_id == payment.order_id;
        let at = payments.position(is_same).unwrap_or_else(|| {
            let zero = Money::zero(payment.amount.currency());
            self.charges.push(Charge {
                order: order.id.clone(),
                reference: format!("p{}", self.charges.len()),
                held: zero,
                captured: zero,
                refunded: zero,
            });
            self.payments.push((key, payment));
            self.charges.len() - 1
        });
        Ok(self.charges[at].reference.clone())
    }

    /// Calls the provider about a payment.
    ///
    /// # Panics
    ///
    /// When it never gave out the reference.
    pub fn call<T>(&mut self, reference: &str, call: impl FnOnce(&mut Payment) -> T) -> T {
        let mut references = self.charges.iter().map(|charge| &charge.reference);
        let at = references.position(|other| other == reference);
        self.change(at.expect("only references given out are asked for"), call)
    }

    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut Payment) -> T) -> T {
        let payment = &mut self.payments[at].1;
        let answer = change(payment);
        let zero = Money::zero(payment.amount.currency());
        let told = &mut self.charges[at];
        (told.held, told.captured, told.refunded) = match payment.state {
            PaymentState::Authorised => (payment.amount, zero, zero),
            PaymentState::Captured { captured, refunded } => (zero, captured, refunded),
            PaymentState::Opened | PaymentState::Voided | PaymentState::Declined { .. } => {
                (zero, zero, zero)
            }
        };
        answer
    }

    /// The order's customer does what the bank required, by which the money is held after all.
    pub fn act(&mut self, order: &Order) {
        let code = DeclineCode::RequiresAction;
        for at in 0..self.charges.len() {
            if self.charges[at].order == order.id {
                self.change(at, |payment| {
                    if payment.state == (PaymentState::Declined { code }) {
                        payment.state = PaymentState::Authorised;
                    }
                });
            }
        }
    }

    /// From now on it gives back what it would not, and has forgotten all but the first name under
    /// which it was asked to.
    pub fn relent(&mut self) {
        for (_, payment) in &mut self.payments {
            Script::Approve.method().clone_into(&mut payment.method);
            payment
                .refunds
                .retain(|name, refund| refund.refused.is_none() || name == CANCELLATION_REFUND);
        }
    }
}
