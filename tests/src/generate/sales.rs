//! Sales files out of nothing but a seed: the 19-column export of an invented climbing hall, and
//! what an import of it must report.
//!
//! Every row is a function of the seed and its index, so files of any length are written in
//! constant memory, and a second file can repeat a stretch of the first. The expected figures come
//! from the integers a row is made of, never from reading the text back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

const HEADER: &str = "Sale Date,Client ID,Sale ID,Item name,Batch #,Sales Notes,Location,Notes,Color,Size,\
    Item price (excluding tax),Quantity,Subtotal (excluding tax),Discount %,Discount amount,Tax,Item Total,\
    Total Paid w/ Payment Method,Payment Method";

/// Rows of a block: its sales are cut out of it, and it lies within one day.
const BLOCK: u64 = 8;

/// How a block is cut into sales: the sale that each of its rows belongs to.
const SALES: [[u64; 8]; 4] = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [0, 0, 1, 2, 3, 3, 3, 4],
    [0, 1, 2, 2, 3, 4, 5, 5],
    [0, 1, 1, 1, 1, 2, 3, 4],
];

/// What is sold, with its price in tenths of the currency unit.
const ITEMS: [(&str, i64); 20] = [
    ("Day pass", 240),
    ("Shoe rental", 60),
    ("Chalk bag rental", 25),
    ("Still water", 12),
    ("Café au lait", 48),
    ("Auto-belay session", 180),
    ("Ten-visit card", 1_990),
    ("Harness rental", 50),
    ("Bouldering class", 350),
    ("Energy bar", 37),
    ("Finger tape", 74),
    ("Lead course w/ Ines", 1_200),
    ("Top-rope course (2 pax)", 900),
    ("Locker, monthly", 150),
    ("Kids' party", 2_800),
    ("Coaching 1:1 w/ Tomasz", 850),
    ("Rope 60m", 1_790),
    ("Quickdraw", 215),
    ("Monthly membership", 1_080),
    ("Yearly membership", 11_880),
];

/// Variants of an item, with the multiple of its price.
const VARIANTS: [(&str, i64); 4] = [("", 1), (" - off-peak", 1), (" ", 1), (" x3", 3)];

const PAYMENTS: [&str; 8] = [
    "Card (Visa/MC - Chip)",
    "Card (Visa/MC - Chip)",
    "Card (Visa/MC - Chip)",
    "Card (AMEX - Web)",
    "Misc. (QR/Bank transfer)",
    "Cash",
    "Voucher (Desk/Web)",
    "",
];

/// The ways a row is spoiled, each with the code an import must reject it for.
const FAULTS: [(Fault, &str); 10] = [
    (Fault::Day, "invalid-date"),
    (Fault::Total("SGD 12.00"), "invalid-number"),
    (Fault::NoSaleId, "missing-value"),
    (Fault::Total("1.123456"), "too-many-decimals"),
    (Fault::CellLess, "too-few-cells"),
    (Fault::CellMore, "too-many-cells"),
    (Fault::Quoting, "malformed-quoting"),
    (Fault::Year, "date-out-of-range"),
    (Fault::Total("999999999999999999"), "number-out-of-range"),
    (Fault::Total("---"), "missing-value"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Day,
    Year,
    NoSaleId,
    Total(&'static str),
    CellLess,
    CellMore,
    Quoting,
}

/// Which files to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows of the first file, bad ones included.
    pub rows: u64,
    /// Equal seeds give equal files.
    pub seed: u64,
    /// The first day of sale, in days since 1970-01-01.
    pub first_day: i64,
    /// Days that the rows of the first file are spread over.
    pub days: u64,
    /// How many of the first file's rows are spoiled, at most one in two.
    pub bad_rows: u64,
    /// How many rows at the end of the first file the second one repeats; up to 7 more, so that it
    /// begins with a whole sale.
    pub overlap: u64,
    /// How many new rows the second file goes on with, none of them bad.
    pub new_rows: u64,
    /// Whether lines end in CRLF rather than LF.
    pub crlf: bool,
}

/// What an import of one file must report, given that the file before it was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Rows of the file.
    pub rows: u64,
    /// Rows that the import adds.
    pub imported: u64,
    /// Good rows that are there already.
    pub duplicate: u64,
    /// Rejected rows by code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Sale IDs of the rows that the import adds.
    pub orders: u64,
    /// What the import adds, by date as `YYYY-MM-DD`: revenue in units of 0.00001, and rows.
    pub days: BTreeMap<String, (i64, u64)>,
}

impl Expected {
    /// What the import adds in all, in units of 0.00001.
    #[must_use]
    pub fn revenue(&self) -> i64 {
        self.days.values().map(|(revenue, _)| revenue).sum()
    }

    /// The figures as JSON, money as exact decimal strings.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let daily: Vec<Value> = self
            .days
            .iter()
            .map(|(date, (revenue, rows))| json!({"date": date, "revenue": decimal(*revenue), "rows": rows}))
            .collect();
        json!({
            "rows": self.rows,
            "imported": self.imported,
            "duplicate": self.duplicate,
            "rejected": self.rejected,
            "rejected_total": self.rejected.values().sum::<u64>(),
            "orders": self.orders,
            "total_revenue": decimal(self.revenue()),
            "daily": daily,
        })
    }
}

impl Plan {
    /// A year of `rows` rows from 2025-01-01, one in a thousand bad; a second file that repeats a
    /// fifth of them and adds a tenth.
    #[must_use]
    pub const fn new(rows: u64, seed: u64) -> Self {
        Self {
            rows,
            seed,
            first_day: 20_089,
            days: 365,
            bad_rows: rows.div_ceil(1000),
            overlap: rows / 5,
            new_rows: rows / 10,
            crlf: true,
        }
    }

    /// Writes the first file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_file(&self, out: &mut impl Write) -> io::Result<Expected> {
        let mut writer = RowWriter::begin(self, out)?;
        for index in 0..self.rows {
            writer.row(index, true)?;
        }
        Ok(writer.expected)
    }

    /// Writes the second file, which begins with the end of the first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_overlapping(&self, out: &mut impl Write) -> io::Result<Expected> {
        let mut writer = RowWriter::begin(self, out)?;
        let start = self.rows.saturating_sub(self.overlap) / BLOCK * BLOCK;
        for index in start..self.rows {
            writer.row(index, false)?;
        }
        let next = self.rows.next_multiple_of(BLOCK);
        for index in next..next + self.new_rows {
            writer.row(index, true)?;
        }
        Ok(writer.expected)
    }

    /// What is wrong with a row, if anything.
    fn fault(&self, index: u64) -> Option<(Fault, &'static str)> {
        let stride = self.rows.checked_div(self.bad_rows)?.max(2);
        let nth = index / stride;
        let is_bad = index < self.rows && nth < self.bad_rows && index % stride == stride - 1;
        is_bad.then(|| FAULTS[pick(nth, FAULTS.len())])
    }

    /// A number that only the seed, an index and a purpose decide (`SplitMix64`, Steele, Lea and
    /// Flood, "Fast splittable pseudorandom number generators", 2014).
    const fn random(&self, index: u64, purpose: u64) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.seed.wrapping_add(index.wrapping_mul(GOLDEN));
        mix(mix(state).wrapping_add(purpose.wrapping_mul(GOLDEN)))
    }
}

const fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// An index below `length`.
fn pick(random: u64, length: usize) -> usize {
    usize::try_from(random % length as u64).unwrap_or(0)
}

struct RowWriter<'a, W> {
    plan: &'a Plan,
    out: &'a mut W,
    line: Vec<u8>,
    end: &'static [u8],
    last_sale: Option<u64>,
    /// The day whose name is at hand.
    day: i64,
    name: String,
    expected: Expected,
}

impl<'a, W: Write> RowWriter<'a, W> {
    fn begin(plan: &'a Plan, out: &'a mut W) -> io::Result<Self> {
        let end: &[u8] = if plan.crlf { b"\r\n" } else { b"\n" };
        out.write_all(HEADER.as_bytes())?;
        out.write_all(end)?;
        let expected = Expected::default();
        Ok(Self {
            plan,
            out,
            line: Vec::new(),
            end,
            last_sale: None,
            day: i64::MIN,
            name: String::new(),
            expected,
        })
    }

    fn row(&mut self, index: u64, is_new: bool) -> io::Result<()> {
        let row = Row::new(self.plan, index);
        let fault = self.plan.fault(index);
        self.line.clear();
        row.write(&mut self.line, fault.map(|(fault, _)| fault))?;
        self.line.extend_from_slice(self.end);
        self.out.write_all(&self.line)?;

        self.expected.rows += 1;
        match fault {
            Some((_, code)) => *self.expected.rejected.entry(code).or_insert(0) += 1,
            None if !is_new => self.expected.duplicate += 1,
            None => {
                self.expected.imported += 1;
                if self.last_sale.replace(row.sale) != Some(row.sale) {
                    self.expected.orders += 1;
                }
                if self.day != row.day {
                    let (year, month, day) = civil(row.day);
                    self.day = row.day;
                    self.name = format!("{year:04}-{month:02}-{day:02}");
                    self.expected.days.entry(self.name.clone()).or_default();
                }
                if let Some((revenue, rows)) = self.expected.days.get_mut(&self.name) {
                    *revenue += row.total;
                    *rows += 1;
                }
            }
        }
        Ok(())
    }
}

/// One row in numbers; money in units of 0.00001.
#[derive(Debug)]
struct Row {
    day: i64,
    padded_date: bool,
    client: u64,
    sale: u64,
    item: &'static str,
    variant: &'static str,
    notes: u64,
    online: bool,
    price: i64,
    quantity: i64,
    discount_percent: i64,
    discount: i64,
    tax: i64,
    total: i64,
    grouped: bool,
    payment: &'static str,
    mark: u64,
}

impl Row {
    fn new(plan: &Plan, index: u64) -> Self {
        let block = index / BLOCK;
        let cut = SALES[pick(plan.random(block, 1), SALES.len())];
        let at = pick(index, SALES[0].len());
        let repeats = at > 0 && cut[at] == cut[at - 1] && plan.random(index, 2).is_multiple_of(60);
        if repeats {
            return Self::new(plan, index - 1);
        }

        let day = u128::from(block * BLOCK) * u128::from(plan.days) / u128::from(plan.rows.max(1));
        let sale = block * BLOCK + cut[at];
        // The smaller of two draws: a few items make most of the sales.
        let draw = |purpose| pick(plan.random(index, purpose), ITEMS.len());
        let (item, tenths) = ITEMS[draw(3).min(draw(4))];
        let (variant, multiple) = VARIANTS[pick(plan.random(index, 5), VARIANTS.len())];
        let price = tenths * multiple * 10_000;

        let kind = plan.random(index, 6) % 200;
        let quantity = match kind {
            0..2 => -1,
            2..10 => 2,
            10..13 => 3,
            _ => 1,
        };
        let is_free = (13..16).contains(&kind);
        let discount_percent = match plan.random(index, 7) % 40 {
            _ if is_free => 100,
            0 | 1 if tenths % 10 == 0 => 10,
            2 if tenths % 10 == 0 => 20,
            _ => 0,
        };
        let subtotal = price * quantity;
        let discount = subtotal / 100 * discount_percent;
        let tax = (subtotal - discount) / 100 * 9;
        Self {
            day: plan.first_day + i64::try_from(day).unwrap_or(0),
            padded_date: plan.random(block, 8).is_multiple_of(2),
            client: match plan.random(sale, 9) % 9_000 {
                walk_in @ 0..900 if walk_in > 1 => 1,
                number => 700_000_000 + number,
            },
            sale: 20_000 + sale,
            item,
            variant,
            notes: plan.random(index, 10) % 400,
            online: plan.random(sale, 11).is_multiple_of(17),
            price,
            quantity,
            discount_percent,
            discount,
            tax,
            total: subtotal - discount + tax,
            grouped: plan.random(index, 12).is_multiple_of(2),
            payment: if is_free {
                "Misc. (Comp/Staff)"
            } else {
                PAYMENTS[pick(plan.random(sale, 13), PAYMENTS.len())]
            },
            mark: index,
        }
    }

    fn write(&self, out: &mut Vec<u8>, fault: Option<Fault>) -> io::Result<()> {
        let (year, month, day) = civil(self.day);
        match fault {
            Some(Fault::Day) => write!(out, "2/30/{year}")?,
            Some(Fault::Year) => write!(out, "{month}/{day}/1026")?,
            _ if self.padded_date => write!(out, "{month:02}/{day:02}/{year}")?,
            _ => write!(out, "{month}/{day}/{year}")?,
        }
        write!(out, ",{},", self.client)?;
        if fault != Some(Fault::NoSaleId) {
            write!(out, "{}", self.sale)?;
        }
        out.push(b',');
        self.write_item(out, fault)?;
        out.extend_from_slice(b",---,");
        self.write_notes(out, fault)?;
        let location = if self.online {
            "Web shop"
        } else {
            "Harbour Wall - hall 2"
        };
        write!(out, ",{location},,---,---,")?;
        write_decimal(out, self.price)?;
        write!(out, ",{},", self.quantity)?;
        write_decimal(out, self.price * self.quantity)?;
        write!(out, ",{},", self.discount_percent)?;
        write_decimal(out, self.discount)?;
        out.push(b',');
        write_decimal(out, self.tax)?;
        out.push(b',');
        write_decimal(out, self.total)?;
        if fault == Some(Fault::CellLess) {
            return Ok(());
        }
        out.push(b',');
        match fault {
            Some(Fault::Total(text)) => out.extend_from_slice(text.as_bytes()),
            _ if self.grouped && self.total.abs() >= 100_000_000 => self.write_grouped(out)?,
            _ => write_decimal(out, self.total)?,
        }
        write!(out, ",{}", self.payment)?;
        if fault == Some(Fault::CellMore) {
            out.extend_from_slice(b",surplus");
        }
        Ok(())
    }

    fn write_item(&self, out: &mut Vec<u8>, fault: Option<Fault>) -> io::Result<()> {
        let Self { item, variant, .. } = self;
        match fault {
            Some(Fault::Quoting) => write!(out, "\"{item}\"{variant} new"),
            _ if item.contains(',') => write!(out, "\"{item}{variant}\""),
            _ => write!(out, "{item}{variant}"),
        }
    }

    fn write_notes(&self, out: &mut Vec<u8>, fault: Option<Fault>) -> io::Result<()> {
        match self.notes {
            _ if fault.is_some() => out.write_all(b"=SUM(K2:K9)"),
            0..8 => write!(out, "\"Paid by {}, rest at the desk\"", self.payment),
            8..11 => write!(out, "\"First visit\nsee form {}\"", self.mark),
            11..13 => write!(out, "\"Asked for the \"\"blue\"\" route, twice\""),
            13..17 => write!(out, "Wants a call back"),
            _ => Ok(()),
        }
    }

    /// The total with its thousands set apart, which takes quotes.
    fn write_grouped(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let text = decimal(self.total.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let (thousands, rest) = whole.split_at(whole.len() - 3);
        let sign = if self.total < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "\"{sign}{thousands},{rest}{point}{fraction}\"")
    }
}

/// An amount in units of 0.00001 as the shortest exact decimal.
fn decimal(units: i64) -> String {
    let mut text = Vec::new();
    // A Vec takes every write, and digits are ASCII.
    write_decimal(&mut text, units).map_or_else(
        |_| String::new(),
        |()| String::from_utf8_lossy(&text).into_owned(),
    )
}

fn write_decimal(out: &mut Vec<u8>, units: i64) -> io::Result<()> {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, fraction) = (
        units.unsigned_abs() / 100_000,
        units.unsigned_abs() % 100_000,
    );
    write!(out, "{sign}{whole}")?;
    if fraction > 0 {
        write!(out, ".{fraction:05}")?;
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    Ok(())
}

/// Year, month and day of a number of days since 1970-01-01, by the Gregorian calendar's cycle of
/// 400 years, counted from March so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`] for `YYYY-MM-DD`; `None` for any other text.
fn day_number(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_plausible =
        (1900..=2900).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    // Within a month of the estimate, the right day is found by trying.
    let estimate = (year - 1970) * 36_525 / 100 + (month - 1) * 30;
    let mut near = estimate - 3..estimate + 45;
    is_plausible.then(|| near.find(|days| civil(*days) == (year, month, day)))?
}

/// How the command line is used.
pub const USAGE: &str = "generate-sales --rows N [--seed N] [--first-day YYYY-MM-DD] [--days N] [--bad N] \
    [--overlap N] [--new N] [--lf] --out FILE [--overlap-out FILE] [--expected FILE]";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    plan: Plan,
    out: PathBuf,
    overlap_out: Option<PathBuf>,
    expected: Option<PathBuf>,
}

impl Command {
    /// Reads the arguments behind the program's name; see [`USAGE`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] naming the argument that is unknown, missing or wrong.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut options = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = match name.as_str() {
                "--lf" => String::new(),
                "--rows" | "--seed" | "--first-day" | "--days" | "--bad" | "--overlap"
                | "--new" | "--out" | "--overlap-out" | "--expected" => arguments
                    .next()
                    .ok_or_else(|| invalid(&format!("{name} needs a value")))?,
                _ => return Err(invalid(&format!("unknown argument {name}"))),
            };
            options.insert(name, value);
        }
        let number = |name: &str, default: u64| match options.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| invalid(&format!("{name} is not a number: {text}"))),
        };
        let plan = Plan::new(number("--rows", 100_000)?, number("--seed", 1)?);
        let first_day = match options.get("--first-day") {
            None => plan.first_day,
            Some(date) => {
                day_number(date).ok_or_else(|| invalid("--first-day is not YYYY-MM-DD"))?
            }
        };
        let path = |name: &str| options.get(name).map(PathBuf::from);
        Ok(Self {
            plan: Plan {
                first_day,
                days: number("--days", plan.days)?.max(1),
                bad_rows: number("--bad", plan.bad_rows)?,
                overlap: number("--overlap", plan.overlap)?,
                new_rows: number("--new", plan.new_rows)?,
                crlf: !options.contains_key("--lf"),
                ..plan
            },
            out: path("--out").ok_or_else(|| invalid("--out is missing"))?,
            overlap_out: path("--overlap-out"),
            expected: path("--expected"),
        })
    }

    /// Writes the files.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn run(&self) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&self.out)?);
        let first = self.plan.write_file(&mut out)?;
        out.flush()?;
        let mut expected = json!({"file": first.to_json()});
        if let Some(path) = &self.overlap_out {
            let mut out = BufWriter::new(File::create(path)?);
            let second = self.plan.write_overlapping(&mut out)?;
            out.flush()?;
            expected["overlap"] = second.to_json();
        }
        match &self.expected {
            Some(path) => std::fs::write(path, format!("{expected:#}\n")),
            None => Ok(()),
        }
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{message}\nusage: {USAGE}"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use shared::sales::file::{Encoding, Limits, ParsedRow, Parser, RejectedRow, Sink, Start};
    use shared::sales::identity::{Ordinals, RowIdentity};

    use super::*;

    fn written(plan: &Plan) -> (String, Expected, String, Expected) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let one = plan
            .write_file(&mut first)
            .expect("a Vec takes every write");
        let two = plan
            .write_overlapping(&mut second)
            .expect("a Vec takes every write");
        let text = |bytes| String::from_utf8(bytes).expect("the generator writes UTF-8");
        (text(first), one, text(second), two)
    }

    #[test]
    fn equal_seeds_give_equal_files_and_others_do_not() {
        let plan = Plan::new(500, 7);
        assert_eq!(written(&plan), written(&plan.clone()));
        assert_ne!(written(&plan).0, written(&Plan::new(500, 8)).0);
    }

    #[test]
    fn the_figures_add_up() {
        let plan = Plan {
            bad_rows: 25,
            ..Plan::new(1_003, 1)
        };
        let (_, first, _, second) = written(&plan);
        assert_eq!(first.rows, 1_003);
        assert_eq!(first.rejected.values().sum::<u64>(), 25);
        assert_eq!(first.imported, 1_003 - 25);
        assert_eq!(first.duplicate, 0);
        assert_eq!(
            first.days.values().map(|(_, rows)| rows).sum::<u64>(),
            first.imported
        );
        assert_eq!(second.imported, 100);
        assert_eq!(
            second.rows,
            second.imported + second.duplicate + second.rejected.values().sum::<u64>()
        );
        assert!((200..208).contains(&(second.rows - second.imported)));
    }

    #[test]
    fn the_second_file_repeats_the_end_of_the_first() {
        let (first, _, second, expected) = written(&Plan::new(1_003, 1));
        let repeated: Vec<&str> = second.split_inclusive("\r\n").skip(1).collect();
        let repeated =
            &repeated[..repeated.len() - usize::try_from(expected.imported).expect("it is 100")];
        assert!(first.ends_with(&repeated.concat()));
    }

    #[test]
    fn every_kind_of_row_is_there() {
        let (file, expected, _, _) = written(&Plan {
            bad_rows: 10,
            ..Plan::new(20_000, 1)
        });
        let mut codes: Vec<&str> = FAULTS.iter().map(|(_, code)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(expected.rejected.keys().copied().collect::<Vec<_>>(), codes);
        for sign in [
            "\n01/",
            "\n1/",
            ",-1,",
            "\"\"blue\"\"",
            "First visit\nsee",
            "\"1,294",
            ",0,Misc. (Comp",
            "é",
            "=SUM(",
        ] {
            assert!(file.contains(sign), "{sign}");
        }
        let lines: Vec<&str> = file.lines().collect();
        assert!(lines.windows(2).any(|pair| pair[0] == pair[1]));
    }

    /// What an import does, in memory.
    #[derive(Default)]
    struct Import {
        known: HashSet<(RowIdentity, u32)>,
        ordinals: Ordinals,
        last_sale: String,
        found: Expected,
    }

    impl Sink for Import {
        fn row(&mut self, row: &ParsedRow<'_>) {
            self.found.rows += 1;
            let ordinal = self.ordinals.next(row.identity());
            if !self.known.insert((row.identity(), ordinal)) {
                self.found.duplicate += 1;
                return;
            }
            self.found.imported += 1;
            if self.last_sale != row.sale_id {
                row.sale_id.clone_into(&mut self.last_sale);
                self.found.orders += 1;
            }
            let (revenue, rows) = self.found.days.entry(row.date.to_string()).or_default();
            *revenue += row.total_paid.units();
            *rows += 1;
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            self.found.rows += 1;
            *self
                .found
                .rejected
                .entry(row.error.code.as_str())
                .or_insert(0) += 1;
        }
    }

    #[test]
    fn an_import_finds_exactly_what_is_expected() {
        for crlf in [true, false] {
            let plan = Plan {
                bad_rows: 40,
                crlf,
                ..Plan::new(20_003, 3)
            };
            let (first, one, second, two) = written(&plan);
            let mut import = Import::default();
            for (file, expected) in [(first, one), (second, two)] {
                let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
                parser
                    .feed(file.as_bytes(), &mut import)
                    .expect("the file is good");
                let summary = parser.finish(&mut import).expect("the file is good");
                assert_eq!(import.found, expected);
                assert!(summary.warnings.is_empty());
                let known = std::mem::take(&mut import.known);
                import = Import {
                    known,
                    ..Import::default()
                };
            }
        }
    }

    #[test]
    fn dates_go_by_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (20_089, (2025, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date);
            assert_eq!(
                day_number(&format!("{}-{:02}-{:02}", date.0, date.1, date.2)),
                Some(days)
            );
        }
        assert_eq!(day_number("2025-02-29"), None);
        assert_eq!(day_number("today"), None);
    }

    #[test]
    fn the_command_line_is_read_or_refused_by_name() {
        let parse = |line: &str| Command::parse(line.split(' ').map(str::to_owned));
        let command =
            parse("--rows 10 --out a.csv --first-day 2024-02-29 --lf").expect("the line is right");
        let plan = Plan {
            first_day: 19_782,
            crlf: false,
            ..Plan::new(10, 1)
        };
        assert_eq!((command.plan, command.overlap_out), (plan, None));
        for (line, word) in [
            ("--rows 10", "--out"),
            ("--rows ten --out a", "--rows"),
            ("--rows", "--rows"),
            ("--row 10", "--row"),
            ("--out a --first-day 3/1/2025", "--first-day"),
        ] {
            let error = parse(line).expect_err("the line is wrong").to_string();
            assert!(
                error.starts_with(word) || error.contains(&format!("argument {word}")),
                "{error}"
            );
        }
    }
}
