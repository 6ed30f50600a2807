//! A table's stream as its event source reads it: shards, each in order, and each beside the others. A
//! batch comes again from the first failure that is reported, smaller where its run was cut off, and
//! now and then although all went well.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html>.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shared::platform::ids::Random;

use crate::support::{gauntlet, template};

#[derive(Debug, Default)]
struct Shard {
    records: Vec<Value>,
    next: usize,
    /// Records of the next batch at most, after a run that was cut off.
    limit: Option<usize>,
}

/// What went on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) reported: u64,
    pub(crate) cut_off: u64,
    pub(crate) repeated: u64,
}

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    shards: Vec<Shard>,
    batch_size: u32,
    random: Random,
    pub(crate) tally: Tally,
}

/// The sequence number of a record.
pub(crate) fn number(record: &Value) -> &str {
    let number = record["dynamodb"]["SequenceNumber"].as_str();
    number.expect("a record has its number")
}

impl Stream {
    /// A stream of as many shards, read as the template says.
    pub(crate) fn new(shards: usize, random: &Random) -> Self {
        let source = &template::resources()["EventRelaySource"]["Properties"];
        assert_eq!(source["BisectBatchOnFunctionError"], true);
        let size = source["BatchSize"]
            .as_u64()
            .and_then(|size| u32::try_from(size).ok());
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            batch_size: size.expect("the template says how large a batch is"),
            random: random.clone(),
            tally: Tally::default(),
        }
    }

    /// Appends a record to a shard.
    pub(crate) fn push(&mut self, shard: usize, record: Value) {
        self.shards[shard].records.push(record);
    }

    /// Delivers until every shard is read to its end. `deliver` gives the run's reply, or nothing where
    /// the run was cut off.
    pub(crate) async fn drain(&mut self, deliver: impl AsyncFn(Value) -> Option<Value>) {
        loop {
            let unread = |shard: &&mut Shard| shard.next < shard.records.len();
            let mut open: Vec<&mut Shard> = self.shards.iter_mut().filter(unread).collect();
            let Some(last) = open.len().checked_sub(1) else {
                return;
            };
            let last = u32::try_from(last).expect("there are few");
            let shard = open.swap_remove(self.random.up_to(last) as usize);
            let wanted = match self.random.up_to(1) {
                0 => 1 + self.random.up_to(self.batch_size / 5),
                _ => self.batch_size,
            };
            let wanted = (wanted as usize).min(shard.limit.unwrap_or(usize::MAX));
            let end = (shard.next + wanted).min(shard.records.len());
            let batch = &shard.records[shard.next..end];
            self.tally.batches += 1;
            self.tally.records += batch.len() as u64;
            match deliver(json!({ "Records": batch })).await {
                None => {
                    self.tally.cut_off += 1;
                    shard.limit = Some((batch.len() / 2).max(1));
                }
                Some(reply) => {
                    shard.limit = None;
                    let failed = first_failure(batch, &reply);
                    self.tally.reported += u64::from(failed.is_some());
                    if let Some(at) = failed {
                        shard.next += at;
                    } else if self.random.up_to(9) == 0 {
                        self.tally.repeated += 1;
                    } else {
                        shard.next = end;
                    }
                }
            }
        }
    }
}

/// The place of the first record that a reply reports, which has to be as AWS documents it.
fn first_failure(batch: &[Value], reply: &Value) -> Option<usize> {
    let invalid = || format!("{reply}: GAUNTLET_SEED={}", gauntlet::seed());
    let members = reply.as_object().unwrap_or_else(|| panic!("{}", invalid()));
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(names, ["batchItemFailures"], "{}", invalid());
    let failures = reply["batchItemFailures"].as_array();
    let failures = failures.unwrap_or_else(|| panic!("{}", invalid()));
    let mut places = BTreeSet::new();
    for failure in failures {
        let id = failure["itemIdentifier"].as_str().unwrap_or_default();
        let at = batch.iter().position(|record| number(record) == id);
        let at = at.unwrap_or_else(|| panic!("{}", invalid()));
        let is_whole = failure
            .as_object()
            .is_some_and(|failure| failure.len() == 1);
        assert!(is_whole && places.insert(at), "{}", invalid());
    }
    places.first().copied()
}
