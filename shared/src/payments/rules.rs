//! What a call to the provider means, from how the payment stands after it.

use super::model::{Authorisation, Capture, DeclineCode, GatewayError, PaymentState, Voiding};

/// What a call led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How the payment stands after it.
    pub state: PaymentState,
    /// Why the call itself told nothing, so that the provider was asked for the state.
    pub failure: Option<GatewayError>,
}

impl From<PaymentState> for Outcome {
    fn from(state: PaymentState) -> Self {
        Self {
            state,
            failure: None,
        }
    }
}

impl Outcome {
    fn without_effect(self) -> GatewayError {
        let unexplained = || GatewayError::Transient("the call had no effect".to_owned());
        self.failure.unwrap_or_else(unexplained)
    }
}

/// What an authorisation led to. One whose money was taken since was given.
///
/// # Errors
///
/// Why the call had no effect.
pub fn authorisation(outcome: Outcome) -> Result<Authorisation, GatewayError> {
    match outcome.state {
        PaymentState::Authorised | PaymentState::Captured { .. } => Ok(Authorisation::Authorised),
        PaymentState::Declined { code } => Ok(Authorisation::Declined(code)),
        PaymentState::Voided => Ok(Authorisation::Declined(DeclineCode::Voided)),
        PaymentState::Opened => Err(outcome.without_effect()),
    }
}

/// What a capture led to.
///
/// # Errors
///
/// Why the call had no effect.
pub fn capture(outcome: Outcome) -> Result<Capture, GatewayError> {
    match outcome.state {
        PaymentState::Captured { captured, .. } => Ok(Capture::Captured(captured)),
        PaymentState::Declined { code } => Ok(Capture::Refused(code)),
        PaymentState::Voided => Ok(Capture::Refused(DeclineCode::Voided)),
        PaymentState::Authorised => Err(outcome.without_effect()),
        PaymentState::Opened => Err(GatewayError::Permanent(
            "nothing was authorised to be captured".to_owned(),
        )),
    }
}

/// What a void led to.
///
/// # Errors
///
/// Why the call had no effect.
pub fn voiding(outcome: Outcome) -> Result<Voiding, GatewayError> {
    match outcome.state {
        PaymentState::Voided => Ok(Voiding::Voided),
        PaymentState::Captured { captured, .. } => Ok(Voiding::Captured(captured)),
        _ => Err(outcome.without_effect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::money::{Currency, Money};

    fn states() -> [PaymentState; 5] {
        let captured = Money::parse("10", Currency::SGD).unwrap();
        [
            PaymentState::Opened,
            PaymentState::Authorised,
            PaymentState::Captured {
                captured,
                refunded: Money::zero(Currency::SGD),
            },
            PaymentState::Voided,
            PaymentState::Declined {
                code: DeclineCode::ExpiredCard,
            },
        ]
    }

    #[test]
    fn a_call_means_what_the_state_after_it_says_and_fails_for_its_own_reason() {
        let lost = GatewayError::Transient("no answer".to_owned());
        let outcome = |state| Outcome {
            state,
            failure: Some(lost.clone()),
        };
        let captured = Money::parse("10.00", Currency::SGD).unwrap();
        assert_eq!(
            states().map(|state| authorisation(outcome(state))),
            [
                Err(lost.clone()),
                Ok(Authorisation::Authorised),
                Ok(Authorisation::Authorised),
                Ok(Authorisation::Declined(DeclineCode::Voided)),
                Ok(Authorisation::Declined(DeclineCode::ExpiredCard)),
            ]
        );
        assert_eq!(
            states().map(|state| capture(outcome(state)))[1..],
            [
                Err(lost.clone()),
                Ok(Capture::Captured(captured)),
                Ok(Capture::Refused(DeclineCode::Voided)),
                Ok(Capture::Refused(DeclineCode::ExpiredCard)),
            ]
        );
        assert!(
            !capture(PaymentState::Opened.into())
                .unwrap_err()
                .retryable()
        );
        assert_eq!(
            states().map(|state| voiding(outcome(state))),
            [
                Err(lost.clone()),
                Err(lost.clone()),
                Ok(Voiding::Captured(captured)),
                Ok(Voiding::Voided),
                Err(lost.clone()),
            ]
        );
    }
}
