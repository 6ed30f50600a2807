//! Writes generated readings, the devices they are of, and what must come of them.

use tests::generate::sensors::Command;

fn main() -> std::io::Result<()> {
    Command::parse(std::env::args().skip(1))?.run()
}
