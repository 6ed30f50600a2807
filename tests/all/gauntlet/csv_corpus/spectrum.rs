//! The files of npm's `csv-spectrum` and what each says, against the sales file's reader.

use std::path::PathBuf;

use serde_json::{Map, Value};
use shared::sales::file::{Dialect, Encoding, Limits, ParsedRow, Parser, RejectedRow, Sink, Start};

use crate::support::{gauntlet, tree};

/// A header that makes the reader take what follows for rows: none of them is a sale, so each is handed
/// out as it was read.
const HEADER: &[u8] = b"Sale Date,Sale ID,Item name,Total Paid\n";

#[derive(Default)]
struct Records(Vec<Vec<String>>);

impl Sink for Records {
    fn header(&mut self, _: &Dialect) {}

    fn row(&mut self, row: &ParsedRow<'_>) {
        panic!("no file of the collection has a sale: {row:?}");
    }

    fn rejected(&mut self, row: &RejectedRow<'_>) {
        self.0
            .push(row.cells.iter().map(ToString::to_string).collect());
    }
}

fn records(file: &[u8]) -> Vec<Vec<String>> {
    let mut records = Records::default();
    let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
    parser
        .feed(HEADER, &mut records)
        .expect("the header is good");
    parser.feed(file, &mut records).expect("the file is CSV");
    parser.finish(&mut records).expect("the file is CSV");
    records.0
}

fn objects(file: &[u8]) -> Vec<Value> {
    let mut records = records(file).into_iter();
    let names = records.next().unwrap_or_default();
    let object = |cells: Vec<String>| {
        assert_eq!(cells.len(), names.len(), "a row has a cell for each name");
        let cells = cells.into_iter().map(Value::String);
        names.iter().cloned().zip(cells).collect::<Map<_, _>>()
    };
    records.map(object).map(Value::Object).collect()
}

/// Where the collection is, once it was installed from its lock.
fn collection() -> PathBuf {
    tree::root().join(".local/npm/node_modules/csv-spectrum")
}

#[test]
fn every_file_of_csv_spectrum_says_what_its_authors_say() {
    let folder = collection();
    if !gauntlet::is_full() && !folder.exists() {
        println!("csv-spectrum is for the full size: infra/local/npm.py installs it");
        return;
    }
    let mut compared = 0;
    for entry in std::fs::read_dir(folder.join("csvs")).into_iter().flatten() {
        let path = entry.expect("the folder is readable").path();
        let name = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy();
        let wanted = std::fs::read(folder.join(format!("json/{name}.json")));
        let wanted = serde_json::from_slice(&wanted.expect("each file has its JSON"));
        let wanted = match wanted.expect("each file has its JSON") {
            Value::Array(rows) => rows,
            // That of `location_coordinates` is one row, with another phone number than its file.
            mut row => {
                row["Contact Phone Number"] = "2095257564".into();
                vec![row]
            }
        };
        let file = std::fs::read(&path).expect("the file is readable");
        assert_eq!(objects(&file), wanted, "{name}");
        compared += 1;
    }
    assert!(
        compared >= 10,
        "{compared} files: infra/local/npm.py installs them"
    );
    gauntlet::figure("hostile CSV", "files of csv-spectrum that agree", compared);
}

#[test]
fn the_reader_hands_out_records_as_they_are_written() {
    let file = b"a,b,c\r\n1,\"x, \"\"y\"\"\r\nz\",\"\"\r\n2,,\xC3\xA9\r\n";
    let wanted = [["a", "b", "c"], ["1", "x, \"y\"\r\nz", ""], ["2", "", "é"]];
    assert_eq!(records(file), wanted);
}
