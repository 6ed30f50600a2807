//! The adapter against a Stripe on the loopback interface that loses, garbles and repeats answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{client::Stripe, http::Http};
use crate::{
    payments::{
        gateway::Gateway,
        model::{
            Authorisation, Capture, Charge, DeclineCode, GatewayError, PaymentState, Refunding,
            Voiding,
        },
    },
    platform::{
        aws::Connection,
        clock::Clock,
        config::{PaymentSecret, StripeUrl},
        money::{Currency, Money},
    },
    testing,
};

/// What goes wrong with one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The connection breaks before the request is looked at.
    LostRequest,
    /// The request is done, and the connection breaks.
    LostReply,
    /// The request is done, and nothing is answered.
    Silence,
    /// The request is done, and half of the answer comes.
    Truncated,
    /// The answer comes twice.
    Duplicate,
    /// The answer is larger than any.
    Huge,
    /// The answer is no JSON.
    Garbled,
    /// The answer is about another order.
    OtherOrder,
    /// The answer is about another amount.
    OtherAmount,
    /// The answer is about another currency.
    OtherCurrency,
    /// The answer is about another payment.
    OtherPayment,
    /// The request is refused with this status and not done.
    Status(u16),
    /// It is so, and the refusal is kept for its idempotency key.
    Kept(u16),
    /// The request is done and a refusal with this status is answered, and kept.
    KeptAfter(u16),
}

const FAULTS: [Fault; 17] = [
    Fault::LostRequest,
    Fault::LostReply,
    Fault::Silence,
    Fault::Truncated,
    Fault::Duplicate,
    Fault::Huge,
    Fault::Garbled,
    Fault::OtherOrder,
    Fault::OtherAmount,
    Fault::OtherCurrency,
    Fault::OtherPayment,
    Fault::Status(401),
    Fault::Status(409),
    Fault::Status(429),
    Fault::Status(503),
    Fault::Kept(500),
    Fault::KeptAfter(500),
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
}

/// Payments, refunds and what was answered by which idempotency key.
#[derive(Default)]
struct Books {
    intents: Vec<Value>,
    refunds: Vec<Value>,
    answers: BTreeMap<String, (String, (u16, Value))>,
    authorised: usize,
    asked: Vec<Asked>,
}

fn error(kind: &str, code: &str) -> Value {
    json!({"error": {"type": kind, "code": code, "message": "Your card 4242 was refused."}})
}

impl Books {
    /// The answer, and whether it is one that was kept.
    fn answer(&mut self, asked: &Asked, fault: Option<Fault>) -> (u16, Value, bool) {
        let request = format!("{} {:?}", asked.line, asked.form);
        let key = asked.headers.get("idempotency-key");
        if let Some((first, (status, body))) = key.and_then(|key| self.answers.get(key)) {
            return if *first == request {
                (*status, body.clone(), true)
            } else {
                let body = error("idempotency_error", "idempotency_key_mismatch");
                (400, body, false)
            };
        }
        let (status, body) = match fault {
            Some(Fault::Kept(status)) => (status, error("api_error", "kept")),
            Some(Fault::KeptAfter(status)) => {
                self.act(asked);
                (status, error("api_error", "kept"))
            }
            _ => self.act(asked),
        };
        if let Some(key) = key {
            let kept = (request, (status, body.clone()));
            self.answers.insert(key.clone(), kept);
        }
        (status, body, false)
    }

    /// The idempotency keys that were sent, without the order's name.
    fn keys(&self) -> Vec<&str> {
        self.asked
            .iter()
            .filter_map(|asked| asked.headers.get("idempotency-key"))
            .map(|key| key.trim_start_matches(ORDER).trim_start_matches(':'))
            .collect()
    }

    fn act(&mut self, asked: &Asked) -> (u16, Value) {
        let form = |name: &str| asked.form.get(name).cloned();
        let number = |name: &str| form(name).and_then(|units| units.parse::<u64>().ok());
        let path = asked.line.split([' ', '?']).nth(1).unwrap_or_default();
        let is_post = asked.line.starts_with("POST");
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        match (is_post, parts.as_slice()) {
            (true, ["payment_intents"]) => {
                let method = form("payment_method");
                if method.as_deref() == Some("pm_missing") {
                    let mut body = error("invalid_request_error", "resource_missing");
                    body["error"]["param"] = json!("payment_method");
                    return (400, body);
                }
                let status = match method {
                    Some(_) => "requires_confirmation",
                    None => "requires_payment_method",
                };
                self.intents.push(json!({
                    "id": format!("pi_{}", self.intents.len()), "object": "payment_intent",
                    "amount": number("amount"), "currency": form("currency"), "status": status,
                    "metadata": {"order_id": form("metadata[order_id]")}, "amount_received": 0,
                    "payment_method": method, "last_payment_error": null, "latest_charge": null,
                }));
                (200, self.intents[self.intents.len() - 1].clone())
            }
            (_, ["payment_intents", id, verb @ ..]) => {
                let number = id.trim_start_matches("pi_").parse::<usize>();
                let Some(intent) = number.ok().and_then(|n| self.intents.get_mut(n)) else {
                    return (404, error("invalid_request_error", "resource_missing"));
                };
                let status = intent["status"].as_str().unwrap_or_default().to_owned();
                match (verb, status.as_str()) {
                    ([], _) => {}
                    (["confirm"], "requires_confirmation") => {
                        match intent["payment_method"].as_str() {
                            Some("pm_declined") => {
                                let mut body = error("card_error", "card_declined");
                                body["error"]["decline_code"] = json!("insufficient_funds");
                                intent["status"] = json!("requires_payment_method");
                                intent["last_payment_error"] = body["error"].clone();
                                body["error"]["payment_intent"] = intent.clone();
                                return (402, body);
                            }
                            Some("pm_action") => intent["status"] = json!("requires_action"),
                            _ => {
                                self.authorised += 1;
                                intent["status"] = json!("requires_capture");
                                intent["amount_capturable"] = intent["amount"].clone();
                            }
                        }
                    }
                    (["capture"], "requires_capture") => {
                        intent["status"] = json!("succeeded");
                        intent["amount_received"] = intent["amount"].clone();
                        intent["latest_charge"] = json!({"id": "ch_1", "amount_refunded": 0});
                    }
                    (["cancel"], status) if status.starts_with("requires") => {
                        intent["status"] = json!("canceled");
                    }
                    _ => {
                        let code = "payment_intent_unexpected_state";
                        return (400, error("invalid_request_error", code));
                    }
                }
                (200, intent.clone())
            }
            (true, ["refunds"]) => {
                let refund = json!({
                    "id": format!("re_{}", self.refunds.len()), "object": "refund",
                    "amount": number("amount"), "currency": "sgd", "status": "succeeded",
                    "payment_intent": form("payment_intent"),
                    "metadata": {"order_id": form("metadata[order_id]"),
                                 "refund_id": form("metadata[refund_id]")},
                });
                self.refunds.push(refund.clone());
                let sum: u64 = self
                    .refunds
                    .iter()
                    .filter(|refund| refund["status"] == "succeeded")
                    .filter_map(|refund| refund["amount"].as_u64())
                    .sum();
                let is_of = |intent: &&mut Value| intent["id"] == refund["payment_intent"];
                if let Some(intent) = self.intents.iter_mut().find(is_of) {
                    intent["latest_charge"]["amount_refunded"] = json!(sum);
                }
                (200, refund)
            }
            (false, ["refunds"]) => (200, json!({"data": self.refunds, "has_more": false})),
            _ => (404, error("invalid_request_error", "resource_missing")),
        }
    }
}

/// A Stripe that listens on a port of its own.
struct Server {
    url: StripeUrl,
    books: Arc<Mutex<Books>>,
}

impl Server {
    /// Has `fault` at those requests, counted from 0, that `is_faulty` says.
    fn start(fault: Fault, is_faulty: impl Fn(usize) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Mutex::new(Books::default()));
        let (shared, is_faulty) = (books.clone(), Arc::new(is_faulty));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (books, is_faulty) = (shared.clone(), is_faulty.clone());
                thread::spawn(move || serve(stream, &books, fault, &*is_faulty));
            }
        });
        Self {
            url: StripeUrl::new(format!("http://{address}")).unwrap(),
            books,
        }
    }

    fn honest() -> Self {
        Self::start(Fault::LostReply, |_| false)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn gateway(&self) -> Gateway {
        let http = Http::with_timeout(&self.url, Duration::from_secs(1));
        let secrets = secrets(|_| "sk_test_1".to_owned());
        let secret = PaymentSecret::new("arn");
        Gateway::Stripe(Stripe::over(http, secrets, secret, Clock::system()))
    }
}

/// A Secrets Manager that holds the key that a function gives for each time it is asked.
fn secrets(
    key: impl Fn(usize) -> String + Send + Sync + 'static,
) -> aws_sdk_secretsmanager::Client {
    let times = Mutex::new(0);
    let http = testing::answering(move |_| {
        let mut times = times.lock().unwrap();
        *times += 1;
        let secret = json!({"stripe_api_key": key(*times)}).to_string();
        let body = json!({"ARN": "arn", "SecretString": secret}).to_string();
        http::Response::new(body)
    });
    Connection::to_emulator("http://127.0.0.1:1", http).secrets_manager()
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_owned(), value.to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(Asked {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        form: form_urlencoded::parse(&body).into_owned().collect(),
    })
}

fn spoil(body: &mut Value, fault: Fault) {
    let of = match body.get_mut("data") {
        Some(data) => data.get_mut(0),
        None => Some(body),
    };
    let Some(of) = of else { return };
    let is_refund = of["object"] == "refund";
    match fault {
        Fault::OtherOrder => of["metadata"]["order_id"] = json!("ORD-OTHER"),
        Fault::OtherAmount => of["amount"] = json!(1),
        Fault::OtherCurrency => of["currency"] = json!("usd"),
        Fault::OtherPayment if is_refund => of["payment_intent"] = json!("pi_other"),
        // The name of a payment is learnt when it is opened.
        Fault::OtherPayment if of["status"] != "requires_confirmation" => of["id"] = json!("pi_x"),
        _ => {}
    }
}

fn serve(
    stream: TcpStream,
    books: &Mutex<Books>,
    fault: Fault,
    is_faulty: &(dyn Fn(usize) -> bool + Send + Sync),
) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        let mut books = books.lock().unwrap();
        let fault = Some(fault).filter(|_| is_faulty(books.asked.len()));
        books.asked.push(asked.clone());
        let (status, mut body, is_replayed) = match fault {
            Some(Fault::LostRequest) => return,
            Some(Fault::Status(status)) => (status, error("api_error", "lock_timeout"), false),
            _ => books.answer(&asked, fault),
        };
        drop(books);
        if let Some(fault) = fault {
            spoil(&mut body, fault);
        }
        let text = match fault {
            Some(Fault::Garbled) => "<html>".to_owned(),
            Some(Fault::Huge) => format!("{body}{}", " ".repeat(300_000)),
            _ => body.to_string(),
        };
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{}content-length: {}\r\n\r\n{text}",
            if is_replayed {
                "idempotent-replayed: true\r\n"
            } else {
                ""
            },
            text.len()
        );
        let sent = match fault {
            Some(Fault::LostReply) => return,
            Some(Fault::Silence) => {
                // Until the client gives up and closes the connection.
                let _ = stream.read(&mut [0]);
                return;
            }
            Some(Fault::Truncated) => {
                let _ = stream
                    .get_mut()
                    .write_all(&answer.as_bytes()[..answer.len() - 5]);
                return;
            }
            Some(Fault::Duplicate) => stream.get_mut().write_all(answer.repeat(2).as_bytes()),
            _ => stream.get_mut().write_all(answer.as_bytes()),
        };
        if sent.is_err() {
            return;
        }
    }
}

const ORDER: &str = "ORD-20261120-0123ABCD";

fn sgd(amount: &str) -> Money {
    Money::parse(amount, Currency::SGD).unwrap()
}

fn charge(method: &str) -> Charge<'_> {
    Charge {
        order_id: ORDER,
        amount: sgd("34.88"),
        method,
    }
}

/// Calls again while the provider is not understood, as the saga does, and says what it came to.
async fn insist<T, F: Future<Output = Result<T, GatewayError>>>(call: impl Fn() -> F) -> T {
    for _ in 0..5 {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(!matches!(error, GatewayError::Permanent(_)), "{error}"),
        }
    }
    panic!("it fails however often it is called");
}

/// A payment's whole way.
async fn pay(gateway: &Gateway) {
    let charge = charge("pm_card_visa");
    let reference = insist(|| gateway.open(&charge)).await;
    let authorisation = insist(|| gateway.authorise(&charge, &reference)).await;
    assert_eq!(authorisation, Authorisation::Authorised);
    let capture = insist(|| gateway.capture(&charge, &reference)).await;
    assert_eq!(capture, Capture::Captured(charge.amount));
    for _ in 0..2 {
        let refund = || gateway.refund(&charge, &reference, sgd("10"), "R1");
        assert_eq!(insist(refund).await, Refunding::Refunded);
    }
    let state = insist(|| gateway.state(&charge, &reference)).await;
    let expected = PaymentState::Captured {
        captured: charge.amount,
        refunded: sgd("10"),
    };
    assert_eq!(state, expected);
}

#[tokio::test]
async fn whatever_goes_wrong_with_one_answer_the_customer_is_charged_and_refunded_once() {
    let plain = Server::honest();
    pay(&plain.gateway()).await;
    let requests = plain.books().asked.len();
    assert_eq!(requests, 8);
    let cases = FAULTS
        .into_iter()
        .flat_map(|fault| (0..requests).map(move |at| (fault, at)));
    join_all(cases.map(|(fault, at)| async move {
        let server = Server::start(fault, move |number| number == at);
        pay(&server.gateway()).await;
        let books = server.books();
        let done = (books.intents.len(), books.authorised, books.refunds.len());
        // A payment that nobody learnt the name of lapses without having moved money.
        let is_unnamed = (fault, at) == (Fault::KeptAfter(500), 0);
        let intents = if is_unnamed { 2 } else { 1 };
        assert_eq!(done, (intents, 1, 1), "{fault:?} at {at}");
    }))
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_before_anything_is_done_again() {
    for fault in [Fault::LostReply, Fault::Silence, Fault::Truncated] {
        let server = Server::start(fault, |number| number == 1);
        let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
        let reference = gateway.open(&charge).await.unwrap();
        let authorisation = gateway.authorise(&charge, &reference).await;
        assert_eq!(authorisation, Ok(Authorisation::Authorised), "{fault:?}");
        let books = server.books();
        let lines: Vec<_> = books
            .asked
            .iter()
            .map(|asked| asked.line.as_str())
            .collect();
        assert_eq!(
            lines,
            [
                "POST /v1/payment_intents",
                "POST /v1/payment_intents/pi_0/confirm",
                "GET /v1/payment_intents/pi_0?expand%5B%5D=latest_charge",
            ],
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn answers_about_something_else_are_never_believed() {
    let cases = [
        Fault::OtherOrder,
        Fault::OtherAmount,
        Fault::OtherCurrency,
        Fault::OtherPayment,
        Fault::Huge,
        Fault::Garbled,
    ];
    join_all(cases.map(|fault| async move {
        let server = Server::start(fault, |number| number > 0);
        let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
        let reference = gateway.open(&charge).await.unwrap();
        let authorisation = gateway.authorise(&charge, &reference).await;
        let Err(GatewayError::Untrusted(reason)) = &authorisation else {
            panic!("{fault:?}: {authorisation:?}");
        };
        assert!(
            !reason.contains("OTHER") && !reason.contains("pi_x"),
            "{reason}"
        );
        let capture = gateway.capture(&charge, &reference).await;
        assert!(
            matches!(capture, Err(GatewayError::Untrusted(_))),
            "{fault:?}: {capture:?}"
        );
    }))
    .await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_may_be_asked_later() {
    let server = Server::start(Fault::LostReply, |number| number > 0);
    let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
    let reference = gateway.open(&charge).await.unwrap();
    let authorisation = gateway.authorise(&charge, &reference).await;
    assert!(authorisation.unwrap_err().retryable());
    assert_eq!(server.books().authorised, 1);
}

#[tokio::test]
async fn money_that_was_taken_unnoticed_is_found_taken_at_the_next_try() {
    for fault in [Fault::LostReply, Fault::Silence, Fault::KeptAfter(500)] {
        // The capture, and the question after it.
        let server = Server::start(fault, |number| (2..4).contains(&number));
        let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
        let reference = gateway.open(&charge).await.unwrap();
        gateway.authorise(&charge, &reference).await.unwrap();
        let capture = gateway.capture(&charge, &reference).await;
        assert!(capture.unwrap_err().retryable(), "{fault:?}");
        let capture = gateway.capture(&charge, &reference).await;
        assert_eq!(capture, Ok(Capture::Captured(charge.amount)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_failure_that_stripe_keeps_is_gone_past_by_the_same_keys_for_all() {
    for status in [400, 500] {
        // The first two cancels; between them, the question and the kept answer to the first.
        let server = Server::start(Fault::Kept(status), |number| [2, 5].contains(&number));
        let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
        let reference = gateway.open(&charge).await.unwrap();
        gateway.authorise(&charge, &reference).await.unwrap();
        for _ in 0..2 {
            let failed = gateway.void(&charge, &reference).await.unwrap_err();
            assert_eq!(failed.retryable(), status == 500, "{failed}");
        }
        let void = || gateway.void(&charge, &reference);
        assert_eq!(void().await, Ok(Voiding::Voided), "{status}");
        assert_eq!(void().await, Ok(Voiding::Voided), "{status}");
        let books = server.books();
        let first = ["void", "void", "void:2"];
        let rest = ["void", "void:2", "void:3"];
        assert_eq!(books.keys()[2..], [first, rest, rest].concat(), "{status}");
    }
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_asked_a_few_times_a_call() {
    let server = Server::start(Fault::Kept(500), |number| number > 1 && number != 3);
    let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
    let reference = gateway.open(&charge).await.unwrap();
    gateway.authorise(&charge, &reference).await.unwrap();
    for _ in 0..20 {
        let failed = gateway.void(&charge, &reference).await.unwrap_err();
        assert!(failed.retryable(), "{failed}");
    }
    let books = server.books();
    assert!(books.keys().contains(&"void:16") && !books.keys().contains(&"void:17"));
}

/// A captured payment at a server that has `fault` at those requests after its capture, counted
/// from 0.
async fn captured(fault: Fault, at: &'static [usize]) -> (Server, Gateway) {
    let server = Server::start(fault, move |number| {
        number
            .checked_sub(3)
            .is_some_and(|number| at.contains(&number))
    });
    let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
    let reference = gateway.open(&charge).await.unwrap();
    gateway.authorise(&charge, &reference).await.unwrap();
    gateway.capture(&charge, &reference).await.unwrap();
    (server, gateway)
}

#[tokio::test]
async fn a_refund_whose_failure_stripe_keeps_is_made_once_by_the_next_key() {
    for (fault, keys) in [
        (Fault::Kept(500), &["refund:R1", "refund:R1:2"][..]),
        (Fault::KeptAfter(500), &["refund:R1"]),
    ] {
        let (server, gateway) = captured(fault, &[2]).await;
        let (charge, reference) = (charge("pm_card_visa"), "pi_0".parse().unwrap());
        let refund = || Box::pin(gateway.refund(&charge, &reference, sgd("10"), "R1"));
        if let Err(error) = refund().await {
            assert!(error.retryable(), "{error}");
        }
        let both = join_all([refund(), refund()]).await;
        assert!(both.contains(&Ok(Refunding::Refunded)), "{both:?}");
        assert_eq!(refund().await, Ok(Refunding::Refunded));
        let books = server.books();
        assert_eq!(books.refunds.len(), 1, "{fault:?}");
        let sent = BTreeSet::from_iter(books.keys().split_off(3));
        assert!(sent.iter().eq(keys), "{fault:?}: {sent:?}");
    }
}

#[tokio::test]
async fn a_refund_that_is_refused_for_good_stays_refused_and_another_may_fare_better() {
    for status in [400, 402, 404] {
        let (server, gateway) = captured(Fault::Kept(status), &[2]).await;
        let (charge, reference) = (charge("pm_card_visa"), "pi_0".parse().unwrap());
        let refund = |amount, id| gateway.refund(&charge, &reference, sgd(amount), id);
        let declined = DeclineCode::Declined;
        let first = refund("10", "R1").await;
        assert_eq!(first, Ok(Refunding::Refused(declined)), "{status}");
        for amount in ["10", "11"] {
            let again = refund(amount, "R1").await;
            assert_eq!(again, Ok(Refunding::RefusedBefore(declined)), "{status}");
        }
        assert_eq!(refund("10", "R2").await, Ok(Refunding::Refunded));
        assert_eq!(server.books().refunds.len(), 1);
    }
    // About our key or the moment, which passes.
    for status in [401, 403, 408, 409, 425, 429] {
        let (_server, gateway) = captured(Fault::Status(status), &[2, 3]).await;
        let (charge, reference) = (charge("pm_card_visa"), "pi_0".parse().unwrap());
        let refund = || gateway.refund(&charge, &reference, sgd("10"), "R1");
        assert!(refund().await.is_err(), "{status}");
        assert_eq!(refund().await, Ok(Refunding::Refunded), "{status}");
    }
}

#[tokio::test]
async fn a_refund_that_the_bank_sent_back_is_asked_for_under_another_name() {
    let (server, gateway) = captured(Fault::LostReply, &[]).await;
    let (charge, reference) = (charge("pm_card_visa"), "pi_0".parse().unwrap());
    let refund = |id| gateway.refund(&charge, &reference, charge.amount, id);
    assert_eq!(refund("R1").await, Ok(Refunding::Refunded));
    server.books().refunds[0]["status"] = json!("failed");
    let before = Refunding::RefusedBefore(DeclineCode::Declined);
    assert_eq!(refund("R1").await, Ok(before));
    assert_eq!(refund("R2").await, Ok(Refunding::Refunded));
    let exceeds = Refunding::Refused(DeclineCode::ExceedsPayment);
    assert_eq!(refund("R3").await, Ok(exceeds));
}

#[tokio::test]
async fn no_more_is_given_back_than_was_taken_of_what_was_charged() {
    let (server, gateway) = captured(Fault::LostReply, &[]).await;
    let (charge, reference) = (charge("pm_card_visa"), "pi_0".parse().unwrap());
    server.books().intents[0]["amount_received"] = json!(2000);
    let refund = |amount, id| gateway.refund(&charge, &reference, sgd(amount), id);
    let exceeds = Refunding::Refused(DeclineCode::ExceedsPayment);
    assert_eq!(refund("20.01", "R1").await, Ok(exceeds));
    assert!(server.books().refunds.is_empty());
    assert_eq!(refund("20", "R2").await, Ok(Refunding::Refunded));
}

#[tokio::test]
async fn what_was_voided_is_never_authorised_and_what_was_captured_never_voided() {
    let server = Server::honest();
    let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
    let reference = gateway.open(&charge).await.unwrap();
    assert_eq!(gateway.void(&charge, &reference).await, Ok(Voiding::Voided));
    let late = gateway.authorise(&charge, &reference).await;
    assert_eq!(late, Ok(Authorisation::Declined(DeclineCode::Voided)));
    let late = gateway.capture(&charge, &reference).await;
    assert_eq!(late, Ok(Capture::Refused(DeclineCode::Voided)));
    assert_eq!(server.books().authorised, 0);

    let server = Server::honest();
    pay(&server.gateway()).await;
    let voiding = server
        .gateway()
        .void(&charge, &"pi_0".parse().unwrap())
        .await;
    assert_eq!(voiding, Ok(Voiding::Captured(charge.amount)));
}

#[tokio::test]
async fn a_declined_payment_says_why_as_often_as_it_is_asked() {
    for (method, code) in [
        ("pm_declined", DeclineCode::InsufficientFunds),
        ("pm_action", DeclineCode::RequiresAction),
        ("pm_missing", DeclineCode::UnknownMethod),
    ] {
        let server = Server::honest();
        let (gateway, charge) = (server.gateway(), charge(method));
        let reference = gateway.open(&charge).await.unwrap();
        for _ in 0..2 {
            let authorisation = gateway.authorise(&charge, &reference).await;
            assert_eq!(authorisation, Ok(Authorisation::Declined(code)), "{method}");
        }
        // As after a day, when the idempotency key is forgotten.
        server.books().answers.clear();
        let authorisation = gateway.authorise(&charge, &reference).await;
        assert_eq!(authorisation, Ok(Authorisation::Declined(code)), "{method}");
        assert_eq!(gateway.void(&charge, &reference).await, Ok(Voiding::Voided));
    }
}

#[tokio::test]
async fn no_more_is_refunded_than_was_paid_even_when_keys_are_forgotten() {
    let server = Server::honest();
    let (gateway, charge) = (server.gateway(), charge("pm_card_visa"));
    pay(&gateway).await;
    server.books().answers.clear();
    let reference = "pi_0".parse().unwrap();
    let refund = |amount, id| gateway.refund(&charge, &reference, sgd(amount), id);
    assert_eq!(refund("10", "R1").await, Ok(Refunding::Refunded));
    let exceeds = Refunding::Refused(DeclineCode::ExceedsPayment);
    assert_eq!(refund("24.89", "R2").await, Ok(exceeds));
    assert_eq!(refund("24.88", "R3").await, Ok(Refunding::Refunded));
    assert_eq!(server.books().refunds.len(), 2);
    let changed = refund("9", "R1").await.unwrap_err();
    assert!(matches!(changed, GatewayError::Untrusted(_)), "{changed}");
}

#[tokio::test]
async fn a_replaced_key_is_fetched_once_and_remembered() {
    let server = Server::start(Fault::Status(401), |number| number == 1);
    let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
    let http = Http::with_timeout(&server.url, Duration::from_secs(1));
    let secrets = secrets(|times| format!("sk_test_{times}"));
    let stripe = Stripe::over(http, secrets, PaymentSecret::new("arn"), clock.clone());
    let (gateway, charge) = (Gateway::Stripe(stripe), charge("pm_card_visa"));
    let reference = gateway.open(&charge).await.unwrap();
    gateway.authorise(&charge, &reference).await.unwrap();
    gateway.capture(&charge, &reference).await.unwrap();
    clock.advance(jiff::SignedDuration::from_mins(10));
    gateway.state(&charge, &reference).await.unwrap();
    let keys = |asked: &Asked| asked.headers["authorization"].clone();
    let keys: Vec<_> = server.books().asked.iter().map(keys).collect();
    let expected = [1, 1, 2, 2, 3].map(|times| format!("Bearer sk_test_{times}"));
    assert_eq!(keys, expected);

    let server = Server::start(Fault::Status(401), |_| true);
    let refused = server.gateway().open(&charge).await.unwrap_err();
    assert!(matches!(refused, GatewayError::Permanent(_)), "{refused}");
    assert_eq!(server.books().asked.len(), 2);
}

#[tokio::test]
async fn a_secret_without_a_key_is_a_mistake_that_repeating_does_not_mend() {
    let server = Server::honest();
    let http = Http::new(&server.url);
    let secrets = secrets(|_| "not a key\r\nx: y".to_owned());
    let stripe = Stripe::over(http, secrets, PaymentSecret::new("arn"), Clock::system());
    let refused = stripe.open(&charge("pm_card_visa")).await.unwrap_err();
    assert!(matches!(refused, GatewayError::Permanent(_)), "{refused}");
    assert!(server.books().asked.is_empty());
}

#[tokio::test]
async fn what_is_sent_is_what_stripe_documents() {
    let server = Server::honest();
    pay(&server.gateway()).await;
    let books = server.books();
    let header = |asked: &Asked, name: &str| asked.headers.get(name).cloned();
    let sent = books.asked.iter().map(|asked| {
        let mut text = asked.line.clone();
        for name in ["stripe-version", "idempotency-key", "content-type"] {
            if let Some(value) = header(asked, name) {
                text = format!("{text}\n  {name}: {value}");
            }
        }
        let form = asked
            .form
            .iter()
            .map(|(name, value)| format!("\n  {name}={value}"));
        text + &form.collect::<String>()
    });
    let sent: Vec<_> = sent.take(6).collect();
    insta::assert_snapshot!(sent.join("\n"), @"
    POST /v1/payment_intents
      stripe-version: 2024-06-20
      idempotency-key: ORD-20261120-0123ABCD:open
      content-type: application/x-www-form-urlencoded
      amount=3488
      capture_method=manual
      currency=sgd
      metadata[order_id]=ORD-20261120-0123ABCD
      payment_method=pm_card_visa
      payment_method_types[]=card
    POST /v1/payment_intents/pi_0/confirm
      stripe-version: 2024-06-20
      idempotency-key: ORD-20261120-0123ABCD:authorise
      content-type: application/x-www-form-urlencoded
    POST /v1/payment_intents/pi_0/capture
      stripe-version: 2024-06-20
      idempotency-key: ORD-20261120-0123ABCD:capture
      content-type: application/x-www-form-urlencoded
    GET /v1/refunds?payment_intent=pi_0&limit=100
      stripe-version: 2024-06-20
    GET /v1/payment_intents/pi_0?expand%5B%5D=latest_charge
      stripe-version: 2024-06-20
    POST /v1/refunds
      stripe-version: 2024-06-20
      idempotency-key: ORD-20261120-0123ABCD:refund:R1
      content-type: application/x-www-form-urlencoded
      amount=1000
      metadata[order_id]=ORD-20261120-0123ABCD
      metadata[refund_id]=R1
      payment_intent=pi_0
    ");
}
