//! The queue of notifications.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use functions::notifications::{context::Context, send::handle};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{
    customers::model::Claims,
    notifications::{
        provider::{Ses, Sns},
        rules::PHONE_DELIVERIES,
    },
    orders::{
        event::{Happened, apply},
        model::{CancelReason, Cancellation, Order, OrderId, Refund, RefundStanding, Shipment},
        testing::{created, table},
    },
    platform::{
        aws::{Connection, http_client},
        batch,
        clock::Clock,
        config::{AdminAlertEmail, CommerceTable, SenderEmail},
        ids::Random,
        money::{Currency, Money},
    },
    testing::{Database, answering},
};

use super::{
    poison::{self, Poison},
    refusals::{KINDS, Met, Trouble},
    sqs::{Delivery, Sqs},
};
use crate::support::gauntlet;

const CHECK: &str = "queues: NotificationQueue";
const STAFF: &str = "staff@example.com";
const REFUNDS: [&str; 2] = ["1.16", "2.32"];
const CUSTOMERS: usize = 12;
/// Calls of a run among which the one is that goes wrong.
const CALLS: u32 = 8;
/// Deliveries up to which runs may fail: after the fourth, a message is given up as it should be.
const MOST_TROUBLED: u32 = 2;
/// Milliseconds for which both providers are down in the beginning, which opens their breakers, until
/// when they recover, and between two failures after that, too few to open one.
const OUTAGE: i64 = 20_000;
const RECOVERY: i64 = 240_000;
const BETWEEN_FAILURES: i64 = 60_000;

/// The providers, and what they were given: the text, and whom it went to.
struct Providers {
    clock: Clock,
    random: Random,
    begun: i64,
    failed_at: Mutex<BTreeMap<bool, i64>>,
    /// Whether a call that fails now would be a message's last.
    is_last: AtomicBool,
    sent: Mutex<Vec<(String, String)>>,
    met: Met,
}

impl Providers {
    /// Lets the time go by in which the breakers leave the providers alone after the outage: two runs
    /// at once count as two deliveries, so that a message's last may come within it.
    fn wait_for_recovery(&self) {
        let left = self.begun + RECOVERY - self.clock.now().as_millisecond();
        self.clock.advance(SignedDuration::from_millis(left.max(0)));
    }

    fn answer(&self, path: &str, body: &str) -> (u16, String) {
        let is_email = path.contains("/email/");
        let (to, text) = if is_email {
            email(body)
        } else {
            text_message(body)
        };
        let now = self.clock.now().as_millisecond();
        let is_last = self.is_last.load(Ordering::Relaxed);
        let is_down = now < self.begun + OUTAGE;
        let mut failed_at = self.failed_at.lock().unwrap();
        let failed_at = failed_at.entry(is_email).or_insert(self.begun + RECOVERY);
        let may_fail = now - *failed_at > BETWEEN_FAILURES;
        if !is_last && (is_down || (may_fail && self.random.up_to(3) == 0)) {
            *failed_at = now.max(*failed_at);
            self.met.add("provider calls failed");
            return (500, r#"{"__type":"InternalServiceError"}"#.to_owned());
        }
        if to.contains("refused") || to.starts_with("+1") {
            self.met.add("provider calls refused");
            let error =
                "<ErrorResponse><Error><Code>InvalidParameter</Code></Error></ErrorResponse>";
            let json = r#"{"__type":"MessageRejected"}"#;
            return (400, if is_email { json } else { error }.to_owned());
        }
        self.sent.lock().unwrap().push((to, text));
        let taken = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>";
        let json = r#"{"MessageId":"m"}"#;
        (200, if is_email { json } else { taken }.to_owned())
    }
}

fn email(body: &str) -> (String, String) {
    let body: Value = serde_json::from_str(body).unwrap();
    let simple = &body["Content"]["Simple"];
    let text = |value: &Value| value["Data"].as_str().unwrap().to_owned();
    let to = &body["Destination"]["ToAddresses"][0];
    (
        to.as_str().unwrap().to_owned(),
        text(&simple["Subject"]) + "\n" + &text(&simple["Body"]["Text"]),
    )
}

/// Phone number and text of a form.
fn text_message(body: &str) -> (String, String) {
    let field = |name: &str| {
        let mut fields = body.split('&').filter_map(|field| field.split_once('='));
        let (_, value) = fields.find(|(known, _)| *known == name).unwrap();
        let mut bytes = value.bytes();
        let mut text = Vec::new();
        while let Some(byte) = bytes.next() {
            text.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            });
        }
        String::from_utf8(text).unwrap()
    };
    (field("PhoneNumber"), field("Message"))
}

/// How a customer is reached: every fourth has left, every other has a phone, and of one the number is
/// refused.
#[derive(Clone, Debug)]
struct Person {
    sub: String,
    email: Option<String>,
    phone: Option<String>,
}

impl Person {
    fn new(n: usize) -> Self {
        let has_left = n % 4 == 3;
        let phone = if n == 5 {
            "+12025550123".to_owned()
        } else {
            format!("+65912345{n:02}")
        };
        Self {
            sub: format!("customer-{n}"),
            email: (!has_left).then(|| format!("person-{n}@example.com")),
            phone: (!has_left && n % 2 == 1).then_some(phone),
        }
    }
}

/// What is told, by order, kind and refund, and to whom it may go.
type Expected = BTreeMap<(String, &'static str, String), Vec<String>>;

struct World {
    database: Database,
    clock: Clock,
    sqs: Sqs,
    providers: Arc<Providers>,
}

impl World {
    async fn start() -> Self {
        let now: Timestamp = "2026-11-20T16:00:00Z".parse().unwrap();
        let clock = Clock::fixed(now);
        let sqs = Sqs::of("NotificationQueue", &clock);
        Self {
            database: Database::start(&[table("Commerce")]).await,
            providers: Arc::new(Providers {
                clock: clock.clone(),
                random: sqs.random.clone(),
                begun: now.as_millisecond(),
                failed_at: Mutex::default(),
                is_last: AtomicBool::default(),
                sent: Mutex::default(),
                met: Met::default(),
            }),
            clock,
            sqs,
        }
    }

    fn process(&self, trouble: &Trouble) -> Context<batch::Queues> {
        let http = trouble.over(http_client(Some(self.database.endpoint())));
        let aws = Connection::to_emulator(self.database.endpoint(), http);
        let providers = self.providers.clone();
        let http = answering(move |request| {
            let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
            let (status, answer) = providers.answer(request.uri().path(), body);
            let response = http::Response::builder().status(status);
            response.body(answer).unwrap()
        });
        let world = Connection::to_emulator("http://127.0.0.1:1", http);
        let sender = || SenderEmail::new("shop@example.org");
        let table = CommerceTable::new("Commerce");
        let admin = Some(AdminAlertEmail::new(STAFF));
        let context = Context::new(&aws, &table, sender(), admin, self.sqs.failed());
        Context {
            ses: Ses::new(&world.ses(), sender()),
            sns: Sns::new(&world.sns()),
            clock: self.clock.clone(),
            random: self.sqs.random.clone(),
            ..context
        }
    }

    /// Keeps an order of `customer` as it is after `change`.
    async fn order(
        &self,
        process: &Context<batch::Queues>,
        customer: &str,
        change: impl FnOnce(&mut Order),
    ) -> String {
        let happened: Happened = created(customer, "sandbox-approve", &[("TEA-100", 2)]);
        let now = self.clock.now();
        let id = OrderId::new(now, self.sqs.random.bytes());
        let mut order = apply(None, &id, &happened, now).unwrap();
        change(&mut order);
        let made = process.orders.create(&order, &happened, now, None);
        made.await.unwrap();
        id.to_string()
    }
}

fn asked(order: &str, kind: &str) -> String {
    json!({"order_id": order, "kind": kind}).to_string()
}

/// An event as the bus delivers it.
fn happened(order: &str, kind: &str, sequence: u32, data: &Value) -> String {
    let detail = json!({
        "specversion": "1.0", "id": format!("order:{order}:{sequence}"), "source": "/millrace/orders",
        "type": kind, "subject": order, "time": "2026-11-20T18:02:11.417Z",
        "datacontenttype": "application/json", "data": data, "sequence": sequence.to_string(),
        "sequencetype": "Integer", "correlationid": format!("c-{order}"),
    });
    json!({"version": "0", "detail-type": kind, "detail": detail}).to_string()
}

fn money(amount: &str) -> Money {
    Money::parse(amount, Currency::SGD).unwrap()
}

fn delivered(order: &mut Order) {
    order.shipment = Some(Shipment {
        carrier: Some("SingPost".into()),
        tracking_number: None,
    });
    let refund = |amount: &&str| Refund {
        refund_id: format!("r-{amount}"),
        amount: money(amount),
        lines: Vec::new(),
        restock: false,
        reason: None,
        standing: RefundStanding::Done,
        failure: None,
        requested_at: order.created_at,
    };
    order.refunds = REFUNDS.iter().map(refund).collect();
}

fn cancelled(order: &mut Order) {
    order.cancellation = Some(Cancellation {
        reason: CancelReason::OutOfStock,
        shortages: Vec::new(),
        note: None,
        at: order.created_at,
    });
}

/// Messages about as many orders as it takes, and what comes of them.
async fn messages(world: &World, process: &Context<batch::Queues>) -> (Vec<String>, Expected) {
    let (mut messages, mut expected) = (Vec::new(), Expected::new());
    let people: Vec<Person> = (0..CUSTOMERS).map(Person::new).collect();
    for person in people.iter().filter(|person| person.email.is_some()) {
        let claims = Claims::read(&person.sub, |name| match name {
            "email" => person.email.as_deref(),
            "email_verified" => Some("true"),
            "phone_number" => person.phone.as_deref(),
            _ => None,
        });
        let made = process.customers.ensure(&claims, world.clock.now());
        made.await.unwrap();
    }
    let count = gauntlet::sized(150, 2_500);
    for n in 0.. {
        if messages.len() >= count {
            break;
        }
        let person = &people[n % CUSTOMERS];
        let mut tell = |order: &str, kind: &'static str, refund: &str| {
            let phone = person
                .phone
                .iter()
                .filter(|_| matches!(kind, "on its way" | "was delivered"));
            let to: Vec<String> = match kind {
                "New order" => vec![STAFF.to_owned()],
                _ => phone.chain(&person.email).cloned().collect(),
            };
            if !to.is_empty() {
                expected.insert((order.to_owned(), kind, refund.to_owned()), to);
            }
        };
        let none = json!({});
        if n % 5 == 0 {
            let id = world.order(process, &person.sub, cancelled).await;
            let back = json!({"refund_id": "cancellation"});
            messages.push(happened(&id, "order.created", 1, &none));
            messages.push(asked(&id, "order-cancelled"));
            // What the cancellation tells of already.
            messages.push(asked(&id, "order-confirmed"));
            messages.push(happened(&id, "order.refunded", 9, &back));
            tell(&id, "New order", "");
            tell(&id, "is cancelled", "");
        } else {
            let id = world.order(process, &person.sub, delivered).await;
            messages.push(happened(&id, "order.created", 1, &none));
            messages.push(asked(&id, "order-confirmed"));
            messages.push(happened(&id, "order.shipped", 8, &none));
            messages.push(happened(&id, "order.delivered", 9, &none));
            for kind in ["New order", "is confirmed", "on its way", "was delivered"] {
                tell(&id, kind, "");
            }
            for (sequence, amount) in (11..).zip(REFUNDS) {
                let data = json!({"refund_id": format!("r-{amount}")});
                messages.push(happened(&id, "order.refunded", sequence, &data));
                tell(&id, "A refund", amount);
            }
        }
    }
    (messages, expected)
}

/// Poison that looks more like notifications than the common one.
async fn near_misses(world: &World, process: &Context<batch::Queues>) -> Vec<Poison> {
    let refused = Claims::read("refused", |name| match name {
        "email" => Some("refused@example.com"),
        "email_verified" => Some("true"),
        _ => None,
    });
    let made = process.customers.ensure(&refused, world.clock.now());
    made.await.unwrap();
    let plain = world.order(process, "customer-0", |_| {}).await;
    let of_refused = world.order(process, "refused", |_| {}).await;
    let none = json!({});
    let unknown = json!({"refund_id": "r-99"});
    let bodies = [
        asked(&plain, "order-lost"),
        asked("ORD-20261120-7K3M9Q2D", "order-confirmed"),
        asked("ORD-1", "order-confirmed"),
        asked(&plain, "order-cancelled"),
        asked(&plain, "order-shipped"),
        json!({"order_id": plain, "kind": "order-confirmed", "to": "x@example.com"}).to_string(),
        happened(&plain, "order.paid", 6, &none),
        happened(&plain, "order.refunded", 9, &none),
        happened(&plain, "order.refunded", 9, &unknown),
        // What the provider refuses for good.
        asked(&of_refused, "order-confirmed"),
    ];
    bodies.map(|body| (body, true)).to_vec()
}

#[tokio::test]
async fn what_is_told_is_told_once_however_it_is_asked_for_and_poison_alone_is_set_aside() {
    let world = World::start().await;
    let (sqs, random) = (&world.sqs, world.sqs.random.clone());
    let warm = world.process(&Trouble::none());
    let (messages, expected) = messages(&world, &warm).await;
    let kinds = [poison::common(), near_misses(&world, &warm).await].concat();
    let poison = poison::fill(sqs, messages, &kinds);

    let met = Met::default();
    sqs.drain(async |delivery: Delivery| {
        let event = serde_json::from_value(delivery.event).unwrap();
        let event = LambdaEvent::new(event, lambda_runtime::Context::default());
        let is_last = delivery.received >= PHONE_DELIVERIES;
        world.providers.is_last.store(is_last, Ordering::Relaxed);
        if is_last {
            world.providers.wait_for_recovery();
        }
        if !delivery.is_disturbed || delivery.received > MOST_TROUBLED {
            let reply = Box::pin(handle(&warm, event)).await;
            return Some(json!(reply.unwrap()));
        }
        let trouble = met.pick(&random, CALLS);
        let process = world.process(&trouble);
        let reply = trouble.survive(Box::pin(handle(&process, event))).await;
        met.count(&trouble);
        reply.map(|reply| json!(reply.unwrap()))
    })
    .await;

    sqs.account(&poison);
    let troubles = met.report(CHECK, &KINDS);
    let marks = ["provider calls failed", "provider calls refused"];
    world.providers.met.report(CHECK, &marks);
    let told = told(&world.providers.sent.lock().unwrap());
    compare(&told, &expected, troubles);
}

/// Whom each thing was told.
fn told(sent: &[(String, String)]) -> BTreeMap<(String, &'static str, String), Vec<String>> {
    const KINDS: [&str; 6] = [
        "New order",
        "is confirmed",
        "is cancelled",
        "on its way",
        "was delivered",
        "A refund",
    ];
    let mut told: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (to, text) in sent {
        let at = text.find("ORD-").unwrap();
        let order = text[at..].chars().take(21).collect::<String>();
        let kind = KINDS.into_iter().find(|kind| text.contains(kind)).unwrap();
        let is_refund = |amount: &&str| kind == "A refund" && text.contains(*amount);
        let refund = REFUNDS.iter().find(|amount| is_refund(amount));
        let refund = refund.copied().unwrap_or_default().to_owned();
        told.entry((order, kind, refund))
            .or_default()
            .push(to.clone());
    }
    told
}

/// Everything expected was told, nothing else was, and no more was told twice than there were runs cut
/// off that may have told it.
fn compare(told: &Expected, expected: &Expected, troubles: u64) {
    let seed = format!("GAUNTLET_SEED={}", gauntlet::seed());
    let mut twice = 0;
    for (notice, to) in told {
        let may = expected.get(notice);
        let may = may.unwrap_or_else(|| panic!("{notice:?} is nobody's: {seed}"));
        assert!(
            to.iter().all(|to| may.contains(to)),
            "{notice:?} {to:?}: {seed}"
        );
        twice += to.len() as u64 - 1;
    }
    let missing: Vec<_> = expected
        .keys()
        .filter(|notice| !told.contains_key(*notice))
        .collect();
    assert!(missing.is_empty(), "never told: {missing:?}: {seed}");
    assert!(
        twice <= troubles,
        "{twice} told twice, {troubles} runs in trouble: {seed}"
    );
    let is_fallback = |(notice, to): &(&_, &Vec<String>)| {
        let may: &Vec<String> = &expected[*notice];
        may.len() > 1 && to.contains(&may[1])
    };
    gauntlet::figure(CHECK, "notices", expected.len());
    gauntlet::figure(CHECK, "notices told again after a run was cut off", twice);
    gauntlet::figure(
        CHECK,
        "e-mails in place of texts",
        told.iter().filter(is_fallback).count(),
    );
}
