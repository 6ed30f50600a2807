//! Who carries notifications: one interface, an adapter for each provider.

mod ses;
mod sns;

use aws_sdk_sesv2::error::{ProvideErrorMetadata, SdkError};

pub use ses::Ses;
pub use sns::Sns;

use super::{message::Message, model::Channel};
use crate::platform::{aws::is_transient, secret::Personal};

/// The provider's name for a message it has taken.
pub type MessageId = String;

/// A message that the provider did not take, as far as is known. The provider's code for it is kept;
/// its words are not, for they may name who was written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may take it later. It may even have taken it: an answer can be lost.
    #[error("provider did not answer or refused for now ({0})")]
    Transient(String),
    /// It never will.
    #[error("provider refused the message ({0})")]
    Refused(String),
}

impl SendError {
    fn of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Self {
        let code = error.code().unwrap_or("no answer").to_owned();
        if is_transient(error) {
            Self::Transient(code)
        } else {
            Self::Refused(code)
        }
    }
}

/// A provider. It makes one try; who calls it decides about more, for each may mean one message more.
pub trait Provider {
    /// Its name, by which its circuit breaker is kept.
    const NAME: &str;

    /// How it reaches people.
    const CHANNEL: Channel;

    /// Hands it `message` for `to`, an address of its channel.
    ///
    /// # Errors
    ///
    /// [`SendError`] when it did not take it, as far as is known.
    fn send(
        &self,
        to: &Personal<String>,
        message: &Message,
    ) -> impl Future<Output = Result<MessageId, SendError>> + Send;
}

#[cfg(test)]
mod tests;
