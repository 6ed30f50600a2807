//! A product, and how one is read from a body.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    catalog::id::{CategoryId, ProductId},
    platform::{
        clock::rfc3339,
        http::Members,
        money::{Currency, Money},
        problem::FieldError,
    },
    stock::model::Sku,
};

/// Most characters of a product's name.
pub const MOST_NAME: usize = 200;

/// Most bytes of a product's description.
pub const MOST_DESCRIPTION: usize = 8 * 1024;

/// Most categories of a product.
pub const MOST_CATEGORIES: usize = 10;

/// Most members of a product's attributes.
pub const MOST_ATTRIBUTES: usize = 50;

/// Most bytes of a product's attributes, as compact JSON.
pub const MOST_ATTRIBUTE_BYTES: usize = 4096;

/// Most images of a product.
pub const MOST_IMAGES: usize = 10;

/// Most bytes of an image's address.
pub const MOST_URL: usize = 1024;

/// Most characters of an image's text.
pub const MOST_ALT: usize = 200;

/// Most that a product may cost, in the currency's main unit.
pub const MOST_PRICE: u64 = 1_000_000_000_000;

/// Says which tax rate goes with a product: 1 to 32 of `a–z 0–9 -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaxClass(String);

/// A text that cannot be a tax class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 characters of a-z 0-9 -")]
pub struct InvalidTaxClass;

impl TaxClass {
    /// The tax class as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TaxClass {
    fn default() -> Self {
        Self("standard".to_owned())
    }
}

impl FromStr for TaxClass {
    type Err = InvalidTaxClass;

    fn from_str(text: &str) -> Result<Self, InvalidTaxClass> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTaxClass)
        }
    }
}

impl TryFrom<String> for TaxClass {
    type Error = InvalidTaxClass;

    fn try_from(text: String) -> Result<Self, InvalidTaxClass> {
        text.parse()
    }
}

impl From<TaxClass> for String {
    fn from(class: TaxClass) -> Self {
        class.0
    }
}

impl fmt::Display for TaxClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Where it is: an `https` address of at most 1,024 bytes.
    #[schema(format = "uri", max_length = 1024)]
    pub url: String,
    /// What it shows, in words.
    #[schema(max_length = 200)]
    pub alt: Option<String>,
}

/// What a caller says of a product, but for its sku.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Details {
    /// What people call it.
    #[schema(min_length = 1, max_length = 200, example = "Desk lamp")]
    pub name: String,
    /// What there is to say of it, at most 8 KiB; empty for nothing.
    #[schema(max_length = 8192)]
    pub description: String,
    /// What one costs without tax, in the store's currency.
    pub price: Money,
    /// Says which tax rate goes with it; `standard` unless said otherwise.
    #[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$")]
    pub tax_class: TaxClass,
    /// Its categories, at most ten, in order of their identifiers.
    #[schema(value_type = Vec<String>)]
    pub category_ids: Vec<CategoryId>,
    /// Anything else: at most 50 members, at most 4 KiB as compact JSON.
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// Its images, at most ten, the most telling one first.
    pub images: Vec<Image>,
    /// Whether it is shown and sold; true unless said otherwise.
    pub is_active: bool,
    /// Whether it is among the featured ones.
    pub is_featured: bool,
}

/// A product. Its JSON form is what callers see and what is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Product {
    /// Names it, for good.
    #[schema(value_type = String, format = "uuid")]
    pub id: ProductId,
    /// Names its stock, for good: 1 to 64 of `A-Z a-z 0-9 . _ -`.
    #[schema(value_type = String, max_length = 64, example = "LAMP-7")]
    pub sku: Sku,
    /// What is said of it.
    #[serde(flatten)]
    pub details: Details,
    /// Counts its changes; the entity tag.
    pub version: u64,
    /// When it was created.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it was deleted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub deleted_at: Option<Timestamp>,
}

fn milliseconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

impl Product {
    /// The members that callers see.
    ///
    /// # Panics
    /// Never: names are text and amounts too, so there is always a JSON object.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a product is a JSON object with text for names"),
        }
    }

    /// Whether it is shown and sold.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.details.is_active && self.deleted_at.is_none()
    }

    /// Its categories while it is not deleted.
    #[must_use]
    pub fn memberships(&self) -> &[CategoryId] {
        match self.deleted_at {
            None => &self.details.category_ids,
            Some(_) => &[],
        }
    }

    /// Its price in minor units of the currency.
    #[must_use]
    pub fn price_units(&self) -> u64 {
        units(self.details.price)
    }
}

/// A price in minor units of its currency, 0 for less than nothing.
#[must_use]
pub fn units(price: Money) -> u64 {
    let rounded = price.rounded().amount();
    rounded.mantissa().to_u64().unwrap_or(0)
}

/// The amount of so many minor units of a currency.
#[must_use]
pub fn of_units(units: u64, currency: Currency) -> Money {
    let decimals = currency.decimals();
    let amount = Decimal::from_i128_with_scale(units.into(), decimals);
    Money::parse(&amount.to_string(), currency).unwrap_or(Money::zero(currency))
}

/// A name as it is compared: characters in lower case, each for itself.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// Reads a new product from a body, with prices in `currency`.
///
/// # Errors
///
/// What is wrong with which member.
pub fn parse_new(body: &Value, currency: Currency) -> Result<(Sku, Details), Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let sku = members.required_value("sku").and_then(|sku| {
        let sku = sku.as_str().unwrap_or_default().parse();
        sku.map_err(|error| members.refuse("sku", "invalid-value", format!("sku {error}")))
            .ok()
    });
    let details = details(&mut members, currency);
    members.finish(sku.zip(details))
}

/// Reads details from a body.
///
/// # Errors
///
/// As [`parse_new`].
pub fn parse_details(body: &Value, currency: Currency) -> Result<Details, Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let details = details(&mut members, currency);
    members.finish(details)
}

/// Reads a price of at most [`MOST_PRICE`] with no more decimals than its currency has, which must be
/// `currency`.
///
/// # Errors
///
/// The code and the words of what is wrong.
pub fn parse_price(value: &Value, currency: Currency) -> Result<Money, (&'static str, String)> {
    let invalid = |detail: String| ("invalid-value", detail);
    let price = Money::deserialize(value).map_err(|_| {
        let detail = r#"price must be such as {"amount": "34.90", "currency": "SGD"}"#;
        invalid(detail.to_owned())
    })?;
    if price.currency() != currency {
        let detail = format!("prices are in {currency}");
        return Err(("currency-mismatch", detail));
    }
    let is_possible = !price.amount().is_sign_negative()
        && price.amount() <= Decimal::from(MOST_PRICE)
        && price.rounded() == price;
    if !is_possible {
        let decimals = currency.decimals();
        let detail = format!("price must be 0 to {MOST_PRICE} with at most {decimals} decimals");
        return Err(invalid(detail));
    }
    Ok(price.rounded())
}

fn details(members: &mut Members<'_>, currency: Currency) -> Option<Details> {
    let name = members.required_text("name", MOST_NAME);
    let description = description(members);
    let price = members.required_value("price").and_then(|price| {
        parse_price(price, currency)
            .map_err(|(code, detail)| members.refuse("price", code, detail))
            .ok()
    });
    let tax_class = match members.value("tax_class") {
        None => Some(TaxClass::default()),
        Some(class) => {
            let class = class.as_str().unwrap_or_default().parse();
            class
                .map_err(|error| {
                    members.refuse("tax_class", "invalid-value", format!("tax_class {error}"));
                })
                .ok()
        }
    };
    let category_ids = category_ids(members);
    let attributes = attributes(members);
    let images = images(members);
    let is_active = members.flag("is_active").unwrap_or(true);
    let is_featured = members.flag("is_featured").unwrap_or(false);
    Some(Details {
        name: name?,
        description: description?,
        price: price?,
        tax_class: tax_class?,
        category_ids: category_ids?,
        attributes: attributes?,
        images: images?,
        is_active,
        is_featured,
    })
}

fn description(members: &mut Members<'_>) -> Option<String> {
    let Some(value) = members.value("description") else {
        return Some(String::new());
    };
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let text = value.as_str().filter(|text| text.chars().all(is_shown));
    let text = text.filter(|text| text.len() <= MOST_DESCRIPTION);
    if text.is_none() {
        let detail = format!("description must be text of at most {MOST_DESCRIPTION} bytes");
        members.refuse("description", "invalid-value", detail);
    }
    text.map(str::to_owned)
}

fn array<'b>(members: &mut Members<'b>, name: &'static str, most: usize) -> Option<&'b [Value]> {
    let Some(value) = members.value(name) else {
        return Some(&[]);
    };
    let array = value.as_array().filter(|array| array.len() <= most);
    if array.is_none() {
        let detail = format!("{name} must be an array of at most {most}");
        members.refuse(name, "invalid-value", detail);
    }
    array.map(Vec::as_slice)
}

fn category_ids(members: &mut Members<'_>) -> Option<Vec<CategoryId>> {
    let array = array(members, "category_ids", MOST_CATEGORIES)?;
    let mut ids = Vec::new();
    for (index, value) in array.iter().enumerate() {
        match value.as_str().unwrap_or_default().parse::<CategoryId>() {
            Ok(id) => ids.push(id),
            Err(error) => {
                let pointer = format!("{}/{index}", members.pointer_to("category_ids"));
                let detail = format!("a category's identifier {error}");
                members.refuse_all([FieldError::new(pointer, "invalid-value", detail)]);
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

fn attributes(members: &mut Members<'_>) -> Option<Map<String, Value>> {
    let Some(value) = members.value("attributes") else {
        return Some(Map::new());
    };
    let fits = |map: &&Map<String, Value>| {
        map.len() <= MOST_ATTRIBUTES && value.to_string().len() <= MOST_ATTRIBUTE_BYTES
    };
    let map = value.as_object().filter(fits);
    if map.is_none() {
        let detail = format!(
            "attributes must be an object of at most {MOST_ATTRIBUTES} members and {MOST_ATTRIBUTE_BYTES} bytes"
        );
        members.refuse("attributes", "invalid-value", detail);
    }
    map.cloned()
}

fn images(members: &mut Members<'_>) -> Option<Vec<Image>> {
    let array = array(members, "images", MOST_IMAGES)?;
    let mut images = Vec::new();
    for (index, value) in array.iter().enumerate() {
        match image(value, &format!("{}/{index}", members.pointer_to("images"))) {
            Ok(image) => images.push(image),
            Err(errors) => members.refuse_all(errors),
        }
    }
    Some(images)
}

fn image(value: &Value, pointer: &str) -> Result<Image, Vec<FieldError>> {
    let mut members = Members::of(value, pointer)?;
    let url = members.required_value("url").and_then(|url| {
        let url = url.as_str().filter(|url| is_https(url));
        if url.is_none() {
            let detail = format!("url must be an https address of at most {MOST_URL} bytes");
            members.refuse("url", "invalid-value", detail);
        }
        url.map(str::to_owned)
    });
    let alt = members.text("alt", MOST_ALT);
    members.finish(url.map(|url| Image { url, alt }))
}

/// Whether `url` is an absolute `https` address (RFC 9110 section 4.2.2) that names nobody.
fn is_https(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>().ok();
    url.len() <= MOST_URL
        && parsed.is_some_and(|uri| {
            let host = uri.authority().filter(|host| !host.as_str().contains('@'));
            uri.scheme_str() == Some("https") && host.is_some()
        })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    pub(in crate::catalog) fn body(sku: &str) -> Value {
        json!({"sku": sku, "name": "Desk lamp", "price": {"amount": "34.9", "currency": "SGD"}})
    }

    fn faults(body: &Value) -> Vec<String> {
        let told = |error: FieldError| format!("{} {}", error.pointer, error.code);
        let errors = parse_new(body, Currency::SGD).unwrap_err();
        errors.into_iter().map(told).collect()
    }

    #[test]
    fn the_least_that_is_said_makes_an_active_product() {
        let (sku, details) = parse_new(&body("LAMP-7"), Currency::SGD).unwrap();
        assert_eq!(sku.as_str(), "LAMP-7");
        assert_eq!(details.price.to_string(), "34.90 SGD");
        assert_eq!(details.tax_class.as_str(), "standard");
        assert!(details.is_active && !details.is_featured && details.images.is_empty());
    }

    #[test]
    fn every_bad_member_is_named_at_once() {
        let body = json!({
            "sku": "a b", "name": "", "description": "\u{7}", "price": {"amount": "1", "currency": "EUR"},
            "tax_class": "Reduced", "category_ids": ["x"], "attributes": [], "images": [
                {"url": "http://example.com/a.png"}, {"url": "https://a@example.com/", "alt": 5, "x": 1}, 7],
            "is_active": 1, "is_featured": "no", "stock": 3,
        });
        let expected = [
            "/sku invalid-value",
            "/name invalid-value",
            "/description invalid-value",
            "/price currency-mismatch",
            "/tax_class invalid-value",
            "/category_ids/0 invalid-value",
            "/attributes invalid-value",
            "/images/0/url invalid-value",
            "/images/1/url invalid-value",
            "/images/1/alt invalid-value",
            "/images/1/x unknown-field",
            "/images/2 invalid-value",
            "/is_active invalid-value",
            "/is_featured invalid-value",
            "/stock unknown-field",
        ];
        assert_eq!(faults(&body), expected);
        let required = ["/sku", "/name", "/price"].map(|at| format!("{at} missing-field"));
        assert_eq!(faults(&json!({})), required);
    }

    #[test]
    fn limits_are_met_exactly() {
        let with = |member: &str, value: Value| {
            let mut body = body("A");
            body[member] = value;
            parse_new(&body, Currency::SGD).map(|(_, details)| details)
        };
        let price = |amount: &str| json!({"amount": amount, "currency": "SGD"});
        let id = |n: u8| format!("0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a{n:02x}");
        for (member, most, more) in [
            ("name", json!("ä".repeat(200)), json!("ä".repeat(201))),
            (
                "description",
                json!("x\n".repeat(4096)),
                json!("x".repeat(8193)),
            ),
            ("price", price("1000000000000"), price("1000000000000.01")),
            ("price", price("0.010"), price("0.001")),
            ("price", price("0"), price("-0.01")),
            ("tax_class", json!("x".repeat(32)), json!("x".repeat(33))),
            (
                "category_ids",
                (0..10).map(id).collect(),
                (0..11).map(id).collect(),
            ),
            (
                "attributes",
                json!({"k": "x".repeat(4088)}),
                json!({"k": "x".repeat(4089)}),
            ),
            (
                "attributes",
                (0..50).map(|n| (n.to_string(), json!(n))).collect(),
                (0..51).map(|n| (n.to_string(), json!(n))).collect(),
            ),
        ] {
            assert!(with(member, most.clone()).is_ok(), "{member} {most}");
            assert!(with(member, more.clone()).is_err(), "{member} {more}");
        }
        let twice = with("category_ids", json!([id(2), id(1), id(2)])).unwrap();
        assert_eq!(
            twice.category_ids,
            [id(1), id(2)].map(|id| id.parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn minor_units_say_the_same_as_the_price(units in 0..=100 * MOST_PRICE, code in "SGD|JPY|KWD") {
            let currency: Currency = code.parse().unwrap();
            let price = of_units(units, currency);
            prop_assert_eq!(super::units(price), units);
            prop_assert_eq!(price.amount().scale(), currency.decimals());
        }

        #[test]
        fn any_text_is_an_address_or_not(url: String) {
            let _ = is_https(&url);
        }
    }
}
