//! Every event under `events/`, sent through the real bootstrap by a Lambda runtime API of the test's
//! own (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>), against the deployed stack.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::sales::import::{ImportId, ObjectVersion};
use shared::sensors::key::model::{DeviceKey, Grant, SecretHash};
use shared::sensors::key::store::KeyStore;

use crate::support::bucket::{block_on, connection, counts, ended_by_id};
use crate::support::sensors::{dead_letters, eventually};
use crate::support::stack::{stack, variable};
use crate::support::tree;

/// Each event, the binary it is for, and the status of its answer; functions without a caller have
/// none.
const EVENTS: &[(&str, &str, Option<u16>)] = &[
    (
        "events/catalog/product-create.json",
        "catalog-api",
        Some(201),
    ),
    ("events/catalog/stock-adjust.json", "catalog-api", Some(200)),
    ("events/catalog/tree-get.json", "catalog-api", Some(200)),
    (
        "events/customers/addresses-create.json",
        "customer-api",
        Some(201),
    ),
    (
        "events/customers/addresses-delete.json",
        "customer-api",
        Some(404),
    ),
    (
        "events/customers/addresses-get.json",
        "customer-api",
        Some(404),
    ),
    (
        "events/customers/addresses-list.json",
        "customer-api",
        Some(200),
    ),
    (
        "events/customers/addresses-update.json",
        "customer-api",
        Some(404),
    ),
    // It would erase the customer that the others are.
    (
        "events/customers/profile-erase.json",
        "customer-api",
        Some(412),
    ),
    (
        "events/customers/profile-get.json",
        "customer-api",
        Some(200),
    ),
    (
        "events/customers/profile-update.json",
        "customer-api",
        Some(200),
    ),
    ("events/customers/sign-up.json", "customer-signup", None),
    ("events/events/relay-stream.json", "event-relay", None),
    ("events/health/health.json", "health", Some(200)),
    ("events/health/live.json", "health", Some(200)),
    ("events/health/ready.json", "health", Some(200)),
    (
        "events/notifications/send-confirmed.json",
        "notification-send",
        None,
    ),
    (
        "events/notifications/send-shipped.json",
        "notification-send",
        None,
    ),
    ("events/orders/orders-cancel.json", "order-api", Some(404)),
    ("events/orders/orders-create.json", "order-api", Some(202)),
    ("events/orders/orders-deliver.json", "order-api", Some(404)),
    ("events/orders/orders-events.json", "order-api", Some(404)),
    ("events/orders/orders-get.json", "order-api", Some(404)),
    ("events/orders/orders-list.json", "order-api", Some(200)),
    ("events/orders/orders-process.json", "order-api", Some(404)),
    ("events/orders/orders-ship.json", "order-api", Some(404)),
    ("events/orders/orders-spending.json", "order-api", Some(200)),
    ("events/orders/orders-summary.json", "order-api", Some(200)),
    ("events/orders/orders-track.json", "order-api", Some(404)),
    ("events/orders/refunds-create.json", "order-api", Some(404)),
    ("events/orders/refunds-list.json", "order-api", Some(404)),
    (
        "events/orders/step-authorise.json",
        "order-payment-step",
        None,
    ),
    ("events/orders/step-cancel.json", "order-confirm-step", None),
    (
        "events/orders/step-capture.json",
        "order-payment-step",
        None,
    ),
    (
        "events/orders/step-confirm.json",
        "order-confirm-step",
        None,
    ),
    ("events/orders/step-refund.json", "order-payment-step", None),
    (
        "events/orders/step-release.json",
        "order-inventory-step",
        None,
    ),
    (
        "events/orders/step-reserve.json",
        "order-inventory-step",
        None,
    ),
    ("events/orders/step-undo.json", "order-payment-step", None),
    (
        "events/orders/sweep-schedule.json",
        "reservation-sweep",
        None,
    ),
    (
        "events/revenue/revenue-daily.json",
        "revenue-api",
        Some(200),
    ),
    ("events/revenue/revenue-v1.json", "revenue-api", Some(200)),
    ("events/revenue/revenue.json", "revenue-api", Some(200)),
    ("events/sales/create-import.json", "sales-api", Some(201)),
    // No stack has the import that the examples name.
    ("events/sales/delete-import.json", "sales-api", Some(404)),
    ("events/sales/get-import.json", "sales-api", Some(404)),
    ("events/sales/import-continue.json", "sales-import", None),
    (
        "events/sales/import-sales-multipart.json",
        "sales-api",
        Some(201),
    ),
    ("events/sales/list-imports.json", "sales-api", Some(200)),
    ("events/sales/list-sales.json", "sales-api", Some(200)),
    ("events/sales/order-revenue.json", "order-revenue", None),
    ("events/sales/s3-object-created.json", "sales-import", None),
    // Nor the device, but for the one that an example registers and others are readings of.
    (
        "events/sensors/aggregate-schedule.json",
        "sensor-aggregate",
        None,
    ),
    (
        "events/sensors/aggregates-list.json",
        "sensor-api",
        Some(404),
    ),
    (
        "events/sensors/aggregates-recompute.json",
        "sensor-api",
        Some(404),
    ),
    (
        "events/sensors/authorizer-token.json",
        "sensor-authorizer",
        None,
    ),
    (
        "events/sensors/authorizer-x-api-key.json",
        "sensor-authorizer",
        None,
    ),
    (
        "events/sensors/devices-create.json",
        "sensor-api",
        Some(201),
    ),
    (
        "events/sensors/devices-delete.json",
        "sensor-api",
        Some(404),
    ),
    ("events/sensors/devices-get.json", "sensor-api", Some(404)),
    ("events/sensors/devices-list.json", "sensor-api", Some(200)),
    (
        "events/sensors/devices-replace.json",
        "sensor-api",
        Some(404),
    ),
    (
        "events/sensors/devices-update.json",
        "sensor-api",
        Some(404),
    ),
    (
        "events/sensors/ingest-gzip.json",
        "sensor-ingest",
        Some(202),
    ),
    (
        "events/sensors/ingest-json.json",
        "sensor-ingest",
        Some(202),
    ),
    (
        "events/sensors/ingest-line-protocol.json",
        "sensor-ingest",
        Some(202),
    ),
    (
        "events/sensors/ingest-ndjson.json",
        "sensor-ingest",
        Some(202),
    ),
    (
        "events/sensors/ingest-write.json",
        "sensor-ingest",
        Some(204),
    ),
    ("events/sensors/keys-create.json", "sensor-keys", Some(201)),
    ("events/sensors/keys-delete.json", "sensor-keys", Some(200)),
    ("events/sensors/keys-get.json", "sensor-keys", Some(200)),
    ("events/sensors/keys-list.json", "sensor-keys", Some(200)),
    ("events/sensors/readings-list.json", "sensor-api", Some(404)),
    ("events/sensors/store-batch.json", "sensor-store", None),
    ("events/sensors/store-poison.json", "sensor-store", None),
];

pub(crate) fn event(name: &str) -> Value {
    serde_json::from_str(&tree::source(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A function's own process, ended when the test is done with it.
struct Bootstrap(Child);

impl Bootstrap {
    fn start(binary: &str, runtime_api: &str, environment: &[(&str, String)]) -> Self {
        let path = tree::root()
            .join("target/lambda")
            .join(binary)
            .join("bootstrap");
        assert!(path.exists(), "{} is missing: make build", path.display());
        let stack = stack();
        let kept = [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_ENDPOINT_URL",
        ];
        let commerce = [
            "COMMERCE_TABLE",
            "EVENT_BUS",
            "EVENT_POISON_QUEUE_URL",
            "NOTIFICATION_DEAD_LETTERS_URL",
            "NOTIFICATION_QUEUE_URL",
            "ORDER_REVENUE_DEAD_LETTERS_URL",
            "ORDER_REVENUE_QUEUE_URL",
            "ORDER_SAGA_ARN",
            "USER_POOL_ID",
        ];
        let child = Command::new(path)
            .env_clear()
            .envs(commerce.map(|name| (name, variable(&format!("MILLRACE_{name}")))))
            .envs(kept.map(|name| (name, variable(name))))
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", runtime_api),
                ("AWS_LAMBDA_FUNCTION_NAME", binary),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/millrace/local"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "test"),
                ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true"),
                ("POWERTOOLS_SERVICE_NAME", binary),
                ("POWERTOOLS_METRICS_NAMESPACE", "Millrace"),
                ("STAGE", "local"),
                ("SALES_TABLE", &stack.table),
                ("IMPORTS_BUCKET", &stack.bucket),
                ("SALES_IMPORT_QUEUE_URL", &stack.queue_url),
                ("SALES_IMPORT_DEAD_LETTERS_URL", &stack.dead_letters_url),
                ("SENSORS_TABLE", &stack.sensors_table),
                ("SENSOR_READINGS_QUEUE_URL", &stack.readings_queue_url),
                (
                    "SENSOR_READINGS_DEAD_LETTERS_URL",
                    &stack.readings_dead_letters_url,
                ),
                ("RAW_RETENTION_DAYS", "90"),
                ("DEVICE_USAGE_PLAN", "millrace-local-devices"),
                ("CURSOR_KEY", "a key of thirty-two bytes or more"),
                ("STORE_CURRENCY", "SGD"),
                ("TAX_RATES", r#"{"default":"0.16","rates":[]}"#),
                ("PAYMENT_PROVIDER", "sandbox"),
                ("SENDER_EMAIL", "orders@example.com"),
                ("ADMIN_ALERT_EMAIL", "admin@example.com"),
                ("SENSORS_TABLE", &stack.sensors_table),
                ("SENSOR_READINGS_QUEUE_URL", &stack.readings_queue_url),
                (
                    "SENSOR_READINGS_DEAD_LETTERS_URL",
                    &stack.readings_dead_letters_url,
                ),
                ("RAW_RETENTION_DAYS", "90"),
                ("DEVICE_USAGE_PLAN", "millrace-local-devices"),
            ])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        Self(child.expect("the bootstrap starts"))
    }
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        // It has nothing left to lose, and may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Message {
    first_line: String,
    body: Vec<u8>,
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Message> {
    let mut line = || {
        let mut text = String::new();
        let bytes = stream.read_line(&mut text).ok()?;
        (bytes > 0).then(|| text.trim_end().to_owned())
    };
    let first_line = line()?;
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line()?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        is_chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(length, 0);
        stream.read_exact(&mut body).ok()?;
    }
    Some(Message { first_line, body })
}

/// Gives one event to a fresh process of a function, and waits for its answer or error.
fn invoke(binary: &str, event: &Value) -> Result<Value, Value> {
    invoke_with(binary, event, &[], Duration::from_mins(1))
}

/// As [`invoke`], with more in the process's environment and with this long to answer.
pub(crate) fn invoke_with(
    binary: &str,
    event: &Value,
    environment: &[(&str, String)],
    time: Duration,
) -> Result<Value, Value> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (send, receive) = std::sync::mpsc::channel();
    let event = event.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), event, send) = (stream, event.clone(), send.clone()) else {
                return;
            };
            std::thread::spawn(move || serve(stream, &event, time, &send));
        }
    });
    let _bootstrap = Bootstrap::start(binary, &address, environment);
    receive
        .recv_timeout(Duration::from_mins(1))
        .unwrap_or_else(|_| panic!("{binary} does not answer"))
}

fn serve(
    stream: TcpStream,
    event: &str,
    time: Duration,
    answers: &std::sync::mpsc::Sender<Result<Value, Value>>,
) {
    let mut out = stream.try_clone().expect("a socket can be shared");
    let mut stream = BufReader::new(stream);
    while let Some(message) = read(&mut stream) {
        if message.first_line.starts_with("GET ") {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("it is after 1970");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                 Lambda-Runtime-Deadline-Ms: {}\r\nLambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n\
                 Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:test\r\n\r\n",
                event.len(),
                (now + time).as_millis(),
            );
            let _ = out.write_all(head.as_bytes());
            let _ = out.write_all(event.as_bytes());
            continue;
        }
        let _ = out.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        let body = serde_json::from_slice(&message.body).unwrap_or(Value::Null);
        let is_error = message.first_line.contains("/error");
        // Only the first answer counts: the process asks for the event again until it is ended.
        let _ = answers.send(if is_error { Err(body) } else { Ok(body) });
        return;
    }
}

#[test]
fn every_event_file_is_sent_here() {
    let sent: Vec<&str> = EVENTS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(tree::files("events"), sent);
}

/// Puts the device key of the examples in force, whatever an earlier run did with it.
fn put_example_key_in_force() {
    let request = event("events/sensors/authorizer-x-api-key.json");
    let secret = request["headers"]["X-Api-Key"]
        .as_str()
        .expect("the example has a key");
    let hash = SecretHash::of(secret).expect("it is a secret");
    let grant = Grant::new("Examples", &["*".to_owned()]).expect("they are fine");
    let keys = KeyStore::new(connection().dynamodb(), stack().sensors_table.clone());
    block_on(async {
        let pending = DeviceKey::pending(hash, grant, Timestamp::now());
        keys.remove(pending.id()).await.expect("the table takes it");
        let created = keys.create(&pending).await;
        created.expect("the table takes it");
        let active = pending.activated("none".to_owned());
        let saved = keys.save(&active, pending.version).await;
        saved.expect("the table takes it");
    });
}

#[test]
fn every_request_is_answered_as_api_gateway_needs_it() {
    put_example_key_in_force();
    for &(name, binary, status) in EVENTS {
        let Some(status) = status else { continue };
        let answer = invoke(binary, &event(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
        let headers = answer["multiValueHeaders"]
            .as_object()
            .unwrap_or_else(|| panic!("{name}: {answer}"));
        let header = |name: &str| headers.get(name).and_then(|values| values[0].as_str());
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{name}");
        let sent = event(name)["headers"]["X-Correlation-Id"]
            .as_str()
            .map(str::to_owned);
        if sent.is_some() {
            assert_eq!(header("x-correlation-id"), sent.as_deref(), "{name}");
        }
        let text = answer["body"].as_str().expect("a body is text");
        let text = match answer["isBase64Encoded"].as_bool() {
            Some(true) => String::from_utf8(STANDARD.decode(text).expect("it is base64"))
                .expect("it is UTF-8"),
            _ => text.to_owned(),
        };
        if header("content-type").is_some_and(|kind| kind.contains("json")) {
            let body: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
            assert_eq!(status >= 400, body["code"].is_string(), "{name}: {body}");
        }
    }
}

/// The example file, as its upload event carries it.
fn example() -> Vec<u8> {
    let upload = event("events/sales/import-sales-multipart.json");
    let form = STANDARD
        .decode(upload["body"].as_str().expect("the form is text"))
        .expect("the form is base64");
    let begin = form
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("the part has a head")
        + 4;
    let end = form
        .windows(4)
        .rposition(|bytes| bytes == b"\r\n--")
        .expect("the form has an end");
    form[begin..end].to_vec()
}

#[test]
fn the_s3_event_imports_the_example_file() {
    let event = event("events/sales/s3-object-created.json");
    let object = &event["Records"][0]["s3"]["object"];
    let (key, file) = ("imports/March sales (shop).csv", example());
    let size = file.len() as u64;
    assert_eq!(
        (object["key"].as_str(), object["size"].as_u64()),
        (Some("imports/March+sales+%28shop%29.csv"), Some(size))
    );
    let put = async {
        connection()
            .s3()
            .put_object()
            .bucket(&stack().bucket)
            .key(key)
            .body(file.into())
            .send()
            .await
    };
    let tag = block_on(put)
        .expect("the bucket takes the file")
        .e_tag
        .expect("it has a tag");
    assert_eq!(
        object["eTag"].as_str(),
        Some(tag.trim_matches('"')),
        "the event is about this file"
    );
    assert_eq!(invoke("sales-import", &event), Ok(Value::Null));
    let version = ObjectVersion {
        key: key.to_owned(),
        etag: tag.trim_matches('"').to_owned(),
        sequencer: object["sequencer"].as_str().expect("it is text").to_owned(),
        size,
    };
    let put_at = event["Records"][0]["eventTime"]
        .as_str()
        .and_then(|time| time.parse().ok())
        .expect("it is a time");
    let import = ended_by_id(&ImportId::of_object(&version, put_at).to_string());
    assert_eq!(import["status"], "completed", "{import}");
    // The bucket's own event imports the file too: each row is stored by whichever came first.
    let (imported, duplicate, rejected) = counts(&import);
    assert_eq!((imported + duplicate, rejected), (3, 0), "{import}");
}

#[test]
fn the_queue_event_is_answered_message_by_message() {
    let answer = invoke("sales-import", &event("events/sales/import-continue.json"));
    assert_eq!(
        answer,
        Ok(json!({"batchItemFailures": []})),
        "an import that is not there has nothing to go on with"
    );
}

/// An authorizer's event with another key in place of the example's.
fn authorizer_event(name: &str, key: &str) -> Value {
    let text = tree::source(name);
    let example = event("events/sensors/authorizer-x-api-key.json");
    let secret = example["headers"]["X-Api-Key"]
        .as_str()
        .expect("the example has a key");
    assert!(text.contains(secret), "{name} has the same key");
    serde_json::from_str(&text.replace(secret, key)).expect("a key needs no escapes")
}

#[test]
fn the_authorizer_lets_a_key_call_what_it_asks_for_and_nothing_else() {
    for name in [
        "events/sensors/authorizer-token.json",
        "events/sensors/authorizer-x-api-key.json",
    ] {
        let key = &stack().device_key;
        let request = authorizer_event(name, key);
        let answer = invoke("sensor-authorizer", &request);
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer["usageIdentifierKey"].as_str(), Some(key.as_str()));
        assert_eq!(
            answer["policyDocument"]["Statement"],
            json!([{
                "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": request["methodArn"],
            }])
        );
        assert_eq!(answer["context"]["key"], answer["principalId"]);

        let unknown = format!("mr_{}", "0".repeat(key.len() - 3));
        let refused = invoke("sensor-authorizer", &authorizer_event(name, &unknown));
        let error = refused.expect_err("nobody was given this key");
        assert_eq!(error["errorMessage"], "Unauthorized");
    }
}

#[test]
fn the_queue_event_of_readings_stores_what_it_can_and_puts_the_rest_aside() {
    for name in [
        "events/sensors/store-batch.json",
        "events/sensors/store-poison.json",
    ] {
        let answer = invoke("sensor-store", &event(name));
        assert_eq!(answer, Ok(json!({"batchItemFailures": []})), "{name}");
    }
    let poison = event("events/sensors/store-poison.json")["Records"][0]["body"].take();
    eventually("the message is put aside", || {
        dead_letters()
            .iter()
            .any(|message| message.body() == poison.as_str())
    });
}

#[test]
fn the_schedule_s_event_begins_a_run() {
    let event = event("events/sensors/aggregate-schedule.json");
    let report = invoke("sensor-aggregate", &event).expect("it runs");
    assert_eq!(report["failed"], 0, "{report}");
}

#[test]
fn a_step_s_event_is_about_an_order_that_no_stack_has() {
    for &(name, binary, _) in EVENTS {
        if !name.starts_with("events/orders/step-") {
            continue;
        }
        let error = invoke(binary, &event(name)).expect_err(name);
        assert_eq!(error["errorType"], "Permanent", "{name}: {error}");
        assert_eq!(error["errorMessage"], "no such order", "{name}");
    }
}

#[test]
fn the_sweep_s_event_looks_at_what_is_due() {
    let event = event("events/orders/sweep-schedule.json");
    let report = invoke("reservation-sweep", &event).expect("it runs");
    assert!(report["looked_at"].is_u64(), "{report}");
}

#[test]
fn a_sign_up_s_event_comes_back_as_it_was() {
    let event = event("events/customers/sign-up.json");
    assert_eq!(invoke("customer-signup", &event), Ok(event));
}

#[test]
fn the_events_of_orders_are_all_counted() {
    let event = event("events/sales/order-revenue.json");
    let report = invoke("order-revenue", &event).expect("it runs");
    assert_eq!(report["batchItemFailures"], json!([]));
}

#[test]
fn the_events_of_the_stream_are_all_put_on_the_bus() {
    let report = invoke("event-relay", &event("events/events/relay-stream.json"));
    let report = report.expect("it runs");
    assert_eq!(report["batchItemFailures"], json!([]));
}

#[test]
fn a_notice_of_an_order_that_is_not_there_comes_back_no_more() {
    for file in ["send-confirmed", "send-shipped"] {
        let event = event(&format!("events/notifications/{file}.json"));
        let report = invoke("notification-send", &event).expect("it runs");
        assert_eq!(report["batchItemFailures"], json!([]), "{file}");
    }
}
