//! Sources: a closed set, each in a file of its own.

use anyhow::Result;
use std::sync::Arc;

use serde_json::Value;

use crate::connector::SourceConnector;
use crate::file::{self, BytesSource, WrittenFiles};
use crate::generate::Generator;
use crate::http::{Acknowledgements, HttpSource};
use crate::letters::LetterSource;
use crate::paced::Pacer;
use crate::sqlite::SqliteSource;
use crate::stdio::Stdin;
use pipehost_codec::Decoded;
use pipehost_config::{FileSource, SourceKind};
use pipehost_observe::pace::Pace;
use pipehost_observe::progress::Progress;
use pipehost_record::Letter;

/// How far a source was read, as a checkpoint has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Records, and bytes of their content, of so many files.
    Files {
        files: usize,
        records: u64,
        bytes: u64,
    },
    /// Of a table: the last number read in the column that orders it; `None` before the first row.
    Table {
        last: Option<i64>,
    },
    Records(u64),
}

/// Reads the position of a source of this kind, as [`Source::position`] gave it.
///
/// # Errors
/// If it is no position of such a source.
pub fn extent(kind: &str, position: &Value) -> Result<Extent> {
    let position = position.clone();
    Ok(match kind {
        "file" => {
            let (files, records, bytes) = file::read_extent(position)?;
            Extent::Files { files, records, bytes }
        }
        "sqlite" => Extent::Table { last: serde_json::from_value(position)? },
        _ => Extent::Records(serde_json::from_value(position)?),
    })
}

/// Every connector that is a source: what registers one, beside an arm in [`Source::open`].
enum Connector {
    Stdin(Box<Stdin>),
    Files(Box<BytesSource>),
    Generate(Generator),
    Letters(Box<LetterSource>),
    Http(Box<HttpSource>),
    Sqlite(SqliteSource),
}

/// Does the same with whichever connector it is.
macro_rules! each {
    ($connector:expr, $source:ident => $does:expr) => {
        match $connector {
            Connector::Stdin($source) => $does,
            Connector::Files($source) => $does,
            Connector::Generate($source) => $does,
            Connector::Letters($source) => $does,
            Connector::Http($source) => $does,
            Connector::Sqlite($source) => $does,
        }
    };
}

/// An opened source.
pub struct Source {
    connector: Connector,
    /// Gives the records out at a fixed rate, for measuring.
    pacer: Option<Pacer>,
}

impl From<Connector> for Source {
    fn from(connector: Connector) -> Self {
        Self { connector, pacer: None }
    }
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
        let connector = match kind {
            SourceKind::Stdin { codec } => {
                Connector::Stdin(Stdin::open(codec.clone(), progress)?.into())
            }
            SourceKind::File(file) => Connector::Files(
                file::open(file, position, keeps_state, progress, written.clone())?.into(),
            ),
            SourceKind::Generate(generate) => {
                Connector::Generate(Generator::new(generate.clone(), position, progress))
            }
            SourceKind::Http(http) => {
                Connector::Http(HttpSource::open(http, acknowledgements)?.into())
            }
            SourceKind::Sqlite(sqlite) => {
                Connector::Sqlite(SqliteSource::open(sqlite, position, progress)?)
            }
        };
        Ok(connector.into())
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
        Connector::Letters(LetterSource::new(letters, decoding, position).into()).into()
    }

    /// Gives out the records of dead letters, for the stage or sink that rejected them.
    pub fn of_letters(letters: Vec<Letter>) -> Self {
        Connector::Letters(LetterSource::new(letters, None, None).into()).into()
    }

    /// Gives its records out at a fixed rate. What it gives out then has no position.
    pub fn paced(self, pace: Arc<Pace>) -> Self {
        Self { pacer: Some(Pacer::new(pace)), ..self }
    }

    /// Waits until there is something to decode; false at the end of the input. Cancel-safe: may
    /// be dropped while it waits, and called again.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub async fn ready(&mut self) -> Result<bool> {
        let Some(pacer) = &mut self.pacer else {
            return each!(&mut self.connector, source => source.ready().await);
        };
        while !pacer.has_records() {
            if !each!(&mut self.connector, source => source.ready().await)? {
                return Ok(false);
            }
            each!(&mut self.connector, source => pacer.read_ahead(|out, full| {
                source.decode(out, full)
            }))?;
        }
        pacer.due().await
    }

    /// Decodes the available input, until `full`.
    ///
    /// # Errors
    /// If no later input can be decoded either, as after a damaged frame.
    pub fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        match &mut self.pacer {
            None => each!(&mut self.connector, source => source.decode(out, full)),
            Some(pacer) => {
                pacer.fill(out, full);
                Ok(())
            }
        }
    }

    /// The position behind the last record given out; `None` if the source cannot resume there.
    pub fn position(&self) -> Option<Value> {
        match self.pacer {
            None => each!(&self.connector, source => source.position()),
            Some(_) => None,
        }
    }

    /// Stops reading input; true if input that was read must still be decoded.
    pub fn stop(&mut self) -> bool {
        self.pacer.is_none() && each!(&mut self.connector, source => source.stop())
    }

    /// How many records are incomplete, because reading stopped within them. If stdin is a file,
    /// seeks back to before the incomplete record instead.
    pub fn torn(&self) -> u64 {
        each!(&self.connector, source => source.torn())
    }

    /// Closes the source after its end, and waits until every client has its answer.
    pub async fn close(self) {
        each!(self.connector, source => source.close().await);
    }

    /// Assigns the records given out since the last call to the checkpoint of this number.
    pub fn checkpoint(&mut self, number: u64) {
        each!(&mut self.connector, source => source.checkpoint(number));
    }

    /// The origin that the source's records carry right now.
    pub fn place(&self) -> Arc<str> {
        match &self.pacer {
            None => each!(&self.connector, source => source.place()),
            Some(pacer) => pacer.place(),
        }
    }
}
