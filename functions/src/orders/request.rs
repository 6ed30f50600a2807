//! The bodies that orders are made and changed by, read strictly: every fault is named at once, and a
//! member that nobody asked for (a price, a status) is one.

use serde_json::Value;
use shared::{
    address::model::{self as address, Address},
    orders::{
        model::{MOST_LINES, Shipment, Units},
        rules::RefundOf,
    },
    payments::model::parse_method,
    platform::{http::Members, money::Money, problem::FieldError},
    stock::model::{MOST_QUANTITY, Sku},
};
use utoipa::ToSchema;

/// Most entries of a list of items: a sku may come more than once.
const MOST_ITEMS: usize = 200;

/// Most characters of a customer's wishes.
const MOST_NOTES: usize = 2_000;

/// Most characters of a reason.
const MOST_REASON: usize = 500;

/// Most characters of a carrier's name and its tracking number.
const MOST_CARRIER: usize = 100;

/// An order to be placed. Prices, taxes and names are those of the catalogue.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: bodies are read member by member"
)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// What is bought: 1 to 45 distinct skus; equal skus are summed.
    #[schema(min_items = 1, max_items = 200)]
    items: Vec<Units>,
    /// Where it goes; its country and region say which tax applies.
    shipping_address: Address,
    /// Who pays, if that is another address.
    billing_address: Option<Address>,
    /// The payment method, in the payment provider's words.
    #[schema(pattern = "^[A-Za-z0-9_.:-]{1,64}$", example = "sandbox-approve")]
    payment_method: String,
    /// Wishes, in plain text; line breaks and tabs are its only control characters.
    #[schema(max_length = 2000)]
    notes: Option<String>,
}

/// Why an order is to be cancelled.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// In the caller's words.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// How an order travels.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// Who carries it.
    #[schema(min_length = 1, max_length = 100)]
    carrier: Option<String>,
    /// Its number there.
    #[schema(min_length = 1, max_length = 100)]
    tracking_number: Option<String>,
}

/// Money to be given back: an amount, or the price of units; with neither, all that is left.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// How much.
    amount: Option<Money>,
    /// For which units.
    #[schema(min_items = 1, max_items = 45)]
    lines: Option<Vec<Units>>,
    /// Whether the units become available again; true unless said otherwise until the order is shipped.
    restock: Option<bool>,
    /// In the words of who asks; seen by the customer.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// What is wanted of one sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) sku: Sku,
    pub(super) quantity: u32,
    /// Where the sku comes first in the body's list.
    pub(super) at: usize,
}

/// The body of a new order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderRequest {
    pub(super) items: Vec<Wanted>,
    pub(super) shipping_address: Address,
    pub(super) billing_address: Option<Address>,
    pub(super) payment_method: String,
    pub(super) notes: Option<String>,
}

/// The body of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RefundRequest {
    pub(super) of: RefundOf,
    pub(super) restock: Option<bool>,
    pub(super) reason: Option<String>,
}

type Read<T> = Result<T, Vec<FieldError>>;

pub(super) fn order(body: &Value) -> Read<OrderRequest> {
    let mut members = Members::of(body, "")?;
    let items = members
        .required_value("items")
        .and_then(|value| taken(&mut members, items(value)));
    let shipping_address = members
        .required_value("shipping_address")
        .and_then(|value| taken(&mut members, address::parse(value, "/shipping_address")));
    let billing_address = members
        .value("billing_address")
        .and_then(|value| taken(&mut members, address::parse(value, "/billing_address")));
    let payment_method = payment_method(&mut members);
    let notes = notes(&mut members);
    let read = || {
        Some(OrderRequest {
            items: items?,
            shipping_address: shipping_address?,
            billing_address,
            payment_method: payment_method?,
            notes,
        })
    };
    members.finish(read())
}

/// What was read of a member, or nothing once its faults are noted.
fn taken<T>(members: &mut Members<'_>, read: Read<T>) -> Option<T> {
    read.map_err(|errors| members.refuse_all(errors)).ok()
}

fn payment_method(members: &mut Members<'_>) -> Option<String> {
    let value = members.required_value("payment_method")?;
    let method = value.as_str().and_then(|text| parse_method(text).ok());
    if method.is_none() {
        let detail = "payment_method must be 1 to 64 characters of A-Z a-z 0-9 _ . : -";
        members.refuse("payment_method", "invalid-value", detail);
    }
    method.map(|method| method.as_str().to_owned())
}

fn notes(members: &mut Members<'_>) -> Option<String> {
    let value = members.value("notes")?;
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let fits = |text: &&str| {
        (1..=MOST_NOTES).contains(&text.chars().count()) && text.chars().all(is_shown)
    };
    let notes = value.as_str().map(str::trim).filter(fits);
    if notes.is_none() {
        let detail = format!(
            "notes must be text of 1 to {MOST_NOTES} characters, with no control character but line feed and tab"
        );
        members.refuse("notes", "invalid-value", detail);
    }
    notes.map(str::to_owned)
}

fn items(value: &Value) -> Read<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut errors = Vec::new();
    for (at, read) in units(value, "/items", MOST_ITEMS)?.into_iter().enumerate() {
        let Units { sku, quantity } = match read {
            Ok(units) => units,
            Err(faults) => {
                errors.extend(faults);
                continue;
            }
        };
        match wanted.iter_mut().find(|other| other.sku == sku) {
            // Two hundred quantities of a million fit many times over.
            Some(other) => other.quantity += quantity,
            None => wanted.push(Wanted { sku, quantity, at }),
        }
    }
    if wanted.len() > MOST_LINES {
        let detail = format!("an order may have at most {MOST_LINES} distinct skus");
        errors.push(FieldError::new("/items", "too-many-items", detail));
    }
    let too_many = wanted
        .iter()
        .filter(|wanted| wanted.quantity > MOST_QUANTITY);
    errors.extend(too_many.map(|Wanted { sku, at, .. }| {
        let detail = format!("an order may have at most {MOST_QUANTITY} units of {sku}");
        FieldError::new(format!("/items/{at}/quantity"), "invalid-quantity", detail)
    }));
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(errors)
    }
}

/// The entries of a list of units, 1 to `most`.
fn units(value: &Value, pointer: &str, most: usize) -> Read<Vec<Read<Units>>> {
    let refused =
        |code: &'static str, detail: String| Err(vec![FieldError::new(pointer, code, detail)]);
    let Some(entries) = value.as_array().filter(|entries| !entries.is_empty()) else {
        return refused(
            "invalid-value",
            "must be a list of at least one entry".into(),
        );
    };
    if entries.len() > most {
        return refused("too-many-items", format!("may have at most {most} entries"));
    }
    let read = |(at, entry)| {
        let mut members = Members::of(entry, &format!("{pointer}/{at}"))?;
        let (sku, quantity) = (sku(&mut members), quantity(&mut members));
        let read = sku.zip(quantity);
        members.finish(read.map(|(sku, quantity)| Units { sku, quantity }))
    };
    Ok(entries.iter().enumerate().map(read).collect())
}

fn sku(members: &mut Members<'_>) -> Option<Sku> {
    let value = members.required_value("sku")?;
    let sku = value.as_str().and_then(|text| text.parse().ok());
    if sku.is_none() {
        let detail = "sku must be 1 to 64 characters of A-Z a-z 0-9 . _ -";
        members.refuse("sku", "invalid-value", detail);
    }
    sku
}

/// A JSON integer; `1.0` and `"1"` are none.
fn quantity(members: &mut Members<'_>) -> Option<u32> {
    let value = members.required_value("quantity")?;
    let quantity = value.as_u64().and_then(|units| u32::try_from(units).ok());
    let quantity = quantity.filter(|units| (1..=MOST_QUANTITY).contains(units));
    if quantity.is_none() {
        let detail = format!("quantity must be a whole number from 1 to {MOST_QUANTITY}");
        members.refuse("quantity", "invalid-quantity", detail);
    }
    quantity
}

/// Reads a body without members.
pub(super) fn nothing(body: &Value) -> Read<()> {
    Members::of(body, "")?.finish(Some(()))
}

pub(super) fn cancel(body: &Value) -> Read<Option<String>> {
    let mut members = Members::of(body, "")?;
    let reason = members.text("reason", MOST_REASON);
    members.finish(Some(reason))
}

pub(super) fn shipment(body: &Value) -> Read<Shipment> {
    let mut members = Members::of(body, "")?;
    let shipment = Shipment {
        carrier: members.text("carrier", MOST_CARRIER),
        tracking_number: members.text("tracking_number", MOST_CARRIER),
    };
    members.finish(Some(shipment))
}

pub(super) fn refund(body: &Value) -> Read<RefundRequest> {
    let mut members = Members::of(body, "")?;
    let amount = members.given("amount");
    let lines = members.given("lines");
    let of = match (amount, lines) {
        (None, None) => Some(RefundOf::Everything),
        (Some(amount), None) => self::amount(&mut members, amount).map(RefundOf::Amount),
        (None, Some(lines)) => self::lines(lines)
            .map_err(|errors| members.refuse_all(errors))
            .map(RefundOf::Lines)
            .ok(),
        (Some(_), Some(_)) => {
            members.refuse(
                "lines",
                "invalid-value",
                "give an amount or lines, not both",
            );
            None
        }
    };
    let restock = members.flag("restock");
    let reason = members.text("reason", MOST_REASON);
    members.finish(of.map(|of| RefundRequest {
        of,
        restock,
        reason,
    }))
}

fn amount(members: &mut Members<'_>, value: &Value) -> Option<Money> {
    let amount = serde_json::from_value(value.clone()).ok();
    if amount.is_none() {
        let detail = r#"amount must be money such as {"amount":"34.88","currency":"SGD"}"#;
        members.refuse("amount", "invalid-value", detail);
    }
    amount
}

fn lines(value: &Value) -> Read<Vec<Units>> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    for read in units(value, "/lines", MOST_LINES)? {
        match read {
            Ok(units) => lines.push(units),
            Err(faults) => errors.extend(faults),
        }
    }
    if errors.is_empty() {
        Ok(lines)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests;
