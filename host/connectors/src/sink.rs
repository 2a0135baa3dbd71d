//! Sinks: a closed set, each in a file of its own.

use anyhow::Result;
use std::sync::Arc;

use crate::connector::{Resume, SinkConnector, SinkError, Synced};
use crate::file::{FileSink, WrittenFiles};
use crate::http::HttpSink;
use crate::sqlite::SqliteSink;
use crate::stdio::Stdout;
use pipehost_config::SinkKind;
use pipehost_files::folder::kept;
use pipehost_observe::metrics::NodeMetrics;
use pipehost_record::{Batch, Rejected};

/// A sink's kind and target. A file below the folder of the pipeline is named relative to it, so
/// that the text stays the same when the folder is moved.
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

/// Drops every record.
struct Null;

impl SinkConnector for Null {
    async fn write(&mut self, _: &Batch, _: bool) -> Result<Vec<Rejected>, SinkError> {
        Ok(Vec::new())
    }
}

/// Every connector that is a sink: what registers one, beside an arm in [`Sink::open`].
enum Connector {
    Stdout(Stdout),
    File(FileSink),
    Http(Box<HttpSink>),
    Sqlite(SqliteSink),
    Null(Null),
}

/// Does the same with whichever connector it is.
macro_rules! each {
    ($connector:expr, $sink:ident => $does:expr) => {
        match $connector {
            Connector::Stdout($sink) => $does,
            Connector::File($sink) => $does,
            Connector::Http($sink) => $does,
            Connector::Sqlite($sink) => $does,
            Connector::Null($sink) => $does,
        }
    };
}

/// An opened sink.
pub struct Sink(Connector);

impl Sink {
    /// Checks that the target can be written. Writes no record, but may create a SQLite table.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(
        name: &str,
        kind: &SinkKind,
        resume: &Resume<'_>,
        metrics: &Arc<NodeMetrics>,
        written: &WrittenFiles,
    ) -> Result<Self> {
        Ok(Self(match kind {
            SinkKind::Stdout { encoding } => Connector::Stdout(Stdout::new(encoding.clone())),
            SinkKind::File(file) => Connector::File(FileSink::open(file, resume, written.clone())?),
            SinkKind::Http(http) => {
                Connector::Http(HttpSink::open(name.into(), http, metrics.clone())?.into())
            }
            SinkKind::Sqlite(sqlite) => {
                Connector::Sqlite(SqliteSink::open(name.into(), sqlite, metrics.clone())?)
            }
            SinkKind::Null => Connector::Null(Null),
        }))
    }

    /// Creates the file, or truncates it to the saved position: once everything else is open.
    ///
    /// # Errors
    /// If the file cannot be created, renamed or truncated.
    pub fn begin(&mut self) -> Result<()> {
        each!(&mut self.0, sink => sink.begin())
    }

    /// Writes a batch. With `refusals`, returns the records that the target refuses for good, and
    /// writes the others all the same.
    ///
    /// # Errors
    /// If a record was neither written nor refused; without `refusals`, also if one was refused.
    pub async fn write(
        &mut self,
        batch: &Batch,
        refusals: bool,
    ) -> Result<Vec<Rejected>, SinkError> {
        each!(&mut self.0, sink => sink.write(batch, refusals).await)
    }

    /// Makes the written records durable, and reports the position to truncate to, if there is one.
    ///
    /// # Errors
    /// If the file cannot be written or synced.
    pub async fn sync(&mut self) -> Result<Synced> {
        each!(&mut self.0, sink => sink.sync().await)
    }

    /// As [`Sink::sync`], after the last batch; completes the files.
    ///
    /// # Errors
    /// If a file cannot be written, synced or renamed.
    pub async fn finish(self) -> Result<Synced> {
        each!(self.0, sink => sink.finish().await)
    }
}
