//! What a distributed service does to its callers, below the SDK's retries and drawn from a seed: each call
//! of an invocation may meet a [`Fault`] of those that its operation knows.
//!
//! The test's time stands still while something happens and leaps while nothing does, so that no pause and
//! no timeout costs any. So services answer on the spot: while a test waited for a real connection, its time
//! would leap too. The domain's clock goes along with the test's time.
//!
//! Calls outside an invocation are what a test makes on its own behalf, and always go well.

mod batch;
mod fault;
mod queues;
mod replica;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use futures_util::FutureExt as _;
use jiff::SignedDuration;
use serde_json::Value;
use shared::{
    platform::{clock::Clock, ids::Random},
    testing::InlineDatabase,
};
use tokio::{
    runtime::Builder,
    time::{Instant, interval, sleep},
};

pub(crate) use fault::Fault;
use fault::{Call, cancelled};
pub(crate) use queues::Queues;
use replica::Replica;

use self::batch::Halves;
use super::{
    gauntlet::{figure, is_full},
    template,
};

/// Faults for each thousand calls, and for those of an operation that has not met all of them.
const FAULTS: u32 = 100;
const UNMET_FAULTS: u32 = 300;

/// Calls of an operation from which on it must have met every fault: fewer are chance.
const COMMON: u64 = 150;

/// The longest way to a service, and back, in milliseconds.
const MOST_WAY: u32 = 8;

/// How closely the domain's clock follows the test's time.
const TICK: Duration = Duration::from_millis(20);

/// Attempts for each call, in hundredths, that faults at this rate must not raise.
const MOST_ATTEMPTS: u64 = 125;

tokio::task_local! {
    static INVOCATION: Arc<Invocation>;
}

/// Runs a test whose time stands still while it works.
pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // Parsing is done on threads: one at a time, so that the same seed plays the same run.
        .max_blocking_threads(1)
        .build()
        .expect("a runtime starts");
    runtime.block_on(test)
}

/// A run of a function: where its faults come from, and what it has called.
#[derive(Debug)]
struct Invocation {
    random: Random,
    calls: AtomicU64,
    attempts: AtomicU64,
}

/// What the invocations of a function came to.
#[derive(Debug, Default)]
struct Runs {
    count: u64,
    most_attempts: u64,
    longest: Duration,
    budget: Duration,
}

#[derive(Debug, Default)]
struct Marks {
    met: BTreeMap<(String, Fault), u64>,
    operations: BTreeMap<String, u64>,
    runs: BTreeMap<&'static str, Runs>,
    calls: u64,
    attempts: u64,
}

/// The faults of a world, and what was met of them.
#[derive(Debug)]
pub(crate) struct Chaos {
    check: &'static str,
    seed: u64,
    clock: Clock,
    budgets: BTreeMap<String, Duration>,
    is_calm: AtomicBool,
    outage: Mutex<Option<Fault>>,
    invocations: AtomicU64,
    marks: Mutex<Marks>,
    replica: Mutex<Option<Replica>>,
}

impl Chaos {
    /// Faults from `seed` for the functions of the template; `clock` goes along with the test's time from
    /// now on.
    pub(crate) fn start(check: &'static str, seed: u64, clock: &Clock) -> Arc<Self> {
        let hand = clock.clone();
        tokio::spawn(async move {
            let tick = SignedDuration::try_from(TICK).expect("a tick is short");
            let mut ticks = interval(TICK);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                hand.advance(tick);
            }
        });
        Arc::new(Self {
            check,
            seed,
            clock: clock.clone(),
            budgets: budgets(),
            is_calm: AtomicBool::new(false),
            outage: Mutex::default(),
            invocations: AtomicU64::new(0),
            marks: Mutex::default(),
            replica: Mutex::default(),
        })
    }

    /// An HTTP client whose calls meet faults.
    pub(crate) fn over(self: &Arc<Self>, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(ChaosClient {
            inner,
            chaos: self.clone(),
        })
    }

    /// Has indexes lag: `database`, which has the same empty tables, does what the other does, later, and
    /// answers where an index is stale.
    pub(crate) fn lag_behind(&self, database: &InlineDatabase) {
        *self.replica() = Some(Replica::new(database.connector()));
    }

    /// From now on everything goes well.
    pub(crate) fn calm(&self) {
        self.is_calm.store(true, Ordering::SeqCst);
    }

    /// From now on `fault` meets every call that it applies to, and nothing else goes wrong; or, given none,
    /// it is over.
    pub(crate) fn outage(&self, fault: Option<Fault>) {
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        self.is_calm.store(true, Ordering::SeqCst);
    }

    /// Whether faults are over.
    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::SeqCst)
    }

    /// Invocations so far.
    pub(crate) fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::SeqCst)
    }

    /// What a failure says, so that it can be played again.
    pub(crate) fn replay(&self) -> String {
        let invocation = self.invocations();
        format!(
            "{}: GAUNTLET_SEED={}, invocation {invocation}",
            self.check, self.seed
        )
    }

    /// Runs a function of the template as Lambda does, with a deadline that it has to end before.
    ///
    /// # Panics
    ///
    /// When it does not: Lambda would have stopped it wherever it was.
    pub(crate) async fn invoke<T, F: Future<Output = T>>(
        &self,
        function: &'static str,
        work: impl FnOnce(lambda_runtime::Context) -> F,
    ) -> T {
        let budget = self.budgets[function];
        let number = self.invocations.fetch_add(1, Ordering::SeqCst);
        let seed = self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
        let invocation = Arc::new(Invocation {
            random: Random::seeded(seed),
            calls: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
        });
        let deadline = self.clock.now() + SignedDuration::try_from(budget).expect("it is short");
        let mut context = lambda_runtime::Context::default();
        context.deadline = u64::try_from(deadline.as_millisecond()).expect("it is after 1970");
        let began = Instant::now();
        let work = INVOCATION.scope(invocation.clone(), work(context));
        let ended = tokio::time::timeout(budget, Box::pin(work)).await;
        let mut marks = self.marks();
        let (calls, attempts) = (
            invocation.calls.load(Ordering::SeqCst),
            invocation.attempts.load(Ordering::SeqCst),
        );
        marks.calls += calls;
        marks.attempts += attempts;
        let runs = marks.runs.entry(function).or_default();
        runs.count += 1;
        runs.budget = budget;
        runs.most_attempts = runs.most_attempts.max(attempts);
        runs.longest = runs.longest.max(began.elapsed());
        drop(marks);
        ended.unwrap_or_else(|_| {
            let replay = self.replay();
            panic!(
                "{function} was at work after its {budget:?}, with {attempts} attempts: {replay}"
            )
        })
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replica(&self) -> MutexGuard<'_, Option<Replica>> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what was met. At full size every fault must have met every common operation that it applies to.
    ///
    /// # Panics
    ///
    /// When one has not, or when retries multiply the load.
    pub(crate) fn report(&self) {
        let marks = self.marks();
        let tell = |what: &str, value: &dyn fmt::Display| figure(self.check, what, value);
        tell("invocations", &self.invocations());
        tell("calls", &marks.calls);
        let per_call = marks.attempts * 100 / marks.calls.max(1);
        tell("attempts a call, hundredths", &per_call);
        tell("faults", &marks.met.values().sum::<u64>());
        let mut kinds: BTreeMap<Fault, u64> = BTreeMap::new();
        for ((_, fault), count) in &marks.met {
            *kinds.entry(*fault).or_default() += count;
        }
        let kinds = kinds
            .iter()
            .map(|(fault, count)| format!("{fault} {count}"));
        tell("faults by kind", &kinds.collect::<Vec<_>>().join(", "));
        let missed = marks.met.iter().filter(|(_, count)| **count == 0);
        let missed: Vec<&(String, Fault)> = missed.map(|(pair, _)| pair).collect();
        let pairs = marks.met.len();
        let met = format!("{} of {pairs}", pairs - missed.len());
        tell("pairs of operation and fault met", &met);
        for (function, runs) in &marks.runs {
            let what = format!("{function}: runs, most attempts, longest of its time");
            let (longest, budget) = (runs.longest.as_secs_f32(), runs.budget.as_secs());
            let Runs {
                count,
                most_attempts,
                ..
            } = runs;
            let value = format!("{count}, {most_attempts}, {longest:.1} s of {budget} s");
            tell(&what, &value);
        }
        assert!(
            per_call <= MOST_ATTEMPTS,
            "{per_call} attempts for 100 calls"
        );
        let mut common = missed.iter();
        let missed = common.find(|(operation, _)| marks.operations[operation] >= COMMON);
        assert!(
            missed.is_none() || !is_full(),
            "never met: {missed:?}: {}",
            self.replay()
        );
    }

    fn draw(&self, call: &Call, random: &Random) -> Option<Fault> {
        let kinds = call.faults(self.replica().is_some());
        let outage = *self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = outage.filter(|fault| kinds.contains(fault)) {
            return Some(fault);
        }
        if self.is_calm() {
            return None;
        }
        let mut marks = self.marks();
        let key = |fault: Fault| (call.operation.clone(), fault);
        for kind in &kinds {
            marks.met.entry(key(*kind)).or_default();
        }
        *marks.operations.entry(call.operation.clone()).or_default() += 1;
        // What an operation has not met comes first, and soon: some are rare.
        let unmet = kinds
            .iter()
            .copied()
            .filter(|kind| marks.met[&key(*kind)] == 0);
        let unmet: Vec<Fault> = unmet.collect();
        let rate = if unmet.is_empty() {
            FAULTS
        } else {
            UNMET_FAULTS
        };
        if random.up_to(999) >= rate {
            return None;
        }
        let among = if unmet.is_empty() { &kinds } else { &unmet };
        let last = u32::try_from(among.len() - 1).expect("there are few kinds");
        let fault = among[random.up_to(last) as usize];
        *marks.met.entry(key(fault)).or_default() += 1;
        Some(fault)
    }

    async fn call(
        &self,
        inner: &SharedHttpConnector,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let call = Call::of(&request);
        let Ok(invocation) = INVOCATION.try_with(Arc::clone) else {
            return self.forward(inner, &call, request);
        };
        let random = &invocation.random;
        let attempt = request.headers().get("amz-sdk-request").unwrap_or_default();
        invocation.attempts.fetch_add(1, Ordering::SeqCst);
        if attempt.starts_with("attempt=1;") {
            invocation.calls.fetch_add(1, Ordering::SeqCst);
        }
        let fault = self.draw(&call, random);
        on_the_way(random).await;
        let answer = match fault {
            Some(Fault::Reset) => return Err(broken_off("connection reset by peer")),
            Some(Fault::Throttled) => call.throttled(random),
            Some(Fault::Conflict) => call.conflict(),
            Some(Fault::Cancelled) => cancelled(&request, random),
            Some(Fault::Unprocessed) => self.half(inner, &call, request, random)?,
            Some(Fault::Stale) => self.stale(&request, random)?,
            Some(Fault::LostReply | Fault::ServerError | Fault::Hang) | None => {
                self.forward(inner, &call, request)?
            }
        };
        on_the_way(random).await;
        match fault {
            Some(Fault::LostReply) => Err(broken_off("connection closed before message completed")),
            Some(Fault::ServerError) => Ok(call.broken()),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(answer),
        }
    }

    /// Has the service do it.
    fn forward(
        &self,
        inner: &SharedHttpConnector,
        call: &Call,
        request: HttpRequest,
    ) -> Result<HttpResponse, ConnectorError> {
        let noted = (call.is_write() && self.replica().is_some())
            .then(|| request.try_clone().expect("the body is in memory"));
        let answer = at_once(inner, request)?;
        if let (Some(noted), Some(replica)) = (noted, &mut *self.replica())
            && answer.status().is_success()
        {
            replica.note(self.clock.now(), noted);
        }
        Ok(answer)
    }

    fn half(
        &self,
        inner: &SharedHttpConnector,
        call: &Call,
        request: HttpRequest,
        random: &Random,
    ) -> Result<HttpResponse, ConnectorError> {
        let halves = Halves::draw(&call.operation, &request, random);
        if !halves.is_any_done() {
            return Ok(halves.answer(&Value::Null));
        }
        let answer = self.forward(inner, call, halves.request(request))?;
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.body().bytes().unwrap_or_default();
        Ok(halves.answer(&serde_json::from_slice(body).unwrap_or_default()))
    }

    fn stale(
        &self,
        request: &HttpRequest,
        random: &Random,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut replica = self.replica();
        let replica = replica.as_mut().expect("an index that lags has a replica");
        let due = replica.due(self.clock.now(), random);
        for write in due {
            at_once(&replica.connector, write)?;
        }
        let request = request.try_clone().expect("the body is in memory");
        at_once(&replica.connector, request)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to play it again: {}", self.replay());
        }
    }
}

/// What Lambda gives each function, by its name in the template.
fn budgets() -> BTreeMap<String, Duration> {
    let functions = template::of_type("AWS::Serverless::Function").into_iter();
    let budget = |function: &Value| {
        let seconds = function["Properties"]["Timeout"].as_u64();
        Duration::from_secs(seconds.expect("every function has a timeout"))
    };
    functions
        .map(|(name, function)| (name, budget(&function)))
        .collect()
}

async fn on_the_way(random: &Random) {
    let milliseconds = 1 + random.up_to(MOST_WAY - 1);
    sleep(Duration::from_millis(milliseconds.into())).await;
}

fn broken_off(how: &'static str) -> ConnectorError {
    ConnectorError::io(how.into())
}

/// What a service on the same thread answers.
fn at_once(
    service: &SharedHttpConnector,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let answer = service.call(request).now_or_never();
    answer.expect("the service answers on the spot")
}

#[derive(Debug)]
struct ChaosClient {
    inner: SharedHttpClient,
    chaos: Arc<Chaos>,
}

impl HttpClient for ChaosClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(ChaosConnector {
            inner: self.inner.http_connector(settings, components),
            chaos: self.chaos.clone(),
        })
    }
}

#[derive(Debug)]
struct ChaosConnector {
    inner: SharedHttpConnector,
    chaos: Arc<Chaos>,
}

impl HttpConnector for ChaosConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, chaos) = (self.inner.clone(), self.chaos.clone());
        HttpConnectorFuture::new(async move { chaos.call(&inner, request).await })
    }
}

#[cfg(test)]
mod tests;
