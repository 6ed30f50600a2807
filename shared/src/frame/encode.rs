//! Writing a frame: how each column is best laid out is decided here.

use crate::frame::column::Column;
use crate::frame::symbols::{Parent, Symbols, choose_parents};
use crate::frame::text::Packed;
use crate::frame::wire::{checksum, put_block, put_varint};
use crate::frame::{
    CONSTANT, COPY, Frame, FrameError, LAYOUT_SHIFT, Limits, MAGIC, PLAIN, SYMBOLS, VERSION,
    floats, integers, strings, symbols, text,
};

/// Most exceptions of a copied column: one in so many rows.
const COPY_EXCEPTIONS: usize = 32;

impl Frame {
    /// Encodes the frame. The same frame always gives the same bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the frame does not fit [`Limits::FORMAT`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        self.encode_for(Purpose::Size)
    }

    /// Encodes a frame that is read much more often than written: nothing in it is coded bit by
    /// bit or predicted, which saves bytes and takes up to forty times as long to read.
    ///
    /// # Errors
    /// As [`Frame::encode`].
    pub fn encode_to_be_read(&self) -> Result<Vec<u8>, FrameError> {
        self.encode_for(Purpose::Reading)
    }

    fn encode_for(&self, purpose: Purpose) -> Result<Vec<u8>, FrameError> {
        let mut pool = Vec::new();
        for (name, _) in &self.columns {
            text::put_text(&mut pool, name);
        }
        let mut sections = Vec::with_capacity(self.columns.len());
        for section in Planner::new(self, purpose).sections()? {
            pool.extend_from_slice(&section.pooled);
            sections.push(section.body);
        }

        let mut out = vec![MAGIC, VERSION];
        put_varint(&mut out, self.rows as u64);
        put_varint(&mut out, self.columns.len() as u64);
        strings::put_packed(&mut out, &pool);
        for section in sections {
            put_block(&mut out, &section);
        }
        out.extend_from_slice(&checksum(&out));
        if out.len() > Limits::FORMAT.encoded_bytes {
            return Err(FrameError::TooLarge {
                limit: Limits::FORMAT.encoded_bytes as u64,
            });
        }
        Ok(out)
    }
}

/// What a frame is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::frame) enum Purpose {
    /// To be small.
    Size,
    /// To be read quickly.
    Reading,
}

/// One column on its way into the frame.
struct Planned<'a> {
    column: &'a Column,
    symbols: Symbols,
    copy_of: Option<usize>,
    /// Whether the column's symbols are stored, so that others can be predicted from them.
    predicts: bool,
    laid_out: Packed,
}

struct Planner<'a> {
    purpose: Purpose,
    rows: usize,
    columns: Vec<Planned<'a>>,
}

impl<'a> Planner<'a> {
    fn new(frame: &'a Frame, purpose: Purpose) -> Self {
        let columns = frame
            .columns
            .iter()
            .map(|(_, column)| Planned {
                column,
                symbols: Symbols::of(column),
                copy_of: None,
                predicts: false,
                laid_out: Packed::default(),
            })
            .collect();
        Self {
            purpose,
            rows: frame.rows,
            columns,
        }
    }

    fn sections(mut self) -> Result<impl Iterator<Item = Packed>, FrameError> {
        self.find_copies();
        // Columns with many values tell most about the others, so they come first.
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(self.columns[index].symbols.distinct()));
        for index in order {
            self.lay_out(index)?;
        }
        Ok(self.columns.into_iter().map(|planned| planned.laid_out))
    }

    /// Marks the columns that are another one over again, but for a few rows.
    fn find_copies(&mut self) {
        let allowed = self.rows / COPY_EXCEPTIONS;
        for index in 1..self.columns.len() {
            let this = &self.columns[index];
            let distinct = this.symbols.distinct();
            if distinct <= 1 {
                continue;
            }
            self.columns[index].copy_of = (0..index).find(|&source| {
                let other = &self.columns[source];
                other.copy_of.is_none()
                    && other.column.type_name() == this.column.type_name()
                    && other.symbols.distinct().abs_diff(distinct) <= allowed
                    && (0..self.rows)
                        .filter(|&row| !this.column.same_at(other.column, row))
                        .nth(allowed)
                        .is_none()
            });
        }
    }

    fn lay_out(&mut self, index: usize) -> Result<(), FrameError> {
        let planned = &self.columns[index];
        let (column, distinct) = (planned.column, planned.symbols.distinct());
        self.columns[index].laid_out = if let Some(source) = planned.copy_of {
            self.copy(column, source)?
        } else if distinct == 1 {
            section(column, CONSTANT, &[], self.list(&column.gather(&[0])?))
        } else if distinct == 0 || self.purpose == Purpose::Reading {
            section(column, PLAIN, &[], self.list(column))
        } else {
            self.plain_or_symbols(index)?
        };
        Ok(())
    }

    fn copy(&self, column: &Column, source: usize) -> Result<Packed, FrameError> {
        let original = self.columns[source].column;
        let exceptions: Vec<usize> = (0..self.rows)
            .filter(|&row| !column.same_at(original, row))
            .collect();
        let mut head = Vec::new();
        put_varint(&mut head, source as u64);
        put_varint(&mut head, exceptions.len() as u64);
        if exceptions.is_empty() {
            return Ok(section(column, COPY, &head, Packed::default()));
        }
        put_block(&mut head, &integers::encode_rows(&exceptions, self.purpose));
        Ok(section(
            column,
            COPY,
            &head,
            self.list(&column.gather(&exceptions)?),
        ))
    }

    fn plain_or_symbols(&mut self, index: usize) -> Result<Packed, FrameError> {
        let planned = &self.columns[index];
        let column = planned.column;
        let dictionary = self.list(&column.gather(&planned.symbols.firsts)?);

        let mut codes = vec![0];
        let mut candidates = vec![Parent::PREVIOUS];
        for (source, other) in self.columns.iter().enumerate() {
            if other.predicts {
                codes.push(source as u64 + 1);
                candidates.push(Parent {
                    ids: Some(&other.symbols.ids),
                    distinct: other.symbols.distinct(),
                });
            }
        }
        let entropy = planned.symbols.entropy();
        let (chosen, bits) = choose_parents(&planned.symbols, entropy, &candidates);

        // Few values are never cheaper one by one; many may be, so both are made and compared.
        let worth_a_try = match column {
            Column::Text(_) => planned.symbols.distinct() * 4 > self.rows,
            _ => {
                planned.symbols.distinct() * 8 > self.rows || bits > 4.0 * symbols::real(self.rows)
            }
        };
        let plain = worth_a_try.then(|| section(column, PLAIN, &[], self.list(column)));
        // The estimate is near enough to tell when coding the symbols would be for nothing.
        let plain = match plain {
            Some(plain) if 12.0 * symbols::real(plain.weight()) < bits => return Ok(plain),
            plain => plain,
        };

        let parents: Vec<Parent<'_>> = chosen
            .iter()
            .map(|&position| candidates[position])
            .collect();
        let mut symbols = Symbols {
            ids: planned.symbols.ids.clone(),
            firsts: planned.symbols.firsts.clone(),
        };
        let stream = symbols::encode(&mut symbols, &parents)?;
        let mut head = Vec::new();
        put_varint(&mut head, symbols.distinct() as u64);
        put_varint(&mut head, chosen.len() as u64);
        for position in chosen {
            put_varint(&mut head, codes[position]);
        }
        put_block(&mut head, &dictionary.body);
        head.extend_from_slice(&stream);
        let predicted = section(
            column,
            SYMBOLS,
            &head,
            Packed {
                body: Vec::new(),
                pooled: dictionary.pooled,
            },
        );
        if let Some(plain) = plain.filter(|plain| plain.weight() < predicted.weight()) {
            return Ok(plain);
        }
        self.columns[index].predicts = true;
        Ok(predicted)
    }

    /// The values of a column as a list.
    fn list(&self, column: &Column) -> Packed {
        let body = match column {
            Column::Int(values) => integers::encode(values, self.purpose),
            Column::Decimal(values) => integers::encode(&values.mantissas, self.purpose),
            Column::Float(values) => floats::encode(values, self.purpose),
            Column::Bool(values) => values
                .chunks(8)
                .map(|bits| {
                    bits.iter()
                        .rev()
                        .fold(0, |byte, &bit| byte << 1 | u8::from(bit))
                })
                .collect(),
            Column::Text(values) => return text::encode(values, self.purpose),
        };
        Packed {
            body,
            pooled: Vec::new(),
        }
    }
}

/// A section: type and layout, what a text column has in the pool, the layout's head, the list.
fn section(column: &Column, layout: u8, head: &[u8], list: Packed) -> Packed {
    let kind = super::kind(column);
    let mut body = vec![kind | layout << LAYOUT_SHIFT];
    match column {
        Column::Decimal(decimals) => body.push(decimals.scale),
        Column::Text(_) => put_varint(&mut body, list.pooled.len() as u64),
        _ => {}
    }
    body.extend_from_slice(head);
    body.extend_from_slice(&list.body);
    Packed {
        body,
        pooled: list.pooled,
    }
}
