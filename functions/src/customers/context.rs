//! What the handlers of the customer API work with.

use http::HeaderMap;
use jiff::Timestamp;
use shared::{
    customers::{
        model::{Customer, Profile},
        rules::{Change, Refused},
        store::CustomerStore,
    },
    platform::{
        aws::Connection,
        caller::Caller,
        clock::Clock,
        config::{CommerceTable, ConfigError, UserPool},
        http::{Precondition, Query, Version},
        idempotency::Idempotency,
        ids::Random,
        problem::Problem,
        table::Write,
    },
};

use super::{
    people::People,
    problem::{ensure_problem, refused_problem},
};

/// What the handlers work with.
#[derive(Debug)]
pub struct Context {
    /// The customers.
    pub customers: CustomerStore,
    /// The people who may sign in.
    pub people: People,
    /// Tells the time.
    pub clock: Clock,
    /// Names addresses.
    pub random: Random,
    /// Remembers answers by their idempotency key.
    pub idempotency: Idempotency,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let table = CommerceTable::from_env()?.as_str().to_owned();
        let (clock, random) = (Clock::system(), Random::system());
        Ok(Self {
            customers: CustomerStore::new(aws.dynamodb(), table.clone()),
            people: People {
                client: aws.cognito(),
                pool: UserPool::from_env()?,
            },
            clock: clock.clone(),
            random: random.clone(),
            idempotency: Idempotency::new(aws.dynamodb(), table, clock, random),
        })
    }

    /// The caller's profile, made from their claims if there is none.
    ///
    /// # Errors
    ///
    /// A 404 problem for an erased customer, 503 when the table is down.
    pub async fn customer(&self, caller: &Caller) -> Result<Customer, Problem> {
        let claims = caller.into();
        let ensured = self.customers.ensure(&claims, self.clock.now()).await;
        ensured.map_err(ensure_problem)
    }

    /// Changes the caller's profile, which has to be as they know it.
    ///
    /// # Errors
    ///
    /// A problem for a bad query, a missing or stale `If-Match`, an erased customer, what `next`
    /// refuses, or a table that is down.
    pub async fn change(
        &self,
        caller: &Caller,
        query: &Query,
        headers: &HeaderMap,
        next: impl FnOnce(&Customer, Timestamp) -> Result<Change, Refused>,
    ) -> Result<Customer, Problem> {
        query.only(&[])?;
        let precondition = Precondition::from_headers(headers)?;
        let current = self.customer(caller).await?;
        precondition.check(Version(current.version))?;
        let (customer, event) = next(&current, self.clock.now()).map_err(refused_problem)?;
        let profile = Profile::Active(customer.clone());
        let write = self.customers.save(&profile, &event, None).await;
        match write? {
            Write::Done => Ok(customer),
            Write::Conflict => Err(Problem::precondition_failed()),
        }
    }
}
