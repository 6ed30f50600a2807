//! Quotes, and what stands between them.

use super::super::draft::{DATE, Fate, ITEM, Line, NOTES, PAID, Stage, plain, raw};
use super::{
    ALONE, HEADER, OPTIONAL, QUOTES, Quirk, TAIL, bad_cell, good_cell, good_sale, quirk, sale,
};

#[expect(clippy::too_many_lines, reason = "it is a list of quirks")]
pub(super) fn quirks() -> Vec<Quirk> {
    // The last cell of a line may be any column, so cells that swallow what follows come with the
    // quotes that close them.
    vec![
        good_cell("delimiters within quotes", 0, ITEM, plain("a,b;c\td")),
        good_cell("doubled quotes", 0, ITEM, plain("a \"b\" c")),
        good_cell("doubled quotes alone", 0, ITEM, plain("\"\"")),
        good_cell("doubled quotes at both ends", 0, ITEM, plain("\"a\"")),
        good_cell("line feed within quotes", 0, ITEM, plain("a\nb")),
        good_cell("CRLF within quotes", 0, ITEM, plain("a\r\nb")),
        good_cell("carriage return within quotes", 0, ITEM, plain("a\rb")),
        good_cell(
            "blank lines within quotes",
            OPTIONAL,
            NOTES,
            plain("a\n\n\nb\n"),
        ),
        good_cell(
            "a row within quotes",
            0,
            ITEM,
            plain("a\n3/1/2025,1,2,3\nb"),
        ),
        good_cell(
            "the header within quotes",
            0,
            ITEM,
            plain("Sale Date,Sale ID,Item name,Total Paid\n"),
        ),
        good_cell(
            "quote within an unquoted cell",
            0,
            ITEM,
            raw("3\" pipe", "3\" pipe"),
        ),
        good_cell(
            "quotes within an unquoted cell",
            0,
            ITEM,
            raw("6\"\" pipe", "6\"\" pipe"),
        ),
        good_cell(
            "quote that ends an unquoted cell",
            0,
            ITEM,
            raw("12\"", "12\""),
        ),
        good_cell(
            "blank before an opening quote",
            0,
            ITEM,
            raw(" \"a\"", " \"a\""),
        ),
        good_cell("quotes of another kind", 0, ITEM, plain("'a', said he")),
        good_cell("nothing within quotes", OPTIONAL, NOTES, raw("\"\"", "")),
        good_cell("blanks within quotes", OPTIONAL, NOTES, raw("\"  \"", "  ")),
        good_cell("number within quotes", 0, PAID, raw("\"7.25\"", "7.25")),
        good_cell(
            "date within quotes",
            0,
            DATE,
            raw("\"3/9/2025\"", "3/9/2025"),
        ),
        // RFC 4180 reads these two physical lines as one row, and nobody can tell that it was not meant.
        good_cell(
            "quote closed by the next line",
            0,
            ITEM,
            raw("\"Tea\n3/1/2025,1,2,Salt\"", "Tea\n3/1/2025,1,2,Salt"),
        ),
        bad_cell(
            "text behind a closing quote",
            0,
            ITEM,
            raw("\"a\"b", "\"a\"b"),
            "malformed-quoting",
        ),
        bad_cell(
            "blank behind a closing quote",
            0,
            ITEM,
            raw("\"a\" ", "\"a\" "),
            "malformed-quoting",
        ),
        bad_cell(
            "quotes escaped by backslashes",
            0,
            ITEM,
            raw("\"a\\\"b\"", "\"a\\\"b\""),
            "malformed-quoting",
        ),
        bad_cell(
            "quote within a quoted cell",
            0,
            ITEM,
            raw("\"a\"b\"c\"", "\"a\"b\"c\""),
            "malformed-quoting",
        ),
        bad_cell(
            "quote closed within the next line",
            0,
            ITEM,
            raw("\"Tea\n3/1/2025,1,2,\"Salt", ""),
            "malformed-quoting",
        ),
        bad_cell(
            "text behind a closing quote where nothing need be",
            OPTIONAL,
            NOTES,
            raw("\"a\"b", "\"a\"b"),
            "malformed-quoting",
        ),
        quirk("row of quoted blanks", HEADER, |draft| {
            let mut odd = sale("", Fate::Rejected("missing-value"));
            odd.cells = odd.cells.map(|_| raw("\"\"", ""));
            draft.insert(odd);
            draft.unseen += 1;
        }),
        quirk("every cell within quotes", QUOTES, |draft| {
            draft.always_quoted = true;
        }),
        quirk("quote that is never closed", TAIL | QUOTES, |draft| {
            draft
                .tail
                .push(good_sale("unclosed").with(ITEM, raw("\"Rope", "")));
            draft.refuse(Stage::Rows, "unclosed-quote");
        }),
        quirk("quote alone at the end", TAIL | QUOTES, |draft| {
            let odd = Line::bytes("\"", Fate::Blank);
            draft.tail.push(odd);
            draft.refuse(Stage::Rows, "unclosed-quote");
        }),
        quirk("three quotes at the end", TAIL | QUOTES, |draft| {
            let odd = Line::bytes("\"\"\"", Fate::Blank);
            draft.tail.push(odd);
            draft.refuse(Stage::Rows, "unclosed-quote");
        }),
        quirk("header that is never closed", ALONE, |draft| {
            draft.mark = b"\"";
            // The others hold quotes, which would close this one.
            draft.lines.truncate(2);
            draft.refuse(Stage::Header, "unclosed-quote");
        }),
    ]
}
