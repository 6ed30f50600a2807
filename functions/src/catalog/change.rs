//! What changes have in common that are tried again where others were first at what they were made of.

use std::time::Duration;

use shared::platform::problem::Problem;

use super::context::Context;

/// Times that a change is made anew when other changes come in between.
pub const TRIES: u32 = 10;

/// Longest pause before a change is made anew, in milliseconds.
const MOST_PAUSE: u32 = 300;

/// Waits before a change is made anew for the `round`th time.
pub async fn pause(context: &Context, round: u32) {
    let most = (10_u32 << round.min(8)).min(MOST_PAUSE);
    let pause = context.random.up_to(most);
    tokio::time::sleep(Duration::from_millis(pause.into())).await;
}

/// The problem that it is to a caller that others were first every time.
#[must_use]
pub fn crowded() -> Problem {
    Problem::unavailable("others made changes in between every time")
}
