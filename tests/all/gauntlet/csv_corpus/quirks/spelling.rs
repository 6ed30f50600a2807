//! Ways to spell a file that change none of its rows, and ways that make it unreadable.

use super::super::draft::{
    Encoding, Ends, Fate, ITEM, Line, NOTES, SEPARATOR, Shape, Stage, plain, raw,
};
use super::{
    ALONE, DELIMITER, ENCODING, ENDS, HEADER, OPTIONAL, Quirk, START, TAIL, good_cell, good_sale,
    line, quirk,
};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn wide(name: &'static str, mark: &'static [u8], bytes: usize, big: bool) -> Quirk {
    quirk(name, START | ENCODING, move |draft| {
        draft.mark = mark;
        draft.encoding = Encoding::Wide { bytes, big };
        draft.refuse(Stage::Start, "unsupported-encoding");
    })
}

fn delimiter(name: &'static str, delimiter: char) -> Quirk {
    quirk(name, DELIMITER, move |draft| draft.delimiter = delimiter)
}

fn ends(name: &'static str, end: &'static str) -> Quirk {
    quirk(name, ENDS, move |draft| draft.ends = Ends::Each(end))
}

/// Lines that mean nothing, behind all others.
fn trailing(name: &'static str, bytes: &'static [u8], count: usize) -> Quirk {
    quirk(name, TAIL, move |draft| {
        for _ in 0..count {
            draft.tail.push(Line::bytes(bytes, Fate::Blank));
        }
    })
}

/// A byte that makes the file one that is read as Windows-1252, with a word about it.
fn stray(name: &'static str, bytes: &'static [u8]) -> Quirk {
    good_cell(name, ENCODING, ITEM, plain(bytes))
}

#[expect(clippy::too_many_lines, reason = "it is a list of quirks")]
pub(super) fn quirks() -> Vec<Quirk> {
    let separators = |count: usize| vec![SEPARATOR; count];
    vec![
        quirk("nothing odd", 0, |_| {}),
        quirk("byte order mark", START | ENCODING, |draft| {
            draft.mark = BYTE_ORDER_MARK;
        }),
        quirk(
            "byte order mark twice",
            START | ENCODING | HEADER,
            |draft| {
                draft.mark = b"\xEF\xBB\xBF\xEF\xBB\xBF";
                draft.refuse(Stage::Header, "missing-headers");
            },
        ),
        quirk(
            "byte order mark that the rows do not keep",
            START | ENCODING,
            |draft| {
                draft.mark = BYTE_ORDER_MARK;
                draft.insert(good_sale("stray").with(ITEM, plain(&b"Cr\xE8me"[..])));
                draft.refuse(Stage::Rows, "invalid-utf-8");
            },
        ),
        wide("UTF-16 little", b"\xFF\xFE", 2, false),
        wide("UTF-16 big", b"\xFE\xFF", 2, true),
        wide("UTF-16 little without a mark", b"", 2, false),
        wide("UTF-16 big without a mark", b"", 2, true),
        wide("UTF-32 little", b"\xFF\xFE\x00\x00", 4, false),
        wide("UTF-32 big", b"\x00\x00\xFE\xFF", 4, true),
        wide("UTF-32 little without a mark", b"", 4, false),
        wide("UTF-32 big without a mark", b"", 4, true),
        quirk("Windows-1252", ENCODING, |draft| {
            draft.encoding = Encoding::Windows1252;
        }),
        quirk("Windows-1252 with a euro and quotes", ENCODING, |draft| {
            draft.encoding = Encoding::Windows1252;
            draft.insert(good_sale("euro").with(ITEM, plain("“Crème” – 5 € Œuvre\u{81}")));
        }),
        stray("Latin-1 byte", b"Cr\xE8me"),
        stray("multibyte character cut short", b"Caf\xC3"),
        stray("character of four bytes cut short", b"Rope \xF0\x9F\xA7"),
        stray("overlong NUL", b"Ro\xC0\x80pe"),
        stray("overlong slash", b"Ro\xE0\x80\xAFpe"),
        stray("surrogate in UTF-8", b"Ro\xED\xA0\x80pe"),
        stray("beyond Unicode", b"Ro\xF4\x90\x80\x80pe"),
        stray("bytes that no UTF-8 has", b"Ro\xFE\xFFpe"),
        stray("continuation alone", b"Ro\x80pe"),
        quirk(
            "multibyte character cut short by the end",
            ENCODING | TAIL,
            |draft| {
                draft.tail.push(Line::bytes(
                    &b"caf\xC3"[..],
                    Fate::Rejected("too-few-cells"),
                ));
                draft.last_end = Some("");
            },
        ),
        ends("CRLF", "\r\n"),
        quirk("LF and CRLF in turn", ENDS, |draft| {
            draft.ends = Ends::Mixed;
        }),
        quirk("CR alone", ENDS, |draft| {
            draft.ends = Ends::Each("\r");
            draft.refuse(Stage::Header, "lone-carriage-return");
        }),
        quirk("CR CR LF", ENDS, |draft| {
            draft.ends = Ends::Each("\r\r\n");
            draft.refuse(Stage::Header, "lone-carriage-return");
        }),
        quirk("LF CR", ENDS, |draft| {
            draft.ends = Ends::Each("\n\r");
            draft.refuse(Stage::Rows, "lone-carriage-return");
        }),
        quirk("no line end at the end", TAIL, |draft| {
            draft.last_end = Some("");
        }),
        quirk("CR at the end", TAIL, |draft| draft.last_end = Some("\r")),
        quirk("carriage return within a cell", ENDS, |draft| {
            draft.insert(good_sale("lone").with(ITEM, raw("Ro\rpe", "Ro\rpe")));
            draft.refuse(Stage::Rows, "lone-carriage-return");
        }),
        delimiter("semicolons", ';'),
        delimiter("tabs", '\t'),
        quirk("pipes", DELIMITER, |draft| {
            draft.delimiter = '|';
            draft.refuse(Stage::Header, "missing-headers");
        }),
        quirk("header and rows of different delimiters", ALONE, |draft| {
            let row = "3/9/2025;1;Rope;7.25";
            draft.lines = vec![Line::bytes(row, Fate::Rejected("too-few-cells")); 3];
        }),
        trailing("blank line at the end", b"", 1),
        trailing("blank lines at the end", b"", 40),
        trailing("lines of blanks at the end", b"   ", 3),
        trailing("lines of tabs at the end", b"\t \t", 3),
        quirk("lines of delimiters at the end", TAIL, move |draft| {
            let odd = Line::bytes(separators(18), Fate::Blank);
            draft.tail.extend([odd.clone(), odd]);
        }),
        quirk(
            "lines of too few delimiters at the end",
            TAIL,
            move |draft| {
                draft.tail.push(Line::bytes(separators(3), Fate::Blank));
            },
        ),
        quirk("lines of delimiters and blanks at the end", TAIL, |draft| {
            let odd = [b' ', SEPARATOR, b' ', SEPARATOR, b' '];
            draft.tail.push(Line::bytes(odd, Fate::Blank));
        }),
        line("blank line amidst", 0, Line::bytes("", Fate::Blank)),
        line("line of blanks amidst", 0, Line::bytes("  ", Fate::Blank)),
        quirk("blank line behind every line", 0, |draft| {
            let lines = std::mem::take(&mut draft.lines);
            let blank = Line::bytes("", Fate::Blank);
            draft.lines = lines
                .into_iter()
                .flat_map(|line| [line, blank.clone()])
                .collect();
        }),
        quirk("blank lines before the header", START, |draft| {
            draft.lead = "\n\n \n";
        }),
        quirk("header indented", START, |draft| draft.lead = "   "),
        quirk("line that names the separator", START, |draft| {
            draft.lead = "sep=,\n";
            draft.refuse(Stage::Header, "missing-headers");
        }),
        quirk("title before the header", START, |draft| {
            draft.lead = "Sales report\n";
            draft.refuse(Stage::Header, "missing-headers");
        }),
        quirk("NUL within a cell", 0, |draft| {
            draft.insert(good_sale("nul").with(ITEM, plain("Ro\0pe")));
            draft.refuse(Stage::Rows, "binary-file");
        }),
        quirk("NUL within quotes", 0, |draft| {
            draft.insert(good_sale("nul").with(ITEM, raw("\"Ro\0pe\"", "")));
            draft.refuse(Stage::Rows, "binary-file");
        }),
        quirk("NULs at the end", TAIL, |draft| {
            draft.tail.push(Line::bytes(vec![0; 512], Fate::Blank));
            draft.refuse(Stage::Rows, "binary-file");
        }),
        quirk("end of file as DOS wrote it", TAIL, |draft| {
            draft
                .tail
                .push(Line::bytes("\u{1A}", Fate::Rejected("too-few-cells")));
            draft.last_end = Some("");
        }),
        quirk("delimiters behind every row", ALONE, |draft| {
            for line in &mut draft.lines {
                line.shape = Shape::More(2);
                line.fate = Fate::Rejected("too-many-cells");
            }
        }),
        good_cell(
            "blanks around every cell's text",
            OPTIONAL,
            NOTES,
            plain(" a "),
        ),
    ]
}
