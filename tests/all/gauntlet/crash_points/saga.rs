//! The saga's steps, each called again by the state machine, and the sweep that looks after orders.

use std::sync::Arc;

use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::OnceCell;

use super::{
    commerce::{Checkpoint, House, admin, jane, order},
    driver::{Delivery, Report, Scenario, block_on},
    state::State,
    trigger::Ask,
};
use crate::support::{faults::Plan, gauntlet::sized};

/// What happens to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Bought,
    BoughtWithDelay,
    TooMuch,
    Declined,
    CaptureFails,
    Cancelled,
    Refunded,
    RefundFails,
}

impl Story {
    const fn method(self) -> &'static str {
        match self {
            Self::BoughtWithDelay => "sandbox-timeout-after-charge",
            Self::Declined => "sandbox-decline",
            Self::CaptureFails => "sandbox-capture-fails",
            Self::RefundFails => "sandbox-refund-fails",
            _ => "sandbox-approve",
        }
    }
}

/// A step of a story.
struct Step {
    story: Story,
    action: &'static str,
    checkpoint: OnceCell<Checkpoint>,
}

/// The steps of each story, and those that are played in full size only: they do in it what they do in another.
const STEPS: [(Story, &[&str], &[&str]); 8] = [
    (
        Story::Bought,
        &["reserve", "authorise", "confirm", "capture"],
        &[],
    ),
    (Story::BoughtWithDelay, &["authorise"], &[]),
    (Story::TooMuch, &["reserve"], &["undo", "release", "cancel"]),
    (
        Story::Declined,
        &["authorise", "undo", "release", "cancel"],
        &[],
    ),
    (
        Story::CaptureFails,
        &["capture", "undo"],
        &["release", "cancel"],
    ),
    (Story::Cancelled, &["undo"], &["release", "cancel"]),
    (Story::Refunded, &["refund"], &[]),
    (Story::RefundFails, &["refund"], &[]),
];

impl Step {
    async fn begin(&self) -> Checkpoint {
        let house = House::of(&Checkpoint::default()).await;
        house.offer("tea", 5).await;
        house.offer("cup", 5).await;
        let units = if self.story == Story::TooMuch { 9 } else { 2 };
        let body = order(&[("tea", units), ("cup", 1)], self.story.method());
        let placed = Ask::post(jane(), "/api/orders", &body).once();
        let on = |path: &str, id: &str| format!("/api/orders/{id}/{path}");
        let stop = || house.stop.set(Some(self.action));
        match self.story {
            Story::Cancelled => {
                let id = house.ask(&placed).await.id();
                house.execute().await;
                stop();
                house
                    .ask(&Ask::new(jane(), Method::POST, on("cancel", &id)))
                    .await;
            }
            Story::Refunded | Story::RefundFails => {
                let id = house.ask(&placed).await.id();
                house.execute().await;
                stop();
                let amount = json!({"amount": {"amount": "5.00", "currency": "SGD"}});
                house
                    .ask(&Ask::post(admin(), on("refunds", &id), &amount).once())
                    .await;
            }
            _ => {
                stop();
                house.ask(&placed).await;
            }
        }
        house.execute().await;
        assert!(
            house.stopped.borrow().is_some(),
            "{} is come to",
            self.name()
        );
        house.checkpoint().await
    }
}

impl Scenario for Step {
    type World = House;

    fn name(&self) -> String {
        let function = match self.action {
            "reserve" | "release" => "order-inventory-step",
            "confirm" | "cancel" => "order-confirm-step",
            _ => "order-payment-step",
        };
        format!("{function}, {} ({:?})", self.action, self.story)
    }

    /// Steps that go forward are tried six times.
    fn most(&self) -> u32 {
        6
    }

    async fn world(&self) -> House {
        let begun = self.checkpoint.get_or_init(|| self.begin()).await;
        House::of(begun).await
    }

    async fn deliver(&self, house: &House, plan: &Arc<Plan>, nth: u32) -> Delivery {
        let stopped = house.stopped.borrow().clone();
        let (function, mut payload) = stopped.expect("the step is known");
        payload["attempt"] = json!(nth - 1);
        let said = house.step(plan, &function, payload).await;
        let is_done = said != Err("Transient".to_owned());
        *house.said.borrow_mut() = Some(said);
        Delivery::done(is_done)
    }

    async fn finish(&self, house: &House) {
        house.redrive();
        house.settle().await;
    }

    async fn state(&self, house: &House, _: &[Vec<String>]) -> State {
        let mut state = State::default();
        house.add_to(&mut state).await;
        state
    }
}

#[test]
fn a_step_of_an_order_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        for (story, actions, more) in STEPS {
            let more = sized(&[][..], more);
            for action in actions.iter().chain(more) {
                let checkpoint = OnceCell::new();
                let step = Step {
                    story,
                    action,
                    checkpoint,
                };
                report.play(&step).await;
            }
        }
        report.tell("order steps");
    });
}

/// Why an order is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Its execution was never begun.
    NeverBegun,
    /// Its reservation ran out.
    RanOut,
    /// Its execution failed.
    Failed,
}

/// Orders that are due. The sweep looks at several beside each other, so that of several it is not always
/// the same call that is struck.
struct Sweep(&'static [Due], OnceCell<Checkpoint>);

impl Scenario for Sweep {
    type World = House;

    fn name(&self) -> String {
        format!("reservation-sweep, schedule, {:?}", self.0)
    }

    fn most(&self) -> u32 {
        10
    }

    async fn world(&self) -> House {
        let begun = async {
            let house = House::of(&Checkpoint::default()).await;
            house.offer("tea", 9).await;
            let body = order(&[("tea", 2)], "sandbox-approve");
            for (key, due) in ["a", "b", "c"].into_iter().zip(self.0) {
                match due {
                    Due::NeverBegun => house.is_up.set(false),
                    Due::RanOut => house.stop.set(Some("authorise")),
                    Due::Failed => house.stop.set(Some("capture")),
                }
                let place = Ask::post(jane(), "/api/orders", &body);
                house.ask(&place.header("idempotency-key", key)).await;
                house.execute().await;
                house.is_up.set(true);
            }
            house.clock.advance(SignedDuration::from_mins(20));
            house.checkpoint().await
        };
        House::of(Box::pin(self.1.get_or_init(|| begun)).await).await
    }

    async fn deliver(&self, house: &House, plan: &Arc<Plan>, _: u32) -> Delivery {
        let report = house.sweep(plan).await;
        Delivery::done(report.is_some_and(|report| report.failed == 0))
    }

    async fn wait(&self, house: &House) {
        house.clock.advance(SignedDuration::from_mins(1));
    }

    async fn finish(&self, house: &House) {
        house.settle().await;
    }

    async fn state(&self, house: &House, _: &[Vec<String>]) -> State {
        let mut state = State::untimed();
        house.add_to(&mut state).await;
        state
    }
}

#[test]
fn the_sweep_may_die_anywhere() {
    block_on(async {
        let mut report = Report::default();
        let together: &[Due] = &[Due::Failed, Due::RanOut, Due::NeverBegun];
        for due in [
            &[Due::NeverBegun][..],
            &[Due::RanOut],
            &[Due::Failed],
            together,
        ] {
            report.play(&Sweep(due, OnceCell::new())).await;
        }
        report.tell("the sweep");
    });
}
