//! The memory that the deployed function takes at most, whatever the file.
//!
//! Its own bootstrap is run, as the build placed it, by a runtime interface, a table and a bucket of
//! the test's; what it took at most is read from the kernel.

use std::{fmt::Write as _, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use shared::{
    platform::aws::{Connection, http_client},
    sales::{import::Import, import::Status, store::SalesStore},
    testing::{Database, Table},
};
use tests::generate::sales::Plan;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, mpsc},
};

use super::draft::HEADER;
use crate::support::{
    gauntlet,
    object_store::{ObjectStore, etag},
    template, tree,
};

/// Bytes that the function may take.
const MOST: u64 = 128 << 20;

const ARENAS: &str = "MALLOC_ARENA_MAX";

/// A lambda of one function: hands it an event, takes its answer.
struct Runtime {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<String>,
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let Some(event) = runtime.events.lock().await.recv().await else {
        return std::future::pending().await;
    };
    let headers = [
        (
            "lambda-runtime-aws-request-id",
            "00000000-0000-4000-8000-000000000001",
        ),
        ("lambda-runtime-deadline-ms", "4102444800000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:sales-import",
        ),
    ];
    (headers, event.to_string()).into_response()
}

async fn answered(State(runtime): State<Arc<Runtime>>, answer: String) -> StatusCode {
    let told = runtime.answers.send(answer).await;
    told.expect("the test waits for the answer");
    StatusCode::ACCEPTED
}

/// Where the function finds table and bucket behind one address.
struct Services {
    database: String,
    objects: String,
}

async fn forward(State(services): State<Arc<Services>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.expect("a local body arrives");
    let base = if parts.headers.contains_key("x-amz-target") {
        &services.database
    } else {
        &services.objects
    };
    let url = format!("{base}{}", parts.uri);
    let sent =
        tokio::task::spawn_blocking(move || send(&parts.method, &url, &parts.headers, &body));
    sent.await.expect("a request does not panic")
}

fn send(method: &http::Method, url: &str, headers: &HeaderMap, body: &Bytes) -> Response {
    const OF_THE_HOP: [&str; 4] = ["host", "content-length", "connection", "transfer-encoding"];
    let kept = |name: &str| !OF_THE_HOP.contains(&name);
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers.iter().filter(|(name, _)| kept(name.as_str())) {
        request = request.header(name, value);
    }
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .build()
        .new_agent();
    let answer = agent.run(
        request
            .body(&body[..])
            .expect("the request was good before"),
    );
    let (parts, body) = answer.expect("a local service answers").into_parts();
    let bytes = body.into_with_config().limit(u64::MAX).read_to_vec();
    let mut response = Response::new(Body::from(bytes.expect("a local body arrives")));
    *response.status_mut() = parts.status;
    for (name, value) in parts.headers.iter().filter(|(name, _)| kept(name.as_str())) {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Serves on a loopback port of its own; gives its address.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a loopback port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

/// How many arenas the template lets the function's allocator have: each keeps what was freed in it.
fn arenas() -> String {
    let import = template::of_type("AWS::Serverless::Function").remove("SalesImport");
    let import = import.expect("the template has the function");
    let arenas = &import["Properties"]["Environment"]["Variables"][ARENAS];
    arenas
        .as_str()
        .expect("the template says how many")
        .to_owned()
}

/// The function's process; dies with the test.
fn start(runtime: &str, services: &str) -> Child {
    let bootstrap = tree::root().join("target/lambda/sales-import/bootstrap");
    let known = bootstrap.is_file();
    assert!(known, "{} is missing: make build", bootstrap.display());
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sales-import.log");
    let log = std::fs::File::create(log).expect("the target folder can be written");
    let errors = log.try_clone().expect("a file can be shared");
    Command::new(bootstrap)
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", runtime),
            ("AWS_LAMBDA_FUNCTION_NAME", "sales-import"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "log"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "log"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ENDPOINT_URL", &format!("http://{services}")),
            ("POWERTOOLS_SERVICE_NAME", "sales-import"),
            ("POWERTOOLS_METRICS_NAMESPACE", "Millrace"),
            ("RUST_LOG", "info"),
            ("STAGE", "local"),
            ("SALES_TABLE", "Sales"),
            ("IMPORTS_BUCKET", "bucket"),
            ("SALES_IMPORT_QUEUE_URL", "http://127.0.0.1:1/queue"),
            ("SALES_IMPORT_DEAD_LETTERS_URL", "http://127.0.0.1:1/dead"),
        ])
        .env(ARENAS, arenas())
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .expect("the bootstrap starts")
}

/// Bytes that a process has held at once at most.
fn peak(child: &Child) -> u64 {
    let id = child.id().expect("the process runs");
    let status = std::fs::read_to_string(format!("/proc/{id}/status"));
    let status = status.expect("the kernel tells of a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes
        .and_then(|text| text.parse().ok())
        .expect("the peak is a number");
    kilobytes * 1024
}

/// Has the function import a file; gives the import's record, and the memory that it took.
async fn import(file: Vec<u8>) -> (Import, u64) {
    let table = Table::new("Sales").index("imports", "imports_pk", "imports_sk");
    let database = Database::start(&[table]).await;
    let objects = ObjectStore::start().await;
    let services = Arc::new(Services {
        database: database.endpoint().to_owned(),
        objects: objects.endpoint().to_owned(),
    });
    let services = serve(Router::new().fallback(forward).with_state(services)).await;
    let (events, waiting) = mpsc::channel(1);
    let (answers, mut answer) = mpsc::channel(1);
    let runtime = Arc::new(Runtime {
        events: Mutex::new(waiting),
        answers,
    });
    let path = |rest: &str| format!("/2018-06-01/runtime/{rest}");
    let runtime = Router::new()
        .route(&path("invocation/next"), get(next))
        .route(&path("invocation/{id}/response"), post(answered))
        .route(&path("invocation/{id}/error"), post(answered))
        .route(&path("init/error"), post(answered))
        .with_state(runtime);
    let child = start(&serve(runtime).await, &services);

    let event = tree::source("events/sales/s3-object-created.json");
    let mut event: Value = serde_json::from_str(&event).expect("the event is JSON");
    let s3 = &mut event["Records"][0]["s3"];
    s3["bucket"]["name"] = json!("bucket");
    s3["object"]["key"] = json!("imports/worst.csv");
    s3["object"]["size"] = json!(file.len());
    s3["object"]["eTag"] = json!(etag(&file));
    objects.put("bucket/imports/worst.csv", file);
    events
        .send(event)
        .await
        .expect("the function asks for its event");
    let answer = tokio::time::timeout(Duration::from_mins(10), answer.recv()).await;
    let answer = answer
        .expect("the function answers")
        .expect("the function answers");
    assert_eq!(answer, "null", "the function is done with the file");
    let peak = peak(&child);

    let endpoint = database.endpoint();
    let client = Connection::to_emulator(endpoint, http_client(Some(endpoint))).dynamodb();
    let store = SalesStore::new(client, "Sales".into());
    let imports = store.imports(None, None, 1).await.expect("the table works");
    (
        imports.into_iter().next().expect("there is one import"),
        peak,
    )
}

/// Text of which each character says six bits.
fn noise(state: &mut u64, length: usize) -> String {
    let mut letter = |_| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        char::from(b'0' + u8::try_from(*state >> 58).unwrap_or(0))
    };
    (0..length).map(&mut letter).collect()
}

/// The files that ask most of memory, with how their import ends and how many rows it must count.
fn worst(bytes: usize) -> Vec<(&'static str, Vec<u8>, Status, u64)> {
    let header = HEADER.join(",") + "\n";
    let rows = bytes as u64 / 130;
    let written = |plan: Plan| {
        let mut file = Vec::new();
        plan.write_file(&mut file).expect("a Vec takes every write");
        file
    };
    let plan = |days| Plan {
        days,
        bad_rows: 0,
        ..Plan::new(rows, 7)
    };
    let mut state = gauntlet::seed() | 1;
    let mut long = header.clone();
    let mut long_rows = 0;
    while long.len() < bytes {
        let (item, notes) = (noise(&mut state, 60_000), noise(&mut state, 60_000));
        let sale = "3/1/2025,1,";
        writeln!(long, "{sale}{long_rows},{item},,,,{notes},,,,1,,,,,,7.25,")
            .expect("a String takes every write");
        long_rows += 1;
    }
    let short = header.clone() + &"x\n".repeat(bytes / 16);
    let mut foreign = long.clone().into_bytes();
    foreign.extend_from_slice(b"3/1/2025,1,2,Cr\xE8me,,,,,,,,1,,,,,,7.25,\n");
    let cell =
        header.clone() + "3/1/2025,1,2,\"" + &"x\n".repeat(bytes / 2) + "\",,,,,,,,1,,,,,,7.25,\n";
    let wide = header + &",".repeat(bytes) + "\n";
    vec![
        ("rows of one day", written(plan(1)), Status::Completed, rows),
        (
            "rows of 300 days",
            written(plan(300)),
            Status::Completed,
            rows,
        ),
        (
            "rows of 120 KB",
            long.into_bytes(),
            Status::Completed,
            long_rows,
        ),
        (
            "the same in Windows-1252",
            foreign,
            Status::Completed,
            long_rows + 1,
        ),
        (
            "rows of one letter, all rejected",
            short.into_bytes(),
            Status::CompletedWithErrors,
            bytes as u64 / 16,
        ),
        ("one cell", cell.into_bytes(), Status::Failed, 0),
        (
            "one row of delimiters",
            wide.into_bytes(),
            Status::Failed,
            0,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_takes_the_import_function_beyond_128_mib() {
    let megabytes = gauntlet::sized(6, 48);
    let mut most = 0;
    for (name, file, status, rows) in worst(megabytes << 20) {
        let (import, peak) = import(file).await;
        assert_eq!(import.status, status, "{name}: {import:?}");
        let counts = import.counts;
        let counted = counts.imported + counts.duplicate + counts.rejected;
        assert_eq!(counted, rows, "{name}: {import:?}");
        let mebibytes = peak >> 20;
        println!("{name}, {megabytes} MB: at most {mebibytes} MiB");
        assert!(peak < MOST, "{name}: {mebibytes} MiB");
        most = most.max(mebibytes);
    }
    let what = format!("MiB that the import function held at most, files of {megabytes} MB");
    gauntlet::figure("hostile CSV", &what, most);
}
