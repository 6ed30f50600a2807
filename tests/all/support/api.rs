//! Calls on the stack's API.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderName, Method, Request};

use super::stack::stack;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Admin,
    Analyst,
    Customer,
}

/// A request that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A call of the API on `path`, query included.
pub(crate) fn call(method: &str, path: &str) -> Call {
    Call::to(method, format!("{}{path}", stack().api_url))
}

/// A GET of the API as `admin`.
pub(crate) fn get(path: &str) -> Call {
    call("GET", path).role(Role::Admin)
}

impl Call {
    /// A call of any address.
    pub(crate) fn to(method: &str, url: impl Into<String>) -> Self {
        let method = method.parse().expect("tests name methods that exist");
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn role(self, role: Role) -> Self {
        let stack = stack();
        match role {
            Role::Admin => self.token(&stack.admin_token),
            Role::Analyst => self.token(&stack.analyst_token),
            Role::Customer => self.token(&stack.customer_token),
        }
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", kind)
    }

    /// A form with these text fields and then `file`.
    pub(crate) fn form(self, fields: &[(&str, &str)], file: Option<&[u8]>) -> Self {
        const BOUNDARY: &str = "millrace-8f2c61d0e7";
        let mut body = Vec::new();
        for (name, value) in fields {
            let part = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        if let Some(file) = file {
            let part = "Content-Disposition: form-data; name=\"file\"; filename=\"sales.csv\"\r\nContent-Type: text/csv";
            body.extend_from_slice(format!("--{BOUNDARY}\r\n{part}\r\n\r\n").as_bytes());
            body.extend_from_slice(file);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// Sends the request as a well-behaved client does, until it is answered for good: the same again,
    /// under the same key, after a pause. Gives the statuses of the answers before as well.
    ///
    /// # Panics
    ///
    /// When two minutes bring no such answer.
    pub(crate) fn persist(&self) -> (Answer, Vec<u16>) {
        const PATIENCE: Duration = Duration::from_mins(2);
        let begun = Instant::now();
        let (mut pause, mut earlier) = (Duration::from_millis(100), Vec::new());
        loop {
            let answer = self.clone().send();
            let is_running =
                answer.status == 409 && answer.text().contains("idempotency-in-progress");
            if !is_running && !matches!(answer.status, 429 | 500..) {
                return (answer, earlier);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{self:?}: {} {}",
                answer.status,
                answer.text()
            );
            earlier.push(answer.status);
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Sends the request.
    pub(crate) fn send(self) -> Answer {
        static AGENT: OnceLock<Agent> = OnceLock::new();
        let agent = AGENT.get_or_init(|| {
            let config = Agent::config_builder().http_status_as_error(false);
            config
                .timeout_global(Some(Duration::from_mins(1)))
                .max_redirects(0)
                .build()
                .new_agent()
        });
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = if self.body.is_empty() && self.method != Method::POST {
            agent.run(request.body(()).expect("tests write valid requests"))
        } else {
            agent.run(request.body(self.body).expect("tests write valid requests"))
        };
        let mut response =
            sent.unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.url));
        let body = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_vec()
            .expect("the body is readable");
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        }
    }
}

impl Answer {
    /// An answer that nobody gave, to see what is said of it.
    pub(crate) fn of<'h>(
        status: u16,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| {
            let name = name.parse::<HeaderName>().expect("it is a name");
            (name, value.parse().expect("it is a value"))
        });
        Self {
            status,
            headers: headers.collect(),
            body: body.into(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("headers are ASCII"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the answer {} {:?}", self.status, self.text())
        })
    }

    /// Asks for a status, and shows the body of any other.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    /// Asks for a problem with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let answer = self.expect(status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        let body = answer.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert_eq!(
            body["type"],
            format!("https://errors.invalid/{code}"),
            "{body}"
        );
        assert!(
            body["title"].is_string() && body["detail"].is_string(),
            "{body}"
        );
        assert_eq!(
            body["correlation_id"].as_str(),
            answer.header("x-correlation-id"),
            "{body}"
        );
        body
    }

    /// Status and body together, as a snapshot keeps them. Numbers stay as they were printed.
    pub(crate) fn snapshot(&self) -> String {
        format!("{}\n{}", self.status, self.text())
    }
}

/// Percent-encodes a query value.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
