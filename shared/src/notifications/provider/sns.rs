//! Text messages by Amazon SNS.

use aws_sdk_sns::{Client, config::retry::RetryConfig, types::MessageAttributeValue};

use super::{MessageId, Provider, SendError};
use crate::{
    notifications::{message::Message, model::Channel},
    platform::secret::Personal,
};

/// Amazon SNS.
/// <https://docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html>
#[derive(Debug)]
pub struct Sns {
    client: Client,
}

impl Sns {
    /// SNS as `client` reaches it.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        let config = client.config().to_builder();
        let once = config.retry_config(RetryConfig::disabled()).build();
        Self {
            client: Client::from_conf(once),
        }
    }
}

impl Provider for Sns {
    const NAME: &str = "sns";
    const CHANNEL: Channel = Channel::Sms;

    async fn send(&self, to: &Personal<String>, message: &Message) -> Result<MessageId, SendError> {
        let transactional = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("Transactional")
            .build()
            .map_err(|_| SendError::Refused("incomplete".to_owned()))?;
        let sent = self
            .client
            .publish()
            .phone_number(to.expose())
            .message(&message.sms)
            .message_attributes("AWS.SNS.SMS.SMSType", transactional)
            .send()
            .await;
        let sent = sent.map_err(|error| SendError::of(&error))?;
        Ok(sent.message_id.unwrap_or_default())
    }
}
