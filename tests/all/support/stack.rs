//! The deployed stack that the end-to-end tests talk to.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the stack is and how to be somebody there.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) api_url: String,
    pub(crate) admin_token: String,
    pub(crate) analyst_token: String,
    pub(crate) customer_token: String,
    pub(crate) bucket: String,
    pub(crate) table: String,
    pub(crate) queue_url: String,
    pub(crate) dead_letters_url: String,
    pub(crate) endpoint: String,
    pub(crate) sensors_table: String,
    pub(crate) readings_queue_url: String,
    pub(crate) readings_dead_letters_url: String,
    pub(crate) aggregate_function: String,
    /// For every device.
    pub(crate) device_key: String,
}

/// The stack that the environment names. Without one a test fails: a test that is skipped proves
/// nothing.
pub(crate) fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| Stack {
        api_url: variable("MILLRACE_API_URL"),
        admin_token: variable("MILLRACE_ADMIN_TOKEN"),
        analyst_token: variable("MILLRACE_ANALYST_TOKEN"),
        customer_token: variable("MILLRACE_CUSTOMER_TOKEN"),
        bucket: variable("MILLRACE_BUCKET"),
        table: variable("MILLRACE_TABLE"),
        queue_url: variable("MILLRACE_QUEUE_URL"),
        dead_letters_url: variable("MILLRACE_DEAD_LETTERS_URL"),
        endpoint: variable("MILLRACE_ENDPOINT"),
        sensors_table: variable("MILLRACE_SENSORS_TABLE"),
        readings_queue_url: variable("MILLRACE_READINGS_QUEUE_URL"),
        readings_dead_letters_url: variable("MILLRACE_READINGS_DEAD_LETTERS_URL"),
        aggregate_function: variable("MILLRACE_AGGREGATE_FUNCTION"),
        device_key: variable("MILLRACE_DEVICE_KEY"),
    })
}

/// A variable that `infra/local/with_stack.py` sets.
pub(crate) fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{name} is not set: end-to-end tests need a deployed stack, run them by `make test`"
        ),
    }
}

/// A word that no other test and no earlier run has used.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
