//! The `catalog-api` function.

use functions::catalog::api::router;
use functions::catalog::context::Context;
use shared::platform::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let context = Context::from_env()?;
    http::run(router(context)).await
}
