//! The functions that work off messages: revenue of orders, events to the bus, notifications and sign-ups.
//! Each message is done in the end, what is counted is counted once, and events keep their order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use functions::{customers::sign_up, events::relay, notifications, sales::order_revenue};
use jiff::{SignedDuration, civil::Date};
use lambda_runtime::LambdaEvent;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use shared::{
    customers::{model::Claims, store::CustomerStore},
    notifications::{
        breaker::store::BreakerStore,
        provider::{Ses, Sns},
        store::NotificationStore,
    },
    orders::{
        event::apply,
        model::OrderId,
        store::{Created, OrderStore},
        testing::{self, created},
    },
    platform::{
        aws::Connection,
        batch,
        clock::Clock,
        config::{AdminAlertEmail, EventBus, EventPoison, SenderEmail},
        ids::Random,
    },
    sales::order_revenue::store::OrderRevenueStore,
    testing::{InlineDatabase, Table, answering},
};

use super::{below, once_in};
use crate::support::{
    chaos::{Chaos, Fault, Queues, paused},
    gauntlet::{figure, seed, sized},
};

const CHECK: &str = "chaos: messages";
const REVENUE: &str = "http://queue.invalid/revenue";
const NOTIFICATIONS: &str = "http://queue.invalid/notifications";
const DEAD_LETTERS: &str = "http://queue.invalid/dead-letters";
const POISON: &str = "http://queue.invalid/poison";

struct World {
    chaos: Arc<Chaos>,
    clock: Clock,
    random: Random,
    database: InlineDatabase,
    queues: Queues,
    /// What the bus took: aggregates and sequences.
    bus: Arc<Mutex<Vec<(String, u64)>>>,
    /// Letters and text messages that were sent.
    sent: Arc<Mutex<u64>>,
    paid: Decimal,
    orders: u64,
}

impl World {
    async fn start(seed: u64) -> Self {
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap());
        let chaos = Chaos::start(CHECK, seed, &clock);
        let tables = [Table::new("Sales"), testing::table("Commerce")];
        Self {
            database: InlineDatabase::with(&tables).await,
            random: Random::seeded(seed),
            queues: Queues::new(&clock),
            bus: Arc::default(),
            sent: Arc::default(),
            paid: Decimal::ZERO,
            orders: 0,
            chaos,
            clock,
        }
    }

    fn connection(&self) -> Connection {
        let http = self.chaos.over(self.database.http());
        Connection::to_emulator("http://inline.invalid", http)
    }

    fn to(&self, service: SharedHttpClient) -> Connection {
        Connection::to_emulator("http://queue.invalid", self.chaos.over(service))
    }

    fn failed(&self, queue: &str) -> batch::Queues {
        batch::Queues {
            sqs: self.to(self.queues.service()).sqs(),
            queue_url: queue.to_owned(),
            dead_letter_url: DEAD_LETTERS.to_owned(),
        }
    }

    fn random(&self) -> Random {
        Random::seeded(u64::from(self.random.up_to(u32::MAX)))
    }

    /// Works a queue off; one pass over what can be seen.
    async fn work_off<F: Future<Output = Value>>(
        &self,
        function: &'static str,
        url: &str,
        handle: impl Fn(LambdaEvent<Value>) -> F,
    ) {
        while let Some(event) = self.queues.receive(url, 5) {
            let run = |context| handle(LambdaEvent::new(event.clone(), context));
            let answer = self.chaos.invoke(function, run).await;
            if !once_in(&self.random, 10) {
                self.queues.settle(url, &event, &answer);
            }
        }
    }

    async fn revenue(&self) {
        let context = order_revenue::Context {
            store: self.revenues(),
            failed: self.failed(REVENUE),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let handle = |event: LambdaEvent<Value>| async {
            let (event, lambda) = event.into_parts();
            let event = LambdaEvent::new(serde_json::from_value(event).unwrap(), lambda);
            let answer = Box::pin(order_revenue::handle(&context, event)).await;
            serde_json::to_value(answer.expect("messages have ids")).unwrap()
        };
        self.work_off("OrderRevenue", REVENUE, handle).await;
    }

    fn revenues(&self) -> OrderRevenueStore {
        OrderRevenueStore::new(self.connection().dynamodb(), "Sales".into())
    }

    async fn notify(&self) {
        let (client, name) = (self.connection().dynamodb(), || "Commerce".to_owned());
        let sent = self.sent.clone();
        let provider = answering(move |request| {
            *sent.lock().unwrap() += 1;
            let answer = if request.uri().path().contains("/email/") {
                r#"{"MessageId":"m"}"#
            } else {
                "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult>\
                 </PublishResponse>"
            };
            http::Response::new(answer.to_owned())
        });
        let providers = self.to(provider);
        let context = notifications::context::Context {
            orders: OrderStore::new(client.clone(), name()),
            customers: CustomerStore::new(client.clone(), name()),
            notifications: NotificationStore::new(client.clone(), name()),
            breakers: BreakerStore::new(client, name()),
            ses: Ses::new(&providers.ses(), SenderEmail::new("shop@example.org")),
            sns: Sns::new(&providers.sns()),
            admin: Some(AdminAlertEmail::new("staff@example.com")),
            failed: self.failed(NOTIFICATIONS),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let handle = |event: LambdaEvent<Value>| async {
            let (event, lambda) = event.into_parts();
            let event = LambdaEvent::new(serde_json::from_value(event).unwrap(), lambda);
            let answer = notifications::send::handle(&context, event).await;
            serde_json::to_value(answer.expect("messages have ids")).unwrap()
        };
        self.work_off("NotificationSend", NOTIFICATIONS, handle)
            .await;
    }

    /// The bus, which takes every event.
    fn bus(&self) -> SharedHttpClient {
        let bus = self.bus.clone();
        answering(move |request| {
            let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
            let entries = body["Entries"].as_array().unwrap().iter();
            let taken: Vec<Value> = entries
                .map(|entry| {
                    let detail = entry["Detail"].as_str().unwrap();
                    let detail: Value = serde_json::from_str(detail).unwrap();
                    let sequence = detail["sequence"].as_str().unwrap().parse().unwrap();
                    let subject = detail["subject"].as_str().unwrap().to_owned();
                    bus.lock().unwrap().push((subject, sequence));
                    json!({"EventId": "e"})
                })
                .collect();
            http::Response::new(json!({"FailedEntryCount": 0, "Entries": taken}).to_string())
        })
    }

    /// Hands the relay a stretch of the stream, and again from the first failure, until all of it is done.
    async fn relay(&self, records: Vec<Value>) {
        let context = relay::Context {
            eventbridge: self.to(self.bus()).eventbridge(),
            bus: EventBus::new("bus"),
            sqs: self.to(self.queues.service()).sqs(),
            poison: EventPoison::new(POISON),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let mut records = &records[..];
        for _ in 0..30 {
            let batch = serde_json::from_value(json!({ "Records": records })).unwrap();
            let run = |lambda| relay::handle(&context, LambdaEvent::new(batch, lambda));
            let answer = self.chaos.invoke("EventRelay", run).await;
            let failed = answer.expect("records have numbers").batch_item_failures;
            let Some(first) = failed.first() else {
                return;
            };
            let number = first.item_identifier.clone();
            let at = records
                .iter()
                .position(|record| json!(number) == record["dynamodb"]["SequenceNumber"]);
            records = &records[at.expect("it is one of them")..];
            self.clock.advance(SignedDuration::from_secs(1));
        }
        panic!("the stream does not move on: {}", self.chaos.replay());
    }

    async fn sign_up(&self, sub: &str) {
        let context = sign_up::Context {
            customers: CustomerStore::new(self.connection().dynamodb(), "Commerce".into()),
            clock: self.clock.clone(),
            random: self.random(),
        };
        let event = json!({"triggerSource": "PostConfirmation_ConfirmSignUp", "request": {"userAttributes": {
            "sub": sub, "email": "ada@example.com", "email_verified": "true",
        }}});
        let run = |lambda| sign_up::handle(&context, LambdaEvent::new(event.clone(), lambda));
        let Ok(answer) = self.chaos.invoke("CustomerSignup", run).await;
        assert_eq!(answer, event);
    }

    /// An order is paid: everybody is told.
    async fn paid(&mut self) {
        self.orders += 1;
        let now = self.clock.now();
        let sub = format!("customer-{}", below(&self.random, 5));
        self.sign_up(&sub).await;
        let happened = created(&sub, "sandbox-approve", &[("TEA", 1)]);
        let mut number = [0; 5];
        number.copy_from_slice(&self.orders.to_be_bytes()[3..]);
        let id = OrderId::new(now, number);
        let order = apply(None, &id, &happened, now).expect("it makes an order");
        let client = self.connection().dynamodb();
        let customers = CustomerStore::new(client.clone(), "Commerce".into());
        // The sign-up may have been given up for the first use of the profile.
        let claims = Claims::read(&sub, |name| match name {
            "email" => Some("ada@example.com"),
            "email_verified" => Some("true"),
            _ => None,
        });
        customers.ensure(&claims, now).await.unwrap();
        let orders = OrderStore::new(client, "Commerce".into());
        let placed = orders.create(&order, &happened, now, None).await;
        assert_eq!(placed.unwrap(), Created::Done);
        let notice = json!({"order_id": order.id, "kind": "order-confirmed"}).to_string();
        let cents = 100 + i64::from(self.random.up_to(9_900));
        let amount = Decimal::new(cents, 2);
        let event = |sequence: u64, kind: &str, data: Value| {
            json!({
                "specversion": "1.0", "id": format!("order:{}:{sequence}", order.id),
                "source": "/millrace/orders", "type": kind, "subject": order.id,
                "time": "2026-11-20T16:00:00.000Z", "datacontenttype": "application/json",
                "data": data, "sequence": sequence.to_string(), "sequencetype": "Integer",
                "correlationid": "c-1",
            })
        };
        let money = json!({"amount": amount.to_string(), "currency": "SGD"});
        let paid = event(6, "order.paid", json!({"amount": money, "lines": 1}));
        let delivery =
            json!({"version": "0", "detail-type": "order.paid", "detail": paid}).to_string();
        self.paid += amount;
        for _ in 0..=below(&self.random, 2) {
            self.queues.put(REVENUE, delivery.clone());
            self.queues.put(NOTIFICATIONS, notice.clone());
        }
        let base = 1_000 * self.orders;
        let records = (1..=7).map(|sequence: u64| {
            let id = order.id.as_str();
            json!({
                "eventID": format!("e{sequence}"), "eventName": "INSERT", "eventVersion": "1.1",
                "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_795_204_103.0,
                    "Keys": {"pk": {"S": format!("ORDER#{id}")}, "sk": {"S": format!("EV#{sequence:010}")}},
                    "NewImage": {
                        "pk": {"S": format!("ORDER#{id}")}, "sk": {"S": format!("EV#{sequence:010}")},
                        "type": {"S": "order.reserved"}, "time": {"S": "2026-11-20T15:48:23.193Z"},
                        "data": {"S": "{}"},
                    },
                    "SequenceNumber": (base + sequence).to_string(), "SizeBytes": 1,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            })
        });
        self.relay(records.collect()).await;
    }

    /// Of each order the bus saw every event, and none for the first time before the one that goes before it.
    fn events_are_in_order(&self) {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for (order, sequence) in self.bus.lock().unwrap().iter() {
            let last = last.entry(order.clone()).or_default();
            assert!(
                *sequence <= *last + 1,
                "{order} {sequence}: {}",
                self.chaos.replay()
            );
            *last = (*last).max(*sequence);
        }
        let is_whole = last.values().all(|last| *last == 7);
        assert!(is_whole, "{last:?}: {}", self.chaos.replay());
    }
}

#[test]
fn messages_are_done_in_the_end_and_counted_once() {
    paused(async {
        let mut world = World::start(seed()).await;
        let operations = sized(150, 4_000);
        while world.chaos.invocations() < operations {
            Box::pin(world.paid()).await;
            Box::pin(world.revenue()).await;
            Box::pin(world.notify()).await;
            let seconds = world.random.up_to(600);
            world
                .clock
                .advance(SignedDuration::from_secs(seconds.into()));
        }
        world.chaos.calm();
        for _ in 0..20 {
            Box::pin(world.revenue()).await;
            Box::pin(world.notify()).await;
            world.clock.advance(SignedDuration::from_mins(91));
        }
        let replay = world.chaos.replay();
        for queue in [REVENUE, NOTIFICATIONS, DEAD_LETTERS, POISON] {
            let left = world.queues.bodies(queue);
            assert!(left.is_empty(), "{queue}: {left:?}: {replay}");
        }
        assert_eq!(world.queues.given_up(), 0, "{replay}");
        world.events_are_in_order();
        let days = world.revenues();
        let (first, last) = (Date::constant(2026, 11, 1), Date::constant(2026, 11, 30));
        let days = days.totals(first, last).await.unwrap();
        let counted: Decimal = days.iter().map(|day| day.revenue).sum();
        assert_eq!(counted, world.paid, "{replay}");
        figure(CHECK, "orders told of", world.orders);
        figure(CHECK, "letters sent", *world.sent.lock().unwrap());
        figure(CHECK, "violations", 0);
        world.chaos.report();
    });
}

#[test]
fn an_outage_is_told_in_time_and_made_up_for() {
    paused(async {
        for outage in Fault::OUTAGES {
            let mut world = World::start(seed()).await;
            world.chaos.outage(None);
            for _ in 0..8 {
                Box::pin(world.paid()).await;
            }
            world.chaos.outage(Some(outage));
            world.sign_up("late").await;
            Box::pin(world.revenue()).await;
            Box::pin(world.notify()).await;
            world.chaos.outage(None);
            for _ in 0..5 {
                world.clock.advance(SignedDuration::from_mins(91));
                Box::pin(world.revenue()).await;
                Box::pin(world.notify()).await;
            }
            for queue in [REVENUE, NOTIFICATIONS, DEAD_LETTERS, POISON] {
                let left = world.queues.bodies(queue);
                assert!(left.is_empty(), "{outage}: {queue}: {left:?}");
            }
        }
    });
}
