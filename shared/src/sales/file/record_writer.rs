//! Writes a record as RFC 4180 wants it.

use super::dialect::Delimiter;

/// Appends one record: cells separated by `delimiter`, quoted where they have to be (RFC 4180
/// section 2), ended by CRLF.
pub fn write_record<'a>(
    out: &mut Vec<u8>,
    delimiter: Delimiter,
    cells: impl IntoIterator<Item = &'a str>,
) {
    let delimiter = delimiter.byte();
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(delimiter);
        }
        let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
        if !cell.bytes().any(special) {
            out.extend_from_slice(cell.as_bytes());
            continue;
        }
        out.push(b'"');
        for (at, piece) in cell.split('"').enumerate() {
            if at > 0 {
                out.extend_from_slice(b"\"\"");
            }
            out.extend_from_slice(piece.as_bytes());
        }
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        let mut out = Vec::new();
        write_record(
            &mut out,
            Delimiter::Comma,
            ["", "a;b", "a,b", "5\"", "x\ny", " z "],
        );
        write_record(&mut out, Delimiter::Semicolon, ["a;b", "a,b", "\r"]);
        let text = String::from_utf8(out).expect("what was written is UTF-8");
        insta::assert_debug_snapshot!(text, @r#"",a;b,\"a,b\",\"5\"\"\",\"x\ny\", z \r\n\"a;b\";a,b;\"\r\"\r\n""#);
    }
}
