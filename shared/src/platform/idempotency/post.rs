//! A `POST` that may be sent again: what makes it the same request, and the one way to answer it.

use aws_sdk_dynamodb::types::TransactWriteItem;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Claim, Fingerprint, Idempotency, IdempotencyKey, Scope, StoredResponse, Work, preferred_wait,
};
use crate::platform::{caller::Caller, problem::Problem};

/// A request, and what tells it from others.
#[derive(Clone, Copy, Debug)]
pub struct Post<'r> {
    /// Who sends it.
    pub caller: &'r Caller,
    /// Where to, in one spelling for all that mean the same.
    pub path: &'r str,
    /// Its headers: `Idempotency-Key`, and `Prefer: wait=N`.
    pub headers: &'r HeaderMap,
    /// What it says.
    pub content: Content<'r>,
}

/// What a request says.
#[derive(Clone, Copy, Debug)]
pub enum Content<'r> {
    /// JSON, whose spelling does not matter.
    Json(&'r Value),
    /// Anything else, byte for byte.
    Bytes(&'r [u8]),
}

impl Content<'_> {
    fn fingerprint(self) -> Result<Fingerprint, Problem> {
        match self {
            Self::Json(value) => Fingerprint::of_json(value.to_string().as_bytes()),
            Self::Bytes(bytes) => Ok(Fingerprint::of_bytes(bytes)),
        }
    }
}

impl Idempotency {
    /// Does `work` once for all requests that are the same as `post`, and answers each of them; a request
    /// without an `Idempotency-Key` is the same as no other. The request must be valid before this is
    /// called, and where it has to have a key, that must have been asked for.
    ///
    /// # Errors
    /// A 400 problem for a key that cannot be; what `work` ends in where there is no key. With a key
    /// that too is an answer.
    pub async fn once<W, F>(&self, post: Post<'_>, work: W) -> Result<Response, Problem>
    where
        W: FnOnce(Option<Claim>) -> F,
        F: Future<Output = Result<Work, Problem>>,
    {
        let Some(key) = IdempotencyKey::if_given(post.headers)? else {
            return work(None).await.map(IntoResponse::into_response);
        };
        let scope = Scope::new(post.caller.sub(), "POST", post.path, &key);
        let (fingerprint, wait) = (post.content.fingerprint()?, preferred_wait(post.headers));
        let work = |claim| work(Some(claim));
        Ok(self.execute(scope, fingerprint, wait, work).await)
    }
}

/// The answer of a change, and the write that remembers it in the change's own transaction where its
/// request has a claim.
///
/// # Errors
/// A 500 problem when the answer cannot be remembered.
pub async fn remembered(
    response: impl IntoResponse,
    claim: Option<&Claim>,
    now: Timestamp,
) -> Result<(Work, Option<TransactWriteItem>), Problem> {
    let response = response.into_response();
    let Some(claim) = claim else {
        return Ok((Work::Answered(response), None));
    };
    let stored = StoredResponse::capture(response)
        .await
        .map_err(Problem::internal)?;
    let completion = claim.completion(&stored, now)?;
    Ok((Work::Committed(stored), Some(completion)))
}
