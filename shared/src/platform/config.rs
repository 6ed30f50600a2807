//! Configuration from environment variables: one small type per concern, each failing with the name
//! of the variable that is missing or wrong.

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
    fn a_retention_is_a_number_of_days_within_limits() {
        assert_eq!(RawRetention::new(90).unwrap().milliseconds(), 7_776_000_000);
        for days in [0, 3651] {
            assert!(RawRetention::new(days).is_err(), "{days}");
        }
    }
}
