//! Devices in the `Sensors` table: the only code that knows their keys and expressions.
//!
//! A device is the item `DEVICE#{id}`, `META`. The sparse index `devices` holds those that are not
//! deleted: a partition for each type, sorted by folded name, then identifier.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::{self, Display},
    str::FromStr,
};

use aws_sdk_dynamodb::{
    Client,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem},
};
use jiff::Timestamp;

use super::model::{Attributes, Device, DeviceType, Standing, folded};
use crate::{
    platform::table::{Item, Meter, Table, TableError, Write, key, number, parsed, string, text},
    sensors::model::DeviceId,
};

/// Keeps a name and an identifier apart: sorts before every character that a name can have, so that
/// a name sorts before those it begins.
const SEPARATOR: char = '\u{1f}';

/// Index pages read at most for one page of a list.
const MOST_LIST_PAGES: usize = 12;

/// The registry of devices.
#[derive(Debug)]
pub struct DeviceStore {
    table: Table,
}

/// Which devices a list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter<'f> {
    /// Only those of one type.
    pub kind: Option<DeviceType>,
    /// Only those that are active, or only those that are not.
    pub is_active: Option<bool>,
    /// Only those whose name begins so, in any case.
    pub name_prefix: Option<&'f str>,
}

/// The place in a list after which to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    kind: DeviceType,
    /// Sort key of the last device of the type that was looked at; empty for none.
    after: String,
}

impl Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.after)
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position in the list of devices")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (kind, after) = text.split_once(' ').ok_or(NotAPosition)?;
        let position = Self {
            kind: DeviceType::from_name(kind).ok_or(NotAPosition)?,
            after: after.to_owned(),
        };
        let is_start = position.after.is_empty();
        if is_start || position.start_key().is_some() {
            Ok(position)
        } else {
            Err(NotAPosition)
        }
    }
}

impl Position {
    fn start_key(&self) -> Option<Item> {
        let (_, id) = self.after.rsplit_once(SEPARATOR)?;
        let mut start = device_key(&id.parse().ok()?);
        start.insert("devices_pk".into(), text(partition(self.kind)));
        start.insert("devices_sk".into(), text(&self.after));
        Some(start)
    }
}

fn device_key(id: &DeviceId) -> Item {
    key(format!("DEVICE#{id}"), "META".to_owned())
}

fn partition(kind: DeviceType) -> String {
    format!("DEVICES#{kind}")
}

fn sort_key(device: &Device) -> String {
    let name = folded(&device.attributes.name);
    format!("{name}{SEPARATOR}{}", device.device_id)
}

fn item(device: &Device) -> Item {
    let mut item = device_key(&device.device_id);
    let Attributes {
        name,
        kind,
        location,
        latitude,
        longitude,
        unit,
        is_active,
        metadata,
    } = &device.attributes;
    let metadata = serde_json::Value::Object(metadata.clone());
    // Degrees are text: a float may be smaller than any number that the table takes.
    let optional = [
        ("location", location.clone()),
        ("latitude", latitude.map(|degrees| degrees.to_string())),
        ("longitude", longitude.map(|degrees| degrees.to_string())),
        ("unit", unit.clone()),
        ("deleted_at", device.deleted_at.map(|at| at.to_string())),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(value?))));
    let always = [
        ("device_id", text(&device.device_id)),
        ("name", text(name)),
        ("type", text(kind)),
        ("is_active", AttributeValue::Bool(*is_active)),
        ("metadata", text(metadata)),
        ("version", number(device.version)),
        ("created_at", text(device.created_at)),
        ("updated_at", text(device.updated_at)),
    ];
    item.extend(
        always
            .into_iter()
            .chain(given)
            .map(|(name, value)| (name.to_owned(), value)),
    );
    if device.deleted_at.is_none() {
        item.insert("devices_pk".into(), text(partition(*kind)));
        item.insert("devices_sk".into(), text(sort_key(device)));
    }
    item
}

fn device(item: &Item) -> Result<Device, TableError> {
    let id = string(item, "device", "device_id")?;
    let malformed = |attribute| TableError::malformed(id, attribute);
    let required = |attribute| string(item, id, attribute);
    let optional = |attribute| item.get(attribute).and_then(|value| value.as_s().ok());
    let degrees = |attribute| {
        let degrees = optional(attribute).map(|text| text.parse::<f64>());
        degrees.transpose().map_err(|_| malformed(attribute))
    };
    let time = |attribute: &'static str, text: &str| {
        text.parse::<Timestamp>().map_err(|_| malformed(attribute))
    };
    Ok(Device {
        device_id: id.parse().map_err(|_| malformed("device_id"))?,
        attributes: Attributes {
            name: required("name")?.to_owned(),
            kind: DeviceType::from_name(required("type")?).ok_or_else(|| malformed("type"))?,
            location: optional("location").cloned(),
            latitude: degrees("latitude")?,
            longitude: degrees("longitude")?,
            unit: optional("unit").cloned(),
            is_active: is_active(item)?,
            metadata: serde_json::from_str(required("metadata")?)
                .map_err(|_| malformed("metadata"))?,
        },
        version: parsed(item, id, "version")?,
        created_at: time("created_at", required("created_at")?)?,
        updated_at: time("updated_at", required("updated_at")?)?,
        deleted_at: optional("deleted_at")
            .map(|at| time("deleted_at", at))
            .transpose()?,
    })
}

fn is_active(item: &Item) -> Result<bool, TableError> {
    let value = item.get("is_active").and_then(|value| value.as_bool().ok());
    value
        .copied()
        .ok_or_else(|| TableError::malformed("device", "is_active"))
}

impl DeviceStore {
    /// The registry in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            table: Table::new(client, table),
        }
    }

    /// What the calls have consumed so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.table.meter()
    }

    /// A device, also one that is deleted.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn find(&self, id: &DeviceId) -> Result<Option<Device>, TableError> {
        let item = self.table.get(device_key(id)).await?;
        item.as_ref().map(device).transpose()
    }

    /// A device that is not deleted.
    ///
    /// # Errors
    ///
    /// As [`DeviceStore::find`].
    pub async fn get(&self, id: &DeviceId) -> Result<Option<Device>, TableError> {
        let found = self.find(id).await?;
        Ok(found.filter(|device| device.deleted_at.is_none()))
    }

    /// Writes a device if the stored one has version `expected`, or if there is none and `expected`
    /// is 0.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or the item cannot be read.
    pub async fn save(&self, device: &Device, expected: u64) -> Result<Write, TableError> {
        match self.table.put_version(item(device), expected).await? {
            // The SDK may have written it twice, and seen the second fail on the first.
            Write::Conflict if self.find(&device.device_id).await?.as_ref() == Some(device) => {
                Ok(Write::Done)
            }
            write => Ok(write),
        }
    }

    /// As [`DeviceStore::save`], in one transaction with `other`.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or refuses `other`.
    pub async fn save_with(
        &self,
        device: &Device,
        expected: u64,
        other: TransactWriteItem,
    ) -> Result<Write, TableError> {
        let put = Put::builder()
            .table_name(self.table.name())
            .set_item(Some(item(device)));
        let put = if expected == 0 {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("#version = :expected")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":expected", number(expected))
        };
        let put = put
            .build()
            .map_err(|_| TableError::malformed(&device.device_id, "pk"))?;
        let result = self
            .table
            .client()
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(other)
            .send()
            .await;
        let Err(error) = result else {
            return Ok(Write::Done);
        };
        // Reasons come in the order of the writes.
        let is_conflict = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => canceled
                .cancellation_reasons()
                .first()
                .is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed")),
            _ => false,
        };
        if is_conflict {
            Ok(Write::Conflict)
        } else {
            Err(TableError::of("TransactWriteItems")(error))
        }
    }

    /// How each of `ids` stands; those that are unknown or deleted are left out.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn lookup(
        &self,
        ids: &[DeviceId],
    ) -> Result<HashMap<DeviceId, Standing>, TableError> {
        let distinct: BTreeSet<_> = ids.iter().collect();
        let keys = distinct.into_iter().map(device_key).collect();
        let mut found = HashMap::new();
        for item in self.table.get_many(keys).await? {
            if item.contains_key("deleted_at") {
                continue;
            }
            let id = string(&item, "device", "device_id")?;
            let id = id
                .parse()
                .map_err(|_| TableError::malformed(id, "device_id"))?;
            let standing = if is_active(&item)? {
                Standing::Active
            } else {
                Standing::Inactive
            };
            found.insert(id, standing);
        }
        Ok(found)
    }

    /// At most `limit` of the devices that `filter` lets through, by type, folded name and
    /// identifier, and where to go on; `None` after the last. A page may have fewer than `limit` and
    /// yet a next one. What was changed a moment ago may still be listed as it was.
    ///
    /// # Errors
    ///
    /// [`TableError`] when the table fails or an item cannot be read.
    pub async fn list(
        &self,
        filter: Filter<'_>,
        from: Option<Position>,
        limit: usize,
    ) -> Result<(Vec<Device>, Option<Position>), TableError> {
        let mut kinds = DeviceType::ALL
            .into_iter()
            .filter(|kind| filter.kind.is_none_or(|only| only == *kind))
            .filter(|kind| from.as_ref().is_none_or(|from| from.kind <= *kind));
        let mut found = Vec::new();
        let mut next = kinds.next().map(|kind| match &from {
            Some(from) if from.kind == kind => from.clone(),
            _ => start_of(kind),
        });
        for _ in 0..MOST_LIST_PAGES {
            let Some(at) = next.take() else { break };
            let (items, more) = self
                .index_page(filter, &at, limit - found.len() + 1)
                .await?;
            for item in &items {
                found.push(device(item)?);
            }
            if found.len() > limit {
                found.truncate(limit);
                next = found.last().map(|last| Position {
                    kind: last.attributes.kind,
                    after: sort_key(last),
                });
                break;
            }
            next = match more {
                Some(key) => Some(Position {
                    kind: at.kind,
                    after: string(&key, "device", "devices_sk")?.to_owned(),
                }),
                None => kinds.next().map(start_of),
            };
        }
        Ok((found, next))
    }

    async fn index_page(
        &self,
        filter: Filter<'_>,
        at: &Position,
        wanted: usize,
    ) -> Result<(Vec<Item>, Option<Item>), TableError> {
        let mut condition = "devices_pk = :type".to_owned();
        let mut query = self
            .table
            .query()
            .index_name("devices")
            .expression_attribute_values(":type", text(partition(at.kind)))
            .set_exclusive_start_key(at.start_key());
        if let Some(prefix) = filter.name_prefix {
            condition.push_str(" AND begins_with(devices_sk, :prefix)");
            query = query.expression_attribute_values(":prefix", text(folded(prefix)));
        }
        query = match filter.is_active {
            Some(is_active) => query
                .filter_expression("is_active = :active")
                .expression_attribute_values(":active", AttributeValue::Bool(is_active)),
            // A limit counts what is read, not what passes the filter.
            None => query.limit(i32::try_from(wanted).unwrap_or(i32::MAX)),
        };
        self.table
            .page(query.key_condition_expression(condition))
            .await
    }
}

fn start_of(kind: DeviceType) -> Position {
    Position {
        kind,
        after: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::Update;
    use serde_json::json;

    use super::*;
    use crate::{
        sensors::device::{
            model::parse_new,
            rules::{create, delete},
        },
        testing,
    };

    struct House {
        _database: testing::Database,
        store: DeviceStore,
    }

    impl House {
        async fn new() -> Self {
            let table = testing::Table::new("Sensors").index("devices", "devices_pk", "devices_sk");
            let database = testing::Database::start(&[table]).await;
            let store = DeviceStore::new(database.client(), "Sensors".to_owned());
            Self {
                _database: database,
                store,
            }
        }

        async fn put(&self, id: &str, name: &str, kind: &str, is_active: bool) {
            let device = made(id, name, kind, is_active);
            assert_eq!(self.store.save(&device, 0).await.unwrap(), Write::Done);
        }

        async fn listed(&self, filter: Filter<'_>, limit: usize) -> Vec<String> {
            let (mut ids, mut from) = (Vec::new(), None);
            loop {
                let (page, next) = self.store.list(filter, from, limit).await.unwrap();
                assert!(page.len() <= limit);
                ids.extend(page.into_iter().map(|device| device.device_id.to_string()));
                let Some(next) = next else { return ids };
                from = Some(next.to_string().parse().unwrap());
            }
        }
    }

    fn made(id: &str, name: &str, kind: &str, is_active: bool) -> Device {
        let body = json!({"device_id": id, "name": name, "type": kind, "is_active": is_active,
            "latitude": 1e-300, "longitude": -180, "metadata": {"of": id}});
        let (id, attributes) = parse_new(&body).unwrap();
        create(
            None,
            id,
            attributes,
            Timestamp::from_nanosecond(1_795_190_400_123_456_789).unwrap(),
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_device_reads_back_as_written() {
        let house = House::new().await;
        let device = made("b-1", "Boiler", "light", true);
        assert_eq!(house.store.save(&device, 0).await.unwrap(), Write::Done);
        assert_eq!(
            house.store.get(&device.device_id).await.unwrap(),
            Some(device)
        );
        let unknown = "b-2".parse().unwrap();
        assert_eq!(house.store.find(&unknown).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_write_under_an_old_version_conflicts_and_its_own_repetition_does_not() {
        let house = House::new().await;
        let device = made("b-1", "Boiler", "light", true);
        house.store.save(&device, 0).await.unwrap();
        assert_eq!(house.store.save(&device, 0).await.unwrap(), Write::Done);
        let other = made("b-1", "Other", "light", true);
        assert_eq!(house.store.save(&other, 0).await.unwrap(), Write::Conflict);
        let gone = delete(&device, device.created_at);
        assert_eq!(house.store.save(&gone, 1).await.unwrap(), Write::Done);
        assert_eq!(house.store.save(&other, 1).await.unwrap(), Write::Conflict);
    }

    #[tokio::test]
    async fn a_deleted_device_is_neither_got_nor_listed_nor_looked_up() {
        let house = House::new().await;
        for id in ["a", "b"] {
            house.put(id, "Pump", "motion", id == "a").await;
        }
        let ids: Vec<DeviceId> = ["a", "b", "a", "c"].map(|id| id.parse().unwrap()).into();
        let standings = house.store.lookup(&ids).await.unwrap();
        assert_eq!(
            standings,
            HashMap::from([
                (ids[0].clone(), Standing::Active),
                (ids[1].clone(), Standing::Inactive)
            ])
        );
        let gone = delete(&made("a", "Pump", "motion", true), Timestamp::UNIX_EPOCH);
        house.store.save(&gone, 1).await.unwrap();
        assert_eq!(house.store.get(&ids[0]).await.unwrap(), None);
        assert_eq!(house.store.find(&ids[0]).await.unwrap(), Some(gone));
        assert_eq!(house.listed(Filter::default(), 5).await, ["b"]);
        assert_eq!(house.store.lookup(&ids).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn every_page_size_lists_every_device_once_by_type_name_and_identifier() {
        let house = House::new().await;
        for (id, name, kind, is_active) in [
            ("7", "zeta", "temperature", true),
            ("6", "Alpha two", "temperature", true),
            ("5", "alpha", "temperature", false),
            ("4", "ALPHA", "temperature", true),
            ("3", "alpha", "custom", false),
            ("2", "Beta", "custom", true),
            ("1", "gamma", "pressure", true),
        ] {
            house.put(id, name, kind, is_active).await;
        }
        let filter = |kind, is_active, name_prefix| Filter {
            kind,
            is_active,
            name_prefix,
        };
        let custom = Some(DeviceType::Custom);
        for limit in 1..=8 {
            for (filter, expected) in [
                (Filter::default(), "4567132"),
                (filter(custom, None, None), "32"),
                (filter(None, Some(true), None), "46712"),
                (filter(None, Some(false), None), "53"),
                (filter(None, None, Some("ALPHA")), "4563"),
                (filter(None, Some(true), Some("alpha t")), "6"),
                (filter(custom, None, Some("x")), ""),
            ] {
                let listed = house.listed(filter, limit).await.concat();
                assert_eq!(listed, expected, "{filter:?} by {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_device_and_what_goes_with_it_are_written_together_or_not_at_all() {
        let house = House::new().await;
        let device = made("b-1", "Boiler", "light", true);
        let mark = || {
            let update = Update::builder()
                .table_name("Sensors")
                .set_key(Some(key("MARK".to_owned(), "MARK".to_owned())))
                .update_expression("ADD times :one")
                .expression_attribute_values(":one", number(1))
                .build()
                .unwrap();
            TransactWriteItem::builder().update(update).build()
        };
        let save = async |expected| {
            house
                .store
                .save_with(&device, expected, mark())
                .await
                .unwrap()
        };
        assert_eq!(save(0).await, Write::Done);
        assert_eq!(save(0).await, Write::Conflict);
        assert_eq!(save(7).await, Write::Conflict);
        let marked = house
            .store
            .table
            .get(key("MARK".to_owned(), "MARK".to_owned()))
            .await;
        assert_eq!(marked.unwrap().unwrap()["times"], number(1));
    }

    #[test]
    fn a_text_that_is_no_position_is_refused() {
        for text in ["", "light", "sound x", "light name", "light name\u{1f}a b"] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text:?}");
        }
    }
}
