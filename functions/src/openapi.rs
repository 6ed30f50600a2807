//! The OpenAPI document of every HTTP function, from the annotations on their handlers.
//!
//! OpenAPI 3.1.0, <https://spec.openapis.org/oas/v3.1.0>. The copy in `infra/openapi.json` is checked
//! in; a test compares it with this one, and its routes with those of the template.

use shared::catalog::product::list::Order as ProductOrder;
use shared::platform::problem::{PROBLEM_JSON, ProblemBody};
use shared::sales::revenue::Period;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use crate::{catalog, customers, health, orders, revenue, sales, sensors};

/// The name of the security scheme; an operation lists the groups of which one is needed.
const TOKEN: &str = "token";

/// The name of the security scheme of devices.
const DEVICE_KEY: &str = "device_key";

/// The name of the response that every error is.
const PROBLEM: &str = "Problem";

/// The refusals that an operation has by what it asks for: status, name of the response, description.
const REFUSALS: [(Asks, &str, &str, &str); 14] = [
    (
        Asks::Anything,
        "400",
        "Malformed",
        "A parameter, a header or the body is malformed, unknown, or there twice",
    ),
    (
        Asks::Credentials,
        "401",
        "Unauthorized",
        "No valid token or device key came with the request",
    ),
    (
        Asks::Rights,
        "403",
        "Forbidden",
        "The caller may not do this",
    ),
    (
        Asks::Name,
        "404",
        "NotFound",
        "There is no such thing, or it is not the caller's",
    ),
    (
        Asks::Key,
        "409",
        "Running",
        "A request with the same `Idempotency-Key` is still running",
    ),
    (
        Asks::Version,
        "412",
        "Stale",
        "The resource has changed since it was read",
    ),
    (
        Asks::Anything,
        "413",
        "TooLarge",
        "The body is larger than this takes",
    ),
    (
        Asks::Body,
        "415",
        "UnsupportedMediaType",
        "The body is of another type",
    ),
    (
        Asks::Body,
        "422",
        "Invalid",
        "The body is well formed and says something invalid",
    ),
    (
        Asks::Key,
        "422",
        "Reused",
        "The `Idempotency-Key` has been used for another request",
    ),
    (
        Asks::Version,
        "428",
        "VersionRequired",
        "`If-Match` is missing",
    ),
    (
        Asks::Anything,
        "429",
        "TooManyRequests",
        "A rate or a quota is reached; `Retry-After` says when to come again",
    ),
    (
        Asks::Anything,
        "500",
        "Fault",
        "A fault of ours, which the log tells of",
    ),
    (
        Asks::Anything,
        "503",
        "Unavailable",
        "Something that this depends on is overloaded or down; `Retry-After` says when to come again",
    ),
];

/// What an operation asks for, and refuses a request without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// A request that can be read.
    Anything,
    /// A token or a device key.
    Credentials,
    /// Some group of the pool, or a device key that is for the devices written to.
    Rights,
    /// A thing by its name.
    Name,
    /// A body.
    Body,
    /// A version in `If-Match`.
    Version,
    /// A key by which it is done once.
    Key,
}

impl Asks {
    /// Whether `operation` asks for it.
    fn is_of(self, operation: &Operation) -> bool {
        let parameters = operation.parameters.iter().flatten();
        let mut parameters = parameters.filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        });
        // How a requirement is written is all that it tells of itself.
        let security = serde_json::to_string(&operation.security).unwrap_or_default();
        match self {
            Self::Anything => true,
            Self::Credentials => security.contains(TOKEN) || security.contains(DEVICE_KEY),
            Self::Rights => {
                security.contains(DEVICE_KEY)
                    || (security.contains(TOKEN) && !security.contains("[]"))
            }
            Self::Name => parameters.any(|parameter| parameter.parameter_in == ParameterIn::Path),
            Self::Body => operation.request_body.is_some(),
            Self::Version => parameters.any(|parameter| parameter.name == "If-Match"),
            Self::Key => parameters.any(|parameter| parameter.name == "Idempotency-Key"),
        }
    }
}

/// The document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace",
        description = "Sales files in, revenue out; sensor readings in, statistics out. A trailing slash means the \
            same on every path. Every answer carries `X-Correlation-Id`; a request may bring its own (1 to 128 of `A-Z a-z 0-9 . _ -`). Every error \
            is `application/problem+json` (RFC 9457) with a stable `code`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers(
        (
            url = "https://{api}.execute-api.{region}.amazonaws.com/{stage}",
            description = "A deployed stack; its output `ApiUrl` is this address",
            variables(
                ("api" = (default = "api-id", description = "The API's identifier")),
                ("region" = (default = "us-east-1", description = "The region of the stack")),
                ("stage" = (default = "production", enum_values("staging", "production"), description = "The stage")),
            ),
        ),
        (
            url = "http://127.0.0.1:{port}/_aws/execute-api/{api}/local",
            description = "The local stack",
            variables(
                ("port" = (default = "4566", description = "The port it was started on")),
                ("api" = (default = "api-id", description = "The API's identifier")),
            ),
        ),
    ),
    tags(
        (name = "sales", description = "Imports of point-of-sale exports, and the rows stored"),
        (name = "revenue", description = "What the stored rows add up to"),
        (name = "sensors", description = "Devices, their keys, their readings, and statistics of them"),
        (name = "customers", description = "A customer's own profile and addresses"),
        (name = "catalog", description = "Categories and products; reading is public"),
        (name = "stock", description = "The stock of each sku"),
        (name = "orders", description = "Orders: placing, following, cancelling, fulfilling and refunding them"),
        (name = "health", description = "Whether the deployment works; public"),
    ),
    paths(
        sales::import_sales::import_sales,
        sales::announce::announce,
        sales::imports::list,
        sales::imports::get,
        sales::imports::delete,
        sales::rows::list,
        revenue::legacy::total,
        revenue::legacy::daily,
        revenue::v1::revenue,
        sensors::devices::create,
        sensors::devices::list,
        sensors::devices::get,
        sensors::devices::replace,
        sensors::devices::update,
        sensors::devices::delete,
        sensors::aggregates::list,
        sensors::recompute::recompute,
        sensors::readings::list,
        sensors::keys::create,
        sensors::keys::list,
        sensors::keys::get,
        sensors::keys::revoke,
        sensors::ingest::bulk::bulk,
        sensors::ingest::write::write,
        customers::me::get,
        customers::me::update,
        customers::me::erase,
        customers::addresses::list,
        customers::addresses::create,
        customers::addresses::get,
        customers::addresses::update,
        customers::addresses::remove,
        catalog::tree::get,
        catalog::categories::create,
        catalog::categories::get,
        catalog::categories::breadcrumbs,
        catalog::categories::update,
        catalog::categories::relocate,
        catalog::categories::delete,
        catalog::products::create,
        catalog::products::get,
        catalog::products::update,
        catalog::products::delete,
        catalog::products::restore,
        catalog::lists::all,
        catalog::lists::of_category,
        catalog::lists::featured,
        catalog::lists::related,
        catalog::prices::average,
        catalog::stock::get,
        catalog::stock::set,
        catalog::stock::adjust,
        catalog::stock::events,
        orders::create::create,
        orders::lookup::list,
        orders::lookup::get,
        orders::totals::summary,
        orders::totals::spending,
        orders::transitions::cancel,
        orders::transitions::process,
        orders::transitions::ship,
        orders::transitions::deliver,
        orders::refunds::create,
        orders::refunds::list,
        orders::history::track,
        orders::history::events,
        health::api::health,
        health::api::live,
        health::api::ready,
    ),
    components(schemas(ProblemBody<'static>, Period, ProductOrder, revenue::v1::RevenueSource)),
    modifiers(&Common),
)]
struct Document;

/// What holds for every operation.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("ID token of the Cognito user pool. The scopes of an operation are groups of the pool, of \
                which the caller needs one."))
            .build();
        components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
        let key = "A device key, which names the devices that it may write for. `Authorization: Token <key>`, as \
            InfluxDB's clients send it, and `Authorization: Bearer <key>` mean the same.";
        let key = ApiKeyValue::with_description("x-api-key", key);
        components.add_security_scheme(DEVICE_KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
        let problem = content(ResponseBuilder::new().description("What went wrong")).build();
        components
            .responses
            .insert(PROBLEM.to_owned(), RefOr::T(problem));
        for (_, _, name, description) in REFUSALS {
            let refusal = content(ResponseBuilder::new().description(description)).build();
            components
                .responses
                .insert(name.to_owned(), RefOr::T(refusal));
        }
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let asked = REFUSALS.map(|refusal| refusal.0.is_of(operation));
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    without_null(parameter);
                }
            }
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let RefOr::T(response) = response
                    && status.starts_with(['4', '5'])
                    && response.content.is_empty()
                {
                    *response = with_problem(response);
                }
            }
            for ((_, status, name, _), _) in REFUSALS.iter().zip(asked).filter(|each| each.1) {
                responses
                    .entry((*status).to_owned())
                    .or_insert_with(|| RefOr::Ref(Ref::from_response_name(*name)));
            }
            responses.insert(
                "default".to_owned(),
                RefOr::Ref(Ref::from_response_name(PROBLEM)),
            );
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

/// A parameter that may be left out cannot be null: `utoipa` says both of an `Option` in a header.
fn without_null(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && let SchemaType::Array(types) = &object.schema_type
        && let [kind, Type::Null] = &types[..]
    {
        object.schema_type = SchemaType::Type(kind.clone());
    }
}

fn with_problem(response: &Response) -> Response {
    content(ResponseBuilder::new().description(response.description.clone())).build()
}

fn content(response: ResponseBuilder) -> ResponseBuilder {
    let schema = Ref::from_schema_name(PROBLEM);
    response.content(
        PROBLEM_JSON,
        ContentBuilder::new().schema(Some(schema)).build(),
    )
}
