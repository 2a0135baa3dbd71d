//! Sinks: a closed set, each in a file of its own.

use anyhow::Result;
use std::sync::Arc;

use serde_json::Value;

use crate::file::{FileSink, Rename, WrittenFiles};
use crate::http::HttpSink;
use crate::sqlite::SqliteSink;
use crate::stdio::stdout;
use pipehost_config::{Encoding, SinkKind};
use pipehost_files::folder::kept;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::{Batch, Rejected};

/// What a sink is, and what it writes to: files from the folder of the pipeline, if they lie below
/// it, so that it is the same wherever that is moved.
pub fn described(kind: &SinkKind) -> String {
    match kind {
        SinkKind::Stdout { .. } => "stdout".to_owned(),
        SinkKind::Null => "null".to_owned(),
        SinkKind::File(sink) => {
            format!("the file {}", kept(&sink.base, &sink.path.value).display())
        }
        SinkKind::Http(sink) => sink.shown(),
        SinkKind::Sqlite(sink) => {
            let path = kept(&sink.base, &sink.path.value);
            format!("the table {} of {}", sink.table, path.display())
        }
    }
}

/// How far a sink goes back when it opens.
pub enum Resume<'a> {
    /// Nothing is kept: a run is complete or failed.
    NotAtAll,
    /// A state directory is kept, and does not know the sink yet; `first`, if it knows nothing.
    New { first: bool },
    /// To where it ended at the last checkpoint.
    FromPosition(&'a Value),
}

/// Why a sink did not take a batch.
#[derive(Debug)]
pub enum SinkError {
    /// The reader at the other end of stdout has gone: a quiet end, as for `head`.
    ClosedPipe,
    Failed(anyhow::Error),
}

/// What a sink says of itself at a checkpoint.
#[derive(Debug, Default)]
pub struct Synced {
    /// To where it can be truncated, if it can.
    pub position: Option<Value>,
    /// Names to give to files once the checkpoint is written, in this order.
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
        written: &WrittenFiles,
    ) -> Result<Self> {
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

    /// Makes what it writes to, or truncates it to where it ended: once everything else is open.
    ///
    /// # Errors
    /// If that failed.
    pub fn begin(&mut self) -> Result<()> {
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

    /// Makes durable what was written, and says to where it can be truncated, if it can.
    ///
    /// # Errors
    /// If that failed.
    pub async fn sync(&mut self) -> Result<Synced> {
        match self {
            Self::File(sink) => sink.sync().await,
            // WrittenFiles is durable, as far as this program can say.
            Self::Stdout(_) | Self::Http(_) | Self::Sqlite(_) | Self::Null => Ok(Synced::default()),
        }
    }

    /// As [`Sink::sync`], after the last batch.
    ///
    /// # Errors
    /// If that failed.
    pub async fn finish(self) -> Result<Synced> {
        match self {
            Self::File(sink) => sink.finish().await,
            Self::Stdout(_) | Self::Http(_) | Self::Sqlite(_) | Self::Null => Ok(Synced::default()),
        }
    }
}
