//! The errors file of an import: its rejected rows, ready to be mended and uploaded again.
//!
//! It is spelled like the file it is about: the same delimiter and columns, also those that are
//! not of the export, then `_row`, `_code` and `_message`. Cells that a spreadsheet would run as a
//! formula are [defused](super::file::defuse); the parser knows the file by its last columns,
//! leaves these out and takes the apostrophes off again, so a mended row is the row it would have
//! been the first time.

use std::borrow::Cow;

use super::file::{Dialect, Encoding, RejectedRow, defuse, write_record};

/// Appends what the file begins with: its header, and a byte order mark if the file it is about
/// has one or is not UTF-8, because the program that wrote that file needs it.
pub fn write_header(out: &mut Vec<u8>, dialect: &Dialect) {
    if dialect.byte_order_mark() || dialect.encoding() == Encoding::Windows1252 {
        out.extend_from_slice("\u{FEFF}".as_bytes());
    }
    let own: Vec<Cow<'_, str>> = kept(dialect)
        .map(|at| defuse(&dialect.header()[at]))
        .collect();
    let cells = own.iter().map(AsRef::as_ref).chain(Dialect::ERROR_COLUMNS);
    write_record(out, dialect.delimiter(), cells);
}

/// Appends one rejected row of the file that `dialect` describes. A row with too few cells is
/// filled up with empty ones; cells beyond the header's come last of all, so that the row keeps
/// having too many until it is mended.
pub fn write_row(out: &mut Vec<u8>, dialect: &Dialect, row: &RejectedRow<'_>) {
    let cell = |at: usize| {
        row.cells
            .get(at)
            .map_or(Cow::Borrowed(""), |cell| defuse(cell))
    };
    let number = row.error.row.to_string();
    let error = [&number, row.error.code.as_str(), &row.error.message];
    let own = kept(dialect).map(cell);
    let surplus = (dialect.header().len()..row.cells.len()).map(cell);
    let cells: Vec<Cow<'_, str>> = own.chain(error.map(Cow::Borrowed)).chain(surplus).collect();
    write_record(out, dialect.delimiter(), cells.iter().map(AsRef::as_ref));
}

/// The positions of the header's columns, but for those of an errors file that came back.
fn kept(dialect: &Dialect) -> impl Iterator<Item = usize> {
    (0..dialect.header().len()).filter(|at| !dialect.is_error_column(*at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sales::file::{Limits, ParsedRow, Parser, Sink, Start};
    use crate::sales::identity::RowIdentity;

    /// The identities and the errors file of one import.
    #[derive(Default)]
    struct Import {
        good: Vec<RowIdentity>,
        cells: Vec<Vec<String>>,
        errors: Vec<u8>,
        dialect: Option<Dialect>,
    }

    impl Sink for Import {
        fn header(&mut self, dialect: &Dialect) {
            write_header(&mut self.errors, dialect);
            self.dialect = Some(dialect.clone());
        }

        fn row(&mut self, row: &ParsedRow<'_>) {
            self.good.push(row.identity());
            self.cells.push(row.cells.map(str::to_owned).to_vec());
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            let dialect = self
                .dialect
                .as_ref()
                .expect("the header comes before the rows");
            write_row(&mut self.errors, dialect, row);
        }
    }

    fn import(file: &[u8]) -> Import {
        let mut sink = Import::default();
        let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
        parser.feed(file, &mut sink).expect("the file is good");
        parser.finish(&mut sink).expect("the file is good");
        sink
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("an errors file is UTF-8")
    }

    #[test]
    fn the_file_has_its_wire_format() {
        let file = "Total Paid;Staff;Sale ID;Item name;Sale Date\n\
            1;@me;2;=HYPERLINK(\"x\");3/1/2025\n\
            -x;@me;2;\"=HYPERLINK(\"\"x\"\")\";3/1/2025\n\
            -34.88;;---;a\n\
            1;;7;a;3/1/2025;=1;2\n";
        let import = import(file.as_bytes());
        insta::assert_snapshot!(text(&import.errors).replace('\r', ""), @r#"
        Total Paid;Staff;Sale ID;Item name;Sale Date;_row;_code;_message
        '-x;'@me;2;"'=HYPERLINK(""x"")";3/1/2025;3;invalid-number;not a number
        -34.88;;---;a;;4;too-few-cells;row has 4 cells, the header has 5
        1;;7;a;3/1/2025;5;too-many-cells;row has 7 cells, the header has 5;'=1;2
        "#);
    }

    #[test]
    fn uploaded_again_without_mending_it_comes_back_byte_for_byte() {
        let file = "Sale Date,Sale ID,Item name,Total Paid\nx,1,=a,1\n3/1/2025,-1,'=a,-x\n3/1/2025,1,a,1,1\n";
        let first = import(file.as_bytes());
        let second = import(&first.errors);
        let strip = |errors: &[u8]| -> Vec<String> {
            text(errors)
                .lines()
                .map(|line| line.splitn(5, ',').take(4).collect::<Vec<_>>().join(","))
                .collect()
        };
        assert!(second.good.is_empty());
        assert_eq!(strip(&first.errors), strip(&second.errors));
        assert_eq!(import(&second.errors).errors, second.errors);
    }

    /// Whether the errors file about a file of this header and row can be uploaded, its row rejected
    /// once more.
    fn comes_back(header: &str, row: &[u8]) -> bool {
        let header = format!("Sale Date,Sale ID,Item name,Total Paid{header}\n");
        let first = import_of(&[header.as_bytes(), row].concat());
        assert!(first.good.is_empty() && !first.errors.is_empty());
        let second = import_of(&first.errors);
        let lines = |errors: &[u8]| errors.split(|byte| *byte == b'\n').count();
        second.good.is_empty() && lines(&second.errors) == lines(&first.errors)
    }

    /// As [`import`], in the encoding that fits.
    fn import_of(file: &[u8]) -> Import {
        let tried = [Encoding::Utf8, Encoding::Windows1252].map(|encoding| {
            let mut sink = Import::default();
            let mut parser = Parser::new(Start::Beginning(encoding), Limits::default());
            parser.feed(file, &mut sink)?;
            parser.finish(&mut sink).map(|_| sink)
        });
        tried
            .into_iter()
            .find_map(Result::ok)
            .expect("the file is good in one of its encodings")
    }

    #[test]
    fn about_headers_that_look_like_formulas_it_can_be_uploaded_and_gone_on_with() {
        let file = "\"\nSale Date\n\",\"\tSale ID\",\"\rItem name\",Total Paid,'=Till\nx,1,a,1,2\n";
        let first = import(file.as_bytes());
        let second = import(&first.errors);
        assert!(second.good.is_empty());
        assert_eq!(import(&second.errors).errors, second.errors);
        let dialect = second.dialect.expect("the header comes before the rows");
        let own = [
            "\nSale Date\n",
            "\tSale ID",
            "\rItem name",
            "Total Paid",
            "'=Till",
        ];
        assert_eq!(dialect.header()[..5], own);
        let stored = serde_json::to_string(&dialect).expect("plain data serialises");
        let read: Dialect = serde_json::from_str(&stored).expect("what was stored is read");
        assert_eq!(read, dialect);
    }

    #[test]
    fn about_as_many_columns_as_may_be_it_can_be_uploaded() {
        let most = Limits::default().columns;
        let row = |cells: usize| format!("x,1,a,1{}\n", ",".repeat(cells - 4));
        assert!(comes_back(&",x".repeat(most - 4), row(most).as_bytes()));
        assert!(comes_back("", row(most).as_bytes()));
    }

    #[test]
    fn about_a_header_as_long_as_may_be_it_can_be_uploaded() {
        let rest = Limits::default().header_bytes - "Sale Date,Sale ID,Item name,Total Paid,".len();
        let header = format!(",{}", "x".repeat(rest));
        assert!(comes_back(&header, b"x,1,a,1,\n"));
    }

    #[test]
    fn about_text_that_grows_as_it_is_written_it_can_be_uploaded() {
        let header = ",x".repeat(100);
        let quotes = format!("x{}", "\"".repeat(5_000));
        let row = format!("x,1,a,1{}\n", format!(",{quotes}").repeat(100));
        assert!(comes_back(&header, row.as_bytes()));
        let euros = [&b","[..], &[0x80; 5_000]].concat().repeat(100);
        let row = [b"x,1,a,1", &euros[..], b"\n"].concat();
        assert!(comes_back(&header, &row));
    }

    proptest! {
        #[test]
        fn a_mended_row_is_the_row_it_would_have_been(
            sale_id in "[=+@'0-9a-z-]{0,4}[0-9]", item in "['=+@ ,\"\né-]{0,3}[a-z0-9]{1,4}", notes in "[ -~\t\r\n]{0,6}",
        ) {
            let file = |date: &str| {
                let mut out = Vec::new();
                let cells = ["Sale Date", "Sale ID", "Item name", "Total Paid", "Notes", "=Till"];
                write_record(&mut out, crate::sales::file::Delimiter::Comma, cells);
                let cells = [date, &sale_id, &item, "-34.880", &notes, &notes];
                write_record(&mut out, crate::sales::file::Delimiter::Comma, cells);
                out
            };
            let right = import(&file("03/01/2025"));
            let wrong = import(&file("MENDME"));
            prop_assert!(wrong.good.is_empty());
            let mended = text(&wrong.errors).replacen("MENDME", "3/1/2025", 1);
            let mended = import(mended.as_bytes());
            prop_assert_eq!(&mended.good, &right.good);
            prop_assert_eq!(mended.good.len(), 1);
            prop_assert_eq!(&mended.cells[0][1..], &right.cells[0][1..]);
        }
    }
}
