//! What a function tells about itself: JSON log lines, metrics, and the ids that tie them together.
//!
//! Field names are those of Powertools for AWS Lambda, so queries written for it work here:
//! <https://docs.aws.amazon.com/powertools/python/latest/core/logger/>.

mod correlation;
mod invocation;
mod log;
mod metrics;

pub use correlation::{
    CORRELATION_HEADER, CorrelationId, InvalidCorrelationId, InvalidTraceParent, TraceContext,
    TraceParent,
};
pub use invocation::{Invocation, current, scope};
pub use log::{FunctionIdentity, JsonLayer, init};
pub use metrics::{Metrics, Unit};

/// The messages of `error` and everything that caused it, outermost first, joined by `: `. For logs
/// only: the inner messages are not written for callers.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
