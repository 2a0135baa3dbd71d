//! Sources: a closed set, each in a file of its own.

use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::acknowledgements::Acknowledgements;
use crate::file::{self, BytesSource, WrittenFiles};
use crate::generate::Generator;
use crate::http::HttpSource;
use crate::letters::LetterSource;
use crate::paced::Paced;
use crate::sqlite::SqliteSource;
use crate::stdio::stdin;
use pipehost_codec::Decoded;
use pipehost_config::{FileSource, SourceKind};
use pipehost_record::Letter;

/// How far a source has been read, in bytes or records.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    /// 0: the source has no known end.
    pub(crate) total: AtomicU64,
}

impl Progress {
    pub(crate) fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    /// Bytes or records read so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The part read so far, from 0 to 1; `None` if the source has no known end.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed) as f64 / total as f64).min(1.0))
    }
}

/// An opened source.
pub enum Source {
    Stdin(Box<BytesSource>),
    Files(Box<BytesSource>),
    Generate(Generator),
    Letters(LetterSource),
    Http(Box<HttpSource>),
    Sqlite(SqliteSource),
    Paced(Box<Paced>),
}

impl Source {
    /// `position` is what an earlier run saved; `keeps_state` says whether this run saves its own.
    ///
    /// # Errors
    /// If the input cannot be opened, or cannot be resumed at the position.
    pub fn open(
        kind: &SourceKind,
        position: Option<&Value>,
        keeps_state: bool,
        progress: Arc<Progress>,
        acknowledgements: Acknowledgements,
        written: &WrittenFiles,
    ) -> Result<Self> {
        Ok(match kind {
            SourceKind::Stdin { codec } => {
                Self::Stdin(stdin::open(codec.clone(), progress)?.into())
            }
            SourceKind::File(file) => Self::Files(
                file::open(file, position, keeps_state, progress, written.clone())?.into(),
            ),
            SourceKind::Generate(generate) => {
                Self::Generate(Generator::new(generate.clone(), position, progress))
            }
            SourceKind::Http(http) => Self::Http(HttpSource::open(http, acknowledgements)?.into()),
            SourceKind::Sqlite(sqlite) => Self::Sqlite(SqliteSource::open(sqlite, position)?),
        })
    }

    /// Replaces a source in a replay: gives out only its dead letters.
    pub fn replay_source(
        kind: &SourceKind,
        letters: Vec<Letter>,
        position: Option<&Value>,
    ) -> Self {
        let decoding = match kind {
            SourceKind::Stdin { codec } | SourceKind::File(FileSource { codec, .. }) => {
                Some(codec.clone())
            }
            // These sources make no dead letters.
            SourceKind::Generate(_) | SourceKind::Http(_) | SourceKind::Sqlite(_) => None,
        };
        Self::Letters(LetterSource::new(letters, decoding, position))
    }

    /// Waits until there is something to decode; false at the end of the input. Cancel-safe: may be
    /// dropped while it waits, and called again.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub async fn ready(&mut self) -> Result<bool> {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.ready().await,
            Self::Generate(source) => Ok(source.ready().await),
            Self::Letters(source) => Ok(source.has_more()),
            Self::Http(source) => Ok(source.ready().await),
            Self::Sqlite(source) => source.ready().await,
            Self::Paced(source) => source.ready().await,
        }
    }

    /// Decodes the available input, until `full`.
    ///
    /// # Errors
    /// If no later input can be decoded either, as after a damaged frame.
    pub fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.decode(out, full),
            Self::Generate(source) => {
                source.fill(out, full);
                Ok(())
            }
            Self::Letters(source) => source.fill(out, full),
            Self::Http(source) => source.fill(out, full),
            Self::Sqlite(source) => {
                source.fill(out, full);
                Ok(())
            }
            Self::Paced(source) => {
                source.fill(out, full);
                Ok(())
            }
        }
    }

    /// The position behind the last record given out; `None` if the source cannot resume there.
    pub fn position(&self) -> Option<Value> {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.position(),
            Self::Generate(source) => Some(source.position()),
            Self::Letters(source) => source.position(),
            // An HTTP client resends what was not acknowledged; a measuring run keeps no state.
            Self::Http(_) | Self::Paced(_) => None,
            Self::Sqlite(source) => source.position(),
        }
    }

    /// Stops reading input; true if input that was read must still be decoded.
    pub fn stop(&mut self) -> bool {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.stop(),
            Self::Generate(_)
            | Self::Letters(_)
            | Self::Http(_)
            | Self::Sqlite(_)
            | Self::Paced(_) => false,
        }
    }

    /// How many records are incomplete, because reading stopped within them. If stdin is a file,
    /// seeks back to before the incomplete record instead.
    pub fn torn(&self) -> u64 {
        match self {
            Self::Stdin(source) if stdin::give_back(source.torn_bytes()) => 0,
            Self::Stdin(source) | Self::Files(source) => source.torn(),
            Self::Generate(_)
            | Self::Letters(_)
            | Self::Http(_)
            | Self::Sqlite(_)
            | Self::Paced(_) => 0,
        }
    }

    /// Closes the source after its end. Waits until every HTTP client has its answer.
    pub async fn close(self) {
        if let Self::Http(source) = self {
            source.close().await;
        }
    }

    /// Assigns the records given out since the last call to the checkpoint of this number.
    pub fn checkpoint(&mut self, number: u64) {
        match self {
            Self::Http(source) => source.checkpoint(number),
            Self::Stdin(_)
            | Self::Files(_)
            | Self::Generate(_)
            | Self::Letters(_)
            | Self::Sqlite(_)
            | Self::Paced(_) => {}
        }
    }

    /// The origin that the source's records carry right now.
    pub fn place(&self) -> Arc<str> {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.place(),
            Self::Generate(_) => "generate".into(),
            Self::Letters(source) => source.place(),
            Self::Http(_) => "http".into(),
            Self::Sqlite(source) => source.place(),
            Self::Paced(source) => source.place(),
        }
    }
}
