//! The adapter against localstripe, which was written by others from Stripe's documentation.
//!
//! It knows no idempotency keys, does not hold refunds to what was paid, and words its errors less
//! precisely: what is sent twice is refused there, so it also proves what happens once Stripe has
//! forgotten a key.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use shared::{
    payments::{
        gateway::Gateway,
        model::{Authorisation, Capture, Charge, DeclineCode, PaymentState, Refunding, Voiding},
        stripe::Stripe,
    },
    platform::{
        aws::Connection,
        clock::Clock,
        config::{PaymentSecret, StripeUrl},
        money::{Currency, Money},
    },
    testing::answering,
};

use crate::support::tree;

const KEY: &str = "sk_test_12345";

struct Emulator {
    process: Child,
    url: String,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.process.kill().expect("it can be ended");
        self.process.wait().expect("it ends");
    }
}

impl Emulator {
    fn start() -> Self {
        let mut process = Command::new(tree::root().join(".venv/bin/python"))
            .arg(tree::root().join("tests/all/payments/stripe_emulator.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("make venv installs Python and localstripe");
        let mut port = String::new();
        let output = process.stdout.take().expect("its output is read");
        BufReader::new(output)
            .read_line(&mut port)
            .expect("it says where it listens");
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { process, url }
    }

    fn gateway(&self) -> Gateway {
        let secrets = answering(|_| {
            let secret = json!({"stripe_api_key": KEY}).to_string();
            http::Response::new(json!({"SecretString": secret}).to_string())
        });
        let secrets = Connection::to_emulator(&self.url, secrets).secrets_manager();
        let url = StripeUrl::new(&self.url).expect("it listens on the loopback interface");
        let secret = PaymentSecret::new("stripe");
        Gateway::Stripe(Stripe::new(secrets, secret, &url, Clock::system()))
    }

    /// A payment method for a test card, <https://docs.stripe.com/testing>.
    fn method(&self, card: &str) -> String {
        let answer = ureq::post(format!("{}/v1/payment_methods", self.url))
            .header("authorization", format!("Bearer {KEY}"))
            .send_form([
                ("type", "card"),
                ("card[number]", card),
                ("card[exp_month]", "12"),
                ("card[exp_year]", "2030"),
                ("card[cvc]", "123"),
            ]);
        let mut answer = answer.expect("localstripe answers");
        let method: Value = answer.body_mut().read_json().expect("a method is JSON");
        method["id"]
            .as_str()
            .expect("a method has a name")
            .to_owned()
    }
}

fn sgd(amount: &str) -> Money {
    Money::parse(amount, Currency::SGD).expect("it is an amount")
}

fn charge<'a>(order_id: &'a str, method: &'a str) -> Charge<'a> {
    Charge {
        order_id,
        amount: sgd("34.88"),
        method,
    }
}

#[tokio::test]
async fn a_payment_goes_its_whole_way_and_each_step_counts_once() {
    let emulator = Emulator::start();
    let (gateway, visa) = (emulator.gateway(), emulator.method("4242424242424242"));
    let charge = charge("ORD-20261120-0123ABCD", &visa);
    let reference = gateway.open(&charge).await.expect("it is opened");
    for _ in 0..2 {
        let authorisation = gateway.authorise(&charge, &reference).await;
        assert_eq!(authorisation, Ok(Authorisation::Authorised));
    }
    let state = gateway.state(&charge, &reference).await;
    assert_eq!(state, Ok(PaymentState::Authorised));
    for _ in 0..2 {
        let capture = gateway.capture(&charge, &reference).await;
        assert_eq!(capture, Ok(Capture::Captured(sgd("34.88"))));
        let refund = |amount, id| gateway.refund(&charge, &reference, sgd(amount), id);
        assert_eq!(refund("10", "R1").await, Ok(Refunding::Refunded));
        assert_eq!(refund("4.88", "R2").await, Ok(Refunding::Refunded));
        let exceeds = Refunding::Refused(DeclineCode::ExceedsPayment);
        assert_eq!(refund("20.01", "R3").await, Ok(exceeds));
        let voiding = gateway.void(&charge, &reference).await;
        assert_eq!(voiding, Ok(Voiding::Captured(sgd("34.88"))));
    }
    assert_eq!(
        gateway.state(&charge, &reference).await,
        Ok(PaymentState::Captured {
            captured: sgd("34.88"),
            refunded: sgd("14.88"),
        })
    );
}

#[tokio::test]
async fn a_refused_payment_says_why_and_is_given_up_for_good() {
    let emulator = Emulator::start();
    let gateway = emulator.gateway();
    for (order, method, code) in [
        (
            "ORD-1",
            emulator.method("4000000000000341"),
            DeclineCode::Declined,
        ),
        (
            "ORD-2",
            emulator.method("4000002500003155"),
            DeclineCode::RequiresAction,
        ),
        ("ORD-3", "pm_unknown".to_owned(), DeclineCode::UnknownMethod),
    ] {
        let charge = charge(order, &method);
        let reference = gateway.open(&charge).await.expect("it is opened");
        for _ in 0..2 {
            let authorisation = gateway.authorise(&charge, &reference).await;
            assert_eq!(authorisation, Ok(Authorisation::Declined(code)), "{order}");
        }
        for _ in 0..2 {
            let voiding = gateway.void(&charge, &reference).await;
            assert_eq!(voiding, Ok(Voiding::Voided), "{order}");
        }
        let late = gateway.authorise(&charge, &reference).await;
        assert_eq!(
            late,
            Ok(Authorisation::Declined(DeclineCode::Voided)),
            "{order}"
        );
    }
}

#[tokio::test]
async fn an_authorised_payment_is_voided_before_it_is_captured() {
    let emulator = Emulator::start();
    let (gateway, visa) = (emulator.gateway(), emulator.method("4242424242424242"));
    let charge = charge("ORD-20261120-0123ABCD", &visa);
    let reference = gateway.open(&charge).await.expect("it is opened");
    gateway
        .authorise(&charge, &reference)
        .await
        .expect("it is authorised");
    assert_eq!(gateway.void(&charge, &reference).await, Ok(Voiding::Voided));
    let late = gateway.capture(&charge, &reference).await;
    assert_eq!(late, Ok(Capture::Refused(DeclineCode::Voided)));
}

#[tokio::test]
async fn a_payment_of_another_order_is_not_taken_for_this_one() {
    let emulator = Emulator::start();
    let (gateway, visa) = (emulator.gateway(), emulator.method("4242424242424242"));
    let reference = gateway
        .open(&charge("ORD-1", &visa))
        .await
        .expect("it is opened");
    let other = charge("ORD-2", &visa);
    assert!(gateway.authorise(&other, &reference).await.is_err());
    assert!(gateway.state(&other, &reference).await.is_err());
}
