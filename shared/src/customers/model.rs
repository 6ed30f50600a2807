//! A customer's profile, and how parts of it are read from claims and bodies.

use std::{fmt, ops::RangeInclusive};

use email_address::EmailAddress;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    address::{
        model::{self as address, Address},
        phone::is_e164,
    },
    platform::{caller::Caller, clock::rfc3339, http::Members, problem::FieldError},
};

/// Most addresses of a customer.
pub const MOST_ADDRESSES: usize = 20;

/// Most characters of a customer's name.
pub const MOST_NAME: usize = 200;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressType {
    /// Goods go there.
    Shipping,
    /// Invoices go there.
    Billing,
}

impl AddressType {
    /// Every type.
    pub const ALL: [Self; 2] = [Self::Shipping, Self::Billing];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shipping => "shipping",
            Self::Billing => "billing",
        }
    }
}

/// An address that a customer keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CustomerAddress {
    /// Names it, for good.
    #[schema(example = "5TP0VXW5SJ2KPC2E")]
    pub address_id: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: AddressType,
    /// Whether it is the one of its type that is meant unless another is named.
    pub is_default: bool,
    /// Where it is.
    #[serde(flatten)]
    pub address: Address,
}

impl CustomerAddress {
    /// The members that callers see.
    ///
    /// # Panics
    /// Never: names are text, so there is always a JSON object.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        object(serde_json::to_value(self))
    }
}

/// What an address is said to be by its customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAddress {
    /// What it is for.
    pub kind: AddressType,
    /// Whether it is to be the default of its type.
    pub is_default: bool,
    /// Where it is.
    pub address: Address,
}

/// A customer's profile. Formatting one for a log shows nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Customer {
    /// The person's `sub` in the user pool.
    #[schema(example = "9d8c2f4e-6d5a-4a55-9f0e-0c3a5a9a7d10")]
    pub customer_id: String,
    /// E-mail address, as the user pool has it.
    #[schema(format = Email)]
    pub email: Option<String>,
    /// Phone number, E.164.
    #[schema(example = "+6561234567")]
    pub phone: Option<String>,
    /// What to call them.
    #[schema(max_length = 200, example = "Jane Tan")]
    pub name: Option<String>,
    /// The language they are written to in, a BCP 47 tag of language, script and region.
    #[schema(example = "en-SG")]
    pub locale: Option<String>,
    /// Addresses, oldest first.
    #[schema(max_items = 20)]
    pub addresses: Vec<CustomerAddress>,
    /// Counts its changes; the entity tag.
    pub version: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer")
            .field("customer_id", &self.customer_id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Customer {
    /// The members that callers see.
    ///
    /// # Panics
    /// Never: names are text, so there is always a JSON object.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        let mut members = object(serde_json::to_value(self));
        for (name, at) in [
            ("created_at", self.created_at),
            ("updated_at", self.updated_at),
        ] {
            members.insert(name.to_owned(), rfc3339(at).into());
        }
        members
    }

    /// The address of that identifier.
    #[must_use]
    pub fn address(&self, id: &str) -> Option<&CustomerAddress> {
        self.addresses
            .iter()
            .find(|address| address.address_id == id)
    }
}

fn object(value: Result<Value, serde_json::Error>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("a struct with text for names is a JSON object"),
    }
}

/// What the table has of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// They are a customer.
    Active(Customer),
    /// They were erased.
    Erased {
        /// Whose profile it was.
        customer_id: String,
        /// Counts the changes there were, the erasure among them.
        version: u64,
        /// When they were erased.
        at: Timestamp,
    },
}

/// How to reach a customer. Formatting one for a log shows nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Contact {
    /// E-mail address.
    pub email: Option<String>,
    /// Phone number, E.164.
    pub phone: Option<String>,
    /// What to call them.
    pub name: Option<String>,
    /// The language they are written to in, a BCP 47 tag.
    pub locale: Option<String>,
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact([redacted])")
    }
}

impl From<Customer> for Contact {
    fn from(customer: Customer) -> Self {
        Self {
            email: customer.email,
            phone: customer.phone,
            name: customer.name,
            locale: customer.locale,
        }
    }
}

/// What the user pool says of a person; what it says amiss is left out. Formatting one for a log
/// shows nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    pub(super) sub: String,
    pub(super) contact: Contact,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("sub", &self.sub)
            .finish_non_exhaustive()
    }
}

impl Claims {
    /// Reads the standard claims `email`, `phone_number`, `name` and `locale` of the person `sub`
    /// (`OpenID` Connect Core 1.0, section 5.1), as attributes of the pool have them too. An address
    /// counts only where `email_verified` is `true`.
    pub fn read<'c>(sub: &str, claim: impl Fn(&str) -> Option<&'c str>) -> Self {
        let owned = |name: &str, fits: fn(&str) -> bool| {
            claim(name).filter(|text| fits(text)).map(str::to_owned)
        };
        let name = |text: &str| {
            !text.trim().is_empty()
                && text.chars().count() <= MOST_NAME
                && !text.chars().any(char::is_control)
        };
        Self {
            sub: sub.to_owned(),
            contact: Contact {
                email: owned("email", EmailAddress::is_valid)
                    .filter(|_| claim("email_verified") == Some("true")),
                phone: owned("phone_number", is_e164),
                name: owned("name", name).map(|name| name.trim().to_owned()),
                locale: claim("locale").and_then(locale),
            },
        }
    }
}

impl From<&Caller> for Claims {
    fn from(caller: &Caller) -> Self {
        Self::read(caller.sub(), |name| match name {
            "email" => caller.email().map(|email| email.expose().as_str()),
            "email_verified" => caller.email().map(|_| "true"),
            "phone_number" => caller.phone_number().map(|phone| phone.expose().as_str()),
            _ => None,
        })
    }
}

/// What a customer says of themselves.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Particulars {
    pub(super) name: Option<String>,
    pub(super) phone: Option<String>,
    pub(super) locale: Option<String>,
}

/// Reads what a customer says of themselves from a body.
pub(super) fn parse_particulars(body: &Value) -> Result<Particulars, Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let particulars = Particulars {
        name: members.text("name", MOST_NAME),
        phone: address::read_phone(&mut members, None),
        locale: read_locale(&mut members),
    };
    members.finish(Some(particulars))
}

fn read_locale(members: &mut Members<'_>) -> Option<String> {
    let value = members.value("locale")?;
    let locale = value.as_str().and_then(locale);
    if locale.is_none() {
        let detail = "locale must be a language tag such as en, en-SG or zh-Hans-SG";
        members.refuse("locale", "invalid-value", detail);
    }
    locale
}

/// Reads an address and what it is for from a body.
///
/// # Errors
///
/// Every fault of its members, unknown ones among them.
pub fn parse_address(body: &Value) -> Result<NewAddress, Vec<FieldError>> {
    let mut members = Members::of(body, "")?;
    let kind = read_type(&mut members);
    let is_default = members.flag("is_default").unwrap_or(false);
    let address = address::read(&mut members);
    let new = kind.zip(address).map(|(kind, address)| NewAddress {
        kind,
        is_default,
        address,
    });
    members.finish(new)
}

fn read_type(members: &mut Members<'_>) -> Option<AddressType> {
    let name = members.required_value("type")?.as_str();
    let kind = AddressType::ALL
        .into_iter()
        .find(|kind| Some(kind.as_str()) == name);
    if kind.is_none() {
        members.refuse("type", "invalid-value", "type must be shipping or billing");
    }
    kind
}

/// A language tag in its usual case: language, then script and region if they are given. A tag with
/// underscores, as user pools have them, is one too. Source: RFC 5646 section 2.1.1.
fn locale(tag: &str) -> Option<String> {
    let is_letters = |part: &str, lengths: RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let is_digits = |part: &str| part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = tag.split(['-', '_']).peekable();
    let language = parts.next_if(|part| is_letters(part, 2..=3))?;
    let script = parts.next_if(|part| is_letters(part, 4..=4)).map(|script| {
        let (first, rest) = script.split_at(1);
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    });
    let region = parts
        .next_if(|part| is_letters(part, 2..=2) || is_digits(part))
        .map(str::to_ascii_uppercase);
    let parts_of_tag = [Some(language.to_ascii_lowercase()), script, region];
    let locale: Vec<String> = parts_of_tag.into_iter().flatten().collect();
    parts.next().is_none().then(|| locale.join("-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claims(given: &[(&str, &'static str)]) -> Contact {
        let find = |name: &str| given.iter().find(|(given, _)| *given == name);
        Claims::read("u-1", |name| find(name).map(|(_, value)| *value)).contact
    }

    #[test]
    fn claims_are_taken_as_far_as_they_are_well_formed() {
        let good = claims(&[
            ("email", "jane@example.com"),
            ("email_verified", "true"),
            ("phone_number", "+6561234567"),
            ("name", " Jane "),
            ("locale", "en_SG"),
        ]);
        assert_eq!(good.email.as_deref(), Some("jane@example.com"));
        assert_eq!(good.phone.as_deref(), Some("+6561234567"));
        assert_eq!(good.name.as_deref(), Some("Jane"));
        assert_eq!(good.locale.as_deref(), Some("en-SG"));
        let bad = claims(&[
            ("email", "jane"),
            ("email_verified", "true"),
            ("phone_number", "61234567"),
            ("name", "a\nb"),
            ("locale", "english"),
        ]);
        assert_eq!(
            (bad.email, bad.phone, bad.name, bad.locale),
            (None, None, None, None)
        );
    }

    #[test]
    fn an_email_address_is_taken_once_it_is_verified() {
        for verified in [&[][..], &[("email_verified", "false")]] {
            let given = [&[("email", "jane@example.com")], verified].concat();
            assert_eq!(claims(&given).email, None);
        }
    }

    #[test]
    fn language_tags_get_their_usual_case() {
        for (tag, expected) in [
            ("EN", Some("en")),
            ("en-sg", Some("en-SG")),
            ("ZH_hans_sg", Some("zh-Hans-SG")),
            ("sr-LATN", Some("sr-Latn")),
            ("es-419", Some("es-419")),
            ("e", None),
            ("engl", None),
            ("en-", None),
            ("en-SG-x", None),
            ("en-5G", None),
            ("ën", None),
            ("en-ß§", None),
            ("", None),
        ] {
            assert_eq!(locale(tag).as_deref(), expected, "{tag}");
        }
    }

    #[test]
    fn every_fault_of_an_address_is_told_at_once() {
        let body = json!({"type": "home", "is_default": 1, "line1": "1", "city": "S", "country": "Singapore", "note": ""});
        let told = |error: FieldError| (error.pointer, error.code.into_owned());
        let errors: Vec<_> = parse_address(&body)
            .unwrap_err()
            .into_iter()
            .map(told)
            .collect();
        let expected = [
            ("/type", "invalid-value"),
            ("/is_default", "invalid-value"),
            ("/recipient", "missing-field"),
            ("/country", "invalid-value"),
            ("/note", "unknown-field"),
        ];
        assert_eq!(
            errors,
            expected.map(|(at, code)| (at.to_owned(), code.to_owned()))
        );
    }

    proptest! {
        #[test]
        fn any_tag_is_normal_once_it_is_normalised(tag in "\\PC{0,12}|[a-zA-Z]{2,3}([-_][a-zA-Z]{4})?([-_][a-zA-Z]{2})?") {
            if let Some(normal) = locale(&tag) {
                prop_assert_eq!(locale(&normal), Some(normal.clone()));
            }
        }
    }
}
