//! How one file spells the export: encoding, delimiter, and which column stands where.

use serde::{Deserialize, Serialize};

use super::error::FileError;
use super::formula::undefuse;
use crate::sales::model::Column;

/// How bytes mean characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8, checked.
    #[default]
    Utf8,
    /// Windows-1252 as the WHATWG Encoding Standard defines it: every byte is a character.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// What separates the cells of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
}

impl Delimiter {
    /// Every delimiter, the most likely one first.
    pub const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    /// The delimiter's byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

/// All that has to be known of a file's beginning to go on reading anywhere behind it.
///
/// Serialised as `{encoding, byte_order_mark, delimiter, header}`; the rest follows from the
/// header and is worked out again, so no stored dialect can contradict itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Spelling", try_from = "Spelling")]
pub struct Dialect {
    /// As it stands in the file.
    spelling: Spelling,
    /// The header without an errors file's apostrophes.
    header: Vec<String>,
    /// Which cell of a record holds each column.
    positions: [Option<u16>; Column::COUNT],
    /// Whether this is an errors file that came back: its formulas wear an apostrophe.
    defused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spelling {
    encoding: Encoding,
    byte_order_mark: bool,
    delimiter: Delimiter,
    header: Vec<String>,
}

impl From<Dialect> for Spelling {
    fn from(dialect: Dialect) -> Self {
        dialect.spelling
    }
}

impl TryFrom<Spelling> for Dialect {
    type Error = FileError;

    fn try_from(spelling: Spelling) -> Result<Self, FileError> {
        let defused = spelling.header.iter().any(|name| is_error_column(name));
        let own = |name: &String| if defused { undefuse(name) } else { name }.to_owned();
        let header: Vec<String> = spelling.header.iter().map(own).collect();
        let (positions, missing) = Self::match_header(&header)?;
        if !missing.is_empty() {
            return Err(FileError::MissingHeaders { columns: missing });
        }
        Ok(Self {
            spelling,
            header,
            positions,
            defused,
        })
    }
}

type Positions = [Option<u16>; Column::COUNT];

impl Dialect {
    /// The columns that an errors file has behind those of the file it is about.
    pub const ERROR_COLUMNS: [&str; 3] = ["_row", "_code", "_message"];

    pub(super) fn new(
        encoding: Encoding,
        byte_order_mark: bool,
        delimiter: Delimiter,
        header: Vec<String>,
    ) -> Result<Self, FileError> {
        Self::try_from(Spelling {
            encoding,
            byte_order_mark,
            delimiter,
            header,
        })
    }

    /// The columns' positions, and the required columns that have none.
    fn match_header(header: &[String]) -> Result<(Positions, Vec<Column>), FileError> {
        let mut positions = [None; Column::COUNT];
        for (at, name) in header.iter().enumerate() {
            if let Some(column) = Column::from_header(name) {
                let position = &mut positions[column as usize];
                if position.is_some() {
                    return Err(FileError::DuplicateHeader { column });
                }
                *position = u16::try_from(at).ok();
            }
        }
        let missing = Column::REQUIRED
            .into_iter()
            .filter(|column| positions[*column as usize].is_none())
            .collect();
        Ok((positions, missing))
    }

    /// How the file's bytes mean characters.
    #[must_use]
    pub const fn encoding(&self) -> Encoding {
        self.spelling.encoding
    }

    /// Whether the file begins with a UTF-8 byte order mark.
    #[must_use]
    pub const fn byte_order_mark(&self) -> bool {
        self.spelling.byte_order_mark
    }

    /// What separates the cells.
    #[must_use]
    pub const fn delimiter(&self) -> Delimiter {
        self.spelling.delimiter
    }

    /// The file's own header, every cell as it came, but for the apostrophes of an errors file.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Which cell of a record, from 0, holds `column`; `None` when the file lacks it.
    #[must_use]
    pub fn position(&self, column: Column) -> Option<usize> {
        self.positions[column as usize].map(usize::from)
    }

    /// Whether the column at a position of the header is one of [`Dialect::ERROR_COLUMNS`].
    #[must_use]
    pub fn is_error_column(&self, position: usize) -> bool {
        self.header
            .get(position)
            .is_some_and(|name| is_error_column(name))
    }

    /// Whether the file is an errors file that came back: the columns `_row`, `_code` and
    /// `_message`, or one of them, are there. Apostrophes before formulas are then taken off.
    #[must_use]
    pub const fn is_errors_file(&self) -> bool {
        self.defused
    }

    /// The trimmed headers that are neither of the export nor of an errors file, nor empty.
    pub fn extra_columns(&self) -> impl Iterator<Item = &str> {
        let known = |name: &&str| Column::from_header(name).is_some() || is_error_column(name);
        let names = self.header.iter().map(|name| name.trim());
        names.filter(move |name| !name.is_empty() && !known(name))
    }
}

/// Whether `name` is one of [`Dialect::ERROR_COLUMNS`].
pub(super) fn is_error_column(name: &str) -> bool {
    Dialect::ERROR_COLUMNS.contains(&name.trim())
}

/// How many headers of the export are among `header`: tells a right delimiter from a wrong one.
pub(super) fn familiarity(header: &[String]) -> usize {
    header
        .iter()
        .filter(|name| Column::from_header(name).is_some())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_dialect_has_its_wire_format_and_comes_back_whole() {
        let names = header(&[
            "Total Paid",
            " sale id",
            "Staff",
            "ITEM NAME",
            "",
            "Sale Date",
        ]);
        let dialect = Dialect::new(Encoding::Windows1252, false, Delimiter::Semicolon, names)
            .expect("every required column is there");
        let json = serde_json::to_string(&dialect).expect("plain data serialises");
        insta::assert_snapshot!(json, @r#"{"encoding":"windows-1252","byte_order_mark":false,"delimiter":"semicolon","header":["Total Paid"," sale id","Staff","ITEM NAME","","Sale Date"]}"#);
        assert_eq!(
            serde_json::from_str::<Dialect>(&json).ok(),
            Some(dialect.clone())
        );
        assert_eq!(dialect.position(Column::SaleId), Some(1));
        assert_eq!(dialect.position(Column::Tax), None);
        assert_eq!(dialect.extra_columns().collect::<Vec<_>>(), ["Staff"]);
        assert!(!dialect.is_errors_file());
    }

    #[test]
    fn a_stored_dialect_that_lacks_a_column_is_refused() {
        let json = r#"{"encoding":"utf8","byte_order_mark":false,"delimiter":"comma","header":["Sale ID"]}"#;
        let error = serde_json::from_str::<Dialect>(json).expect_err("three columns are missing");
        insta::assert_snapshot!(error.to_string(), @"required columns are missing from the header: Sale Date, Item name, Total Paid w/ Payment Method");
    }

    #[test]
    fn the_columns_of_an_errors_file_are_known_but_not_extra() {
        let names = [
            "Sale Date",
            "Sale ID",
            "Item name",
            "Total Paid",
            "'=Staff",
            "_row",
            "_code",
            "_message",
        ];
        let dialect = Dialect::new(Encoding::Utf8, false, Delimiter::Comma, header(&names))
            .expect("every required column is there");
        assert!(dialect.is_errors_file());
        assert_eq!(dialect.extra_columns().collect::<Vec<_>>(), ["=Staff"]);
    }
}
