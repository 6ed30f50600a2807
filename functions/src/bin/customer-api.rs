//! The `customer-api` function.

use functions::customers::api::router;
use functions::customers::context::Context;
use shared::platform::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let context = Context::from_env()?;
    http::run(router(context)).await
}
