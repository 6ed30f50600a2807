use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::constant(1_795_190_400, 0);

fn later() -> Timestamp {
    NOW + SignedDuration::from_secs(5)
}

fn claims() -> Claims {
    Claims::read("u-1", |name| match name {
        "email" => Some("jane@example.com"),
        "email_verified" => Some("true"),
        "name" => Some("Jane Tan"),
        _ => None,
    })
}

fn customer() -> Customer {
    create(&claims(), NOW).0
}

fn address(kind: AddressType, is_default: bool) -> NewAddress {
    let body = json!({"type": kind.as_str(), "is_default": is_default, "recipient": "Jane Tan",
        "line1": "1 Raffles Place", "city": "Singapore", "country": "SG"});
    parse_address(&body).unwrap()
}

fn with(addresses: &[(&str, AddressType, bool)]) -> Customer {
    addresses
        .iter()
        .fold(customer(), |customer, (id, kind, is_default)| {
            let new = address(*kind, *is_default);
            add_address(&customer, id, new, NOW).unwrap().0
        })
}

fn defaults(customer: &Customer) -> Vec<&str> {
    let defaults = customer
        .addresses
        .iter()
        .filter(|address| address.is_default);
    defaults
        .map(|address| address.address_id.as_str())
        .collect()
}

fn faults(refused: &Refused) -> Vec<(String, String)> {
    let Refused::Body(errors) = refused else {
        panic!("{refused}")
    };
    let told = |error: &FieldError| (error.pointer.clone(), error.code.clone().into_owned());
    errors.iter().map(told).collect()
}

use AddressType::{Billing, Shipping};

#[test]
fn a_profile_begins_with_what_the_pool_says() {
    let (customer, event) = create(&claims(), NOW);
    assert_eq!(customer.email.as_deref(), Some("jane@example.com"));
    assert_eq!((customer.version, event.sequence), (1, 1));
    assert_eq!(
        (event.id().as_str(), event.kind.as_str()),
        ("customer:u-1:1", "customer.created")
    );
}

#[test]
fn the_pool_has_the_last_word_on_the_email_address_alone() {
    let current = Customer {
        name: Some("J.".into()),
        ..customer()
    };
    assert_eq!(follow(&current, &claims(), NOW), None);
    assert_eq!(follow(&current, &Claims::read("u-1", |_| None), NOW), None);
    let moved = |is_verified| {
        Claims::read("u-1", move |name| match name {
            "email" => Some("j@example.org"),
            "email_verified" => Some(is_verified),
            _ => None,
        })
    };
    assert_eq!(follow(&current, &moved("false"), NOW), None);
    let moved = moved("true");
    let (next, event) = follow(&current, &moved, later()).unwrap();
    assert_eq!(
        (next.email.as_deref(), next.name.as_deref()),
        (Some("j@example.org"), Some("J."))
    );
    assert_eq!((next.version, next.updated_at), (2, later()));
    assert_eq!(event.data, json!({"changed": ["email"]}));
}

#[test]
fn a_patch_changes_and_removes_what_the_customer_may_say() {
    let patch = json!({"phone": "+65 6123 4567", "name": null, "locale": "en_sg", "version": 1, "email": "jane@example.com"});
    let (next, event) = update(&customer(), &patch, later()).unwrap();
    assert_eq!(next.phone.as_deref(), Some("+6561234567"));
    assert_eq!(
        (next.name.as_deref(), next.locale.as_deref()),
        (None, Some("en-SG"))
    );
    assert_eq!((next.version, event.sequence, next.created_at), (2, 2, NOW));
    assert_eq!(event.data, json!({"changed": ["name", "phone", "locale"]}));
}

#[test]
fn a_patch_is_refused_with_all_its_faults() {
    let patch = json!({"email": "x@example.com", "version": null, "addresses": [], "customer_id": "u-2",
        "name": "", "phone": "6123 4567", "locale": 5, "nickname": "J"});
    let expected = [
        ("/customer_id", "read-only-field"),
        ("/email", "read-only-field"),
        ("/version", "read-only-field"),
        ("/name", "invalid-value"),
        ("/phone", "invalid-value"),
        ("/locale", "invalid-value"),
        ("/nickname", "unknown-field"),
    ];
    let expected = expected.map(|(at, code)| (at.to_owned(), code.to_owned()));
    assert_eq!(
        faults(&update(&customer(), &patch, NOW).unwrap_err()),
        expected
    );
    let whole = [(String::new(), "invalid-value".to_owned())];
    assert_eq!(
        faults(&update(&customer(), &json!("x"), NOW).unwrap_err()),
        whole
    );
}

#[test]
fn the_first_address_of_a_type_is_its_default_until_another_asks() {
    let customer = with(&[
        ("a", Shipping, false),
        ("b", Shipping, false),
        ("c", Billing, false),
    ]);
    assert_eq!(defaults(&customer), ["a", "c"]);
    let customer = with(&[
        ("a", Shipping, false),
        ("b", Shipping, true),
        ("c", Billing, false),
    ]);
    assert_eq!(defaults(&customer), ["b", "c"]);
}

#[test]
fn a_default_that_goes_makes_way_for_the_oldest_of_its_type() {
    let customer = with(&[
        ("a", Shipping, false),
        ("b", Shipping, false),
        ("c", Shipping, true),
    ]);
    assert_eq!(
        defaults(&remove_address(&customer, "c", NOW).unwrap().0),
        ["a"]
    );
    let unset = json!({"is_default": false});
    assert_eq!(
        defaults(&update_address(&customer, "c", &unset, NOW).unwrap().0),
        ["a"]
    );
    let moved = json!({"type": "billing"});
    assert_eq!(
        defaults(&update_address(&customer, "c", &moved, NOW).unwrap().0),
        ["a", "c"]
    );
    let only = with(&[("a", Shipping, false)]);
    assert_eq!(
        defaults(&update_address(&only, "a", &unset, NOW).unwrap().0),
        ["a"]
    );
}

#[test]
fn an_address_is_patched_as_a_whole_and_checked_again() {
    let customer = with(&[("a", Shipping, false)]);
    let patch = json!({"line2": "#20-01", "phone": "6123 4567", "address_id": "a"});
    let (next, event) = update_address(&customer, "a", &patch, NOW).unwrap();
    let address = &next.address("a").unwrap().address;
    assert_eq!(address.line2.as_deref(), Some("#20-01"));
    assert_eq!(address.phone.as_deref(), Some("+6561234567"));
    assert_eq!(
        (event.kind.as_str(), event.data),
        ("customer.address-changed", json!({"address_id": "a"}))
    );

    let patch = json!({"address_id": "b", "city": null, "zip": "1"});
    let expected = [
        ("/address_id", "read-only-field"),
        ("/city", "missing-field"),
        ("/zip", "unknown-field"),
    ]
    .map(|(at, code)| (at.to_owned(), code.to_owned()));
    assert_eq!(
        faults(&update_address(&customer, "a", &patch, NOW).unwrap_err()),
        expected
    );
    assert_eq!(
        update_address(&customer, "b", &patch, NOW).unwrap_err(),
        Refused::NoAddress
    );
    assert_eq!(
        remove_address(&customer, "b", NOW).unwrap_err(),
        Refused::NoAddress
    );
}

#[test]
fn no_more_than_twenty_addresses_are_kept() {
    let ids: Vec<String> = (0..MOST_ADDRESSES).map(|n| n.to_string()).collect();
    let addresses: Vec<_> = ids.iter().map(|id| (id.as_str(), Shipping, true)).collect();
    let full = with(&addresses);
    let refused = add_address(&full, "more", address(Billing, true), NOW);
    assert_eq!(refused.unwrap_err(), Refused::TooManyAddresses);
}

#[test]
fn an_erased_customer_leaves_a_count_and_a_time() {
    let customer = with(&[("a", Shipping, false)]);
    let (profile, event) = erase(&customer, later());
    let erased = Profile::Erased {
        customer_id: "u-1".into(),
        version: 3,
        at: later(),
    };
    assert_eq!(
        (profile, event.sequence, event.data),
        (erased, 3, json!({}))
    );
}

/// What a customer does with their addresses.
#[derive(Clone, Debug)]
enum Deed {
    Add(AddressType, bool),
    Remove(usize),
    Choose(usize, bool),
    Turn(usize, AddressType),
}

fn deed() -> impl Strategy<Value = Deed> {
    let kind = prop_oneof![Just(Shipping), Just(Billing)];
    prop_oneof![
        (kind.clone(), any::<bool>()).prop_map(|(kind, is_default)| Deed::Add(kind, is_default)),
        (0..8_usize).prop_map(Deed::Remove),
        (0..8_usize, any::<bool>()).prop_map(|(at, is_default)| Deed::Choose(at, is_default)),
        (0..8_usize, kind).prop_map(|(at, kind)| Deed::Turn(at, kind)),
    ]
}

fn shown(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

proptest! {
    #[test]
    fn each_type_has_one_default_whatever_is_done(deeds in proptest::collection::vec(deed(), 0..40)) {
        let mut customer = customer();
        for (n, deed) in deeds.into_iter().enumerate() {
            let id = |at: usize| customer.addresses.get(at).map(|address| address.address_id.clone());
            let change = match deed {
                Deed::Add(kind, is_default) => add_address(&customer, &format!("a{n}"), address(kind, is_default), NOW),
                Deed::Remove(at) => remove_address(&customer, &id(at).unwrap_or_default(), NOW),
                Deed::Choose(at, is_default) => {
                    let patch = json!({"is_default": is_default});
                    update_address(&customer, &id(at).unwrap_or_default(), &patch, NOW)
                }
                Deed::Turn(at, kind) => {
                    let patch = json!({"type": kind.as_str()});
                    update_address(&customer, &id(at).unwrap_or_default(), &patch, NOW)
                }
            };
            let Ok((next, event)) = change else { continue };
            prop_assert_eq!((next.version, event.sequence), (customer.version + 1, next.version));
            prop_assert!(!shown((&next, &event)).contains("Raffles"));
            customer = next;
            for kind in AddressType::ALL {
                let of_kind: Vec<_> = customer.addresses.iter().filter(|address| address.kind == kind).collect();
                let defaults = of_kind.iter().filter(|address| address.is_default).count();
                prop_assert_eq!(defaults, usize::from(!of_kind.is_empty()));
            }
        }
    }
}
