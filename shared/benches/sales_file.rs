//! Reading a sales file: parse, validate and identify, against the `csv` crate's bare record loop.
//!
//! Prints rows a second for each and, in the same run, the ratio of the two.

#[path = "../../tests/src/generate/sales.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the bench writes one file; it needs no command line and runs no tests"
)]
mod generate;

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use shared::sales::file::{Encoding, Limits, ParsedRow, Parser, RejectedRow, Sink, Start};

const ROWS: u64 = 200_000;
/// The size in which an object's bytes arrive.
const SLICE: usize = 64 << 10;

static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut file = Vec::new();
    let written = generate::Plan::new(ROWS, 1).write_file(&mut file);
    written.expect("a Vec takes every write");
    file
});

/// Takes every row's identity, as an import does.
#[derive(Default)]
struct Identities {
    rows: u64,
    units: i64,
}

impl Sink for Identities {
    fn row(&mut self, row: &ParsedRow<'_>) {
        black_box(row.identity());
        self.rows += 1;
        self.units = self.units.wrapping_add(row.total_paid.units());
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        black_box(row);
        self.rows += 1;
    }
}

fn parse(file: &[u8]) -> u64 {
    let mut sink = Identities::default();
    let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
    for slice in file.chunks(SLICE) {
        parser
            .feed(slice, &mut sink)
            .expect("the generated file is good");
    }
    parser
        .finish(&mut sink)
        .expect("the generated file is good");
    black_box(sink.units);
    sink.rows
}

fn yardstick(file: &[u8]) -> u64 {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader
        .read_byte_record(&mut record)
        .expect("the generated file is well-formed")
    {
        black_box(&record);
        rows += 1;
    }
    rows
}

#[divan::bench]
fn parse_validate_identify(bencher: Bencher) {
    run(bencher, parse);
}

#[divan::bench]
fn csv_crate_bare_records(bencher: Bencher) {
    run(bencher, yardstick);
}

fn run(bencher: Bencher, read: fn(&[u8]) -> u64) {
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(FILE.len()))
        .bench(|| read(black_box(&FILE)));
}

/// The best of alternating runs, so that both meet the same machine.
fn ratio() {
    let best = |read: fn(&[u8]) -> u64, so_far: Duration| {
        let start = Instant::now();
        assert_eq!(read(black_box(&FILE)), ROWS);
        so_far.min(start.elapsed())
    };
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..15 {
        ours = best(parse, ours);
        theirs = best(yardstick, theirs);
    }
    #[expect(clippy::cast_precision_loss, reason = "200,000 is exact")]
    let rate = |time: Duration| ROWS as f64 / time.as_secs_f64() / 1e6;
    println!(
        "parse, validate, identify: {:.2} M rows/s; csv crate, bare records: {:.2} M rows/s; ratio {:.2}",
        rate(ours),
        rate(theirs),
        rate(ours) / rate(theirs),
    );
}

fn main() {
    divan::main();
    // cargo test runs benches to see that they work; figures of a debug build mean nothing.
    if std::env::args().any(|argument| argument == "--bench") {
        ratio();
    }
}
