//! `POST /api/orders`: placing an order.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode, header::LOCATION};
use serde_json::Value;
use shared::{
    address::model::Address,
    catalog::product::model::Product,
    orders::{
        event::{self, Created, Happened, Wishes},
        model::{Line, OrderId},
        price::{self, Item},
        store,
    },
    platform::{
        caller::Caller,
        http::{Json, Query, Version},
        idempotency::{Claim, Content, IdempotencyKey, Post, Work, remembered},
        problem::{FieldError, Problem},
    },
    stock::model::Sku,
};

use super::{
    context::Context,
    problem::{body_problem, nothing_to_pay},
    request::{self, NewOrder, OrderRequest, Wanted},
    view::OrderView,
};
use crate::customers::problem::ensure_problem;

pub(super) const ROUTE: &str = "/api/orders";

/// Times that a number is drawn: two orders of a day share one with a chance of 2⁻⁴⁰.
const NUMBERS: u32 = 4;

/// Places an order.
///
/// # Errors
///
/// A problem for a missing or used key, a bad body, skus that cannot be bought, or a table that is
/// down.
#[utoipa::path(
    post, path = "/api/orders", tag = "orders", operation_id = "createOrder",
    summary = "Place an order",
    description = "The order is taken as it is priced by the catalogue at this moment: name, price, product and tax \
        rate of every item are kept with it. Stock, payment and confirmation follow by themselves; ask for the order \
        at its `Location`, or its `/track`, to see how far they are. Tax goes by each product's tax class and the \
        country and region of the shipping address; each line's subtotal and tax are rounded half-up to the \
        currency's minor unit. Orders that come to nothing are refused. The addresses stay with the order, as an \
        invoice's do, also when the customer's profile is erased.",
    params(("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters")),
    request_body = NewOrder,
    responses(
        (status = 202, description = "The order, `pending`", body = OrderView<'static>,
            headers(("Location" = String), ("ETag" = String))),
        (status = 400, description = "`idempotency-key-missing`"),
        (status = 404, description = "`customer-erased`"),
        (status = 409, description = "`idempotency-in-progress`: the first request with this key is under way"),
        (status = 422, description = "What is wrong with which member: among others `unknown-field` (prices and \
            totals are not the caller's to give), `invalid-quantity`, `too-many-items`, `unknown-sku` (no product that \
            can be bought), `currency-mismatch`; or `nothing-to-pay`, `idempotency-key-reused`"),
    ),
    security(("token" = [])),
)]
pub async fn create(
    State(context): State<Arc<Context>>,
    caller: Caller,
    query: Query,
    headers: HeaderMap,
    body: Result<Json<Value>, Problem>,
) -> Result<Response, Problem> {
    query.only(&[])?;
    IdempotencyKey::from_headers(&headers)?;
    let Json(body) = body?;
    let request = request::order(&body).map_err(body_problem)?;
    let work = async |claim| Box::pin(place(&context, &caller, request, claim)).await;
    let post = Post {
        caller: &caller,
        path: ROUTE,
        headers: &headers,
        content: Content::Json(&body),
    };
    context.idempotency.once(post, work).await
}

/// Takes an order and has the state machine begin with it.
async fn place(
    context: &Context,
    caller: &Caller,
    request: OrderRequest,
    claim: Option<Claim>,
) -> Result<Work, Problem> {
    let skus: Vec<Sku> = request
        .items
        .iter()
        .map(|wanted| wanted.sku.clone())
        .collect();
    let claims = caller.into();
    let (products, profile) = tokio::join!(
        context.catalog.by_sku(&skus),
        context.customers.ensure(&claims, context.clock.now()),
    );
    profile.map_err(ensure_problem)?;
    let happened = Happened::Created(Box::new(priced(context, caller, request, &products?)?));
    for _ in 0..NUMBERS {
        let now = context.clock.now();
        let id = OrderId::new(now, context.random.bytes());
        let order = event::apply(None, &id, &happened, now).map_err(Problem::internal)?;
        let location = [(LOCATION, format!("{ROUTE}/{id}"))];
        let body = Json(OrderView::from(&order));
        let response = (StatusCode::ACCEPTED, location, Version(order.version), body);
        let (work, completion) = remembered(response, claim.as_ref(), now).await?;
        let orders = &context.orders;
        match orders.create(&order, &happened, now, completion).await? {
            store::Created::Done => {
                context.begin(&order).await;
                return Ok(work);
            }
            store::Created::NumberTaken => {}
        }
    }
    Err(Problem::unavailable("every number drawn was taken"))
}

/// The order that a request comes to by the catalogue's prices.
fn priced(
    context: &Context,
    caller: &Caller,
    request: OrderRequest,
    products: &HashMap<Sku, Product>,
) -> Result<Created, Problem> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for wanted in request.items {
        match line(context, &request.shipping_address, &wanted, products) {
            Ok(line) => lines.push(line),
            Err((member, code, detail)) => {
                let pointer = format!("/items/{}/{member}", wanted.at);
                errors.push(FieldError::new(pointer, code, detail));
            }
        }
    }
    if !errors.is_empty() {
        return Err(body_problem(errors));
    }
    let currency = context.currency.get();
    let totals = price::totals(currency, &lines).map_err(|error| {
        let detail = "the order comes to more than can be paid";
        body_problem(vec![FieldError::new("/items", "out-of-range", detail)]).with_cause(error)
    })?;
    if totals.total.amount().is_zero() {
        return Err(nothing_to_pay());
    }
    Ok(Created {
        customer: caller.sub().to_owned(),
        currency,
        lines,
        totals,
        payment_method: request.payment_method,
        private: Wishes {
            shipping_address: request.shipping_address,
            billing_address: request.billing_address,
            notes: request.notes,
        },
    })
}

/// The line for what is wanted of a sku, or which member says what it cannot.
fn line(
    context: &Context,
    to: &Address,
    wanted: &Wanted,
    products: &HashMap<Sku, Product>,
) -> Result<Line, (&'static str, &'static str, &'static str)> {
    let product = products.get(&wanted.sku);
    let product = product.ok_or((
        "sku",
        "unknown-sku",
        "there is no product to be bought of this sku",
    ))?;
    if product.details.price.currency() != context.currency.get() {
        let detail = "the product is priced in another currency than orders are paid in";
        return Err(("sku", "currency-mismatch", detail));
    }
    let tax_rate = context.taxes.rate(
        product.details.tax_class.as_str(),
        &to.country,
        to.region.as_deref(),
    );
    let item = Item {
        sku: wanted.sku.clone(),
        product_id: product.id.to_string(),
        name: product.details.name.clone(),
        tax_class: product.details.tax_class.to_string(),
        tax_rate,
        quantity: wanted.quantity,
        unit_price: product.details.price,
    };
    price::line(item).map_err(|_| {
        (
            "quantity",
            "out-of-range",
            "the line comes to more than can be paid",
        )
    })
}
