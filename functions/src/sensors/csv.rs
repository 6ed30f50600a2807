//! Cells of a CSV answer (RFC 4180). They are written as they are, also what a spreadsheet would
//! take for a formula: what went in comes out.

/// Appends a cell, quoted where it has to be.
pub fn write_cell(out: &mut Vec<u8>, text: &str) {
    if !text
        .bytes()
        .any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'))
    {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// Ends a record.
pub fn end_record(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        let written = |text: &str| {
            let mut out = Vec::new();
            write_cell(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        for (text, cell) in [
            ("", ""),
            ("=1+1", "=1+1"),
            ("a,b", "\"a,b\""),
            ("{\"a\":1}", "\"{\"\"a\"\":1}\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(written(text), cell);
        }
    }
}
