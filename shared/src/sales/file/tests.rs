use proptest::prelude::*;

use super::*;
use crate::sales::model::{Amount, Column};

const HEADER: &str = "Sale Date,Client ID,Sale ID,Item name,Batch #,Sales Notes,Location,Notes,Color,Size,\
    Item price (excluding tax),Quantity,Subtotal (excluding tax),Discount %,Discount amount,Tax,Item Total,\
    Total Paid w/ Payment Method,Payment Method";
const ROW: &str = "3/1/2025,900,41,Rope,---,,Pier,,---,---,32,1,32,0,0,2.88,34.88,34.88,Card (A/B)";

/// Everything a parser says, as lines that can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said(Vec<String>);

impl Sink for Said {
    fn row(&mut self, row: &ParsedRow<'_>) {
        self.0.push(format!("{row:?}"));
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        self.0.push(format!("{row:?}"));
    }
}

/// Keeps what rows are about.
#[derive(Debug, Default)]
struct Brief(Vec<String>);

impl Sink for Brief {
    fn row(&mut self, row: &ParsedRow<'_>) {
        let ParsedRow {
            row,
            date,
            sale_id,
            item,
            total_paid,
            ..
        } = row;
        self.0
            .push(format!("{row} {date} {sale_id} {item} {total_paid}"));
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        let RowError {
            row,
            column,
            value,
            code,
            ..
        } = &row.error;
        let column = column.map_or("-", Column::name);
        self.0.push(format!("{row} {column} {value:?} {code}"));
    }
}

fn run<S: Sink>(slices: &[&[u8]], encoding: Encoding, sink: &mut S) -> Result<Summary, FileError> {
    let mut parser = Parser::new(Start::Beginning(encoding), Limits::default());
    for slice in slices {
        parser.feed(slice, sink)?;
    }
    parser.finish(sink)
}

fn brief(file: impl AsRef<[u8]>) -> Vec<String> {
    let mut sink = Brief::default();
    run(&[file.as_ref()], Encoding::Utf8, &mut sink).expect("the file is acceptable as a whole");
    sink.0
}

fn refused(file: impl AsRef<[u8]>) -> FileError {
    run(&[file.as_ref()], Encoding::Utf8, &mut Brief::default()).expect_err("the file is refused")
}

/// A file of the four required columns.
fn short(rows: &str) -> String {
    format!("Sale Date,Sale ID,Item name,Total Paid\n{rows}")
}

#[test]
fn a_row_has_every_cell_as_it_came() {
    struct Cells;
    impl Sink for Cells {
        fn row(&mut self, row: &ParsedRow<'_>) {
            let expected = [
                " 03/01/2025",
                "900",
                "41 ",
                "a \"b\"\nc",
                "---",
                "",
                "Pier",
                "",
                "---",
                "---",
                "32",
                "-1",
                "-32",
                "0",
                "0",
                "2.88",
                "1,288.50",
                " -1,288.50 ",
                "",
            ];
            assert_eq!(row.cells, expected);
            assert_eq!((row.sale_id, row.item), ("41", "a \"b\"\nc"));
            assert_eq!(row.total_paid, Amount::from_units(-128_850_000));
            assert_eq!(row.date, jiff::civil::date(2025, 3, 1));
            assert_eq!(row.cell(Column::Quantity), "-1");
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            panic!("{row:?}");
        }
    }
    let row = " 03/01/2025,900,41 ,\"a \"\"b\"\"\nc\",---,,Pier,,---,---,32,-1,-32,0,0,2.88,\"1,288.50\",\" -1,288.50 \",";
    let file = format!("{HEADER}\r\n{row}\r\n");
    let summary = run(&[file.as_bytes()], Encoding::Utf8, &mut Cells).expect("the file is good");
    assert_eq!((summary.rows, summary.bytes), (1, file.len() as u64));
    assert!(summary.warnings.is_empty());
}

#[test]
fn offsets_lead_to_the_record_and_row_numbers_count_records() {
    #[derive(Default)]
    struct Spans(Vec<(u64, std::ops::Range<usize>)>);
    impl Spans {
        fn push(&mut self, row: u64, start: u64, end: u64) {
            let at = |offset| usize::try_from(offset).expect("the file is small");
            self.0.push((row, at(start)..at(end)));
        }
    }
    impl Sink for Spans {
        fn row(&mut self, row: &ParsedRow<'_>) {
            self.push(row.row, row.start, row.end);
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            self.push(row.row, row.start, row.end);
        }
    }
    let file = format!(
        "\u{FEFF}{}",
        short("1/1/2025,1,\"é\n\",1\r\n\r\nbad\n1/1/2025,2,x,1")
    );
    let mut spans = Spans::default();
    run(&[file.as_bytes()], Encoding::Utf8, &mut spans).expect("the file is good");
    let found: Vec<_> = spans
        .0
        .iter()
        .map(|(row, span)| (*row, &file[span.clone()]))
        .collect();
    assert_eq!(
        found,
        [
            (2, "1/1/2025,1,\"é\n\",1\r\n"),
            (4, "bad\n"),
            (5, "1/1/2025,2,x,1")
        ]
    );
}

#[test]
fn every_spelling_of_the_same_file_says_the_same() {
    let plain = short("3/1/2025,7,Tea,1288.5\n2025-03-02,8,Salt,-2\n");
    let expected = ["2 2025-03-01 7 Tea 1288.5", "3 2025-03-02 8 Salt -2"];
    let spellings = [
        plain.clone(),
        format!("\u{FEFF}{plain}"),
        plain.replace('\n', "\r\n"),
        plain.trim_end().to_owned(),
        plain.trim_end().to_owned() + "\r",
        plain.replace(',', ";"),
        plain.replace(',', "\t"),
        plain.replace(',', " , "),
        plain.replace(',', "\",\"").replace('\n', "\"\n\"").trim_end_matches('"').replacen("Sale", "\"Sale", 1),
        plain.replace("Total Paid", "TOTAL PAID W/ payment method (Excluding Tax)"),
        plain.replace("1288.5", "\"1,288.50\"").replace("3/1/", "03/01/"),
        format!("{plain}\n\r\n,,,\n   \n"),
        "Item name,Staff,Total Paid,Sale ID,Sale Date\nTea,J,1288.5,7,3/1/2025\nSalt,,-2,8,3/2/2025\n".to_owned(),
    ];
    for spelling in spellings {
        assert_eq!(brief(&spelling), expected, "{spelling:?}");
    }
}

#[test]
fn blank_lines_count_as_rows_but_are_neither_good_nor_rejected() {
    let file = format!("\n\n{}", short("\n1/1/2025,1,x,1\n,,,\n\n"));
    let mut sink = Brief::default();
    let summary = run(&[file.as_bytes()], Encoding::Utf8, &mut sink).expect("the file is good");
    assert_eq!(sink.0, ["5 2025-01-01 1 x 1"]);
    assert_eq!((summary.rows, summary.rejected, summary.blank), (1, 0, 3));
}

#[test]
fn a_bad_row_is_rejected_alone_and_says_why() {
    let rows = [
        ("3/1/2025,1,x", "- \"\" too-few-cells"),
        ("3/1/2025,1,x,1,", "- \"\" too-many-cells"),
        ("x", "- \"\" too-few-cells"),
        (
            "3/1/2025,1,\"x\"y,1",
            "Item name \"\\\"x\\\"y\" malformed-quoting",
        ),
        (
            "3/1/2025,1,\"x\" ,1",
            "Item name \"\\\"x\\\" \" malformed-quoting",
        ),
        (",1,x,1", "Sale Date \"\" missing-value"),
        ("3/1/2025, --- ,x,1", "Sale ID \" --- \" missing-value"),
        ("3/1/2025,1,\u{A0},1", "Item name \"\\u{a0}\" missing-value"),
        (
            "3/1/2025,1,x,---",
            "Total Paid w/ Payment Method \"---\" missing-value",
        ),
        ("2/29/2025,1,x,1", "Sale Date \"2/29/2025\" invalid-date"),
        ("3/1/1899,1,x,1", "Sale Date \"3/1/1899\" date-out-of-range"),
        (
            "3/1/2025,1,x,$1",
            "Total Paid w/ Payment Method \"$1\" invalid-number",
        ),
        (
            "3/1/2025,1,x,(1)",
            "Total Paid w/ Payment Method \"(1)\" invalid-number",
        ),
        (
            "3/1/2025,1,x,\"12,34\"",
            "Total Paid w/ Payment Method \"12,34\" invalid-number",
        ),
        (
            "3/1/2025,1,x,1.123456",
            "Total Paid w/ Payment Method \"1.123456\" too-many-decimals",
        ),
        (
            "3/1/2025,1,x,99999999999999999",
            "Total Paid w/ Payment Method \"99999999999999999\" number-out-of-range",
        ),
    ];
    for (row, expected) in rows {
        let said = brief(short(&format!("1/1/2025,1,a,1\n{row}\n1/2/2025,2,b,2\n")));
        let expected = [
            "2 2025-01-01 1 a 1".to_owned(),
            format!("3 {expected}"),
            "4 2025-01-02 2 b 2".to_owned(),
        ];
        assert_eq!(said, expected, "{row}");
    }
}

#[test]
fn optional_numbers_may_be_absent_but_not_wrong() {
    for column in Column::NUMERIC {
        let mut cells: Vec<&str> = ROW.split(',').collect();
        cells[column as usize] = "ten";
        let said = brief(format!("{HEADER}\n{}\n", cells.join(",")));
        assert_eq!(said, [format!("2 {column} \"ten\" invalid-number")]);
        if !Column::REQUIRED.contains(&column) {
            for none in ["", "---", " "] {
                cells[column as usize] = none;
                let said = brief(format!("{HEADER}\n{}\n", cells.join(",")));
                assert_eq!(said, ["2 2025-03-01 41 Rope 34.88"]);
            }
        }
    }
}

#[test]
fn a_quote_inside_an_unquoted_cell_is_an_ordinary_character() {
    let said = brief(short("1/1/2025,1,3\" pipe,1\n1/1/2025,2,6\"\" pipe,1\n"));
    assert_eq!(
        said,
        ["2 2025-01-01 1 3\" pipe 1", "3 2025-01-01 2 6\"\" pipe 1"]
    );
}

#[test]
fn a_cell_over_the_limit_rejects_its_row_only() {
    let large = "x".repeat(Limits::default().cell_bytes + 1);
    let said = brief(short(&format!("1/1/2025,1,{large},1\n1/1/2025,2,b,1\n")));
    let value = "x".repeat(RowError::VALUE_CHARS);
    assert_eq!(
        said,
        [
            format!("2 Item name {value:?} cell-too-large"),
            "3 2025-01-01 2 b 1".to_owned()
        ]
    );
    let fits = "x".repeat(Limits::default().cell_bytes);
    assert_eq!(
        brief(short(&format!("1/1/2025,1,{fits},1\n"))),
        [format!("2 2025-01-01 1 {fits} 1")]
    );
}

#[test]
fn a_row_of_windows_1252_whose_text_is_over_the_limit_in_utf_8_is_rejected_alone() {
    let cell = vec![0x80_u8; 21_000];
    let cells = [&cell[..], b","].concat().repeat(17);
    let names = "x,".repeat(17);
    let row = |sale: &[u8], cells: &[u8]| [cells, b"1/1/2025,", sale, b",a,1\n"].concat();
    let file = [
        names.as_bytes(),
        b"Sale Date,Sale ID,Item name,Total Paid\n",
        &row(b"1", &cells),
        &row(b"2", &[&cell[..], &[b','; 17]].concat()),
    ];
    let mut sink = Brief::default();
    run(&file, Encoding::Windows1252, &mut sink).expect("the file is good");
    assert_eq!(sink.0, ["2 - \"\" row-too-large", "3 2025-01-01 2 a 1"]);
}

#[test]
fn extra_columns_are_left_out_with_a_warning() {
    let file = "Sale Date,Staff ,Sale ID,Item name,Total Paid,,Till\n1/1/2025,a,1,x,1,b,c\n";
    let mut sink = Brief::default();
    let summary = run(&[file.as_bytes()], Encoding::Utf8, &mut sink).expect("the file is good");
    assert_eq!(sink.0, ["2 2025-01-01 1 x 1"]);
    let columns = vec!["Staff".to_owned(), "Till".to_owned()];
    assert_eq!(summary.warnings, [Warning::ExtraColumns { columns }]);
}

#[test]
fn a_header_alone_is_a_file_without_rows() {
    for file in [
        HEADER.to_owned(),
        format!("{HEADER}\r\n"),
        format!("{HEADER}\n\n\n"),
    ] {
        assert_eq!(brief(file), Vec::<String>::new());
    }
}

#[test]
fn a_delimiter_inside_quotes_does_not_decide_the_delimiter() {
    let file = "\"Till, name\";\"Sale\nDate\";Sale Date;Sale ID;Item name;Total Paid\na;b;1/1/2025;1;\"x;y\";1\n";
    assert_eq!(brief(file), ["2 2025-01-01 1 x;y 1"]);
}

#[test]
fn windows_1252_is_recognised_and_read_on_a_second_try() {
    let file = b"Sale Date,Sale ID,Item name,Total Paid,Caf\xE9\n1/1/2025,1,Cr\xE8me \x80 \"\xE9\",1,\x81\n1/1/2025,2,\"\xFC\"\"\",2,\n";
    let error = refused(file);
    assert_eq!(error.restart_in(), Some(Encoding::Windows1252));
    let mut sink = Brief::default();
    let summary =
        run(&[file], Encoding::Windows1252, &mut sink).expect("every byte is a character");
    assert_eq!(
        sink.0,
        ["2 2025-01-01 1 Crème € \"é\" 1", "3 2025-01-01 2 ü\" 2"]
    );
    let columns = vec!["Café".to_owned()];
    assert_eq!(
        summary.warnings,
        [Warning::Windows1252, Warning::ExtraColumns { columns }]
    );
    assert_eq!(summary.bytes, file.len() as u64);
}

#[test]
fn a_byte_order_mark_makes_wrong_utf_8_final() {
    let file = b"\xEF\xBB\xBFSale Date,Sale ID,Item name,Total Paid\n1/1/2025,1,Cr\xE8me,1\n";
    for encoding in [Encoding::Utf8, Encoding::Windows1252] {
        let error =
            run(&[file], encoding, &mut Brief::default()).expect_err("the mark promises UTF-8");
        assert_eq!(error, FileError::InvalidUtf8 { row: 2, offset: 55 });
        assert_eq!(error.restart_in(), None);
    }
}

/// Each file is refused with this code, whether it comes whole or byte by byte.
fn assert_refused<F: AsRef<[u8]>>(code: &str, files: impl IntoIterator<Item = F>) {
    for file in files {
        let file = file.as_ref();
        let begin = String::from_utf8_lossy(&file[..file.len().min(80)]);
        let error = refused(file);
        assert_eq!(error.code(), code, "{begin:?}: {error}");
        let one_by_one: Vec<&[u8]> = file.chunks(1).collect();
        let again = run(&one_by_one, Encoding::Utf8, &mut Brief::default());
        assert_eq!(again, Err(error), "{begin:?}, byte by byte");
    }
}

#[test]
fn a_file_with_nothing_in_it_is_refused() {
    assert_refused("empty-file", ["", "\u{FEFF}", "\r\n \n\n", "\u{FEFF}\n"]);
}

#[test]
fn a_file_without_the_right_header_is_refused() {
    let headless = format!("{ROW}\n");
    let page = "<!DOCTYPE html>\n<html></html>\n";
    let incomplete = "Sale Date,Sale ID,Item name,Tax\n";
    assert_refused(
        "missing-headers",
        ["hello", page, &headless, incomplete, ",,,\n"],
    );
    let twice = "Sale Date,Sale ID,Item name,Total Paid,sale id\n";
    let aliased = "Sale Date,Sale ID,Item name,Total Paid,Total Paid w/ Payment Method\n";
    assert_refused("duplicate-header", [twice, aliased]);
}

#[test]
fn a_file_of_another_format_is_refused() {
    let formats: [&[u8]; 5] = [
        b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n",
        b"PK\x03\x04\x14\x00\x06\x00",
        b"\x1F\x8B\x08\x00",
        b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\x00",
        b"PAR1\x15\x04",
    ];
    assert_refused("not-a-csv-file", formats);
}

#[test]
fn a_file_of_wide_characters_is_refused_with_or_without_a_mark() {
    let encode = |unit: fn(u16) -> Vec<u8>| -> Vec<u8> {
        let text = short("1/1/2025,1,x,1\n");
        text.encode_utf16().flat_map(unit).collect()
    };
    let little = encode(|unit| unit.to_le_bytes().to_vec());
    let big = encode(|unit| unit.to_be_bytes().to_vec());
    let wider = encode(|unit| u32::from(unit).to_le_bytes().to_vec());
    let widest = encode(|unit| u32::from(unit).to_be_bytes().to_vec());
    let marked = [&b"\xFF\xFE"[..], &little].concat();
    assert_refused("unsupported-encoding", [little, big, wider, widest, marked]);
}

#[test]
fn a_binary_file_is_refused() {
    let good = short("1/1/2025,1,x,1\n");
    let header = good.replace("Sale ID", "Sale\0ID");
    let row = good.replace('x', "\0");
    let quoted = good.replace('x', "\"\0\"");
    assert_refused("binary-file", ["\0".repeat(1000), header, row, quoted]);
    let cut_short = short("1/1/2025,1,x,1\né").into_bytes();
    let cut_short = cut_short[..cut_short.len() - 1].to_vec();
    assert_refused("not-utf-8", [b"\x80\xFF\xC0 \xF5".repeat(100), cut_short]);
}

#[test]
fn a_quote_that_is_never_closed_is_refused() {
    let row = short("1/1/2025,1,\"x,1\n1/1/2025,2,y,1\n");
    let header = "Sale Date,\"Sale ID,Item name,Total Paid\n";
    assert_refused("unclosed-quote", [&row, header]);
    assert_eq!(refused(&row), FileError::UnclosedQuote { row: 2 });
}

#[test]
fn a_lone_carriage_return_is_refused() {
    let good = short("1/1/2025,1,x,1\n");
    let old_mac = good.replace('\n', "\r");
    let inside = good.replace('x', "x\ry");
    let doubled = good.replace('\n', "\r\r\n");
    let at_the_end = short("1/1/2025,1,x,1\ry");
    let then_much = short(&format!("1\r{}", "x".repeat(2 << 20)));
    assert_refused(
        "lone-carriage-return",
        [old_mac, inside, doubled, at_the_end, then_much],
    );
}

#[test]
fn a_file_over_a_limit_is_refused() {
    let row = short(&"x".repeat(2 << 20));
    let quoted = short(&format!("\"{}", "x\n".repeat(1 << 20)));
    let header = "x".repeat(40 << 10);
    let quoted_header = format!("Sale Date,\"{}", "x\n".repeat(40 << 10));
    assert_refused("record-too-large", [row, quoted, header, quoted_header]);
    let columns = short(&",".repeat(1_000_000));
    let headers = format!("Sale Date{}\n", ",x".repeat(1_000_000));
    assert_refused("too-many-columns", [columns, headers]);
}

#[test]
fn a_refused_file_never_recovers() {
    let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
    let mut sink = Brief::default();
    let bad = short("1/1/2025,1,x,1\n1/1/2025,2,x,1\n\0");
    let error = parser
        .feed(bad.as_bytes(), &mut sink)
        .expect_err("a NUL is refused");
    assert_eq!(
        parser.feed(b"1/1/2025,1,x,1\n", &mut sink),
        Err(error.clone())
    );
    assert_eq!(parser.finish(&mut sink), Err(error));
}

#[test]
fn a_huge_row_is_refused_as_soon_as_the_limit_is_crossed_and_held_back_no_further() {
    let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
    let mut sink = Brief::default();
    parser
        .feed(short("").as_bytes(), &mut sink)
        .expect("the header is good");
    let slice = [b'x'; 4096];
    let fed = (0..100 << 20)
        .step_by(slice.len())
        .take_while(|_| parser.feed(&slice, &mut sink).is_ok());
    assert_eq!(fed.count() * slice.len(), Limits::default().record_bytes);
}

#[test]
fn messages_are_for_people() {
    let missing = refused(b"Sale Date,Item name\n");
    insta::assert_snapshot!(missing.to_string(), @"required columns are missing from the header: Sale ID, Total Paid w/ Payment Method");
    let large = refused(short(&format!("\"{}", "x".repeat(2 << 20))));
    insta::assert_snapshot!(large.to_string(), @"row 2 is longer than 1048576 bytes, a quote may not be closed");
}

#[test]
fn a_second_pass_can_begin_at_any_record() {
    let file = format!(
        "\u{FEFF}{}",
        short("1/1/2025,1,\"a\nb\",1\n\n1/2/2025,2,c,2\nbad\n1/3/2025,3,d,3\n")
    );
    let mut whole = Said::default();
    let summary = run(&[file.as_bytes()], Encoding::Utf8, &mut whole).expect("the file is good");
    let stored = serde_json::to_string(&summary.dialect).expect("plain data serialises");
    let position = |text: &str| file.find(text).expect("the row is there");
    let blank = position("\n\n") + 1;
    for (start, row, said) in [
        (position("1/1"), 2, 0),
        (blank, 3, 1),
        (position("1/2/2025"), 4, 1),
        (position("bad"), 5, 2),
        (position("1/3/2025"), 6, 3),
        (file.len(), 7, 4),
    ] {
        let dialect = serde_json::from_str(&stored).expect("it was just serialised");
        let resume = Start::Resume {
            dialect,
            offset: start as u64,
            row,
        };
        let mut parser = Parser::new(resume, Limits::default());
        let mut sink = Said::default();
        parser
            .feed(&file.as_bytes()[start..], &mut sink)
            .expect("the file is good");
        parser.finish(&mut sink).expect("the file is good");
        assert_eq!(sink.0, whole.0[said..], "from byte {start}");
    }
}

/// Bytes that look like a sales file, good or bad.
fn sales_like() -> impl Strategy<Value = Vec<u8>> {
    let cell = prop_oneof![
        4 => "[ -~]{0,8}",
        2 => "\"[a-z,;\r\n]{0,4}(\"\")?[a-z]{0,2}\"",
        2 => "[0-9]{1,3}(\\.[0-9]{1,3})?",
        2 => "1?[0-9]/[12]?[0-9]/20[0-9][0-9]",
        1 => "\\PC{0,4}",
        1 => Just("\"".to_owned()),
        1 => Just("\r".to_owned()),
    ];
    let good = "1/2/2025,[0-9]{1,3},[a-z]{1,5},-?[0-9]{1,4}(\\.[0-9]{1,3})?";
    let quoted = "1/2/2025,[0-9]{1,3},\"[a-zé,\r\n]{1,5}(\"\")?\",[0-9]{1,4}";
    let wild = prop::collection::vec(cell, 3..6).prop_map(|cells| cells.join(","));
    let row = prop_oneof![6 => good, 4 => quoted, 1 => wild, 1 => Just(String::new())];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    let header = prop_oneof![
        9 => Just("Sale Date,Sale ID,Item name,Total Paid"),
        1 => Just("\u{FEFF}Total Paid,Item name,Sale ID,Sale Date"),
        1 => Just("\n\nSale Date;Sale ID;\"Item, name\""),
    ];
    (header, prop::collection::vec((row, end), 0..12)).prop_map(|(header, rows)| {
        let mut file = header.to_owned() + "\n";
        for (row, end) in rows {
            file.push_str(&row);
            file.push_str(end);
        }
        file.into_bytes()
    })
}

fn cut<'a>(file: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(file.len() + 1)).collect();
    at.extend([0, file.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &file[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn however_the_file_is_cut_the_parser_says_the_same(
        file in sales_like(), cuts: [prop::sample::Index; 5],
    ) {
        for encoding in [Encoding::Utf8, Encoding::Windows1252] {
            let mut whole = Said::default();
            let expected = run(&[&file], encoding, &mut whole);
            for slices in [cut(&file, &cuts), file.chunks(1).collect()] {
                let mut sink = Said::default();
                let outcome = run(&slices, encoding, &mut sink);
                prop_assert_eq!(&outcome, &expected);
                prop_assert_eq!(&sink, &whole);
            }
        }
    }

    #[test]
    fn any_bytes_are_rows_or_an_error_and_never_a_panic(
        file in prop::collection::vec(any::<u8>(), 0..300), header: bool, cuts: [prop::sample::Index; 3],
    ) {
        let head = if header { short("") } else { String::new() };
        let file = [head.as_bytes(), &file].concat();
        for encoding in [Encoding::Utf8, Encoding::Windows1252] {
            let _: Result<Summary, FileError> = run(&cut(&file, &cuts), encoding, &mut Said::default());
        }
    }

    #[test]
    fn good_rejected_and_blank_rows_add_up_and_their_bytes_adjoin(file in sales_like()) {
        #[derive(Default)]
        struct Ends(Vec<(u64, u64)>);
        impl Sink for Ends {
            fn row(&mut self, row: &ParsedRow<'_>) {
                self.0.push((row.start, row.end));
            }

            fn rejected(&mut self, row: &RejectedRow<'_>) {
                self.0.push((row.start, row.end));
            }
        }
        let mut ends = Ends::default();
        if let Ok(summary) = run(&[&file], Encoding::Utf8, &mut ends) {
            prop_assert_eq!(summary.rows + summary.rejected, ends.0.len() as u64);
            prop_assert!(ends.0.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            prop_assert!(ends.0.last().is_none_or(|(_, end)| *end <= file.len() as u64));
        }
    }

    #[test]
    fn records_are_cut_as_a_csv_library_cuts_them(
        rows in prop::collection::vec(prop::collection::vec("[a-z \"',\r\n]{0,6}", 4), 1..8),
    ) {
        #[derive(Default)]
        struct Cells(Vec<Vec<String>>);
        impl Sink for Cells {
            fn row(&mut self, row: &ParsedRow<'_>) {
                self.0.push(row.cells.map(str::to_owned).to_vec());
            }

            fn rejected(&mut self, row: &RejectedRow<'_>) {
                self.0.push(row.cells.iter().map(ToString::to_string).collect());
            }
        }
        let mut writer = csv::Writer::from_writer(short("").into_bytes());
        for row in &rows {
            writer.write_record(row).expect("a Vec takes every write");
        }
        let file = writer.into_inner().expect("a Vec takes every write");
        let mut cells = Cells::default();
        run(&[&file], Encoding::Utf8, &mut cells).expect("the library writes well-formed files");
        let solid = |row: &&Vec<String>| row.iter().any(|cell| !cell.trim_matches(' ').is_empty());
        let expected: Vec<Vec<String>> = rows.iter().filter(solid).cloned().collect();
        prop_assert_eq!(cells.0, expected);
    }
}
