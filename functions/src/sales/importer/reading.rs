//! Reading a file in slices, and parsing them on a thread of their own meanwhile.

use bytes::Bytes;
use shared::sales::{
    file::{FileError, Limits, Parser, Sink, Start, Summary},
    files::{FilesError, Plan},
    import::ObjectVersion,
    rules::Extent,
};

use super::{ImportError, Run};

/// Bytes read from a file at a time.
const SLICE: u64 = 2 * 1024 * 1024;

/// What a row may ask of the parser: a table item holds 400 KB, so a row has to be well below.
const LIMITS: Limits = Limits {
    header_bytes: 32 << 10,
    record_bytes: 256 << 10,
    columns: 256,
    cell_bytes: 64 << 10,
};

/// Where a run reads its file.
#[derive(Debug, Clone)]
pub enum Source {
    /// In the import bucket.
    Object(ObjectVersion),
    /// In memory.
    Bytes(Bytes),
}

impl Source {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Object(object) => object.size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// A parser that works on a blocking thread while the next slice is fetched.
pub(super) struct Parsing<S> {
    parser: Parser,
    pub(super) sink: S,
    pub(super) failed: Option<FileError>,
}

impl<S: Sink + Send + 'static> Parsing<S> {
    pub(super) fn new(start: Start, sink: S) -> Self {
        Self {
            parser: Parser::new(start, LIMITS),
            sink,
            failed: None,
        }
    }

    pub(super) async fn feed(mut self, slice: Bytes) -> Result<Self, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || {
            self.failed = self.parser.feed(&slice, &mut self.sink).err();
            self
        })
        .await
    }

    pub(super) async fn finish(
        mut self,
    ) -> Result<Result<(Summary, S), FileError>, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || {
            let summary = self.parser.finish(&mut self.sink)?;
            Ok((summary, self.sink))
        })
        .await
    }
}

impl Run<'_> {
    pub(super) async fn slice(&self, from: u64, to: u64) -> Result<Bytes, FilesError> {
        let to = to.min(from + SLICE);
        if from >= to {
            return Ok(Bytes::new());
        }
        match self.source {
            Source::Object(object) => self.importer.files.read(object, from, to).await,
            Source::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(index(from)..index(to)))
            }
        }
    }

    /// Reads a stretch of the file that the first pass has read, into `sink`.
    pub(super) async fn read<S: Sink + Send + 'static>(
        &self,
        plan: &Plan,
        extent: Extent,
        sink: S,
    ) -> Result<S, ImportError> {
        let mut reader = self.stretch(plan, extent, sink).await?;
        while reader.advance().await? {}
        reader.finish().await
    }

    /// Begins to read a stretch of the file.
    pub(super) async fn stretch<S: Sink + Send + 'static>(
        &self,
        plan: &Plan,
        extent: Extent,
        sink: S,
    ) -> Result<Stretch<'_, S>, ImportError> {
        let start = Start::Resume {
            dialect: plan.dialect.clone(),
            offset: extent.from,
            row: 2,
        };
        Ok(Stretch {
            run: self,
            parsing: Some(Parsing::new(start, sink)),
            slice: self.slice(extent.from, extent.to).await?,
            at: extent.from,
            to: extent.to,
        })
    }
}

/// A stretch of a file on its way through the parser.
pub(super) struct Stretch<'a, S> {
    run: &'a Run<'a>,
    parsing: Option<Parsing<S>>,
    slice: Bytes,
    at: u64,
    to: u64,
}

impl<S: Sink + Send + 'static> Stretch<'_, S> {
    /// Parses one slice while the next is fetched; false when there is no more.
    pub(super) async fn advance(&mut self) -> Result<bool, ImportError> {
        let Some(parsing) = self.parsing.take() else {
            return Ok(false);
        };
        if self.slice.is_empty() {
            self.parsing = Some(parsing);
            return Ok(false);
        }
        self.run.check_time()?;
        let slice = std::mem::take(&mut self.slice);
        self.at += slice.len() as u64;
        let (fed, next) = tokio::join!(parsing.feed(slice), self.run.slice(self.at, self.to));
        let parsing = fed?;
        self.slice = next?;
        if parsing.failed.is_some() {
            return Err(ImportError::Inconsistent);
        }
        self.parsing = Some(parsing);
        Ok(true)
    }

    /// What has been read so far.
    pub(super) fn sink(&mut self) -> Option<&mut S> {
        self.parsing.as_mut().map(|parsing| &mut parsing.sink)
    }

    /// Ends the stretch.
    pub(super) async fn finish(self) -> Result<S, ImportError> {
        let parsing = self.parsing.ok_or(ImportError::Inconsistent)?;
        let (_, sink) = parsing
            .finish()
            .await?
            .map_err(|_| ImportError::Inconsistent)?;
        Ok(sink)
    }
}
