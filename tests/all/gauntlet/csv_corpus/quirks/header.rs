//! Headers.

use super::super::draft::{
    DATE, Ends, Fate, HEADER as NAMES, Head, ITEM, Line, NOTES, PAID, REQUIRED, SALE, Stage, plain,
    raw,
};
use super::{
    ALONE, APOSTROPHES, Claims, ENCODING, HEADER, OPTIONAL, Quirk, good_sale, line, quirk, sale,
};

fn renamed(name: &'static str, claims: Claims, rename: impl Fn(&str) -> String + 'static) -> Quirk {
    quirk(name, HEADER | claims, move |draft| {
        for head in &mut draft.header {
            head.name = rename(&head.name);
        }
    })
}

fn refused(
    name: &'static str,
    claims: Claims,
    code: &'static str,
    change: impl Fn(&mut Vec<Head>) + 'static,
) -> Quirk {
    quirk(name, HEADER | claims, move |draft| {
        change(&mut draft.header);
        draft.refuse(Stage::Header, code);
    })
}

/// Columns that are not of the export, which are left out with a word about it.
fn extra(name: &'static str, at: usize, columns: &'static [(&'static str, &'static str)]) -> Quirk {
    quirk(name, HEADER, move |draft| {
        for (name, text) in columns {
            let head = Head {
                name: (*name).to_owned(),
                holds: Err(text),
            };
            draft.header.insert(at, head);
        }
        draft.warned |= columns.iter().any(|(name, _)| !name.trim().is_empty());
    })
}

fn missing(name: &'static str, column: usize) -> Quirk {
    refused(name, 0, "missing-headers", move |header| {
        header.remove(column);
    })
}

#[expect(clippy::too_many_lines, reason = "it is a list of quirks")]
pub(super) fn quirks() -> Vec<Quirk> {
    vec![
        quirk("columns in reverse", HEADER, |draft| draft.header.reverse()),
        quirk("columns in the order of their names", HEADER, |draft| {
            draft.header.sort_by(|one, other| one.name.cmp(&other.name));
        }),
        quirk("columns turned by seven", HEADER, |draft| {
            draft.header.rotate_left(7);
        }),
        renamed("header in capitals", 0, str::to_uppercase),
        renamed("header in small letters", 0, str::to_lowercase),
        renamed("header between blanks", 0, |name| format!("  {name}   ")),
        renamed("header between hard spaces", ENCODING, |name| {
            format!("\u{A0}{name}\u{A0}")
        }),
        renamed("header with line feeds around", 0, |name| {
            format!("\n{name}\n")
        }),
        renamed("header without (excluding tax)", 0, |name| {
            name.replace(" (excluding tax)", "")
        }),
        renamed("header with (Excluding Tax) without a blank", 0, |name| {
            name.replace(" (excluding tax)", "(EXCLUDING Tax)")
        }),
        renamed("header that says Total Paid", 0, |name| {
            name.replace(" w/ Payment Method", "")
        }),
        extra(
            "columns that are not of the export",
            5,
            &[("Till", "2"), ("Staff", "Ines")],
        ),
        extra(
            "columns that are not of the export, alike",
            5,
            &[("Till", "2"), ("Till", "3")],
        ),
        extra("column without a name", 19, &[("", "")]),
        extra(
            "columns without a name",
            19,
            &[("", ""), (" ", "x"), ("", "")],
        ),
        extra("column named like a formula", 19, &[("=1+1", "=2+2")]),
        extra(
            "column named with quotes and line feeds",
            0,
            &[("a \"b\"\nc", "d \"e\"\nf")],
        ),
        quirk(
            "columns that a file must have alone",
            HEADER | OPTIONAL,
            |draft| {
                draft
                    .header
                    .retain(|head| head.holds.is_ok_and(|column| REQUIRED.contains(&column)));
            },
        ),
        quirk(
            "column that a file need not have left out",
            HEADER | OPTIONAL,
            |draft| {
                draft.header.retain(|head| head.holds != Ok(NOTES));
            },
        ),
        quirk(
            "columns of an errors file",
            HEADER | OPTIONAL | APOSTROPHES,
            |draft| {
                for (name, text) in [("_row", "7"), ("_code", "invalid-date"), ("_message", "=1")] {
                    let (name, holds) = (name.to_owned(), Err(text));
                    draft.header.push(Head { name, holds });
                }
                draft.insert(good_sale("defused").with(NOTES, raw("'=1+1", "=1+1")));
            },
        ),
        missing("no column of dates", DATE),
        missing("no column of sales", SALE),
        missing("no column of items", ITEM),
        missing("no column of totals", PAID),
        refused("two columns of sales", 0, "duplicate-header", |header| {
            header.push(header[SALE].clone());
        }),
        refused(
            "two columns of notes in different case",
            OPTIONAL,
            "duplicate-header",
            |header| {
                header.push(header[NOTES].clone());
                " NOTES ".clone_into(&mut header[19].name);
            },
        ),
        refused("two names of the total", 0, "duplicate-header", |header| {
            header.push(header[PAID].clone());
            "total paid".clone_into(&mut header[19].name);
        }),
        refused(
            "header with a hard space within",
            ENCODING,
            "missing-headers",
            |header| {
                "Sale\u{A0}Date".clone_into(&mut header[DATE].name);
            },
        ),
        refused(
            "header with two blanks within",
            0,
            "missing-headers",
            |header| {
                "Sale  Date".clone_into(&mut header[DATE].name);
            },
        ),
        refused(
            "header with a line feed within",
            0,
            "missing-headers",
            |header| {
                "Sale\nDate".clone_into(&mut header[DATE].name);
            },
        ),
        refused(
            "header with a zero width space",
            ENCODING,
            "missing-headers",
            |header| {
                "Sale Date\u{200B}".clone_into(&mut header[DATE].name);
            },
        ),
        refused(
            "header in another script",
            ENCODING,
            "missing-headers",
            |header| {
                "Sаle Dаte".clone_into(&mut header[DATE].name);
            },
        ),
        refused(
            "header in another language",
            0,
            "missing-headers",
            |header| {
                "Verkaufsdatum".clone_into(&mut header[DATE].name);
            },
        ),
        refused("header of underscores", 0, "missing-headers", |header| {
            for head in header {
                head.name = head.name.replace(' ', "_");
            }
        }),
        quirk("NUL in the header", HEADER, |draft| {
            "No\0tes".clone_into(&mut draft.header[NOTES].name);
            draft.refuse(Stage::Header, "binary-file");
        }),
        quirk("no header", ALONE, |draft| {
            for (head, text) in draft
                .header
                .iter_mut()
                .zip(["3/1/2025", "1", "3971", "Rope"])
            {
                text.clone_into(&mut head.name);
            }
            draft.header.truncate(4);
            draft.refuse(Stage::Header, "missing-headers");
        }),
        quirk("header alone", ALONE, |draft| draft.lines.clear()),
        quirk("header alone without a line end", ALONE, |draft| {
            draft.lines.clear();
            draft.ends = Ends::Each("");
        }),
        quirk("header again amidst", HEADER, |draft| {
            let mut odd = sale("", Fate::Rejected("invalid-date"));
            odd.cells = NAMES.map(plain);
            draft.insert(odd);
        }),
        quirk("header again at the end of every day", HEADER, |draft| {
            let mut odd = sale("", Fate::Rejected("invalid-date"));
            odd.cells = NAMES.map(plain);
            for at in [5, 3, 1] {
                draft.lines.insert(at.min(draft.lines.len()), odd.clone());
            }
        }),
        line(
            "row that says what it sums",
            0,
            Line::sale("Total", "", "", "1,288.50", Fate::Rejected("invalid-date")),
        ),
    ]
}
