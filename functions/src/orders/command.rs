//! A change of an order that a caller asks for: loaded, decided, written, and decided again while
//! something else happens to the order first.

use std::sync::Arc;

use axum::{
    RequestExt as _,
    extract::{FromRequest, Path, Request},
    response::Response,
};
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::{
    orders::{
        event,
        model::Order,
        rules::{Decision, Refusal},
        store::Committed,
    },
    platform::{
        caller::{Caller, Group},
        http::{Json, Precondition, Query, Version},
        idempotency::{Claim, Content, Post, Work, remembered},
        problem::{FieldError, Problem},
    },
};

use super::{
    context::Context,
    problem::{body_problem, no_order, refusal_problem},
};

/// Times that a change is decided while something else happens to the order first.
const ROUNDS: u32 = 5;

/// A request to change an order.
#[derive(Debug)]
pub struct Command {
    pub(super) context: Arc<Context>,
    pub(super) caller: Caller,
    id: String,
    path: String,
    pub(super) headers: HeaderMap,
    query: Query,
    body: Result<Option<Json<Value>>, Problem>,
}

impl FromRequest<Arc<Context>> for Command {
    type Rejection = Problem;

    async fn from_request(mut request: Request, context: &Arc<Context>) -> Result<Self, Problem> {
        let caller = request.extract_parts().await?;
        let Path(id) = request.extract_parts().await.map_err(|_| no_order())?;
        let Ok(query) = request.extract_parts().await;
        // The raw path may spell the order's number in many ways, and they are all one request.
        let raw = request.uri().path().trim_end_matches('/');
        let verb = raw.rsplit('/').next().unwrap_or_default();
        Ok(Self {
            context: Arc::clone(context),
            caller,
            path: format!("/api/orders/{id}/{verb}"),
            id,
            headers: request.headers().clone(),
            query,
            body: Option::<Json<Value>>::from_request(request, context).await,
        })
    }
}

impl Command {
    /// Asks that the caller is in at least one of `groups`; none asks for no group. Then reads the body,
    /// where no body says what an empty object says.
    pub(super) fn read<T>(
        &mut self,
        groups: &[Group],
        read: impl FnOnce(&Value) -> Result<T, Vec<FieldError>>,
    ) -> Result<(T, Value), Problem> {
        if !groups.is_empty() {
            self.caller.require_any(groups)?;
        }
        self.query.only(&[])?;
        let body = std::mem::replace(&mut self.body, Ok(None))?;
        let body = body.map_or_else(|| json!({}), |Json(body)| body);
        let read = read(&body).map_err(body_problem)?;
        Ok((read, body))
    }

    /// Has the change that `decide` says happen to the order, once for all requests of its
    /// idempotency key, if it has one; the answer is remembered in the same transaction. `If-Match` is
    /// heeded where it is given.
    pub(super) async fn execute(
        &self,
        body: &Value,
        decide: impl Fn(&Order, Timestamp) -> Result<Decision, Refusal>,
        answer: impl Fn(&Order) -> Response,
    ) -> Result<Response, Problem> {
        let post = Post {
            caller: &self.caller,
            path: &self.path,
            headers: &self.headers,
            content: Content::Json(body),
        };
        let work = |claim| self.work(claim, decide, answer);
        self.context.idempotency.once(post, work).await
    }

    async fn work(
        &self,
        claim: Option<Claim>,
        decide: impl Fn(&Order, Timestamp) -> Result<Decision, Refusal>,
        answer: impl Fn(&Order) -> Response,
    ) -> Result<Work, Problem> {
        let Self {
            context, headers, ..
        } = self;
        let precondition = headers
            .contains_key("if-match")
            .then(|| Precondition::from_headers(headers))
            .transpose()?;
        for _ in 0..ROUNDS {
            let order = context.order(&self.caller, &self.id).await?;
            if let Some(precondition) = &precondition {
                precondition.check(Version(order.version))?;
            }
            let now = context.clock.now();
            let change = match decide(&order, now).map_err(refusal_problem)? {
                Decision::Settled => return Ok(Work::Answered(answer(&order))),
                Decision::Change(change) => change,
            };
            let next = event::apply(Some(order.clone()), &order.id, &change.happened, now)
                .map_err(Problem::internal)?;
            let (work, completion) = remembered(answer(&next), claim.as_ref(), now).await?;
            let orders = &context.orders;
            match orders.commit(&order, change, now, completion).await? {
                Committed::Done(order) => {
                    context.begin(&order).await;
                    return Ok(work);
                }
                Committed::Conflict => {}
                Committed::Short(_) => return Err(Problem::internal("stock moved by a caller")),
            }
        }
        Err(Problem::unavailable("others are at the same order"))
    }
}
