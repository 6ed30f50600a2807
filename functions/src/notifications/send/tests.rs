use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use shared::{
    customers::{model::Claims, store::CustomerStore},
    notifications::{
        breaker::store::BreakerStore,
        model::Notice,
        provider::{Ses, Sns},
        rules::LEASE,
        store::NotificationStore,
    },
    orders::{
        event::Happened,
        model::{CancelReason, Cancellation, OrderId, Refund, RefundStanding, Shipment},
        store::OrderStore,
        testing::{created, order, table},
    },
    platform::{
        aws::Connection,
        clock::Clock,
        config::{AdminAlertEmail, SenderEmail},
        ids::Random,
    },
    testing::{Database, answering},
};

use super::*;

const CUSTOMER: &str = "5f3a8b0e-3c55-4c5e-9d57-0b4ad3a2f5c1";
const EMAIL: &str = "jane@example.com";
const PHONE: &str = "+6591234567";
const NOW: i64 = 1_795_204_103_193;

/// What a provider answers to its next calls; after these it takes everything.
type Script = Arc<Mutex<Vec<u16>>>;

/// What happened to messages that failed.
#[derive(Default)]
struct Failed {
    buried: Mutex<Vec<String>>,
    hidden: Mutex<Vec<u32>>,
}

impl FailedMessages for Failed {
    async fn bury(&self, _: &SqsMessage, reason: &str) -> bool {
        self.buried.lock().unwrap().push(reason.to_owned());
        true
    }

    async fn hide(&self, _: &SqsMessage, seconds: u32) {
        self.hidden.lock().unwrap().push(seconds);
    }
}

struct World {
    _database: Database,
    context: Context<Failed>,
    ses: Script,
    sns: Script,
    /// Whom the providers wrote to, by which channel.
    sent: Arc<Mutex<Vec<String>>>,
    order: OrderId,
}

impl World {
    async fn with_contact(contact: &[(&str, &'static str)]) -> Self {
        let database = Database::start(&[table("Commerce")]).await;
        let (ses, sns) = (Script::default(), Script::default());
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = (ses.clone(), sns.clone(), sent.clone());
        let http = answering(move |request| {
            let (ses, sns, sent) = &kept;
            let body = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            let is_email = request.uri().path().contains("/email/");
            let script = if is_email { ses } else { sns };
            let mut script = script.lock().unwrap();
            let status = if script.is_empty() {
                200
            } else {
                script.remove(0)
            };
            let to = [EMAIL, "staff@example.com", "6591234567"];
            let to = to.into_iter().find(|to| body.contains(to)).unwrap();
            let mut sent = sent.lock().unwrap();
            sent.push(format!("{to} {status}"));
            let answer = match (is_email, status) {
                (true, 200) => r#"{"MessageId":"m"}"#,
                (true, _) => r#"{"__type":"Whatever"}"#,
                (false, 200) => {
                    "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult>\
                     </PublishResponse>"
                }
                (false, _) => "<ErrorResponse><Error><Code>Whatever</Code></Error></ErrorResponse>",
            };
            http::Response::builder()
                .status(status)
                .body(answer.to_owned())
                .unwrap()
        });
        let aws = Connection::to_emulator("http://127.0.0.1:1", http);
        let name = || "Commerce".to_owned();
        let context = Context {
            orders: OrderStore::new(database.client(), name()),
            customers: CustomerStore::new(database.client(), name()),
            notifications: NotificationStore::new(database.client(), name()),
            breakers: BreakerStore::new(database.client(), name()),
            ses: Ses::new(&aws.ses(), SenderEmail::new("shop@example.org")),
            sns: Sns::new(&aws.sns()),
            admin: Some(AdminAlertEmail::new("staff@example.com")),
            failed: Failed::default(),
            clock: Clock::fixed(now()),
            random: Random::seeded(1),
        };
        let contact: HashMap<_, _> = contact.iter().copied().collect();
        if !contact.is_empty() {
            let claims = Claims::read(CUSTOMER, |name| match name {
                "email_verified" => Some("true"),
                name => contact.get(name).copied(),
            });
            context.customers.ensure(&claims, now()).await.unwrap();
        }
        let order = order(1, &happened(), now()).id;
        Self {
            _database: database,
            context,
            ses,
            sns,
            sent,
            order,
        }
    }

    async fn new() -> Self {
        Self::with_contact(&[("email", EMAIL), ("phone_number", PHONE), ("name", "Jane")]).await
    }

    /// An order as it is after `change`.
    async fn order(self, change: impl FnOnce(&mut Order)) -> Self {
        let happened = happened();
        let mut order = order(1, &happened, now());
        change(&mut order);
        let created = self.context.orders.create(&order, &happened, now(), None);
        created.await.unwrap();
        self
    }

    async fn shipped() -> Self {
        let shipment = |order: &mut Order| {
            order.shipment = Some(Shipment {
                carrier: None,
                tracking_number: None,
            });
        };
        Self::new().await.order(shipment).await
    }

    fn notice(&self, kind: Kind) -> Notice {
        Notice {
            order: self.order.to_string(),
            kind,
            refund: None,
        }
    }

    /// What the bus delivers of a refund.
    fn refunded(&self, refund: &str, sequence: u64) -> String {
        let detail = json!({
            "specversion": "1.0", "id": format!("order:{}:{sequence}", self.order),
            "source": "/millrace/orders", "type": "order.refunded", "subject": self.order,
            "time": "2026-11-20T18:02:11.417Z", "datacontenttype": "application/json",
            "data": {"refund_id": refund}, "sequence": sequence.to_string(),
            "sequencetype": "Integer",
        });
        json!({"version": "0", "detail": detail}).to_string()
    }

    /// Handles the `delivery`th delivery of a message; whether it is done with.
    async fn handle(&self, kind: Kind, delivery: u32) -> bool {
        let body = json!({"order_id": self.order, "kind": kind});
        self.handle_body(&body.to_string(), delivery).await
    }

    async fn handle_body(&self, body: &str, delivery: u32) -> bool {
        let event = json!({"Records": [{
            "messageId": "m", "receiptHandle": "r", "body": body,
            "attributes": {"ApproximateReceiveCount": delivery.to_string()},
            "messageAttributes": {},
        }]});
        let event = serde_json::from_value(event).unwrap();
        let event = LambdaEvent::new(event, lambda_runtime::Context::default());
        let response = handle(&self.context, event).await.unwrap();
        response.batch_item_failures.is_empty()
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    fn hidden(&self) -> Vec<u32> {
        std::mem::take(&mut self.context.failed.hidden.lock().unwrap())
    }

    fn buried(&self) -> Vec<String> {
        std::mem::take(&mut self.context.failed.buried.lock().unwrap())
    }
}

fn fail(script: &Script, statuses: &[u16]) {
    script.lock().unwrap().extend(statuses);
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW).unwrap()
}

fn happened() -> Happened {
    created(CUSTOMER, "sandbox-approve", &[("TEA-100", 2)])
}

#[tokio::test]
async fn a_notification_is_sent_once_however_often_it_is_asked_for() {
    let world = World::new().await.order(|_| {}).await;
    for delivery in 1..4 {
        assert!(world.handle(Kind::OrderConfirmed, delivery).await);
    }
    assert_eq!(world.sent(), ["jane@example.com 200"]);
    assert!(world.handle(Kind::OrderDelivered, 1).await);
    assert_eq!(
        world.sent(),
        ["6591234567 200"],
        "another kind is another notification"
    );
}

#[tokio::test]
async fn a_phone_is_for_what_is_short_and_an_email_for_the_rest() {
    let world = World::shipped().await;
    assert!(world.handle(Kind::OrderShipped, 1).await);
    assert!(world.handle(Kind::OrderConfirmed, 1).await);
    assert_eq!(world.sent(), ["6591234567 200", "jane@example.com 200"]);
    let without_phone = World::with_contact(&[("email", EMAIL)]).await;
    let world = without_phone.order(|_| {}).await;
    assert!(world.handle(Kind::OrderDelivered, 1).await);
    assert_eq!(world.sent(), ["jane@example.com 200"]);
}

#[tokio::test]
async fn an_email_that_fails_for_a_while_is_retried_after_growing_pauses() {
    let world = World::new().await.order(|_| {}).await;
    fail(&world.ses, &[500, 429, 503]);
    for delivery in 1..4 {
        assert!(!world.handle(Kind::OrderConfirmed, delivery).await);
    }
    assert!(world.handle(Kind::OrderConfirmed, 4).await);
    assert_eq!(world.hidden(), [60, 120, 240]);
    assert_eq!(world.sent().len(), 4);
}

#[tokio::test]
async fn an_email_that_keeps_failing_is_given_up_with_its_reason() {
    let world = World::new().await.order(|_| {}).await;
    fail(&world.ses, &[500]);
    assert!(world.handle(Kind::OrderConfirmed, 4).await);
    assert_eq!(
        world.buried(),
        ["the retries are used up: provider did not answer or refused for now (Whatever)"]
    );
    assert!(
        world.handle(Kind::OrderConfirmed, 1).await,
        "it may be tried anew"
    );
    assert_eq!(
        world.sent(),
        ["jane@example.com 500", "jane@example.com 200"]
    );
}

#[tokio::test]
async fn a_text_message_that_is_refused_gives_way_to_an_email_at_once() {
    let world = World::shipped().await;
    fail(&world.sns, &[400]);
    assert!(world.handle(Kind::OrderShipped, 1).await);
    assert!(world.handle(Kind::OrderShipped, 2).await);
    assert_eq!(world.sent(), ["6591234567 400", "jane@example.com 200"]);
}

#[tokio::test]
async fn a_text_message_whose_retries_are_used_up_gives_way_to_an_email() {
    let world = World::shipped().await;
    fail(&world.sns, &[500; 4]);
    fail(&world.ses, &[500]);
    for delivery in 1..=4 {
        assert!(!world.handle(Kind::OrderShipped, delivery).await);
    }
    assert_eq!(world.hidden(), [60, 120, 240, 480]);
    assert!(world.handle(Kind::OrderShipped, 5).await);
    let phone = "6591234567 500";
    let (failed, sent) = ("jane@example.com 500", "jane@example.com 200");
    assert_eq!(world.sent(), [phone, phone, phone, phone, failed, sent]);
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone() {
    let world = World::shipped().await;
    fail(&world.sns, &[500; 5]);
    for _ in 0..5 {
        world.handle(Kind::OrderShipped, 1).await;
    }
    world.sent();
    assert!(world.handle(Kind::OrderShipped, 1).await);
    assert_eq!(
        world.sent(),
        ["jane@example.com 200"],
        "the e-mail does not wait"
    );

    fail(&world.ses, &[500; 5]);
    for _ in 0..5 {
        world.handle(Kind::OrderConfirmed, 1).await;
    }
    world.sent();
    world.hidden();
    assert!(!world.handle(Kind::OrderConfirmed, 1).await);
    assert_eq!((world.sent(), world.hidden()), (Vec::new(), vec![60]));
    world.context.clock.advance(SignedDuration::from_secs(60));
    assert!(world.handle(Kind::OrderConfirmed, 2).await);
    assert_eq!(world.sent(), ["jane@example.com 200"]);
}

#[tokio::test]
async fn who_dies_between_sending_and_recording_has_it_sent_twice_at_most() {
    let world = World::new().await.order(|_| {}).await;
    let notice = world.notice(Kind::OrderConfirmed);
    // What a run leaves that died right after the provider's answer: its claim.
    let dead = world
        .context
        .notifications
        .claim(&notice, "dead".into(), now());
    assert!(matches!(dead.await.unwrap(), Claimed::Won(_)));
    assert!(!world.handle(Kind::OrderConfirmed, 1).await);
    assert_eq!((world.sent(), world.hidden()), (Vec::new(), vec![121]));
    world.context.clock.advance(LEASE);
    for delivery in 2..5 {
        assert!(world.handle(Kind::OrderConfirmed, delivery).await);
    }
    assert_eq!(world.sent(), ["jane@example.com 200"]);
}

#[tokio::test]
async fn staff_are_told_of_new_orders_if_they_want_to() {
    let mut world = World::new().await.order(|_| {}).await;
    assert!(world.handle(Kind::NewOrder, 1).await);
    assert_eq!(world.sent(), ["staff@example.com 200"]);
    world.context.admin = None;
    world.context.clock.advance(SignedDuration::from_secs(1));
    assert!(world.handle(Kind::NewOrder, 1).await);
    assert_eq!(world.sent(), Vec::<String>::new());
}

#[tokio::test]
async fn who_left_is_told_nothing() {
    let world = World::with_contact(&[]).await.order(|_| {}).await;
    assert!(world.handle(Kind::OrderConfirmed, 1).await);
    assert_eq!((world.sent(), world.buried()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn each_refund_is_told_once() {
    let refunds = |order: &mut Order| {
        let refund = |id: &str| Refund {
            refund_id: id.to_owned(),
            amount: order.totals.total,
            lines: Vec::new(),
            restock: false,
            reason: None,
            standing: RefundStanding::Done,
            failure: None,
            requested_at: now(),
        };
        order.refunds = vec![refund("r1"), refund("r2")];
    };
    let world = World::new().await.order(refunds).await;
    for (sequence, refund) in [(9, "r1"), (10, "r2"), (9, "r1")] {
        assert!(
            world
                .handle_body(&world.refunded(refund, sequence), 1)
                .await
        );
    }
    assert_eq!(world.sent().len(), 2);
    assert_eq!(world.buried(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_told_is_given_up_at_once() {
    let world = World::new().await;
    assert!(world.handle(Kind::OrderConfirmed, 1).await);
    let world = world.order(|_| {}).await;
    assert!(world.handle(Kind::OrderCancelled, 1).await);
    assert!(world.handle_body("{}", 1).await);
    assert_eq!(
        world.buried(),
        [
            "there is no such order",
            "the order is not as the notification says",
            "neither a request for a notification nor an event: not a CloudEvent: \
             missing field `detail` at line 1 column 2"
        ]
    );
    assert_eq!(world.sent(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancellation_is_told() {
    let cancelled = |order: &mut Order| {
        order.cancellation = Some(Cancellation {
            reason: CancelReason::OutOfStock,
            shortages: Vec::new(),
            note: None,
            at: now(),
        });
    };
    let world = World::new().await.order(cancelled).await;
    assert!(world.handle(Kind::OrderCancelled, 1).await);
    assert_eq!(world.sent(), ["jane@example.com 200"]);
    assert!(world.handle(Kind::OrderConfirmed, 3).await);
    assert!(
        world
            .handle_body(&world.refunded("cancellation", 9), 1)
            .await
    );
    assert_eq!(world.sent(), [""; 0], "the cancellation says it all");
    assert_eq!(world.buried(), [""; 0]);
}
