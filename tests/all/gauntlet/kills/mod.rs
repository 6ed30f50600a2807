//! Functions killed at random under the load of all three domains at once, and afterwards every
//! reading, row, cent, unit, order, event and notification accounted for.

mod load;
mod reconciler;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;
use shared::platform::ids::Random;

use crate::support::{
    gauntlet,
    lambda::invoke,
    processes::{kill, running},
    queue::ShortVisibility,
    stack::{stack, variable},
};

const CHECK: &str = "kills";

/// The functions that the load keeps busy, each of which has to be killed at least once.
const BUSY: [&str; 18] = [
    "catalog-api",
    "customer-api",
    "event-relay",
    "notification-send",
    "order-api",
    "order-confirm-step",
    "order-inventory-step",
    "order-payment-step",
    "order-revenue",
    "reservation-sweep",
    "revenue-api",
    "sales-api",
    "sales-import",
    "sensor-aggregate",
    "sensor-api",
    "sensor-authorizer",
    "sensor-ingest",
    "sensor-store",
];

/// Kills processes of all functions, those of the least killed first, until as many are dead as wanted.
/// Gives how many of each.
fn kill_at_random(wanted: usize) -> BTreeMap<String, usize> {
    let random = Random::seeded(gauntlet::seed());
    let mut killed: BTreeMap<String, usize> = BTreeMap::new();
    while killed.values().sum::<usize>() < wanted {
        let times = |name: &String| killed.get(name).copied().unwrap_or(0);
        let mut found = running();
        let fewest = found.iter().map(|(name, _)| times(name)).min();
        found.retain(|(name, _)| Some(times(name)) == fewest);
        if let Some(last) = found.len().checked_sub(1) {
            let most = u32::try_from(last).expect("there are few");
            let (name, process) = found.swap_remove(random.up_to(most) as usize);
            if kill(&process) {
                *killed.entry(name).or_default() += 1;
            }
        }
        thread::sleep(Duration::from_millis(100 + u64::from(random.up_to(200))));
    }
    killed
}

/// Has the functions that a schedule calls run more often than it does, until told to stop. A run that
/// is killed fails.
fn keep_calling(function: &str, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let _ = invoke(function, &json!({}));
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "kills functions that other tests use: it is run alone, with a stack of its own"]
fn every_reading_cent_unit_order_and_notice_is_accounted_for_although_functions_are_killed() {
    let queues = [
        stack().queue_url.clone(),
        stack().readings_queue_url.clone(),
        variable("MILLRACE_NOTIFICATION_QUEUE_URL"),
        variable("MILLRACE_ORDER_REVENUE_QUEUE_URL"),
    ];
    let short: Vec<ShortVisibility> = queues.iter().map(|url| ShortVisibility::of(url)).collect();
    let shop = load::Shop::open();
    let is_over = AtomicBool::new(false);
    let (ledger, killed) = thread::scope(|scope| {
        let sweep = variable("MILLRACE_SWEEP_FUNCTION");
        let schedules = [stack().aggregate_function.clone(), sweep];
        let schedules = schedules.map(|function| {
            let is_over = &is_over;
            scope.spawn(move || keep_calling(&function, is_over))
        });
        let killer = scope.spawn(|| {
            let killed = kill_at_random(gauntlet::sized(25, 200));
            is_over.store(true, Ordering::Relaxed);
            killed
        });
        let ledger = load::run(&shop, &is_over);
        // A load that failed leaves no one to kill for.
        is_over.store(true, Ordering::Relaxed);
        for schedule in schedules {
            schedule.join().expect("it only invokes");
        }
        (ledger, killer.join().expect("it only kills"))
    });
    reconciler::reconcile(&shop, &ledger, killed.get("notification-send").copied());
    drop(short);
    gauntlet::figure(CHECK, "processes killed", killed.values().sum::<usize>());
    gauntlet::figure(CHECK, "functions killed", killed.len());
    if gauntlet::is_full() {
        let spared: Vec<_> = BUSY
            .into_iter()
            .filter(|name| !killed.contains_key(*name))
            .collect();
        assert_eq!(spared, [""; 0], "{killed:?}");
    }
}
