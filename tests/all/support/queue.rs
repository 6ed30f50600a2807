//! Queues of the deployed stack.

use aws_sdk_sqs::types::{Message, QueueAttributeName};

use super::{
    bucket::{block_on, connection},
    sensors::eventually,
};

/// Seconds after which a message comes back whose batch was killed. The template's are six times the
/// functions' timeouts, which no test waits for.
const VISIBILITY: &str = "4";

/// An attribute of a queue.
fn attribute(url: &str, name: &QueueAttributeName) -> String {
    let client = connection().sqs();
    let get = client.get_queue_attributes().queue_url(url);
    let get = get.attribute_names(name.clone());
    let got = block_on(get.send()).expect("the queue answers");
    let attributes = got.attributes.expect("the queue has attributes");
    attributes[name].clone()
}

fn set_visibility(url: &str, seconds: &str) {
    let client = connection().sqs();
    let set = client.set_queue_attributes().queue_url(url);
    let set = set.attributes(QueueAttributeName::VisibilityTimeout, seconds);
    block_on(set.send()).expect("the queue takes it");
}

/// A queue's visibility timeout shortened, until this goes.
pub(crate) struct ShortVisibility {
    url: String,
    before: String,
}

impl ShortVisibility {
    pub(crate) fn of(url: &str) -> Self {
        let before = attribute(url, &QueueAttributeName::VisibilityTimeout);
        set_visibility(url, VISIBILITY);
        // What was received before would stay away for as long as it was to.
        eventually("nothing in flight has the longer timeout", || {
            attribute(
                url,
                &QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            ) == "0"
        });
        Self {
            url: url.to_owned(),
            before,
        }
    }
}

impl Drop for ShortVisibility {
    fn drop(&mut self) {
        set_visibility(&self.url, &self.before);
    }
}

/// Takes every message out of a queue.
pub(crate) fn take_all(url: &str) -> Vec<Message> {
    let client = connection().sqs();
    let mut taken = Vec::new();
    loop {
        let receive = client.receive_message().queue_url(url);
        let receive = receive
            .max_number_of_messages(10)
            .message_attribute_names("All");
        let received = block_on(receive.send()).expect("the queue answers");
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            return taken;
        }
        for message in messages {
            let delete = client.delete_message().queue_url(url);
            let delete = delete.set_receipt_handle(message.receipt_handle.clone());
            block_on(delete.send()).expect("the queue lets it go");
            taken.push(message);
        }
    }
}

/// Puts a message back into the queue that it came from.
pub(crate) fn send(url: &str, message: &Message) {
    let client = connection().sqs();
    let send = client.send_message().queue_url(url);
    let send = send.set_message_body(message.body.clone());
    let send = send.set_message_attributes(message.message_attributes.clone());
    block_on(send.send()).expect("the queue takes it");
}
