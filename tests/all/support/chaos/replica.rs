//! What an index knows: the table as it was a while ago. A second database does what the first one did,
//! later.

use std::collections::VecDeque;

use aws_smithy_runtime_api::client::{http::SharedHttpConnector, orchestrator::HttpRequest};
use jiff::{SignedDuration, Timestamp};
use shared::platform::ids::Random;

/// The longest that an index lags behind.
const MOST_LAG: u32 = 3_000;

/// A database and what it is still to do.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(super) connector: SharedHttpConnector,
    ahead: VecDeque<(Timestamp, HttpRequest)>,
}

impl Replica {
    /// A database that has the same tables and nothing in them.
    pub(super) const fn new(connector: SharedHttpConnector) -> Self {
        Self {
            connector,
            ahead: VecDeque::new(),
        }
    }

    /// Notes a write that was done now.
    pub(super) fn note(&mut self, at: Timestamp, request: HttpRequest) {
        self.ahead.push_back((at, request));
    }

    /// What is to be done for the database to be as the table was some time before `now`.
    pub(super) fn due(&mut self, now: Timestamp, random: &Random) -> Vec<HttpRequest> {
        let lag = SignedDuration::from_millis(random.up_to(MOST_LAG).into());
        let then = now - lag;
        let count = self.ahead.partition_point(|(at, _)| *at <= then);
        self.ahead
            .drain(..count)
            .map(|(_, request)| request)
            .collect()
    }
}
