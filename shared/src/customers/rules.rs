//! What becomes of a customer's profile: pure functions from what is stored and what is asked to what
//! to store and the event that tells of it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::{
    AddressType, Claims, Customer, CustomerAddress, MOST_ADDRESSES, NewAddress, Profile,
    parse_address, parse_particulars,
};
use crate::{
    events::model::{Aggregate, Event},
    platform::{http::merge_patch, problem::FieldError},
};

/// Members of a profile that callers see and do not change here.
const READ_ONLY: [&str; 6] = [
    "customer_id",
    "email",
    "addresses",
    "version",
    "created_at",
    "updated_at",
];

/// A profile as it is to be, and the event of it.
pub type Change = (Customer, Event);

/// Why a profile stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The customer has no such address.
    #[error("customer has no such address")]
    NoAddress,
    /// The customer has as many addresses as there may be.
    #[error("customer has {MOST_ADDRESSES} addresses already")]
    TooManyAddresses,
    /// The body is wrong.
    #[error("body has faulty members")]
    Body(Vec<FieldError>),
}

impl From<Vec<FieldError>> for Refused {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::Body(errors)
    }
}

/// Makes a person a customer.
#[must_use]
pub fn create(claims: &Claims, now: Timestamp) -> Change {
    let contact = claims.contact.clone();
    let customer = Customer {
        customer_id: claims.sub.clone(),
        email: contact.email,
        phone: contact.phone,
        name: contact.name,
        locale: contact.locale,
        addresses: Vec::new(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let event = event(&customer.customer_id, 1, "customer.created", now, json!({}));
    (customer, event)
}

/// Takes over the e-mail address of `claims` if it is another; nothing else, for the rest is the
/// customer's to say.
#[must_use]
pub fn follow(current: &Customer, claims: &Claims, now: Timestamp) -> Option<Change> {
    let email = claims.contact.email.as_ref()?;
    (current.email.as_ref() != Some(email)).then(|| {
        let next = Customer {
            email: Some(email.clone()),
            ..current.clone()
        };
        changed(next, now, "customer.updated", json!({"changed": ["email"]}))
    })
}

/// Changes what a customer says of themselves by a JSON merge patch (RFC 7396) of the profile.
///
/// # Errors
///
/// What is wrong with which member of the patched profile.
pub fn update(current: &Customer, patch: &Value, now: Timestamp) -> Result<Change, Refused> {
    let shown = current.document();
    let own = |shown: &Map<String, Value>| {
        let is_own = |name: &&String| !READ_ONLY.contains(&name.as_str());
        let members = shown.iter().filter(|(name, _)| is_own(name));
        members
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<Value>()
    };
    let mut target = own(&shown);
    merge_patch(
        &mut target,
        &patch.as_object().map_or_else(|| patch.clone(), own),
    );
    let mut errors = read_only(&shown, patch, &READ_ONLY);
    match parse_particulars(&target) {
        Ok(particulars) if errors.is_empty() => {
            let next = Customer {
                name: particulars.name,
                phone: particulars.phone,
                locale: particulars.locale,
                ..current.clone()
            };
            let parts = [
                ("name", next.name != current.name),
                ("phone", next.phone != current.phone),
                ("locale", next.locale != current.locale),
            ];
            let names: Vec<_> = parts
                .into_iter()
                .filter_map(|(name, is_other)| is_other.then_some(name))
                .collect();
            Ok(changed(
                next,
                now,
                "customer.updated",
                json!({"changed": names}),
            ))
        }
        Ok(_) => Err(errors.into()),
        Err(others) => {
            errors.extend(others);
            Err(errors.into())
        }
    }
}

/// Adds an address. The first of its type is the default of it.
///
/// # Errors
///
/// [`Refused::TooManyAddresses`] when there are [`MOST_ADDRESSES`].
pub fn add_address(
    current: &Customer,
    address_id: &str,
    new: NewAddress,
    now: Timestamp,
) -> Result<Change, Refused> {
    if current.addresses.len() >= MOST_ADDRESSES {
        return Err(Refused::TooManyAddresses);
    }
    let data = json!({"address_id": address_id});
    let mut next = current.clone();
    next.addresses.push(entry(address_id, new));
    settle_defaults(&mut next.addresses, Some(address_id));
    Ok(changed(next, now, "customer.address-added", data))
}

/// Changes an address by a JSON merge patch (RFC 7396) of it. The default of a type that stops being
/// so makes way for the oldest other one; the only one of its type remains the default.
///
/// # Errors
///
/// [`Refused::NoAddress`], or what is wrong with which member of the patched address.
pub fn update_address(
    current: &Customer,
    address_id: &str,
    patch: &Value,
    now: Timestamp,
) -> Result<Change, Refused> {
    let mut next = current.clone();
    let mut addresses = next.addresses.iter_mut();
    let address = addresses
        .find(|address| address.address_id == address_id)
        .ok_or(Refused::NoAddress)?;
    let shown = address.document();
    let mut errors = read_only(&shown, patch, &["address_id"]);
    let mut target = Value::Object(shown);
    merge_patch(&mut target, patch);
    if let Some(members) = target.as_object_mut() {
        members.remove("address_id");
    }
    match parse_address(&target) {
        Ok(new) if errors.is_empty() => *address = entry(address_id, new),
        Ok(_) => return Err(errors.into()),
        Err(others) => {
            errors.extend(others);
            return Err(errors.into());
        }
    }
    settle_defaults(&mut next.addresses, Some(address_id));
    let data = json!({"address_id": address_id});
    Ok(changed(next, now, "customer.address-changed", data))
}

/// Removes an address. The oldest that remains of its type becomes the default if it was that.
///
/// # Errors
///
/// [`Refused::NoAddress`].
pub fn remove_address(
    current: &Customer,
    address_id: &str,
    now: Timestamp,
) -> Result<Change, Refused> {
    let mut next = current.clone();
    next.addresses
        .retain(|address| address.address_id != address_id);
    if next.addresses.len() == current.addresses.len() {
        return Err(Refused::NoAddress);
    }
    settle_defaults(&mut next.addresses, None);
    let data = json!({"address_id": address_id});
    Ok(changed(next, now, "customer.address-removed", data))
}

/// Erases a customer.
#[must_use]
pub fn erase(current: &Customer, now: Timestamp) -> (Profile, Event) {
    let customer_id = current.customer_id.clone();
    let version = current.version + 1;
    let event = event(&customer_id, version, "customer.erased", now, json!({}));
    let erased = Profile::Erased {
        customer_id,
        version,
        at: now,
    };
    (erased, event)
}

fn entry(address_id: &str, new: NewAddress) -> CustomerAddress {
    CustomerAddress {
        address_id: address_id.to_owned(),
        kind: new.kind,
        is_default: new.is_default,
        address: new.address,
    }
}

/// Leaves one default of each type: `touched` if it asks for it, or who is it already, or the oldest
/// that is not `touched`.
fn settle_defaults(addresses: &mut [CustomerAddress], touched: Option<&str>) {
    for kind in AddressType::ALL {
        let is_touched = |address: &CustomerAddress| Some(address.address_id.as_str()) == touched;
        let default = addresses
            .iter()
            .filter(|address| address.kind == kind)
            .min_by_key(|address| match (address.is_default, is_touched(address)) {
                (true, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (false, true) => 3,
            })
            .map(|address| address.address_id.clone());
        for address in addresses.iter_mut().filter(|address| address.kind == kind) {
            address.is_default = Some(&address.address_id) == default.as_ref();
        }
    }
}

/// The errors of a `patch` that says of a member that cannot be changed anything but what is shown.
fn read_only(shown: &Map<String, Value>, patch: &Value, names: &[&str]) -> Vec<FieldError> {
    names
        .iter()
        .filter(|name| {
            patch
                .get(**name)
                .is_some_and(|value| shown.get(**name) != Some(value))
        })
        .map(|name| {
            let detail =
                format!("{name} cannot be changed here: repeat it as it is or leave it out");
            FieldError::new(format!("/{name}"), "read-only-field", detail)
        })
        .collect()
}

fn changed(mut next: Customer, now: Timestamp, kind: &str, data: Value) -> Change {
    next.version += 1;
    next.updated_at = now;
    let event = event(&next.customer_id, next.version, kind, now, data);
    (next, event)
}

fn event(customer_id: &str, version: u64, kind: &str, now: Timestamp, data: Value) -> Event {
    Event::new(Aggregate::Customer, customer_id, version, kind, now, data)
}

#[cfg(test)]
mod tests;
