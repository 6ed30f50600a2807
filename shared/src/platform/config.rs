//! Configuration from environment variables: one small type per concern, each failing with the name
//! of the variable that is missing or wrong.

use crate::platform::money::Currency;
use crate::platform::secret::Secret;

/// A variable that the function cannot start without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The variable is unset or empty.
    #[error("environment variable {name} is missing")]
    MissingVariable {
        /// The variable's name.
        name: &'static str,
    },
    /// The variable's value cannot be used. The value itself is not told: it may be a secret.
    #[error("environment variable {name} is invalid: {reason}")]
    InvalidVariable {
        /// The variable's name.
        name: &'static str,
        /// What a valid value looks like.
        reason: &'static str,
    },
}

/// Reads `name` from the process environment; empty counts as missing, as a template cannot
/// leave a variable out by condition.
///
/// # Errors
/// [`ConfigError::MissingVariable`] when it is unset or empty.
pub fn variable(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::MissingVariable { name })
}

/// Reads `name` from the process environment if it is set and not empty.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident, $variable:literal) => {
        $(#[$doc])*
        #[doc = concat!("\n\nRead from `", $variable, "`.")]
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Takes a value that is already known, as tests do.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// Reads the variable.
            ///
            /// # Errors
            /// [`ConfigError`] when the variable is missing.
            pub fn from_env() -> Result<Self, ConfigError> {
                variable($variable).map(Self)
            }

            /// The value as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

setting!(
    /// The deployment stage: `local`, `staging` or `production`.
    Stage, "STAGE"
);
setting!(
    /// Name of the table that holds sales days, their chunks and imports.
    SalesTable, "SALES_TABLE"
);
setting!(
    /// Name of the bucket that takes sales files.
    ImportsBucket, "IMPORTS_BUCKET"
);
setting!(
    /// URL of the queue that carries an import's continuation and undo.
    ImportQueue, "SALES_IMPORT_QUEUE_URL"
);
setting!(
    /// URL of the queue that takes import messages no run can ever handle.
    ImportDeadLetters, "SALES_IMPORT_DEAD_LETTERS_URL"
);
setting!(
    /// Name of the table that holds devices, their keys, readings and roll-ups.
    SensorsTable, "SENSORS_TABLE"
);
setting!(
    /// URL of the queue that carries accepted readings to the table.
    ReadingsQueue, "SENSOR_READINGS_QUEUE_URL"
);
setting!(
    /// URL of the queue that takes messages of readings no run can ever store.
    ReadingsDeadLetters, "SENSOR_READINGS_DEAD_LETTERS_URL"
);
setting!(
    /// Name of the usage plan that device keys are counted against; the names of the keys in API
    /// Gateway begin with it.
    DeviceUsagePlan, "DEVICE_USAGE_PLAN"
);

setting!(
    /// Name of the table that holds customers, catalogue, stock, orders and notifications.
    CommerceTable, "COMMERCE_TABLE"
);
setting!(
    /// The table of tax rates, as JSON.
    TaxRates, "TAX_RATES"
);
setting!(
    /// URL of the queue that carries paid and refunded orders to the totals of their day.
    OrderRevenueQueue, "ORDER_REVENUE_QUEUE_URL"
);
setting!(
    /// URL of the queue that takes events whose revenue no run can ever count.
    OrderRevenueDeadLetters, "ORDER_REVENUE_DEAD_LETTERS_URL"
);
setting!(
    /// ARN of the state machine that carries an order through.
    OrderSaga, "ORDER_SAGA_ARN"
);
setting!(
    /// Id of the user pool whose people are the customers.
    UserPool, "USER_POOL_ID"
);
setting!(
    /// Name of the event bus that domain events are put on.
    EventBus, "EVENT_BUS"
);
setting!(
    /// URL of the queue that takes the places of events that can never be put on the bus.
    EventPoison, "EVENT_POISON_QUEUE_URL"
);
setting!(
    /// URL of the queue that says which notifications are to be sent.
    NotificationQueue, "NOTIFICATION_QUEUE_URL"
);
setting!(
    /// URL of the queue that takes messages whose notification cannot be sent.
    NotificationDeadLetters, "NOTIFICATION_DEAD_LETTERS_URL"
);
setting!(
    /// E-mail address that notifications come from, verified with the provider.
    SenderEmail, "SENDER_EMAIL"
);
setting!(
    /// E-mail address that learns of new orders, if anybody wants to.
    AdminAlertEmail, "ADMIN_ALERT_EMAIL"
);

setting!(
    /// ARN of the secret that holds the payment provider's key, as `{"stripe_api_key":"…"}`.
    PaymentSecret, "PAYMENT_SECRET_ARN"
);

/// Who takes the customers' money.
///
/// Read from `PAYMENT_PROVIDER`: `stripe`, or `sandbox`, which a production stage refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentProvider {
    /// Nobody: payments go by scripts.
    Sandbox,
    /// Stripe.
    Stripe,
}

impl PaymentProvider {
    const VARIABLE: &'static str = "PAYMENT_PROVIDER";

    /// Takes a word for it that is already known, for a stage.
    ///
    /// # Errors
    /// [`ConfigError::InvalidVariable`] for another word, and for the sandbox in production.
    pub fn new(word: &str, stage: &Stage) -> Result<Self, ConfigError> {
        let invalid = |reason| ConfigError::InvalidVariable {
            name: Self::VARIABLE,
            reason,
        };
        match word {
            "stripe" => Ok(Self::Stripe),
            "sandbox" if stage.as_str() == "production" => Err(invalid(
                "the sandbox takes no money, so it is not for production",
            )),
            "sandbox" => Ok(Self::Sandbox),
            _ => Err(invalid("needs to be stripe or sandbox")),
        }
    }

    /// Reads the variable, and `STAGE`.
    ///
    /// # Errors
    /// [`ConfigError`] when a variable is missing, or as [`PaymentProvider::new`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new(&variable(Self::VARIABLE)?, &Stage::from_env()?)
    }
}

/// Where Stripe's API is: `https://api.stripe.com`, or an emulator on the loopback interface by plain
/// HTTP.
///
/// Read from `STRIPE_URL`; Stripe's own when that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeUrl(String);

impl StripeUrl {
    const VARIABLE: &'static str = "STRIPE_URL";

    /// Takes a URL that is already known: a scheme and a host, without a path.
    ///
    /// # Errors
    /// [`ConfigError::InvalidVariable`] when it is another, or plain HTTP beyond the loopback
    /// interface.
    pub fn new(url: impl Into<String>) -> Result<Self, ConfigError> {
        let url = url.into();
        let is_valid = url.parse::<http::Uri>().is_ok_and(|uri| {
            let is_loopback = matches!(uri.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
            let is_allowed = match uri.scheme_str() {
                Some("https") => uri.host().is_some(),
                Some("http") => is_loopback,
                _ => false,
            };
            is_allowed && uri.path_and_query().is_none_or(|path| path == "/")
        });
        if is_valid && !url.contains('@') {
            Ok(Self(url.trim_end_matches('/').to_owned()))
        } else {
            Err(ConfigError::InvalidVariable {
                name: Self::VARIABLE,
                reason: "needs https:// and a host, or http:// and a loopback host",
            })
        }
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// As [`StripeUrl::new`].
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new(optional(Self::VARIABLE).unwrap_or_else(|| "https://api.stripe.com".to_owned()))
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key that signs cursors, at least 32 characters. Replacing it makes every cursor in flight
/// invalid and nothing worse.
///
/// Read from `CURSOR_KEY`.
#[derive(Clone, Debug)]
pub struct CursorKey(Secret<Vec<u8>>);

impl CursorKey {
    const VARIABLE: &'static str = "CURSOR_KEY";
    const MIN_LENGTH: usize = 32;

    /// Takes a key that is already known.
    ///
    /// # Errors
    /// [`ConfigError::InvalidVariable`] when it is shorter than 32 bytes.
    pub fn new(key: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        let key = key.into();
        if key.len() < Self::MIN_LENGTH {
            return Err(ConfigError::InvalidVariable {
                name: Self::VARIABLE,
                reason: "needs at least 32 characters",
            });
        }
        Ok(Self(Secret::new(key)))
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// [`ConfigError`] when the variable is missing or too short.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new(variable(Self::VARIABLE)?)
    }

    /// The key's bytes, for signing.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Days for which raw readings are kept, counted from their arrival: 1 to 3,650.
///
/// Read from `RAW_RETENTION_DAYS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRetention(u16);

impl RawRetention {
    const VARIABLE: &'static str = "RAW_RETENTION_DAYS";
    const MAX_DAYS: u16 = 3650;

    /// Takes a number of days that is already known.
    ///
    /// # Errors
    /// [`ConfigError::InvalidVariable`] when it is not from 1 to 3,650.
    pub fn new(days: u16) -> Result<Self, ConfigError> {
        if (1..=Self::MAX_DAYS).contains(&days) {
            Ok(Self(days))
        } else {
            Err(Self::invalid())
        }
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// [`ConfigError`] when the variable is missing or no such number.
    pub fn from_env() -> Result<Self, ConfigError> {
        let days = variable(Self::VARIABLE)?.parse();
        Self::new(days.map_err(|_| Self::invalid())?)
    }

    const fn invalid() -> ConfigError {
        ConfigError::InvalidVariable {
            name: Self::VARIABLE,
            reason: "needs a whole number from 1 to 3650",
        }
    }

    /// The time in milliseconds.
    #[must_use]
    pub fn milliseconds(self) -> i64 {
        i64::from(self.0) * 86_400_000
    }
}

/// The currency that the store's prices are in; Singapore dollars unless another is given.
///
/// Read from `STORE_CURRENCY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCurrency(Currency);

impl StoreCurrency {
    const VARIABLE: &'static str = "STORE_CURRENCY";

    /// Takes a currency that is already known.
    #[must_use]
    pub const fn new(currency: Currency) -> Self {
        Self(currency)
    }

    /// Reads the variable.
    ///
    /// # Errors
    /// [`ConfigError::InvalidVariable`] when it is no currency.
    pub fn from_env() -> Result<Self, ConfigError> {
        let code = optional(Self::VARIABLE).map_or(Ok(Currency::SGD), |code| code.parse());
        let currency = code.map_err(|_| ConfigError::InvalidVariable {
            name: Self::VARIABLE,
            reason: "needs the ISO 4217 code of a currency in use",
        });
        currency.map(Self)
    }

    /// The currency.
    #[must_use]
    pub const fn get(self) -> Currency {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(
            variable("MILLRACE_VARIABLE_THAT_IS_NEVER_SET")
                .unwrap_err()
                .to_string(),
            "environment variable MILLRACE_VARIABLE_THAT_IS_NEVER_SET is missing"
        );
    }

    #[test]
    fn a_short_cursor_key_is_refused_without_telling_it() {
        let message = CursorKey::new("too short").unwrap_err().to_string();
        assert_eq!(
            message,
            "environment variable CURSOR_KEY is invalid: needs at least 32 characters"
        );
        let key = CursorKey::new("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(format!("{key:?}"), "CursorKey([redacted])");
    }

    #[test]
    fn the_sandbox_is_refused_in_production() {
        let provider = |word, stage| PaymentProvider::new(word, &Stage::new(stage));
        for stage in ["local", "staging"] {
            assert_eq!(provider("sandbox", stage), Ok(PaymentProvider::Sandbox));
        }
        assert!(provider("sandbox", "production").is_err());
        assert_eq!(
            provider("stripe", "production"),
            Ok(PaymentProvider::Stripe)
        );
        assert!(provider("Stripe", "production").is_err());
    }

    #[test]
    fn stripe_is_spoken_to_in_plain_text_on_the_loopback_interface_only() {
        for url in [
            "https://api.stripe.com/",
            "http://127.0.0.1:8420",
            "http://[::1]:1",
        ] {
            let parsed = StripeUrl::new(url).unwrap();
            assert_eq!(parsed.as_str(), url.trim_end_matches('/'));
        }
        for url in [
            "",
            "api.stripe.com",
            "http://api.stripe.com",
            "http://127.0.0.1@example.com",
            "https://example.com/v1",
            "ftp://localhost",
        ] {
            assert!(StripeUrl::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_retention_is_a_number_of_days_within_limits() {
        assert_eq!(RawRetention::new(90).unwrap().milliseconds(), 7_776_000_000);
        for days in [0, 3651] {
            assert!(RawRetention::new(days).is_err(), "{days}");
        }
    }
}
