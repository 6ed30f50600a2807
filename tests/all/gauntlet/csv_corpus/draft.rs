//! A sales file in the making: what it says, how it is spelled, and what must become of each line.
//!
//! Quirks change a draft. Some add lines and state their fate, some change the spelling and leave all
//! fates as they are, some make the whole file one that must be refused. So two quirks together have
//! an outcome that follows from what each states, and the parser is never asked.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::expected::{Expected, Rejection, Taken};

/// The header of the export.
pub(super) const HEADER: [&str; 19] = [
    "Sale Date",
    "Client ID",
    "Sale ID",
    "Item name",
    "Batch #",
    "Sales Notes",
    "Location",
    "Notes",
    "Color",
    "Size",
    "Item price (excluding tax)",
    "Quantity",
    "Subtotal (excluding tax)",
    "Discount %",
    "Discount amount",
    "Tax",
    "Item Total",
    "Total Paid w/ Payment Method",
    "Payment Method",
];

pub(super) const DATE: usize = 0;
pub(super) const SALE: usize = 2;
pub(super) const ITEM: usize = 3;
pub(super) const NOTES: usize = 7;
pub(super) const QUANTITY: usize = 11;
pub(super) const PAID: usize = 17;
pub(super) const METHOD: usize = 18;

/// The columns that a file must have.
pub(super) const REQUIRED: [usize; 4] = [DATE, SALE, ITEM, PAID];

/// What must become of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It counts on this day, with this much paid.
    Good { day: String, paid: Decimal },
    /// It is rejected with this code.
    Rejected(&'static str),
    /// It means nothing, though it has a number.
    Blank,
}

pub(super) fn good(day: &str, paid: &str) -> Fate {
    Fate::Good {
        day: day.to_owned(),
        paid: paid.parse().expect("a total is a decimal"),
    }
}

/// A cell: its text in UTF-8, and how it stands in the file where that does not follow from the text.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    content: Vec<u8>,
    written: Option<Vec<u8>>,
}

impl Cell {
    pub(super) fn says(&self, text: &str) -> bool {
        self.content == text.as_bytes()
    }
}

/// A cell that is written as the file writes cells: quoted where it has to be.
pub(super) fn plain(content: impl Into<Vec<u8>>) -> Cell {
    Cell {
        content: content.into(),
        written: None,
    }
}

/// A cell that stands in the file as these very bytes, and means `content`.
pub(super) fn raw(written: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Cell {
    Cell {
        content: content.into(),
        written: Some(written.into()),
    }
}

/// How many cells a line has.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// As many as the header.
    Whole,
    /// So many fewer.
    Less(usize),
    /// So many more, empty.
    More(usize),
    /// The line is these bytes; [`SEPARATOR`] stands for the file's delimiter.
    Bytes(Vec<u8>),
}

/// Stands for the delimiter in [`Shape::Bytes`].
pub(super) const SEPARATOR: u8 = 0x1F;

/// A line behind the header.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) cells: [Cell; 19],
    pub(super) shape: Shape,
    pub(super) fate: Fate,
}

impl Line {
    /// A good line of the export.
    pub(super) fn sale(date: &str, sale: &str, item: &str, paid: &str, fate: Fate) -> Self {
        let cells = [
            date,
            "100002649",
            sale,
            item,
            "---",
            "",
            "Golf - experience",
            "",
            "---",
            "---",
            "32",
            "1",
            "32",
            "0",
            "0",
            "2.88",
            "34.88",
            paid,
            "Credit card (AMEX-Keyed)",
        ];
        Self {
            cells: cells.map(plain),
            shape: Shape::Whole,
            fate,
        }
    }

    /// Bytes that are not cells of the export.
    pub(super) fn bytes(bytes: impl Into<Vec<u8>>, fate: Fate) -> Self {
        Self {
            shape: Shape::Bytes(bytes.into()),
            ..Self::sale("", "", "", "", fate)
        }
    }

    pub(super) fn with(mut self, column: usize, cell: Cell) -> Self {
        self.cells[column] = cell;
        self
    }

    pub(super) fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }
}

/// A column of the file: its header, and the export's column it is, or what it holds in every row.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) holds: Result<usize, &'static str>,
}

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Each(&'static str),
    /// LF and CRLF in turn.
    Mixed,
}

/// How text becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Windows1252,
    /// Units of so many bytes, the highest first or last.
    Wide {
        bytes: usize,
        big: bool,
    },
}

/// Which part of a file makes it one to refuse: the first that is read decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Start,
    Header,
    Rows,
}

/// A file in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The bytes before everything.
    pub(super) mark: &'static [u8],
    /// Text before the header.
    pub(super) lead: &'static str,
    pub(super) header: Vec<Head>,
    pub(super) lines: Vec<Line>,
    /// Lines behind all others.
    pub(super) tail: Vec<Line>,
    pub(super) delimiter: char,
    pub(super) ends: Ends,
    /// What stands behind the last line instead of a line end.
    pub(super) last_end: Option<&'static str>,
    pub(super) always_quoted: bool,
    pub(super) encoding: Encoding,
    pub(super) refused: Option<(Stage, &'static str)>,
    /// Whether the import must say something of the file that is no error.
    pub(super) warned: bool,
    /// Lines of a plain file that was imported before.
    pub(super) earlier: Vec<Line>,
    /// Rows of which another reader of CSV cannot tell that they are there: of quoted blanks.
    pub(super) unseen: u64,
}

impl Draft {
    /// The file that every quirk begins with: two sales of one order, two equal lines, a refund.
    pub(super) fn new() -> Self {
        let header = HEADER.iter().enumerate().map(|(column, name)| Head {
            name: (*name).to_owned(),
            holds: Ok(column),
        });
        let equal = || {
            let fate = good("2025-03-22", "1288.5");
            Line::sale("3/22/2025", "3972", "Day pass, adult", "1,288.50", fate)
        };
        let lines = vec![
            Line::sale(
                "3/1/2025",
                "3971",
                "10 Practice Credits",
                "34.88",
                good("2025-03-01", "34.88"),
            ),
            Line::sale(
                "03/01/2025",
                "3971",
                "Still water",
                "0.654",
                good("2025-03-01", "0.654"),
            ),
            equal(),
            equal(),
            Line::sale(
                "3/22/2025",
                "3973",
                "Café au lait",
                "-34.88",
                good("2025-03-22", "-34.88"),
            )
            .with(QUANTITY, plain("-1")),
        ];
        Self {
            mark: b"",
            lead: "",
            header: header.collect(),
            lines,
            tail: Vec::new(),
            delimiter: ',',
            ends: Ends::Each("\n"),
            last_end: None,
            always_quoted: false,
            encoding: Encoding::Utf8,
            refused: None,
            warned: false,
            earlier: Vec::new(),
            unseen: 0,
        }
    }

    /// Puts a line amidst the others, where a reader that loses its place swallows a neighbour.
    pub(super) fn insert(&mut self, line: Line) {
        let at = self.lines.len().saturating_sub(2);
        self.lines.insert(at, line);
    }

    /// Makes the file one to refuse; the earlier of two reasons stays.
    pub(super) fn refuse(&mut self, stage: Stage, code: &'static str) {
        if self.refused.is_none_or(|(known, _)| stage < known) {
            self.refused = Some((stage, code));
        }
    }

    /// The file that was imported before, and no other: every line is good.
    pub(super) fn earlier_file(&self) -> Option<Vec<u8>> {
        (!self.earlier.is_empty()).then(|| {
            let draft = Self {
                lines: self.earlier.clone(),
                ..Self::new()
            };
            draft.file()
        })
    }

    /// The file.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut text = self.lead.as_bytes().to_vec();
        let names = self.header.iter().map(|head| plain(head.name.clone()));
        let header: Vec<Vec<u8>> = names.map(|name| self.cell(&name)).collect();
        let separator = self.delimiter.to_string();
        text.extend(header.join(separator.as_bytes()));
        text.extend_from_slice(self.end(0).as_bytes());
        let count = self.lines.len() + self.tail.len();
        for (at, line) in self.lines.iter().chain(&self.tail).enumerate() {
            text.extend(self.line(line));
            let is_last = at + 1 == count;
            let end = self.last_end.filter(|_| is_last);
            text.extend_from_slice(end.unwrap_or_else(|| self.end(at + 1)).as_bytes());
        }
        [self.mark, &self.encoded(text)].concat()
    }

    fn end(&self, at: usize) -> &'static str {
        match self.ends {
            Ends::Each(end) => end,
            Ends::Mixed => ["\n", "\r\n"][at % 2],
        }
    }

    fn encoded(&self, text: Vec<u8>) -> Vec<u8> {
        let chars = |text: Vec<u8>| {
            let text = String::from_utf8(text).expect("a file that is encoded anew is UTF-8");
            text.chars().collect::<Vec<_>>()
        };
        match self.encoding {
            Encoding::Utf8 => text,
            Encoding::Windows1252 => chars(text).into_iter().map(windows_1252_byte).collect(),
            Encoding::Wide { bytes, big } => chars(text)
                .into_iter()
                .flat_map(|char| {
                    let unit = u32::from(char).to_le_bytes();
                    let mut unit = unit[..bytes].to_vec();
                    if big {
                        unit.reverse();
                    }
                    unit
                })
                .collect(),
        }
    }

    fn line(&self, line: &Line) -> Vec<u8> {
        let separator = self.delimiter.to_string().into_bytes();
        let mut cells: Vec<Vec<u8>> = self
            .header
            .iter()
            .map(|head| match head.holds {
                Ok(column) => self.cell(&line.cells[column]),
                Err(text) => self.cell(&plain(text)),
            })
            .collect();
        match &line.shape {
            Shape::Whole => {}
            Shape::Less(count) => cells.truncate(cells.len() - count),
            Shape::More(count) => cells.resize(cells.len() + count, Vec::new()),
            Shape::Bytes(bytes) => {
                let pieces: Vec<&[u8]> = bytes.split(|byte| *byte == SEPARATOR).collect();
                return pieces.join(&separator[..]);
            }
        }
        cells.join(&separator[..])
    }

    fn cell(&self, cell: &Cell) -> Vec<u8> {
        if let Some(written) = &cell.written {
            return written.clone();
        }
        let delimiter = u8::try_from(self.delimiter).expect("delimiters are ASCII");
        let special = |byte: &u8| *byte == delimiter || b"\"\r\n".contains(byte);
        if !self.always_quoted && !cell.content.iter().any(special) {
            return cell.content.clone();
        }
        let pieces: Vec<&[u8]> = cell.content.split(|byte| *byte == b'"').collect();
        [b"\"", &pieces.join(&b"\"\""[..])[..], b"\""].concat()
    }

    /// What must become of the file.
    pub(super) fn expected(&self) -> Expected {
        if let Some((_, code)) = self.refused {
            return Expected::Refused(code);
        }
        let file = self.file();
        let is_utf8 = self.encoding == Encoding::Utf8 && std::str::from_utf8(&file).is_ok();
        let text = |cell: &Cell| match String::from_utf8(cell.content.clone()) {
            // A file in Windows-1252 that was written so; else one that is read so for a stray byte.
            Ok(text) if is_utf8 || self.encoding != Encoding::Utf8 => text,
            _ => cell
                .content
                .iter()
                .map(|byte| windows_1252_char(*byte))
                .collect(),
        };
        let held: Vec<usize> = self
            .header
            .iter()
            .filter_map(|head| head.holds.ok())
            .collect();
        let row = |line: &Line| {
            let cells = line.cells.iter().enumerate();
            let cells = cells.map(|(at, cell)| {
                if held.contains(&at) {
                    text(cell)
                } else {
                    String::new()
                }
            });
            cells.collect::<Vec<_>>()
        };
        let mut taken = Taken {
            warned: self.warned || !is_utf8,
            ..Taken::default()
        };
        let mut stored: BTreeMap<(String, String, String, Decimal), u64> = BTreeMap::new();
        for line in &self.earlier {
            let cells = line
                .cells
                .iter()
                .map(|cell| String::from_utf8_lossy(&cell.content).into_owned());
            let cells: Vec<String> = cells.collect();
            if let Some(identity) = identity(line, &cells) {
                *stored.entry(identity.clone()).or_default() += 1;
                taken.store(&identity.1, identity.3, cells);
            }
        }
        let lead = self.lead.matches('\n').count() as u64;
        for (at, line) in (lead + 2..).zip(self.lines.iter().chain(&self.tail)) {
            match &line.fate {
                Fate::Blank => {}
                Fate::Rejected(code) => taken.rejected.push(Rejection { row: at, code }),
                Fate::Good { .. } => {
                    let cells = row(line);
                    let identity = identity(line, &cells).expect("the line is good");
                    let left = stored.get_mut(&identity).filter(|left| **left > 0);
                    if let Some(left) = left {
                        *left -= 1;
                        taken.duplicate += 1;
                    } else {
                        taken.imported += 1;
                        taken.store(&identity.1, identity.3, cells);
                    }
                }
            }
        }
        Expected::Taken(taken)
    }
}

/// What tells a good line from others: sale, day, item, and what was paid.
fn identity(line: &Line, cells: &[String]) -> Option<(String, String, String, Decimal)> {
    let Fate::Good { day, paid } = &line.fate else {
        return None;
    };
    let trimmed = |column: usize| cells[column].trim().to_owned();
    Some((trimmed(SALE), day.clone(), trimmed(ITEM), paid.normalize()))
}

/// What the bytes 0x80 to 0x9F are in Windows-1252, as the WHATWG Encoding Standard has it.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
];

pub(super) fn windows_1252_char(byte: u8) -> char {
    match byte {
        0x80..=0x9F => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn windows_1252_byte(char: char) -> u8 {
    let special = WINDOWS_1252.iter().position(|known| *known == char);
    let code = special.map_or(u32::from(char), |at| 0x80 + u32::try_from(at).unwrap_or(0));
    u8::try_from(code).unwrap_or_else(|_| panic!("{char:?} is not in Windows-1252"))
}
