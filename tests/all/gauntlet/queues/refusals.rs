//! What goes wrong in a run: it dies at a write, or the table refuses a call of it, before or after it
//! was done. No refusal is one that the SDK tries again, so no test waits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use serde_json::json;
use shared::platform::ids::Random;

use crate::support::{
    faults::{Fault, Plan},
    gauntlet,
};

/// The word that the tables refuse for good, whatever the call.
pub(crate) const CURSED: &str = "cursed";

/// What goes wrong in one run.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    name: &'static str,
    at: usize,
    plan: Arc<Plan>,
    refusals: Arc<Refusals>,
}

impl Trouble {
    /// Nothing goes wrong but for what is cursed.
    pub(crate) fn none() -> Self {
        Self {
            name: "none",
            at: usize::MAX,
            plan: Plan::none(),
            refusals: Arc::default(),
        }
    }

    /// The `nth` kind, at the call or write `at`.
    fn of(nth: usize, at: usize) -> Self {
        let name = KINDS[nth % KINDS.len()];
        let death = |fault| Self {
            name,
            at,
            plan: Plan::new(fault, at),
            ..Self::none()
        };
        let refusal = |is_done| Self {
            name,
            at,
            refusals: Arc::new(Refusals {
                at: Some((at, is_done)),
                calls: AtomicUsize::new(0),
            }),
            ..Self::none()
        };
        match nth % KINDS.len() {
            0 => death(Fault::DeathBefore),
            1 => death(Fault::DeathAfter),
            2 => refusal(false),
            _ => refusal(true),
        }
    }

    /// An HTTP client that behaves so.
    pub(crate) fn over(&self, inner: SharedHttpClient) -> SharedHttpClient {
        let refusals = self.refusals.clone();
        self.plan
            .over(SharedHttpClient::new(RefusingClient { inner, refusals }))
    }

    /// Runs `work` until it ends, or until the run is to die.
    pub(crate) async fn survive<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.plan.survive(work).await
    }

    fn is_met(&self) -> bool {
        let calls = self.refusals.calls.load(Ordering::SeqCst);
        self.plan.writes() > self.at || (self.refusals.at.is_some() && calls > self.at)
    }
}

/// Chooses what goes wrong, and counts what was met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    picked: AtomicUsize,
}

impl Met {
    /// The next kind in turn, at one of the first `calls`.
    pub(crate) fn pick(&self, random: &Random, calls: u32) -> Trouble {
        let nth = self.picked.fetch_add(1, Ordering::SeqCst);
        Trouble::of(nth, random.up_to(calls - 1) as usize)
    }

    /// Counts the trouble of a run that has ended.
    pub(crate) fn count(&self, trouble: &Trouble) {
        if trouble.is_met() {
            self.add(trouble.name);
        }
    }

    /// Counts something else.
    pub(crate) fn add(&self, name: &'static str) {
        let counts = self.counts.lock();
        *counts
            .expect("counting does not panic")
            .entry(name)
            .or_default() += 1;
    }

    /// Reports the figures, asks that each of `marks` was met, and gives how often they were in all.
    pub(crate) fn report(&self, check: &str, marks: &[&str]) -> u64 {
        let counts = self.counts.lock().expect("counting does not panic").clone();
        for (name, count) in &counts {
            gauntlet::figure(check, name, count);
        }
        for mark in marks {
            let seed = gauntlet::seed();
            assert!(
                counts.contains_key(mark),
                "{check}: never met: {mark} (GAUNTLET_SEED={seed})"
            );
        }
        counts.values().sum()
    }
}

/// The kinds of [`Trouble`].
pub(crate) const KINDS: [&str; 4] = [
    "died before a write",
    "died after a write",
    "call refused",
    "call done, then refused",
];

#[derive(Debug, Default)]
struct Refusals {
    /// Which call, and whether it is done first.
    at: Option<(usize, bool)>,
    calls: AtomicUsize,
}

#[derive(Debug)]
struct RefusingClient {
    inner: SharedHttpClient,
    refusals: Arc<Refusals>,
}

impl HttpClient for RefusingClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(RefusingConnector {
            inner: self.inner.http_connector(settings, components),
            refusals: self.refusals.clone(),
        })
    }
}

#[derive(Debug)]
struct RefusingConnector {
    inner: SharedHttpConnector,
    refusals: Arc<Refusals>,
}

fn refusal(code: &str) -> HttpResponse {
    let body =
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "no"});
    let response = http::Response::builder().status(400);
    let response = response.body(SdkBody::from(body.to_string()));
    let response = HttpResponse::try_from(response.expect("it is an answer"));
    response.expect("it is HTTP")
}

impl HttpConnector for RefusingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = self.refusals.calls.fetch_add(1, Ordering::SeqCst);
        let body = request.body().bytes().unwrap_or_default();
        let word = CURSED.as_bytes();
        if body.windows(word.len()).any(|part| part == word) {
            return HttpConnectorFuture::ready(Ok(refusal("ValidationException")));
        }
        // Rights that come and go: what the SDK does not try again, and what time mends.
        match self.refusals.at {
            Some((at, false)) if at == call => {
                HttpConnectorFuture::ready(Ok(refusal("AccessDeniedException")))
            }
            Some((at, true)) if at == call => {
                let inner = self.inner.clone();
                HttpConnectorFuture::new(async move {
                    inner.call(request).await?;
                    Ok(refusal("AccessDeniedException"))
                })
            }
            _ => self.inner.call(request),
        }
    }
}
