//! What the sending function works with.

use shared::{
    customers::store::CustomerStore,
    notifications::{
        breaker::store::BreakerStore,
        provider::{Ses, Sns},
        store::NotificationStore,
    },
    orders::store::OrderStore,
    platform::{
        aws::Connection,
        batch,
        clock::Clock,
        config::{
            AdminAlertEmail, CommerceTable, ConfigError, NotificationDeadLetters,
            NotificationQueue, SenderEmail,
        },
        ids::Random,
    },
};

/// What the handler works with.
#[derive(Debug)]
pub struct Context<Q = batch::Queues> {
    /// The orders, which are told of.
    pub orders: OrderStore,
    /// The customers, who are told.
    pub customers: CustomerStore,
    /// What was sent.
    pub notifications: NotificationStore,
    /// Which providers are left alone.
    pub breakers: BreakerStore,
    /// E-mail.
    pub ses: Ses,
    /// Text messages.
    pub sns: Sns,
    /// Who learns of new orders.
    pub admin: Option<AdminAlertEmail>,
    /// Where messages go that cannot be handled now, or ever.
    pub failed: Q,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
}

impl Context {
    /// Builds the context from the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        let aws = Connection::from_env()?;
        let failed = batch::Queues {
            sqs: aws.sqs(),
            queue_url: NotificationQueue::from_env()?.as_str().to_owned(),
            dead_letter_url: NotificationDeadLetters::from_env()?.as_str().to_owned(),
        };
        let (table, sender) = (CommerceTable::from_env()?, SenderEmail::from_env()?);
        let admin = AdminAlertEmail::from_env().ok();
        Ok(Self::new(&aws, &table, sender, admin, failed))
    }
}

impl<Q> Context<Q> {
    /// A context by `aws`, with the machine's clock.
    #[must_use]
    pub fn new(
        aws: &Connection,
        table: &CommerceTable,
        sender: SenderEmail,
        admin: Option<AdminAlertEmail>,
        failed: Q,
    ) -> Self {
        let name = || table.as_str().to_owned();
        Self {
            orders: OrderStore::new(aws.dynamodb(), name()),
            customers: CustomerStore::new(aws.dynamodb(), name()),
            notifications: NotificationStore::new(aws.dynamodb(), name()),
            breakers: BreakerStore::new(aws.dynamodb(), name()),
            ses: Ses::new(&aws.ses(), sender),
            sns: Sns::new(&aws.sns()),
            admin,
            failed,
            clock: Clock::system(),
            random: Random::system(),
        }
    }
}
