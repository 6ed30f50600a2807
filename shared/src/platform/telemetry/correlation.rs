//! Ids that follow one piece of work through requests, queues and objects.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use aws_lambda_events::sqs::SqsMessageAttribute;
use aws_sdk_sqs::types::MessageAttributeValue;
use jiff::Timestamp;

use crate::platform::ids;

/// The HTTP header that carries a correlation id, in and out.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// The key of the id in S3 metadata and SQS message attributes.
const CORRELATION_KEY: &str = "correlation-id";
const TRACE_PARENT_KEY: &str = "traceparent";

/// One id for one request's whole life: 1 to 128 characters of `A–Z a–z 0–9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationId(String);

/// A text that cannot be a correlation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("correlation id must be 1 to 128 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidCorrelationId;

impl CorrelationId {
    /// A new id: a version 7 UUID of `at` and `random`.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        Self(ids::uuid_v7(at, random).to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CorrelationId {
    type Err = InvalidCorrelationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidCorrelationId)
        }
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `traceparent` value of version 00, passed on as it came.
///
/// Source: W3C Trace Context, <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

/// A text that is not a `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("traceparent is malformed")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
        let parts: Vec<&str> = text.split('-').collect();
        match parts[..] {
            ["00", trace, parent, flags]
                if hex(trace, 32)
                    && hex(parent, 16)
                    && hex(flags, 2)
                    && !zero(trace)
                    && !zero(parent) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidTraceParent),
        }
    }
}

/// The ids that travel with every message, object and event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The id on every log line.
    pub correlation_id: CorrelationId,
    /// The caller's position in a distributed trace, if it sent one.
    pub trace_parent: Option<TraceParent>,
}

impl TraceContext {
    /// Takes the ids that can be read and makes a new correlation id from `at` and `random` where
    /// there is none: an unreadable id is ignored, never an error.
    #[must_use]
    pub fn resolve(
        correlation_id: Option<&str>,
        trace_parent: Option<&str>,
        at: Timestamp,
        random: [u8; 10],
    ) -> Self {
        Self {
            correlation_id: correlation_id
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| CorrelationId::new(at, random)),
            trace_parent: trace_parent.and_then(|text| text.parse().ok()),
        }
    }

    /// Reads the ids from the attributes of a queue message, as [`resolve`](Self::resolve) does.
    #[must_use]
    pub fn from_message<S: std::hash::BuildHasher>(
        attributes: &HashMap<String, SqsMessageAttribute, S>,
        at: Timestamp,
        random: [u8; 10],
    ) -> Self {
        let value = |key| attributes.get(key)?.string_value.as_deref();
        Self::resolve(value(CORRELATION_KEY), value(TRACE_PARENT_KEY), at, random)
    }

    /// The ids as attributes of a queue message.
    ///
    /// # Panics
    /// Never: a data type is the one thing an attribute needs, and it is given.
    #[must_use]
    pub fn message_attributes(&self) -> HashMap<String, MessageAttributeValue> {
        self.metadata()
            .into_iter()
            .map(|(key, value)| {
                let attribute = MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value(value)
                    .build()
                    .expect("the data type is set");
                (key, attribute)
            })
            .collect()
    }

    /// Reads the ids from an object's metadata, as [`resolve`](Self::resolve) does.
    #[must_use]
    pub fn from_metadata<S: std::hash::BuildHasher>(
        metadata: &HashMap<String, String, S>,
        at: Timestamp,
        random: [u8; 10],
    ) -> Self {
        let value = |key| metadata.get(key).map(String::as_str);
        Self::resolve(value(CORRELATION_KEY), value(TRACE_PARENT_KEY), at, random)
    }

    /// The ids as an object's metadata.
    #[must_use]
    pub fn metadata(&self) -> HashMap<String, String> {
        let mut metadata = HashMap::from([(
            CORRELATION_KEY.to_owned(),
            self.correlation_id.as_str().to_owned(),
        )]);
        if let Some(parent) = &self.trace_parent {
            metadata.insert(TRACE_PARENT_KEY.to_owned(), parent.as_str().to_owned());
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_well_formed_trace_parents_are_passed_on() {
        assert!(PARENT.parse::<TraceParent>().is_ok());
        for wrong in [
            "",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(InvalidTraceParent));
        }
    }

    #[test]
    fn an_unreadable_id_gives_way_to_a_new_one() {
        let at = Timestamp::UNIX_EPOCH;
        let made = TraceContext::resolve(Some("not allowed\n"), Some("x"), at, [7; 10]);
        assert_eq!(
            made,
            TraceContext {
                correlation_id: CorrelationId::new(at, [7; 10]),
                trace_parent: None
            }
        );
    }

    proptest! {
        #[test]
        fn ids_survive_metadata_and_message_attributes(id in "[A-Za-z0-9._-]{1,128}", traced: bool) {
            let at = Timestamp::UNIX_EPOCH;
            let sent = TraceContext::resolve(Some(&id), traced.then_some(PARENT), at, [0; 10]);
            prop_assert_eq!(sent.correlation_id.as_str(), id);
            prop_assert_eq!(&TraceContext::from_metadata(&sent.metadata(), at, [1; 10]), &sent);

            let received: HashMap<_, _> = sent
                .message_attributes()
                .into_iter()
                .map(|(key, value)| {
                    let mut attribute = SqsMessageAttribute::default();
                    attribute.string_value = value.string_value;
                    (key, attribute)
                })
                .collect();
            prop_assert_eq!(&TraceContext::from_message(&received, at, [1; 10]), &sent);
        }

        #[test]
        fn every_new_id_is_a_valid_one(milliseconds in 0_i64..1 << 47, random: [u8; 10]) {
            let at = Timestamp::from_millisecond(milliseconds).unwrap();
            let id = CorrelationId::new(at, random);
            prop_assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }
    }
}
