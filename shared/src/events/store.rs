//! Events in the `Commerce` table: the only code that knows their keys and expressions.
//!
//! An event is the item `{AGGREGATE}#{id}`, `EV#{sequence, ten digits}`, beside the aggregate itself.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};

use super::model::{Aggregate, Event};
use crate::platform::{
    table::{Item, Table, TableError, key, string, text},
    telemetry,
};

/// What the sort keys of events begin with.
const PREFIX: &str = "EV#";

/// The partition key of an aggregate, which its events share.
#[must_use]
pub fn partition(aggregate: Aggregate, id: &str) -> String {
    format!("{}#{id}", aggregate.as_str().to_ascii_uppercase())
}

/// Whether an item with these `keys` is an event.
#[must_use]
pub fn is_event(keys: &Item) -> bool {
    string(keys, "event", "sk").is_ok_and(|sk| sk.starts_with(PREFIX))
}

fn sort_key(sequence: u64) -> String {
    format!("{PREFIX}{sequence:010}")
}

/// The write that appends `event`, for the transaction that changes its aggregate; it fails the
/// transaction when there is an event of this sequence. An event that names no request gets the one
/// at hand.
///
/// # Errors
///
/// [`TableError::Malformed`] never in practice: table and item are all that a put needs.
pub fn append(table: &Table, event: &Event) -> Result<TransactWriteItem, TableError> {
    let put = Put::builder()
        .table_name(table.name())
        .set_item(Some(item(event)))
        .condition_expression("attribute_not_exists(pk)")
        .build()
        .map_err(|_| TableError::malformed(event.id(), "pk"))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

fn item(event: &Event) -> Item {
    let mut item = key(
        partition(event.aggregate, &event.aggregate_id),
        sort_key(event.sequence),
    );
    let invocation = telemetry::current();
    let trace = invocation.as_ref().map(|invocation| &invocation.trace);
    let correlation_id = event
        .correlation_id
        .as_ref()
        .or_else(|| trace.map(|trace| &trace.correlation_id));
    let trace_parent = event
        .trace_parent
        .as_ref()
        .or_else(|| trace.and_then(|trace| trace.trace_parent.as_ref()));
    let optional = [
        ("private", event.private.as_ref().map(text)),
        ("correlation_id", correlation_id.map(|id| text(id.as_str()))),
        ("traceparent", trace_parent.map(|id| text(id.as_str()))),
    ];
    let always = [
        ("type", text(&event.kind)),
        ("time", text(event.at)),
        ("data", text(&event.data)),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    item.extend(
        always
            .into_iter()
            .chain(given)
            .map(|(name, value)| (name.to_owned(), value)),
    );
    item
}

/// Reads an event back from its item, as the table or its stream holds it.
///
/// # Errors
///
/// [`TableError::Malformed`] names the attribute that is missing or unreadable.
pub fn event(item: &Item) -> Result<Event, TableError> {
    let of = "event";
    let pk = string(item, of, "pk")?;
    let malformed = |attribute| TableError::malformed(pk, attribute);
    let (aggregate, id) = pk.split_once('#').ok_or_else(|| malformed("pk"))?;
    let sequence = string(item, pk, "sk")?
        .strip_prefix(PREFIX)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed("sk"))?;
    let optional = |attribute: &str| {
        let value = item.get(attribute).map(AttributeValue::as_s);
        value.and_then(Result::ok).map(String::as_str)
    };
    let private = optional("private").map(serde_json::from_str).transpose();
    Ok(Event {
        aggregate: aggregate
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| malformed("pk"))?,
        aggregate_id: id.to_owned(),
        sequence,
        kind: string(item, pk, "type")?.to_owned(),
        at: string(item, pk, "time")?
            .parse()
            .map_err(|_| malformed("time"))?,
        data: serde_json::from_str(string(item, pk, "data")?).map_err(|_| malformed("data"))?,
        private: private.map_err(|_| malformed("private"))?,
        correlation_id: optional("correlation_id").and_then(|id| id.parse().ok()),
        trace_parent: optional("traceparent").and_then(|id| id.parse().ok()),
    })
}

/// Up to `limit` events of an aggregate after sequence `after` (0: from the first), oldest first,
/// strongly consistent.
///
/// # Errors
///
/// [`TableError`] when the table fails or an item cannot be read.
pub async fn list(
    table: &Table,
    aggregate: Aggregate,
    id: &str,
    after: u64,
    limit: i32,
) -> Result<Vec<Event>, TableError> {
    let query = table
        .query()
        .consistent_read(true)
        .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
        .expression_attribute_values(":pk", text(partition(aggregate, id)))
        .expression_attribute_values(":from", text(sort_key(after.saturating_add(1))))
        .expression_attribute_values(":to", text(format!("{PREFIX}~")))
        .limit(limit);
    let (items, _) = table.page(query).await?;
    items.iter().map(event).collect()
}

/// Whether this very event stands: what a refused transaction that would have appended it asks, for an
/// earlier try of it may have been done and its reply lost.
///
/// # Errors
///
/// As [`list`].
pub async fn is_appended(table: &Table, expected: &Event) -> Result<bool, TableError> {
    let expected = item(expected);
    let key = ["pk", "sk"].map(|name| (name.to_owned(), expected[name].clone()));
    Ok(table.get(key.into()).await?.as_ref() == Some(&expected))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        platform::{
            table::Transaction,
            telemetry::{Invocation, TraceContext},
        },
        testing::{self, Database},
    };

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    async fn commerce() -> (Database, Table) {
        let database = Database::start(&[testing::Table::new("Commerce")]).await;
        let table = Table::new(database.client(), "Commerce".to_owned());
        (database, table)
    }

    fn stocked(sku: &str, sequence: u64) -> Event {
        let at = "2026-11-20T15:50:28.123456789Z"
            .parse::<Timestamp>()
            .unwrap();
        let data = json!({"available": sequence});
        Event::new(Aggregate::Stock, sku, sequence, "stock.set", at, data)
    }

    async fn put(table: &Table, event: &Event) -> Transaction {
        let write = append(table, event).unwrap();
        table.transact(vec![write]).await.unwrap()
    }

    fn trace() -> TraceContext {
        TraceContext::resolve(Some("abc"), Some(PARENT), Timestamp::UNIX_EPOCH, [0; 10])
    }

    #[tokio::test]
    async fn events_are_listed_by_their_sequence_page_by_page() {
        let (_database, table) = commerce().await;
        let meta = key(partition(Aggregate::Stock, "TEA"), "META".to_owned());
        table.put(meta).await.unwrap();
        put(&table, &stocked("TEA-2", 1)).await;
        // Past ten the digits have to be padded to sort.
        for sequence in (1..=12).rev() {
            put(&table, &stocked("TEA", sequence)).await;
        }
        let mut found = Vec::new();
        for page in [5, 5, 2, 0] {
            let after = found.last().map_or(0, |event: &Event| event.sequence);
            let events = list(&table, Aggregate::Stock, "TEA", after, 5).await;
            let events = events.unwrap();
            assert_eq!(events.len(), page);
            found.extend(events);
        }
        let all: Vec<_> = (1..=12).map(|sequence| stocked("TEA", sequence)).collect();
        assert_eq!(found, all, "as they were appended, to the nanosecond");
        let none = list(&table, Aggregate::Product, "TEA", 0, 5).await.unwrap();
        assert_eq!(none, []);
        let none = list(&table, Aggregate::Stock, "TEA", u64::MAX, 5).await;
        assert_eq!(none.unwrap(), []);
    }

    #[tokio::test]
    async fn a_sequence_has_one_event() {
        let (_database, table) = commerce().await;
        let first = stocked("TEA", 1).with_private(json!({"note": "recount"}));
        assert_eq!(put(&table, &first).await, Transaction::Done);
        let refused = put(&table, &stocked("TEA", 1)).await;
        assert!(matches!(refused, Transaction::Refused(refusals) if refusals.len() == 1));
        let found = list(&table, Aggregate::Stock, "TEA", 0, 5).await.unwrap();
        assert_eq!(found, [first]);
    }

    #[tokio::test]
    async fn only_the_very_event_counts_as_appended() {
        let (_database, table) = commerce().await;
        let event = stocked("TEA", 1);
        assert!(!is_appended(&table, &event).await.unwrap());
        put(&table, &event).await;
        assert!(is_appended(&table, &event).await.unwrap());
        let other = Event {
            data: json!({"available": 2}),
            ..stocked("TEA", 1)
        };
        assert!(!is_appended(&table, &other).await.unwrap());
    }

    #[tokio::test]
    async fn an_event_belongs_to_the_request_at_hand_unless_it_names_another() {
        let (_database, table) = commerce().await;
        let own = TraceContext::resolve(Some("own"), None, Timestamp::UNIX_EPOCH, [0; 10]);
        telemetry::scope(Invocation::begin(None, trace()), async {
            put(&table, &stocked("TEA", 1)).await;
            put(&table, &stocked("TEA", 2).with_trace(&own)).await;
        })
        .await;
        let found = list(&table, Aggregate::Stock, "TEA", 0, 5).await.unwrap();
        assert_eq!(found[0].trace(), Some(trace()));
        let second = found[1].trace().map(|trace| trace.correlation_id);
        assert_eq!(second, Some(own.correlation_id));
    }

    #[test]
    fn an_item_that_is_no_event_is_refused_by_the_attribute_that_tells() {
        let good = item(&stocked("TEA", 7));
        assert!(is_event(&good) && event(&good).is_ok());
        for (attribute, wrong) in [
            ("pk", text("TEA")),
            ("pk", text("PARCEL#1")),
            ("sk", text("META")),
            ("sk", text("EV#seven")),
            ("type", AttributeValue::Bool(true)),
            ("time", text("yesterday")),
            ("data", text("{")),
            ("private", text("{")),
        ] {
            let mut bad = good.clone();
            bad.insert(attribute.to_owned(), wrong);
            let error = event(&bad).unwrap_err();
            assert!(
                matches!(&error, TableError::Malformed { attribute: named, .. } if *named == attribute),
                "{attribute}: {error}"
            );
        }
        assert!(!is_event(&key("STOCK#TEA".into(), "META".into())));
    }
}
