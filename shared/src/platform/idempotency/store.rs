//! Idempotency records in a table: the only code that knows their keys and expressions.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use jiff::{SignedDuration, Timestamp};

use super::rules::{
    Fingerprint, Meaning, RETENTION, Record, Scope, State, StoredResponse, StoredResponseError,
    is_stored,
};
use crate::platform::clock::Clock;
use crate::platform::ids::{BASE32_LENGTH, Random, base32};
use crate::platform::problem::Problem;
use crate::platform::telemetry;

/// Longer than an API Gateway integration may take (29 s).
const LEASE: SignedDuration = SignedDuration::from_secs(30);
/// Pause between looks at a record that another request holds.
const POLL: Duration = Duration::from_millis(200);

type Item = HashMap<String, AttributeValue>;

/// Keeps requests idempotent with records in one table (`pk`, `sk`, TTL attribute `expiration`).
#[derive(Clone, Debug)]
pub struct Idempotency {
    client: Client,
    table: String,
    clock: Clock,
    random: Random,
}

/// What a request finds when it begins.
#[derive(Debug)]
pub enum Started {
    /// It is the first: it does the work, then completes or releases the claim.
    Claimed(Claim),
    /// It was done before: this is the answer.
    Replay(StoredResponse),
}

/// The right to do the work of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    table: String,
    scope: Scope,
    token: String,
}

/// What the work of a request came to.
#[derive(Debug)]
pub enum Work {
    /// The answer, not yet recorded.
    Answered(Response),
    /// The answer, recorded by [`Claim::completion`] in the transaction that did the work.
    Committed(StoredResponse),
}

/// Why a request could not begin or end.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError {
    /// The key was used for another body.
    #[error("idempotency key was used with another request")]
    Reused,
    /// The first request with the key is under way.
    #[error("request with this idempotency key is in progress")]
    InProgress,
    /// The claim passed to another after its lease.
    #[error("idempotency claim was lost")]
    ClaimLost,
    /// The answer cannot be kept.
    #[error("response cannot be kept")]
    Response(#[from] StoredResponseError),
    /// A stored record cannot be read.
    #[error("idempotency record is malformed: {0}")]
    Malformed(&'static str),
    /// The record could not be read.
    #[error("idempotency record could not be read")]
    Get(#[source] Box<SdkError<GetItemError>>),
    /// The claim could not be written.
    #[error("idempotency claim could not be written")]
    Put(#[source] Box<SdkError<PutItemError>>),
    /// The completion could not be written.
    #[error("idempotency record could not be completed")]
    Update(#[source] Box<SdkError<UpdateItemError>>),
    /// The claim could not be released.
    #[error("idempotency claim could not be released")]
    Delete(#[source] Box<SdkError<DeleteItemError>>),
}

impl IntoResponse for Work {
    fn into_response(self) -> Response {
        match self {
            Self::Answered(response) => response,
            Self::Committed(stored) => stored.into_response(),
        }
    }
}

impl From<IdempotencyError> for Problem {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::Reused => Self::unprocessable(
                "idempotency-key-reused",
                "the idempotency key was used with another request",
            ),
            IdempotencyError::InProgress | IdempotencyError::ClaimLost => Self::conflict(
                "idempotency-in-progress",
                "a request with this idempotency key is in progress",
            )
            .with_retry_after(1),
            IdempotencyError::Get(source) => Self::aws(*source),
            IdempotencyError::Put(source) => Self::aws(*source),
            IdempotencyError::Update(source) => Self::aws(*source),
            IdempotencyError::Delete(source) => Self::aws(*source),
            IdempotencyError::Malformed(_) | IdempotencyError::Response(_) => Self::internal(error),
        }
    }
}

impl Idempotency {
    /// Keeps records in `table`.
    pub fn new(client: Client, table: impl Into<String>, clock: Clock, random: Random) -> Self {
        Self {
            client,
            table: table.into(),
            clock,
            random,
        }
    }

    /// Does `work` once for all requests of this scope and fingerprint, and answers each of them. The
    /// request must be valid before this is called. A same request under way is waited for up to `wait`.
    ///
    /// When the work's answer is not kept, for it is not [`is_stored`] or says `Retry-After`, the claim
    /// is released.
    pub async fn execute<W, F>(
        &self,
        scope: Scope,
        fingerprint: Fingerprint,
        wait: Duration,
        work: W,
    ) -> Response
    where
        W: FnOnce(Claim) -> F,
        F: Future<Output = Result<Work, Problem>>,
    {
        let claim = match self.begin_waiting(scope, fingerprint, wait).await {
            Ok(Started::Claimed(claim)) => claim,
            Ok(Started::Replay(response)) => return response.into_replay(),
            Err(error) => return Problem::from(error).into_response(),
        };
        let response = match work(claim.clone()).await {
            Ok(Work::Committed(response)) => return response.into_response(),
            Ok(Work::Answered(response)) => response,
            Err(problem) => problem.into_response(),
        };
        let asks_to_retry = response.headers().contains_key(RETRY_AFTER);
        if asks_to_retry || !is_stored(response.status()) {
            if let Err(error) = self.release(&claim).await {
                // The lease ends by itself; the answer is more use to the caller than this.
                let error = telemetry::chain(&error);
                tracing::warn!(error, "idempotency claim stays until its lease ends");
            }
            return response;
        }
        match self.record(&claim, response).await {
            Ok(response) => response,
            Err(error) => Problem::from(error).into_response(),
        }
    }

    async fn record(
        &self,
        claim: &Claim,
        response: Response,
    ) -> Result<Response, IdempotencyError> {
        let stored = StoredResponse::capture(response).await?;
        self.complete(claim, &stored).await?;
        Ok(stored.into_response())
    }

    async fn begin_waiting(
        &self,
        scope: Scope,
        fingerprint: Fingerprint,
        wait: Duration,
    ) -> Result<Started, IdempotencyError> {
        let mut waited = Duration::ZERO;
        loop {
            match self.begin(&scope, &fingerprint).await {
                Err(IdempotencyError::InProgress) if waited < wait => {
                    tokio::time::sleep(POLL).await;
                    waited += POLL;
                }
                result => return result,
            }
        }
    }

    /// Claims `scope` for a request with `fingerprint`.
    ///
    /// # Errors
    /// [`IdempotencyError::Reused`], [`IdempotencyError::InProgress`], or a failure of the table.
    pub async fn begin(
        &self,
        scope: &Scope,
        fingerprint: &Fingerprint,
    ) -> Result<Started, IdempotencyError> {
        let token = base32(u128::from_le_bytes(self.random.bytes()), BASE32_LENGTH);
        let now = self.clock.now();
        let claim = Claim {
            table: self.table.clone(),
            scope: scope.clone(),
            token,
        };
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(claim.item(fingerprint, now)))
            .condition_expression(
                "attribute_not_exists(pk) OR #expiration <= :now OR (#status = :running \
                 AND #until <= :now_ms AND #validation = :validation)",
            )
            .expression_attribute_names("#expiration", EXPIRATION)
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_names("#until", UNTIL)
            .expression_attribute_names("#validation", VALIDATION)
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":now_ms", number(now.as_millisecond()))
            .expression_attribute_values(":running", text(IN_PROGRESS))
            .expression_attribute_values(":validation", text(fingerprint.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let found = match result {
            Ok(_) => return Ok(Started::Claimed(claim)),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.item.clone(),
                _ => return Err(IdempotencyError::Put(Box::new(error))),
            },
        };
        // Not every endpoint returns the item with the failure.
        let found = match found {
            Some(item) => Some(item),
            None => self.read(scope).await?,
        };
        // A record that is gone by now was released a moment ago; the caller may simply try again.
        let Some(item) = found else {
            return Err(IdempotencyError::InProgress);
        };
        match record(&item)?.meaning(fingerprint, &claim.token, now) {
            Meaning::Own => Ok(Started::Claimed(claim)),
            Meaning::Done(response) => Ok(Started::Replay(response)),
            Meaning::Reused => Err(IdempotencyError::Reused),
            Meaning::Running | Meaning::Vacant => Err(IdempotencyError::InProgress),
        }
    }

    async fn read(&self, scope: &Scope) -> Result<Option<Item>, IdempotencyError> {
        self.client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(scope)))
            .consistent_read(true)
            .send()
            .await
            .map(|output| output.item)
            .map_err(|error| IdempotencyError::Get(Box::new(error)))
    }

    /// Records the answer to a claimed request, for work that is not itself a table write.
    ///
    /// # Errors
    /// [`IdempotencyError::ClaimLost`], or a failure of the table.
    pub async fn complete(
        &self,
        claim: &Claim,
        response: &StoredResponse,
    ) -> Result<(), IdempotencyError> {
        // Unlike in a transaction the status is not asked for: writing the same completion again must
        // succeed, should the first reply have been lost.
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(&claim.scope)))
            .update_expression(COMPLETE)
            .condition_expression("#claim = :claim")
            .set_expression_attribute_names(Some(completion_names()))
            .set_expression_attribute_values(Some(
                claim.completion_values(response, self.clock.now())?,
            ))
            .send()
            .await
            .map(drop)
            .map_err(|error| match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    IdempotencyError::ClaimLost
                }
                _ => IdempotencyError::Update(Box::new(error)),
            })
    }

    /// Gives a claim up, so that the same request may be made anew. A claim that is no longer held is
    /// left alone.
    ///
    /// # Errors
    /// A failure of the table; the claim then lasts until its lease ends.
    pub async fn release(&self, claim: &Claim) -> Result<(), IdempotencyError> {
        let result = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(&claim.scope)))
            .condition_expression("#claim = :claim AND #status = :running")
            .expression_attribute_names("#claim", CLAIM)
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":claim", text(&claim.token))
            .expression_attribute_values(":running", text(IN_PROGRESS))
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(IdempotencyError::Delete(Box::new(error))),
            },
        }
    }
}

// The attributes are those of Powertools' idempotency records, plus `claim`.
const ID: &str = "id";
const STATUS: &str = "status";
const EXPIRATION: &str = "expiration";
const UNTIL: &str = "in_progress_expiration";
const DATA: &str = "data";
const VALIDATION: &str = "validation";
const CLAIM: &str = "claim";

const IN_PROGRESS: &str = "INPROGRESS";
const COMPLETED: &str = "COMPLETED";

const COMPLETE: &str =
    "SET #status = :completed, #data = :data, #expiration = :expiration REMOVE #until";

impl Claim {
    /// The write that records the answer, for the transaction that does the work: it fails the whole
    /// transaction when the claim is no longer held.
    ///
    /// # Errors
    /// [`IdempotencyError::Malformed`] when the answer cannot be written as JSON.
    ///
    /// # Panics
    /// Never: table, key and expression are all an update needs, and they are given.
    pub fn completion(
        &self,
        response: &StoredResponse,
        now: Timestamp,
    ) -> Result<TransactWriteItem, IdempotencyError> {
        let mut values = self.completion_values(response, now)?;
        values.insert(":running".to_owned(), text(IN_PROGRESS));
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key(&self.scope)))
            .update_expression(COMPLETE)
            .condition_expression("#claim = :claim AND #status = :running")
            .set_expression_attribute_names(Some(completion_names()))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("table, key and expression are set");
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn completion_values(
        &self,
        response: &StoredResponse,
        now: Timestamp,
    ) -> Result<Item, IdempotencyError> {
        let data =
            serde_json::to_string(response).map_err(|_| IdempotencyError::Malformed("response"))?;
        Ok(Item::from([
            (":claim".to_owned(), text(&self.token)),
            (":completed".to_owned(), text(COMPLETED)),
            (":data".to_owned(), text(&data)),
            (":expiration".to_owned(), expiration(now)),
        ]))
    }

    fn item(&self, fingerprint: &Fingerprint, now: Timestamp) -> Item {
        let until = (now + LEASE).as_millisecond();
        let mut item = key(&self.scope);
        item.extend([
            (ID.to_owned(), text(self.scope.as_str())),
            (STATUS.to_owned(), text(IN_PROGRESS)),
            (EXPIRATION.to_owned(), expiration(now)),
            (UNTIL.to_owned(), number(until)),
            (VALIDATION.to_owned(), text(fingerprint.as_str())),
            (CLAIM.to_owned(), text(&self.token)),
        ]);
        item
    }
}

fn completion_names() -> HashMap<String, String> {
    [
        ("#claim", CLAIM),
        ("#status", STATUS),
        ("#data", DATA),
        ("#expiration", EXPIRATION),
        ("#until", UNTIL),
    ]
    .map(|(placeholder, name)| (placeholder.to_owned(), name.to_owned()))
    .into()
}

fn key(scope: &Scope) -> Item {
    Item::from([
        ("pk".to_owned(), text(&format!("IDEMPOTENCY#{scope}"))),
        ("sk".to_owned(), text("RECORD")),
    ])
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn expiration(now: Timestamp) -> AttributeValue {
    number((now + RETENTION).as_second())
}

fn record(item: &Item) -> Result<Record, IdempotencyError> {
    let text = |name: &'static str| {
        item.get(name)
            .and_then(|value| value.as_s().ok())
            .ok_or(IdempotencyError::Malformed(name))
    };
    let number = |name: &'static str| {
        item.get(name)
            .and_then(|value| value.as_n().ok()?.parse::<i64>().ok())
            .ok_or(IdempotencyError::Malformed(name))
    };
    let state = match text(STATUS)?.as_str() {
        IN_PROGRESS => State::InProgress {
            until: Timestamp::from_millisecond(number(UNTIL)?)
                .map_err(|_| IdempotencyError::Malformed(UNTIL))?,
        },
        COMPLETED => State::Completed(
            serde_json::from_str(text(DATA)?).map_err(|_| IdempotencyError::Malformed(DATA))?,
        ),
        _ => return Err(IdempotencyError::Malformed(STATUS)),
    };
    Ok(Record {
        state,
        expires: Timestamp::from_second(number(EXPIRATION)?)
            .map_err(|_| IdempotencyError::Malformed(EXPIRATION))?,
        fingerprint: Fingerprint::stored(text(VALIDATION)?),
        token: text(CLAIM)?.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::platform::http::Json;
    use crate::platform::idempotency::IdempotencyKey;
    use crate::testing::{Database, Table};

    struct House {
        _database: Database,
        client: Client,
        clock: Clock,
        idempotency: Idempotency,
        effects: Arc<AtomicU32>,
    }

    impl House {
        async fn new() -> Self {
            let database = Database::start(&[Table::new("Commerce")]).await;
            let client = database.client();
            let clock = Clock::fixed(Timestamp::from_second(1_795_190_400).unwrap());
            Self {
                _database: database,
                client: client.clone(),
                clock: clock.clone(),
                idempotency: Idempotency::new(client, "Commerce", clock, Random::seeded(1)),
                effects: Arc::default(),
            }
        }

        fn count(&self) -> u32 {
            self.effects.load(Ordering::SeqCst)
        }

        async fn send(&self, body: &str, wait: Duration, status: u16) -> (u16, bool, String) {
            let effects = self.effects.clone();
            let work = |_| async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let number = effects.fetch_add(1, Ordering::SeqCst) + 1;
                let status = http::StatusCode::from_u16(status).unwrap();
                let answer = Json(serde_json::json!({ "order": number }));
                Ok(Work::Answered(
                    (
                        status,
                        [("location", "/api/orders/1"), ("etag", "\"v1\"")],
                        answer,
                    )
                        .into_response(),
                ))
            };
            let fingerprint = Fingerprint::of_json(body.as_bytes()).unwrap();
            let answer = self.idempotency.execute(scope(), fingerprint, wait, work);
            let response = sendable(answer).await;
            read(response).await
        }
    }

    /// Handlers may await it: the router asks for futures that can change threads.
    fn sendable<F: Future + Send>(future: F) -> F {
        future
    }

    fn scope() -> Scope {
        let headers = HeaderMap::from_iter([(
            "idempotency-key".parse().unwrap(),
            HeaderValue::from_static("k-1"),
        )]);
        let key = IdempotencyKey::from_headers(&headers).unwrap();
        Scope::new("u-1", "POST", "/api/orders", &key)
    }

    async fn read(response: Response) -> (u16, bool, String) {
        let status = response.status().as_u16();
        let replayed = response.headers().get("idempotent-replayed").is_some();
        if status < 300 {
            assert_eq!(response.headers()["location"], "/api/orders/1");
            assert_eq!(response.headers()["etag"], "\"v1\"");
            assert_eq!(response.headers()["content-type"], "application/json");
        }
        let body = axum::body::to_bytes(response.into_body(), 65_536)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let said = body.get("code").unwrap_or(&body["order"]).to_string();
        (status, replayed, said)
    }

    const NOW: Duration = Duration::ZERO;

    #[tokio::test]
    async fn the_same_request_gets_the_first_answer_and_another_is_refused() {
        let house = House::new().await;
        assert_eq!(
            house.send("{\"a\":1}", NOW, 201).await,
            (201, false, "1".into())
        );
        assert_eq!(
            house.send("{ \"a\": 1.0 }", NOW, 201).await,
            (201, true, "1".into())
        );
        let refused = house.send("{\"a\":2}", NOW, 201).await;
        assert_eq!(refused, (422, false, "\"idempotency-key-reused\"".into()));
        assert_eq!(house.count(), 1);
    }

    #[tokio::test]
    async fn of_many_at_once_one_does_the_work_and_those_who_wait_get_its_answer() {
        let house = House::new().await;
        let patient = Duration::from_secs(10);
        let (a, b, c, hasty) = tokio::join!(
            house.send("{}", patient, 201),
            house.send("{}", patient, 201),
            house.send("{}", patient, 201),
            async {
                tokio::time::sleep(Duration::from_millis(25)).await;
                house.send("{}", NOW, 201).await
            },
        );
        assert_eq!(house.count(), 1);
        let mut replays = [a, b, c].map(|(status, replayed, said)| {
            assert_eq!((status, said.as_str()), (201, "1"));
            replayed
        });
        replays.sort_unstable();
        assert_eq!(replays, [false, true, true]);
        assert_eq!(hasty, (409, false, "\"idempotency-in-progress\"".into()));
    }

    #[tokio::test]
    async fn refusals_by_state_are_kept_and_failures_release_the_claim() {
        let house = House::new().await;
        for (status, kept) in [(503, false), (429, false), (409, true)] {
            assert_eq!(house.send("{}", NOW, status).await.0, status);
            let (_, replayed, _) = house.send("{}", NOW, status).await;
            assert_eq!(replayed, kept, "{status}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_asks_to_try_again_is_not_what_the_next_try_gets() {
        let house = House::new().await;
        let busy = |_| async { Err(Problem::conflict("order-busy", "busy").with_retry_after(1)) };
        let fingerprint = Fingerprint::of_bytes(b"{}");
        let idempotency = &house.idempotency;
        let first = idempotency.execute(scope(), fingerprint.clone(), NOW, busy);
        assert_eq!(first.await.status(), 409);
        let free = |_| async { Ok(Work::Answered(http::StatusCode::OK.into_response())) };
        let second = idempotency.execute(scope(), fingerprint, NOW, free);
        assert_eq!(second.await.status(), 200);
    }

    #[tokio::test]
    async fn an_answer_is_forgotten_after_a_day_even_if_its_item_is_still_there() {
        let house = House::new().await;
        house.send("{}", NOW, 201).await;
        house
            .clock
            .advance(RETENTION - SignedDuration::from_secs(1));
        assert!(house.send("{}", NOW, 201).await.1);
        house.clock.advance(SignedDuration::from_secs(1));
        assert_eq!(
            house.send("{\"other\":true}", NOW, 201).await,
            (201, false, "2".into())
        );
    }

    async fn claim(house: &House, body: &[u8]) -> Result<Claim, IdempotencyError> {
        let started = house
            .idempotency
            .begin(&scope(), &Fingerprint::of_bytes(body))
            .await?;
        match started {
            Started::Claimed(claim) => Ok(claim),
            Started::Replay(_) => panic!("expected a claim"),
        }
    }

    #[tokio::test]
    async fn a_crashed_claim_passes_on_after_its_lease_and_its_holder_cannot_complete() {
        let house = House::new().await;
        let crashed = claim(&house, b"a").await.unwrap();
        let early = claim(&house, b"a").await;
        assert!(matches!(early, Err(IdempotencyError::InProgress)));

        house.clock.advance(LEASE);
        let other = claim(&house, b"b").await;
        assert!(matches!(other, Err(IdempotencyError::Reused)));
        let next = claim(&house, b"a").await.unwrap();

        let answer = StoredResponse::capture(Response::default()).await.unwrap();
        let lost = house.idempotency.complete(&crashed, &answer).await;
        assert!(matches!(lost, Err(IdempotencyError::ClaimLost)));
        house.idempotency.release(&crashed).await.unwrap();
        house.idempotency.complete(&next, &answer).await.unwrap();
        // A completion that is sent twice, because its reply was lost, succeeds twice.
        house.idempotency.complete(&next, &answer).await.unwrap();
    }

    #[tokio::test]
    async fn a_claim_whose_reply_was_lost_recognises_itself() {
        let house = House::new().await;
        let first = claim(&house, b"a").await.unwrap();
        let same_random = Idempotency {
            random: Random::seeded(1),
            ..house.idempotency.clone()
        };
        let fingerprint = Fingerprint::of_bytes(b"a");
        match same_random.begin(&scope(), &fingerprint).await.unwrap() {
            Started::Claimed(again) => assert_eq!(again, first),
            Started::Replay(_) => panic!("expected the own claim"),
        }
    }

    #[tokio::test]
    async fn effect_and_record_are_written_together_or_not_at_all() {
        let house = House::new().await;
        let stale = claim(&house, b"a").await.unwrap();
        house.clock.advance(LEASE);
        let held = claim(&house, b"a").await.unwrap();
        let answer = StoredResponse::capture(Response::default()).await.unwrap();
        for (claim, succeeds) in [(&stale, false), (&held, true)] {
            let effect = aws_sdk_dynamodb::types::Put::builder()
                .table_name("Commerce")
                .item("pk", text("ORDER#1"))
                .item("sk", text("META"))
                .build()
                .unwrap();
            let written = house
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().put(effect).build())
                .transact_items(claim.completion(&answer, house.clock.now()).unwrap())
                .send()
                .await;
            assert_eq!(written.is_ok(), succeeds);
            let order = house
                .client
                .get_item()
                .table_name("Commerce")
                .key("pk", text("ORDER#1"))
                .key("sk", text("META"))
                .send()
                .await
                .unwrap();
            assert_eq!(order.item.is_some(), succeeds);
        }
        let fingerprint = Fingerprint::of_bytes(b"a");
        let again = house
            .idempotency
            .begin(&scope(), &fingerprint)
            .await
            .unwrap();
        assert!(matches!(again, Started::Replay(_)));
    }

    #[tokio::test]
    async fn a_record_has_the_attributes_of_powertools() {
        let house = House::new().await;
        house.send("{}", NOW, 201).await;
        let output = house
            .client
            .scan()
            .table_name("Commerce")
            .send()
            .await
            .unwrap();
        let mut names: Vec<&str> = output.items()[0].keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "claim",
                "data",
                "expiration",
                "id",
                "pk",
                "sk",
                "status",
                "validation"
            ]
        );
        let data = output.items()[0][DATA].as_s().unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        insta::assert_json_snapshot!(data, @r#"
        {
          "body": "{\"order\":1}",
          "content_type": "application/json",
          "etag": "\"v1\"",
          "location": "/api/orders/1",
          "status": 201
        }
        "#);
    }
}
