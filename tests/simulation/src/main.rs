//! Plays orders out, run by run, each of its own seed: `simulate-orders [--runs N | --seed N]`.

use simulation::Command;

fn main() -> std::io::Result<()> {
    Command::parse(std::env::args().skip(1))?.run()
}
