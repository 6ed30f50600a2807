//! The `sensor-ingest` function.

use functions::sensors::ingest::api::router;
use functions::sensors::ingest::context::Context;
use shared::platform::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let context = Context::from_env()?;
    http::run(router(context)).await
}
