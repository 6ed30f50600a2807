//! The health API: whether the deployment lives, is ready, and how each part of it is. Public, so it
//! names parts by what they are for and never by where they are.

use std::sync::Arc;

use aws_sdk_sqs::types::QueueAttributeName;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use shared::platform::aws::Clients;
use shared::platform::config::{
    CommerceTable, ConfigError, ImportQueue, ImportsBucket, ReadingsQueue, SalesTable, SensorsTable,
};
use shared::platform::health::{Check, HealthReport, Need};
use shared::platform::http::Json;
use utoipa::ToSchema;

/// What the checks look at.
#[derive(Clone, Debug)]
pub struct Context {
    /// The clients to look with.
    pub clients: Clients,
    /// The sales table.
    pub sales: SalesTable,
    /// The sensors table.
    pub sensors: SensorsTable,
    /// The commerce table.
    pub commerce: CommerceTable,
    /// The bucket for sales files.
    pub bucket: ImportsBucket,
    /// The queue of imports.
    pub imports: ImportQueue,
    /// The queue of readings.
    pub readings: ReadingsQueue,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            clients: Clients::from_env()?,
            sales: SalesTable::from_env()?,
            sensors: SensorsTable::from_env()?,
            commerce: CommerceTable::from_env()?,
            bucket: ImportsBucket::from_env()?,
            imports: ImportQueue::from_env()?,
            readings: ReadingsQueue::from_env()?,
        })
    }

    /// Nothing can be read without the tables; only what comes in needs the bucket and the queues.
    async fn report(&self) -> HealthReport {
        let table = async |name: &str| {
            let table = self.clients.dynamodb.describe_table();
            table.table_name(name).send().await.map(drop)
        };
        let bucket = async {
            let bucket = self.clients.s3.head_bucket();
            bucket.bucket(self.bucket.as_str()).send().await.map(drop)
        };
        let queue = async |url: &str| {
            let queue = self.clients.sqs.get_queue_attributes();
            queue
                .queue_url(url)
                .attribute_names(QueueAttributeName::QueueArn)
                .send()
                .await
                .map(drop)
        };
        HealthReport::of(vec![
            Check::new("commerce-table", Need::Hard, table(self.commerce.as_str())),
            Check::new("sales-table", Need::Hard, table(self.sales.as_str())),
            Check::new("sensors-table", Need::Hard, table(self.sensors.as_str())),
            Check::new("imports-bucket", Need::Soft, bucket),
            Check::new("import-queue", Need::Soft, queue(self.imports.as_str())),
            Check::new("readings-queue", Need::Soft, queue(self.readings.as_str())),
        ])
        .await
    }
}

/// The routes of the health API.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/health", routing::get(health))
        .route("/health/live", routing::get(live))
        .route("/health/ready", routing::get(ready))
        .with_state(Arc::new(context))
}

/// Every check and what they come to. The answer is 200 either way: it is a report, not a verdict.
#[utoipa::path(
    get, path = "/health", tag = "health", operation_id = "getHealth",
    summary = "How every dependency is",
    responses((status = 200, description = "A report, also of what is down", body = HealthReport)),
    security(()),
)]
pub async fn health(State(context): State<Arc<Context>>) -> Json<HealthReport> {
    Json(context.report().await)
}

/// What a function says that runs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Liveness {
    /// Always `live`.
    status: &'static str,
}

/// Answers as long as the function runs at all.
#[utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "getLiveness",
    summary = "Whether the function runs at all",
    responses((status = 200, description = "It does", body = Liveness)),
    security(()),
)]
pub async fn live() -> Json<Liveness> {
    Json(Liveness { status: "live" })
}

/// 200 while every hard dependency is up, 503 with the same report otherwise.
#[utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "getReadiness",
    summary = "Whether everything that is needed works",
    responses(
        (status = 200, description = "It does", body = HealthReport),
        (status = 503, description = "Something does not", body = HealthReport),
    ),
    security(()),
)]
pub async fn ready(State(context): State<Arc<Context>>) -> Response {
    let report = context.report().await;
    if report.is_ready() {
        return Json(report).into_response();
    }
    let retry = [(RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, retry, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::Value;
    use shared::platform::aws::{Connection, http_client};
    use shared::platform::http::App;

    use super::*;

    async fn get(path: &str) -> (u16, Value) {
        // Nothing listens on port 1.
        let endpoint = "http://127.0.0.1:1";
        let context = Context {
            clients: Clients::new(&Connection::to_emulator(
                endpoint,
                http_client(Some(endpoint)),
            )),
            sales: SalesTable::new("millrace-sales"),
            sensors: SensorsTable::new("millrace-sensors"),
            commerce: CommerceTable::new("millrace-commerce"),
            bucket: ImportsBucket::new("millrace-imports"),
            imports: ImportQueue::new(format!("{endpoint}/millrace-import")),
            readings: ReadingsQueue::new(format!("{endpoint}/millrace-readings")),
        };
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = App::new(router(context)).serve(request).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 65_536)
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("millrace-"));
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn the_function_lives_while_everything_else_is_down() {
        assert_eq!(
            get("/health/live").await,
            (200, serde_json::json!({"status": "live"}))
        );
    }

    #[tokio::test]
    async fn without_its_dependencies_it_is_degraded_and_not_ready() {
        let (status, body) = get("/health").await;
        assert_eq!((status, &body["status"]), (200, &Value::from("degraded")));
        let (status, body) = get("/health/ready").await;
        assert_eq!(status, 503);
        let names: Vec<_> = body["checks"].as_object().unwrap().keys().collect();
        assert_eq!(
            names,
            [
                "commerce-table",
                "import-queue",
                "imports-bucket",
                "readings-queue",
                "sales-table",
                "sensors-table"
            ]
        );
    }
}
