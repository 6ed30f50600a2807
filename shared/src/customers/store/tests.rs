use serde_json::json;

use super::*;
use crate::{
    customers::{model::parse_address, rules},
    testing::{self, Database},
};

const NOW: Timestamp = Timestamp::constant(1_795_190_400, 123_456_789);

async fn start() -> (Database, CustomerStore) {
    let database = Database::start(&[testing::Table::new("Commerce")]).await;
    let store = CustomerStore::new(database.client(), "Commerce".into());
    (database, store)
}

fn claims(email: &'static str) -> Claims {
    Claims::read("u-1", |name| match name {
        "email" => Some(email),
        "email_verified" => Some("true"),
        _ => None,
    })
}

async fn kinds(store: &CustomerStore) -> Vec<String> {
    let events = events::store::list(&store.table, Aggregate::Customer, "u-1", 0, 100).await;
    events
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect()
}

#[tokio::test]
async fn a_profile_is_made_once_and_follows_the_email_address() {
    let (_database, store) = start().await;
    let (a, b) = (claims("a@example.com"), claims("b@example.com"));
    assert_eq!(store.contact("u-1").await.unwrap(), None);
    let (first, second) = tokio::join!(store.ensure(&a, NOW), store.ensure(&a, NOW));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(store.ensure(&b, NOW).await.unwrap().version, 2);
    assert_eq!(
        store
            .contact("u-1")
            .await
            .unwrap()
            .unwrap()
            .email
            .as_deref(),
        Some("b@example.com")
    );
    assert_eq!(
        kinds(&store).await,
        ["customer.created", "customer.updated"]
    );
}

#[tokio::test]
async fn of_two_changes_of_one_version_the_second_is_a_conflict() {
    let (_database, store) = start().await;
    let customer = store.ensure(&claims("a@example.com"), NOW).await.unwrap();
    let address =
        json!({"type": "billing", "recipient": "J", "line1": "1", "city": "S", "country": "SG"});
    let new = parse_address(&address).unwrap();
    let (next, event) = rules::add_address(&customer, "A", new, NOW).unwrap();
    let next = Profile::Active(next);
    assert_eq!(store.save(&next, &event, None).await.unwrap(), Write::Done);
    assert_eq!(store.get("u-1").await.unwrap(), Some(next.clone()));
    // The same again is a call of which only the reply was lost.
    assert_eq!(store.save(&next, &event, None).await.unwrap(), Write::Done);
    let (other, event) = rules::update(&customer, &json!({"name": "J"}), NOW).unwrap();
    let other = Profile::Active(other);
    assert_eq!(
        store.save(&other, &event, None).await.unwrap(),
        Write::Conflict
    );
    assert_eq!(
        kinds(&store).await,
        ["customer.created", "customer.address-added"]
    );
}

#[tokio::test]
async fn an_erased_customer_stays_erased_and_leaves_nothing_personal() {
    let (database, store) = start().await;
    let customer = store.ensure(&claims("a@example.com"), NOW).await.unwrap();
    let (erased, event) = rules::erase(&customer, NOW);
    assert_eq!(
        store.save(&erased, &event, None).await.unwrap(),
        Write::Done
    );
    assert_eq!(store.get("u-1").await.unwrap(), Some(erased));
    let again = store.ensure(&claims("a@example.com"), NOW).await;
    assert!(matches!(again, Err(EnsureError::Erased)));
    assert_eq!(store.contact("u-1").await.unwrap(), None);
    let all = database
        .client()
        .scan()
        .table_name("Commerce")
        .send()
        .await
        .unwrap();
    assert_eq!(all.items().len(), 3);
    assert!(!format!("{:?}", all.items()).contains("example.com"));
}
