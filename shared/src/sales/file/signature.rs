//! What the first bytes of a file say it is.

use super::error::{FileError, FileFormat};

/// How many first bytes are enough to tell.
pub(super) const SIGNATURE_BYTES: usize = 64;

/// The UTF-8 byte order mark, U+FEFF.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Refuses files whose first bytes are those of another format or of UTF-16 or UTF-32.
///
/// `head` is the file's first [`SIGNATURE_BYTES`], or all of a shorter file.
pub(super) fn check(head: &[u8]) -> Result<(), FileError> {
    const FORMATS: [(&[u8], FileFormat); 13] = [
        (b"%PDF-", FileFormat::Pdf),
        (b"PK\x03\x04", FileFormat::Zip),
        (b"PK\x05\x06", FileFormat::Zip),
        (b"PK\x07\x08", FileFormat::Zip),
        (b"\x1F\x8B", FileFormat::Gzip),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", FileFormat::Ole),
        (b"\x28\xB5\x2F\xFD", FileFormat::Zstandard),
        (b"BZh", FileFormat::Bzip2),
        (b"\xFD7zXZ\x00", FileFormat::Xz),
        (b"7z\xBC\xAF\x27\x1C", FileFormat::SevenZip),
        (b"PAR1", FileFormat::Parquet),
        (b"\x89PNG\r\n\x1A\n", FileFormat::Png),
        (b"\xFF\xD8\xFF", FileFormat::Jpeg),
    ];
    for (signature, format) in FORMATS {
        if head.starts_with(signature) {
            return Err(FileError::NotCsv { format });
        }
    }
    match wide_encoding(head) {
        Some(encoding) => Err(FileError::UnsupportedEncoding { encoding }),
        None => Ok(()),
    }
}

/// UTF-16 or UTF-32, by its byte order mark or by where the NULs of Latin text stand.
fn wide_encoding(head: &[u8]) -> Option<&'static str> {
    const MARKS: [(&[u8], &str); 4] = [
        (b"\xFF\xFE\x00\x00", "UTF-32LE"),
        (b"\x00\x00\xFE\xFF", "UTF-32BE"),
        (b"\xFF\xFE", "UTF-16LE"),
        (b"\xFE\xFF", "UTF-16BE"),
    ];
    if let Some((_, encoding)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(encoding);
    }
    let units = head.len() / 4;
    if units == 0 {
        return None;
    }
    let mut nul = [0; 4];
    for (at, byte) in head[..units * 4].iter().enumerate() {
        nul[at % 4] += usize::from(*byte == 0);
    }
    let mostly = |at: usize| nul[at] * 4 >= units * 3;
    let never = |at: usize| nul[at] == 0;
    match () {
        () if never(0) && mostly(1) && mostly(2) && mostly(3) => Some("UTF-32LE"),
        () if mostly(0) && mostly(1) && mostly(2) && never(3) => Some("UTF-32BE"),
        () if never(0) && mostly(1) && never(2) && mostly(3) => Some("UTF-16LE"),
        () if mostly(0) && never(1) && mostly(2) && never(3) => Some("UTF-16BE"),
        () => None,
    }
}
