//! What can go wrong with a call, by the operation that it is.

use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use shared::platform::ids::Random;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is reset before the request is sent.
    Reset,
    /// It is done, and its reply lost.
    LostReply,
    /// It is done, and answered with an internal error.
    ServerError,
    /// It is done, and never answered.
    Hang,
    /// It is refused, for there are too many.
    Throttled,
    /// A single write is refused, for a transaction is at its item.
    Conflict,
    /// A transaction is cancelled, for others are at some of its items.
    Cancelled,
    /// A part of a batch is done.
    Unprocessed,
    /// An index answers as it was a while ago.
    Stale,
}

impl Fault {
    /// What a service that is down or overwhelmed does to every call.
    pub(crate) const OUTAGES: [Self; 4] = [
        Self::Hang,
        Self::Throttled,
        Self::Cancelled,
        Self::Unprocessed,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "reset",
            Self::LostReply => "lost reply",
            Self::ServerError => "500 when done",
            Self::Hang => "hang when done",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::Cancelled => "cancelled",
            Self::Unprocessed => "unprocessed",
            Self::Stale => "stale",
        })
    }
}

/// How a service says that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// A word in a JSON body: `DynamoDB`, SQS, Step Functions, `EventBridge`, Cognito, Secrets Manager.
    Json,
    /// A word in a header: SES, API Gateway.
    Rest,
    /// An XML body: S3, SNS.
    Xml,
}

/// The operation that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) operation: String,
    service: String,
    dialect: Dialect,
    is_head: bool,
}

impl Call {
    /// Reads it off a request of the SDK.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let headers = request.headers();
        let is_head = request.method() == "HEAD";
        let target = headers.get("x-amz-target");
        if let Some((service, operation)) = target.and_then(|target| target.rsplit_once('.')) {
            let is_index = operation == "Query" && json_of(request).get("IndexName").is_some();
            return Self {
                operation: format!("{operation}{}", if is_index { " of an index" } else { "" }),
                service: service.to_owned(),
                dialect: Dialect::Json,
                is_head,
            };
        }
        let signed = headers.get("authorization").unwrap_or_default();
        let service = signed.split('/').nth(3).unwrap_or("unknown").to_owned();
        let (path, query) = path_and_query(request.uri());
        let (operation, dialect) = match service.as_str() {
            "s3" => (object_operation(request.method(), query), Dialect::Xml),
            "sns" => ("Publish".to_owned(), Dialect::Xml),
            "ses" => ("SendEmail".to_owned(), Dialect::Rest),
            _ => {
                let resource = path.split('/').nth(1).unwrap_or_default();
                (format!("{} {resource}", request.method()), Dialect::Rest)
            }
        };
        Self {
            operation,
            service,
            dialect,
            is_head,
        }
    }

    fn is_table(&self) -> bool {
        self.service.starts_with("DynamoDB")
    }

    /// What can go wrong with it; an index is stale only where one can be told from what is new.
    pub(crate) fn faults(&self, has_stale_indexes: bool) -> Vec<Fault> {
        let mut faults = vec![
            Fault::Reset,
            Fault::LostReply,
            Fault::ServerError,
            Fault::Hang,
            Fault::Throttled,
        ];
        match self.operation.as_str() {
            "PutItem" | "UpdateItem" | "DeleteItem" => faults.push(Fault::Conflict),
            "TransactWriteItems" => faults.push(Fault::Cancelled),
            "BatchWriteItem" | "BatchGetItem" | "SendMessageBatch" | "PutEvents" => {
                faults.push(Fault::Unprocessed);
            }
            "Query of an index" if has_stale_indexes => faults.push(Fault::Stale),
            _ => {}
        }
        faults
    }

    /// Whether it changes a table.
    pub(crate) fn is_write(&self) -> bool {
        const WRITES: [&str; 5] = [
            "PutItem",
            "UpdateItem",
            "DeleteItem",
            "BatchWriteItem",
            "TransactWriteItems",
        ];
        self.is_table() && WRITES.contains(&self.operation.as_str())
    }

    /// The answer of a service that has too much to do.
    pub(crate) fn throttled(&self, random: &Random) -> HttpResponse {
        let (status, code) = match (self.dialect, self.service.as_str()) {
            (Dialect::Xml, "s3") => (503, "SlowDown"),
            (Dialect::Xml, _) => (400, "Throttling"),
            (Dialect::Rest, _) => (429, "TooManyRequestsException"),
            (Dialect::Json, _) if self.is_table() => {
                const CODES: [&str; 3] = [
                    "ProvisionedThroughputExceededException",
                    "ThrottlingException",
                    "RequestLimitExceeded",
                ];
                (400, CODES[random.up_to(2) as usize])
            }
            (Dialect::Json, _) => (400, "ThrottlingException"),
        };
        self.refusal(status, code)
    }

    /// The answer of a service that is broken.
    pub(crate) fn broken(&self) -> HttpResponse {
        let code = match self.dialect {
            Dialect::Xml => "InternalError",
            Dialect::Json | Dialect::Rest => "InternalServerError",
        };
        self.refusal(500, code)
    }

    /// The answer to a single write while a transaction is at its item.
    pub(crate) fn conflict(&self) -> HttpResponse {
        self.refusal(400, "TransactionConflictException")
    }

    fn refusal(&self, status: u16, code: &str) -> HttpResponse {
        let message = "refused on purpose";
        let body = match self.dialect {
            Dialect::Xml if self.is_head => String::new(),
            Dialect::Xml if self.service == "s3" => {
                format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
            }
            Dialect::Xml => format!(
                "<ErrorResponse><Error><Type>Receiver</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error></ErrorResponse>"
            ),
            Dialect::Json | Dialect::Rest => {
                json!({"__type": code, "message": message}).to_string()
            }
        };
        let mut response = answer(status, body);
        if self.dialect == Dialect::Rest {
            response
                .headers_mut()
                .insert("x-amzn-errortype", code.to_owned());
        }
        response
    }
}

/// Why a transaction is cancelled: others are at some of its items, and at least at one.
pub(crate) fn cancelled(request: &HttpRequest, random: &Random) -> HttpResponse {
    let writes = json_of(request)["TransactItems"]
        .as_array()
        .map_or(1, |writes| writes.len().max(1));
    let sure = random.up_to(u32::try_from(writes - 1).unwrap_or(u32::MAX)) as usize;
    let reasons = (0..writes).map(|at| {
        let code = match random.up_to(if at == sure { 1 } else { 3 }) {
            0 => "TransactionConflict",
            1 => "ThrottlingError",
            _ => "None",
        };
        json!({ "Code": code })
    });
    let reasons: Vec<Value> = reasons.collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": reasons,
    });
    answer(400, body.to_string())
}

/// A whole answer.
pub(crate) fn answer(status: u16, body: String) -> HttpResponse {
    let status = status.try_into().expect("it is a status");
    HttpResponse::new(status, SdkBody::from(body))
}

/// The JSON of a request's body, null if it has none.
pub(crate) fn json_of(request: &HttpRequest) -> Value {
    let body = request.body().bytes().unwrap_or_default();
    serde_json::from_slice(body).unwrap_or_default()
}

fn path_and_query(uri: &str) -> (&str, &str) {
    let after_host = uri.splitn(4, '/').nth(3).unwrap_or_default();
    let from = uri.len() - after_host.len();
    // The path keeps the slash before it, where there is a host at all.
    let whole = uri.get(from.saturating_sub(1)..).unwrap_or(uri);
    whole.split_once('?').unwrap_or((whole, ""))
}

fn object_operation(method: &str, query: &str) -> String {
    let named = query.split('&').find_map(|pair| pair.strip_prefix("x-id="));
    let operation = match (named, method) {
        (Some(name), _) => name,
        (None, "HEAD") => "HeadObject",
        (None, "POST") if query.contains("uploadId") => "CompleteMultipartUpload",
        (None, "POST") => "CreateMultipartUpload",
        (None, other) => other,
    };
    operation.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Call {
        let mut request = HttpRequest::get(uri).unwrap();
        request.set_method(method).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, *value);
        }
        Call::of(&request)
    }

    #[test]
    fn a_request_says_which_operation_it_is() {
        let signed = |service: &str| match service {
            "s3" => "AWS4-HMAC-SHA256 Credential=test/20261120/us-east-1/s3/aws4_request",
            _ => "AWS4-HMAC-SHA256 Credential=test/20261120/us-east-1/apigateway/aws4_request",
        };
        let object =
            |method: &str, uri: &str| request(method, uri, &[("authorization", signed("s3"))]);
        for (method, query, operation) in [
            ("GET", "?x-id=GetObject", "GetObject"),
            ("PUT", "?x-id=PutObject", "PutObject"),
            ("HEAD", "", "HeadObject"),
            ("POST", "?uploads", "CreateMultipartUpload"),
            ("POST", "?uploadId=3", "CompleteMultipartUpload"),
        ] {
            let uri = format!("http://127.0.0.1:1/bucket/a/b.csv{query}");
            assert_eq!(object(method, &uri).operation, operation);
        }
        let keys = [("authorization", signed("apigateway"))];
        let keys = request("POST", "http://127.0.0.1:1/apikeys?mode=x", &keys);
        assert_eq!(keys.operation, "POST apikeys");
        let target = [("x-amz-target", "DynamoDB_20120810.PutItem")];
        let put = request("POST", "http://127.0.0.1:1/", &target);
        assert_eq!(put.operation, "PutItem");
        assert!(put.is_write());
        assert!(put.faults(true).contains(&Fault::Conflict));
    }
}
