//! The one file that knows how device keys lie in the `Sensors` table.
//!
//! | item | pk | sk | `keys_pk` | `keys_sk` |
//! |---|---|---|---|---|
//! | a device key | `KEY#{id}` | `META` | `KEYS` | `{created}#{id}` |
//!
//! Keys are listed newest first by the index `keys`.

use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

use super::model::{DeviceKey, Grant, KeyId, KeyStatus, Pattern, SecretHash};
use crate::platform::{
    clock::rfc3339,
    table::{Item, Table, TableError, Write, key, number, parsed, string, text},
};

/// The index that lists keys.
const INDEX: &str = "keys";

/// Device keys in the table.
#[derive(Debug)]
pub struct KeyStore {
    table: Table,
}

/// Where a page of keys ended: pass it on to have the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    created: String,
    id: KeyId,
}

impl Place {
    /// The place of `key` in the list.
    #[must_use]
    pub fn of(key: &DeviceKey) -> Self {
        Self {
            created: rfc3339(key.created_at),
            id: key.id(),
        }
    }

    /// Reads a place as [`Display`](std::fmt::Display) writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (created, id) = text.split_once('#')?;
        Some(Self {
            created: created.to_owned(),
            id: id.parse().ok()?,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.created, self.id)
    }
}

impl KeyStore {
    /// The keys in the table `name`.
    #[must_use]
    pub fn new(client: Client, name: String) -> Self {
        Self {
            table: Table::new(client, name),
        }
    }

    /// Reads a key, strongly consistent.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or holds an item that is no key.
    pub async fn get(&self, id: KeyId) -> Result<Option<DeviceKey>, TableError> {
        let item = self.table.get(key_of(id)).await?;
        item.map(|item| read(&item)).transpose()
    }

    /// Writes a new key.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn create(&self, key: &DeviceKey) -> Result<Write, TableError> {
        self.put(key, 0).await
    }

    /// Writes a key over its version `expected`.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn save(&self, key: &DeviceKey, expected: u64) -> Result<Write, TableError> {
        self.put(key, expected).await
    }

    async fn put(&self, key: &DeviceKey, expected: u64) -> Result<Write, TableError> {
        let write = self.table.put_version(item_of(key), expected).await?;
        if write == Write::Conflict && self.get(key.id()).await?.as_ref() == Some(key) {
            return Ok(Write::Done);
        }
        Ok(write)
    }

    /// Removes a key as if it had never been.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails.
    pub async fn remove(&self, id: KeyId) -> Result<(), TableError> {
        self.table.delete_many(vec![key_of(id)]).await
    }

    /// Lists up to `limit` keys that follow `after`, newest first.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or holds an item that is no key.
    pub async fn list(
        &self,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<Vec<DeviceKey>, TableError> {
        let start = after.map(|place| {
            let mut start = key_of(place.id);
            start.insert("keys_pk".to_owned(), text("KEYS"));
            start.insert("keys_sk".to_owned(), text(place));
            start
        });
        let query = self
            .table
            .query()
            .index_name(INDEX)
            .key_condition_expression("keys_pk = :keys")
            .expression_attribute_values(":keys", text("KEYS"))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start);
        let (items, _) = self.table.page(query).await?;
        items.iter().map(read).collect()
    }
}

fn key_of(id: KeyId) -> Item {
    key(format!("KEY#{id}"), "META".to_owned())
}

fn item_of(key: &DeviceKey) -> Item {
    let mut item = key_of(key.id());
    let patterns = key.grant.devices.iter().map(text).collect();
    let status = match key.status {
        KeyStatus::Pending => "pending",
        KeyStatus::Active => "active",
        KeyStatus::Revoked => "revoked",
    };
    let attributes = [
        ("keys_pk", Some(text("KEYS"))),
        ("keys_sk", Some(text(Place::of(key)))),
        ("hash", Some(text(key.hash))),
        ("name", Some(text(&key.grant.name))),
        (
            "devices",
            Some(aws_sdk_dynamodb::types::AttributeValue::L(patterns)),
        ),
        ("status", Some(text(status))),
        ("gateway_id", key.gateway_id.as_ref().map(text)),
        ("created_at", Some(text(key.created_at))),
        ("revoked_at", key.revoked_at.map(text)),
        ("version", Some(number(key.version))),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    }
    item
}

fn read(item: &Item) -> Result<DeviceKey, TableError> {
    let of = string(item, "device key", "pk")?;
    let malformed = |attribute| move || TableError::malformed(of, attribute);
    let time = |attribute: &'static str| {
        item.get(attribute)
            .map(|_| string(item, of, attribute))
            .transpose()?
            .map(|text| {
                text.parse::<Timestamp>()
                    .map_err(|_| malformed(attribute)())
            })
            .transpose()
    };
    let hash: SecretHash = string(item, of, "hash")?
        .parse()
        .map_err(|_| malformed("hash")())?;
    let devices = item
        .get("devices")
        .and_then(|value| value.as_l().ok())
        .and_then(|patterns| {
            patterns
                .iter()
                .map(|pattern| pattern.as_s().ok()?.parse::<Pattern>().ok())
                .collect::<Option<Vec<_>>>()
        })
        .ok_or_else(malformed("devices"))?;
    let status = match string(item, of, "status")? {
        "pending" => KeyStatus::Pending,
        "active" => KeyStatus::Active,
        "revoked" => KeyStatus::Revoked,
        _ => return Err(malformed("status")()),
    };
    Ok(DeviceKey {
        hash,
        grant: Grant {
            name: string(item, of, "name")?.to_owned(),
            devices,
        },
        status,
        gateway_id: item
            .get("gateway_id")
            .map(|_| string(item, of, "gateway_id").map(str::to_owned))
            .transpose()?,
        created_at: time("created_at")?.ok_or_else(malformed("created_at"))?,
        revoked_at: time("revoked_at")?,
        version: parsed(item, of, "version")?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::SignedDuration;

    use super::{super::model::new_secret, *};
    use crate::testing::{Database, Table};

    pub(in super::super) fn key(seed: u8) -> DeviceKey {
        let hash = SecretHash::of(new_secret([seed; 26]).expose()).unwrap();
        let devices = ["pump-1".to_owned(), "line4.*".to_owned()];
        let grant = Grant::new("line 4", &devices).unwrap();
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seed.into());
        DeviceKey::pending(hash, grant, now)
    }

    pub(in super::super) async fn store() -> (Database, KeyStore) {
        let table = Table::new("Sensors").index("keys", "keys_pk", "keys_sk");
        let database = Database::start(&[table]).await;
        let store = KeyStore::new(database.client(), "Sensors".to_owned());
        (database, store)
    }

    #[tokio::test]
    async fn a_key_is_read_back_as_it_was_written_at_every_stage() {
        let (_database, store) = store().await;
        let pending = key(1);
        assert_eq!(store.get(pending.id()).await.unwrap(), None);
        assert_eq!(store.create(&pending).await.unwrap(), Write::Done);
        assert_eq!(
            store.get(pending.id()).await.unwrap(),
            Some(pending.clone())
        );
        let active = pending.activated("g-1".to_owned());
        assert_eq!(store.save(&active, 1).await.unwrap(), Write::Done);
        let revoked = active.revoked(Timestamp::from_millisecond(1_795_190_400_123).unwrap());
        assert_eq!(store.save(&revoked, 2).await.unwrap(), Write::Done);
        assert_eq!(store.get(pending.id()).await.unwrap(), Some(revoked));
    }

    #[tokio::test]
    async fn a_write_that_comes_twice_knows_itself_and_another_is_told() {
        let (_database, store) = store().await;
        let pending = key(1);
        store.create(&pending).await.unwrap();
        assert_eq!(store.create(&pending).await.unwrap(), Write::Done);
        let active = pending.activated("g-1".to_owned());
        store.save(&active, 1).await.unwrap();
        assert_eq!(store.save(&active, 1).await.unwrap(), Write::Done);
        let other = pending.activated("g-2".to_owned());
        assert_eq!(store.save(&other, 1).await.unwrap(), Write::Conflict);
    }

    #[tokio::test]
    async fn keys_are_listed_newest_first_page_by_page() {
        let (_database, store) = store().await;
        for seed in [2, 1, 3] {
            store.create(&key(seed)).await.unwrap();
        }
        let first = store.list(None, 2).await.unwrap();
        assert_eq!(first, [key(3), key(2)]);
        let place = Place::of(&first[1]);
        assert_eq!(Place::parse(&place.to_string()), Some(place.clone()));
        assert_eq!(store.list(Some(&place), 2).await.unwrap(), [key(1)]);
        store.remove(key(2).id()).await.unwrap();
        assert_eq!(store.list(None, 9).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_item_that_is_no_key_is_named_with_what_is_wrong() {
        let (_database, store) = store().await;
        let mut item = item_of(&key(1));
        item.insert("status".to_owned(), text("odd"));
        store.table.put(item).await.unwrap();
        let error = store.get(key(1).id()).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("attribute status of KEY#{} cannot be read", key(1).id())
        );
    }
}
