//! What messages and streams bring: events onto the bus, notifications, and the revenue of orders.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use functions::{
    events::relay,
    notifications::{context::Context as Notifications, send},
    sales::order_revenue,
};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde_json::{Value, json};
use shared::{
    customers::{model::Claims, store::CustomerStore},
    notifications::{
        breaker::store::BreakerStore,
        provider::{Ses, Sns},
        store::NotificationStore,
    },
    orders::{model::Shipment, store::OrderStore, testing},
    platform::{
        aws::{Connection, http_client},
        batch,
        clock::Clock,
        config::{AdminAlertEmail, EventBus, EventPoison, SenderEmail},
        ids::Random,
    },
    sales::order_revenue::store::OrderRevenueStore,
    testing::{Database, Table},
};

use super::{
    driver::{Delivery, Report, Scenario, block_on},
    outside::Outside,
    state::{State, text_of},
    trigger::{Messages, context},
};
use crate::support::{faults::Plan, gauntlet::sized};

fn clock() -> Clock {
    Clock::fixed("2026-11-20T12:00:00Z".parse().expect("it is a time"))
}

fn table(database: &Database, plan: &Arc<Plan>) -> Connection {
    let http = plan.over(http_client(Some(database.endpoint())));
    Connection::to_emulator(database.endpoint(), http)
}

fn queues(outside: &Outside, plan: &Arc<Plan>) -> batch::Queues {
    batch::Queues {
        sqs: outside.connection(plan).sqs(),
        queue_url: "http://services.invalid/queue".to_owned(),
        dead_letter_url: "http://services.invalid/dead-letters".to_owned(),
    }
}

/// A message is buried before its queue learns of it, so whoever dies in between buries it again.
fn add_buried(state: &mut State, outside: &Outside) {
    for (queue, body) in &outside.books().messages {
        state.add_once(format!("{queue}: {body}"));
    }
}

struct EventRelay;

/// What is left of the stream, and who hears of it.
struct Stream {
    outside: Outside,
    records: RefCell<Vec<Value>>,
}

/// The events of an order as the stream tells of them; the second of order B cannot be read.
fn record(order: &str, sequence: usize, number: usize) -> Value {
    let data = if (order, sequence) == ("B", 2) {
        "{"
    } else {
        "{}"
    };
    let text = |text: &str| json!({"S": text});
    let (pk, sk) = (format!("ORDER#{order}"), format!("EV#{sequence:010}"));
    json!({
        "eventID": format!("e{number}"), "eventName": "INSERT", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/Commerce/stream/1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_204_103.0, "SizeBytes": 1,
            "StreamViewType": "NEW_AND_OLD_IMAGES", "SequenceNumber": number.to_string(),
            "Keys": {"pk": text(&pk), "sk": text(&sk)},
            "NewImage": {"pk": text(&pk), "sk": text(&sk), "type": text("order.reserved"),
                "time": text("2026-11-20T12:00:00Z"), "data": text(data), "correlation_id": text("c-1")},
        },
    })
}

impl Scenario for EventRelay {
    type World = Stream;

    fn name(&self) -> String {
        "event-relay, batch of the stream".to_owned()
    }

    /// A stream brings its records until they are a day old.
    fn most(&self) -> u32 {
        100
    }

    async fn world(&self) -> Stream {
        let events = (0..sized(9, 36)).map(|n| record(["A", "B", "C"][n % 3], n / 3 + 1, 100 + n));
        Stream {
            outside: Outside::default(),
            records: RefCell::new(events.collect()),
        }
    }

    async fn deliver(&self, world: &Stream, plan: &Arc<Plan>, _: u32) -> Delivery {
        let aws = world.outside.connection(plan);
        let relay = relay::Context {
            eventbridge: aws.eventbridge(),
            bus: EventBus::new("millrace-test"),
            sqs: aws.sqs(),
            poison: EventPoison::new("http://services.invalid/poison"),
            clock: clock(),
            random: Random::system(),
        };
        let batch = json!({"Records": *world.records.borrow()});
        let batch = serde_json::from_value(batch).expect("it is a batch");
        let event = LambdaEvent::new(batch, context(&relay.clock));
        let response = Box::pin(relay::handle(&relay, event)).await;
        let failures = response.expect("all have numbers").batch_item_failures;
        let first = failures
            .first()
            .and_then(|failure| failure.item_identifier.clone());
        let Some(first) = first else {
            return Delivery::Done;
        };
        let mut records = world.records.borrow_mut();
        let place = records
            .iter()
            .position(|record| record["dynamodb"]["SequenceNumber"] == *first);
        records.drain(..place.expect("it is of the batch"));
        Delivery::Again
    }

    /// An event may go onto the bus twice, where its id tells, but none before the first time of the one
    /// before it.
    async fn state(&self, world: &Stream, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        let books = world.outside.books();
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &books.events {
            let order = event["subject"].as_str().expect("an event has a subject");
            let sequence = event["sequence"]
                .as_str()
                .and_then(|text| text.parse().ok());
            let sequence: u64 = sequence.expect("an event has a sequence");
            let last = seen.entry(order).or_insert(0);
            // What cannot be read leaves a gap.
            assert!(
                sequence <= *last + 2,
                "{order}: {sequence} comes after {last}"
            );
            *last = sequence.max(*last);
            state.add_once(event.to_string());
        }
        drop(books);
        add_buried(&mut state, &world.outside);
        state
    }
}

struct NotificationSend;

/// A customer with an order, and what they are to be told.
struct Told {
    database: Database,
    outside: Outside,
    clock: Clock,
    messages: Messages,
}

const COMMERCE: &str = "Commerce";
const CUSTOMER: &str = "5f3a8b0e-3c55-4c5e-9d57-0b4ad3a2f5c1";

impl Scenario for NotificationSend {
    type World = Told;

    fn name(&self) -> String {
        "notification-send, messages".to_owned()
    }

    fn most(&self) -> u32 {
        5
    }

    async fn world(&self) -> Told {
        let database = Database::start(&[testing::table(COMMERCE)]).await;
        let (clock, name) = (clock(), || COMMERCE.to_owned());
        let now = clock.now();
        let claims = Claims::read(CUSTOMER, |name| match name {
            "email" => Some("jane@example.com"),
            "email_verified" => Some("true"),
            "phone_number" => Some("+6591234567"),
            "name" => Some("Jane"),
            _ => None,
        });
        let customers = CustomerStore::new(database.client(), name());
        customers
            .ensure(&claims, now)
            .await
            .expect("they become a customer");
        let happened = testing::created(CUSTOMER, "sandbox-approve", &[("TEA-100", 2)]);
        let mut order = testing::order(1, &happened, now);
        order.shipment = Some(Shipment {
            carrier: None,
            tracking_number: None,
        });
        let orders = OrderStore::new(database.client(), name());
        let created = orders.create(&order, &happened, now, None).await;
        created.expect("the table takes it");
        let kinds = [
            "order-confirmed",
            "order-shipped",
            "new-order",
            "no-such-kind",
        ];
        let tell = |kind| json!({"order_id": order.id, "kind": kind}).to_string();
        Told {
            database,
            outside: Outside::default(),
            clock,
            messages: Messages::new(kinds.map(tell)),
        }
    }

    async fn deliver(&self, world: &Told, plan: &Arc<Plan>, nth: u32) -> Delivery {
        let (commerce, name) = (table(&world.database, plan).dynamodb(), || {
            COMMERCE.to_owned()
        });
        let aws = world.outside.connection(plan);
        let function = Notifications {
            orders: OrderStore::new(commerce.clone(), name()),
            customers: CustomerStore::new(commerce.clone(), name()),
            notifications: NotificationStore::new(commerce.clone(), name()),
            breakers: BreakerStore::new(commerce, name()),
            ses: Ses::new(&aws.ses(), SenderEmail::new("shop@example.org")),
            sns: Sns::new(&aws.sns()),
            admin: Some(AdminAlertEmail::new("staff@example.com")),
            failed: queues(&world.outside, plan),
            clock: world.clock.clone(),
            random: Random::system(),
        };
        let event = LambdaEvent::new(world.messages.event(nth), context(&world.clock));
        let response = Box::pin(send::handle(&function, event)).await;
        world.messages.settle(&response.expect("all have ids"))
    }

    /// The queue hides messages for as long; a claim ends sooner.
    async fn wait(&self, world: &Told) {
        world.clock.advance(SignedDuration::from_secs(360));
    }

    /// Who dies between the provider's answer and its record has the next one send again: each such death
    /// may cost one message more, and nothing else any.
    async fn state(&self, world: &Told, lost: &[Vec<String>]) -> State {
        let mut state = State::default();
        let is_sending = |calls: &&Vec<String>| {
            let sending = calls
                .iter()
                .rposition(|call| call == "SendEmail" || call == "Publish");
            // What follows is its record, before whose answer nobody knows of it.
            sending.is_some_and(|at| calls.len() - at <= 2)
        };
        let most = 3 + lost.iter().filter(is_sending).count();
        let sent = world.outside.books().sent.clone();
        assert!(sent.len() <= most, "{most} may be sent: {lost:?}: {sent:?}");
        for message in sent {
            state.add_once(message);
        }
        add_buried(&mut state, &world.outside);
        let edit = |item: &mut serde_json::Map<String, Value>| {
            if text_of(item, "pk").starts_with("NOTIFICATION#") {
                // A claim that ran out is one more version, and what follows it is later.
                item.remove("version");
                item.remove("expiration");
                item["standing"]["at"].take();
            }
        };
        state.add_table(&world.database, COMMERCE, edit).await;
        state
    }
}

struct OrderRevenue;

/// Days of sales, and the events that are to be counted.
struct Counted {
    database: Database,
    outside: Outside,
    messages: Messages,
}

fn paid(order: usize, day: usize) -> String {
    let order = format!("ORD-20261120-0000000{order}");
    let at = format!("2026-11-{}T16:00:00.000Z", 20 + day);
    let at: Timestamp = at.parse().expect("it is a time");
    json!({
        "version": "0", "detail-type": "order.paid", "source": "millrace.orders",
        "detail": {
            "specversion": "1.0", "id": format!("order:{order}:6"), "source": "/millrace/orders",
            "type": "order.paid", "subject": order, "time": at, "datacontenttype": "application/json",
            "data": {"amount": {"amount": "34.88", "currency": "SGD"}, "lines": 2}, "sequence": "6",
            "sequencetype": "Integer", "correlationid": "c-1",
        },
    })
    .to_string()
}

impl Scenario for OrderRevenue {
    type World = Counted;

    fn name(&self) -> String {
        "order-revenue, messages".to_owned()
    }

    fn most(&self) -> u32 {
        5
    }

    async fn world(&self) -> Counted {
        let events = (0..sized(4, 8)).map(|n| paid(n, n % 3));
        let outside = Outside::default();
        Counted {
            database: Database::start(&[Table::new("Sales")]).await,
            outside,
            messages: Messages::new(events.chain([paid(0, 0), "{}".to_owned()])),
        }
    }

    async fn deliver(&self, world: &Counted, plan: &Arc<Plan>, nth: u32) -> Delivery {
        let client = table(&world.database, plan).dynamodb();
        let function = order_revenue::Context {
            store: OrderRevenueStore::new(client, "Sales".to_owned()),
            failed: queues(&world.outside, plan),
            clock: clock(),
            random: Random::system(),
        };
        let event = LambdaEvent::new(world.messages.event(nth), context(&function.clock));
        let response = Box::pin(order_revenue::handle(&function, event)).await;
        world.messages.settle(&response.expect("all have ids"))
    }

    async fn state(&self, world: &Counted, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        state.add_table(&world.database, "Sales", |_| {}).await;
        add_buried(&mut state, &world.outside);
        state
    }
}

#[test]
fn whoever_works_off_messages_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        report.play(&EventRelay).await;
        report.play(&NotificationSend).await;
        report.play(&OrderRevenue).await;
        report.tell("messages");
    });
}
