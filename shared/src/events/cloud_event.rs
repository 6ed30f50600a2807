//! Events as they travel over the event bus: `CloudEvents` 1.0 in JSON, with the extensions `sequence`
//! (within the aggregate) and `traceparent`, and one of our own, `correlationid`.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>,
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sequence.md>,
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md>.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{Aggregate, Event};
use crate::platform::clock::rfc3339;

const VERSION: &str = "1.0";
const CONTENT: &str = "application/json";
/// How `sequence` counts.
const COUNTING: &str = "Integer";

/// A text that is not one of our events.
#[derive(Debug, thiserror::Error)]
pub enum CloudEventError {
    /// It is not JSON, or lacks an attribute, or has one of another type.
    #[error("not a CloudEvent")]
    Malformed(#[from] serde_json::Error),
    /// An attribute has a value that none of our events has.
    #[error("attribute {0} is not that of one of our events")]
    Attribute(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Envelope<'e> {
    specversion: Cow<'e, str>,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: Cow<'e, str>,
    subject: Cow<'e, str>,
    time: String,
    datacontenttype: Cow<'e, str>,
    data: Cow<'e, Value>,
    sequence: String,
    sequencetype: Cow<'e, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlationid: Option<Cow<'e, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'e, str>>,
}

fn source(aggregate: Aggregate) -> String {
    format!("/millrace/{}", aggregate.domain())
}

/// The event as a `CloudEvent` in JSON, without what stays in the table.
///
/// # Errors
///
/// [`CloudEventError::Malformed`] never in practice: texts and JSON are JSON.
pub fn to_json(event: &Event) -> Result<String, CloudEventError> {
    let correlation = event.correlation_id.as_ref().map(|id| id.as_str().into());
    let envelope = Envelope {
        specversion: VERSION.into(),
        id: event.id(),
        source: source(event.aggregate),
        kind: event.kind.as_str().into(),
        subject: event.aggregate_id.as_str().into(),
        time: rfc3339(event.at),
        datacontenttype: CONTENT.into(),
        data: Cow::Borrowed(&event.data),
        sequence: event.sequence.to_string(),
        sequencetype: COUNTING.into(),
        correlationid: correlation,
        traceparent: event.trace_parent.as_ref().map(|id| id.as_str().into()),
    };
    Ok(serde_json::to_string(&envelope)?)
}

/// Reads one of our events from its `CloudEvent`. Extensions that are not ours, and ids of a request
/// that cannot be read, are passed over.
///
/// # Errors
///
/// [`CloudEventError`] when it is not one of our events.
pub fn parse(cloud_event: &Value) -> Result<Event, CloudEventError> {
    let envelope = Envelope::deserialize(cloud_event)?;
    let check = |is_ours: bool, attribute| {
        is_ours
            .then_some(())
            .ok_or(CloudEventError::Attribute(attribute))
    };
    let wrong = CloudEventError::Attribute;
    check(envelope.specversion == VERSION, "specversion")?;
    check(envelope.datacontenttype == CONTENT, "datacontenttype")?;
    check(envelope.sequencetype == COUNTING, "sequencetype")?;
    let aggregate = envelope.id.split(':').next().unwrap_or_default();
    let at = envelope.time.parse().map_err(|_| wrong("time"))?;
    let mut event = Event::new(
        aggregate.parse().map_err(|_| wrong("id"))?,
        envelope.subject,
        envelope.sequence.parse().map_err(|_| wrong("sequence"))?,
        envelope.kind,
        at,
        envelope.data.into_owned(),
    );
    check(envelope.id == event.id(), "id")?;
    check(envelope.source == source(event.aggregate), "source")?;
    event.correlation_id = envelope.correlationid.and_then(|id| id.parse().ok());
    event.trace_parent = envelope.traceparent.and_then(|id| id.parse().ok());
    Ok(event)
}

/// Reads one of our events as the bus delivers it to a queue: the `detail` of the bus's own envelope.
///
/// # Errors
///
/// [`CloudEventError`] when it is not one of our events.
pub fn delivered(body: &str) -> Result<Event, CloudEventError> {
    #[derive(Deserialize)]
    struct Delivery {
        detail: Value,
    }
    parse(&serde_json::from_str::<Delivery>(body)?.detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event() -> Event {
        let mut event = Event::new(
            Aggregate::Order,
            "ORD-20261120-7K3M9Q2D",
            6,
            "order.paid",
            "2026-11-20T15:50:28.1239Z".parse().unwrap(),
            json!({"amount": {"amount": "34.88", "currency": "SGD"}, "lines": 1}),
        )
        .with_private(json!({"note": "ring twice"}));
        event.correlation_id = Some("abc".parse().unwrap());
        event.trace_parent = Some(PARENT.parse().unwrap());
        event
    }

    fn value(event: &Event) -> Value {
        serde_json::from_str(&to_json(event).unwrap()).unwrap()
    }

    #[test]
    fn an_event_has_its_wire_format_and_keeps_what_is_private() {
        insta::assert_json_snapshot!(value(&event()), @r#"
        {
          "correlationid": "abc",
          "data": {
            "amount": {
              "amount": "34.88",
              "currency": "SGD"
            },
            "lines": 1
          },
          "datacontenttype": "application/json",
          "id": "order:ORD-20261120-7K3M9Q2D:6",
          "sequence": "6",
          "sequencetype": "Integer",
          "source": "/millrace/orders",
          "specversion": "1.0",
          "subject": "ORD-20261120-7K3M9Q2D",
          "time": "2026-11-20T15:50:28.123Z",
          "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
          "type": "order.paid"
        }
        "#);
    }

    #[test]
    fn attributes_have_names_that_every_transport_carries() {
        let value = value(&event());
        for name in value.as_object().unwrap().keys() {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            assert!(name.len() <= 20 && name.bytes().all(is_plain), "{name}");
        }
    }

    #[test]
    fn what_the_bus_delivers_is_the_event() {
        let body = json!({"version": "0", "source": "millrace.orders", "detail": value(&event())});
        let delivered = delivered(&body.to_string()).unwrap();
        assert_eq!(delivered.id(), event().id());
        assert_eq!(delivered.trace(), event().trace());
        assert_eq!(delivered.private, None);
        assert!(super::delivered("{}").is_err() && super::delivered("no JSON").is_err());
    }

    #[test]
    fn an_event_that_is_not_ours_is_refused_by_the_attribute_that_tells() {
        for (attribute, wrong) in [
            ("specversion", json!("0.3")),
            ("datacontenttype", json!("text/xml")),
            ("sequencetype", json!("Time")),
            ("sequence", json!("six")),
            ("id", json!("order:ORD-20261120-7K3M9Q2D:7")),
            ("id", json!("parcel:ORD-20261120-7K3M9Q2D:6")),
            ("source", json!("/millrace/stock")),
            ("time", json!("yesterday")),
        ] {
            let mut value = value(&event());
            value[attribute] = wrong;
            let error = parse(&value).unwrap_err();
            assert!(
                matches!(error, CloudEventError::Attribute(name) if name == attribute),
                "{error}"
            );
        }
        for missing in [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "data",
        ] {
            let mut value = value(&event());
            value.as_object_mut().unwrap().remove(missing);
            assert!(matches!(parse(&value), Err(CloudEventError::Malformed(_))));
        }
    }

    #[test]
    fn extensions_of_others_and_unreadable_ids_are_passed_over() {
        let mut value = value(&event());
        value["partitionkey"] = json!("1");
        value["correlationid"] = json!("not allowed\n");
        value["traceparent"] = json!("x");
        let event = parse(&value).unwrap();
        assert_eq!((event.trace(), event.sequence), (None, 6));
    }

    proptest! {
        #[test]
        fn every_event_comes_back_as_it_was(
            aggregate in prop::sample::select(Aggregate::ALL.to_vec()),
            id in "[A-Za-z0-9._:#-]{1,40}",
            sequence: u64,
            milliseconds in 0_i64..1 << 42,
            kind in "[a-z]{1,10}\\.[a-z-]{1,20}",
            text: String,
            correlation in proptest::option::of("[A-Za-z0-9._-]{1,128}"),
        ) {
            let at = jiff::Timestamp::from_millisecond(milliseconds).unwrap();
            let mut event = Event::new(aggregate, id, sequence, kind, at, json!({ "text": text }));
            event.correlation_id = correlation.map(|id| id.parse().unwrap());
            prop_assert_eq!(parse(&value(&event)).unwrap(), event);
        }
    }
}
