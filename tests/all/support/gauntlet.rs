//! The gauntlet's two sizes, its seed, and the figures that it reports.

use std::{env, fmt::Display, fs::OpenOptions, io::Write as _};

use serde_json::json;

/// What runs are seeded with unless `GAUNTLET_SEED` says otherwise.
const SEED: u64 = 20_261_121;

/// Whether `GAUNTLET=full` asks for the long runs.
pub(crate) fn is_full() -> bool {
    env::var("GAUNTLET").is_ok_and(|size| size == "full")
}

/// How much of something is done in the size that is asked for.
pub(crate) fn sized<T>(quick: T, full: T) -> T {
    if is_full() { full } else { quick }
}

/// The seed of every run: the same one plays the same faults.
///
/// # Panics
///
/// When `GAUNTLET_SEED` is no number: a run must not look like a replay that it is not.
pub(crate) fn seed() -> u64 {
    env::var("GAUNTLET_SEED").map_or(SEED, |seed| {
        seed.parse().expect("GAUNTLET_SEED is a whole number")
    })
}

/// Reports a figure: a line of the file that `GAUNTLET_FIGURES` names, for the table at the end, and a
/// line of the test's output.
pub(crate) fn figure(check: &str, what: &str, value: impl Display) {
    println!("{check}: {what}: {value}");
    let Ok(path) = env::var("GAUNTLET_FIGURES") else {
        return;
    };
    let line = json!({"check": check, "what": what, "value": value.to_string()});
    let file = OpenOptions::new().create(true).append(true).open(path);
    // One write a line: tests beside each other append to the same file.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("GAUNTLET_FIGURES names a file that can be written");
}
