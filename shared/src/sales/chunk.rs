//! A chunk: rows of one day in one [frame](crate::frame), every cell as it came.
//!
//! Besides the export's columns a chunk has `import`, the import that each row came with, and
//! `ordinal`, how many equal rows stood before it in its file. The row's identity is not stored: it
//! follows from its cells.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    day::{Overflow, Part},
    file::ParsedRow,
    identity::RowIdentity,
    import::ImportId,
    model::{Amount, Column},
};
use crate::frame::{self, Frame, FrameError, Limits, TextColumn};

/// Rows of a chunk that is full: some 70 KB, so that a page of rows is cheap to read.
pub const FULL: usize = 8_192;

/// Bytes of a frame below which a chunk is small: many such are merged.
pub const SMALL_BYTES: usize = 16 * 1024;

/// Bytes of text with which a chunk is full before it has that many rows.
const FULL_BYTES: usize = 2 * 1024 * 1024;

/// Most bytes of a frame: a table item holds 400 KB with its keys.
const MOST_BYTES: usize = 380 * 1024;

const IMPORT: &str = "import";
const ORDINAL: &str = "ordinal";

/// The name of a column in a frame.
const fn name(column: Column) -> &'static str {
    match column {
        Column::SaleDate => "date",
        Column::ClientId => "client",
        Column::SaleId => "sale",
        Column::ItemName => "item",
        Column::BatchNumber => "batch",
        Column::SalesNotes => "sales_notes",
        Column::Location => "location",
        Column::Notes => "notes",
        Column::Color => "color",
        Column::Size => "size",
        Column::ItemPrice => "price",
        Column::Quantity => "quantity",
        Column::Subtotal => "subtotal",
        Column::DiscountPercent => "discount_percent",
        Column::DiscountAmount => "discount",
        Column::Tax => "tax",
        Column::ItemTotal => "total",
        Column::TotalPaid => "paid",
        Column::PaymentMethod => "payment",
    }
}

/// A Sale ID as a fixed-size value, by which orders are told apart.
#[must_use]
pub fn sale_digest(sale_id: &str) -> u128 {
    xxh3_128(sale_id.as_bytes())
}

/// A total paid as the exact decimal that totals are summed in.
#[must_use]
pub fn decimal(amount: Amount) -> Decimal {
    Decimal::new(amount.units(), Amount::DECIMALS).normalize()
}

/// Rows of one day in memory, in the order of their file.
#[derive(Debug, Default)]
pub struct DayRows {
    cells: [TextColumn; Column::COUNT],
    identities: Vec<RowIdentity>,
    sales: Vec<u128>,
    totals: Vec<Amount>,
}

impl DayRows {
    /// Appends a row.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the day's text no longer fits 4 GiB.
    pub fn push(&mut self, row: &ParsedRow<'_>, sale: u128) -> Result<(), FrameError> {
        for (column, cell) in self.cells.iter_mut().zip(row.cells) {
            column.push(cell)?;
        }
        self.identities.push(row.identity());
        self.sales.push(sale);
        self.totals.push(row.total_paid);
        Ok(())
    }

    /// Each row's identity.
    #[must_use]
    pub fn identities(&self) -> &[RowIdentity] {
        &self.identities
    }

    /// The digest of each row's Sale ID.
    #[must_use]
    pub fn sales(&self) -> &[u128] {
        &self.sales
    }
}

/// A chunk ready to be stored, and what it holds of which import.
#[derive(Debug)]
pub struct Chunk {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Its line of the manifest.
    pub parts: BTreeMap<ImportId, Part>,
}

/// Collects rows of one day into chunks.
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    cells: [TextColumn; Column::COUNT],
    imports: TextColumn,
    ordinals: Vec<i64>,
    totals: Vec<(ImportId, Amount)>,
    bytes: usize,
    done: Vec<Chunk>,
}

impl ChunkBuilder {
    /// Appends a row out of `rows`.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when the chunk that became full cannot be encoded.
    pub fn push(
        &mut self,
        rows: &DayRows,
        index: usize,
        ordinal: u32,
        import: ImportId,
    ) -> Result<(), ChunkError> {
        let total = rows.totals[index];
        self.append(
            |column| cell(&rows.cells[column], index),
            ordinal.into(),
            import,
            total,
        )
    }

    /// Appends a row as it is read.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when the chunk that became full cannot be encoded.
    pub fn push_row(
        &mut self,
        row: &ParsedRow<'_>,
        ordinal: u32,
        import: ImportId,
    ) -> Result<(), ChunkError> {
        self.append(
            |column| row.cells[column],
            ordinal.into(),
            import,
            row.total_paid,
        )
    }

    /// Takes the chunks that are full.
    pub fn take_full(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.done)
    }

    /// Appends every row of a stored chunk that `keep` wants.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when the chunk cannot be decoded, or the one that became full not encoded.
    pub fn push_chunk(
        &mut self,
        frame: &[u8],
        keep: impl Fn(ImportId) -> bool,
    ) -> Result<(), ChunkError> {
        for row in StoredRows::decode(frame)?.iter() {
            if keep(row.import) {
                let total = paid(row.cells[Column::TotalPaid as usize])?;
                self.append(|column| row.cells[column], row.ordinal, row.import, total)?;
            }
        }
        Ok(())
    }

    fn append<'a>(
        &mut self,
        cell: impl Fn(usize) -> &'a str,
        ordinal: i64,
        import: ImportId,
        total: Amount,
    ) -> Result<(), ChunkError> {
        for (index, column) in self.cells.iter_mut().enumerate() {
            let cell = cell(index);
            self.bytes += cell.len();
            column.push(cell)?;
        }
        self.imports.push(&import.to_string())?;
        self.ordinals.push(ordinal);
        self.totals.push((import, total));
        if self.totals.len() == FULL || self.bytes >= FULL_BYTES {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChunkError> {
        let rows = Self {
            done: std::mem::take(&mut self.done),
            ..std::mem::take(self)
        };
        self.done = rows.encode()?;
        Ok(())
    }

    fn encode(mut self) -> Result<Vec<Chunk>, ChunkError> {
        let mut done = std::mem::take(&mut self.done);
        let rows = self.totals.len();
        let bytes = self.frame()?.encode()?;
        if bytes.len() > MOST_BYTES && rows > 1 {
            for range in [0..rows / 2, rows / 2..rows] {
                let mut half = Self::default();
                for row in range {
                    let (import, total) = self.totals[row];
                    half.append(
                        |column| cell(&self.cells[column], row),
                        self.ordinals[row],
                        import,
                        total,
                    )?;
                }
                done.extend(half.encode()?);
            }
            return Ok(done);
        }
        if bytes.len() > MOST_BYTES {
            return Err(ChunkError::RowTooLarge);
        }
        let mut parts: BTreeMap<ImportId, Part> = BTreeMap::new();
        for (import, total) in self.totals {
            let row = Part {
                rows: 1,
                revenue: decimal(total),
            };
            parts.entry(import).or_default().add(&row)?;
        }
        done.push(Chunk {
            frame: bytes,
            parts,
        });
        Ok(done)
    }

    fn frame(&self) -> Result<Frame, FrameError> {
        let mut frame = Frame::new(self.totals.len());
        for column in Column::ALL {
            let cells = self.cells[column as usize].clone();
            frame.push(name(column), frame::Column::Text(cells))?;
        }
        frame.push(IMPORT, frame::Column::Text(self.imports.clone()))?;
        frame.push(ORDINAL, frame::Column::Int(self.ordinals.clone()))?;
        Ok(frame)
    }

    /// The chunks of all rows appended.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when the last one cannot be encoded.
    pub fn finish(mut self) -> Result<Vec<Chunk>, ChunkError> {
        if self.totals.is_empty() {
            return Ok(self.done);
        }
        self.close()?;
        Ok(self.done)
    }
}

/// A chunk that cannot be made, or bytes that are none.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The bytes are no frame, or the rows do not fit one.
    #[error("chunk is not a valid frame")]
    Frame(#[from] FrameError),
    /// A cell that only a valid row can have is not valid.
    #[error("chunk has an invalid {0}")]
    Cell(&'static str),
    /// A single row that does not fit an item.
    #[error("a row is too large to be stored")]
    RowTooLarge,
    /// A sum left the range of an exact decimal.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

fn cell(column: &TextColumn, row: usize) -> &str {
    column.get(row).unwrap_or_default()
}

fn paid(cell: &str) -> Result<Amount, ChunkError> {
    Amount::parse(cell.trim()).map_err(|_| ChunkError::Cell("total paid"))
}

/// What tells a stored row apart from others, without the rest of it.
#[derive(Debug, Clone, Copy)]
pub struct StoredIdentity {
    /// The row's identity.
    pub identity: RowIdentity,
    /// How many equal rows stood before it in its file.
    pub ordinal: u32,
    /// The digest of its Sale ID.
    pub sale: u128,
    /// The import it came with.
    pub import: ImportId,
}

/// Hands the identity of every row of a chunk of `date` to `visit`; other columns stay packed.
///
/// # Errors
///
/// [`ChunkError`] when the bytes are no chunk.
pub fn visit_identities(
    frame: &[u8],
    date: Date,
    mut visit: impl FnMut(StoredIdentity),
) -> Result<(), ChunkError> {
    let (sale, item, total) = (
        name(Column::SaleId),
        name(Column::ItemName),
        name(Column::TotalPaid),
    );
    let frame = Frame::decode_columns(
        frame,
        &[sale, item, total, IMPORT, ORDINAL],
        &Limits::default(),
    )?;
    let (sales, items) = (frame.texts(sale)?, frame.texts(item)?);
    let (totals, imports) = (frame.texts(total)?, frame.texts(IMPORT)?);
    for (row, &ordinal) in frame.ints(ORDINAL)?.iter().enumerate() {
        let sale_id = cell(sales, row).trim();
        let total = paid(cell(totals, row))?;
        visit(StoredIdentity {
            identity: RowIdentity::of(sale_id, date, cell(items, row).trim(), total),
            ordinal: u32::try_from(ordinal).map_err(|_| ChunkError::Cell(ORDINAL))?,
            sale: sale_digest(sale_id),
            import: cell(imports, row)
                .parse()
                .map_err(|_| ChunkError::Cell(IMPORT))?,
        });
    }
    Ok(())
}

/// The rows of a chunk, decoded.
#[derive(Debug)]
pub struct StoredRows {
    cells: Vec<TextColumn>,
    imports: Vec<ImportId>,
    ordinals: Vec<i64>,
}

/// One row of a chunk.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'a> {
    /// Its cells as they came, in the order of [`Column::ALL`].
    pub cells: [&'a str; Column::COUNT],
    /// The import it came with.
    pub import: ImportId,
    /// How many equal rows stood before it in its file.
    pub ordinal: i64,
}

impl StoredRows {
    /// Decodes a chunk.
    ///
    /// # Errors
    ///
    /// [`ChunkError`] when the bytes are no chunk.
    pub fn decode(frame: &[u8]) -> Result<Self, ChunkError> {
        let frame = Frame::decode(frame, &Limits::default())?;
        let cells = Column::ALL
            .into_iter()
            .map(|column| frame.texts(name(column)).cloned());
        let imports = frame.texts(IMPORT)?.iter();
        Ok(Self {
            cells: cells.collect::<Result<_, _>>()?,
            imports: imports
                .map(|import| import.parse().map_err(|_| ChunkError::Cell(IMPORT)))
                .collect::<Result<_, _>>()?,
            ordinals: frame.ints(ORDINAL)?.to_vec(),
        })
    }

    /// The rows, in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StoredRow<'_>> {
        (0..self.ordinals.len()).map(|row| StoredRow {
            cells: std::array::from_fn(|column| cell(&self.cells[column], row)),
            import: self.imports[row],
            ordinal: self.ordinals[row],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::sales::file::{Encoding, Limits as FileLimits, Parser, RejectedRow, Sink, Start};

    #[derive(Default)]
    struct Rows(DayRows);

    impl Sink for Rows {
        fn row(&mut self, row: &ParsedRow<'_>) {
            self.0.push(row, sale_digest(row.sale_id)).unwrap();
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            panic!("row {} is valid: {}", row.row, row.error.message);
        }
    }

    fn day(cells: &[(String, i32, String)]) -> DayRows {
        let mut file = "Sale Date,Sale ID,Item name,Total Paid,Notes\n".to_owned();
        for (sale, cents, notes) in cells {
            let notes = notes.replace('"', "\"\"");
            let sign = if *cents < 0 { "-" } else { "" };
            let (whole, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
            writeln!(
                file,
                "3/1/2025, {sale} ,tea,{sign}{whole}.{rest:02},\"{notes}\""
            )
            .unwrap();
        }
        let mut rows = Rows::default();
        let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), FileLimits::default());
        parser.feed(file.as_bytes(), &mut rows).unwrap();
        parser.finish(&mut rows).unwrap();
        rows.0
    }

    fn import(n: u128) -> ImportId {
        ImportId::new(uuid::Uuid::from_u128(n))
    }

    proptest! {
        #[test]
        fn rows_come_back_cell_for_cell_with_their_import_and_ordinal(
            cells in prop::collection::vec(("[0-9a-z]{1,4}", -10_000..10_000_i32, "[ -~é]{0,12}"), 1..40),
        ) {
            let rows = day(&cells);
            let mut builder = ChunkBuilder::default();
            for index in 0..cells.len() {
                builder.push(&rows, index, u32::try_from(index).unwrap(), import(index as u128 % 3)).unwrap();
            }
            let chunks = builder.finish().unwrap();
            prop_assert_eq!(chunks.len(), 1);
            let stored = StoredRows::decode(&chunks[0].frame).unwrap();
            let mut identities = Vec::new();
            let date = jiff::civil::date(2025, 3, 1);
            visit_identities(&chunks[0].frame, date, |row| identities.push(row)).unwrap();
            prop_assert_eq!(stored.iter().len(), cells.len());
            for (index, row) in stored.iter().enumerate() {
                for column in 0..Column::COUNT {
                    prop_assert_eq!(row.cells[column], cell(&rows.cells[column], index));
                }
                prop_assert_eq!(row.import, import(index as u128 % 3));
                prop_assert_eq!(usize::try_from(row.ordinal), Ok(index));
                prop_assert_eq!(identities[index].identity, rows.identities[index]);
                prop_assert_eq!(identities[index].sale, rows.sales[index]);
                prop_assert_eq!(identities[index].ordinal as usize, index);
            }
            let total: Decimal = cells.iter().map(|(_, cents, _)| Decimal::new((*cents).into(), 2)).sum();
            let parts: Decimal = chunks[0].parts.values().map(|part| part.revenue).sum();
            prop_assert_eq!(parts, total);
        }

        #[test]
        fn any_bytes_are_a_chunk_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(StoredRows::decode(&bytes).is_err());
        }
    }

    #[test]
    fn rows_that_do_not_fit_an_item_are_spread_over_several() {
        // Notes that nothing can compress: 40 rows of 60 KB.
        let mut state = 1_u64;
        let mut noise = || {
            (0..60_000)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
                })
                .collect::<String>()
        };
        let cells: Vec<_> = (0..40).map(|n| (n.to_string(), n, noise())).collect();
        let rows = day(&cells);
        let mut builder = ChunkBuilder::default();
        for index in 0..cells.len() {
            builder.push(&rows, index, 0, import(1)).unwrap();
        }
        let chunks = builder.finish().unwrap();
        assert!(chunks.iter().all(|chunk| chunk.frame.len() <= MOST_BYTES));
        let counts = chunks
            .iter()
            .map(|chunk| StoredRows::decode(&chunk.frame).unwrap().iter().len());
        assert_eq!(counts.sum::<usize>(), 40);
    }
}
