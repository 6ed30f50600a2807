//! Who calls: read from the claims that the API's authorizer verified, never from a header or body.

use std::collections::HashMap;

use axum::extract::FromRequestParts;
use http::request::Parts;
use lambda_http::request::RequestContext;
use serde_json::Value;

use crate::platform::problem::Problem;
use crate::platform::secret::Personal;

/// A group of the user pool that gives rights. Someone in none of them is a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Changes everything.
    Admin,
    /// Reads metrics and sensors.
    Analyst,
}

impl Group {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "admin" => Some(Self::Admin),
            "analyst" => Some(Self::Analyst),
            _ => None,
        }
    }
}

/// A signed-in person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    sub: String,
    groups: Vec<Group>,
    username: Option<Personal<String>>,
    email: Option<Personal<String>>,
    phone_number: Option<Personal<String>>,
}

impl Caller {
    /// Claims longer than this are refused: `sub` is a UUID and groups are few.
    const MAX_CLAIM: usize = 2048;
    const MAX_SUB: usize = 128;

    /// A caller that is already known, as in tests.
    pub fn new(sub: impl Into<String>, groups: impl Into<Vec<Group>>) -> Self {
        Self {
            sub: sub.into(),
            groups: groups.into(),
            username: None,
            email: None,
            phone_number: None,
        }
    }

    /// Reads the claims of a Cognito ID token as the authorizer of a REST API passes them
    /// (`requestContext.authorizer.claims`). `None` when they do not name a person: no or an odd
    /// `sub`, or an access token, which says nothing about its bearer.
    ///
    /// `cognito:groups` comes as `admin`, `admin,analyst`, `[admin analyst]` or a JSON array,
    /// depending on the gateway's version and emulator. Groups with other names give no rights and
    /// are passed over: federation adds some of its own.
    #[must_use]
    pub fn from_claims(claims: &serde_json::Map<String, Value>) -> Option<Self> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("token_use").is_some_and(|kind| kind != "id") {
            return None;
        }
        let sub = text("sub").filter(|sub| is_subject(sub))?;
        let personal = |name: &str| {
            text(name)
                .filter(|value| !value.is_empty() && value.len() <= Self::MAX_CLAIM)
                .map(|value| Personal::new(value.to_owned()))
        };
        // The authorizer passes texts; an emulator, the token's own true.
        let verified = claims.get("email_verified");
        let is_verified = verified.is_some_and(|value| value == true || value == "true");
        Some(Self {
            sub: sub.to_owned(),
            groups: claims.get("cognito:groups").map(groups).unwrap_or_default(),
            username: personal("cognito:username"),
            email: personal("email").filter(|_| is_verified),
            phone_number: personal("phone_number"),
        })
    }

    /// Reads the caller of a request that came through API Gateway.
    #[must_use]
    pub fn from_request_context(context: &RequestContext) -> Option<Self> {
        let RequestContext::ApiGatewayV1(context) = context else {
            return None;
        };
        Self::from_authorizer(&context.authorizer.fields)
    }

    fn from_authorizer(fields: &HashMap<String, Value>) -> Option<Self> {
        fields
            .get("claims")
            .and_then(Value::as_object)
            .and_then(Self::from_claims)
    }

    /// The user's id in the pool; never changes and is never reused.
    #[must_use]
    pub fn sub(&self) -> &str {
        &self.sub
    }

    /// The name by which the pool's own calls know the user: the `sub` unless the token has another, as
    /// that of a person has who signs in with another provider.
    #[must_use]
    pub fn username(&self) -> &str {
        let username = self.username.as_ref();
        username.map_or(&self.sub, |username| username.expose())
    }

    /// The groups that give rights, without repeats.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The e-mail address, if the token has one and says that it is verified: until then it may be a
    /// stranger's.
    #[must_use]
    pub fn email(&self) -> Option<&Personal<String>> {
        self.email.as_ref()
    }

    /// The phone number, if the token has one.
    #[must_use]
    pub fn phone_number(&self) -> Option<&Personal<String>> {
        self.phone_number.as_ref()
    }

    /// Asks that the caller is in at least one of `groups`.
    ///
    /// # Errors
    /// A 403 problem otherwise.
    pub fn require_any(&self, groups: &[Group]) -> Result<(), Problem> {
        if groups.iter().any(|group| self.groups.contains(group)) {
            Ok(())
        } else {
            Err(Problem::forbidden())
        }
    }
}

fn is_subject(sub: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.');
    (1..=Caller::MAX_SUB).contains(&sub.len()) && sub.bytes().all(allowed)
}

fn groups(claim: &Value) -> Vec<Group> {
    let mut found = Vec::new();
    let mut add = |name: &str| {
        if let Some(group) = Group::from_name(name)
            && !found.contains(&group)
        {
            found.push(group);
        }
    };
    match claim {
        Value::Array(names) => names.iter().filter_map(Value::as_str).for_each(add),
        Value::String(text) if text.len() > Caller::MAX_CLAIM => {}
        Value::String(text) => {
            if let Ok(names) = serde_json::from_str::<Vec<String>>(text) {
                for name in &names {
                    add(name);
                }
            } else if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                inner.split([' ', ',']).for_each(add);
            } else {
                for name in text.split(',') {
                    add(name.trim());
                }
            }
        }
        _ => {}
    }
    found
}

/// Hands a handler its caller; without one the answer is 401.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(Problem::unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn caller(claims: &Value) -> Option<Caller> {
        Caller::from_claims(claims.as_object().unwrap())
    }

    #[test]
    fn groups_are_read_in_every_form_a_gateway_sends() {
        for (claim, expected) in [
            (json!("admin"), vec![Group::Admin]),
            (json!("admin,analyst"), vec![Group::Admin, Group::Analyst]),
            (json!("admin, analyst"), vec![Group::Admin, Group::Analyst]),
            (json!("[admin analyst]"), vec![Group::Admin, Group::Analyst]),
            (
                json!("[analyst, admin]"),
                vec![Group::Analyst, Group::Admin],
            ),
            (json!("[\"admin\"]"), vec![Group::Admin]),
            (json!(["analyst", "analyst"]), vec![Group::Analyst]),
            (json!("eu-west-1_AbC_Google,analyst"), vec![Group::Analyst]),
            (json!(""), vec![]),
            (json!("[]"), vec![]),
            (json!("Admin"), vec![]),
            (json!("administrator"), vec![]),
            (json!("admin analyst"), vec![]),
            (json!("[admin"), vec![]),
            (json!({"admin": true}), vec![]),
            (json!(null), vec![]),
        ] {
            let read = caller(&json!({"sub": "u-1", "cognito:groups": claim})).unwrap();
            assert_eq!(read.groups(), expected, "{claim}");
        }
    }

    #[test]
    fn claims_that_name_nobody_give_no_caller() {
        for claims in [
            json!({}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": "a b"}),
            json!({"sub": "x".repeat(129)}),
            json!({"sub": "u-1", "token_use": "access", "cognito:groups": "admin"}),
        ] {
            assert_eq!(caller(&claims), None, "{claims}");
        }
    }

    #[test]
    fn rights_need_one_of_the_groups() {
        let analyst = Caller::new("u-1", [Group::Analyst]);
        assert!(analyst.require_any(&[Group::Admin, Group::Analyst]).is_ok());
        let refused = analyst.require_any(&[Group::Admin]).unwrap_err();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        assert!(analyst.require_any(&[]).is_err());
    }

    #[test]
    fn personal_claims_stay_hidden() {
        let claims = json!({"sub": "u-1", "email": "jane@example.com", "email_verified": true, "phone_number": "+4912345",
            "cognito:username": "Google_jane"});
        let read = caller(&claims).unwrap();
        assert_eq!(read.email().unwrap().expose(), "jane@example.com");
        assert_eq!(read.username(), "Google_jane");
        assert_eq!(caller(&json!({"sub": "u-1"})).unwrap().username(), "u-1");
        let shown = format!("{read:?}");
        assert!(!shown.contains("jane") && !shown.contains("49"), "{shown}");
    }

    #[test]
    fn an_email_address_counts_once_it_is_verified() {
        for (verified, counts) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(null), false),
        ] {
            let claims =
                json!({"sub": "u-1", "email": "jane@example.com", "email_verified": verified});
            let read = caller(&claims).unwrap();
            assert_eq!(read.email().is_some(), counts, "{verified}");
        }
    }

    proptest! {
        #[test]
        fn any_group_text_is_read_without_inventing_rights(text in "[^ad]{0,64}") {
            let read = caller(&json!({"sub": "u", "cognito:groups": text})).unwrap();
            prop_assert!(read.groups().is_empty());
        }
    }
}
