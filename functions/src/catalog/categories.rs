//! `/api/catalog/categories` and `/api/catalog/categories/{id}`: one category, and changes of the tree.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    catalog::{
        category::{
            model::{Category, parse_move, parse_new, parse_patch},
            store::{Effect, Saved},
            tree::{Change, Tree},
        },
        id::CategoryId,
    },
    events::model::{Aggregate, Event},
    platform::{
        caller::{Caller, Group},
        http::{Fields, Json, Precondition, Query, Version, not_modified},
        idempotency::{Claim, Content, Post, Work, remembered},
        ids::uuid_v7,
        problem::Problem,
    },
};
use utoipa::ToSchema;

use super::{
    change::{TRIES, crowded, pause},
    context::{Context, category, place},
    problem::{body_problem, no_category, refused_tree, tree_problem},
    public,
};

const ROUTE: &str = "/api/catalog/categories";

const FIELDS: &[&str] = &[
    "id",
    "name",
    "slug",
    "parent_id",
    "level",
    "path",
    "sort_order",
    "version",
];

/// A category to be made.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewCategory {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Its name in addresses; made of the name unless given.
    #[schema(pattern = "^[a-z0-9-]{1,100}$")]
    slug: Option<String>,
    /// The category above; none for one at the top.
    #[schema(format = "uuid")]
    parent_id: Option<String>,
    /// Its place among its siblings; 0 unless given.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    sort_order: Option<i32>,
}

/// Where a category goes.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewPlace {
    /// The category above; null for the top.
    #[schema(format = "uuid", required)]
    parent_id: Option<String>,
    /// Its place among its siblings there; as it was unless given.
    #[schema(minimum = -1_000_000, maximum = 1_000_000)]
    sort_order: Option<i32>,
}

/// A step on the way from the top to a category.
#[derive(Debug, Serialize, ToSchema)]
pub struct Crumb<'t> {
    /// Names the category.
    #[schema(value_type = String, format = "uuid")]
    id: CategoryId,
    /// What people call it.
    name: &'t str,
    /// Its name in addresses.
    slug: &'t str,
}

/// The way from the top to a category.
#[derive(Debug, Serialize, ToSchema)]
pub struct Crumbs<'t> {
    /// From the top, the category itself last.
    data: Vec<Crumb<'t>>,
}

/// A change of the tree that may be made.
struct Plan {
    change: Change,
    effect: Effect,
    event: Event,
    answer: Response,
}

/// What happened to a category of that version.
fn event(context: &Context, of: &Category, version: u64, word: &str, data: Value) -> Event {
    let kind = format!("category.{word}");
    let (id, now) = (of.id.to_string(), context.clock.now());
    Event::new(Aggregate::Category, id, version, kind, now, data)
}

/// The category as `change` leaves it.
fn after(change: &Change, id: CategoryId) -> Result<Category, Problem> {
    change.tree.category(id).ok_or_else(no_category)
}

fn answer(status: StatusCode, category: &Category) -> Response {
    let body = Json(category.document());
    (status, Version(category.version), body).into_response()
}

/// Makes the change that `plan` makes of the tree, anew for as long as others change it first.
async fn perform(
    context: &Context,
    claim: Option<Claim>,
    plan: impl Fn(&Tree) -> Result<Plan, Problem>,
) -> Result<Work, Problem> {
    for round in 0..TRIES {
        let tree = context.tree().await?;
        let Plan {
            change,
            effect,
            event,
            answer,
        } = plan(&tree)?;
        let (work, also) = remembered(answer, claim.as_ref(), event.at).await?;
        let saved = context.categories.save(change, effect, &event, also).await;
        match saved.map_err(tree_problem)? {
            Saved::Done => return Ok(work),
            Saved::Conflict => pause(context, round).await,
            Saved::Refused(error) => return Err(refused_tree(error)),
        }
    }
    Err(crowded())
}

/// Makes a category.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, a tree that cannot be so, or a table that is
/// down.
#[utoipa::path(
    post, path = "/api/catalog/categories", tag = "catalog", operation_id = "createCategory",
    summary = "Make a category",
    description = "There may be 20,000 categories, 64 deep.",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = NewCategory,
    responses(
        (status = 201, description = "The category", body = Category,
            headers(("Location" = String), ("ETag" = String))),
        (status = 409, description = "`slug-taken`: another category has the slug; `too-many-categories`"),
        (status = 422, description = "What is wrong with which member; `no-such-category` or `too-deep` at `parent_id`"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn create(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let Json(body) = body?;
    let (labels, parent) = parse_new(&body).map_err(body_problem)?;
    let work = async |claim| {
        let id = CategoryId(uuid_v7(context.clock.now(), context.random.bytes()));
        let plan = |tree: &Tree| {
            let change = tree.create(id, &labels, parent).map_err(refused_tree)?;
            let made = after(&change, id)?;
            let data = Value::Object(made.document());
            let location = [(LOCATION, format!("{ROUTE}/{id}"))];
            Ok(Plan {
                change,
                effect: Effect::Created(id),
                event: event(&context, &made, made.version, "created", data),
                answer: (location, answer(StatusCode::CREATED, &made)).into_response(),
            })
        };
        perform(&context, claim, plan).await
    };
    let post = Post {
        caller: &caller,
        path: ROUTE,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Answers with a category.
///
/// # Errors
///
/// A problem for a bad query, an unknown category, or a table that is down.
#[utoipa::path(
    get, path = "/api/catalog/categories/{id}", tag = "catalog", operation_id = "getCategory",
    summary = "A category",
    params(
        ("id" = String, Path, description = "The category"),
        ("fields" = Option<String>, Query, description = "Members to keep, by comma"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The category", body = Category, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn get(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&["fields"])?;
    let fields = Fields::from_query(&query, FIELDS)?;
    let category = category(&*context.tree().await?, &id)?;
    let version = Version(category.version);
    let kept = public::kept(version.to_string());
    if not_modified(&headers, version) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let shown = fields.apply(Value::Object(category.document()));
    Ok((kept, Json(shown)).into_response())
}

/// Answers with the way from the top to a category.
///
/// # Errors
///
/// As [`get`].
#[utoipa::path(
    get, path = "/api/catalog/categories/{id}/breadcrumbs", tag = "catalog", operation_id = "getBreadcrumbs",
    summary = "The way from the top to a category",
    params(
        ("id" = String, Path, description = "The category"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` at hand"),
    ),
    responses(
        (status = 200, description = "The way, the category itself last", body = Crumbs, headers(("ETag" = String))),
        (status = 304, description = "It is still as the caller knows it"),
        (status = 404, description = "No such category"),
    ),
    security(()),
)]
pub async fn breadcrumbs(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let tree = context.tree().await?;
    let path = tree.path(place(&tree, &id)?);
    let crumbs = path.map(|node| Crumb {
        id: node.id,
        name: node.name,
        slug: node.slug,
    });
    let data = crumbs.collect();
    public::answer(&headers, &Crumbs { data })
}

/// Changes name, slug or sort order of a category.
///
/// # Errors
///
/// A problem for a caller without the right, a bad body, an unknown category, a missing or stale
/// `If-Match`, a slug that is taken, or a table that is down.
#[utoipa::path(
    patch, path = "/api/catalog/categories/{id}", tag = "catalog", operation_id = "updateCategory",
    summary = "Change name, slug or sort order of a category",
    description = "The body is a JSON merge patch (RFC 7396). A slug of null is made of the name again. To put it \
        below another category, move it.",
    params(
        ("id" = String, Path, description = "The category"),
        ("If-Match" = String, Header, description = "The `ETag` of the category"),
    ),
    request_body(content((Object = "application/merge-patch+json"), (Object = "application/json"))),
    responses(
        (status = 200, description = "The category as it is now", body = Category, headers(("ETag" = String))),
        (status = 404, description = "No such category"),
        (status = 409, description = "`slug-taken`: another category has the slug; `too-many-categories`: there is \
            no room for longer names"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn update(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let Json(patch) = body?;
    let plan = |tree: &Tree| {
        let current = category(tree, &id)?;
        precondition.check(Version(current.version))?;
        let labels = parse_patch(&current, &patch).map_err(body_problem)?;
        let change = tree.relabel(current.id, &labels).map_err(refused_tree)?;
        let now = after(&change, current.id)?;
        let data = Value::Object(now.document());
        Ok(Plan {
            change,
            effect: Effect::Changed,
            event: event(&context, &now, now.version, "updated", data),
            answer: answer(StatusCode::OK, &now),
        })
    };
    Ok(perform(&context, None, plan).await?.into_response())
}

/// Moves a category with all that is below it.
///
/// # Errors
///
/// As [`update`]; and for a tree that cannot be so.
#[utoipa::path(
    post, path = "/api/catalog/categories/{id}/move", tag = "catalog", operation_id = "moveCategory",
    summary = "Move a category with all that is below it",
    description = "The whole subtree moves at once: its levels and paths change, and so do its versions.",
    params(
        ("id" = String, Path, description = "The category"),
        ("If-Match" = String, Header, description = "The `ETag` of the category"),
    ),
    request_body = NewPlace,
    responses(
        (status = 200, description = "The category as it is now", body = Category, headers(("ETag" = String))),
        (status = 404, description = "No such category"),
        (status = 409, description = "`category-cycle`: it would be below itself"),
        (status = 412, description = "It has changed since"),
        (status = 422, description = "What is wrong with which member; `no-such-category` or `too-deep` at `parent_id`"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn relocate(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let Json(body) = body?;
    let (parent, sort_order) = parse_move(&body).map_err(body_problem)?;
    let plan = |tree: &Tree| {
        let current = category(tree, &id)?;
        precondition.check(Version(current.version))?;
        let change = tree
            .relocate(current.id, parent, sort_order)
            .map_err(refused_tree)?;
        let now = after(&change, current.id)?;
        let mut data = now.document();
        data.insert("from_parent_id".to_owned(), json!(current.parent_id));
        Ok(Plan {
            change,
            effect: Effect::Changed,
            event: event(&context, &now, now.version, "moved", Value::Object(data)),
            answer: answer(StatusCode::OK, &now),
        })
    };
    Ok(perform(&context, None, plan).await?.into_response())
}

/// Deletes a category.
///
/// # Errors
///
/// A problem for a caller without the right, an unknown category, a missing or stale `If-Match`, a
/// category that has others below or products in it, or a table that is down.
#[utoipa::path(
    delete, path = "/api/catalog/categories/{id}", tag = "catalog", operation_id = "deleteCategory",
    summary = "Delete a category",
    params(
        ("id" = String, Path, description = "The category"),
        ("If-Match" = String, Header, description = "The `ETag` of the category"),
    ),
    responses(
        (status = 204, description = "It is deleted", headers(("ETag" = String))),
        (status = 404, description = "No such category"),
        (status = 409, description = "`category-not-empty`: there are categories below or products in it, active or not"),
        (status = 412, description = "It has changed since"),
        (status = 428, description = "`If-Match` is missing"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn delete(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require_any(&[Group::Admin])?;
    query.only(&[])?;
    let precondition = Precondition::from_headers(&headers)?;
    let plan = |tree: &Tree| {
        let current = category(tree, &id)?;
        precondition.check(Version(current.version))?;
        let change = tree.delete(current.id).map_err(refused_tree)?;
        let version = current.version + 1;
        let data = json!({"id": current.id, "name": current.name, "slug": current.slug});
        Ok(Plan {
            change,
            effect: Effect::Deleted(current.id),
            event: event(&context, &current, version, "deleted", data),
            answer: (StatusCode::NO_CONTENT, Version(version), ()).into_response(),
        })
    };
    Ok(perform(&context, None, plan).await?.into_response())
}
