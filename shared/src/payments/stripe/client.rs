//! The calls that a payment is made of.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;

use super::{
    api_key::ApiKey,
    http::{Http, Request},
    model::Refund,
    rules::{self, Refusal},
};
use crate::{
    payments::{
        model::{
            Charge, DeclineCode, GatewayError, MOST_REFUNDS, PaymentState, Reference, Refunding,
        },
        rules::Outcome,
    },
    platform::{
        clock::Clock,
        config::{PaymentSecret, StripeUrl},
        money::Money,
    },
};

/// Time of a call with all its requests.
const BUDGET: Duration = Duration::from_secs(20);

/// Most idempotency keys of one request.
const MOST_KEYS: u32 = 16;

/// Stripe.
///
/// Stripe remembers an idempotency key for a day at least, with whatever it answered, failures of
/// its own included: a request that only gets such a failure again is sent with the next key of
/// `{key}`, `{key}:2`, `{key}:3`, …, the same for all who send it. What makes that safe, and stands
/// in for keys that are forgotten, is the payment itself: an intent is confirmed, captured and
/// cancelled once, and a refund is looked for by its `refund_id` before it is made.
/// <https://docs.stripe.com/api/idempotent_requests>
#[derive(Debug)]
pub struct Stripe {
    http: Http,
    key: ApiKey,
}

/// A request that did not succeed.
enum Failure {
    /// Stripe refused it.
    Refused(Refusal),
    /// What it led to is not known.
    Unknown(GatewayError),
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::Unknown(error)
    }
}

impl From<Failure> for GatewayError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Unknown(error) => error,
        }
    }
}

impl Stripe {
    /// The provider at `url`, with the key in `secret`.
    #[must_use]
    pub fn new(secrets: Client, secret: PaymentSecret, url: &StripeUrl, clock: Clock) -> Self {
        Self::over(Http::new(url), secrets, secret, clock)
    }

    /// As [`Stripe::new`], by another way to speak with it.
    #[must_use]
    pub fn over(http: Http, secrets: Client, secret: PaymentSecret, clock: Clock) -> Self {
        Self {
            http,
            key: ApiKey::new(secrets, secret, clock),
        }
    }

    /// Creates the intent, without confirming it. A payment method that Stripe does not take is left
    /// out, so that the payment has a name by which to be declined.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is not known to be there.
    pub async fn open(&self, charge: &Charge<'_>) -> Result<Reference, GatewayError> {
        let work = async {
            match self.create(charge, "open", true).await {
                Err(Failure::Refused(refusal)) if refusal.is_about_method() => {
                    Ok(self.create(charge, "open-without-method", false).await?)
                }
                // There is no name to ask by; with its key, the same request is the question.
                Err(Failure::Unknown(_)) => Ok(self.create(charge, "open", true).await?),
                created => Ok(created?),
            }
        };
        within_budget(work).await
    }

    async fn create(
        &self,
        charge: &Charge<'_>,
        step: &str,
        with_method: bool,
    ) -> Result<Reference, Failure> {
        let amount = rules::units(charge.amount)?.to_string();
        let currency = rules::currency_code(charge.amount.currency());
        let mut form = vec![
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("capture_method", "manual"),
            ("payment_method_types[]", "card"),
            ("metadata[order_id]", charge.order_id),
        ];
        if with_method {
            form.push(("payment_method", charge.method));
        }
        let key = format!("{}:{step}", charge.order_id);
        let body = self.post("/v1/payment_intents", &key, &form).await?;
        Ok(rules::opened(&body, charge)?)
    }

    /// Confirms the intent.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown how the payment stands.
    pub async fn authorise(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        let work = self.act(charge, reference, "authorise", "confirm");
        within_budget(work).await
    }

    /// Captures the intent.
    ///
    /// # Errors
    ///
    /// As [`Stripe::authorise`].
    pub async fn capture(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        within_budget(self.act(charge, reference, "capture", "capture")).await
    }

    /// Cancels the intent.
    ///
    /// # Errors
    ///
    /// As [`Stripe::authorise`].
    pub async fn void(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<Outcome, GatewayError> {
        within_budget(self.act(charge, reference, "void", "cancel")).await
    }

    async fn act(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        step: &str,
        verb: &str,
    ) -> Result<Outcome, GatewayError> {
        let path = format!("/v1/payment_intents/{reference}/{verb}");
        let key = format!("{}:{step}", charge.order_id);
        let failure = match self.post(&path, &key, &[]).await {
            Ok(body) => match rules::payment_state(&body, charge, reference) {
                Ok(state) => return Ok(state.into()),
                Err(error) => error,
            },
            Err(Failure::Refused(refusal)) => match refusal.decline(reference) {
                Some(code) => return Ok(PaymentState::Declined { code }.into()),
                None => refusal.into(),
            },
            Err(Failure::Unknown(error)) => error,
        };
        Ok(Outcome {
            state: self.ask(charge, reference).await?,
            failure: Some(failure),
        })
    }

    /// How the intent stands.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when Stripe does not say.
    pub async fn state(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<PaymentState, GatewayError> {
        within_budget(self.ask(charge, reference)).await
    }

    async fn ask(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
    ) -> Result<PaymentState, GatewayError> {
        let path = format!("/v1/payment_intents/{reference}?expand%5B%5D=latest_charge");
        let body = self.get(path).await?;
        rules::payment_state(&body, charge, reference)
    }

    /// Refunds a part of what was captured, unless that has been done.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when it is unknown whether it was.
    pub async fn refund(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        amount: Money,
        refund_id: &str,
    ) -> Result<Refunding, GatewayError> {
        within_budget(self.find_or_refund(charge, reference, amount, refund_id)).await
    }

    async fn find_or_refund(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        amount: Money,
        refund_id: &str,
    ) -> Result<Refunding, GatewayError> {
        let known = self.refunds(reference).await?;
        if let Some(done) = rules::refunding(&known, charge, amount, refund_id)? {
            return Ok(done);
        }
        let state = self.ask(charge, reference).await?;
        if !rules::is_left(&known, state, amount)? {
            return Ok(Refunding::Refused(DeclineCode::ExceedsPayment));
        }
        let mut number = 1;
        loop {
            let posted = self.post_refund(charge, reference, amount, refund_id, number);
            let failure = match posted.await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            // Whatever is said of it, it may have been made.
            let known = self.refunds(reference).await?;
            if let Some(done) = rules::refunding(&known, charge, amount, refund_id)? {
                return Ok(done);
            }
            match failure {
                Failure::Refused(refusal) => match refusal.refund() {
                    Some(refused) => return Ok(refused),
                    None if refusal.is_replayed && number < MOST_KEYS => number += 1,
                    None => return Err(refusal.into()),
                },
                Failure::Unknown(error) => return Err(error),
            }
        }
    }

    async fn post_refund(
        &self,
        charge: &Charge<'_>,
        reference: &Reference,
        amount: Money,
        refund_id: &str,
        number: u32,
    ) -> Result<Refunding, Failure> {
        let units = rules::units(amount)?.to_string();
        let form = [
            ("payment_intent", reference.as_str()),
            ("amount", &units),
            ("metadata[order_id]", charge.order_id),
            ("metadata[refund_id]", refund_id),
        ];
        let key = format!("{}:refund:{refund_id}", charge.order_id);
        let body = self.post_as("/v1/refunds", &key, number, &form).await?;
        let refund = rules::refund(&body, reference)?;
        let done = rules::refunding(&[refund], charge, amount, refund_id)?;
        Ok(done.ok_or_else(|| GatewayError::Untrusted("it is about another refund".to_owned()))?)
    }

    async fn refunds(&self, reference: &Reference) -> Result<Vec<Refund>, GatewayError> {
        let path = format!("/v1/refunds?payment_intent={reference}&limit={MOST_REFUNDS}");
        let body = self.get(path).await?;
        rules::refunds(&body, reference)
    }

    async fn get(&self, path: String) -> Result<Bytes, Failure> {
        self.call(Request {
            path,
            form: None,
            idempotency_key: None,
        })
        .await
    }

    async fn post(&self, path: &str, key: &str, form: &[(&str, &str)]) -> Result<Bytes, Failure> {
        let mut number = 1;
        loop {
            match self.post_as(path, key, number, form).await {
                Err(Failure::Refused(refusal))
                    if refusal.is_replayed && !refusal.is_about_method() && number < MOST_KEYS =>
                {
                    number += 1;
                }
                answer => return answer,
            }
        }
    }

    /// Posts with the `number`th key of the sequence that begins with `key`.
    async fn post_as(
        &self,
        path: &str,
        key: &str,
        number: u32,
        form: &[(&str, &str)],
    ) -> Result<Bytes, Failure> {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        self.call(Request {
            path: path.to_owned(),
            form: Some(encoded.extend_pairs(form).finish()),
            idempotency_key: Some(match number {
                1 => key.to_owned(),
                _ => format!("{key}:{number}"),
            }),
        })
        .await
    }

    async fn call(&self, request: Request) -> Result<Bytes, Failure> {
        let mut answer = self.http.send(&self.key.get().await?, &request).await?;
        if answer.status == 401 {
            answer = self.http.send(&self.key.fetch().await?, &request).await?;
        }
        if (200..300).contains(&answer.status) {
            Ok(answer.body)
        } else {
            Err(Failure::Refused(Refusal::read(&answer)))
        }
    }
}

async fn within_budget<T>(
    work: impl Future<Output = Result<T, GatewayError>>,
) -> Result<T, GatewayError> {
    let out_of_time = |_| GatewayError::Transient("it took too long to find out".to_owned());
    let done = tokio::time::timeout(BUDGET, work).await;
    done.map_err(out_of_time)?
}
