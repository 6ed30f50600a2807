//! Runs of the aggregator that overlap: one that was held up never overwrites what it does not know.

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

/// Everything a run may write is held up in turn: the minutes, the hours, the day, the chunk.
#[tokio::test]
async fn a_value_that_returns_while_a_run_is_held_up_is_what_stays() {
    for write in 0..5 {
        let mut world = World::start("2026-11-20T12:00:00Z").await;
        let at = ms("2026-11-18T09:30:00Z");
        let run = world.aggregating(&Plan::none());
        store(&mut world, at, 1.0).await;
        world.aggregate(&run).await;
        assert_eq!(sums(&world, at).await, [Some(1.0); 3]);
        store(&mut world, at, 2.0).await;

        let plan = Plan::new(Fault::Held, write);
        let slow = world.aggregating(&plan);
        let stop = world.clock.now() + jiff::SignedDuration::from_mins(1);
        let held_up = Box::pin(functions::sensors::aggregator::run(&slow, stop));
        let meanwhile = async {
            plan.held().await;
            store(&mut world, at, 1.0).await;
            world.aggregate(&run).await;
            plan.let_go();
        };
        let (ended, ()) = tokio::join!(held_up, meanwhile);
        ended.unwrap();
        world.aggregate(&run).await;
        assert_eq!(
            sums(&world, at).await,
            [Some(1.0); 3],
            "write {write} was held up"
        );
    }
}
