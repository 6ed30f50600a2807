//! Log lines: one JSON object an event, written whole.

use std::fmt;
use std::io::Write;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::invocation;
use crate::platform::{clock, config};

/// What every line says about the function, fixed while the process lives.
#[derive(Clone, Debug, Default)]
pub struct FunctionIdentity {
    /// `POWERTOOLS_SERVICE_NAME`; `service_undefined` when unset, as Powertools has it.
    pub service: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: String,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`, in MB.
    pub memory_size: String,
}

impl FunctionIdentity {
    /// Reads the identity from the environment; what is missing stays empty.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            service: service(),
            name: config::optional("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            memory_size: config::optional("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").unwrap_or_default(),
        }
    }
}

pub(super) fn service() -> String {
    config::optional("POWERTOOLS_SERVICE_NAME").unwrap_or_else(|| "service_undefined".to_owned())
}

/// Where the runtime says once more, without the invocation's ids, that a handler failed or panicked:
/// every handler says so itself.
const RUNTIME_ERRORS: &str = "lambda_runtime::layers::panic";

/// Sends all events to stdout as JSON lines, at the level of `RUST_LOG` (directives such as
/// `info,shared=debug`), else `POWERTOOLS_LOG_LEVEL`, else `info`; panics become error lines. Call it
/// first in `main`; a second call changes nothing.
pub fn init() {
    let filter = ["RUST_LOG", "POWERTOOLS_LOG_LEVEL"]
        .into_iter()
        .find_map(|name| config::optional(name)?.to_lowercase().parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
        .with_target(RUNTIME_ERRORS, LevelFilter::OFF);
    let layer = JsonLayer::new(FunctionIdentity::from_env(), std::io::stdout);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let at = panic.location().map(ToString::to_string);
            let reason = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(panic.location = at, panic.reason = reason, "panicked");
        }));
    }
}

/// Writes events as JSON lines with Powertools' field names. A field of an event that bears the name
/// of a standard one is left out rather than let it forge an id.
pub struct JsonLayer<W> {
    function: FunctionIdentity,
    writer: W,
}

impl<W> JsonLayer<W> {
    /// A layer that opens a writer by `writer` for each line.
    pub const fn new(function: FunctionIdentity, writer: W) -> Self {
        Self { function, writer }
    }

    fn line(&self, event: &Event<'_>, at: Timestamp) -> Vec<u8> {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let invocation = invocation::current();
        let of_invocation = |text: fn(&invocation::Invocation) -> String| {
            invocation
                .as_deref()
                .map_or(Value::Null, |i| Value::String(text(i)))
        };

        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
        put("level", metadata.level().as_str().into());
        put(
            "location",
            format!(
                "{}:{}",
                metadata.module_path().unwrap_or(metadata.target()),
                metadata.line().unwrap_or(0)
            )
            .into(),
        );
        put("message", fields.message.into());
        put("timestamp", clock::rfc3339(at).into());
        put("service", self.function.service.as_str().into());
        put(
            "cold_start",
            invocation
                .as_deref()
                .map_or(Value::Null, |i| i.cold_start.into()),
        );
        put("function_name", self.function.name.as_str().into());
        put(
            "function_memory_size",
            self.function.memory_size.as_str().into(),
        );
        put("function_arn", of_invocation(|i| i.function_arn.clone()));
        put(
            "function_request_id",
            of_invocation(|i| i.request_id.clone()),
        );
        put(
            "correlation_id",
            of_invocation(|i| i.trace.correlation_id.to_string()),
        );
        put(
            "xray_trace_id",
            invocation
                .as_deref()
                .and_then(|i| i.xray_trace_id.clone())
                .into(),
        );
        for (key, value) in fields.values {
            line.entry(key).or_insert(value);
        }
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

impl<S, W, O> Layer<S> for JsonLayer<W>
where
    S: Subscriber,
    W: Fn() -> O + 'static,
    O: Write,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = self.line(event, Timestamp::now());
        // A log that cannot be written has nowhere to complain, and the work goes on without it.
        let _ = (self.writer)().write_all(&line);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.values.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Dispatch;

    use super::*;
    use crate::platform::secret::{Personal, Secret};
    use crate::platform::telemetry::{Invocation, TraceContext, scope};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn dispatch(&self) -> Dispatch {
            let function = FunctionIdentity {
                service: "revenue-api".to_owned(),
                name: "millrace-revenue-api".to_owned(),
                memory_size: "512".to_owned(),
            };
            let output = self.clone();
            Dispatch::new(
                tracing_subscriber::registry()
                    .with(JsonLayer::new(function, move || output.clone())),
            )
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn invocation() -> Invocation {
        Invocation {
            request_id: "c6af9ac6-7b61-11e6-9a41-93e8deadbeef".to_owned(),
            function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:revenue".to_owned(),
            xray_trace_id: Some("1-5759e988-bd862e3fe1be46a994272793".to_owned()),
            trace: TraceContext::resolve(Some("abc-1"), None, Timestamp::UNIX_EPOCH, [0; 10]),
            cold_start: true,
            path: None,
        }
    }

    #[tokio::test]
    async fn a_line_carries_the_powertools_fields_and_those_of_the_event() {
        let captured = Captured::default();
        let guard = tracing::dispatcher::set_default(&captured.dispatch());
        scope(invocation(), async {
            tracing::warn!(
                rows = 3_u64,
                key = "imports/a.csv",
                correlation_id = "forged",
                "import \"slow\""
            );
        })
        .await;
        drop(guard);
        assert!(captured.text().ends_with("}\n"));
        let line: Value = serde_json::from_str(&captured.text()).unwrap();
        insta::assert_json_snapshot!(line, {
            ".timestamp" => "[time]",
            ".location" => "[module:line]",
        }, @r#"
        {
          "cold_start": true,
          "correlation_id": "abc-1",
          "function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:revenue",
          "function_memory_size": "512",
          "function_name": "millrace-revenue-api",
          "function_request_id": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
          "key": "imports/a.csv",
          "level": "WARN",
          "location": "[module:line]",
          "message": "import \"slow\"",
          "rows": 3,
          "service": "revenue-api",
          "timestamp": "[time]",
          "xray_trace_id": "1-5759e988-bd862e3fe1be46a994272793"
        }
        "#);
    }

    #[test]
    fn secrets_and_personal_data_cannot_be_logged() {
        let captured = Captured::default();
        let guard = tracing::dispatcher::set_default(&captured.dispatch());
        let token = Secret::new("eyJhbGciOi");
        let email = Personal::new("jane@example.com");
        tracing::info!(%token, ?email, "signed in as {email} with {token:?}");
        drop(guard);
        let text = captured.text();
        assert!(!text.contains("eyJ") && !text.contains("jane"), "{text}");
        assert_eq!(text.matches("[redacted]").count(), 4);
    }
}
