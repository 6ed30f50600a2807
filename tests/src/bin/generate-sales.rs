//! Writes generated sales files and the figures an import of them must report.

use tests::generate::sales::Command;

fn main() -> std::io::Result<()> {
    Command::parse(std::env::args().skip(1))?.run()
}
