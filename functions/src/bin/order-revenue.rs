//! The `order-revenue` function.

use functions::sales::order_revenue::{Context, handle};
use shared::platform::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let context = Context::from_env()?;
    let handler = lambda_runtime::service_fn(async |event| Box::pin(handle(&context, event)).await);
    Box::pin(lambda_runtime::run(handler)).await
}
