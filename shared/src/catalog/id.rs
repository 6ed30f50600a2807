//! Identifiers of categories and products.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID in lower case with hyphens")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let is_form = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
                let id = Uuid::try_parse(text).ok().filter(|_| is_form);
                id.map(Self).ok_or(InvalidId)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

id!(
    /// Names a category: a version 7 UUID (RFC 9562), so identifiers sort by creation.
    CategoryId
);
id!(
    /// Names a product: a version 7 UUID (RFC 9562), so identifiers sort by creation.
    ProductId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_way_to_be_written() {
        let text = "0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b";
        assert_eq!(text.parse::<ProductId>().unwrap().to_string(), text);
        for wrong in [
            "",
            "0196A1B2-c3d4-7e5f-8a6b-7c8d9e0f1a2b",
            "0196a1b2c3d47e5f8a6b7c8d9e0f1a2b",
            "{0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a}",
            "0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2g",
        ] {
            assert_eq!(wrong.parse::<CategoryId>(), Err(InvalidId), "{wrong}");
        }
    }
}
