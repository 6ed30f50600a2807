//! The user pool: the people who may sign in.

use aws_sdk_cognitoidentityprovider::{
    Client, error::SdkError, operation::admin_delete_user::AdminDeleteUserError,
};
use shared::platform::config::UserPool;

/// The people of a user pool.
#[derive(Debug)]
pub struct People {
    /// The Cognito client.
    pub client: Client,
    /// Which pool.
    pub pool: UserPool,
}

/// What became of a person who was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// They are removed.
    Done,
    /// They had been removed before.
    Before,
}

impl People {
    /// Removes the person `username`, so that nobody signs in as them any more. An ID token that they
    /// have is valid until it expires.
    ///
    /// <https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_AdminDeleteUser.html>
    ///
    /// # Errors
    ///
    /// The SDK's error when Cognito fails.
    pub async fn remove(&self, username: &str) -> Result<Removal, SdkError<AdminDeleteUserError>> {
        let removed = self
            .client
            .admin_delete_user()
            .user_pool_id(self.pool.as_str())
            .username(username)
            .send()
            .await;
        match removed {
            Ok(_) => Ok(Removal::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_user_not_found_exception() => {
                Ok(Removal::Before)
            }
            Err(error) => Err(error),
        }
    }
}
