//! Where records come from and go to: closed sets, one file a connector.

mod bytes_source;
mod compression;
mod file_names;
mod file_positions;
mod file_sink;
mod file_source;
mod follow;
mod generate;
mod http_body;
mod http_sink;
mod http_source;
mod letters;
mod paced;
mod paths;
mod sink_file;
mod sqlite_sink;
mod sqlite_source;
mod stdin;
mod stdout;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::codec::Decoded;
use crate::codec::frames::Letter;
use crate::config::{Encoding, FileSource, SinkKind, SourceKind};
use crate::metrics::NodeMetrics;
use crate::outcome::Rejected;
use crate::pipeline::Acknowledgements;
use crate::record::Batch;
use bytes_source::BytesSource;
use file_sink::FileSink;
use generate::Generator;
use http_sink::HttpSink;
use http_source::HttpSource;
pub use letters::LetterSource;
pub use paced::Paced;
pub use sink_file::Rename;
use sqlite_sink::SqliteSink;
use sqlite_source::SqliteSource;
pub use written::Written;

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

    /// What is done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// The part that is done, from 0 to 1, where the source has an end.
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
    /// `position` is how far an earlier run came; `keeps_state`, whether a later one will know
    /// how far this came.
    ///
    /// # Errors
    /// If there is nothing to read from, or it cannot be gone on from there.
    pub fn open(
        kind: &SourceKind,
        position: Option<&Value>,
        keeps_state: bool,
        progress: Arc<Progress>,
        acknowledgements: Acknowledgements,
        written: &Written,
    ) -> Result<Self, String> {
        Ok(match kind {
            SourceKind::Stdin { codec } => {
                Self::Stdin(stdin::open(codec.clone(), progress)?.into())
            }
            SourceKind::File(file) => Self::Files(
                file_source::open(file, position, keeps_state, progress, written.clone())?.into(),
            ),
            SourceKind::Generate(generate) => {
                Self::Generate(Generator::new(generate.clone(), position, progress))
            }
            SourceKind::Http(http) => Self::Http(HttpSource::open(http, acknowledgements)?.into()),
            SourceKind::Sqlite(sqlite) => Self::Sqlite(SqliteSource::open(sqlite, position)?),
        })
    }

    /// Stands in for a source, of which only what it once refused is taken.
    pub fn replay_source(
        kind: &SourceKind,
        letters: Vec<Letter>,
        position: Option<&Value>,
    ) -> Self {
        let decoding = match kind {
            SourceKind::Stdin { codec } | SourceKind::File(FileSource { codec, .. }) => {
                Some(codec.clone())
            }
            // These refuse nothing.
            SourceKind::Generate(_) | SourceKind::Http(_) | SourceKind::Sqlite(_) => None,
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
            Self::Stdin(source) | Self::Files(source) => source.ready().await,
            Self::Generate(source) => Ok(source.ready().await),
            Self::Letters(source) => Ok(source.has_more()),
            Self::Http(source) => Ok(source.ready().await),
            Self::Sqlite(source) => source.ready().await,
            Self::Paced(source) => source.ready().await,
        }
    }

    /// Decodes what is there, until `full`.
    ///
    /// # Errors
    /// If nothing after this place can be decoded.
    pub fn decode(
        &mut self,
        out: &mut Decoded,
        full: impl Fn(&Decoded) -> bool,
    ) -> Result<(), String> {
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

    /// Where it is: what it has given is before it. None if it cannot go back.
    pub fn position(&self) -> Option<Value> {
        match self {
            Self::Stdin(source) | Self::Files(source) => source.position(),
            Self::Generate(source) => Some(source.position()),
            Self::Letters(source) => source.position(),
            // Who posts has to send again what was not acknowledged; who measures keeps nothing.
            Self::Http(_) | Self::Paced(_) => None,
            Self::Sqlite(source) => source.position(),
        }
    }

    /// Takes nothing more from the world; true if what it has taken is still to be decoded.
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

    /// Records of which a part was taken from the world, and the rest was not, because it was
    /// told to stop. What can be given back is.
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

    /// Lets go of what it reads, once its end was said: waits until all who wait for an
    /// answer have one.
    pub async fn close(self) {
        if let Self::Http(source) = self {
            source.close().await;
        }
    }

    /// All that it has given belongs to the cut of this number.
    pub fn cut(&mut self, number: u64) {
        match self {
            Self::Http(source) => source.cut(number),
            Self::Stdin(_)
            | Self::Files(_)
            | Self::Generate(_)
            | Self::Letters(_)
            | Self::Sqlite(_)
            | Self::Paced(_) => {}
        }
    }

    /// What records of this source say of their origin right now.
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

/// The value of an environment variable that holds a secret.
fn token(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the environment has no {name} (token_env)"))
}

/// Chooses who does the cryptography; once is enough.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How far a sink goes back when it opens.
pub enum Resume<'a> {
    /// Nothing is kept: a run is complete or failed.
    NotAtAll,
    /// A state directory is kept, and does not know the sink yet; `first`, if it knows nothing.
    New { first: bool },
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

/// What a sink says of itself at a cut.
#[derive(Debug, Default)]
pub struct Synced {
    /// To where it can be cut back, if it can.
    pub position: Option<Value>,
    /// Names to give to files once the cut is written, in this order.
    pub names: Vec<Rename>,
    /// The position once they were given, if there are any.
    pub settled: Option<Value>,
}

/// An opened sink.
pub enum Sink {
    Stdout(Encoding),
    File(FileSink),
    Http(Box<HttpSink>),
    Sqlite(SqliteSink),
    Null,
}

impl Sink {
    /// Checks whether there is a place to write to, and changes nothing there.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(
        name: &str,
        kind: &SinkKind,
        resume: &Resume<'_>,
        metrics: &Arc<NodeMetrics>,
        written: &Written,
    ) -> Result<Self, String> {
        Ok(match kind {
            SinkKind::Stdout { encoding } => Self::Stdout(encoding.clone()),
            SinkKind::File(file) => Self::File(FileSink::open(file, resume, written.clone())?),
            SinkKind::Http(http) => {
                Self::Http(HttpSink::open(name.into(), http, metrics.clone())?.into())
            }
            SinkKind::Sqlite(sqlite) => {
                Self::Sqlite(SqliteSink::open(name.into(), sqlite, metrics.clone())?)
            }
            SinkKind::Null => Self::Null,
        })
    }

    /// Makes what it writes to, or cuts it back to where it ended: once everything else is open.
    ///
    /// # Errors
    /// If that failed.
    pub fn begin(&mut self) -> Result<(), String> {
        match self {
            Self::File(sink) => sink.begin(),
            Self::Stdout(_) | Self::Http(_) | Self::Sqlite(_) | Self::Null => Ok(()),
        }
    }

    /// Writes a batch. Returns the records that were refused for good where they were to be
    /// written, if `refusals` says that the others are to be written all the same.
    ///
    /// # Errors
    /// If it could not be written whole.
    pub async fn write(
        &mut self,
        batch: &Batch,
        refusals: bool,
    ) -> Result<Vec<Rejected>, SinkError> {
        match self {
            Self::Stdout(encoding) => {
                stdout::write(encoding.clone(), batch.clone()).await.map(|()| Vec::new())
            }
            Self::File(sink) => {
                sink.write(batch).await.map(|()| Vec::new()).map_err(SinkError::Failed)
            }
            Self::Http(sink) => sink.write(batch, refusals).await.map_err(SinkError::Failed),
            Self::Sqlite(sink) => sink.write(batch, refusals).await.map_err(SinkError::Failed),
            Self::Null => Ok(Vec::new()),
        }
    }

    /// Makes durable what was written, and says to where it can be cut back, if it can.
    ///
    /// # Errors
    /// If that failed.
    pub async fn sync(&mut self) -> Result<Synced, String> {
        match self {
            Self::File(sink) => sink.sync().await,
            // Written is durable, as far as this program can say.
            Self::Stdout(_) | Self::Http(_) | Self::Sqlite(_) | Self::Null => Ok(Synced::default()),
        }
    }

    /// As [`Sink::sync`], after the last batch.
    ///
    /// # Errors
    /// If that failed.
    pub async fn finish(self) -> Result<Synced, String> {
        match self {
            Self::File(sink) => sink.finish().await,
            Self::Stdout(_) | Self::Http(_) | Self::Sqlite(_) | Self::Null => Ok(Synced::default()),
        }
    }
}
