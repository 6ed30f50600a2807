//! Any bytes behind a header are rows or refused, however they are cut; every row is good or rejected;
//! records and cells are those that the crate `csv` finds; and an errors file has every rejected row
//! and can be read again.

use shared::sales::{
    errors_file,
    file::{
        Dialect, Encoding, FileError, Limits, ParsedRow, Parser, RejectedRow, RowErrorCode, Sink,
        Start, Summary,
    },
    model::Column,
};

const HEADER: &[u8] = b"Sale Date,Sale ID,Item name,Total Paid\n";

/// A row as it was handed out: its cells, and why it is rejected if it is.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: u64,
    cells: Vec<String>,
    code: Option<RowErrorCode>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    rows: Vec<Row>,
    errors: Vec<u8>,
    dialect: Option<Dialect>,
}

impl Sink for Read {
    fn header(&mut self, dialect: &Dialect) {
        errors_file::write_header(&mut self.errors, dialect);
        self.dialect = Some(dialect.clone());
    }

    fn row(&mut self, row: &ParsedRow<'_>) {
        assert!(row.end > row.start && !row.item.is_empty() && !row.sale_id.is_empty());
        let own = Column::REQUIRED.map(|column| row.cell(column).to_owned());
        self.rows.push(Row {
            number: row.row,
            cells: own.to_vec(),
            code: None,
        });
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        if let Some(dialect) = &self.dialect {
            errors_file::write_row(&mut self.errors, dialect, row);
        }
        self.rows.push(Row {
            number: row.row,
            cells: row.cells.iter().map(ToString::to_string).collect(),
            code: Some(row.error.code),
        });
    }
}

fn read(slices: &[&[u8]], encoding: Encoding) -> Result<(Summary, Read), FileError> {
    let mut found = Read::default();
    let mut parser = Parser::new(Start::Beginning(encoding), Limits::default());
    for slice in slices {
        parser.feed(slice, &mut found)?;
    }
    let summary = parser.finish(&mut found)?;
    Ok((summary, found))
}

/// The records that hold anything but blanks and quotes.
fn elsewhere(file: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let records = reader.byte_records().map(|record| {
        let record = record.expect("bytes in memory can be read");
        record.iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    });
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'"');
    records
        .filter(|cells| !cells.iter().flatten().all(is_blank))
        .collect()
}

/// Tries an input.
///
/// # Panics
///
/// When what the module says does not hold.
pub fn check(bytes: &[u8]) {
    let file = [HEADER, bytes].concat();
    let whole = read(&[&file], Encoding::Utf8);
    let cut = usize::from(bytes.first().copied().unwrap_or(0)) * 7 % (file.len() + 1);
    let (head, tail) = file.split_at(cut);
    assert_eq!(read(&[head, tail], Encoding::Utf8), whole, "cut at {cut}");
    let whole = match whole {
        Err(error) => match error.restart_in() {
            Some(encoding) => read(&[&file], encoding),
            None => return,
        },
        read => read,
    };
    let Ok((summary, found)) = whole else { return };
    assert_eq!(summary.rows + summary.rejected, found.rows.len() as u64);
    assert_eq!(summary.bytes, file.len() as u64);
    let numbers = found.rows.windows(2);
    assert!(
        numbers
            .into_iter()
            .all(|pair| pair[0].number < pair[1].number)
    );

    let is_blank = |char: char| matches!(char, ' ' | '\t' | '"');
    let holds = |row: &&Row| !row.cells.iter().all(|cell| cell.chars().all(is_blank));
    let kept: Vec<&Row> = found.rows.iter().filter(holds).collect();
    let others = elsewhere(&file);
    // A row of quoted blanks is a row here, and where something stands behind a quote the row keeps its
    // quotes; nobody sees them there.
    assert_eq!(kept.len(), others.len(), "rows");
    let is_utf8 = summary.dialect.encoding() == Encoding::Utf8;
    for (row, other) in kept.iter().zip(&others) {
        assert_eq!(row.cells.len(), other.len(), "cells of row {}", row.number);
        if is_utf8 && row.code != Some(RowErrorCode::MalformedQuoting) {
            let own: Vec<&[u8]> = row.cells.iter().map(String::as_bytes).collect();
            assert_eq!(own, other.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }

    if summary.rejected > 0 {
        let (again, _) =
            read(&[&found.errors], Encoding::Utf8).expect("an errors file can be read");
        assert_eq!(
            again.rows + again.rejected,
            summary.rejected,
            "rows of the errors file"
        );
    }
}
