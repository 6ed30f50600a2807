//! What taking an order costs the order API: its handler's CPU time, from the request to the answer.
//! The SDK and its HTTP are included; the database and the state machine's service, which are on other
//! threads, are left out.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use shared::platform::aws::http_client;

use shop::{Shop, executions, request};

#[path = "../all/support/shop.rs"]
mod shop;

const REQUESTS: usize = 300;
const WARMING: usize = 20;

/// Nanoseconds that this thread has been on a processor, as the kernel counts them.
/// <https://docs.kernel.org/scheduler/sched-stats.html>
fn thread_nanoseconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Answers every call as Step Functions answers one that begins an execution; says where.
fn state_machine() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    format!("http://{address}")
}

fn answer(stream: TcpStream) {
    const BODY: &str = r#"{"executionArn": "arn:x", "startDate": 1}"#;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the body comes");
        let length = BODY.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{BODY}"
        );
        let stream = reader.get_mut();
        stream
            .write_all(answer.as_bytes())
            .expect("the caller listens");
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    for lines in [1, 3, 45] {
        runtime.block_on(measure(lines));
    }
}

async fn measure(lines: usize) {
    let shop = Shop::open(lines, 10).await;
    let endpoint = state_machine();
    let executions = executions(&endpoint, http_client(Some(&endpoint)));
    let api = shop.api(http_client(Some(shop.database.endpoint())), executions);
    let mut times = Vec::new();
    for n in 0..WARMING + REQUESTS {
        let request = request(lines, &n.to_string());
        let before = thread_nanoseconds();
        let response = api.serve(request).await;
        assert_eq!(response.status(), 202);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        body.expect("the body is in memory");
        times.push(thread_nanoseconds() - before);
    }
    let mut times = times.split_off(WARMING);
    times.sort_unstable();
    let micros = |share: usize| times[times.len() * share / 100] / 1000;
    println!(
        "an order of {lines} lines: {} µs CPU at the median, {} µs at the 90th percentile",
        micros(50),
        micros(90),
    );
}
