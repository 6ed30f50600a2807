//! The rights that only trouble calls for, and the routes that nothing else calls on the deployed stack: each function
//! does under its own role what it is there for.

use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use shared::platform::clock::Clock;

use crate::events::{event, invoke_with};
use crate::support::api::{Answer, Role, call, encoded, get};
use crate::support::bucket::{
    block_on, connection, counts, ended, ended_by_id, file, id, import, put, report, row,
    unique_key,
};
use crate::support::faulty_cloud::refusing;
use crate::support::lambda::{aws, function, invoke, object_created};
use crate::support::sensors::{device_id, eventually};
use crate::support::stack::{stack, unique, variable};
use crate::support::{old_orders, people};

const JSON: &str = "application/json";
/// How long a function has for its work.
const TIME: Duration = Duration::from_mins(1);
/// How long before its time is over an import stops.
const STOPS_BEFORE: Duration = Duration::from_secs(10);
/// Days of a file that takes much longer to store than to read.
const HURRIED_DAYS: u64 = 600;

fn run(arguments: &[&str]) -> Value {
    let output = aws(arguments)
        .output()
        .expect("make venv installs the AWS command line");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// The environment of a function that runs under its own role, with the stack's services behind `door`.
fn as_itself(resource: &str, door: String) -> [(&'static str, String); 4] {
    let name = function(&format!("{resource}Role"));
    let role = format!("arn:aws:iam::000000000000:role/{name}");
    let session = [
        "sts",
        "assume-role",
        "--role-arn",
        &role,
        "--role-session-name",
        "test",
    ];
    let mut session = run(&session)["Credentials"].take();
    let mut part = |name: &str| match session[name].take() {
        Value::String(part) => part,
        other => panic!("{name} is {other}"),
    };
    [
        ("AWS_ACCESS_KEY_ID", part("AccessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", part("SecretAccessKey")),
        ("AWS_SESSION_TOKEN", part("SessionToken")),
        ("AWS_ENDPOINT_URL", door),
    ]
}

/// An event file whose request has a key of its own and, where it makes a device, names a new one.
fn request(name: &str) -> Value {
    let mut request = event(name);
    let key = unique();
    request["headers"]["Idempotency-Key"] = json!(key);
    request["multiValueHeaders"]["Idempotency-Key"] = json!([key]);
    let body: Option<Value> = request["body"].as_str().and_then(|body| body.parse().ok());
    if let Some(mut body) = body.filter(|body| body["device_id"].is_string()) {
        body["device_id"] = json!(device_id());
        request["body"] = json!(body.to_string());
    }
    request
}

fn admin(method: &str, path: &str, etag: Option<&str>, body: &Value) -> Answer {
    let mut call = call(method, path).role(Role::Admin);
    if let Some(etag) = etag {
        call = call.header("If-Match", etag);
    }
    if method == "POST" {
        call = call.header("Idempotency-Key", &unique());
    }
    if body.is_null() {
        call.send()
    } else {
        call.body(JSON, body.to_string()).send()
    }
}

fn category(name: &str) -> String {
    let made = admin(
        "POST",
        "/api/catalog/categories",
        None,
        &json!({"name": name, "slug": unique()}),
    );
    made.expect(201).json()["id"]
        .as_str()
        .expect("a category has an id")
        .to_owned()
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_catalogue_is_built_listed_and_taken_down() {
    let category = category("Lamps");
    let product = |name: &str, amount: &str| {
        let price = json!({"amount": amount, "currency": "SGD"});
        let body =
            json!({"sku": unique(), "name": name, "price": price, "category_ids": [category]});
        let made = admin("POST", "/api/catalog/products", None, &body).expect(201);
        let etag = made
            .header("etag")
            .expect("a product has a version")
            .to_owned();
        (made.json(), etag)
    };
    let (cheap, etag) = product("Bulb", "1.00");
    let (dear, _) = product("Arc", "9.00");
    let names = |query: &str| -> Vec<Value> {
        let path = format!("/api/catalog/products?category={category}&{query}");
        let list = call("GET", &path).send().expect(200).json();
        let list = list["data"].as_array().expect("a list has data").clone();
        list.into_iter()
            .map(|mut product| product["name"].take())
            .collect()
    };
    assert_eq!(names("ordering=price"), ["Bulb", "Arc"]);
    assert_eq!(names("ordering=name"), ["Arc", "Bulb"]);
    assert_eq!(names("ordering=newest"), ["Arc", "Bulb"]);
    let average = || {
        let path = format!("/api/catalog/categories/{category}/avg_price");
        call("GET", &path).send().expect(200).json()["average_price"]["amount"].take()
    };
    eventually("the average is that of both", || average() == "5.00");

    let stock = format!(
        "/api/catalog/stock/{}",
        dear["sku"].as_str().expect("it has a sku")
    );
    let more = json!({"delta": 3, "reason": "a test's"});
    admin("POST", &format!("{stock}/adjust"), None, &more).expect(200);
    assert_eq!(names("in_stock=true"), ["Arc"]);
    let told = admin("GET", &format!("{stock}/events"), None, &Value::Null)
        .expect(200)
        .json();
    assert!(
        !told["data"].as_array().expect("a list has data").is_empty(),
        "{told}"
    );

    // The cheapest of its set goes, so the set's range has to be looked up.
    let path = format!(
        "/api/catalog/products/{}",
        cheap["id"].as_str().expect("it has an id")
    );
    admin("DELETE", &path, Some(&etag), &Value::Null).expect(204);
    assert_eq!(names("ordering=price"), ["Arc"]);
    eventually("the average is that of the other", || average() == "9.00");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn the_orders_of_a_status_are_listed() {
    let orders = call("GET", "/api/orders?status=cancelled&limit=1")
        .role(Role::Admin)
        .send()
        .expect(200)
        .json();
    let orders = orders["data"].as_array().expect("a list has data");
    assert!(
        orders.iter().all(|order| order["status"] == "cancelled"),
        "{orders:?}"
    );
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn categories_that_are_made_at_once_are_all_there() {
    let makers: Vec<_> = (0..6)
        .map(|_| thread::spawn(|| category("At once")))
        .collect();
    let made: Vec<String> = makers
        .into_iter()
        .map(|maker| maker.join().expect("it is made"))
        .collect();
    for id in made {
        call("GET", &format!("/api/catalog/categories/{id}"))
            .send()
            .expect(200);
    }
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_event_that_is_none_is_put_aside_by_the_relay() {
    let order = format!("ORDER#{}", unique());
    let item = json!({"pk": {"S": order}, "sk": {"S": "EV#000001"}, "type": {"S": "no event"}});
    let table = variable("MILLRACE_COMMERCE_TABLE");
    run(&[
        "dynamodb",
        "put-item",
        "--table-name",
        &table,
        "--item",
        &item.to_string(),
    ]);
    eventually("the event is put aside", || {
        is_in(&variable("MILLRACE_EVENT_POISON_QUEUE_URL"), &order)
    });
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_message_that_is_no_order_s_is_put_aside_by_the_revenue() {
    is_put_aside("MILLRACE_ORDER_REVENUE");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_message_that_is_no_notice_is_put_aside_by_the_sender() {
    is_put_aside("MILLRACE_NOTIFICATION");
}

/// Sends nonsense to the queue that variables of this name begin with, and finds it among its dead letters.
fn is_put_aside(name: &str) {
    let body = format!("no event {}", unique());
    let queue = variable(&format!("{name}_QUEUE_URL"));
    let send = connection().sqs().send_message();
    let send = send.queue_url(&queue).message_body(&body).send();
    block_on(send).expect("the queue takes it");
    let aside = variable(&format!("{name}_DEAD_LETTERS_URL"));
    eventually("the message is put aside", || is_in(&aside, &body));
}

/// Whether a message that says `text` lies in a queue.
fn is_in(queue: &str, text: &str) -> bool {
    let receive = connection().sqs().receive_message();
    let receive = receive.queue_url(queue).max_number_of_messages(10);
    let found = block_on(
        receive
            .visibility_timeout(1)
            .message_attribute_names("All")
            .send(),
    );
    format!("{:?}", found.expect("the queue answers")).contains(text)
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_event_that_the_import_fails_at_thrice_is_handed_on() {
    let name = function("SalesImport");
    let marker = unique();
    let event = json!({"Records": marker}).to_string();
    let out = std::env::temp_dir().join(&marker);
    let call = [
        "lambda",
        "invoke",
        "--function-name",
        &name,
        "--invocation-type",
        "Event",
    ];
    let payload = ["--payload", &event];
    run(&[
        &call[..],
        &payload,
        &[out.to_str().expect("a path is text")],
    ]
    .concat());
    let _ = std::fs::remove_file(out);
    eventually("the event is handed on", || {
        is_in(&variable("MILLRACE_FAILURES_URL"), &marker)
    });
}

/// An order that was taken by a clock and whose execution could not be begun.
fn forgotten(clock: Clock) -> String {
    let token = people::another_customer();
    let me = call("GET", "/api/customers/me").token(&token);
    let profile = me.send().expect(200).json();
    let price = json!({"amount": "10.00", "currency": "SGD"});
    let sku = unique();
    let product = json!({"sku": sku, "name": "A test's", "price": price});
    admin("POST", "/api/catalog/products", None, &product).expect(201);
    let more = json!({"delta": 5, "reason": "a test's"});
    let path = format!("/api/catalog/stock/{sku}/adjust");
    admin("POST", &path, None, &more).expect(200);
    let customer = profile["customer_id"].as_str();
    old_orders::take(clock, customer.expect("a customer has an id"), &sku)
}

fn order(id: &str) -> Value {
    admin("GET", &format!("/api/orders/{id}"), None, &Value::Null)
        .expect(200)
        .json()
}

fn sweep() {
    let report = invoke(&variable("MILLRACE_SWEEP_FUNCTION"), &json!({})).expect("it runs");
    assert_eq!(report["failed"], 0, "{report}");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_order_whose_execution_was_never_begun_or_has_failed_is_carried_through_by_the_sweep() {
    let never = forgotten(old_orders::an_hour_ago());
    let failed = forgotten(old_orders::an_hour_ago());
    let saga = variable("MILLRACE_ORDER_SAGA_ARN");
    let input = json!({"order_id": failed, "action": "none"}).to_string();
    let begin = [
        "stepfunctions",
        "start-execution",
        "--state-machine-arn",
        &saga,
    ];
    let started = run(&[&begin[..], &["--name", &failed, "--input", &input]].concat());
    let execution = started["executionArn"].as_str().expect("it has a name");
    eventually("the execution fails", || {
        run(&[
            "stepfunctions",
            "describe-execution",
            "--execution-arn",
            execution,
        ])["status"]
            == "FAILED"
    });
    sweep();
    for id in [never, failed] {
        eventually("the order is paid", || order(&id)["saga"] == "completed");
    }
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_reservation_that_ran_out_is_given_up_by_the_sweep() {
    // Taken just now, it is nothing yet for the stack's own sweep, which comes every five minutes.
    let id = forgotten(Clock::system());
    old_orders::reserve(&id);
    sweep();
    eventually("the order is closed", || {
        order(&id)["status"] == "cancelled"
    });
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn messages_that_cannot_be_worked_on_for_now_come_again_after_a_pause() {
    let all = [
        (
            "NotificationSend",
            "notification-send",
            "events/notifications/send-confirmed.json",
        ),
        (
            "OrderRevenue",
            "order-revenue",
            "events/sales/order-revenue.json",
        ),
        (
            "SalesImport",
            "sales-import",
            "events/sales/import-continue.json",
        ),
        (
            "SensorStore",
            "sensor-store",
            "events/sensors/store-batch.json",
        ),
    ];
    for (resource, binary, name) in all {
        let environment = as_itself(resource, refusing(&["DynamoDB_"]));
        let batch = event(name);
        let answer = invoke_with(binary, &batch, &environment, TIME).expect("it answers");
        let failed = answer["batchItemFailures"].as_array().map(Vec::len);
        assert_eq!(
            failed,
            batch["Records"].as_array().map(Vec::len),
            "{name}: {answer}"
        );
    }
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_request_that_failed_leaves_its_key_to_the_next_try() {
    let transaction = &["TransactWriteItems"];
    let all = [
        (
            "CustomerApi",
            "customer-api",
            "events/customers/addresses-create.json",
        ),
        ("SalesApi", "sales-api", "events/sales/create-import.json"),
        (
            "SensorApi",
            "sensor-api",
            "events/sensors/devices-create.json",
        ),
    ];
    for (resource, binary, name) in all {
        let request = request(name);
        let environment = as_itself(resource, refusing(transaction));
        let answer = invoke_with(binary, &request, &environment, TIME).expect("it answers");
        assert_eq!(answer["statusCode"], 503, "{name}: {answer}");
        // With the claim still held this would be told to wait.
        let environment = as_itself(resource, stack().endpoint.clone());
        let answer = invoke_with(binary, &request, &environment, TIME).expect("it answers");
        assert_eq!(answer["statusCode"], 201, "{name}: {answer}");
    }
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn a_key_that_the_usage_plan_did_not_take_is_none() {
    let request = event("events/sensors/keys-create.json");
    let environment = as_itself("SensorKeys", refusing(&["POST /apikeys"]));
    let answer = invoke_with("sensor-keys", &request, &environment, TIME).expect("it answers");
    assert_eq!(answer["statusCode"], 503, "{answer}");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_import_whose_time_runs_out_goes_on_by_itself() {
    let key = unique_key("in-a-hurry");
    let mut date = jiff::civil::date(2031, 1, 1);
    let rows: Vec<String> = (0..HURRIED_DAYS)
        .map(|_| {
            let day = date.strftime("%-m/%-d/%Y").to_string();
            date = date.tomorrow().expect("the year is far from the last");
            row(&day, &unique(), "A", "3.00")
        })
        .collect();
    let sales = file(&rows);
    put(&key, sales.clone());
    let first = ended(&key);
    let head = connection()
        .s3()
        .head_object()
        .bucket(&stack().bucket)
        .key(&key);
    let head = block_on(head.send()).expect("the file is there");
    let etag = head.e_tag().expect("it has a tag").trim_matches('"');
    // To the import it is a later version of the object. The file is read in the time that there is,
    // and its days are not; where reading takes longer, the event comes again as Lambda sends it.
    let event = object_created(&key, sales.len() as u64, etag, &format!("F{}", unique()));
    let environment = as_itself("SalesImport", stack().endpoint.clone());
    let handed_over = (1..=5).any(|seconds| {
        let time = STOPS_BEFORE + Duration::from_secs(seconds);
        invoke_with("sales-import", &event, &environment, time).is_ok()
    });
    assert!(handed_over, "no run got beyond reading the file");
    let path = format!("/api/sales/imports?key={}", encoded(&key));
    let list = get(&path).send().expect(200).json();
    let imports = list["data"].as_array().expect("there is a list");
    let second = imports.iter().find(|import| id(import) != id(&first));
    let second = second.expect("the event has made another");
    assert_eq!(second["status"], "importing", "another run goes on");
    let second = ended_by_id(id(second));
    assert_eq!(counts(&second), (0, HURRIED_DAYS, 0), "{second}");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_upload_that_the_api_could_not_import_is_imported_from_the_queue() {
    let sales = file(&[row("1/4/2031", &unique(), "A", "3.00")]);
    let mut request = event("events/sales/import-sales-multipart.json");
    let kind = request["headers"]["Content-Type"].as_str();
    let (_, boundary) = kind
        .and_then(|kind| kind.split_once("boundary="))
        .expect("the event has a form");
    let form = [
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"sales.csv\"\r\n").as_bytes(),
        b"Content-Type: text/csv\r\n\r\n",
        &sales,
        format!("\r\n--{boundary}--\r\n").as_bytes(),
    ]
    .concat();
    request["body"] = json!(BASE64_STANDARD.encode(form));
    let environment = as_itself("SalesApi", refusing(&["TOTAL#"]));
    let answer = invoke_with("sales-api", &request, &environment, TIME).expect("it answers");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    let list = get("/api/sales/imports?limit=100")
        .send()
        .expect(200)
        .json();
    let imports = list["data"].as_array().expect("there is a list");
    let import = imports.iter().find(|import| {
        let is_upload = |key: &str| key.starts_with("direct/");
        import["key"].as_str().is_some_and(is_upload) && import["status"] == "importing"
    });
    let id = id(import.expect("the upload is being imported"));
    go_on_with("import", id);
    let import = ended_by_id(id);
    assert_eq!(counts(&import), (1, 0, 0), "{import}");
}

/// Sends what the API sent, which comes in a minute, at once.
fn go_on_with(action: &str, import: &str) {
    let task = json!({"action": action, "import": import}).to_string();
    let send = connection()
        .sqs()
        .send_message()
        .queue_url(&stack().queue_url);
    block_on(send.message_body(task).send()).expect("the queue takes it");
}

#[test]
#[ignore = "shares people and queues with other tests: it is run after them"]
fn an_import_that_the_api_could_not_take_back_is_taken_back_from_the_queue() {
    let import = import(
        "half-gone",
        file(&[row("1/3/2031", &unique(), "A", "3.00")]),
    );
    let id = id(&import);
    let etag = report(id)
        .header("etag")
        .expect("an import has a version")
        .to_owned();
    let mut request = event("events/sales/delete-import.json");
    request["path"] = json!(format!("/api/sales/imports/{id}"));
    request["headers"]["If-Match"] = json!(etag);
    request["multiValueHeaders"]["If-Match"] = json!([etag]);
    let environment = as_itself("SalesApi", refusing(&["TOTAL#"]));
    let answer = invoke_with("sales-api", &request, &environment, TIME).expect("it answers");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    go_on_with("take-back", id);
    eventually("the import is taken back", || {
        report(id).json()["status"] == "deleted"
    });
}
