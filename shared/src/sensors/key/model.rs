//! What the words of device keys mean.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    platform::{ids, problem::FieldError, secret::Secret},
    sensors::model::{DeviceId, MOST_DEVICE_BYTES},
};

/// Most characters of a key's name.
pub const MOST_NAME_CHARS: usize = 100;

/// Most patterns of a key.
pub const MOST_PATTERNS: usize = 100;

/// What a secret begins with, so that a leaked one is recognised for what it is.
const SECRET_PREFIX: &str = "mr_";

/// Base32 characters of a secret after its prefix: 200 random bits.
const SECRET_CHARS: usize = 40;

/// Random bytes of half a secret, of which 100 bits are used.
const HALF_BYTES: usize = 13;

/// Makes a secret of 26 random bytes: `mr_` and 40 lower-case characters of Crockford base32. API
/// Gateway takes keys of 20 to 128 characters
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html>).
#[must_use]
pub fn new_secret(random: [u8; 2 * HALF_BYTES]) -> Secret<String> {
    let (first, second) = random.split_at(HALF_BYTES);
    let half = |bytes: &[u8]| {
        let bits = bytes
            .iter()
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        ids::base32(bits, SECRET_CHARS / 2).to_ascii_lowercase()
    };
    Secret::new(format!("{SECRET_PREFIX}{}{}", half(first), half(second)))
}

/// Identifies a key, in public: the first 128 bits of the SHA-256 of its secret, as 32 hexadecimal
/// digits. It tells nothing about the secret, and leads from the secret to the key's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

/// A text that is no key identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key identifier")]
pub struct NotAKeyId;

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        parse_hex(text).map(Self).ok_or(NotAKeyId)
    }
}

/// The SHA-256 of a secret. Of 200 random bits, a hash without salt or rounds gives nothing away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash([u8; 32]);

/// A text that is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256")]
pub struct NotAHash;

impl SecretHash {
    /// Hashes a secret; `None` for a text that cannot be one, which needs no look into the table.
    ///
    /// What is compared later is hashes, so the time a comparison takes tells nothing about a secret.
    #[must_use]
    pub fn of(secret: &str) -> Option<Self> {
        let random = secret.strip_prefix(SECRET_PREFIX)?;
        let is_base32 = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        (random.len() == SECRET_CHARS && random.bytes().all(is_base32))
            .then(|| Self(Sha256::digest(secret).into()))
    }

    /// The identifier of the key with this secret.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        KeyId(id)
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl FromStr for SecretHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        parse_hex(text).map(Self).ok_or(NotAHash)
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads `2 × N` lower-case hexadecimal digits; each value has one spelling only.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Which devices a key may write for: one by its identifier, those whose identifiers begin with what
/// stands before a final `*`, or all by `*` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Pattern(String);

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a device identifier, or the beginning of one followed by *")]
pub struct NotAPattern;

impl Pattern {
    /// Whether it names `device`.
    #[must_use]
    pub fn matches(&self, device: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => device.starts_with(prefix),
            None => self.0 == device,
        }
    }
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let is_valid = match text.strip_suffix('*') {
            Some(prefix) => {
                prefix.is_empty()
                    || (prefix.len() < MOST_DEVICE_BYTES && DeviceId::is_valid(prefix))
            }
            None => DeviceId::is_valid(text),
        };
        is_valid.then(|| Self(text.to_owned())).ok_or(NotAPattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an administrator asks for: a name to know the key by, and what it may write for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// 1 to 100 characters, none of them a control character.
    pub name: String,
    /// 1 to 100 patterns, each once.
    pub devices: Vec<Pattern>,
}

impl Grant {
    /// Reads the parts of a request.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, each with a pointer into `{name, devices}`.
    pub fn new(name: &str, devices: &[String]) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = name.trim();
        let length = name.chars().count();
        if !(1..=MOST_NAME_CHARS).contains(&length) || name.chars().any(char::is_control) {
            errors.push(FieldError::new(
                "/name",
                "invalid-name",
                format!("must have 1 to {MOST_NAME_CHARS} characters, none a control character"),
            ));
        }
        if !(1..=MOST_PATTERNS).contains(&devices.len()) {
            errors.push(FieldError::new(
                "/devices",
                "out-of-range",
                format!("must have 1 to {MOST_PATTERNS} patterns"),
            ));
            return Err(errors);
        }
        let mut patterns: Vec<Pattern> = Vec::with_capacity(devices.len());
        for (index, text) in devices.iter().enumerate() {
            match text.parse::<Pattern>() {
                Ok(pattern) if patterns.contains(&pattern) => {}
                Ok(pattern) => patterns.push(pattern),
                Err(error) => errors.push(FieldError::new(
                    format!("/devices/{index}"),
                    "invalid-pattern",
                    error.to_string(),
                )),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                name: name.to_owned(),
                devices: patterns,
            })
        } else {
            Err(errors)
        }
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStatus {
    /// Being made; its secret has been shown to nobody, and lets nobody in.
    Pending,
    /// Lets devices in.
    Active,
    /// Lets nobody in, ever again.
    Revoked,
}

/// A device API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What it was asked for.
    pub grant: Grant,
    /// Where it stands.
    pub status: KeyStatus,
    /// What API Gateway calls it, once it is there.
    pub gateway_id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Counts its changes.
    pub version: u64,
}

impl DeviceKey {
    /// A key that API Gateway does not know yet.
    #[must_use]
    pub const fn pending(hash: SecretHash, grant: Grant, now: Timestamp) -> Self {
        Self {
            hash,
            grant,
            status: KeyStatus::Pending,
            gateway_id: None,
            created_at: now,
            revoked_at: None,
            version: 1,
        }
    }

    /// The same key, now known to API Gateway as `gateway_id`.
    #[must_use]
    pub fn activated(&self, gateway_id: String) -> Self {
        Self {
            status: KeyStatus::Active,
            gateway_id: Some(gateway_id),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// The same key, revoked.
    #[must_use]
    pub fn revoked(&self, now: Timestamp) -> Self {
        Self {
            status: KeyStatus::Revoked,
            revoked_at: Some(now),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.hash.id()
    }

    /// Whether it lets in who shows its secret.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == KeyStatus::Active
    }

    /// Whether it may write for `device`.
    #[must_use]
    pub fn allows(&self, device: &str) -> bool {
        self.grant
            .devices
            .iter()
            .any(|pattern| pattern.matches(device))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant(devices: &[&str]) -> Result<Grant, Vec<FieldError>> {
        let devices: Vec<_> = devices.iter().map(|&text| text.to_owned()).collect();
        Grant::new("line 4", &devices)
    }

    fn key(devices: &[&str]) -> DeviceKey {
        let hash = SecretHash::of(new_secret([7; 26]).expose()).unwrap();
        DeviceKey::pending(hash, grant(devices).unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_secret_has_200_random_bits_and_its_own_look() {
        let zero = new_secret([0; 26]).into_exposed();
        let one = new_secret([0xff; 26]).into_exposed();
        assert_eq!(zero, format!("mr_{}", "0".repeat(40)));
        assert_eq!(one, format!("mr_{}", "z".repeat(40)));
    }

    #[test]
    fn what_cannot_be_a_secret_has_no_hash() {
        let good = new_secret([3; 26]).into_exposed();
        assert!(SecretHash::of(&good).is_some());
        for bad in [
            "",
            "mr_",
            &good[..42],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good[3..],
        ] {
            assert_eq!(SecretHash::of(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_identifier_is_half_of_the_hash() {
        let hash = key(&["*"]).hash;
        assert_eq!(hash.to_string()[..32], hash.id().to_string());
        assert_eq!(hash.id().to_string().parse(), Ok(hash.id()));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let id = hash.id().to_string();
        for bad in [
            "",
            &id[1..],
            &id.to_uppercase(),
            &format!("{id}00"),
            &format!("g{}", &id[1..]),
        ] {
            assert_eq!(bad.parse::<KeyId>(), Err(NotAKeyId), "{bad}");
        }
    }

    #[test]
    fn a_key_allows_the_devices_its_patterns_name() {
        let key = key(&["pump-1", "line4.*"]);
        for (device, allowed) in [
            ("pump-1", true),
            ("pump-10", false),
            ("pump", false),
            ("line4.", true),
            ("line4.oven", true),
            ("line40", false),
        ] {
            assert_eq!(key.allows(device), allowed, "{device}");
        }
        assert!(super::tests::key(&["*"]).allows("anything"));
    }

    #[test]
    fn everything_wrong_with_a_request_is_told_at_once() {
        let devices: Vec<_> = ["a*b", "", "ok", "**", "a b"].map(str::to_owned).to_vec();
        let errors = Grant::new(" \u{7}", &devices).unwrap_err();
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/name",
                "/devices/0",
                "/devices/1",
                "/devices/3",
                "/devices/4"
            ]
        );
        assert!(grant(&[]).is_err());
        assert!(Grant::new("n", &vec!["*".to_owned(); 101]).is_err());
        assert!(Grant::new(&"n".repeat(101), &["*".to_owned()]).is_err());
    }

    #[test]
    fn a_pattern_said_twice_counts_once() {
        let read = Grant::new("  line 4 ", &["a".to_owned(), "a".to_owned()]).unwrap();
        assert_eq!((read.name.as_str(), read.devices.len()), ("line 4", 1));
    }

    proptest! {
        #[test]
        fn a_prefix_names_exactly_what_begins_with_it(prefix in "[a-z.]{0,4}", device in "[a-z.]{1,8}") {
            let pattern: Pattern = format!("{prefix}*").parse().unwrap();
            prop_assert_eq!(pattern.matches(&device), device.starts_with(&prefix));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (text.parse::<Pattern>(), text.parse::<KeyId>(), SecretHash::of(&text));
        }

        #[test]
        fn secrets_of_other_randomness_are_other_secrets(a: [u8; 26], b: [u8; 26]) {
            // The top four bits of each half are not used.
            let used = |mut bytes: [u8; 26]| { bytes[0] &= 15; bytes[13] &= 15; bytes };
            let same = new_secret(a).expose() == new_secret(b).expose();
            prop_assert_eq!(same, used(a) == used(b));
        }
    }
}
