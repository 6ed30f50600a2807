//! Runs of the aggregator that overlap: one that was held up never overwrites what it does not know.

use functions::sensors::aggregator;
use jiff::SignedDuration;
use shared::sensors::{
    model::{DeviceId, Hour, Metric},
    readings::Readings,
    rollup::Rollup,
};

use super::world::{World, deliver, ms, reading};
use crate::support::faults::{Fault, Plan};

/// Accepts and stores one value for one and the same reading.
async fn store(world: &mut World, at: i64, value: f64) {
    let mut readings = Readings::default();
    readings.push(reading("pump-1", "value", at, value));
    let messages = world.messages(readings);
    let response = deliver(&world.storing(&Plan::none()), &messages).await;
    assert!(response.batch_item_failures.is_empty());
}

/// The sums of the stored minute, hour and day that hold `at`.
async fn sums(world: &World, at: i64) -> [Option<f64>; 3] {
    let store = world.store(&Plan::none());
    let device: DeviceId = "pump-1".parse().unwrap();
    let (metric, hour) = (Metric::default(), Hour::of(at));
    let day = hour.day();
    let minutes = store.minutes(&device, &metric, hour, hour).await.unwrap();
    let hours = store.hours(&device, &metric, day, day).await.unwrap();
    let days = store.days(&device, &metric, day, day).await.unwrap();
    let sum = |rollup: Option<Rollup>| Some(rollup?.sum()?.to_f64());
    [
        sum(minutes.first().and_then(|(_, minutes)| minutes.total())),
        sum(hours.first().and_then(|(_, hours)| hours.total())),
        sum(days.first().and_then(|(_, days)| days.total())),
    ]
}

/// Holds a run up while the reading's value at `at`, 1, becomes 2 for it and 1 again for another run;
/// gives the sums after both. `None` if the run ended before it could be held up.
async fn returned(at: &str, fault: Fault, nth: usize) -> Option<[Option<f64>; 3]> {
    let mut world = World::start("2026-11-20T12:00:00Z").await;
    let at = ms(at);
    let run = world.aggregating(&Plan::none());
    store(&mut world, at, 1.0).await;
    world.aggregate(&run).await;
    assert_eq!(sums(&world, at).await[0], Some(1.0));
    store(&mut world, at, 2.0).await;

    let plan = Plan::new(fault, nth);
    let slow = world.aggregating(&plan);
    let stop = world.clock.now() + SignedDuration::from_mins(1);
    let held_up = async {
        let ended = Box::pin(aggregator::run(&slow, stop)).await;
        // Nobody waits for what never comes.
        plan.release();
        ended
    };
    let meanwhile = async {
        plan.held().await;
        if !plan.was_held() {
            return false;
        }
        store(&mut world, at, 1.0).await;
        world.aggregate(&run).await;
        plan.let_go();
        true
    };
    let (ended, was_held) = tokio::join!(held_up, meanwhile);
    ended.unwrap();
    if !was_held {
        return None;
    }
    world.aggregate(&run).await;
    Some(sums(&world, at).await)
}

/// Every call is held up in turn, the log's reading included.
#[tokio::test]
async fn a_value_that_returns_to_an_open_hour_while_a_run_is_held_up_is_what_stays() {
    let mut held = 0;
    while let Some(sums) = returned("2026-11-20T11:58:00Z", Fault::HeldCall, held).await {
        assert_eq!(sums, [Some(1.0), None, None], "call {held} was held up");
        held += 1;
    }
    assert!(held > 24, "a run makes more calls than {held}");
}

/// Everything a run writes is held up in turn: the minutes, the chunk, the day, the month, the log.
#[tokio::test]
async fn a_value_that_returns_to_a_settled_hour_while_a_run_is_held_up_is_what_stays() {
    for write in 0..5 {
        let sums = returned("2026-11-18T09:30:00Z", Fault::Held, write).await;
        assert_eq!(sums, Some([Some(1.0); 3]), "write {write} was held up");
    }
}
