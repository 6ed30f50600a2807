//! Files of other kinds under a name that ends in `.csv`.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::super::draft::{Draft, Ends, Stage};
use super::{ALONE, Quirk, quirk};

/// A file that is these bytes and nothing else.
fn whole(name: &'static str, stage: Stage, code: &'static str, bytes: &'static [u8]) -> Quirk {
    quirk(name, ALONE, move |draft| {
        draft.header.clear();
        draft.lines.clear();
        draft.last_end = Some("");
        draft.ends = Ends::Each("");
        draft.mark = bytes;
        draft.refuse(stage, code);
    })
}

pub(super) fn quirks() -> Vec<Quirk> {
    let start = |name, code, bytes| whole(name, Stage::Start, code, bytes);
    let header = |name, bytes| whole(name, Stage::Header, "missing-headers", bytes);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed
        .write_all(&Draft::new().file())
        .expect("a Vec takes every write");
    let packed: &'static [u8] = packed.finish().expect("a Vec takes every write").leak();
    let noise: &'static [u8] = (0..4096_u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3] | 0x81)
        .collect::<Vec<_>>()
        .leak();
    let counted: &'static [u8] = (0..=u8::MAX).cycle().take(4096).collect::<Vec<_>>().leak();
    let feeds: &'static [u8] = b"\n".repeat(100_000).leak();
    let nuls: &'static [u8] = vec![0; 4096].leak();
    vec![
        start("nothing at all", "empty-file", b""),
        start("byte order mark alone", "empty-file", b"\xEF\xBB\xBF"),
        start("one line feed", "empty-file", b"\n"),
        start("blank lines alone", "empty-file", b"\r\n  \n\n\r\n"),
        start("line feeds alone, very many", "empty-file", feeds),
        start("gzip", "not-a-csv-file", packed),
        start("zip", "not-a-csv-file", b"PK\x03\x04\x14\x00\x00\x00\x08\x00sales.csv"),
        start("zip with nothing in it", "not-a-csv-file", b"PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
        start("Excel workbook", "not-a-csv-file", b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00[Content_Types].xml"),
        start("old Excel workbook", "not-a-csv-file", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\x00\x00\x00\x00"),
        start("PDF", "not-a-csv-file", b"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n1 0 obj\n"),
        start("PNG", "not-a-csv-file", b"\x89PNG\r\n\x1A\n\x00\x00\x00\rIHDR"),
        start("JPEG", "not-a-csv-file", b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00"),
        start("zstd", "not-a-csv-file", b"\x28\xB5\x2F\xFD\x04\x00\x01\x00\x00"),
        start("bzip2", "not-a-csv-file", b"BZh91AY&SY"),
        start("xz", "not-a-csv-file", b"\xFD7zXZ\x00\x00\x04"),
        start("7z", "not-a-csv-file", b"7z\xBC\xAF\x27\x1C\x00\x04"),
        start("Parquet", "not-a-csv-file", b"PAR1\x15\x04\x15\x10"),
        header("HTML", b"<!DOCTYPE html>\n<html><body><table><tr><td>Sale Date</td></tr></table></body></html>\n"),
        header("HTML of a page to sign in", b"<html>\r\n<head><title>Sign in</title></head>\r\n</html>\r\n"),
        header("JSON", b"[{\"Sale Date\": \"3/1/2025\", \"Sale ID\": 1}]\n"),
        header("JSON in lines", b"{\"Sale Date\":\"3/1/2025\"}\n{\"Sale Date\":\"3/1/2025\"}\n"),
        header("XML", b"<?xml version=\"1.0\"?>\n<sales><sale id=\"1\"/></sales>\n"),
        header("SQL", b"INSERT INTO sales VALUES ('3/1/2025', 1, 'Rope', 7.25);\n"),
        header("YAML", b"- sale_date: 3/1/2025\n  sale_id: 1\n"),
        header("one word", b"hello"),
        header("delimiters alone", b",,,,,,\n,,,,,,\n"),
        header("an error of the bucket", b"<Error><Code>NoSuchKey</Code></Error>"),
        whole("NULs alone", Stage::Header, "binary-file", nuls),
        whole("every byte in turn", Stage::Header, "binary-file", counted),
        whole("noise of high bytes", Stage::Header, "missing-headers", noise),
    ]
}
