//! The queue that carries accepted readings to the table.

use std::{collections::HashMap, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::SdkError,
    operation::send_message_batch::SendMessageBatchError,
    types::{BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry},
};
use shared::platform::{aws, config::ReadingsQueue, telemetry};

/// Most messages of one call.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const MOST_MESSAGES: usize = 10;

/// Most bytes of one call's messages, attributes included. AWS takes 1 MiB, other implementations
/// the 256 KiB that AWS took before.
const MOST_BYTES: usize = 256 * 1024;

/// Bytes that the attributes of one message may have: two names, types and values.
const ATTRIBUTE_BYTES: usize = 1024;

/// Times that messages the queue did not take are sent, the first included.
const ROUNDS: u32 = 4;

/// Why the queue did not take every message. Some of them may be in it.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The call failed.
    #[error("SendMessageBatch failed")]
    Call(#[from] Box<SdkError<SendMessageBatchError>>),
    /// The queue refused messages, to the last round.
    #[error("the queue refused a message ({code})")]
    Refused {
        /// The service's word for it.
        code: String,
        /// Whether the message itself is at fault, as no repetition mends.
        is_final: bool,
    },
}

impl QueueError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Call(error) => aws::is_transient(error),
            Self::Refused { is_final, .. } => !is_final,
        }
    }
}

/// Sends batches of readings to the queue.
#[derive(Clone, Debug)]
pub struct BatchQueue {
    /// The SQS client.
    pub client: Client,
    /// The queue.
    pub queue: ReadingsQueue,
}

impl BatchQueue {
    /// Sends every message, with the ids of the current invocation.
    ///
    /// # Errors
    ///
    /// [`QueueError`] when the queue did not take them all.
    pub async fn send(&self, messages: &[String]) -> Result<(), QueueError> {
        let ids = telemetry::current().map(|invocation| invocation.trace.message_attributes());
        for call in calls(messages) {
            self.send_call(call, ids.as_ref()).await?;
        }
        Ok(())
    }

    async fn send_call(
        &self,
        messages: &[String],
        ids: Option<&HashMap<String, MessageAttributeValue>>,
    ) -> Result<(), QueueError> {
        let mut left: Vec<usize> = (0..messages.len()).collect();
        let mut round = 0;
        loop {
            let entries = left.iter().filter_map(|&at| {
                SendMessageBatchRequestEntry::builder()
                    .id(at.to_string())
                    .message_body(messages.get(at)?)
                    .set_message_attributes(ids.cloned())
                    .build()
                    .ok()
            });
            let answer = self
                .client
                .send_message_batch()
                .queue_url(self.queue.as_str())
                .set_entries(Some(entries.collect()))
                .send()
                .await
                .map_err(Box::new)?;
            // Only what the answer says was taken was taken.
            left.retain(|at| {
                !answer
                    .successful()
                    .iter()
                    .any(|one| one.id() == at.to_string())
            });
            if left.is_empty() {
                return Ok(());
            }
            round += 1;
            let refused = answer.failed().first();
            let is_final = answer
                .failed()
                .iter()
                .any(BatchResultErrorEntry::sender_fault);
            if is_final || round == ROUNDS {
                let code = refused
                    .map_or("no answer", BatchResultErrorEntry::code)
                    .to_owned();
                return Err(QueueError::Refused { code, is_final });
            }
            tokio::time::sleep(Duration::from_millis(25 << round)).await;
        }
    }
}

/// Cuts messages into calls that the queue takes.
fn calls(messages: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(MOST_MESSAGES).take_while(|message| {
            bytes += message.len() + ATTRIBUTE_BYTES;
            bytes <= MOST_BYTES
        });
        // One message makes a call in any case, so that the queue is the one to refuse it.
        let count = fitting.count().max(1);
        let (call, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(call)
    })
}

#[cfg(test)]
mod tests;
