use proptest::prelude::*;

use super::*;
use crate::sensors::ingest::testing::{Answer, FakeQueue};

fn messages(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("message {number}"))
        .collect()
}

fn bodies(queue: &FakeQueue) -> Vec<Vec<String>> {
    let body = |entry: serde_json::Value| entry["MessageBody"].as_str().unwrap().to_owned();
    queue
        .calls()
        .into_iter()
        .map(|call| call.into_iter().map(body).collect())
        .collect()
}

#[tokio::test]
async fn messages_go_ten_at_a_time() {
    let queue = FakeQueue::default();
    let messages = messages(23);
    queue
        .sender(|_, _| Answer::Taken)
        .send(&messages)
        .await
        .unwrap();
    let calls = bodies(&queue);
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 3]);
    assert_eq!(calls.concat(), messages);
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_and_nothing_else() {
    let queue = FakeQueue::default();
    let sender = queue.sender(|call, entry| {
        if call == 0 && entry != 1 {
            Answer::Busy
        } else {
            Answer::Taken
        }
    });
    sender.send(&messages(3)).await.unwrap();
    assert_eq!(
        bodies(&queue),
        [vec!["message 1"], vec!["message 0", "message 2"]]
    );
}

#[tokio::test]
async fn a_queue_that_stays_busy_is_unavailable_and_a_wrong_message_is_a_fault() {
    let queue = FakeQueue::default();
    let busy = queue.sender(|_, _| Answer::Busy).send(&messages(2)).await;
    assert!(busy.unwrap_err().retryable());
    assert_eq!(queue.calls().len(), 4);
    let wrong = queue.sender(|_, _| Answer::Wrong).send(&messages(2)).await;
    assert!(!wrong.unwrap_err().retryable());
    assert_eq!(queue.calls().len(), 5);
}

proptest! {
    #[test]
    fn calls_hold_every_message_once_in_order_within_the_limits(
        lengths in prop::collection::vec(0_usize..100_000, 0..40),
    ) {
        let messages: Vec<_> = lengths.iter().map(|length| "x".repeat(*length)).collect();
        let mut seen = Vec::new();
        for call in calls(&messages) {
            let bytes: usize = call.iter().map(|message| message.len() + ATTRIBUTE_BYTES).sum();
            prop_assert!((1..=MOST_MESSAGES).contains(&call.len()) && bytes <= MOST_BYTES);
            seen.extend(call.iter().map(String::len));
        }
        prop_assert_eq!(seen, lengths);
    }
}
