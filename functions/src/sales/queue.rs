//! The import queue: what is left to do for another run.

use aws_sdk_sqs::{Client, error::SdkError, operation::send_message::SendMessageError};
use serde::{Deserialize, Serialize};
use shared::{
    platform::{config::ImportQueue, telemetry},
    sales::import::ImportId,
};

/// Seconds that a message may wait in the queue at most.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
pub const LONGEST_DELAY: i32 = 900;

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Go on with the import, if it is still open.
    Import,
    /// Go on taking its rows back.
    TakeBack,
}

/// A message on the import queue. It may come twice, late, or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What to do.
    pub action: Action,
    /// For which import.
    pub import: ImportId,
}

/// Sends tasks to the import queue.
#[derive(Debug, Clone)]
pub struct TaskQueue {
    /// The SQS client.
    pub client: Client,
    /// The queue.
    pub queue: ImportQueue,
}

impl TaskQueue {
    /// Sends `task`, to be delivered after `delay_seconds` (0 to [`LONGEST_DELAY`]), with the ids of the current
    /// invocation.
    ///
    /// # Errors
    ///
    /// The SDK's, when the queue did not take the message.
    pub async fn send(
        &self,
        task: Task,
        delay_seconds: i32,
    ) -> Result<(), SdkError<SendMessageError>> {
        let ids = telemetry::current().map(|invocation| invocation.trace.message_attributes());
        let body = serde_json::json!(task).to_string();
        self.client
            .send_message()
            .queue_url(self.queue.as_str())
            .message_body(body)
            .delay_seconds(delay_seconds)
            .set_message_attributes(ids)
            .send()
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_its_wire_format() {
        let import: ImportId = "00000000000000000000000001".parse().unwrap();
        let text = serde_json::to_string(&Task {
            action: Action::TakeBack,
            import,
        })
        .unwrap();
        assert_eq!(
            text,
            r#"{"action":"take-back","import":"00000000000000000000000001"}"#
        );
        assert_eq!(serde_json::from_str::<Task>(&text).unwrap().import, import);
    }
}
