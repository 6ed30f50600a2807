//! A connector that has `DynamoDB` say what each call consumes, and adds it up.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::Value;

/// Units that calls have consumed. They come in halves, which add up exactly.
#[derive(Debug, Default)]
pub(crate) struct Units(Mutex<(f64, f64)>);

impl Units {
    /// Read and write units so far.
    pub(crate) fn consumed(&self) -> (f64, f64) {
        *self.0.lock().expect("nobody fails while counting")
    }

    /// An HTTP client whose calls are counted.
    pub(crate) fn over(self: &Arc<Self>, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(CountedClient {
            inner,
            units: self.clone(),
        })
    }

    fn add(&self, operation: &str, answer: &Value) {
        let consumed = &answer["ConsumedCapacity"];
        let all = consumed.as_array();
        let all = all.map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units: f64 = all
            .iter()
            .filter_map(|one| one["CapacityUnits"].as_f64())
            .sum();
        let mut total = self.0.lock().expect("nobody fails while counting");
        match operation {
            "GetItem" | "BatchGetItem" | "Query" => total.0 += units,
            _ => total.1 += units,
        }
    }
}

#[derive(Debug)]
struct CountedClient {
    inner: SharedHttpClient,
    units: Arc<Units>,
}

impl HttpClient for CountedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(CountedConnector {
            inner: self.inner.http_connector(settings, components),
            units: self.units.clone(),
        })
    }
}

#[derive(Debug)]
struct CountedConnector {
    inner: SharedHttpConnector,
    units: Arc<Units>,
}

impl HttpConnector for CountedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let bytes = request.body().bytes().unwrap_or_default();
        let mut body: Value = serde_json::from_slice(bytes).expect("calls are JSON");
        body["ReturnConsumedCapacity"] = "TOTAL".into();
        let body = body.to_string();
        request
            .headers_mut()
            .insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        let (inner, units) = (self.inner.clone(), self.units.clone());
        HttpConnectorFuture::new(async move {
            let mut response = inner.call(request).await?;
            let body = ByteStream::new(response.take_body());
            let bytes = body
                .collect()
                .await
                .expect("an answer has a body")
                .into_bytes();
            units.add(
                &operation,
                &serde_json::from_slice(&bytes).unwrap_or_default(),
            );
            *response.body_mut() = SdkBody::from(bytes);
            Ok(response)
        })
    }
}
