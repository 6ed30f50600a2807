//! Reading a frame: any bytes give a frame or an error, within [`Limits`].

use crate::frame::column::{Column, DecimalColumn, TextColumn};
use crate::frame::limits::Budget;
use crate::frame::symbols::{MAX_PARENTS, Parent};
use crate::frame::wire::{CHECKSUM_BYTES, Reader, checksum};
use crate::frame::{
    BOOL, CONSTANT, COPY, DECIMAL, FLOAT, Frame, FrameError, INT, LAYOUT_SHIFT, Limits, MAGIC,
    PLAIN, SYMBOLS, TEXT, VERSION, floats, integers, strings, symbols, text,
};

impl Frame {
    /// Decodes all columns.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are no frame, are damaged, or go beyond `limits`.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, FrameError> {
        let encoded = Encoded::open(bytes, limits)?;
        let wanted: Vec<usize> = (0..encoded.sections.len()).collect();
        encoded.read(&wanted)
    }

    /// Decodes the named columns only, in the order of `names`, without paying for the values of
    /// the others.
    ///
    /// # Errors
    /// As [`Frame::decode`]; [`FrameError::UnknownColumn`] when a name is not in the frame and
    /// [`FrameError::DuplicateColumn`] when it is asked for twice.
    pub fn decode_columns(
        bytes: &[u8],
        names: &[&str],
        limits: &Limits,
    ) -> Result<Self, FrameError> {
        let encoded = Encoded::open(bytes, limits)?;
        let wanted = names
            .iter()
            .enumerate()
            .map(|(position, &name)| {
                if names[..position].contains(&name) {
                    return Err(FrameError::DuplicateColumn {
                        name: name.to_owned(),
                    });
                }
                encoded
                    .names
                    .iter()
                    .position(|candidate| candidate == name)
                    .ok_or_else(|| FrameError::UnknownColumn {
                        name: name.to_owned(),
                    })
            })
            .collect::<Result<Vec<_>, _>>()?;
        encoded.read(&wanted)
    }
}

/// How the values of a section are found.
#[derive(Debug, Clone)]
enum Layout {
    Plain,
    Constant,
    Symbols {
        distinct: usize,
        parents: Vec<Option<usize>>,
    },
    Copy {
        source: usize,
        exceptions: usize,
    },
}

/// One column as it lies in the frame.
#[derive(Debug, Clone)]
struct Section<'a> {
    kind: u8,
    scale: u8,
    layout: Layout,
    body: Reader<'a>,
    /// Where the section's texts lie in the pool.
    pooled: std::ops::Range<usize>,
}

/// A frame whose parts are known and whose values are not read yet.
struct Encoded<'a> {
    rows: usize,
    names: Vec<String>,
    pool: Vec<u8>,
    sections: Vec<Section<'a>>,
    budget: Budget,
}

impl<'a> Encoded<'a> {
    fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        if bytes.len() > limits.encoded_bytes {
            return Err(FrameError::TooLarge {
                limit: limits.encoded_bytes as u64,
            });
        }
        let (content, stated) = bytes
            .len()
            .checked_sub(CHECKSUM_BYTES)
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(FrameError::NotAFrame)?;
        let [MAGIC, version, ..] = *content else {
            return Err(FrameError::NotAFrame);
        };
        if version != VERSION {
            return Err(FrameError::UnsupportedVersion { version });
        }
        if checksum(content) != stated {
            return Err(FrameError::Checksum);
        }
        let mut reader = Reader::new(&content[2..]);
        let rows = reader.count()?;
        if rows > limits.rows.min(Limits::FORMAT.rows) {
            return Err(FrameError::TooManyRows {
                rows: rows as u64,
                limit: limits.rows as u64,
            });
        }
        let columns = reader.count()?;
        if columns > limits.columns.min(Limits::FORMAT.columns) {
            return Err(FrameError::TooManyColumns {
                columns: columns as u64,
                limit: limits.columns as u64,
            });
        }
        let mut budget = Budget::new(limits.decoded_bytes);
        let pool = strings::packed(&mut reader, &mut budget)?;
        let mut pool_reader = Reader::new(&pool);
        let mut names: Vec<String> = Vec::new();
        let mut used = 0;
        for _ in 0..columns {
            let name = text::take_text(&mut pool_reader)?;
            used += text::text_len(name);
            if names.iter().any(|known| known == name) {
                return Err(FrameError::DuplicateColumn {
                    name: name.to_owned(),
                });
            }
            names.push(name.to_owned());
        }
        let mut sections = Vec::new();
        for index in 0..columns {
            let section = Section::open(reader.block()?, index, columns, used)?;
            used = section.pooled.end;
            sections.push(section);
        }
        reader.finish()?;
        if used != pool.len() {
            return Err(FrameError::corrupt(
                "the pool has another length than its texts",
            ));
        }
        Ok(Self {
            rows,
            names,
            pool,
            sections,
            budget,
        })
    }

    fn read(mut self, wanted: &[usize]) -> Result<Frame, FrameError> {
        let mut ids = vec![None; self.sections.len()];
        let mut values: Vec<Option<Column>> = vec![None; self.sections.len()];
        for &index in wanted {
            self.read_column(index, &mut ids, &mut values)?;
        }
        let mut frame = Frame::new(self.rows);
        for &index in wanted {
            let name = std::mem::take(&mut self.names[index]);
            let column = values[index]
                .take()
                .ok_or(FrameError::corrupt("a column is missing"))?;
            frame.push(name, column)?;
        }
        Ok(frame)
    }

    fn read_column(
        &mut self,
        index: usize,
        ids: &mut [Option<Vec<u32>>],
        values: &mut [Option<Column>],
    ) -> Result<(), FrameError> {
        if values[index].is_some() {
            return Ok(());
        }
        let column = match self.sections[index].layout.clone() {
            Layout::Plain => self.list(index, self.sections[index].body, self.rows)?,
            Layout::Constant => {
                let one = self.list(index, self.sections[index].body, 1)?;
                self.spread(&one, &vec![0; self.rows])?
            }
            Layout::Symbols { distinct, .. } => {
                self.read_symbols(index, ids)?;
                let mut body = self.sections[index].body;
                let dictionary = self.list(index, body.block()?, distinct)?;
                self.spread(&dictionary, ids[index].as_deref().unwrap_or_default())?
            }
            Layout::Copy { source, exceptions } => {
                // A source stands before its copy and is no copy itself, so this ends at once.
                self.read_column(source, ids, values)?;
                let original = values[source]
                    .as_ref()
                    .ok_or(FrameError::corrupt("a copy has no source"))?;
                let original = original.clone();
                self.patch(index, original, exceptions)?
            }
        };
        values[index] = Some(column);
        Ok(())
    }

    /// Reads the symbols of a column after those of all columns it is predicted from.
    fn read_symbols(
        &mut self,
        index: usize,
        ids: &mut [Option<Vec<u32>>],
    ) -> Result<(), FrameError> {
        let mut waiting = vec![index];
        while let Some(&current) = waiting.last() {
            let Layout::Symbols { distinct, parents } = &self.sections[current].layout else {
                return Err(FrameError::corrupt(
                    "a column is predicted from one without symbols",
                ));
            };
            let missing = parents
                .iter()
                .flatten()
                .find(|&&parent| ids[parent].is_none());
            if ids[current].is_some() {
                waiting.pop();
            } else if let Some(&parent) = missing {
                if waiting.contains(&parent) {
                    return Err(FrameError::corrupt("columns are predicted from each other"));
                }
                waiting.push(parent);
            } else {
                let parents: Vec<Parent<'_>> = parents
                    .iter()
                    .map(|parent| {
                        match parent.and_then(|parent| Some((parent, ids[parent].as_deref()?))) {
                            Some((parent, known)) => Parent {
                                ids: Some(known),
                                distinct: self.sections[parent].distinct(),
                            },
                            None => Parent::PREVIOUS,
                        }
                    })
                    .collect();
                let mut body = self.sections[current].body;
                body.block()?;
                let stream = body.remaining();
                let read =
                    symbols::decode(stream, self.rows, *distinct, &parents, &mut self.budget)?;
                ids[current] = Some(read);
                waiting.pop();
            }
        }
        Ok(())
    }

    /// Reads a list of `count` values of a section's type.
    fn list(
        &mut self,
        index: usize,
        mut body: Reader<'_>,
        count: usize,
    ) -> Result<Column, FrameError> {
        let section = &self.sections[index];
        let budget = &mut self.budget;
        Ok(match section.kind {
            INT => Column::Int(integers::decode(body, count, budget)?),
            FLOAT => Column::Float(floats::decode(body, count, budget)?),
            DECIMAL => Column::Decimal(DecimalColumn {
                scale: section.scale,
                mantissas: integers::decode(body, count, budget)?,
            }),
            BOOL => {
                let bytes = body.bytes(count.div_ceil(8))?;
                body.finish()?;
                budget.take(count, 1)?;
                Column::Bool(
                    (0..count)
                        .map(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1)
                        .collect(),
                )
            }
            _ => {
                let pool = self
                    .pool
                    .get(section.pooled.clone())
                    .ok_or(FrameError::corrupt("a text lies outside the pool"))?;
                Column::Text(text::decode(body, Reader::new(pool), count, budget)?)
            }
        })
    }

    /// The dictionary's value for each row.
    fn spread(&mut self, dictionary: &Column, ids: &[u32]) -> Result<Column, FrameError> {
        if dictionary.is_empty() {
            return Err(FrameError::corrupt("a column has no values to choose from"));
        }
        let rows = ids.len();
        let at = |id: &u32| *id as usize;
        Ok(match dictionary {
            Column::Int(values) => {
                self.budget.take(rows, 8)?;
                Column::Int(ids.iter().map(|id| values[at(id)]).collect())
            }
            Column::Float(values) => {
                self.budget.take(rows, 8)?;
                Column::Float(ids.iter().map(|id| values[at(id)]).collect())
            }
            Column::Decimal(values) => {
                self.budget.take(rows, 8)?;
                Column::Decimal(DecimalColumn {
                    scale: values.scale,
                    mantissas: ids.iter().map(|id| values.mantissas[at(id)]).collect(),
                })
            }
            Column::Bool(values) => {
                self.budget.take(rows, 1)?;
                Column::Bool(ids.iter().map(|id| values[at(id)]).collect())
            }
            Column::Text(values) => {
                self.budget.take(rows, 4)?;
                let mut bytes = 0usize;
                for id in ids {
                    bytes = bytes.saturating_add(values.at(at(id)).len());
                }
                self.budget.take(bytes, 1)?;
                let mut texts = TextColumn::with_capacity(rows, bytes);
                for id in ids {
                    texts.push(values.at(at(id)))?;
                }
                Column::Text(texts)
            }
        })
    }

    /// The source of a copy, with the exceptions put in.
    fn patch(
        &mut self,
        index: usize,
        original: Column,
        exceptions: usize,
    ) -> Result<Column, FrameError> {
        let width = match &original {
            Column::Text(texts) => texts.byte_len() + 4 * self.rows,
            _ => 8 * self.rows,
        };
        self.budget.take(width, 1)?;
        let mut body = self.sections[index].body;
        if exceptions == 0 {
            body.finish()?;
            return Ok(original);
        }
        let rows = integers::decode_rows(body.block()?, exceptions, self.rows, &mut self.budget)?;
        let changed = self.list(index, body, exceptions)?;
        let pairs = rows.iter().copied().enumerate();
        match (original, changed) {
            (Column::Int(mut values), Column::Int(changed)) => {
                pairs.for_each(|(at, row)| values[row] = changed[at]);
                Ok(Column::Int(values))
            }
            (Column::Float(mut values), Column::Float(changed)) => {
                pairs.for_each(|(at, row)| values[row] = changed[at]);
                Ok(Column::Float(values))
            }
            (Column::Decimal(mut values), Column::Decimal(changed))
                if values.scale == changed.scale =>
            {
                pairs.for_each(|(at, row)| values.mantissas[row] = changed.mantissas[at]);
                Ok(Column::Decimal(values))
            }
            (Column::Bool(mut values), Column::Bool(changed)) => {
                pairs.for_each(|(at, row)| values[row] = changed[at]);
                Ok(Column::Bool(values))
            }
            (Column::Text(values), Column::Text(changed)) => {
                let mut texts = TextColumn::with_capacity(values.len(), values.byte_len());
                let mut pairs = pairs.peekable();
                for (row, value) in values.iter().enumerate() {
                    match pairs.next_if(|&(_, changed_row)| changed_row == row) {
                        Some((at, _)) => texts.push(changed.at(at))?,
                        None => texts.push(value)?,
                    }
                }
                Ok(Column::Text(texts))
            }
            _ => Err(FrameError::corrupt(
                "a copy has another type than its source",
            )),
        }
    }
}

impl<'a> Section<'a> {
    fn open(
        mut body: Reader<'a>,
        index: usize,
        columns: usize,
        pool_start: usize,
    ) -> Result<Self, FrameError> {
        let tag = body.byte()?;
        let kind = tag & ((1 << LAYOUT_SHIFT) - 1);
        if kind > TEXT {
            return Err(FrameError::corrupt("a column has an unknown type"));
        }
        let scale = if kind == DECIMAL { body.byte()? } else { 0 };
        let pooled = if kind == TEXT { body.count()? } else { 0 };
        let pool_end = pool_start
            .checked_add(pooled)
            .ok_or(FrameError::corrupt("a text lies outside the pool"))?;
        let layout = match tag >> LAYOUT_SHIFT {
            PLAIN => Layout::Plain,
            CONSTANT => Layout::Constant,
            SYMBOLS => {
                let distinct = body.count()?;
                let count = body.count()?;
                if count > MAX_PARENTS {
                    return Err(FrameError::corrupt("a column is predicted from too many"));
                }
                let mut parents = Vec::with_capacity(count);
                for _ in 0..count {
                    let parent = body.count()?.checked_sub(1);
                    if parent.is_some_and(|parent| parent >= columns) {
                        return Err(FrameError::corrupt("a column is predicted from none"));
                    }
                    parents.push(parent);
                }
                Layout::Symbols { distinct, parents }
            }
            COPY => {
                let source = body.count()?;
                if source >= index {
                    return Err(FrameError::corrupt("a copy stands before its source"));
                }
                Layout::Copy {
                    source,
                    exceptions: body.count()?,
                }
            }
            _ => return Err(FrameError::corrupt("a column has an unknown layout")),
        };
        Ok(Self {
            kind,
            scale,
            layout,
            body,
            pooled: pool_start..pool_end,
        })
    }

    fn distinct(&self) -> usize {
        match self.layout {
            Layout::Symbols { distinct, .. } => distinct,
            _ => 0,
        }
    }
}
