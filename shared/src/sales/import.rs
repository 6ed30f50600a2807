//! An import: one file's way into the sales, and the report on it.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::platform::ids;

/// Most row errors that a report carries; the rest is in `errors.csv`.
pub const REPORTED_ERRORS: usize = 100;

/// An import's identifier: a `UUIDv7` (RFC 9562 §5.7), written as 26 characters of Crockford
/// base32, so that identifiers sort by the time their import began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportId(Uuid);

impl ImportId {
    /// Wraps a `UUIDv7`.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The identifier of the import that one version of one object asks for.
    ///
    /// S3 delivers an event more than once; its sequencer tells versions of a key apart
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
    /// The same event always gives the same identifier, another put of the same key another one.
    #[must_use]
    pub fn of_object(object: &ObjectVersion, put_at: Timestamp) -> Self {
        let digest = Sha256::new()
            .chain_update(object.key.as_bytes())
            .chain_update([0])
            .chain_update(object.sequencer.as_bytes())
            .chain_update([0])
            .chain_update(object.etag.as_bytes())
            .finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        Self(ids::uuid_v7(put_at, random))
    }
}

impl fmt::Display for ImportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::base32(self.0.as_u128(), ids::BASE32_LENGTH))
    }
}

/// A text that is no import identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an import identifier")]
pub struct NotAnImportId;

impl FromStr for ImportId {
    type Err = NotAnImportId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ids::parse_base32(text, ids::BASE32_LENGTH)
            .map(|bits| Self(Uuid::from_u128(bits)))
            .map_err(|_| NotAnImportId)
    }
}

impl Serialize for ImportId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImportId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One version of one object in the import bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectVersion {
    /// The object's key, decoded.
    pub key: String,
    /// Its entity tag, without quotes; reads are conditional on it.
    pub etag: String,
    /// Orders the puts of one key; empty for an object that no event announced.
    pub sequencer: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Where an import stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ImportStatus)]
pub enum Status {
    /// Waiting for its file.
    Pending,
    /// The file is being read for the first time; nothing is stored yet.
    Validating,
    /// Days are being stored, one at a time.
    Importing,
    /// Every row is stored or was there before.
    Completed,
    /// As completed, but some rows were rejected.
    CompletedWithErrors,
    /// The file cannot be imported. Nothing of it is stored, unless it was removed or replaced while
    /// it was being read; taking the import back then takes those rows back.
    Failed,
    /// Its rows are being taken back.
    Deleting,
    /// Its rows have been taken back.
    Deleted,
}

impl Status {
    /// Whether a run may still change the import: such an import takes up its file when asked.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Validating | Self::Importing)
    }
}

/// How many of a file's rows met which fate. Their sum is the number of the file's data rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Rows that this import added.
    pub imported: u64,
    /// Rows that were stored already.
    pub duplicate: u64,
    /// Rows that are not sales rows; each is in `errors.csv`.
    pub rejected: u64,
}

/// Work done of work known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 until it is known.
    pub total: u64,
}

/// First and last day that an import's valid rows fall on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaySpan {
    /// First day.
    #[schema(value_type = String, format = Date)]
    pub first: Date,
    /// Last day.
    #[schema(value_type = String, format = Date)]
    pub last: Date,
}

/// Why a whole file was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Stable kebab-case word.
    pub code: String,
    /// What a person can do about it.
    pub message: String,
}

/// An import as the table keeps it. Every write replaces it whole, on condition of its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Its identifier.
    pub id: ImportId,
    /// The key its file is expected or stored under.
    pub object_key: String,
    /// The object it reads, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectVersion>,
    /// Where it stands.
    pub status: Status,
    /// Whether it only counts.
    pub dry_run: bool,
    /// Bytes of the file read in the first pass.
    pub bytes: Progress,
    /// Rows stored or found stored, of the file's valid rows.
    pub rows: Progress,
    /// What became of the rows so far.
    pub counts: Counts,
    /// Days its valid rows fall on, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<DaySpan>,
    /// What the file's reader should know, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The first day not yet stored; a later run begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_day: Option<Date>,
    /// The run that may write this record: a newer run takes it over, the older one then stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Until when a run that took it up may still be alive; no undo begins before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_until: Option<Timestamp>,
    /// The correlation id of the request or event that began it.
    pub correlation_id: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts its writes, from 1.
    pub version: u64,
}

impl Import {
    /// An import that waits for a file under `object_key`.
    #[must_use]
    pub fn pending(
        id: ImportId,
        object_key: String,
        dry_run: bool,
        correlation_id: String,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            object_key,
            object: None,
            status: Status::Pending,
            dry_run,
            bytes: Progress::default(),
            rows: Progress::default(),
            counts: Counts::default(),
            days: None,
            warnings: Vec::new(),
            failure: None,
            next_day: None,
            attempt: None,
            active_until: None,
            correlation_id,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(sequencer: &str) -> ObjectVersion {
        ObjectVersion {
            key: "imports/a.csv".into(),
            etag: "e".into(),
            sequencer: sequencer.into(),
            size: 1,
        }
    }

    #[test]
    fn the_same_event_names_the_same_import_and_another_put_another_one() {
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let first = ImportId::of_object(&object("1"), at);
        assert_eq!(first, ImportId::of_object(&object("1"), at));
        assert_ne!(first, ImportId::of_object(&object("2"), at));
    }

    #[test]
    fn an_identifier_reads_back_as_written_and_sorts_by_time() {
        let early =
            ImportId::of_object(&object("9"), Timestamp::from_second(1_700_000_000).unwrap());
        let late =
            ImportId::of_object(&object("1"), Timestamp::from_second(1_700_000_001).unwrap());
        assert_eq!(early.to_string().parse(), Ok(early));
        assert_eq!(early.to_string().len(), 26);
        assert!(early.to_string() < late.to_string());
        assert_eq!("imports".parse::<ImportId>(), Err(NotAnImportId));
    }
}
