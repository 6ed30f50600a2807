//! Cells, rows and headers at their limits and beyond.

use super::super::draft::{
    DATE, Draft, Encoding, Fate, Head, ITEM, Line, METHOD, NOTES, Shape, Stage, good, plain, raw,
    windows_1252_char,
};
use super::{
    ALONE, ENCODING, HEADER, OPTIONAL, QUOTES, Quirk, bad_cell, good_cell, good_sale, quirk, sale,
};

/// Bytes that a cell may have.
const CELL: usize = 64 << 10;
/// Cells that a row may have.
const COLUMNS: usize = 256;
/// Bytes that a header may have.
const HEADER_BYTES: usize = 32 << 10;

/// A header of so many columns.
fn widened(draft: &mut Draft, columns: usize) {
    for _ in draft.header.len()..columns {
        draft.header.push(Head {
            name: "x".to_owned(),
            holds: Err(""),
        });
    }
    draft.warned = true;
}

/// Text that does not pack well: each character says six bits.
fn noise(length: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + u8::try_from(state >> 58).unwrap_or(0))
        })
        .collect()
}

/// A file in Windows-1252 with a row of letters that take two or three bytes in UTF-8, and do not pack:
/// so many in each of so many cells.
fn foreign_noise(
    draft: &mut Draft,
    mut line: Line,
    columns: std::ops::Range<usize>,
    length: usize,
) {
    draft.encoding = Encoding::Windows1252;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        windows_1252_char(0x80 + u8::try_from(state >> 57).unwrap_or(0))
    };
    for column in columns {
        let text: String = (0..length).map(&mut letter).collect();
        line.cells[column] = plain(text);
    }
    draft.insert(line);
}

#[expect(clippy::too_many_lines, reason = "it is a list of quirks")]
pub(super) fn quirks() -> Vec<Quirk> {
    vec![
        good_cell("cell as long as may be", 0, ITEM, plain(noise(CELL))),
        bad_cell(
            "cell longer than may be",
            0,
            ITEM,
            plain("x".repeat(CELL + 1)),
            "cell-too-large",
        ),
        bad_cell(
            "note longer than may be",
            OPTIONAL,
            NOTES,
            plain("x".repeat(CELL + 1)),
            "cell-too-large",
        ),
        good_cell(
            "cell of quotes as long as may be",
            0,
            ITEM,
            plain("\"".repeat(CELL)),
        ),
        bad_cell(
            "cell of quotes longer than may be",
            0,
            ITEM,
            plain("\"".repeat(CELL + 1)),
            "cell-too-large",
        ),
        quirk("three long cells", OPTIONAL, |draft| {
            let long = || plain(noise(CELL - 2));
            let odd = good_sale("long").with(ITEM, long()).with(NOTES, long());
            draft.insert(odd.with(METHOD, long()));
        }),
        quirk("row longer than may be", OPTIONAL, |draft| {
            let mut odd = good_sale("long");
            for column in 4..9 {
                odd.cells[column] = plain("x".repeat(60 << 10));
            }
            draft.insert(odd);
            draft.refuse(Stage::Rows, "record-too-large");
        }),
        quirk("cell of ten million bytes", ALONE, |draft| {
            draft.insert(good_sale("huge").with(ITEM, plain("x".repeat(10_000_000))));
            draft.refuse(Stage::Rows, "record-too-large");
        }),
        quirk("cell of ten million bytes within quotes", ALONE, |draft| {
            let lines = raw(format!("\"{}\"", "x\n".repeat(5_000_000)), "");
            draft.insert(good_sale("huge").with(ITEM, lines));
            draft.refuse(Stage::Rows, "record-too-large");
        }),
        quirk("row of 256 cells", HEADER, |draft| {
            let odd = sale("wide", Fate::Rejected("too-many-cells"));
            let more = COLUMNS - draft.header.len();
            draft.insert(odd.shaped(Shape::More(more)));
        }),
        quirk("row of 100,000 cells", 0, |draft| {
            draft.insert(good_sale("wide").shaped(Shape::More(100_000)));
            draft.refuse(Stage::Rows, "too-many-columns");
        }),
        quirk("header of 256 columns", HEADER, |draft| {
            widened(draft, COLUMNS);
        }),
        quirk("header of 256 columns, a row rejected", HEADER, |draft| {
            widened(draft, COLUMNS);
            let odd = sale("wide", Fate::Rejected("invalid-date"));
            draft.insert(odd.with(DATE, plain("soon")));
        }),
        quirk("header of 257 columns", HEADER, |draft| {
            widened(draft, COLUMNS + 1);
            draft.refuse(Stage::Header, "too-many-columns");
        }),
        quirk(
            "header of a column name of a million bytes",
            ALONE,
            |draft| {
                let (name, holds) = ("x".repeat(1_000_000), Err(""));
                draft.header.push(Head { name, holds });
                draft.refuse(Stage::Header, "record-too-large");
            },
        ),
        quirk("header of 100,000 columns", ALONE, |draft| {
            draft.lines.clear();
            widened(draft, 100_000);
            draft.refuse(Stage::Header, "too-many-columns");
        }),
        quirk(
            "header as long as may be, a row rejected",
            HEADER | QUOTES,
            |draft| {
                let used: usize = draft.header.iter().map(|head| head.name.len() + 1).sum();
                let (name, holds) = ("x".repeat(HEADER_BYTES - used - 2), Err(""));
                draft.header.push(Head { name, holds });
                draft.warned = true;
                let odd = sale("wide", Fate::Rejected("invalid-date"));
                draft.insert(odd.with(DATE, plain("soon")));
            },
        ),
        quirk(
            "row of quotes that has to be doubled, rejected",
            OPTIONAL | QUOTES,
            |draft| {
                let mut odd =
                    sale("quotes", Fate::Rejected("invalid-date")).with(DATE, plain("soon"));
                for column in 4..8 {
                    let quotes = format!("x{}", "\"".repeat(60_000));
                    odd.cells[column] = raw(quotes.clone(), quotes);
                }
                draft.insert(odd);
            },
        ),
        // The columns from the fifth to the tenth hold any text.
        quirk(
            "row in Windows-1252 that grows",
            ENCODING | OPTIONAL,
            |draft| {
                foreign_noise(draft, good_sale("grows"), 4..8, 25_000);
            },
        ),
        quirk(
            "cell in Windows-1252 that grows beyond what may be",
            ENCODING | OPTIONAL,
            |draft| {
                let odd = sale("grows", Fate::Rejected("cell-too-large"));
                foreign_noise(draft, odd, 4..5, 65_000);
            },
        ),
        quirk(
            "row in Windows-1252 that grows beyond what may be",
            ENCODING | OPTIONAL,
            |draft| {
                let odd = sale("grows", Fate::Rejected("row-too-large"));
                foreign_noise(draft, odd, 4..10, 25_000);
            },
        ),
        quirk(
            "row in Windows-1252 that grows, rejected",
            ENCODING | OPTIONAL,
            |draft| {
                let odd = sale("grows", Fate::Rejected("invalid-date")).with(DATE, plain("soon"));
                foreign_noise(draft, odd, 4..8, 25_000);
            },
        ),
        quirk("rows of one day more than may be", ALONE, |draft| {
            let mut date = jiff::civil::date(1950, 1, 1);
            for _ in 0..20_001 {
                let (text, iso) = (date.strftime("%-m/%-d/%Y").to_string(), date.to_string());
                draft
                    .lines
                    .push(Line::sale(&text, "days", "Rope", "1", good(&iso, "1")));
                date = date.tomorrow().expect("the year is far from the last");
            }
            draft.refuse(Stage::Rows, "too-many-days");
        }),
    ]
}
