//! Stored rows written back as the export they came from.
//!
//! Cells are written exactly as they came, formulas too: what goes in comes out. A file that is
//! meant for a spreadsheet is the errors file, which defuses them.

use super::file::{Delimiter, write_record};
use super::model::Column;

/// Appends the header of the 19 columns.
pub fn write_header(out: &mut Vec<u8>) {
    write_record(out, Delimiter::Comma, Column::ALL.map(Column::name));
}

/// Appends one row, its cells in the order of [`Column::ALL`].
pub fn write_row(out: &mut Vec<u8>, cells: &[&str; Column::COUNT]) {
    write_record(out, Delimiter::Comma, cells.iter().copied());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sales::file::{Encoding, Limits, ParsedRow, Parser, RejectedRow, Sink, Start};

    #[test]
    fn the_header_is_that_of_the_export() {
        let mut out = Vec::new();
        write_header(&mut out);
        let header = String::from_utf8(out).expect("what was written is UTF-8");
        assert_eq!(
            header,
            "Sale Date,Client ID,Sale ID,Item name,Batch #,Sales Notes,Location,Notes,Color,Size,\
             Item price (excluding tax),Quantity,Subtotal (excluding tax),Discount %,Discount amount,Tax,\
             Item Total,Total Paid w/ Payment Method,Payment Method\r\n"
        );
    }

    #[derive(Default)]
    struct Cells(Vec<Vec<String>>);

    impl Sink for Cells {
        fn row(&mut self, row: &ParsedRow<'_>) {
            self.0.push(row.cells.map(str::to_owned).to_vec());
        }

        fn rejected(&mut self, row: &RejectedRow<'_>) {
            panic!("{row:?}");
        }
    }

    fn row() -> impl Strategy<Value = Vec<String>> {
        let text = "[ -~\t\r\né]{0,8}|\\PC{0,4}|[=+@'\"-]{1,3}";
        let number = "-?[0-9]{1,6}(\\.[0-9]{1,5})?|---| 1,288\\.50 ";
        let filled = " ?[a-z\",\n]{0,6}[0-9]{1,4} ?";
        let cells: Vec<BoxedStrategy<String>> = Column::ALL
            .into_iter()
            .map(|column| match column {
                Column::SaleDate => "0?[1-9]/1[0-9]/20[0-9]{2}|20[0-9]{2}-0[1-9]-1[0-9]".boxed(),
                Column::SaleId | Column::ItemName => filled.boxed(),
                Column::TotalPaid => "-?[0-9]{1,6}(\\.[0-9]{1,3})?".boxed(),
                _ if Column::NUMERIC.contains(&column) => number.boxed(),
                _ => text.boxed(),
            })
            .collect();
        cells
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_cell_for_cell(rows in prop::collection::vec(row(), 0..5)) {
            let mut out = Vec::new();
            write_header(&mut out);
            for row in &rows {
                write_row(&mut out, &std::array::from_fn(|at| row[at].as_str()));
            }
            let mut cells = Cells::default();
            let mut parser = Parser::new(Start::Beginning(Encoding::Utf8), Limits::default());
            parser.feed(&out, &mut cells).expect("an export is a sales file");
            let summary = parser.finish(&mut cells).expect("an export is a sales file");
            prop_assert_eq!(cells.0, rows);
            prop_assert!(summary.warnings.is_empty());
        }
    }
}
