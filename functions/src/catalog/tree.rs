//! `/api/catalog/tree`: all categories.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use shared::{
    catalog::category::{render::render, tree::MOST_DEPTH},
    platform::{
        http::{Query, Version, is_known},
        problem::Problem,
    },
};
use utoipa::ToSchema;

use super::{
    context::{Context, place},
    public,
};

/// A category with those below it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Branch {
    /// Names it.
    #[schema(format = "uuid")]
    id: String,
    /// What people call it.
    name: String,
    /// Its name in addresses.
    slug: String,
    /// Categories above it.
    level: usize,
    /// Its place among its siblings.
    sort_order: i32,
    /// The categories right below it, in order.
    #[schema(no_recursion)]
    children: Vec<Branch>,
}

/// All categories.
#[derive(Debug, Serialize, ToSchema)]
pub struct Branches {
    /// The categories at the top, in order.
    data: Vec<Branch>,
}

/// Answers with the tree of categories.
///
/// # Errors
///
/// A problem for a bad query, an unknown category, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/tree", tag = "catalog", operation_id = "getTree",
    summary = "The tree of categories",
    description = "Siblings are in order of `sort_order`, then name. The `ETag` is the version of the whole tree. A \
        tree of more than 5 MiB is to be asked for in parts.",
    params(
        ("root" = Option<String>, Query, description = "Only this category and what is below it"),
        ("depth" = Option<u8>, Query, description = "Levels to be shown, 1 to 64; all unless said otherwise"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The tree", body = Branches, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 400, description = "A bad query; `tree-too-large`: ask with `root` or `depth`"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["root", "depth"])?;
    let depth = query.parsed("depth", |text| {
        let depth = text.parse().ok();
        depth
            .filter(|depth| (1..=MOST_DEPTH).contains(depth))
            .ok_or("must be a whole number from 1 to 64")
    })?;
    let tree = context.tree().await?;
    let root = query.get("root").map(|id| place(&tree, id)).transpose()?;
    let tag = Version(tree.version).to_string();
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, public::kept(tag)).into_response());
    }
    let json = render(&tree, root, depth.unwrap_or(MOST_DEPTH));
    let json = json.map_err(|error| {
        let detail = "ask for a part of the tree by root or depth";
        Problem::bad_request("tree-too-large", detail).with_cause(error)
    })?;
    Ok(public::tagged(&headers, tag, json))
}
