//! Messages that no function can make anything of.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::json;
use shared::platform::ids::Random;

use super::sqs::{MOST_BYTES, Sqs};

/// A message's body, and whether it can be set aside with its reason.
pub(crate) type Poison = (String, bool);

/// Poison for every queue.
pub(crate) fn common() -> Vec<Poison> {
    let bytes: Vec<u8> = (0..=255).rev().collect();
    let with_reason = [
        r#"{"action": "import", "#.to_owned(),
        json!({"hello": "world"}).to_string(),
        STANDARD_NO_PAD.encode(bytes),
        " ".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "1e999".to_owned(),
        "[".repeat(20_000),
        "\u{feff}{}\u{fffd} \u{202e}not a message".to_owned(),
    ];
    let with_reason = with_reason.into_iter().map(|body| (body, true));
    // With its reason it would be larger than a message may be, so the queue itself moves it.
    let too_large = ("x".repeat(MOST_BYTES), false);
    with_reason.chain([too_large]).collect()
}

/// How much poison belongs among `messages`: one of a hundred, and each kind once at least.
pub(crate) fn portion(messages: usize, kinds: &[Poison]) -> usize {
    (messages / 100).max(kinds.len())
}

/// Puts good messages and the portion of poison into a queue, shuffled; gives the ids of the poison.
pub(crate) fn fill(sqs: &Sqs, good: Vec<String>, kinds: &[Poison]) -> Vec<(String, bool)> {
    let poison = (0..portion(good.len(), kinds)).map(|n| kinds[n % kinds.len()].clone());
    let mut all: Vec<(String, Option<bool>)> = good.into_iter().map(|body| (body, None)).collect();
    all.extend(poison.map(|(body, has_reason)| (body, Some(has_reason))));
    shuffle(&sqs.random, &mut all);
    all.into_iter()
        .filter_map(|(body, poison)| {
            let id = sqs.send(body);
            poison.map(|has_reason| (id, has_reason))
        })
        .collect()
}

/// Puts `items` into any order.
pub(crate) fn shuffle<T>(random: &Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let most = u32::try_from(last).expect("there are few");
        items.swap(last, random.up_to(most) as usize);
    }
}
