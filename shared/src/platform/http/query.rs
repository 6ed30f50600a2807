//! Query strings, read strictly: what is not known or said twice is an error, not a guess.

use std::convert::Infallible;
use std::fmt::Display;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::platform::problem::{FieldError, Problem};

/// The parameters of a query string, decoded, in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `application/x-www-form-urlencoded` text. Any text can be decoded.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect();
        Self { pairs }
    }

    /// Asks that every parameter is one of `allowed` and none comes twice.
    ///
    /// # Errors
    /// A 400 problem naming each parameter that is unknown or repeated.
    pub fn only(&self, allowed: &[&str]) -> Result<(), Problem> {
        let mut errors = Vec::new();
        for (index, (name, _)) in self.pairs.iter().enumerate() {
            if !allowed.contains(&name.as_str()) {
                errors.push(FieldError::query(
                    name,
                    "unknown-parameter",
                    format!("known parameters: {}", allowed.join(", ")),
                ));
            } else if self.pairs[..index]
                .iter()
                .any(|(earlier, _)| earlier == name)
            {
                errors.push(FieldError::query(
                    name,
                    "repeated-parameter",
                    "the parameter comes more than once",
                ));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            errors.truncate(10);
            Err(
                Problem::bad_request("invalid-query", "the query has parameters that do not fit")
                    .with_errors(errors),
            )
        }
    }

    /// The value of `name`, if it is there; an empty value is a value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of `name`.
    ///
    /// # Errors
    /// A 400 problem when it is missing or empty.
    pub fn required(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Problem::invalid_query(FieldError::query(
                    name,
                    "missing-parameter",
                    format!("{name} is required"),
                ))
            })
    }

    /// Reads the value of `name` by `parse`, if it is there.
    ///
    /// # Errors
    /// A 400 problem with the words of `parse`'s error.
    pub fn parsed<'q, T, E: Display>(
        &'q self,
        name: &str,
        parse: impl FnOnce(&'q str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        self.get(name)
            .map(|value| {
                parse(value).map_err(|error| {
                    Problem::invalid_query(FieldError::query(
                        name,
                        "invalid-parameter",
                        format!("{name}: {error}"),
                    ))
                })
            })
            .transpose()
    }

    /// Reads `name` as a switch: `true` or `false`, off when it is not there.
    ///
    /// # Errors
    /// A 400 problem for any other value.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        self.parsed(name, |value| match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
        .map(Option::unwrap_or_default)
    }

    /// The same query as any other that says the same: sorted, re-encoded, without `except`.
    #[must_use]
    pub fn canonical(&self, except: &[&str]) -> String {
        let mut pairs: Vec<_> = self
            .pairs
            .iter()
            .filter(|(name, _)| !except.contains(&name.as_str()))
            .collect();
        pairs.sort();
        encode(pairs.into_iter().map(|(name, value)| (name, value)))
    }

    /// The query with `name` set to `value`, encoded.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> String {
        let kept = self.pairs.iter().filter(|(key, _)| key != name);
        encode(
            kept.map(|(key, value)| (key.as_str(), value.as_str()))
                .chain([(name, value)]),
        )
    }
}

fn encode<N: AsRef<str>, V: AsRef<str>>(pairs: impl Iterator<Item = (N, V)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let problem = Query::parse("start=1&start=2&sort=up")
            .only(&["start", "end"])
            .unwrap_err();
        assert_eq!(problem.status().as_u16(), 400);
        assert!(
            Query::parse("start=1&end=2")
                .only(&["start", "end"])
                .is_ok()
        );
        assert!(Query::parse("").only(&[]).is_ok());
    }

    #[test]
    fn values_are_decoded_and_read() {
        let query = Query::parse("start=3%2F1%2F2025&n=7&dry_run=true&empty=");
        assert_eq!(query.get("start"), Some("3/1/2025"));
        assert_eq!(query.parsed("n", str::parse::<u8>).unwrap(), Some(7));
        assert_eq!(query.parsed("m", str::parse::<u8>).unwrap(), None);
        assert!(query.parsed("start", str::parse::<u8>).is_err());
        assert!(query.required("empty").is_err());
        assert!(query.flag("dry_run").unwrap());
        assert!(!query.flag("other").unwrap());
        assert!(query.flag("n").is_err());
    }

    proptest! {
        #[test]
        fn any_order_has_one_canonical_form(mut pairs: Vec<(String, String)>) {
            let text = |pairs: &[(String, String)]| encode(pairs.iter().map(|(n, v)| (n, v)));
            let first = Query::parse(&text(&pairs)).canonical(&[]);
            pairs.reverse();
            prop_assert_eq!(Query::parse(&text(&pairs)).canonical(&[]), first);
        }

        #[test]
        fn a_parameter_that_is_set_is_read_back(text: String, name in "[a-z]{1,8}", value: String) {
            let query = Query::parse(&Query::parse(&text).with(&name, &value));
            prop_assert_eq!(query.get(&name), Some(value.as_str()));
        }
    }
}
