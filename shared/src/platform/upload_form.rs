//! Forms with which a browser or curl uploads straight into S3: a policy, signed, that says what may
//! be uploaded where and until when.
//!
//! AWS Signature Version 4 for POST,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>; the Rust
//! SDK has no function for it.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::json;
use sha2::Sha256;

use super::{
    clock,
    config::{ConfigError, optional, variable},
    secret::Secret,
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Signs upload forms with the function's own rights: a form can do no more than its signer.
#[derive(Debug, Clone)]
pub struct UploadSigner {
    region: String,
    endpoint: Option<String>,
    access_key_id: String,
    secret_access_key: Secret<String>,
    session_token: Option<Secret<String>>,
}

/// What a form allows.
#[derive(Debug, Clone, Copy)]
pub struct UploadPolicy<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The one key that can be written.
    pub key: &'a str,
    /// Largest object in bytes.
    pub max_bytes: u64,
    /// The content type that the form says; whoever uses it may say another.
    pub content_type: &'a str,
    /// How long the form can be used.
    pub lifetime: SignedDuration,
    /// Object metadata, by name without the `x-amz-meta-` prefix; the form has to carry it.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// A form: POST `fields` as `multipart/form-data` to `url`, the file last, in a field `file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadForm {
    /// Where to send it.
    pub url: String,
    /// What to send before the file.
    pub fields: BTreeMap<String, String>,
}

impl UploadSigner {
    /// Reads the function's credentials: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, and where set `AWS_SESSION_TOKEN` and `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the variable that is missing.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            region: variable("AWS_REGION")?,
            endpoint: optional("AWS_ENDPOINT_URL"),
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: Secret::new(variable("AWS_SECRET_ACCESS_KEY")?),
            session_token: optional("AWS_SESSION_TOKEN").map(Secret::new),
        })
    }

    /// Signs forms for an emulator at `endpoint`, with credentials that mean nothing.
    #[must_use]
    pub fn for_emulator(endpoint: impl Into<String>) -> Self {
        Self {
            region: "us-east-1".to_owned(),
            endpoint: Some(endpoint.into()),
            access_key_id: "test".to_owned(),
            secret_access_key: Secret::new("test".to_owned()),
            session_token: None,
        }
    }

    /// Signs a form for `policy`, valid from `now`.
    #[must_use]
    pub fn sign(&self, policy: &UploadPolicy<'_>, now: Timestamp) -> UploadForm {
        let utc = now.to_zoned(TimeZone::UTC);
        let day = utc.strftime("%Y%m%d").to_string();
        let mut fields = BTreeMap::from([
            ("key".to_owned(), policy.key.to_owned()),
            ("x-amz-algorithm".to_owned(), ALGORITHM.to_owned()),
            (
                "x-amz-credential".to_owned(),
                format!(
                    "{}/{day}/{}/s3/aws4_request",
                    self.access_key_id, self.region
                ),
            ),
            (
                "x-amz-date".to_owned(),
                utc.strftime("%Y%m%dT%H%M%SZ").to_string(),
            ),
        ]);
        if let Some(token) = &self.session_token {
            fields.insert("x-amz-security-token".to_owned(), token.expose().clone());
        }
        for (name, value) in policy.metadata {
            fields.insert(format!("x-amz-meta-{name}"), (*value).to_owned());
        }
        let mut conditions = vec![
            json!({"bucket": policy.bucket}),
            json!(["content-length-range", 0, policy.max_bytes]),
            json!(["starts-with", "$Content-Type", ""]),
        ];
        conditions.extend(fields.iter().map(|(name, value)| json!({name: value})));
        let expiration = clock::rfc3339(now + policy.lifetime);
        let document = json!({"expiration": expiration, "conditions": conditions}).to_string();
        let policy_text = BASE64_STANDARD.encode(document);
        let signature = self.signature(&day, &policy_text);
        fields.insert("policy".to_owned(), policy_text);
        fields.insert("x-amz-signature".to_owned(), signature);
        // S3 refuses a form without a field that its policy names.
        fields.insert("Content-Type".to_owned(), policy.content_type.to_owned());
        UploadForm {
            url: self.url(policy.bucket),
            fields,
        }
    }

    fn url(&self, bucket: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{}.amazonaws.com/", self.region),
        }
    }

    fn signature(&self, day: &str, policy: &str) -> String {
        let secret = format!("AWS4{}", self.secret_access_key.expose());
        let key = [day, &self.region, "s3", "aws4_request", policy]
            .into_iter()
            .fold(secret.into_bytes(), |key, part| hmac(&key, part));
        key.iter().fold(String::with_capacity(64), |hex, byte| {
            hex + &format!("{byte:02x}")
        })
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> UploadSigner {
        UploadSigner {
            region: "us-east-1".into(),
            endpoint: None,
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        }
    }

    #[test]
    fn the_signature_is_that_of_the_example_in_the_s3_documentation() {
        // https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
        let policy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
        assert_eq!(
            signer().signature("20151229", policy),
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
        );
    }

    #[test]
    fn a_form_names_its_key_its_limit_and_its_end_and_holds_no_secret() {
        let policy = UploadPolicy {
            bucket: "b",
            key: "imports/a.csv",
            max_bytes: 5,
            content_type: "text/csv",
            lifetime: SignedDuration::from_mins(15),
            metadata: &[("correlation-id", "c")],
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let form = signer().sign(&policy, now);
        let document = BASE64_STANDARD.decode(&form.fields["policy"]).unwrap();
        insta::assert_snapshot!(String::from_utf8(document).unwrap(), @r#"{"conditions":[{"bucket":"b"},["content-length-range",0,5],["starts-with","$Content-Type",""],{"key":"imports/a.csv"},{"x-amz-algorithm":"AWS4-HMAC-SHA256"},{"x-amz-credential":"AKIAIOSFODNN7EXAMPLE/20231114/us-east-1/s3/aws4_request"},{"x-amz-date":"20231114T221320Z"},{"x-amz-meta-correlation-id":"c"}],"expiration":"2023-11-14T22:28:20.000Z"}"#);
        assert_eq!(form.fields["Content-Type"], "text/csv");
        assert_eq!(form.url, "https://b.s3.us-east-1.amazonaws.com/");
        assert!(!format!("{:?}", signer()).contains("wJalr"));
    }
}
