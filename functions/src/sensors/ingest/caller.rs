//! Which key a request came with, as the authorizer said.

use axum::extract::FromRequestParts;
use http::request::Parts;
use lambda_http::request::RequestContext;
use shared::{platform::problem::Problem, sensors::key::model::KeyId};

/// The key that the authorizer let in; without one the answer is 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallingKey(pub KeyId);

impl<S: Sync> FromRequestParts<S> for CallingKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(RequestContext::ApiGatewayV1(context)) = parts.extensions.get() else {
            return Err(Problem::unauthorized());
        };
        let key = context.authorizer.fields.get("key");
        key.and_then(|key| key.as_str()?.parse().ok())
            .map(Self)
            .ok_or_else(Problem::unauthorized)
    }
}
