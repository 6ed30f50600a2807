//! Everything that stands in the end, comparable: items, objects and what was sent, a line each.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, PutRequest, WriteRequest},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use shared::testing::Database;

/// An item of a table.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Lines in order.
#[derive(Debug, Default)]
pub(super) struct State {
    lines: Vec<String>,
    is_untimed: bool,
}

impl State {
    /// A state of which it does not matter when things happened: for what is healed by something that looks
    /// after it only minutes later.
    pub(super) fn untimed() -> Self {
        Self {
            is_untimed: true,
            ..Self::default()
        }
    }

    /// Adds a line. Whatever in it was drawn at random has another value in every run, and is covered.
    pub(super) fn add(&mut self, line: impl Into<String>) {
        self.lines.push(covered(&line.into(), self.is_untimed));
        self.lines.sort();
    }

    /// Adds a line if there is none like it yet: what may happen more than once.
    pub(super) fn add_once(&mut self, line: impl Into<String>) {
        let line = covered(&line.into(), self.is_untimed);
        if !self.lines.contains(&line) {
            self.lines.push(line);
            self.lines.sort();
        }
    }

    /// Adds every item of a table as `edit` leaves it. An item that it takes everything from is left out.
    pub(super) async fn add_table(
        &mut self,
        database: &Database,
        table: &str,
        edit: impl Fn(&mut Map<String, Value>),
    ) {
        for item in dump(&database.client(), table).await {
            let read = |(name, value)| (name, value_of(&value));
            let mut item: Map<_, _> = item.into_iter().map(read).collect();
            forget_claim(&mut item);
            edit(&mut item);
            if !item.is_empty() {
                self.add(Value::Object(item).to_string());
            }
        }
    }

    /// The lines that only one of two has.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let (mut ours, mut theirs) = (self.lines.clone(), other.lines.clone());
        ours.retain(|line| {
            let place = theirs.iter().position(|their| their == line);
            place.map(|place| theirs.remove(place)).is_none()
        });
        let marked = |mark: &str, lines: Vec<String>| {
            let marked = lines.into_iter().map(|line| format!("{mark} {line}\n"));
            marked.collect::<String>()
        };
        let told = marked("-", ours) + &marked("+", theirs);
        (!told.is_empty()).then_some(told)
    }
}

/// The text of an item's member, empty where there is none.
pub(super) fn text_of<'i>(item: &'i Map<String, Value>, name: &str) -> &'i str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Who answers a request for the second time has a claim of its own: its token differs, and it ends later,
/// for the first had to run out.
fn forget_claim(item: &mut Map<String, Value>) {
    if text_of(item, "pk").starts_with("IDEMPOTENCY#") {
        for name in ["claim", "expiration", "in_progress_expiration"] {
            item.remove(name);
        }
    }
}

fn value_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) if text.starts_with(['{', '[']) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        AttributeValue::S(text) | AttributeValue::N(text) => json!(text),
        AttributeValue::B(bytes) => json!(BASE64_STANDARD.encode(bytes.as_ref())),
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::L(values) => values.iter().map(value_of).collect(),
        AttributeValue::M(values) => {
            let values = values
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value)));
            Value::Object(values.collect())
        }
        other => json!(format!("{other:?}")),
    }
}

/// Every item of a table.
pub(super) async fn dump(client: &Client, table: &str) -> Vec<Item> {
    let scan = client.scan().table_name(table).consistent_read(true);
    let mut pages = scan.into_paginator().send();
    let mut items = Vec::new();
    while let Some(page) = pages.next().await {
        items.extend(page.expect("the table answers").items.unwrap_or_default());
    }
    items
}

/// Puts items that were dumped into a table.
pub(super) async fn restore(client: &Client, table: &str, items: &[Item]) {
    for some in items.chunks(25) {
        let put = |item: &Item| {
            let put = PutRequest::builder().set_item(Some(item.clone()));
            let put = put.build().expect("the item is set");
            WriteRequest::builder().put_request(put).build()
        };
        let writes = some.iter().map(put).collect();
        let batch = client.batch_write_item().request_items(table, writes);
        let written = batch.send().await.expect("the table takes it");
        let left = written.unprocessed_items.unwrap_or_default();
        assert!(left.is_empty(), "an embedded table takes everything");
    }
}

/// What is drawn at random is told by its form: UUIDs, numbers of orders, identifiers and tokens in base32,
/// identifiers in hexadecimal. So are times, where they do not matter.
pub(super) fn covered(line: &str, is_untimed: bool) -> String {
    // What separates the parts of some keys would look like a part of what follows.
    let line = line.replace("\\u001f", " ");
    let mut rest = line.as_str();
    let mut told = String::with_capacity(line.len());
    let mut is_inside = false;
    while let Some(first) = rest.chars().next() {
        let found = if is_inside {
            None
        } else {
            drawn(rest, is_untimed)
        };
        if let Some((length, cover)) = found {
            told.push_str(cover);
            rest = &rest[length..];
            is_inside = true;
        } else {
            told.push(first);
            rest = &rest[first.len_utf8()..];
            is_inside = first.is_ascii_alphanumeric();
        }
    }
    told
}

const FORMS: [(&str, &str); 5] = [
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "‹uuid›"),
    ("ORD-99999999-bbbbbbbb", "‹order›"),
    ("bbbbbbbbbbbbbbbbbbbbbbbbbb", "‹base32›"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "‹hex›"),
    ("bbbbbbbbbbbbbbbb", "‹base32›"),
];

const TIMES: [(&str, &str); 2] = [
    ("9999-99-99T99:99:99.999Z", "‹time›"),
    ("9999-99-99T99:99:99Z", "‹time›"),
];

/// Length and cover of what the text begins with, where that was drawn.
fn drawn(text: &str, is_untimed: bool) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let fits = |form: &str| {
        let ends = bytes
            .get(form.len())
            .is_none_or(|next| !next.is_ascii_alphanumeric());
        ends && bytes.len() >= form.len()
            && form.bytes().zip(bytes).all(|(kind, byte)| match kind {
                b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
                b'b' => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
                b'9' => byte.is_ascii_digit(),
                literal => literal == *byte,
            })
    };
    let times = TIMES.into_iter().filter(|_| is_untimed);
    let (form, cover) = FORMS
        .into_iter()
        .chain(times)
        .find(|(form, _)| fits(form))?;
    Some((form.len(), cover))
}

#[test]
fn what_was_drawn_is_covered_and_nothing_else() {
    let drawn = "a ORD-20261120-7K3M9Q2D-cancel 0193e3a5-4b5c-7d6e-8f90-a1b2c3d4e5f6#x";
    assert_eq!(covered(drawn, false), "a ‹order›-cancel ‹uuid›#x");
    let plain = "ORDER 20261120 2026-11-20T12:00:00.000Z THING-1 é";
    assert_eq!(covered(plain, false), plain);
    assert_eq!(covered(plain, true), "ORDER 20261120 ‹time› THING-1 é");
}
