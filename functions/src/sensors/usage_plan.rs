//! The devices' usage plan in API Gateway, which throttles and counts requests by key.
//!
//! API Gateway has a copy of every key, secret included, for it knows a caller by it. That copy lets
//! nobody in: the authorizer asks the table.

use aws_sdk_apigateway::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        create_api_key::CreateApiKeyError, create_usage_plan_key::CreateUsagePlanKeyError,
        delete_api_key::DeleteApiKeyError,
    },
};
use shared::{
    platform::{aws, config::DeviceUsagePlan, secret::Secret},
    sensors::key::model::KeyId,
};

/// A call on API Gateway that failed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The stack lacks the plan.
    #[error("no usage plan is named {0}")]
    NoPlan(String),
    /// An answer without the identifier it is asked for.
    #[error("{0} gave no identifier")]
    NoIdentifier(&'static str),
    /// API Gateway did not answer, or refused.
    #[error("{operation} failed")]
    Call {
        /// The operation's name.
        operation: &'static str,
        /// Whether the same call may succeed later.
        transient: bool,
        /// The whole story.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl PlanError {
    fn of<E>(operation: &'static str) -> impl FnOnce(SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| Self::Call {
            operation,
            transient: aws::is_transient(&error),
            source: Box::new(error),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Call {
                transient: true,
                ..
            }
        )
    }
}

/// The plan that device keys are counted against.
#[derive(Debug)]
pub struct UsagePlan {
    /// The API Gateway client.
    pub client: Client,
    /// The plan's name. Its identifier is looked up: a template that passed it on would be a circle
    /// of plan, API and function.
    pub name: DeviceUsagePlan,
}

impl UsagePlan {
    /// Makes a key with this secret, puts it into the plan, and gives its identifier.
    ///
    /// A call that comes twice finds what the first one made.
    ///
    /// # Errors
    ///
    /// [`PlanError`] when the plan is missing or API Gateway fails.
    pub async fn add(&self, id: KeyId, secret: &Secret<String>) -> Result<String, PlanError> {
        const CREATE: &str = "CreateApiKey";
        let plan = self.id().await?;
        let created = self
            .client
            .create_api_key()
            .name(self.key_name(id))
            .value(secret.expose())
            .enabled(true)
            .send()
            .await;
        let key = match created {
            Ok(key) => key.id,
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), CreateApiKeyError::ConflictException(_)) =>
            {
                self.find(id).await?.pop()
            }
            Err(error) => return Err(PlanError::of(CREATE)(error)),
        };
        let key = key.ok_or(PlanError::NoIdentifier(CREATE))?;
        let added = self
            .client
            .create_usage_plan_key()
            .usage_plan_id(plan)
            .key_id(&key)
            .key_type("API_KEY")
            .send()
            .await;
        match added {
            Ok(_) => Ok(key),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), CreateUsagePlanKeyError::ConflictException(_)) =>
            {
                Ok(key)
            }
            Err(error) => Err(PlanError::of("CreateUsagePlanKey")(error)),
        }
    }

    /// Removes the key from the plan and from API Gateway; one that is not there does no harm.
    ///
    /// # Errors
    ///
    /// [`PlanError`] when API Gateway fails.
    pub async fn remove(&self, id: KeyId, gateway_id: Option<&str>) -> Result<(), PlanError> {
        let keys = match gateway_id {
            Some(key) => vec![key.to_owned()],
            None => self.find(id).await?,
        };
        for key in keys {
            match self.client.delete_api_key().api_key(key).send().await {
                Ok(_) => {}
                Err(SdkError::ServiceError(error))
                    if matches!(error.err(), DeleteApiKeyError::NotFoundException(_)) => {}
                Err(error) => return Err(PlanError::of("DeleteApiKey")(error)),
            }
        }
        Ok(())
    }

    /// The name of a key in API Gateway, by which it is found again when nobody noted its identifier.
    fn key_name(&self, id: KeyId) -> String {
        format!("{}-{id}", self.name.as_str())
    }

    async fn find(&self, id: KeyId) -> Result<Vec<String>, PlanError> {
        let name = self.key_name(id);
        let found = self.client.get_api_keys().name_query(&name).send().await;
        let keys = found.map_err(PlanError::of("GetApiKeys"))?.items;
        Ok(keys
            .unwrap_or_default()
            .into_iter()
            .filter(|key| key.name.as_ref() == Some(&name))
            .filter_map(|key| key.id)
            .collect())
    }

    async fn id(&self) -> Result<String, PlanError> {
        let mut pages = self
            .client
            .get_usage_plans()
            .into_paginator()
            .items()
            .send();
        while let Some(plan) = pages.next().await {
            let plan = plan.map_err(PlanError::of("GetUsagePlans"))?;
            if plan.name.as_deref() == Some(self.name.as_str()) {
                return plan.id.ok_or(PlanError::NoIdentifier("GetUsagePlans"));
            }
        }
        Err(PlanError::NoPlan(self.name.as_str().to_owned()))
    }
}
