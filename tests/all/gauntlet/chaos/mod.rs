//! The functions under faults at every call: whatever a service does to its callers, what they leave behind
//! is right, and they are done in the time that they have.

mod apis;
mod messages;
mod orders;
mod sales;
mod sensors;
mod site;

use shared::platform::ids::Random;

/// A whole number below `count`.
fn below(random: &Random, count: usize) -> usize {
    let last = u32::try_from(count - 1).expect("it is a small number");
    random.up_to(last) as usize
}

/// True once in `times`.
fn once_in(random: &Random, times: u32) -> bool {
    random.up_to(times - 1) == 0
}
