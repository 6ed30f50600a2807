//! Customers in the `Commerce` table: the only code that knows their keys and expressions.
//!
//! A customer is the item `CUSTOMER#{sub}`, `META`: the profile as JSON under its version, or only
//! when it was erased.

use aws_sdk_dynamodb::{
    Client,
    types::{Put, TransactWriteItem},
};
use jiff::Timestamp;

use super::{
    model::{Claims, Contact, Customer, Profile},
    rules,
};
use crate::{
    events::{
        self,
        model::{Aggregate, Event},
    },
    platform::table::{
        Item, Table, TableError, Transaction, Write, key, number, parsed, string, text,
    },
};

/// Times that a profile is made or brought up to date when others are at it.
const TRIES: u32 = 5;

/// The customers.
#[derive(Debug)]
pub struct CustomerStore {
    table: Table,
}

/// Why there is no customer.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// They were erased.
    #[error("customer was erased")]
    Erased,
    /// Others changed the profile at every try.
    #[error("profile keeps changing")]
    Contended,
    /// The table failed.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl EnsureError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Erased => false,
            Self::Contended => true,
            Self::Table(error) => error.retryable(),
        }
    }
}

fn profile_key(sub: &str) -> Item {
    let pk = events::store::partition(Aggregate::Customer, sub);
    key(pk, "META".to_owned())
}

fn item(profile: &Profile) -> Result<(Item, u64), TableError> {
    let (sub, version, attribute) = match profile {
        Profile::Active(customer) => {
            let json = serde_json::to_string(customer)
                .map_err(|_| TableError::malformed("customer", "profile"))?;
            (
                &customer.customer_id,
                customer.version,
                ("profile", text(json)),
            )
        }
        Profile::Erased {
            customer_id,
            version,
            at,
        } => (customer_id, *version, ("deleted_at", text(at))),
    };
    let mut item = profile_key(sub);
    for (name, value) in [("version", number(version)), attribute] {
        item.insert(name.to_owned(), value);
    }
    Ok((item, version))
}

fn profile(sub: &str, item: &Item) -> Result<Profile, TableError> {
    let of = "customer";
    if item.contains_key("deleted_at") {
        let at = string(item, of, "deleted_at")?.parse();
        return Ok(Profile::Erased {
            customer_id: sub.to_owned(),
            version: parsed(item, of, "version")?,
            at: at.map_err(|_| TableError::malformed(of, "deleted_at"))?,
        });
    }
    let customer = serde_json::from_str(string(item, of, "profile")?);
    let customer = customer.map_err(|_| TableError::malformed(of, "profile"))?;
    Ok(Profile::Active(customer))
}

impl CustomerStore {
    /// The customers in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// What is known of the person `sub`.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn get(&self, sub: &str) -> Result<Option<Profile>, TableError> {
        let item = self.table.get(profile_key(sub)).await?;
        item.map(|item| profile(sub, &item)).transpose()
    }

    /// How to reach the customer `sub`; `None` for who is none, or no longer.
    ///
    /// # Errors
    ///
    /// As [`CustomerStore::get`].
    pub async fn contact(&self, sub: &str) -> Result<Option<Contact>, TableError> {
        match self.get(sub).await? {
            Some(Profile::Active(customer)) => Ok(Some(customer.into())),
            Some(Profile::Erased { .. }) | None => Ok(None),
        }
    }

    /// Writes a profile with its event, and with `completion` in the same transaction, if the stored
    /// one is of the version before.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or refuses `completion`.
    pub async fn save(
        &self,
        profile: &Profile,
        event: &Event,
        completion: Option<TransactWriteItem>,
    ) -> Result<Write, TableError> {
        let (item, version) = item(profile)?;
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(item));
        let put = match version.saturating_sub(1) {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            before => put
                .condition_expression("#version = :before")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":before", number(before)),
        };
        let put = put
            .build()
            .map_err(|_| TableError::malformed("customer", "pk"))?;
        let own = [
            TransactWriteItem::builder().put(put).build(),
            events::store::append(&self.table, event)?,
        ];
        let writes = own.into_iter().chain(completion).collect();
        match self.table.transact(writes).await? {
            Transaction::Done => Ok(Write::Done),
            // An earlier try of the same call may have done it, and its reply been lost.
            Transaction::Refused(_)
                if self.get(&event.aggregate_id).await?.as_ref() == Some(profile) =>
            {
                Ok(Write::Done)
            }
            Transaction::Refused(refused) if refused.iter().all(|refusal| refusal.at > 1) => {
                Err(TableError::claim_lost())
            }
            Transaction::Refused(_) => Ok(Write::Conflict),
        }
    }

    /// The customer of these claims: made if there is none, with the e-mail address of the claims if
    /// it has another.
    ///
    /// # Errors
    ///
    /// [`EnsureError`] when they were erased, or the table fails.
    pub async fn ensure(&self, claims: &Claims, now: Timestamp) -> Result<Customer, EnsureError> {
        for _ in 0..TRIES {
            let (next, event) = match self.get(&claims.sub).await? {
                Some(Profile::Erased { .. }) => return Err(EnsureError::Erased),
                Some(Profile::Active(current)) => match rules::follow(&current, claims, now) {
                    None => return Ok(current),
                    Some(change) => change,
                },
                None => rules::create(claims, now),
            };
            let profile = Profile::Active(next.clone());
            if self.save(&profile, &event, None).await? == Write::Done {
                return Ok(next);
            }
        }
        Err(EnsureError::Contended)
    }
}

#[cfg(test)]
mod tests;
