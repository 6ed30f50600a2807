//! E-mail by Amazon SES.

use aws_sdk_sesv2::{
    Client,
    config::retry::RetryConfig,
    error::BuildError,
    types::{Body, Content, Destination, EmailContent, Message as Email},
};

use super::{MessageId, Provider, SendError};
use crate::{
    notifications::{message::Message, model::Channel},
    platform::{config::SenderEmail, secret::Personal},
};

/// Amazon SES.
/// <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html>
#[derive(Debug)]
pub struct Ses {
    client: Client,
    sender: SenderEmail,
}

impl Ses {
    /// SES as `client` reaches it, sending as `sender`.
    #[must_use]
    pub fn new(client: &Client, sender: SenderEmail) -> Self {
        let config = client.config().to_builder();
        let once = config.retry_config(RetryConfig::disabled()).build();
        Self {
            client: Client::from_conf(once),
            sender,
        }
    }
}

impl Provider for Ses {
    const NAME: &str = "ses";
    const CHANNEL: Channel = Channel::Email;

    async fn send(&self, to: &Personal<String>, message: &Message) -> Result<MessageId, SendError> {
        let content = content(message).map_err(|_| SendError::Refused("incomplete".to_owned()))?;
        let destination = Destination::builder().to_addresses(to.expose()).build();
        let sent = self
            .client
            .send_email()
            .from_email_address(self.sender.as_str())
            .destination(destination)
            .content(content)
            .send()
            .await;
        let sent = sent.map_err(|error| SendError::of(&error))?;
        Ok(sent.message_id.unwrap_or_default())
    }
}

fn content(message: &Message) -> Result<EmailContent, BuildError> {
    let text = |data: &str| Content::builder().data(data).charset("UTF-8").build();
    let body = Body::builder()
        .text(text(&message.text)?)
        .html(text(&message.html)?)
        .build();
    let email = Email::builder().subject(text(&message.subject)?).body(body);
    Ok(EmailContent::builder().simple(email.build()).build())
}
