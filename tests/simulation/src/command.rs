//! The command: many runs, or one to look at.

use std::{
    env, io,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use crate::{Broken, CUSTOMERS, Coverage, play};

/// Runs after which everything that can happen must have.
const ENOUGH_RUNS: u64 = 100_000;

/// `simulate-orders`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Plays this many runs, of the seeds from 0: `--runs`, or the variable `SIMULATION_RUNS`.
    Runs(u64),
    /// Plays the run of a seed and prints its operations: `--seed`.
    Replay(u64),
}

impl Command {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// When they are not `--runs` or `--seed` and a number.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Self> {
        let option = arguments.next();
        let number = match option {
            Some(_) => arguments.next(),
            None => Some(env::var("SIMULATION_RUNS").unwrap_or(ENOUGH_RUNS.to_string())),
        };
        let number = number.and_then(|number| number.parse().ok());
        match (option.as_deref(), number) {
            (None | Some("--runs"), Some(runs)) => Ok(Self::Runs(runs)),
            (Some("--seed"), Some(seed)) => Ok(Self::Replay(seed)),
            _ => Err(io::Error::other(
                "usage: simulate-orders [--runs N | --seed N]",
            )),
        }
    }

    /// Plays, and says what came of it.
    ///
    /// # Errors
    ///
    /// When something was wrong; or when, in enough runs, something never happened.
    pub fn run(self) -> io::Result<()> {
        let began = Instant::now();
        let (runs, (coverage, broken)) = match self {
            Self::Runs(runs) => (runs, play_all(runs)),
            Self::Replay(seed) => {
                let (coverage, broken) = play(seed, None, true);
                (1, (coverage, broken.map(|broken| (seed, broken))))
            }
        };
        if let Some((seed, broken)) = broken {
            let again = format!("play it again with --seed {seed}");
            return Err(io::Error::other(format!("{broken}; {again}")));
        }
        println!("{}", coverage.turns());
        println!(
            "{runs} runs of {CUSTOMERS} orders: {} operations, {} faults, no violation ({:.1} s)",
            coverage.operations,
            coverage.faults(),
            began.elapsed().as_secs_f64(),
        );
        let missing = coverage.missing();
        if runs >= ENOUGH_RUNS && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(io::Error::other(format!("never happened: {missing}")));
        }
        Ok(())
    }
}

/// Plays the runs of the first seeds on all processors, up to the first that finds something wrong.
fn play_all(runs: u64) -> (Coverage, Option<(u64, Broken)>) {
    let next = AtomicU64::new(0);
    let work = || {
        let mut coverage = Coverage::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= runs {
                return (coverage, None);
            }
            let (came, broken) = play(seed, None, false);
            coverage.merge(&came);
            if let Some(broken) = broken {
                next.store(runs, Ordering::Relaxed);
                return (coverage, Some((seed, broken)));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = (Coverage::default(), None);
        for worker in workers {
            let (coverage, broken) = worker.join().expect("a run does not panic");
            all.0.merge(&coverage);
            all.1 = all.1.or(broken);
        }
        all
    })
}
