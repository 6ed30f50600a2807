//! The key to Stripe's API, from Secrets Manager.

use aws_sdk_secretsmanager::Client;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::{
    payments::model::GatewayError,
    platform::{
        aws::is_transient, cache::Cache, clock::Clock, config::PaymentSecret, secret::Secret,
    },
};

/// How long a warm function keeps the key. One that was replaced is fetched anew as soon as Stripe
/// refuses it.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// Fetches the key.
#[derive(Debug)]
pub struct ApiKey {
    client: Client,
    secret: PaymentSecret,
    remembered: Cache<(), Secret<String>>,
}

#[derive(Deserialize)]
struct SecretJson {
    stripe_api_key: String,
}

impl ApiKey {
    /// The key in `secret`.
    #[must_use]
    pub fn new(client: Client, secret: PaymentSecret, clock: Clock) -> Self {
        Self {
            client,
            secret,
            remembered: Cache::new(1, clock),
        }
    }

    /// The key, as it is remembered or as it is.
    ///
    /// # Errors
    ///
    /// As [`ApiKey::fetch`].
    pub async fn get(&self) -> Result<Secret<String>, GatewayError> {
        match self.remembered.get(&()) {
            Some(key) => Ok(key),
            None => self.fetch().await,
        }
    }

    /// The key as it is.
    ///
    /// # Errors
    ///
    /// [`GatewayError`] when the secret cannot be read or holds no key.
    pub async fn fetch(&self) -> Result<Secret<String>, GatewayError> {
        let secret = self.client.get_secret_value();
        let secret = secret.secret_id(self.secret.as_str()).send().await;
        let secret = secret.map_err(|error| {
            let reason = "the secret of its key cannot be read".to_owned();
            if is_transient(&error) {
                GatewayError::Transient(reason)
            } else {
                GatewayError::Permanent(reason)
            }
        })?;
        let json = secret.secret_string().unwrap_or_default();
        let key = serde_json::from_str::<SecretJson>(json)
            .ok()
            .map(|secret| secret.stripe_api_key)
            .filter(|key| is_key(key))
            .ok_or_else(|| GatewayError::Permanent("the secret holds no stripe_api_key".into()))?;
        let key = Secret::new(key);
        self.remembered.put((), key.clone(), LIFETIME);
        Ok(key)
    }
}

fn is_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
