//! What Stripe's answers mean. Nothing in them is taken on trust: name, order, amount and currency
//! must be those that were asked about.

use rust_decimal::Decimal;

use super::{
    http::Answer,
    model::{
        ErrorBody, ErrorDetail, LatestCharge, PaymentIntent, Refund, RefundStatus, Refunds, Status,
    },
};
use crate::{
    payments::model::{Charge, DeclineCode, GatewayError, PaymentState, Reference, Refunding},
    platform::money::{Currency, Money},
};

/// An answer that is no success.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Whether Stripe did not look at the request, for its idempotency key was used before: for the
    /// same request that failed, or for another.
    pub is_replayed: bool,
    /// What the body says, if it is Stripe's.
    pub detail: ErrorDetail,
}

impl Refusal {
    /// Reads the answer; a body that is not Stripe's, as a proxy's, says nothing.
    #[must_use]
    pub fn read(answer: &Answer) -> Self {
        let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
        let is_used = body.error.kind.as_deref() == Some("idempotency_error");
        Self {
            status: answer.status,
            is_replayed: answer.is_replayed || (answer.status == 400 && is_used),
            detail: body.error,
        }
    }

    /// Why the customer's bank refused, if that is what happened to this payment.
    #[must_use]
    pub fn decline(&self, reference: &Reference) -> Option<DeclineCode> {
        let told = self.detail.payment_intent.as_ref();
        let is_other = told.is_some_and(|intent| intent.id != reference.as_str());
        (self.status == 402 && !is_other).then(|| decline_code(&self.detail))
    }

    /// Whether it is the payment method that Stripe does not know, or does not take, whatever the
    /// idempotency key.
    #[must_use]
    pub fn is_about_method(&self) -> bool {
        matches!(self.status, 402 | 404) || self.detail.param.as_deref() == Some("payment_method")
    }

    /// What this says of a refund, if it is a no: neither about our API key nor about the moment.
    #[must_use]
    pub fn refund(&self) -> Option<Refunding> {
        if !(400..500).contains(&self.status)
            || matches!(self.status, 401 | 403 | 408 | 409 | 425 | 429)
        {
            return None;
        }
        let code = match self.detail.code.as_deref() {
            Some("charge_already_refunded") => DeclineCode::ExceedsPayment,
            Some("balance_insufficient") => DeclineCode::InsufficientFunds,
            _ => DeclineCode::Declined,
        };
        Some(if self.is_replayed {
            Refunding::RefusedBefore(code)
        } else {
            Refunding::Refused(code)
        })
    }
}

impl From<Refusal> for GatewayError {
    fn from(Refusal { status, detail, .. }: Refusal) -> Self {
        let words = [detail.kind.as_deref(), detail.code.as_deref()];
        let words = words.into_iter().flatten().filter(|word| is_word(word));
        let reason = words.fold(format!("HTTP {status}"), |text, word| text + " " + word);
        // 409 is another call under way for the same payment or with the same idempotency key.
        match status {
            408 | 409 | 425 | 429 | 500.. => Self::Transient(reason),
            _ => Self::Permanent(reason),
        }
    }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// The code for why an authorisation was refused. <https://docs.stripe.com/declines/codes>
#[must_use]
pub fn decline_code(error: &ErrorDetail) -> DeclineCode {
    let word = |word: &Option<String>| match word.as_deref()? {
        "insufficient_funds" => Some(DeclineCode::InsufficientFunds),
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => {
            Some(DeclineCode::LimitExceeded)
        }
        "expired_card" => Some(DeclineCode::ExpiredCard),
        "incorrect_address"
        | "incorrect_cvc"
        | "incorrect_number"
        | "incorrect_pin"
        | "incorrect_zip"
        | "invalid_account"
        | "invalid_cvc"
        | "invalid_expiry_month"
        | "invalid_expiry_year"
        | "invalid_number"
        | "invalid_pin" => Some(DeclineCode::IncorrectDetails),
        "card_not_supported"
        | "currency_not_supported"
        | "not_permitted"
        | "transaction_not_allowed" => Some(DeclineCode::NotSupported),
        "authentication_required" | "approve_with_id" | "payment_intent_authentication_failure" => {
            Some(DeclineCode::RequiresAction)
        }
        "issuer_not_available" | "processing_error" | "reenter_transaction" | "try_again_later" => {
            Some(DeclineCode::IssuerUnavailable)
        }
        _ => None,
    };
    word(&error.decline_code)
        .or_else(|| word(&error.code))
        .unwrap_or(DeclineCode::Declined)
}

/// Decimals of the unit that Stripe counts `currency` in, which are not always those of ISO 4217.
///
/// Source: <https://docs.stripe.com/currencies#zero-decimal> and "special cases" there.
fn decimals(currency: Currency) -> u32 {
    match currency.code() {
        "MGA" => 0,
        "ISK" | "UGX" => 2,
        _ => currency.decimals(),
    }
}

/// The amount in Stripe's units.
///
/// # Errors
///
/// [`GatewayError::Permanent`] when it is nothing or less, or no whole number of units.
pub fn units(money: Money) -> Result<u64, GatewayError> {
    let scale = decimals(money.currency());
    let mut amount = money.amount();
    amount.rescale(scale);
    let is_exact = amount == money.amount() && amount.scale() == scale;
    u64::try_from(amount.mantissa())
        .ok()
        .filter(|units| is_exact && *units > 0)
        .ok_or_else(|| {
            GatewayError::Permanent("the amount is no whole number of the currency's units".into())
        })
}

fn money(units: u64, currency: Currency) -> Result<Money, GatewayError> {
    let amount = Decimal::try_from_i128_with_scale(units.into(), decimals(currency));
    amount
        .ok()
        .and_then(|amount| Money::parse(&amount.to_string(), currency).ok())
        .ok_or_else(|| untrusted("an amount is out of range"))
}

/// The currency as Stripe writes it.
#[must_use]
pub fn currency_code(currency: Currency) -> String {
    currency.code().to_ascii_lowercase()
}

/// Reads a payment that is told to be for `charge`.
///
/// # Errors
///
/// [`GatewayError::Untrusted`] when it is unreadable, or for another order, amount or currency.
pub fn intent(body: &[u8], charge: &Charge<'_>) -> Result<PaymentIntent, GatewayError> {
    let intent: PaymentIntent =
        serde_json::from_slice(body).map_err(|_| untrusted("it is no payment"))?;
    let order = intent.metadata.get("order_id").map(String::as_str);
    if order != Some(charge.order_id) {
        return Err(untrusted("it is about another order"));
    }
    if intent.currency != currency_code(charge.amount.currency()) {
        return Err(untrusted("it is about another currency"));
    }
    if intent.amount != units(charge.amount)? {
        return Err(untrusted("it is about another amount"));
    }
    Ok(intent)
}

/// The name of a payment that was opened for `charge`.
///
/// # Errors
///
/// As [`intent`].
pub fn opened(body: &[u8], charge: &Charge<'_>) -> Result<Reference, GatewayError> {
    let intent = intent(body, charge)?;
    intent
        .id
        .parse()
        .map_err(|_| untrusted("the payment's name is none"))
}

/// How the payment `reference` for `charge` stands.
///
/// # Errors
///
/// As [`intent`]; [`GatewayError::Transient`] while the bank is at it.
pub fn payment_state(
    body: &[u8],
    charge: &Charge<'_>,
    reference: &Reference,
) -> Result<PaymentState, GatewayError> {
    let intent = intent(body, charge)?;
    if intent.id != reference.as_str() {
        return Err(untrusted("it is about another payment"));
    }
    match intent.status {
        Status::RequiresConfirmation => Ok(PaymentState::Opened),
        // Opened without its method, for Stripe did not know it.
        Status::RequiresPaymentMethod => Ok(PaymentState::Declined {
            code: intent
                .last_payment_error
                .as_ref()
                .map_or(DeclineCode::UnknownMethod, decline_code),
        }),
        Status::RequiresAction => Ok(PaymentState::Declined {
            code: DeclineCode::RequiresAction,
        }),
        Status::Processing => Err(GatewayError::Transient(
            "the payment is being processed".to_owned(),
        )),
        Status::RequiresCapture => match intent.amount_capturable {
            Some(held) if held != intent.amount => Err(untrusted("another amount is held")),
            _ => Ok(PaymentState::Authorised),
        },
        Status::Canceled => Ok(PaymentState::Voided),
        Status::Succeeded => captured(&intent, charge),
        Status::Unknown => Err(untrusted("the payment's status is unknown")),
    }
}

fn captured(intent: &PaymentIntent, charge: &Charge<'_>) -> Result<PaymentState, GatewayError> {
    let captured = intent.amount_received.unwrap_or(intent.amount);
    let refunded = match intent.latest_charge {
        Some(LatestCharge::Charge { amount_refunded }) => amount_refunded,
        _ => 0,
    };
    if captured > intent.amount || refunded > captured {
        return Err(untrusted("more was taken or given back than there was"));
    }
    let currency = charge.amount.currency();
    Ok(PaymentState::Captured {
        captured: money(captured, currency)?,
        refunded: money(refunded, currency)?,
    })
}

/// Reads a refund of a payment.
///
/// # Errors
///
/// [`GatewayError::Untrusted`] when it is unreadable or not of this payment.
pub fn refund(body: &[u8], reference: &Reference) -> Result<Refund, GatewayError> {
    let refund: Refund = serde_json::from_slice(body).map_err(|_| untrusted("it is no refund"))?;
    if refund.payment_intent.as_deref() == Some(reference.as_str()) {
        Ok(refund)
    } else {
        Err(untrusted("the refund is of another payment"))
    }
}

/// Reads the refunds of a payment.
///
/// # Errors
///
/// [`GatewayError::Untrusted`] when they are unreadable or not of this payment,
/// [`GatewayError::Permanent`] when they are more than a page.
pub fn refunds(body: &[u8], reference: &Reference) -> Result<Vec<Refund>, GatewayError> {
    let page: Refunds =
        serde_json::from_slice(body).map_err(|_| untrusted("it is no list of refunds"))?;
    if page.has_more {
        let reason = "the payment has too many refunds";
        return Err(GatewayError::Permanent(reason.to_owned()));
    }
    let is_other = |refund: &Refund| refund.payment_intent.as_deref() != Some(reference.as_str());
    if page.data.iter().any(is_other) {
        return Err(untrusted("a refund is of another payment"));
    }
    Ok(page.data)
}

/// How the refund `refund_id` of `amount` ended, if it is among `refunds`.
///
/// # Errors
///
/// [`GatewayError::Untrusted`] when it is of another order, amount or currency.
pub fn refunding(
    refunds: &[Refund],
    charge: &Charge<'_>,
    amount: Money,
    refund_id: &str,
) -> Result<Option<Refunding>, GatewayError> {
    let told = |refund: &Refund, name: &str| refund.metadata.get(name).cloned();
    let mut found = refunds
        .iter()
        .filter(|refund| told(refund, "refund_id").as_deref() == Some(refund_id));
    let Some(refund) = found.next() else {
        return Ok(None);
    };
    if told(refund, "order_id").as_deref() != Some(charge.order_id) {
        return Err(untrusted("the refund is of another order"));
    }
    if matches!(
        refund.status,
        Some(RefundStatus::Failed | RefundStatus::Canceled)
    ) {
        return Ok(Some(Refunding::RefusedBefore(DeclineCode::Declined)));
    }
    if refund.currency != currency_code(amount.currency()) || refund.amount != units(amount)? {
        return Err(untrusted("the refund is of another amount"));
    }
    if refund.status == Some(RefundStatus::Unknown) {
        return Err(untrusted("the refund's status is unknown"));
    }
    Ok(Some(Refunding::Refunded))
}

/// Whether `amount` more can be given back of what was taken of a payment that stands so.
///
/// # Errors
///
/// As [`units`], and [`GatewayError::Permanent`] for another currency or where nothing was taken.
pub fn is_left(
    refunds: &[Refund],
    state: PaymentState,
    amount: Money,
) -> Result<bool, GatewayError> {
    let PaymentState::Captured { captured, .. } = state else {
        let reason = "nothing was taken to be refunded";
        return Err(GatewayError::Permanent(reason.to_owned()));
    };
    if amount.currency() != captured.currency() {
        let reason = "the refund is in another currency than the payment";
        return Err(GatewayError::Permanent(reason.to_owned()));
    }
    let stands = |refund: &&Refund| {
        !matches!(
            refund.status,
            Some(RefundStatus::Failed | RefundStatus::Canceled)
        )
    };
    let given = refunds
        .iter()
        .filter(stands)
        .try_fold(units(amount)?, |sum, refund| sum.checked_add(refund.amount));
    let most = units(captured)?;
    Ok(given.is_some_and(|given| given <= most))
}

fn untrusted(reason: &str) -> GatewayError {
    GatewayError::Untrusted(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(amount: &str, currency: &str) -> Money {
        Money::parse(amount, currency.parse().unwrap()).unwrap()
    }

    fn state(changes: &Value) -> Result<PaymentState, GatewayError> {
        let charge = Charge {
            order_id: "ORD-1",
            amount: of("34.88", "SGD"),
            method: "pm_card_visa",
        };
        let mut intent = json!({
            "id": "pi_1", "object": "payment_intent", "amount": 3488, "currency": "sgd",
            "status": "requires_capture", "metadata": {"order_id": "ORD-1"}, "livemode": false,
        });
        for (name, value) in changes.as_object().unwrap() {
            intent[name] = value.clone();
        }
        payment_state(
            intent.to_string().as_bytes(),
            &charge,
            &"pi_1".parse().unwrap(),
        )
    }

    fn read(status: u16, body: &[u8]) -> Refusal {
        Refusal::read(&Answer {
            status,
            is_replayed: false,
            body: bytes::Bytes::copy_from_slice(body),
        })
    }

    fn declined(code: DeclineCode) -> PaymentState {
        PaymentState::Declined { code }
    }

    #[test]
    fn a_payment_stands_as_its_status_says() {
        let status = |status| state(&json!({"status": status}));
        assert_eq!(status("requires_confirmation"), Ok(PaymentState::Opened));
        assert_eq!(status("requires_capture"), Ok(PaymentState::Authorised));
        assert_eq!(status("canceled"), Ok(PaymentState::Voided));
        let unknown = Ok(declined(DeclineCode::UnknownMethod));
        assert_eq!(status("requires_payment_method"), unknown);
        let action = Ok(declined(DeclineCode::RequiresAction));
        assert_eq!(status("requires_action"), action);
        assert!(status("processing").unwrap_err().retryable());
        assert!(matches!(
            status("brand_new"),
            Err(GatewayError::Untrusted(_))
        ));
        let error = json!({"type": "card_error", "code": "expired_card", "decline_code": null});
        let failed = json!({"status": "requires_payment_method", "last_payment_error": error});
        assert_eq!(state(&failed), Ok(declined(DeclineCode::ExpiredCard)));
        let captured = |charge: Value| {
            state(&json!({"status": "succeeded", "amount_received": 3488, "latest_charge": charge}))
        };
        let refunded = |amount| {
            Ok(PaymentState::Captured {
                captured: of("34.88", "SGD"),
                refunded: of(amount, "SGD"),
            })
        };
        assert_eq!(captured(json!("ch_1")), refunded("0"));
        assert_eq!(
            captured(json!({"id": "ch_1", "amount_refunded": 1000})),
            refunded("10")
        );
        assert!(captured(json!({"id": "ch_1", "amount_refunded": 3489})).is_err());
    }

    #[test]
    fn a_payment_that_differs_in_anything_is_not_ours() {
        for changes in [
            json!({"id": "pi_2"}),
            json!({"amount": 3487}),
            json!({"amount": "3488"}),
            json!({"amount": -3488}),
            json!({"currency": "usd"}),
            json!({"metadata": {}}),
            json!({"metadata": {"order_id": "ORD-2"}}),
            json!({"amount_capturable": 3487}),
            json!({"status": null}),
            json!({"status": "succeeded", "amount_received": 3489}),
        ] {
            let error = state(&changes).unwrap_err();
            assert!(
                matches!(error, GatewayError::Untrusted(_)),
                "{changes}: {error}"
            );
        }
    }

    #[test]
    fn an_error_may_pass_or_is_for_good_and_tells_only_words() {
        let error = |status: u16, body: &str| {
            let error = GatewayError::from(read(status, body.as_bytes()));
            (error.retryable(), error.to_string())
        };
        for status in [409, 429, 500, 502, 503] {
            assert!(error(status, "<html>").0, "{status}");
        }
        for status in [301, 400, 403, 404] {
            assert!(!error(status, "{}").0, "{status}");
        }
        let body = r#"{"error":{"type":"idempotency_error","code":"Jane Doe 4242","message":"x"}}"#;
        let text = "payment provider refused the call: HTTP 400 idempotency_error";
        assert_eq!(error(400, body), (false, text.to_owned()));
    }

    #[test]
    fn a_decline_is_of_the_payment_that_was_asked_about() {
        let refusal = |status, of: Value| {
            let error = json!({"type": "card_error", "code": "card_declined",
                "decline_code": "lost_card", "payment_intent": of});
            let body = json!({"error": error}).to_string();
            read(status, body.as_bytes()).decline(&"pi_1".parse().unwrap())
        };
        assert_eq!(
            refusal(402, json!({"id": "pi_1"})),
            Some(DeclineCode::Declined)
        );
        assert_eq!(refusal(402, Value::Null), Some(DeclineCode::Declined));
        assert_eq!(refusal(402, json!({"id": "pi_2"})), None);
        assert_eq!(refusal(400, json!({"id": "pi_1"})), None);
    }

    #[test]
    fn amounts_are_counted_in_the_units_that_stripe_counts_in() {
        for (amount, currency, expected) in [
            ("34.88", "SGD", 3488),
            ("34.8800", "SGD", 3488),
            ("500", "JPY", 500),
            ("5", "ISK", 500),
            ("1.250", "KWD", 1250),
            ("7", "MGA", 7),
        ] {
            assert_eq!(
                units(of(amount, currency)),
                Ok(expected),
                "{amount} {currency}"
            );
        }
        for (amount, currency) in [
            ("0", "SGD"),
            ("-1", "SGD"),
            ("0.001", "SGD"),
            ("0.5", "JPY"),
            ("7.5", "MGA"),
        ] {
            assert!(units(of(amount, currency)).is_err(), "{amount} {currency}");
        }
    }

    proptest! {
        #[test]
        fn units_are_the_amount_and_back(
            counted in 1_u64..100_000_000,
            code in prop::sample::select(vec!["SGD", "JPY", "KWD", "ISK", "MGA", "CLF"]),
        ) {
            let currency = code.parse().unwrap();
            prop_assert_eq!(units(money(counted, currency).unwrap()), Ok(counted));
        }

        #[test]
        fn no_answer_makes_it_panic(body: Vec<u8>, status in 0_u16..600) {
            let charge = Charge { order_id: "ORD-1", amount: of("1", "SGD"), method: "m" };
            let reference = "pi_1".parse().unwrap();
            prop_assert!(payment_state(&body, &charge, &reference).is_err());
            prop_assert!(refunds(&body, &reference).is_err());
            let refusal = read(status, &body);
            prop_assert!(refusal.refund().is_none() || (400..500).contains(&status));
            let _ = GatewayError::from(refusal);
        }
    }
}
