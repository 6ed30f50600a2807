//! Whatever cannot be worked off now is worked off later, and holds up nothing else.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use functions::sensors::aggregator;
use jiff::SignedDuration;
use shared::sensors::{
    model::{DeviceId, Hour, Metric},
    readings::{Reading, Readings},
    rules::Lane,
};

use super::world::{World, deliver, ms, reading};
use crate::support::faults::Plan;

const NOW: &str = "2026-11-20T12:00:00Z";

/// Accepts and stores one reading each of `devices`, taken at `at`.
async fn store(world: &mut World, devices: &[&str], at: i64) {
    let mut readings = Readings::default();
    for device in devices {
        readings.push(reading(device, "value", at, 1.0));
    }
    let messages = world.messages(readings);
    let response = deliver(&world.storing(&Plan::none()), &messages).await;
    assert!(response.batch_item_failures.is_empty());
}

/// How many readings the stored minutes of a device count.
async fn counted(world: &World, device: &str, at: i64) -> u64 {
    let store = world.store(&Plan::none());
    let (device, hour): (DeviceId, _) = (device.parse().unwrap(), Hour::of(at));
    let minutes = store
        .minutes(&device, &Metric::default(), hour, hour)
        .await
        .unwrap();
    let counts = minutes
        .iter()
        .filter_map(|(_, minutes)| Some(minutes.total()?.count()));
    counts.sum()
}

/// Puts an item with that frame beside those of the store.
async fn put(world: &World, pk: &str, sk: &str, frame: &[u8]) {
    let client = world.database.client();
    let put = client
        .put_item()
        .table_name("Sensors")
        .item("pk", AttributeValue::S(pk.into()))
        .item("sk", AttributeValue::S(sk.into()))
        .item("expiration", AttributeValue::N("4000000000".into()))
        .item("frame", AttributeValue::B(Blob::new(frame)));
    put.send().await.unwrap();
}

async fn delete(world: &World, pk: &str, sk: &str) {
    let client = world.database.client();
    let delete = client
        .delete_item()
        .table_name("Sensors")
        .key("pk", AttributeValue::S(pk.into()))
        .key("sk", AttributeValue::S(sk.into()));
    delete.send().await.unwrap();
}

#[tokio::test]
async fn a_device_whose_data_cannot_be_read_holds_up_no_other_and_is_tried_again() {
    let mut world = World::start(NOW).await;
    let at = ms("2026-11-20T11:30:00Z");
    let (pk, sk) = ("RAW#pump-2#2026-11-20", "S#11#broken");
    put(&world, pk, sk, b"no frame").await;
    store(&mut world, &["pump-1", "pump-2", "pump-3"], at).await;
    let process = world.aggregating(&Plan::none());
    let report = world.aggregate(&process).await;
    assert_eq!((report.hours, report.failed, report.left), (2, 1, 0));
    assert_eq!(counted(&world, "pump-1", at).await, 1);
    assert_eq!(counted(&world, "pump-2", at).await, 0);
    assert_eq!(counted(&world, "pump-3", at).await, 1);

    let idle = world.aggregate(&process).await;
    assert_eq!(
        (idle.entries, idle.failed),
        (0, 0),
        "it is not tried all the time"
    );
    delete(&world, pk, sk).await;
    world.clock.advance(SignedDuration::from_mins(14));
    assert_eq!(world.aggregate(&process).await.entries, 0);
    world.clock.advance(SignedDuration::from_mins(2));
    assert_eq!(world.aggregate(&process).await.failed, 0);
    assert_eq!(counted(&world, "pump-2", at).await, 1);
}

#[tokio::test]
async fn a_run_without_time_leaves_everything_and_tells_its_lag() {
    let mut world = World::start(NOW).await;
    let (new, old) = (ms("2026-11-20T11:59:00Z"), ms("2026-11-10T11:59:00Z"));
    store(&mut world, &["pump-1"], new).await;
    store(&mut world, &["pump-1"], old).await;
    world.clock.advance(SignedDuration::from_mins(7));
    let process = world.aggregating(&Plan::none());
    let report = aggregator::run(&process, world.clock.now()).await.unwrap();
    assert_eq!((report.hours, report.left, report.entries), (0, 2, 0));
    assert_eq!((report.lag_seconds, report.backlog_seconds), (420, 420));
    let watermark = process.store.watermark().await.unwrap().unwrap();
    assert!(watermark < ms("2026-11-20T12:00:01Z"), "{watermark}");

    let report = world.aggregate(&process).await;
    assert_eq!(
        (report.left, report.lag_seconds, report.backlog_seconds),
        (0, 0, 0)
    );
    assert_eq!(counted(&world, "pump-1", new).await, 1);
    assert_eq!(counted(&world, "pump-1", old).await, 1);
}

#[tokio::test]
async fn what_the_table_refuses_for_now_is_left_to_the_next_run_alone() {
    let mut world = World::start(NOW).await;
    let at = ms("2026-11-20T11:59:00Z");
    store(&mut world, &["pump-1", "pump-2"], at).await;
    world.clock.advance(SignedDuration::from_mins(3));
    let hindered = world.aggregating(&Plan::refusing("#pump-2#"));
    let report = world.aggregate(&hindered).await;
    assert_eq!((report.hours, report.left, report.failed), (1, 1, 0));
    assert_eq!(report.lag_seconds, 180, "what is put back keeps its age");
    assert_eq!(counted(&world, "pump-1", at).await, 1);
    assert_eq!(counted(&world, "pump-2", at).await, 0);

    let report = world.aggregate(&world.aggregating(&Plan::none())).await;
    assert_eq!((report.hours, report.left, report.lag_seconds), (1, 0, 0));
    assert_eq!(counted(&world, "pump-2", at).await, 1);
}

#[tokio::test]
async fn what_is_new_is_worked_off_before_history() {
    let mut world = World::start(NOW).await;
    let (new, old) = (ms("2026-11-20T11:59:00Z"), ms("2020-11-10T11:59:00Z"));
    store(&mut world, &["pump-1"], old).await;
    store(&mut world, &["pump-1"], new).await;
    let process = world.aggregating(&Plan::none());
    let store = &process.store;
    let now = world.now();
    for (lane, at) in [(Lane::Live, new), (Lane::Backlog, old)] {
        let mut hours = Vec::new();
        for shard in lane.shards() {
            for entry in store.due(shard, now, 10).await.unwrap() {
                hours.extend(
                    entry
                        .touched
                        .unwrap()
                        .into_iter()
                        .map(|touched| touched.hour),
                );
            }
        }
        assert_eq!(hours, [Hour::of(at)], "{lane:?}");
    }
}

#[tokio::test]
async fn a_log_entry_that_cannot_be_read_is_set_aside() {
    let mut world = World::start(NOW).await;
    let at = ms("2026-11-20T11:30:00Z");
    for number in 0..30 {
        put(
            &world,
            "DIRTY#3",
            &format!("000001700000000#{number}"),
            b"garbage",
        )
        .await;
    }
    store(&mut world, &["pump-1"], at).await;
    let process = world.aggregating(&Plan::none());
    let report = world.aggregate(&process).await;
    assert_eq!((report.failed, report.lag_seconds), (30, 0));
    assert_eq!(counted(&world, "pump-1", at).await, 1);
    assert_eq!(world.aggregate(&process).await.failed, 0);
}

#[tokio::test]
async fn an_hour_too_large_for_one_item_keeps_all_its_readings() {
    let mut world = World::start("2026-11-20T11:50:00Z").await;
    let hour = Hour::of(ms("2026-11-20T11:00:00Z"));
    let padding = "x".repeat(900);
    let storing = world.storing(&Plan::none());
    // Batches of fewer readings than a chunk needs to be kept as it is.
    for batch in 0..80_i32 {
        let mut readings = Readings::default();
        for number in batch * 150..(batch + 1) * 150 {
            let at = hour.start() + i64::from(number) * 200;
            readings.push(Reading {
                metadata: &format!(r#"{{"n":{number},"p":"{padding}"}}"#),
                ..reading("pump-1", "value", at, f64::from(number))
            });
        }
        let messages = world.messages(readings);
        deliver(&storing, &messages).await;
    }
    let process = world.aggregating(&Plan::none());
    world.clock.advance(SignedDuration::from_mins(40));
    assert_eq!(world.aggregate(&process).await.failed, 0);
    let device: DeviceId = "pump-1".parse().unwrap();
    let raw = process
        .store
        .hour_chunks(&device, hour, world.now())
        .await
        .unwrap();
    assert_eq!(raw.union.len(), 12_000);
    assert!(raw.found.len() > 1, "it takes more than one item");
    assert!(
        raw.not_kept().unwrap().is_empty(),
        "all of it is kept for the whole retention"
    );
    let again = world.aggregate(&process).await;
    assert_eq!((again.entries, again.failed), (0, 0));
    assert_eq!(counted(&world, "pump-1", hour.start()).await, 12_000);
}
