//! Health: whether what a function depends on answers, found out all at once and in a bounded time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;

/// Time that one check may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether the service works without what a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing works without it: not ready while it is down.
    Hard,
    /// Something works without it: degraded while it is down.
    Soft,
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// One dependency, by a logical name that tells nothing about the deployment.
pub struct Check<'a> {
    name: &'static str,
    need: Need,
    probe: Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>,
}

impl<'a> Check<'a> {
    /// A check that runs `probe`; its error is logged and never sent.
    pub fn new<F, E>(name: &'static str, need: Need, probe: F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'a,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let probe = Box::pin(async move { probe.await.map_err(Into::into) });
        Self { name, need, probe }
    }

    async fn run(self, limit: Duration) -> (&'static str, CheckReport) {
        let started = Instant::now();
        let outcome = tokio::time::timeout(limit, self.probe).await;
        let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = match outcome {
            Ok(Ok(())) => CheckStatus::Up,
            Ok(Err(error)) => {
                let error = super::telemetry::chain(error.as_ref());
                tracing::warn!(check = self.name, error, "health check failed");
                CheckStatus::Down
            }
            Err(_) => {
                tracing::warn!(check = self.name, "health check timed out");
                CheckStatus::Timeout
            }
        };
        let report = CheckReport {
            status,
            latency_ms,
            hard: self.need == Need::Hard,
        };
        (self.name, report)
    }
}

/// How the service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HealthReport {
    /// Healthy when every check is up.
    pub status: HealthStatus,
    /// Each check by its name.
    pub checks: BTreeMap<&'static str, CheckReport>,
}

/// The overall state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Every check is up.
    Healthy,
    /// At least one check is not.
    Degraded,
}

/// How one dependency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CheckReport {
    /// Its state.
    pub status: CheckStatus,
    /// How long it took to answer or to be given up, in milliseconds.
    pub latency_ms: u64,
    #[serde(skip)]
    hard: bool,
}

/// The state of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// It answered.
    Up,
    /// It answered with an error, or could not be reached.
    Down,
    /// It did not answer within a second.
    Timeout,
}

impl HealthReport {
    /// Runs all `checks` at once; takes no longer than a second.
    pub async fn of(checks: Vec<Check<'_>>) -> Self {
        Self::within(TIMEOUT, checks).await
    }

    async fn within(limit: Duration, checks: Vec<Check<'_>>) -> Self {
        let runs = checks.into_iter().map(|check| check.run(limit));
        let checks: BTreeMap<_, _> = join_all(runs).await.into_iter().collect();
        let all_up = checks.values().all(|c| c.status == CheckStatus::Up);
        Self {
            status: if all_up {
                HealthStatus::Healthy
            } else {
                HealthStatus::Degraded
            },
            checks,
        }
    }

    /// Whether every hard dependency is up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks
            .values()
            .all(|check| !check.hard || check.status == CheckStatus::Up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(name: &'static str, need: Need) -> Check<'static> {
        Check::new(name, need, async { Ok::<_, std::fmt::Error>(()) })
    }

    fn down(name: &'static str, need: Need) -> Check<'static> {
        Check::new(name, need, async { Err(std::fmt::Error) })
    }

    #[tokio::test]
    async fn one_that_is_down_degrades_and_only_a_hard_one_stops() {
        let healthy =
            HealthReport::of(vec![up("table", Need::Hard), up("queue", Need::Soft)]).await;
        assert!(healthy.status == HealthStatus::Healthy && healthy.is_ready());
        let soft = HealthReport::of(vec![up("table", Need::Hard), down("queue", Need::Soft)]).await;
        assert!(soft.status == HealthStatus::Degraded && soft.is_ready());
        let hard = HealthReport::of(vec![down("table", Need::Hard), up("queue", Need::Soft)]).await;
        assert!(hard.status == HealthStatus::Degraded && !hard.is_ready());
        insta::assert_json_snapshot!(hard, {".checks.*.latency_ms" => 0}, @r#"
        {
          "status": "degraded",
          "checks": {
            "queue": {
              "status": "up",
              "latency_ms": 0
            },
            "table": {
              "status": "down",
              "latency_ms": 0
            }
          }
        }
        "#);
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_given_up_and_the_others_are_not() {
        let hang = std::future::pending::<Result<(), std::fmt::Error>>();
        let checks = vec![Check::new("a", Need::Hard, hang), up("b", Need::Soft)];
        let report = HealthReport::within(Duration::from_millis(20), checks).await;
        assert_eq!(report.checks["a"].status, CheckStatus::Timeout);
        assert_eq!(report.checks["b"].status, CheckStatus::Up);
    }

    #[tokio::test]
    async fn checks_run_at_once() {
        let meeting = tokio::sync::Barrier::new(2);
        let meet = |name| {
            Check::new(name, Need::Hard, async {
                meeting.wait().await;
                Ok::<_, std::fmt::Error>(())
            })
        };
        let report = HealthReport::of(vec![meet("a"), meet("b")]).await;
        assert_eq!(report.status, HealthStatus::Healthy);
    }
}
