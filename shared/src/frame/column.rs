//! Columns: equally long lists of one type.

use crate::frame::FrameError;

/// The values of one column, a row each.
///
/// Equality is equality of the stored bits: a NaN equals itself and `-0.0` differs from `0.0`.
#[derive(Debug, Clone)]
pub enum Column {
    /// Signed integers: counts, ordinals, times in a unit of the caller's choice.
    Int(Vec<i64>),
    /// Floats, kept to the bit, NaN payloads and signs of zero included.
    Float(Vec<f64>),
    /// Exact decimals of one scale.
    Decimal(DecimalColumn),
    /// Truth values.
    Bool(Vec<bool>),
    /// UTF-8 text.
    Text(TextColumn),
}

impl Column {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Decimal(values) => values.mantissas.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the type, for messages.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Decimal(_) => "decimal",
            Self::Bool(_) => "bool",
            Self::Text(_) => "text",
        }
    }

    /// A column of the values at `rows`, which must all exist.
    pub(in crate::frame) fn gather(&self, rows: &[usize]) -> Result<Self, FrameError> {
        Ok(match self {
            Self::Int(values) => Self::Int(rows.iter().map(|&row| values[row]).collect()),
            Self::Float(values) => Self::Float(rows.iter().map(|&row| values[row]).collect()),
            Self::Decimal(values) => Self::Decimal(DecimalColumn {
                scale: values.scale,
                mantissas: rows.iter().map(|&row| values.mantissas[row]).collect(),
            }),
            Self::Bool(values) => Self::Bool(rows.iter().map(|&row| values[row]).collect()),
            Self::Text(values) => {
                let mut gathered = TextColumn::new();
                for &row in rows {
                    gathered.push(values.at(row))?;
                }
                Self::Text(gathered)
            }
        })
    }

    /// Whether two values of columns of one type are the same to the bit.
    pub(in crate::frame) fn same_at(&self, other: &Self, row: usize) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left[row] == right[row],
            (Self::Float(left), Self::Float(right)) => left[row].to_bits() == right[row].to_bits(),
            (Self::Decimal(left), Self::Decimal(right)) => {
                left.scale == right.scale && left.mantissas[row] == right.mantissas[row]
            }
            (Self::Bool(left), Self::Bool(right)) => left[row] == right[row],
            (Self::Text(left), Self::Text(right)) => left.at(row) == right.at(row),
            _ => false,
        }
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.type_name() == other.type_name()
            && match (self, other) {
                (Self::Decimal(left), Self::Decimal(right)) => left == right,
                _ => (0..self.len()).all(|row| self.same_at(other, row)),
            }
    }
}

impl Eq for Column {}

/// Exact decimals that share a scale: `mantissa / 10^scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecimalColumn {
    /// Places after the point.
    pub scale: u8,
    /// The values times `10^scale`.
    pub mantissas: Vec<i64>,
}

/// Texts packed end to end: two allocations a column, not one a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextColumn {
    text: String,
    ends: Vec<u32>,
}

impl TextColumn {
    /// A column without cells.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A column without cells that has room for `cells` cells of `bytes` bytes in all.
    #[must_use]
    pub fn with_capacity(cells: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            ends: Vec::with_capacity(cells),
        }
    }

    /// Appends a cell.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the column would hold more than 4 GiB of text.
    pub fn push(&mut self, cell: &str) -> Result<(), FrameError> {
        let end = self
            .text
            .len()
            .checked_add(cell.len())
            .and_then(|end| u32::try_from(end).ok())
            .ok_or(FrameError::TooLarge {
                limit: u64::from(u32::MAX),
            })?;
        self.text.push_str(cell);
        self.ends.push(end);
        Ok(())
    }

    /// A column of the given cells.
    ///
    /// # Errors
    /// As [`TextColumn::push`].
    pub fn try_from_cells<S: AsRef<str>>(
        cells: impl IntoIterator<Item = S>,
    ) -> Result<Self, FrameError> {
        let mut column = Self::new();
        for cell in cells {
            column.push(cell.as_ref())?;
        }
        Ok(column)
    }

    /// Number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all cells together.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.text.len()
    }

    /// The cell of `row`, if there is one.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&str> {
        (row < self.ends.len()).then(|| self.at(row))
    }

    /// The cells in order.
    #[must_use = "iterators do nothing until they are used"]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.ends.len()).map(|row| self.at(row))
    }

    pub(in crate::frame) fn at(&self, row: usize) -> &str {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.text[start as usize..self.ends[row] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_in_order() {
        let column = TextColumn::try_from_cells(["a", "", "søren", "---"]).expect("small");
        assert_eq!(column.iter().collect::<Vec<_>>(), ["a", "", "søren", "---"]);
        assert_eq!(column.get(2), Some("søren"));
        assert_eq!(column.get(4), None);
        assert_eq!(column.byte_len(), 10);
    }

    #[test]
    fn equality_is_of_bits() {
        assert_eq!(Column::Float(vec![f64::NAN]), Column::Float(vec![f64::NAN]));
        assert_ne!(Column::Float(vec![0.0]), Column::Float(vec![-0.0]));
        assert_ne!(Column::Int(vec![]), Column::Float(vec![]));
        let decimal = |scale| {
            Column::Decimal(DecimalColumn {
                scale,
                mantissas: vec![],
            })
        };
        assert_ne!(decimal(2), decimal(3));
    }
}
