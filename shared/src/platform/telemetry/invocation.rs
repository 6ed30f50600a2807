//! The invocation under way: its ids stand on every log line written while it runs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::correlation::TraceContext;
use crate::platform::config;

/// What is known about one invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's request id; empty outside Lambda.
    pub request_id: String,
    /// The function's ARN, version or alias included; empty outside Lambda.
    pub function_arn: String,
    /// The X-Ray trace id (the `Root` of Lambda's trace header).
    pub xray_trace_id: Option<String>,
    /// The ids that came with the work and travel on with it.
    pub trace: TraceContext,
    /// Whether this is the first invocation of the process.
    pub cold_start: bool,
    /// The request's path, for `instance` in problems.
    pub path: Option<String>,
}

impl Invocation {
    /// Begins an invocation. The first one of a process is its cold start, except where Lambda had
    /// started the process ahead of demand.
    #[must_use]
    pub fn begin(context: Option<&lambda_runtime::Context>, trace: TraceContext) -> Self {
        Self {
            request_id: context.map(|c| c.request_id.clone()).unwrap_or_default(),
            function_arn: context
                .map(|c| c.invoked_function_arn.clone())
                .unwrap_or_default(),
            xray_trace_id: context
                .and_then(|c| c.xray_trace_id.as_deref())
                .and_then(trace_root),
            trace,
            cold_start: take_cold_start(),
            path: None,
        }
    }

    /// Names the request's path.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// The same invocation doing another piece of work, such as one message of a batch.
    #[must_use]
    pub fn with_trace(&self, trace: TraceContext) -> Self {
        Self {
            trace,
            ..self.clone()
        }
    }
}

fn take_cold_start() -> bool {
    static WARM: AtomicBool = AtomicBool::new(false);
    let first = !WARM.swap(true, Ordering::Relaxed);
    first
        && config::optional("AWS_LAMBDA_INITIALIZATION_TYPE")
            .is_none_or(|kind| kind != "provisioned-concurrency")
}

fn trace_root(header: &str) -> Option<String> {
    header
        .split(';')
        .find_map(|part| part.trim().strip_prefix("Root="))
        .map(str::to_owned)
}

tokio::task_local! {
    static CURRENT: Arc<Invocation>;
}

/// Runs `work` as part of `invocation`. Tasks spawned inside need a scope of their own, made from
/// [`current`].
pub async fn scope<F: Future>(invocation: Invocation, work: F) -> F::Output {
    CURRENT.scope(Arc::new(invocation), work).await
}

/// The invocation that the calling task works for.
#[must_use]
pub fn current() -> Option<Arc<Invocation>> {
    CURRENT.try_with(Arc::clone).ok()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_trace_id_is_the_root_of_the_header() {
        assert_eq!(
            trace_root(
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
            ),
            Some("1-5759e988-bd862e3fe1be46a994272793".to_owned())
        );
        assert_eq!(trace_root("Parent=53995c3f42cd8ad8"), None);
    }

    #[tokio::test]
    async fn an_invocation_is_known_inside_its_scope_only() {
        let trace = TraceContext::resolve(Some("abc"), None, Timestamp::UNIX_EPOCH, [0; 10]);
        let invocation = Invocation::begin(None, trace);
        let again = Invocation::begin(None, invocation.trace.clone());
        assert!(!again.cold_start);
        let inside = scope(invocation, async { current() }).await;
        assert_eq!(inside.unwrap().trace.correlation_id.as_str(), "abc");
        assert!(current().is_none());
    }
}
