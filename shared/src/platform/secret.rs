//! Values that must not reach a log: formatting one gives `[redacted]`, and none can be serialized.

use std::fmt;

/// A credential or key. Reading it takes [`expose`](Self::expose), which a reviewer can search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

/// A value that tells who a person is: an e-mail address, a phone number, a postal address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Personal<T>(T);

macro_rules! redacted {
    ($name:ident) => {
        impl<T> $name<T> {
            /// Hides `value`.
            pub const fn new(value: T) -> Self {
                Self(value)
            }

            /// The hidden value, for the one place that needs it.
            pub const fn expose(&self) -> &T {
                &self.0
            }

            /// Gives the hidden value up.
            pub fn into_exposed(self) -> T {
                self.0
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[redacted]")
            }
        }

        impl<T> fmt::Display for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[redacted]")
            }
        }

        impl<T> From<T> for $name<T> {
            fn from(value: T) -> Self {
                Self(value)
            }
        }
    };
}

redacted!(Secret);
redacted!(Personal);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_formatting_shows_the_value() {
        let secret = Secret::new("hunter2");
        let personal = Some(Personal::new("jane@example.com".to_owned()));
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?} {personal:?}"),
            "[redacted] [redacted] [redacted] Some([redacted])"
        );
        assert_eq!(*secret.expose(), "hunter2");
    }
}
