//! Where records come from and go to: closed sets, one file a connector.

mod bytes_source;
mod compression;
mod file_sink;
mod file_source;
mod follow;
mod generate;
mod letters;
mod stdin;
mod stdout;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::codec::frames::Letter;
use crate::codec::{self, Decoded};
use crate::config::{Encoding, SinkKind, SourceKind};
use crate::record::{Batch, BatchBuilder};
use bytes_source::BytesSource;
use file_sink::FileSink;
use generate::Generator;
pub use letters::LetterSource;

/// How far a source is, in bytes or records.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    /// 0: the source has no known end.
    total: AtomicU64,
}

impl Progress {
    fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    /// The part that is done, from 0 to 1, where the source has an end.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed) as f64 / total as f64).min(1.0))
    }
}

/// An opened source.
pub enum Source {
    Bytes(Box<BytesSource>),
    Generate(Generator),
    Letters(LetterSource),
}

impl Source {
    /// `position` is how far an earlier run came.
    ///
    /// # Errors
    /// If there is nothing to read from, or it cannot be gone on from there.
    pub fn open(
        kind: &SourceKind,
        position: Option<&Value>,
        progress: Arc<Progress>,
    ) -> Result<Self, String> {
        Ok(match kind {
            SourceKind::Stdin { codec } => Self::Bytes(stdin::open(codec.clone(), progress).into()),
            SourceKind::File { paths, follow, codec } => {
                let paths: Vec<PathBuf> = paths.iter().map(|path| path.value.clone()).collect();
                let codec = codec.clone();
                Self::Bytes(file_source::open(&paths, *follow, codec, position, progress)?.into())
            }
            SourceKind::Generate(generate) => {
                Self::Generate(Generator::new(generate.clone(), position, progress))
            }
        })
    }

    /// Stands in for a source, of which only what it once refused is taken.
    pub fn replay_source(
        kind: &SourceKind,
        letters: Vec<Letter>,
        position: Option<&Value>,
    ) -> Self {
        let decoding = match kind {
            SourceKind::Stdin { codec } | SourceKind::File { codec, .. } => Some(codec.clone()),
            SourceKind::Generate(_) => None,
        };
        Self::Letters(LetterSource::new(letters, decoding, position))
    }

    /// Waits until there is something to decode; false at the end. May be dropped while
    /// it waits, and called again.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub async fn ready(&mut self) -> Result<bool, String> {
        match self {
            Self::Bytes(source) => source.ready().await,
            Self::Generate(source) => Ok(source.ready().await),
            Self::Letters(source) => Ok(source.has_more()),
        }
    }

    /// Decodes what is there, until `full`.
    ///
    /// # Errors
    /// If nothing after this place can be decoded.
    pub fn decode(
        &mut self,
        out: &mut Decoded,
        full: impl Fn(&BatchBuilder) -> bool,
    ) -> Result<(), String> {
        match self {
            Self::Bytes(source) => source.decode(out, full),
            Self::Generate(source) => {
                source.fill(out, full);
                Ok(())
            }
            Self::Letters(source) => source.fill(out, full),
        }
    }

    /// Where it is: what it has given is before it. None if it cannot go back.
    pub fn position(&self) -> Option<Value> {
        match self {
            Self::Bytes(source) => source.position(),
            Self::Generate(source) => Some(source.position()),
            Self::Letters(source) => source.position(),
        }
    }

    /// All that it has given belongs to the cut of this number.
    pub fn cut(&mut self, _number: u64) {
        match self {
            Self::Bytes(_) | Self::Generate(_) | Self::Letters(_) => {}
        }
    }

    /// What records of this source say of their origin right now.
    pub fn place(&self) -> Arc<str> {
        match self {
            Self::Bytes(source) => source.place(),
            Self::Generate(_) => "generate".into(),
            Self::Letters(source) => source.place(),
        }
    }
}

/// How far a sink goes back when it opens.
pub enum Resume<'a> {
    /// Nothing is kept: a run is complete or failed.
    NotAtAll,
    /// A state directory is kept, and does not know the sink yet.
    New,
    /// To where it ended at the last cut.
    FromPosition(&'a Value),
}

/// Why a sink did not take a batch.
#[derive(Debug)]
pub enum SinkError {
    /// The reader at the other end of stdout has gone: a quiet end, as for `head`.
    ClosedPipe,
    Failed(String),
}

/// An opened sink.
pub enum Sink {
    Stdout(Encoding),
    File(FileSink),
    Null,
}

impl Sink {
    /// # Errors
    /// If there is no place to write to.
    pub fn open(kind: &SinkKind, resume: &Resume<'_>) -> Result<Self, String> {
        Ok(match kind {
            SinkKind::Stdout { encoding } => Self::Stdout(encoding.clone()),
            SinkKind::File { path, append, encoding } => {
                Self::File(FileSink::open(&path.value, *append, encoding.clone(), resume)?)
            }
            SinkKind::Null => Self::Null,
        })
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// If it could not be written whole.
    pub async fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match self {
            Self::Stdout(encoding) => {
                let mut bytes = Vec::new();
                codec::encode(encoding, batch, &mut bytes);
                stdout::write(bytes).await
            }
            Self::File(sink) => sink.write(batch).await.map_err(SinkError::Failed),
            Self::Null => Ok(()),
        }
    }

    /// Makes durable what was written, and says to where it can be cut back, if it can.
    ///
    /// # Errors
    /// If that failed.
    pub async fn sync(&mut self) -> Result<Option<Value>, String> {
        match self {
            Self::File(sink) => sink.sync().await,
            Self::Stdout(_) | Self::Null => Ok(None),
        }
    }

    /// As [`Sink::sync`], after the last batch.
    ///
    /// # Errors
    /// If that failed.
    pub async fn finish(self) -> Result<Option<Value>, String> {
        match self {
            Self::File(sink) => sink.finish().await,
            Self::Stdout(_) | Self::Null => Ok(None),
        }
    }
}
