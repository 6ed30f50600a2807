//! What each call does to a payment in the sandbox. A call made again changes nothing.

use std::collections::BTreeMap;

use super::model::{FLAKY_FAILURES, Payment, Refund, Script};
use crate::{
    payments::{
        model::{Charge, DeclineCode, GatewayError, MOST_REFUNDS, PaymentState, Refunding},
        rules::Outcome,
    },
    platform::money::Money,
};

/// A new payment.
///
/// # Errors
///
/// [`GatewayError::Permanent`] when there is nothing to pay.
pub fn open(charge: &Charge<'_>) -> Result<Payment, GatewayError> {
    if !charge.amount.amount().is_sign_positive() || charge.amount.amount().is_zero() {
        return Err(permanent("the amount is not more than nothing"));
    }
    Ok(Payment {
        order_id: charge.order_id.to_owned(),
        amount: charge.amount,
        method: charge.method.to_owned(),
        state: PaymentState::Opened,
        failures: 0,
        refunds: BTreeMap::new(),
    })
}

/// Checks that a payment is the one that is meant.
///
/// # Errors
///
/// [`GatewayError::Permanent`] when it is for something else.
pub fn check(payment: &Payment, charge: &Charge<'_>) -> Result<(), GatewayError> {
    let found = Charge {
        order_id: &payment.order_id,
        amount: payment.amount,
        method: &payment.method,
    };
    if found == *charge {
        Ok(())
    } else {
        Err(permanent("the payment is for another charge"))
    }
}

/// Holds the amount, or does not, as the script says.
pub fn authorise(payment: &mut Payment) -> Outcome {
    let script = Script::of_method(&payment.method);
    if payment.state != PaymentState::Opened {
        return payment.state.into();
    }
    let transient = |reason: &str| Some(GatewayError::Transient(reason.to_owned()));
    let declined = |code| (PaymentState::Declined { code }, None);
    let (state, failure) = match script {
        None => declined(DeclineCode::UnknownMethod),
        Some(Script::Decline) => declined(DeclineCode::Declined),
        Some(Script::InsufficientFunds) => declined(DeclineCode::InsufficientFunds),
        Some(Script::RequiresAction) => declined(DeclineCode::RequiresAction),
        Some(Script::Flaky) if payment.failures < FLAKY_FAILURES => {
            payment.failures += 1;
            (PaymentState::Opened, transient("it is flaky"))
        }
        Some(Script::TimeoutAfterCharge) => (PaymentState::Authorised, transient("no answer")),
        Some(_) => (PaymentState::Authorised, None),
    };
    payment.state = state;
    Outcome { state, failure }
}

/// Takes what is held.
pub fn capture(payment: &mut Payment) -> Outcome {
    if payment.state == PaymentState::Authorised {
        if Script::of_method(&payment.method) == Some(Script::CaptureFails) {
            let code = DeclineCode::Declined;
            return PaymentState::Declined { code }.into();
        }
        payment.state = PaymentState::Captured {
            captured: payment.amount,
            refunded: Money::zero(payment.amount.currency()),
        };
    }
    payment.state.into()
}

/// Gives up what is held, and all that could be.
pub fn void(payment: &mut Payment) -> Outcome {
    if !matches!(payment.state, PaymentState::Captured { .. }) {
        payment.state = PaymentState::Voided;
    }
    payment.state.into()
}

/// Gives back some of what was taken.
///
/// # Errors
///
/// [`GatewayError::Permanent`] when nothing was taken, when the amount is not more than nothing or in
/// another currency, when the refund was made with another amount, or when there are too many.
pub fn refund(
    payment: &mut Payment,
    amount: Money,
    refund_id: &str,
) -> Result<Refunding, GatewayError> {
    match payment.refunds.get(refund_id) {
        Some(known) if known.refused.is_none() && known.amount != amount => {
            return Err(permanent("the refund is for another amount"));
        }
        Some(known) => {
            let refused = known.refused;
            return Ok(refused.map_or(Refunding::Refunded, Refunding::RefusedBefore));
        }
        None => {}
    }
    let PaymentState::Captured { captured, refunded } = payment.state else {
        return Err(permanent("nothing was taken to be refunded"));
    };
    if !amount.amount().is_sign_positive() || amount.amount().is_zero() {
        return Err(permanent("the amount is not more than nothing"));
    }
    if payment.refunds.len() >= MOST_REFUNDS {
        return Err(permanent("the payment has too many refunds"));
    }
    let total = refunded
        .checked_add(amount)
        .map_err(|_| permanent("the amount cannot be refunded"))?;
    let refused = if Script::of_method(&payment.method) == Some(Script::RefundFails) {
        Some(DeclineCode::Declined)
    } else if total.amount() > captured.amount() {
        Some(DeclineCode::ExceedsPayment)
    } else {
        payment.state = PaymentState::Captured {
            captured,
            refunded: total,
        };
        None
    };
    let refund = Refund { amount, refused };
    payment.refunds.insert(refund_id.to_owned(), refund);
    Ok(refused.map_or(Refunding::Refunded, Refunding::Refused))
}

fn permanent(reason: &str) -> GatewayError {
    GatewayError::Permanent(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::platform::money::Currency;

    fn sgd(cents: i64) -> Money {
        let amount = rust_decimal::Decimal::new(cents, 2).to_string();
        Money::parse(&amount, Currency::SGD).unwrap()
    }

    fn payment(script: Script) -> Payment {
        open(&Charge {
            order_id: "ORD-1",
            amount: sgd(10_000),
            method: script.method(),
        })
        .unwrap()
    }

    #[derive(Debug, Clone)]
    enum Call {
        Authorise,
        Capture,
        Void,
        Refund(u8, i64),
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            2 => Just(Call::Authorise),
            2 => Just(Call::Capture),
            1 => Just(Call::Void),
            4 => (0_u8..8, -10_i64..6_000).prop_map(|(id, cents)| Call::Refund(id, cents)),
        ]
    }

    type Answer = (
        Option<PaymentState>,
        Option<Result<Refunding, GatewayError>>,
    );

    fn play(payment: &mut Payment, call: &Call) -> Answer {
        match call {
            Call::Authorise => (Some(authorise(payment).state), None),
            Call::Capture => (Some(capture(payment).state), None),
            Call::Void => (Some(void(payment).state), None),
            Call::Refund(id, cents) => {
                let answer = refund(payment, sgd(*cents), &id.to_string());
                (
                    None,
                    Some(answer.map(|refunding| match refunding {
                        Refunding::RefusedBefore(code) => Refunding::Refused(code),
                        other => other,
                    })),
                )
            }
        }
    }

    fn amounts(payment: &Payment) -> (Money, Money) {
        match payment.state {
            PaymentState::Captured { captured, refunded } => (captured, refunded),
            _ => (sgd(0), sgd(0)),
        }
    }

    proptest! {
        #[test]
        fn no_calls_take_more_than_authorised_or_give_back_more_than_taken(
            script in prop::sample::select(Script::ALL.to_vec()),
            calls in prop::collection::vec((call(), 1_usize..4), 0..40),
        ) {
            let mut payment = payment(script);
            let (mut was_authorised, mut was_voided) = (false, false);
            for (call, times) in calls {
                let before = amounts(&payment);
                let first = play(&mut payment, &call);
                // What is flaky answers the same once it has settled.
                if payment.state != PaymentState::Opened {
                    for _ in 1..times {
                        let unchanged = payment.clone();
                        prop_assert_eq!(&play(&mut payment, &call), &first);
                        prop_assert_eq!(&payment, &unchanged);
                    }
                }
                was_authorised |= payment.state == PaymentState::Authorised;
                let (captured, refunded) = amounts(&payment);
                prop_assert!(captured == sgd(0) || (was_authorised && captured == payment.amount));
                prop_assert!(refunded.amount() <= captured.amount());
                prop_assert!(refunded.amount() >= before.1.amount() && captured.amount() >= before.0.amount());
                let granted = payment.refunds.values().filter(|refund| refund.refused.is_none());
                let sum = granted.fold(sgd(0), |sum, refund| sum.checked_add(refund.amount).unwrap());
                prop_assert_eq!(sum, refunded);
                prop_assert!(!was_voided || payment.state == PaymentState::Voided);
                was_voided |= payment.state == PaymentState::Voided;
            }
        }
    }

    #[test]
    fn a_refund_is_for_one_amount_in_the_payment_s_currency() {
        let mut payment = payment(Script::Approve);
        assert!(refund(&mut payment, sgd(1), "R1").is_err(), "nothing taken");
        authorise(&mut payment);
        capture(&mut payment);
        assert_eq!(refund(&mut payment, sgd(1), "R1"), Ok(Refunding::Refunded));
        assert!(refund(&mut payment, sgd(2), "R1").is_err());
        let euro = Money::parse("1", "EUR".parse().unwrap()).unwrap();
        assert!(refund(&mut payment, euro, "R2").is_err());
        assert!(refund(&mut payment, sgd(0), "R2").is_err());
        let too_much = Refunding::Refused(DeclineCode::ExceedsPayment);
        assert_eq!(refund(&mut payment, sgd(10_000), "R2"), Ok(too_much));
        assert_eq!(
            refund(&mut payment, sgd(9_999), "R3"),
            Ok(Refunding::Refunded)
        );
    }

    #[test]
    fn what_has_no_price_is_not_opened() {
        for cents in [0, -1] {
            let charge = Charge {
                order_id: "ORD-1",
                amount: sgd(cents),
                method: "sandbox-approve",
            };
            assert!(matches!(open(&charge), Err(GatewayError::Permanent(_))));
        }
    }
}
