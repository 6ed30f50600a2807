//! What every change has in common: it may be asked for twice by one key, its answer is part of its
//! transaction, and it is tried again where others were first at what it was made of.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use shared::platform::{
    caller::Caller,
    idempotency::{
        Claim, Fingerprint, IdempotencyKey, Scope, StoredResponse, Work, preferred_wait,
    },
    problem::Problem,
};

use super::context::Context;

/// Times that a change is made anew when other changes come in between.
pub const TRIES: u32 = 10;

/// Longest pause before a change is made anew, in milliseconds.
const MOST_PAUSE: u32 = 300;

/// Does `work`, once for each `Idempotency-Key` if the request has one.
///
/// # Errors
///
/// What `work` ends in, or a problem for a key that cannot be.
pub async fn once<W, F>(
    context: &Context,
    caller: &Caller,
    path: &str,
    headers: &HeaderMap,
    body: &Value,
    work: W,
) -> Result<Response, Problem>
where
    W: FnOnce(Option<Claim>) -> F,
    F: Future<Output = Result<StoredResponse, Problem>>,
{
    if !headers.contains_key("idempotency-key") {
        return Ok(work(None).await?.into_response());
    }
    let key = IdempotencyKey::from_headers(headers)?;
    let scope = Scope::new(caller.sub(), "POST", path, &key);
    let fingerprint = Fingerprint::of_json(body.to_string().as_bytes())?;
    let claimed = |claim| async { work(Some(claim)).await.map(Work::Committed) };
    let wait = preferred_wait(headers);
    Ok(context
        .idempotency
        .execute(scope, fingerprint, wait, claimed)
        .await)
}

/// An answer as it is remembered, and the write that remembers it where the request has a claim.
///
/// # Errors
///
/// A 500 problem when the answer is too large to be remembered, which none here is.
pub async fn remembered(
    response: impl IntoResponse,
    claim: Option<&Claim>,
    now: Timestamp,
) -> Result<
    (
        StoredResponse,
        Option<aws_sdk_dynamodb::types::TransactWriteItem>,
    ),
    Problem,
> {
    let stored = StoredResponse::capture(response.into_response())
        .await
        .map_err(Problem::internal)?;
    let completion = claim
        .map(|claim| claim.completion(&stored, now))
        .transpose();
    Ok((stored, completion.map_err(Problem::from)?))
}

/// Waits before a change is made anew for the `round`th time.
pub async fn pause(context: &Context, round: u32) {
    let most = (10_u32 << round.min(8)).min(MOST_PAUSE);
    let pause = context.random.up_to(most);
    tokio::time::sleep(Duration::from_millis(pause.into())).await;
}

/// The problem that it is to a caller that others were first every time.
#[must_use]
pub fn crowded() -> Problem {
    Problem::unavailable("others made changes in between every time")
}
