use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    platform::{aws::Connection, config::SenderEmail},
    testing::answering,
};

fn message() -> Message {
    Message {
        subject: "Your order".into(),
        text: "It is £5.".into(),
        html: "<p>It is &pound;5.</p>".into(),
        sms: "It is on its way & near.".into(),
    }
}

/// A connection to a service that answers all calls alike, and the bodies of these calls.
fn service(status: u16, answer: &'static str) -> (Connection, Arc<Mutex<Vec<String>>>) {
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = bodies.clone();
    let http = answering(move |request| {
        let body = request.body().bytes().unwrap_or_default();
        let mut bodies = kept.lock().unwrap();
        bodies.push(String::from_utf8(body.to_vec()).unwrap());
        let response = http::Response::builder().status(status);
        response.body(answer.to_owned()).unwrap()
    });
    (Connection::to_emulator("http://127.0.0.1:1", http), bodies)
}

async fn email(status: u16, answer: &'static str) -> (Result<MessageId, SendError>, Vec<String>) {
    let (connection, bodies) = service(status, answer);
    let ses = Ses::new(&connection.ses(), SenderEmail::new("shop@example.com"));
    let to = Personal::new("jane@example.com".to_owned());
    let sent = ses.send(&to, &message()).await;
    let bodies = bodies.lock().unwrap().clone();
    (sent, bodies)
}

async fn sms(status: u16, answer: &'static str) -> (Result<MessageId, SendError>, Vec<String>) {
    let (connection, bodies) = service(status, answer);
    let to = Personal::new("+6591234567".to_owned());
    let sent = Sns::new(&connection.sns()).send(&to, &message()).await;
    let bodies = bodies.lock().unwrap().clone();
    (sent, bodies)
}

#[tokio::test]
async fn an_email_has_both_parts() {
    let (sent, bodies) = email(200, r#"{"MessageId":"m-1"}"#).await;
    assert_eq!(sent.as_deref(), Ok("m-1"));
    let body: Value = serde_json::from_str(&bodies[0]).unwrap();
    insta::assert_json_snapshot!(body, @r#"
    {
      "Content": {
        "Simple": {
          "Body": {
            "Html": {
              "Charset": "UTF-8",
              "Data": "<p>It is &pound;5.</p>"
            },
            "Text": {
              "Charset": "UTF-8",
              "Data": "It is £5."
            }
          },
          "Subject": {
            "Charset": "UTF-8",
            "Data": "Your order"
          }
        }
      },
      "Destination": {
        "ToAddresses": [
          "jane@example.com"
        ]
      },
      "FromEmailAddress": "shop@example.com"
    }
    "#);
}

#[tokio::test]
async fn a_text_message_is_transactional() {
    const ANSWER: &str = "<PublishResponse><PublishResult><MessageId>m-2</MessageId>\
                          </PublishResult></PublishResponse>";
    let (sent, bodies) = sms(200, ANSWER).await;
    assert_eq!(sent.as_deref(), Ok("m-2"));
    insta::assert_snapshot!(bodies[0].replace('&', "\n"), @r#"
    Action=Publish
    Version=2010-03-31
    PhoneNumber=%2B6591234567
    Message=It%20is%20on%20its%20way%20%26%20near.
    MessageAttributes.entry.1.Name=AWS.SNS.SMS.SMSType
    MessageAttributes.entry.1.Value.DataType=String
    MessageAttributes.entry.1.Value.StringValue=Transactional
    "#);
}

#[tokio::test]
async fn what_fails_is_tried_once_and_told_apart() {
    const THROTTLED: &str = "<ErrorResponse><Error><Code>Throttled</Code></Error></ErrorResponse>";
    const INVALID: &str =
        "<ErrorResponse><Error><Code>InvalidParameter</Code></Error></ErrorResponse>";
    let transient = |code: &str| Err(SendError::Transient(code.to_owned()));
    let refused = |code: &str| Err(SendError::Refused(code.to_owned()));
    for ((sent, bodies), expected) in [
        (
            email(429, r#"{"__type":"TooManyRequestsException"}"#).await,
            transient("TooManyRequestsException"),
        ),
        (
            email(400, r#"{"__type":"LimitExceededException"}"#).await,
            transient("LimitExceededException"),
        ),
        (email(500, "").await, transient("no answer")),
        (
            email(400, r#"{"__type":"MessageRejected"}"#).await,
            refused("MessageRejected"),
        ),
        (
            email(403, r#"{"__type":"AccessDeniedException"}"#).await,
            refused("AccessDeniedException"),
        ),
        (sms(429, THROTTLED).await, transient("Throttled")),
        (sms(400, INVALID).await, refused("InvalidParameter")),
    ] {
        assert_eq!((sent, bodies.len()), (expected, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_error_does_not_say_who_was_written_to(local in "[a-z]{6,12}") {
        let words = format!(
            r#"{{"__type":"MessageRejected","message":"Email address is not verified: {local}@example.com"}}"#
        );
        let http = answering(move |_| http::Response::builder().status(400).body(words.clone()).unwrap());
        let connection = Connection::to_emulator("http://127.0.0.1:1", http);
        let ses = Ses::new(&connection.ses(), SenderEmail::new("shop@example.com"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let to = Personal::new(format!("{local}@example.com"));
        let error = runtime.block_on(ses.send(&to, &message())).unwrap_err();
        let told = format!("{error} {error:?}");
        prop_assert!(told.contains("MessageRejected") && !told.contains(&local));
    }
}
