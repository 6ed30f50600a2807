//! Faults below the SDK's retries: a connector that stops, or loses a reply, at a chosen write.

use std::sync::{
    Arc,
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
}

/// Says which write goes wrong, and when it did.
#[derive(Debug)]
pub struct Plan {
    fault: Option<Fault>,
    refused: Option<&'static str>,
    at: usize,
    writes: AtomicUsize,
    calls: AtomicUsize,
    death: Notify,
    held: Notify,
    let_go: Notify,
}

impl Plan {
    /// `fault` at the `at`th write, counted from 0.
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
            calls: AtomicUsize::new(0),
            death: Notify::new(),
            held: Notify::new(),
            let_go: Notify::new(),
        }
    }

    /// Writes begun so far, retries included.
    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
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
            Some(Fault::HeldCall) => &self.calls,
            _ => &self.writes,
        };
        made.load(Ordering::SeqCst) > self.at
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

impl HttpConnector for FaultyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let says = |text: &str| {
            let body = request.body().bytes().unwrap_or_default();
            body.windows(text.len()).any(|part| part == text.as_bytes())
        };
        if self.plan.refused.is_some_and(says) {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("no answer".into())));
        }
        let call = self.plan.calls.fetch_add(1, Ordering::SeqCst);
        if self.plan.fault == Some(Fault::HeldCall) && call == self.plan.at {
            let (inner, plan) = (self.inner.clone(), self.plan.clone());
            return HttpConnectorFuture::new(async move {
                plan.held.notify_one();
                plan.let_go.notified().await;
                inner.call(request).await
            });
        }
        if !is_write(&request) {
            return self.inner.call(request);
        }
        let (inner, plan) = (self.inner.clone(), self.plan.clone());
        HttpConnectorFuture::new(async move {
            let number = plan.writes.fetch_add(1, Ordering::SeqCst);
            let fault = plan.fault.filter(|_| number == plan.at);
            if fault == Some(Fault::DeathBefore) {
                plan.die().await;
            }
            if fault == Some(Fault::Held) {
                plan.held.notify_one();
                plan.let_go.notified().await;
            }
            let reply = inner.call(request).await;
            match fault {
                Some(Fault::DeathAfter) => {
                    plan.die().await;
                    reply
                }
                Some(Fault::LostReply) => Err(ConnectorError::io("connection reset".into())),
                _ => reply,
            }
        })
    }
}
