//! A queue as SQS keeps it, and its dead-letter queue, in memory behind the real SDK client.
//!
//! A message comes one to five times, in any order, in batches as large as the template lets its event
//! source make them, at times to two runs at once. One that is reported comes again when the function
//! asked for, or when its visibility timeout is over; one that was received too often is moved by the
//! queue itself.
//!
//! Sources: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::{
    platform::{aws::Connection, batch, clock::Clock, ids::Random},
    testing::answering,
};

use crate::support::{gauntlet, template};

/// Bytes that a message's body and attributes have together at most.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// Attributes that a message has at most, and seconds that it is hidden for.
const MOST_ATTRIBUTES: usize = 10;
const MOST_HIDDEN: i64 = 43_200;
/// Deliveries of a message beyond the one that it needs.
const MOST_REPEATS: u32 = 4;
/// Milliseconds, at most, for which an empty queue gathers messages that come back.
const GATHERING: u32 = 60_000;

const ENDPOINT: &str = "http://127.0.0.1:1";
const QUEUE: &str = "http://127.0.0.1:1/000000000000/queue";
const DEAD: &str = "http://127.0.0.1:1/000000000000/dead-letters";

/// A message that was set aside.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    /// What it was called in the queue.
    pub(crate) source: String,
    /// Why, where the function did it.
    pub(crate) reason: Option<String>,
    pub(crate) body: String,
}

#[derive(Clone, Debug)]
struct Message {
    id: String,
    body: String,
    attributes: Vec<(String, String)>,
    visible_at: i64,
    received: u32,
    /// Of the latest receives, each of which is one run's.
    receipts: Vec<String>,
    repeats: u32,
}

/// What went on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) batches: u64,
    /// Batches that two runs had at once.
    pub(crate) beside: u64,
    /// Messages that were reported, or whose run ended without a reply.
    pub(crate) reported: u64,
    pub(crate) cut_off: u64,
    /// Calls of the function on its queues that failed, and those that were done all the same.
    pub(crate) refused: u64,
    pub(crate) lost_replies: u64,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    dead: Vec<Dead>,
    is_disturbed: bool,
    tally: Tally,
    /// What AWS would not have taken.
    complaints: Vec<String>,
}

/// A queue.
#[derive(Clone, Debug)]
pub(crate) struct Sqs {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    name: String,
    batch_size: u32,
    most_receives: u32,
    visibility: i64,
    state: Arc<Mutex<State>>,
}

/// A batch on its way to a run.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) event: Value,
    /// Times that the message that was received most often was received.
    pub(crate) received: u32,
    /// Whether something may go wrong: never in a message's last delivery, so that only poison ends
    /// among the dead letters.
    pub(crate) is_disturbed: bool,
}

impl Sqs {
    /// The queue that is `name` in the template, with its event source.
    pub(crate) fn of(name: &str, clock: &Clock) -> Self {
        let resources = template::resources();
        let queue = &resources[name]["Properties"];
        let source = &resources[&format!("{name}Source")]["Properties"];
        assert_eq!(
            source["FunctionResponseTypes"],
            json!(["ReportBatchItemFailures"])
        );
        let number = |value: &Value| value.as_u64().expect("the template gives a number");
        let small = |value: &Value| u32::try_from(number(value)).expect("it is small");
        Self {
            clock: clock.clone(),
            random: Random::seeded(gauntlet::seed()),
            name: name.to_owned(),
            batch_size: small(&source["BatchSize"]),
            most_receives: small(&queue["RedrivePolicy"]["maxReceiveCount"]),
            visibility: small(&queue["VisibilityTimeout"]).into(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        state.expect("nothing panics while it holds the queue")
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// The SDK's client for this queue.
    pub(crate) fn client(&self) -> aws_sdk_sqs::Client {
        let sqs = self.clone();
        let http = answering(move |request| {
            let target = request.headers()["x-amz-target"].to_str();
            let target = target.expect("a target is text").to_owned();
            let body = request.body().bytes().expect("a body is in memory");
            let body = serde_json::from_slice(body).expect("the SDK speaks JSON");
            let (status, answer) = sqs.answer(&target, &body);
            let response = http::Response::builder().status(status);
            response.body(answer.to_string()).expect("it is an answer")
        });
        Connection::to_emulator(ENDPOINT, http).sqs()
    }

    /// The queue's own address.
    pub(crate) fn url() -> String {
        QUEUE.to_owned()
    }

    /// What a function does with messages that failed.
    pub(crate) fn failed(&self) -> batch::Queues {
        batch::Queues {
            sqs: self.client(),
            queue_url: Self::url(),
            dead_letter_url: DEAD.to_owned(),
        }
    }

    /// Puts a message into the queue; gives its id.
    pub(crate) fn send(&self, body: impl Into<String>) -> String {
        let number = self.state().tally.messages;
        let attributes = vec![("correlation-id".to_owned(), format!("c-{number}"))];
        self.put(body.into(), attributes, 0)
    }

    fn put(&self, body: String, attributes: Vec<(String, String)>, delay: i64) -> String {
        // A repetition makes up for what a run forgot, so half of the messages come but once.
        let is_repeated = self.random.up_to(1) == 1;
        let repeats = u32::from(is_repeated) * (1 + self.random.up_to(MOST_REPEATS - 1));
        let visible_at = self.now() + delay * 1000;
        let mut state = self.state();
        let id = format!("message-{}", state.tally.messages);
        state.tally.messages += 1;
        state.messages.push(Message {
            id: id.clone(),
            body,
            attributes,
            visible_at,
            received: 0,
            receipts: Vec::new(),
            repeats,
        });
        id
    }

    fn answer(&self, target: &str, body: &Value) -> (u16, Value) {
        let refusal = |code: &str| (400, json!({"__type": format!("com.amazonaws.sqs#{code}")}));
        let is_disturbed = self.state().is_disturbed;
        let trouble = if is_disturbed {
            self.random.up_to(9)
        } else {
            9
        };
        // The SDK does not repeat what is refused for want of rights, so no test waits for it.
        if trouble == 0 {
            self.state().tally.refused += 1;
            return refusal("AccessDenied");
        }
        let outcome = match target.rsplit('.').next() {
            Some("SendMessage") => self.take(body),
            Some("ChangeMessageVisibility") => self.hide(body),
            _ => Err(format!("{target} is not modelled")),
        };
        match outcome {
            Err(complaint) => {
                // What is too large stays for the queue itself to move.
                if complaint != TOO_LARGE {
                    self.state().complaints.push(complaint);
                }
                refusal("InvalidParameterValue")
            }
            Ok(_) if trouble == 1 => {
                self.state().tally.lost_replies += 1;
                refusal("AccessDenied")
            }
            Ok(answer) => (200, answer),
        }
    }

    fn take(&self, body: &Value) -> Result<Value, String> {
        let text = body["MessageBody"].as_str().unwrap_or_default();
        let attributes: Vec<_> = body["MessageAttributes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let value = value["StringValue"].as_str().unwrap_or_default();
                (name.clone(), value.to_owned())
            })
            .collect();
        let size: usize = attributes
            .iter()
            .map(|(name, value)| name.len() + "String".len() + value.len())
            .sum();
        if text.len() + size > MOST_BYTES {
            return Err(TOO_LARGE.to_owned());
        }
        if text.is_empty() || !text.chars().all(is_allowed) {
            return Err("a body that SQS does not take".to_owned());
        }
        if attributes.len() > MOST_ATTRIBUTES
            || attributes.iter().any(|(_, value)| value.is_empty())
        {
            return Err("attributes that SQS does not take".to_owned());
        }
        match body["QueueUrl"].as_str() {
            Some(QUEUE) => {
                self.put(
                    text.to_owned(),
                    attributes,
                    body["DelaySeconds"].as_i64().unwrap_or(0),
                );
            }
            Some(DEAD) => {
                let attribute = |name: &str| {
                    let found = attributes.iter().find(|(known, _)| known == name);
                    found.map(|(_, value)| value.clone())
                };
                let source = attribute("source-message-id");
                let dead = Dead {
                    source: source.ok_or("a burial does not say of which message")?,
                    reason: attribute("failure-reason"),
                    body: text.to_owned(),
                };
                self.state().dead.push(dead);
            }
            other => return Err(format!("{other:?} is no queue")),
        }
        Ok(json!({"MessageId": "m"}))
    }

    fn hide(&self, body: &Value) -> Result<Value, String> {
        let seconds = body["VisibilityTimeout"].as_i64().unwrap_or(-1);
        if !(0..=MOST_HIDDEN).contains(&seconds) || body["QueueUrl"] != QUEUE {
            return Err(format!("a message cannot be hidden so: {body}"));
        }
        let receipt = body["ReceiptHandle"].as_str().unwrap_or_default();
        let until = self.now() + seconds * 1000;
        let mut state = self.state();
        let found = state.messages.iter_mut();
        let mut found = found.filter(|message| message.receipts.iter().any(|own| own == receipt));
        let message = found.next().ok_or("no such receipt")?;
        message.visible_at = until;
        Ok(json!({}))
    }

    /// Delivers until the queue is empty. `deliver` gives the run's reply, or nothing where the run was
    /// cut off.
    pub(crate) async fn drain(&self, deliver: impl AsyncFn(Delivery) -> Option<Value>) {
        while let Some((ids, delivery, is_beside)) = self.receive() {
            let replies = if is_beside {
                let second = self.event(&ids, 1);
                let second = Delivery {
                    event: second,
                    ..delivery.clone()
                };
                let (first, second) = tokio::join!(deliver(delivery), deliver(second));
                vec![first, second]
            } else {
                vec![deliver(delivery).await]
            };
            self.settle(&ids, &replies);
            let pause = self.random.up_to(400);
            self.clock
                .advance(SignedDuration::from_millis(pause.into()));
        }
        let state = self.state();
        assert_eq!(state.complaints, [""; 0], "{}: {}", self.name, Self::seed());
    }

    fn seed() -> String {
        format!("replay it by GAUNTLET_SEED={}", gauntlet::seed())
    }

    /// The next batch; nothing once the queue is empty.
    fn receive(&self) -> Option<(Vec<String>, Delivery, bool)> {
        let (now, random) = (self.now(), &self.random);
        let mut state = self.state();
        let next = state.messages.iter().map(|message| message.visible_at);
        let next = next.min()?;
        if next > now {
            drop(state);
            // Long enough for more of them to come back together.
            let wait = next - now + i64::from(random.up_to(GATHERING));
            self.clock.advance(SignedDuration::from_millis(wait));
            return self.receive();
        }
        let mut visible: Vec<usize> = (0..state.messages.len())
            .filter(|&at| state.messages[at].visible_at <= now)
            .collect();
        // Trouble is for those that have a delivery left after it.
        let wants_trouble = random.up_to(2) == 0;
        let has_another = |at: &usize| state.messages[*at].received + 1 < self.most_receives;
        if wants_trouble && visible.iter().any(has_another) {
            visible.retain(has_another);
        }
        let wanted = match random.up_to(2) {
            0 => 1 + random.up_to(self.batch_size - 1),
            _ => self.batch_size,
        };
        let mut chosen = Vec::new();
        while chosen.len() < wanted as usize && !visible.is_empty() {
            let last = u32::try_from(visible.len() - 1).expect("there are few");
            chosen.push(visible.swap_remove(random.up_to(last) as usize));
        }
        let most = chosen.iter().map(|&at| state.messages[at].received).max()?;
        let is_beside = most + 2 < self.most_receives && random.up_to(19) == 0;
        let is_disturbed = most + 1 + u32::from(is_beside) < self.most_receives;
        let is_disturbed = is_disturbed && wants_trouble;
        let (mut ids, mut spent, mut received) = (Vec::new(), Vec::new(), 0);
        for at in chosen {
            let message = &mut state.messages[at];
            if message.received == self.most_receives {
                spent.push(message.id.clone());
                continue;
            }
            message.receipts.clear();
            for _ in 0..=u32::from(is_beside) {
                message.received += 1;
                let receipt = format!("{}#{}", message.id, message.received);
                message.receipts.push(receipt);
            }
            message.visible_at = now + self.visibility * 1000;
            received = received.max(message.received);
            ids.push(message.id.clone());
        }
        let (spent, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.messages)
            .into_iter()
            .partition(|message| spent.contains(&message.id));
        state.messages = kept;
        state.dead.extend(spent.into_iter().map(|message| Dead {
            source: message.id,
            reason: None,
            body: message.body,
        }));
        state.is_disturbed = is_disturbed;
        state.tally.batches += 1;
        state.tally.beside += u64::from(is_beside);
        state.tally.deliveries += (ids.len() as u64) * (1 + u64::from(is_beside));
        drop(state);
        if ids.is_empty() {
            return self.receive();
        }
        let delivery = Delivery {
            event: self.event(&ids, 0),
            received,
            is_disturbed,
        };
        Some((ids, delivery, is_beside))
    }

    /// What the event source sends to the `nth` of the runs that have these messages.
    fn event(&self, ids: &[String], nth: usize) -> Value {
        let state = self.state();
        let records = ids.iter().map(|id| {
            let message = state.messages.iter().find(|message| message.id == *id);
            let message = message.expect("it is in flight");
            let attributes = message.attributes.iter().map(|(name, value)| {
                let value = json!({"stringValue": value, "dataType": "String",
                    "stringListValues": [], "binaryListValues": []});
                (name.clone(), value)
            });
            let count = message.received as usize - (message.receipts.len() - 1 - nth);
            json!({
                "messageId": id, "receiptHandle": message.receipts[nth], "body": message.body,
                "attributes": {"ApproximateReceiveCount": count.to_string()},
                "messageAttributes": attributes.collect::<serde_json::Map<_, _>>(),
                "eventSource": "aws:sqs", "awsRegion": "us-east-1",
                "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{}", self.name),
            })
        });
        json!({"Records": records.collect::<Vec<_>>()})
    }

    fn settle(&self, ids: &[String], replies: &[Option<Value>]) {
        let reports: Vec<Option<BTreeSet<&str>>> = replies
            .iter()
            .map(|reply| reply.as_ref().map(|reply| self.reported(ids, reply)))
            .collect();
        let (now, mut state) = (self.now(), self.state());
        state.is_disturbed = false;
        state.tally.cut_off += reports.iter().filter(|report| report.is_none()).count() as u64;
        let is_done = |id: &str| {
            let mut reports = reports.iter().flatten();
            reports.any(|report| !report.contains(id))
        };
        for id in ids {
            if !is_done(id) {
                state.tally.reported += 1;
                continue;
            }
            let at = state.messages.iter().position(|message| message.id == *id);
            let at = at.expect("it is in flight");
            let message = &mut state.messages[at];
            if message.repeats > 0 && message.received < self.most_receives {
                message.repeats -= 1;
                message.visible_at = now + i64::from(self.random.up_to(400_000));
            } else {
                state.messages.swap_remove(at);
            }
        }
    }

    /// The messages that a reply reports, which has to be as AWS documents it.
    fn reported<'r>(&self, ids: &[String], reply: &'r Value) -> BTreeSet<&'r str> {
        let invalid = || format!("{}: {reply}: {}", self.name, Self::seed());
        let members = reply.as_object().unwrap_or_else(|| panic!("{}", invalid()));
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(names, ["batchItemFailures"], "{}", invalid());
        let failures = reply["batchItemFailures"].as_array();
        let failures = failures.unwrap_or_else(|| panic!("{}", invalid()));
        let mut reported = BTreeSet::new();
        for failure in failures {
            let id = failure["itemIdentifier"].as_str().unwrap_or_default();
            let is_whole = failure
                .as_object()
                .is_some_and(|failure| failure.len() == 1);
            assert!(is_whole && ids.iter().any(|own| own == id), "{}", invalid());
            assert!(reported.insert(id), "{}", invalid());
        }
        reported
    }

    /// Compares the dead letters with the poison, each of which says whether the function could have
    /// given a reason, and reports the figures.
    pub(crate) fn account(&self, poison: &[(String, bool)]) {
        let state = self.state();
        let dead: BTreeSet<&str> = state.dead.iter().map(|dead| dead.source.as_str()).collect();
        let expected: BTreeSet<&str> = poison.iter().map(|(id, _)| id.as_str()).collect();
        let of = |id: &&str| {
            let mut found = state.dead.iter().filter(|dead| dead.source == **id);
            found
                .next()
                .map(|dead| (dead.reason.clone(), dead.body.chars().take(200).collect()))
        };
        let innocent: Vec<(_, String)> = dead.difference(&expected).filter_map(of).collect();
        assert_eq!(
            innocent,
            [],
            "{} buries what is none: {}",
            self.name,
            Self::seed()
        );
        let missing: Vec<_> = expected.difference(&dead).collect();
        assert_eq!(
            missing,
            [&""; 0],
            "{} is not buried: {}",
            self.name,
            Self::seed()
        );
        for (id, has_reason) in poison {
            let mut copies = state.dead.iter().filter(|dead| dead.source == *id);
            let is_told = copies.any(|dead| dead.reason.is_some());
            assert_eq!(is_told, *has_reason, "{} {id}: {}", self.name, Self::seed());
        }
        let tally = state.tally;
        let check = format!("queues: {}", self.name);
        for (what, count) in [
            ("messages", tally.messages),
            ("deliveries", tally.deliveries),
            ("batches", tally.batches),
            ("batches with two runs at once", tally.beside),
            ("runs cut off", tally.cut_off),
            ("messages that came back", tally.reported),
            ("queue calls refused", tally.refused),
            ("queue calls done and not answered", tally.lost_replies),
            ("poison = dead letters", poison.len() as u64),
        ] {
            gauntlet::figure(&check, what, count);
        }
    }
}

const TOO_LARGE: &str = "larger than a message may be";

/// The characters that SQS takes.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Mistakes that a consumer may make, each of which has to be seen.
mod tests {
    use std::cell::Cell;

    use super::*;

    const MESSAGES: usize = 50;
    const POISON: &str = "poison";

    /// A queue of some messages; the first is poison, and its id is given as well.
    fn queue() -> (Sqs, String) {
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().expect("it is a time"));
        let sqs = Sqs::of("OrderRevenueQueue", &clock);
        let poison = sqs.send(POISON);
        for _ in 1..MESSAGES {
            sqs.send("fine");
        }
        (sqs, poison)
    }

    /// The reply that reports those messages of a delivery that are `wrong`.
    fn reply(delivery: &Delivery, wrong: impl Fn(&Value) -> bool) -> Value {
        let records = delivery.event["Records"].as_array();
        let records = records.expect("a delivery has records").iter();
        let failures = records
            .filter(|record| wrong(record))
            .map(|record| json!({"itemIdentifier": record["messageId"]}));
        json!({"batchItemFailures": failures.collect::<Vec<_>>()})
    }

    async fn drain(sqs: &Sqs, wrong: impl Fn(&Value) -> bool) {
        sqs.drain(async |delivery| Some(reply(&delivery, &wrong)))
            .await;
    }

    #[tokio::test]
    #[should_panic(expected = "is not buried")]
    async fn who_takes_poison_for_done_is_found_out() {
        let (sqs, poison) = queue();
        drain(&sqs, |_| false).await;
        sqs.account(&[(poison, false)]);
    }

    #[tokio::test]
    #[should_panic(expected = "buries what is none")]
    async fn who_fails_for_the_sake_of_one_with_the_whole_batch_is_found_out() {
        let (sqs, poison) = queue();
        drain(&sqs, |_| true).await;
        sqs.account(&[(poison, false)]);
    }

    #[tokio::test]
    #[should_panic(expected = "OrderRevenueQueue message-0")]
    async fn who_gives_poison_up_without_a_reason_is_found_out() {
        let (sqs, poison) = queue();
        drain(&sqs, |record| record["body"] == POISON).await;
        sqs.account(&[(poison, true)]);
    }

    #[tokio::test]
    #[should_panic(expected = "GAUNTLET_SEED")]
    async fn who_reports_a_message_that_was_not_delivered_is_found_out() {
        let (sqs, _) = queue();
        sqs.drain(async |_| Some(json!({"batchItemFailures": [{"itemIdentifier": "another"}]})))
            .await;
    }

    #[tokio::test]
    #[should_panic(expected = "GAUNTLET_SEED")]
    async fn who_replies_in_another_form_is_found_out() {
        let (sqs, _) = queue();
        sqs.drain(async |_| Some(json!({"failures": []}))).await;
    }

    #[tokio::test]
    async fn who_counts_deliveries_counts_more_than_there_are_messages() {
        let (sqs, poison) = queue();
        let counted = Cell::new(0);
        sqs.drain(async |delivery| {
            let records = delivery.event["Records"].as_array();
            counted.set(counted.get() + records.map_or(0, Vec::len));
            Some(reply(&delivery, |record| record["body"] == POISON))
        })
        .await;
        assert!(counted.get() > MESSAGES, "{}", counted.get());
        let dead: Vec<_> = sqs
            .state()
            .dead
            .iter()
            .map(|dead| dead.source.clone())
            .collect();
        assert_eq!(dead, [poison]);
    }
}
