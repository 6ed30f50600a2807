//! What must hold for whole frames.

use proptest::prelude::*;

use crate::frame::{Column, DecimalColumn, Frame, FrameError, Limits, TextColumn};

fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    Frame::decode(bytes, &Limits::default())
}

fn text<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> Column {
    Column::Text(TextColumn::try_from_cells(cells).expect("tests stay small"))
}

fn decimal(scale: u8, mantissas: impl IntoIterator<Item = i64>) -> Column {
    Column::Decimal(DecimalColumn {
        scale,
        mantissas: mantissas.into_iter().collect(),
    })
}

/// Pseudo-random numbers below `bound`, the same in every run.
fn noise(seed: u64, bound: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    }
}

/// A day of a shop, in the columns of a point-of-sale export and two of ours.
#[expect(
    clippy::too_many_lines,
    reason = "nineteen columns are named and filled"
)]
fn sales(rows: usize) -> Frame {
    const ITEMS: [(&str, u64); 12] = [
        ("Day pass", 32_000),
        ("Mineral water", 400),
        ("Coffee", 600),
        ("Ten visits", 288_500),
        ("Towel, \"large\"", 4_000),
        ("Locker", 8_000),
        ("Trial lesson", 22_000),
        ("Guest pass", 16_000),
        ("Gift card", 50_000),
        ("Membership, monthly", 99_900),
        ("Racket rental", 2_000),
        ("Balls\nx3", 7_500),
    ];
    const NAMES: [&str; 19] = [
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
    let mut random = noise(2_740, 1 << 30);
    let mut columns: Vec<TextColumn> = vec![TextColumn::new(); NAMES.len()];
    let mut sale = 73_210;
    let mut client = 1;
    for _ in 0..rows {
        if !random().is_multiple_of(5) {
            sale += 1;
            client = if random().is_multiple_of(8) {
                1
            } else {
                100_000_000 + random() % 900
            };
        }
        let (item, price) =
            ITEMS[usize::try_from(random() % 36 * (random() % 36) / 108).expect("small") % 12];
        let refund = random().is_multiple_of(70);
        let subtotal = price;
        let percent = if random().is_multiple_of(9) { 10 } else { 0 };
        let discount = subtotal * percent / 100;
        let tax = (subtotal - discount) * 9 / 100;
        let amount = |thousandths: u64| {
            let mut text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
            if refund && thousandths > 0 {
                format!("-{text}")
            } else {
                text
            }
        };
        let total = amount(subtotal - discount + tax);
        let method = [
            "Credit card (Visa/MC-Keyed)",
            "Cash",
            "Credit card (AMEX-Keyed)",
        ][usize::try_from(client % 11 / 5).expect("small")];
        let cells = [
            "3/22/2025".into(),
            client.to_string(),
            sale.to_string(),
            item.into(),
            "---".into(),
            if random().is_multiple_of(60) {
                format!("paid {} later", random() % 90)
            } else {
                String::new()
            },
            "Main hall".into(),
            String::new(),
            "---".into(),
            "---".into(),
            amount(price).replace('-', ""),
            if refund { "-1".into() } else { "1".into() },
            amount(subtotal),
            percent.to_string(),
            amount(discount),
            amount(tax),
            total.clone(),
            total,
            method.into(),
        ];
        for (column, cell) in columns.iter_mut().zip::<[String; 19]>(cells) {
            column.push(&cell).expect("small");
        }
    }
    let mut frame = Frame::new(rows);
    for (name, column) in NAMES.into_iter().zip(columns) {
        frame
            .push(name, Column::Text(column))
            .expect("names differ");
    }
    frame
        .push(
            "import",
            text((0..rows).map(|_| "01JC9Z6QK3X8V5T2M7R4B1N0WD")),
        )
        .expect("new name");
    frame
        .push(
            "ordinal",
            Column::Int((0..rows).map(|row| i64::from(row % 97 == 96)).collect()),
        )
        .expect("new name");
    frame
}

/// An hour of a sensor that reports every five seconds or so.
fn readings(rows: usize) -> Frame {
    let mut random = noise(5, 1 << 20);
    let mut level = 2_150i64;
    let mut signed = move |bound: u64| {
        i64::try_from(random() % (2 * bound + 1)).expect("small")
            - i64::try_from(bound).expect("small")
    };
    let mut times = Vec::new();
    let mut values = Vec::new();
    for row in 0..i64::try_from(rows).expect("small") {
        times.push(1_763_600_000_000 + row * 5_000 + signed(30));
        level += signed(2);
        values.push(f64::from(i32::try_from(level).expect("small")) / 100.0);
    }
    Frame::from_columns([
        ("time", Column::Int(times)),
        ("value", Column::Float(values)),
        (
            "is_valid",
            Column::Bool((0..rows).map(|row| row % 113 != 0).collect()),
        ),
        ("unit", text((0..rows).map(|_| "°C"))),
    ])
    .expect("columns agree")
}

/// Every type with its odd values.
fn types() -> Frame {
    let nan = f64::from_bits(0x7ff8_0000_dead_beef);
    Frame::from_columns([
        ("int", Column::Int(vec![i64::MIN, -1, 0, 1, i64::MAX, 0])),
        (
            "float",
            Column::Float(vec![0.0, -0.0, nan, f64::INFINITY, 0.1, f64::from_bits(1)]),
        ),
        (
            "decimal",
            decimal(3, [34_880, 654, -1, 0, i64::MAX, i64::MIN]),
        ),
        (
            "bool",
            Column::Bool(vec![true, false, false, true, true, true]),
        ),
        (
            "text",
            text(["", "---", "007", "34.50", "søren \"x\",\n", "-0"]),
        ),
        (
            "number",
            text(["32", "2.88", "0.654", "-1", "1004", "7.50"]),
        ),
        ("", Column::Int(vec![0; 6])),
    ])
    .expect("columns agree")
}

/// Columns that copy others but for some rows, long texts, and integers for `pco`.
fn layouts() -> Frame {
    let mut random = noise(11, 1 << 40);
    let wide: Vec<i64> = (0..400)
        .map(|_| i64::try_from(random() % (1 << 30)).expect("small"))
        .collect();
    let mut nearly = wide.clone();
    nearly[17] = -5;
    nearly[399] = i64::MAX;
    let notes: Vec<String> = wide
        .iter()
        .map(|number| format!("see reference {number} of that day"))
        .collect();
    Frame::from_columns([
        ("wide", Column::Int(wide.clone())),
        ("nearly", Column::Int(nearly)),
        ("same", Column::Int(wide.clone())),
        ("notes", text(&notes)),
        ("notes again", text(&notes)),
        (
            "roots",
            Column::Float(
                (0..400u16)
                    .map(|row| f64::from(f32::from(row).sqrt()))
                    .collect(),
            ),
        ),
    ])
    .expect("columns agree")
}

fn column(rows: usize) -> impl Strategy<Value = Column> {
    let float = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-9999..9999i32).prop_map(|value| f64::from(value) / 100.0),
        Just(-0.0),
        Just(f64::NAN),
    ];
    let cell = prop_oneof![
        "[a-c]{0,2}",
        "-?[0-9]{1,3}(\\.[0-9]{1,2})?",
        any::<String>(),
        Just("---".to_owned()),
    ];
    let int = prop_oneof![any::<i64>(), -3..3i64, Just(i64::MIN), Just(i64::MAX)];
    prop_oneof![
        prop::collection::vec(int.clone(), rows).prop_map(Column::Int),
        prop::collection::vec(float, rows).prop_map(Column::Float),
        (any::<u8>(), prop::collection::vec(int, rows))
            .prop_map(|(scale, mantissas)| decimal(scale, mantissas)),
        prop::collection::vec(any::<bool>(), rows).prop_map(Column::Bool),
        prop::collection::vec(cell, rows).prop_map(text),
    ]
}

/// Frames of up to eight columns, of which some repeat others, exactly or nearly.
fn frame() -> impl Strategy<Value = Frame> {
    (0..120usize)
        .prop_flat_map(|rows| {
            let columns = prop::collection::vec(column(rows), 0..6);
            (
                Just(rows),
                columns,
                prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            )
        })
        .prop_map(|(rows, mut columns, repeats)| {
            for repeat in repeats {
                if !columns.is_empty() {
                    let mut copy = columns[repeat.index(columns.len())].clone();
                    if let (Column::Int(values), true) = (&mut copy, rows > 0) {
                        values[repeat.index(rows)] = 42;
                    }
                    columns.push(copy);
                }
            }
            let mut frame = Frame::new(rows);
            for (index, column) in columns.into_iter().enumerate() {
                frame
                    .push(format!("c{index}"), column)
                    .expect("names differ");
            }
            frame
        })
}

proptest! {
    #[test]
    fn every_frame_round_trips(frame in frame()) {
        let bytes = frame.encode().expect("within the format");
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }

    #[test]
    fn every_frame_made_to_be_read_round_trips(frame in frame()) {
        let bytes = frame.encode_to_be_read().expect("within the format");
        prop_assert_eq!(decode(&bytes), Ok(frame));
    }

    #[test]
    fn chosen_columns_equal_those_of_the_whole(frame in frame(), mask: u16) {
        let bytes = frame.encode().expect("within the format");
        let chosen: Vec<(String, Column)> = frame
            .columns()
            .iter()
            .enumerate()
            .rev()
            .filter(|(index, _)| mask >> index & 1 == 1)
            .map(|(_, column)| column.clone())
            .collect();
        let names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
        let projected = Frame::decode_columns(&bytes, &names, &Limits::default()).expect("own bytes");
        prop_assert_eq!(projected.rows(), frame.rows());
        prop_assert_eq!(projected.into_columns(), chosen);
    }

    #[test]
    fn a_flipped_bit_is_noticed(frame in frame(), at: prop::sample::Index) {
        let mut bytes = frame.encode().expect("within the format");
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    /// The checksum is made good again, so that what lies behind it is tried.
    #[test]
    fn damage_behind_a_good_checksum_decodes_or_fails(
        which in 0..4usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let frame = [types, || readings(200), || sales(40), layouts][which]();
        let bytes = frame.encode().expect("within the format");
        let mut content = bytes[..bytes.len() - super::wire::CHECKSUM_BYTES].to_vec();
        for (at, value) in damage {
            let at = 2 + at.index(content.len() - 2);
            content[at] = value;
        }
        if let Some(cut) = cut {
            content.truncate(2 + cut.index(content.len() - 2));
        }
        let sum = super::wire::checksum(&content);
        content.extend_from_slice(&sum);
        let limits = Limits { decoded_bytes: 4 << 20, ..Limits::default() };
        if let Ok(decoded) = Frame::decode(&content, &limits) {
            prop_assert!(decoded.columns().iter().all(|(_, column)| column.len() == decoded.rows()));
        }
    }
}

#[test]
fn every_single_bit_of_a_frame_is_guarded() {
    let bytes = sales(30).encode().expect("within the format");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn a_frame_made_to_be_read_pays_for_it_in_bytes() {
    for frame in [sales(600), readings(720)] {
        let small = frame.encode().expect("within the format").len();
        let quick = frame.encode_to_be_read().expect("within the format").len();
        assert!(small < quick, "{quick}, {small}");
    }
}

#[test]
fn frames_without_rows_or_columns_round_trip() {
    for frame in [
        Frame::new(0),
        Frame::new(7),
        sales(0),
        sales(1),
        types(),
        layouts(),
    ] {
        let bytes = frame.encode().expect("within the format");
        assert_eq!(decode(&bytes), Ok(frame));
    }
}

#[test]
fn a_day_of_sales_stays_within_its_write_units() {
    let busy = sales(2_740).encode().expect("within the format").len();
    assert!(busy <= 2_740 * 6, "{busy} bytes for 2,740 rows");
    let quiet = sales(30).encode().expect("within the format").len();
    assert!(quiet <= 960, "{quiet} bytes for 30 rows");
}

#[test]
fn an_hour_of_readings_fits_one_write_unit() {
    let bytes = readings(720).encode().expect("within the format").len();
    assert!(
        bytes < 1_800,
        "{bytes} bytes for 720 readings with jittering times"
    );
}

#[test]
fn limits_are_kept() {
    let frame = sales(100);
    let bytes = frame.encode().expect("within the format");
    let limits = Limits::default();
    let read = |limits: Limits| Frame::decode(&bytes, &limits);
    assert_eq!(
        read(Limits { rows: 99, ..limits }),
        Err(FrameError::TooManyRows {
            rows: 100,
            limit: 99
        })
    );
    assert_eq!(
        read(Limits {
            columns: 20,
            ..limits
        }),
        Err(FrameError::TooManyColumns {
            columns: 21,
            limit: 20
        })
    );
    assert_eq!(
        read(Limits {
            decoded_bytes: 9_000,
            ..limits
        }),
        Err(FrameError::TooLarge { limit: 9_000 })
    );
    assert_eq!(
        read(Limits {
            encoded_bytes: 100,
            ..limits
        }),
        Err(FrameError::TooLarge { limit: 100 })
    );
    assert!(
        read(Limits {
            rows: 100,
            columns: 21,
            ..limits
        })
        .is_ok()
    );
}

#[test]
fn a_small_frame_cannot_ask_for_much_memory() {
    let rows = Limits::default().rows;
    let frame = Frame::from_columns(
        (0..200).map(|index| (format!("c{index}"), Column::Int(vec![index; rows]))),
    );
    let bytes = frame
        .and_then(|frame| frame.encode())
        .expect("within the format");
    assert!(bytes.len() < 4_000);
    assert_eq!(
        decode(&bytes),
        Err(FrameError::TooLarge { limit: 48 << 20 })
    );
    let one =
        Frame::decode_columns(&bytes, &["c7"], &Limits::default()).expect("one column is small");
    assert_eq!(one.ints("c7").map(|values| values[rows - 1]), Ok(7));
}

#[test]
fn a_frame_is_well_formed_from_the_start() {
    let mut frame = Frame::new(2);
    let int = || Column::Int(vec![1, 2]);
    assert_eq!(frame.push("a", int()), Ok(()));
    assert_eq!(
        frame.push("a", int()),
        Err(FrameError::DuplicateColumn { name: "a".into() })
    );
    let short = FrameError::LengthMismatch {
        name: "b".into(),
        found: 1,
        rows: 2,
    };
    assert_eq!(frame.push("b", Column::Int(vec![1])), Err(short));
    assert_eq!(frame.ints("a"), Ok(&[1, 2][..]));
    assert_eq!(
        frame.ints("z"),
        Err(FrameError::UnknownColumn { name: "z".into() })
    );
    let wrong = FrameError::WrongType {
        name: "a".into(),
        expected: "text",
        found: "int",
    };
    assert_eq!(frame.texts("a"), Err(wrong));
    let bytes = frame.encode().expect("within the format");
    let read = |names: &[&str]| Frame::decode_columns(&bytes, names, &Limits::default());
    assert_eq!(
        read(&["z"]),
        Err(FrameError::UnknownColumn { name: "z".into() })
    );
    assert_eq!(
        read(&["a", "a"]),
        Err(FrameError::DuplicateColumn { name: "a".into() })
    );
}

#[test]
fn other_bytes_and_other_versions_are_told_apart() {
    assert_eq!(decode(b""), Err(FrameError::NotAFrame));
    assert_eq!(
        decode(b"Sale Date,Client ID,Sale ID"),
        Err(FrameError::NotAFrame)
    );
    let mut bytes = types().encode().expect("within the format");
    bytes[1] = 2;
    assert_eq!(
        decode(&bytes),
        Err(FrameError::UnsupportedVersion { version: 2 })
    );
    bytes[1] = 1;
    bytes[9] ^= 1;
    assert_eq!(decode(&bytes), Err(FrameError::Checksum));
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(40) {
        for byte in line {
            text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
            text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        }
        text.push('\n');
    }
    text
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len() / 2)
        .map(|byte| {
            u8::from_str_radix(&digits[2 * byte..2 * byte + 2], 16).expect("two hex digits")
        })
        .collect()
}

/// Frames of version 1. They must be read for as long as any table may hold one; that they are
/// also written again byte for byte shows that the writer did not change unnoticed.
#[test]
fn golden_frames_of_version_1_are_read_and_written_again() {
    let golden = [
        ("empty", Frame::new(0), include_str!("golden/v1-empty.hex")),
        ("types", types(), include_str!("golden/v1-types.hex")),
        ("layouts", layouts(), include_str!("golden/v1-layouts.hex")),
        (
            "readings",
            readings(240),
            include_str!("golden/v1-readings.hex"),
        ),
        ("sales", sales(30), include_str!("golden/v1-sales.hex")),
    ];
    let mut changed = Vec::new();
    for (name, frame, kept) in golden {
        let written = hex(&frame.encode().expect("within the format"));
        if decode(&unhex(kept)) != Ok(frame) || written != kept {
            changed.push(format!("{name}:\n{written}"));
        }
    }
    assert!(
        changed.is_empty(),
        "golden frames differ from\n{}",
        changed.join("\n")
    );
}
