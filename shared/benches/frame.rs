//! Size and speed of the column frame on sales rows and sensor readings, beside JSON compressed
//! with zstd, which is what one would write otherwise. Speed is judged by the ratio of CPU time.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "counts and prices of a benchmark are far below 2^31"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use shared::frame::{Column, Frame, Limits, TextColumn};

const SALES_ROWS: [usize; 2] = [30, 2_740];
const READINGS: usize = 720;

const HEADERS: [&str; 19] = [
    "Sale Date",
    "Client ID",
    "Sale ID",
    "Item name",
    "Batch #",
    "Sales Notes",
    "Location",
    "Notes",
    "Color",
    "Size",
    "Item price (excluding tax)",
    "Quantity",
    "Subtotal (excluding tax)",
    "Discount %",
    "Discount amount",
    "Tax",
    "Item Total",
    "Total Paid w/ Payment Method",
    "Payment Method",
];

fn main() {
    for rows in SALES_ROWS {
        report(&format!("{rows} sales rows"), &sales(rows));
    }
    report(&format!("{READINGS} readings"), &readings(READINGS));
    divan::main();
}

fn report(name: &str, frame: &Frame) {
    let bytes = frame.encode().expect("within the format");
    let peer = peer_encode(frame);
    let per_row = |length: usize| length as f64 / frame.rows() as f64;
    let encode = cpu_nanos(|| drop(black_box(frame.encode())));
    let peer_encode_nanos = cpu_nanos(|| drop(black_box(peer_encode(frame))));
    let decode = cpu_nanos(|| drop(black_box(Frame::decode(&bytes, &Limits::default()))));
    let peer_decode_nanos = cpu_nanos(|| drop(black_box(peer_decode(&peer))));
    let rate = |nanos: f64| frame.rows() as f64 * 1e3 / nanos;
    println!(
        "{name}: {} bytes, {:.2} a row; JSON + zstd {:.2} a row, {:.1} times as much",
        bytes.len(),
        per_row(bytes.len()),
        per_row(peer.len()),
        peer.len() as f64 / bytes.len() as f64,
    );
    println!(
        "  encode {:.2} M rows/s, {:.2} of the CPU time of JSON + zstd; decode {:.2} M rows/s, {:.2}",
        rate(encode),
        encode / peer_encode_nanos,
        rate(decode),
        decode / peer_decode_nanos,
    );
}

/// Nanoseconds of CPU that one call takes on this thread, so that a busy machine does not count;
/// of wall-clock time where the system does not tell.
fn cpu_nanos(mut call: impl FnMut()) -> f64 {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    call();
    let (before, clock) = (on_cpu(), Instant::now());
    let mut calls = 0;
    // The system counts in ticks of some milliseconds.
    while clock.elapsed() < Duration::from_millis(400) {
        call();
        calls += 1;
    }
    let spent = match (before, on_cpu()) {
        (Some(before), Some(after)) => Duration::from_nanos(after - before),
        _ => clock.elapsed(),
    };
    spent.as_secs_f64() * 1e9 / f64::from(calls)
}

/// The rows as a JSON array of objects, compressed.
fn peer_encode(frame: &Frame) -> Vec<u8> {
    let rows: Vec<serde_json::Value> = (0..frame.rows())
        .map(|row| {
            let cells = frame.columns().iter().map(|(name, column)| {
                let cell = match column {
                    Column::Int(values) => values[row].into(),
                    Column::Float(values) => values[row].into(),
                    Column::Decimal(values) => values.mantissas[row].into(),
                    Column::Bool(values) => values[row].into(),
                    Column::Text(values) => values.get(row).into(),
                };
                (name.clone(), cell)
            });
            serde_json::Value::Object(cells.collect())
        })
        .collect();
    let json = serde_json::to_vec(&rows).expect("plain values");
    zstd::bulk::compress(&json, 9).expect("memory suffices")
}

fn peer_decode(bytes: &[u8]) -> Vec<serde_json::Value> {
    let json = zstd::bulk::decompress(bytes, 64 << 20).expect("own bytes");
    serde_json::from_slice(&json).expect("own JSON")
}

/// Pseudo-random numbers, the same in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A day of a shop with 80 items and 900 customers, a third of whom buy several things.
fn sales(rows: usize) -> Frame {
    let mut noise = Noise(2_740);
    let mut columns = vec![TextColumn::new(); HEADERS.len()];
    let (mut sale, mut client, mut method) = (73_210, 1, "Cash");
    for _ in 0..rows {
        if noise.below(5) > 0 {
            sale += 1;
            client = if noise.below(8) == 0 {
                1
            } else {
                100_002_000 + noise.below(900)
            };
            method = match noise.below(20) {
                0 => "Misc. (Bank Transfer)",
                1..3 => "Credit card (AMEX-Keyed)",
                _ => "Credit card (Visa/MC-Keyed)",
            };
        }
        let item = noise.below(80) * noise.below(80) / 80;
        let name = format!(
            "{} visits {}",
            1 + item % 7 * 5,
            ["morning", "evening", "student", "family, 4"][(item % 4) as usize]
        );
        let price = [400, 600, 2_000, 4_000, 8_000, 22_000, 32_000, 75_500][(item % 8) as usize]
            * (1 + item / 40);
        let percent = if noise.below(9) == 0 { 10 } else { 0 };
        let refund = if noise.below(70) == 0 { "-" } else { "" };
        let discount = price * percent / 100;
        let tax = (price - discount) * 9 / 100;
        let amount = |thousandths: u64| {
            let text = format!("{refund}{}.{:03}", thousandths / 1000, thousandths % 1000);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let total = amount(price - discount + tax);
        let note = if noise.below(60) == 0 {
            format!("paid {} later", noise.below(90))
        } else {
            String::new()
        };
        let cells: [String; 19] = [
            "3/22/2025".into(),
            client.to_string(),
            sale.to_string(),
            name,
            "---".into(),
            note,
            "Main hall".into(),
            String::new(),
            "---".into(),
            "---".into(),
            amount(price).trim_start_matches('-').to_owned(),
            format!("{refund}1"),
            amount(price),
            percent.to_string(),
            if discount == 0 {
                "0".into()
            } else {
                amount(discount)
            },
            amount(tax),
            total.clone(),
            total,
            method.into(),
        ];
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push(&cell).expect("small");
        }
    }
    let import =
        TextColumn::try_from_cells((0..rows).map(|_| "01JC9Z6QK3X8V5T2M7R4B1N0WD")).expect("small");
    let ordinals = (0..rows).map(|row| i64::from(row % 97 == 96)).collect();
    let cells = HEADERS
        .into_iter()
        .zip(columns.into_iter().map(Column::Text));
    Frame::from_columns(cells.chain([
        ("import", Column::Text(import)),
        ("ordinal", Column::Int(ordinals)),
    ]))
    .expect("columns agree")
}

/// An hour of a sensor that reports every five seconds, on time.
fn readings(rows: usize) -> Frame {
    let mut noise = Noise(5);
    let mut level = 2_150;
    let times = (0..rows)
        .map(|row| 1_763_600_000_000 + row as i64 * 5_000)
        .collect();
    let values = (0..rows)
        .map(|_| {
            level += noise.below(5) as i32 - 2;
            f64::from(level) / 100.0
        })
        .collect();
    Frame::from_columns([
        ("time", Column::Int(times)),
        ("value", Column::Float(values)),
    ])
    .expect("columns agree")
}

#[divan::bench(args = SALES_ROWS)]
fn encode_sales(bencher: Bencher, rows: usize) {
    let frame = sales(rows);
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| frame.encode());
}

#[divan::bench(args = SALES_ROWS)]
fn encode_sales_as_json(bencher: Bencher, rows: usize) {
    let frame = sales(rows);
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| peer_encode(&frame));
}

#[divan::bench(args = SALES_ROWS)]
fn decode_sales(bencher: Bencher, rows: usize) {
    let bytes = sales(rows).encode().expect("within the format");
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| Frame::decode(&bytes, &Limits::default()));
}

#[divan::bench(args = SALES_ROWS)]
fn decode_identities_of_sales(bencher: Bencher, rows: usize) {
    let bytes = sales(rows).encode().expect("within the format");
    let names = [
        "Sale ID",
        "Item name",
        "Total Paid w/ Payment Method",
        "ordinal",
    ];
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| Frame::decode_columns(&bytes, &names, &Limits::default()));
}

#[divan::bench(args = SALES_ROWS)]
fn decode_sales_from_json(bencher: Bencher, rows: usize) {
    let bytes = peer_encode(&sales(rows));
    bencher
        .counter(ItemsCount::new(rows))
        .bench_local(|| peer_decode(&bytes));
}

#[divan::bench]
fn encode_readings(bencher: Bencher) {
    let frame = readings(READINGS);
    bencher
        .counter(ItemsCount::new(READINGS))
        .bench_local(|| frame.encode());
}

#[divan::bench]
fn decode_readings(bencher: Bencher) {
    let bytes = readings(READINGS).encode().expect("within the format");
    bencher
        .counter(ItemsCount::new(READINGS))
        .bench_local(|| Frame::decode(&bytes, &Limits::default()));
}
