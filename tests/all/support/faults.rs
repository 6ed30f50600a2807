//! Faults below the SDK's retries: a connector that stops, or loses a reply, at a chosen write or call.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the write is sent.
    DeathBefore,
    /// The process dies after the write was done.
    DeathAfter,
    /// The write is done, but its reply is lost; the SDK sends it again.
    LostReply,
    /// The write is held up until it is let go.
    Held,
    /// As [`Fault::Held`], for any call, reads counted as well.
    HeldCall,
    /// As [`Fault::DeathBefore`], for any call of any service.
    DeathBeforeCall,
    /// As [`Fault::DeathAfter`], for any call of any service.
    DeathAfterCall,
}

impl Fault {
    /// Whether it counts every call, and not writes alone.
    const fn is_of_calls(self) -> bool {
        matches!(
            self,
            Self::HeldCall | Self::DeathBeforeCall | Self::DeathAfterCall
        )
    }
}

/// Says which write or call goes wrong, and when it did. One plan can be laid over the clients of several
/// services, and counts their calls together.
#[derive(Debug)]
pub struct Plan {
    fault: Option<Fault>,
    refused: Option<&'static str>,
    at: usize,
    writes: AtomicUsize,
    calls: Mutex<Vec<String>>,
    death: Notify,
    held: Notify,
    let_go: Notify,
}

impl Plan {
    /// `fault` at the `at`th write or call, counted from 0.
    pub fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self {
            fault: Some(fault),
            at,
            ..Self::faultless()
        })
    }

    /// No fault; writes are counted.
    pub fn none() -> Arc<Self> {
        Arc::new(Self::faultless())
    }

    /// No answer to any call that says `text`.
    pub fn refusing(text: &'static str) -> Arc<Self> {
        Arc::new(Self {
            refused: Some(text),
            ..Self::faultless()
        })
    }

    fn faultless() -> Self {
        Self {
            fault: None,
            refused: None,
            at: usize::MAX,
            writes: AtomicUsize::new(0),
            calls: Mutex::default(),
            death: Notify::new(),
            held: Notify::new(),
            let_go: Notify::new(),
        }
    }

    /// Writes begun so far, retries included.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    /// The operations of the calls begun so far, retries included.
    pub fn calls(&self) -> Vec<String> {
        self.noted().clone()
    }

    /// A test that fails elsewhere must not hide behind this.
    fn noted(&self) -> MutexGuard<'_, Vec<String>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` until it ends, or until the process is to die: then it is dropped where it is.
    pub async fn survive<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.death.notified() => None,
            done = work => Some(done),
        }
    }

    /// Waits until the write or call is held up.
    pub async fn held(&self) {
        self.held.notified().await;
    }

    /// Whether as many writes or calls were made as it takes to be held up.
    pub fn was_held(&self) -> bool {
        let made = match self.fault {
            Some(Fault::HeldCall) => self.noted().len(),
            _ => self.writes(),
        };
        made > self.at
    }

    /// Wakes who waits for something to be held up, when nothing will be.
    pub fn release(&self) {
        self.held.notify_one();
    }

    /// Lets the write go that is held up.
    pub fn let_go(&self) {
        self.let_go.notify_one();
    }

    async fn die(&self) {
        self.death.notify_one();
        std::future::pending::<()>().await;
    }

    /// An HTTP client that behaves by this plan.
    pub fn over(self: &Arc<Self>, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(FaultyClient {
            inner,
            plan: self.clone(),
        })
    }
}

#[derive(Debug)]
struct FaultyClient {
    inner: SharedHttpClient,
    plan: Arc<Plan>,
}

impl HttpClient for FaultyClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(FaultyConnector {
            inner: self.inner.http_connector(settings, components),
            plan: self.plan.clone(),
        })
    }
}

#[derive(Debug)]
struct FaultyConnector {
    inner: SharedHttpConnector,
    plan: Arc<Plan>,
}

fn is_write(request: &HttpRequest) -> bool {
    let operation = request.headers().get("x-amz-target").unwrap_or_default();
    [
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "BatchWriteItem",
        "TransactWriteItems",
    ]
    .iter()
    .any(|write| operation.ends_with(write))
}

/// The operation that a request asks for, by the service's own name for it where the request says it.
fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    let body = request.body().bytes().unwrap_or_default();
    let said = std::str::from_utf8(body).unwrap_or_default();
    let action = said.strip_prefix("Action=");
    if let Some(action) = action.and_then(|rest| rest.split('&').next()) {
        return action.to_owned();
    }
    let uri: http::Uri = request.uri().parse().unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    if let Some(id) = query.split('&').find_map(|pair| pair.strip_prefix("x-id=")) {
        return id.to_owned();
    }
    let method = request.method();
    let path = uri.path().trim_matches('/');
    match (method, path.split('/').next().unwrap_or_default()) {
        ("POST", "v2") => "SendEmail".to_owned(),
        ("HEAD", _) => "HeadObject".to_owned(),
        ("POST", _) if query.contains("uploads") => "CreateMultipartUpload".to_owned(),
        ("POST", _) if query.contains("uploadId=") => "CompleteMultipartUpload".to_owned(),
        (_, first @ ("apikeys" | "usageplans")) => format!("{method} {first}"),
        _ => format!("{method} /{path}"),
    }
}

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let says = |text: &str| {
            let body = request.body().bytes().unwrap_or_default();
            body.windows(text.len()).any(|part| part == text.as_bytes())
        };
        if self.plan.refused.is_some_and(says) {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("no answer".into())));
        }
        let call = {
            let mut calls = self.plan.noted();
            calls.push(operation(&request));
            calls.len() - 1
        };
        let is_write = is_write(&request);
        let (inner, plan) = (self.inner.clone(), self.plan.clone());
        HttpConnectorFuture::new(async move {
            let write = is_write.then(|| plan.writes.fetch_add(1, Ordering::SeqCst));
            let strikes = |fault: &Fault| {
                let place = if fault.is_of_calls() {
                    Some(call)
                } else {
                    write
                };
                place == Some(plan.at)
            };
            let fault = plan.fault.filter(strikes);
            match fault {
                Some(Fault::DeathBefore | Fault::DeathBeforeCall) => plan.die().await,
                Some(Fault::Held | Fault::HeldCall) => {
                    plan.held.notify_one();
                    plan.let_go.notified().await;
                }
                _ => {}
            }
            let reply = inner.call(request).await;
            match fault {
                Some(Fault::DeathAfter | Fault::DeathAfterCall) => {
                    plan.die().await;
                    reply
                }
                Some(Fault::LostReply) => Err(ConnectorError::io("connection reset".into())),
                _ => reply,
            }
        })
    }
}
