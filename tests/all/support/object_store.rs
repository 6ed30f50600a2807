//! Objects in memory behind the S3 protocol: what an import needs of a bucket.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::body::SdkBody;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, StatusCode, header};

#[derive(Debug, Default)]
struct Objects {
    stored: BTreeMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
}

/// A running object store; ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    endpoint: String,
    objects: Arc<Mutex<Objects>>,
}

/// The entity tag of some bytes, without quotes.
pub fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl ObjectStore {
    /// Starts an empty store on a loopback port of its own.
    pub async fn start() -> Self {
        let objects = Arc::new(Mutex::new(Objects::default()));
        let router = Router::new().fallback(serve).with_state(objects.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a loopback port is free");
        let endpoint = format!(
            "http://{}",
            listener
                .local_addr()
                .expect("a bound socket has an address")
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, objects }
    }

    /// An empty store that listens nowhere: [`ObjectStore::inline`] talks to it.
    pub fn quiet() -> Self {
        Self {
            endpoint: "http://objects.invalid".to_owned(),
            objects: Arc::default(),
        }
    }

    /// The store for the SDK to talk to without a connection, on the caller's thread.
    pub fn inline(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(Inline(self.objects.clone()));
        http_client_fn(move |_, _| connector.clone())
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Puts an object under `bucket/key`.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let mut objects = self
            .objects
            .lock()
            .expect("no test panics while it holds the lock");
        objects.stored.insert(path.to_owned(), bytes.into());
    }

    /// Takes a look at the object under `bucket/key`.
    pub fn get(&self, path: &str) -> Option<Bytes> {
        let objects = self
            .objects
            .lock()
            .expect("no test panics while it holds the lock");
        objects.stored.get(path).cloned()
    }

    /// The paths of all objects.
    pub fn paths(&self) -> Vec<String> {
        let objects = self
            .objects
            .lock()
            .expect("no test panics while it holds the lock");
        objects.stored.keys().cloned().collect()
    }
}

#[derive(Debug)]
struct Inline(Arc<Mutex<Objects>>);

impl HttpConnector for Inline {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = request.try_into_http1x().expect("the SDK speaks HTTP");
        let serving = serve(State(self.0.clone()), request.map(Body::new));
        let response = serving.now_or_never().expect("bodies are in memory");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).now_or_never();
        let body = body.and_then(Result::ok).expect("bodies are in memory");
        let response = http::Response::from_parts(parts, SdkBody::from(body));
        HttpConnectorFuture::ready(Ok(
            HttpResponse::try_from(response).expect("the answer is HTTP")
        ))
    }
}

async fn serve(State(objects): State<Arc<Mutex<Objects>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a local body arrives");
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let query: HashMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut objects = objects
        .lock()
        .expect("no request panics while it holds the lock");
    match parts.method {
        Method::GET | Method::HEAD => get(&objects, &path, &parts.headers),
        Method::PUT => {
            let body = decoded(&parts.headers, body);
            let tag = etag(&body);
            if let (Some(upload), Some(number)) = (query.get("uploadId"), query.get("partNumber")) {
                let number = number.parse().expect("part numbers are numbers");
                let parts = objects.uploads.entry(upload.clone()).or_default();
                parts.insert(number, body);
            } else {
                objects.stored.insert(path, body);
            }
            with_etag(StatusCode::OK, &tag, Body::empty())
        }
        Method::POST if query.contains_key("uploads") => {
            let upload = format!("upload{}", objects.uploads.len());
            objects.uploads.insert(upload.clone(), BTreeMap::new());
            format!("<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
                .into_response()
        }
        Method::POST => {
            let parts = query
                .get("uploadId")
                .and_then(|upload| objects.uploads.remove(upload));
            let whole = parts
                .unwrap_or_default()
                .into_values()
                .collect::<Vec<_>>()
                .concat();
            objects.stored.insert(path, whole.into());
            "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>".into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// Takes `aws-chunked` framing off, in which the SDK sends a checksum behind a body.
fn decoded(headers: &HeaderMap, body: Bytes) -> Bytes {
    if headers.get("x-amz-decoded-content-length").is_none() {
        return body;
    }
    let (mut rest, mut whole) = (&body[..], Vec::new());
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|line| line.split(';').next());
        let size =
            usize::from_str_radix(size.unwrap_or("0"), 16).expect("chunk sizes are hexadecimal");
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    whole.into()
}

fn get(objects: &Objects, path: &str, headers: &HeaderMap) -> Response {
    let Some(bytes) = objects.stored.get(path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = etag(bytes);
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if header(header::IF_MATCH).is_some_and(|wanted| wanted.trim_matches('"') != tag) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    match header(header::RANGE).and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
        Some((from, to)) => {
            let from: usize = from.parse().expect("ranges are numbers");
            let to: usize = to.parse().expect("ranges are numbers");
            let slice = bytes.slice(from..(to + 1).min(bytes.len()));
            with_etag(StatusCode::PARTIAL_CONTENT, &tag, Body::from(slice))
        }
        None => with_etag(StatusCode::OK, &tag, Body::from(bytes.clone())),
    }
}

fn with_etag(status: StatusCode, tag: &str, body: Body) -> Response {
    (status, [(header::ETAG, format!("\"{tag}\""))], body).into_response()
}
