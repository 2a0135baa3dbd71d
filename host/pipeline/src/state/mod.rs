//! What a pipeline saves across restarts: its last checkpoint, in a directory of its own.
//!
//! A checkpoint records, for one point of the stream, the position of every source, the state of
//! every stage, and how much every sink had written. It is made with barriers that flow through the
//! graph with the data (Chandy and Lamport 1985; aligned at fan-in, as Flink does: Carbone et al.
//! 2015, "Lightweight Asynchronous Snapshots"), and written in one transaction.

mod fit;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use fit::{Shape, SinkShape, SourceShape, StageShape, differences};
pub use store::{Store, exists, remove};

/// All that is needed to resume.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The name of the pipeline.
    pub pipeline: String,
    /// Counts up from 1.
    pub number: u64,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub time: i64,
    pub sources: BTreeMap<String, SourceCheckpoint>,
    pub stages: BTreeMap<String, StageCheckpoint>,
    pub sinks: BTreeMap<String, SinkCheckpoint>,
    /// The position in the dead-letter file.
    pub dead_letters: Option<Value>,
    /// Dead letters that did not fit in the file, encoded by [`crate::dead_letter::Encoded`];
    /// stored in their own entry.
    #[serde(skip)]
    pub letters: Vec<u8>,
}

impl Checkpoint {
    /// The names of all sources, stages and sinks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.sources.keys().chain(self.stages.keys()).chain(self.sinks.keys());
        names.map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceCheckpoint {
    /// The type, as in the configuration.
    pub kind: String,
    /// None if it cannot be re-read: stdin, http.
    pub position: Option<Value>,
    /// The latest timestamp sent, if the source makes watermarks.
    pub latest: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCheckpoint {
    /// SHA-256 of the component.
    pub component: String,
    /// SHA-256 of each setting of its configuration, by name: hashes, as a setting may be a secret.
    pub config: BTreeMap<String, String>,
    pub workers: usize,
    pub partition: Option<String>,
    /// `finish` was called: it holds no records any more.
    pub finished: bool,
    /// As [`SourceCheckpoint::latest`].
    pub latest: Option<i64>,
    /// Size of each worker's state in bytes; none if it has no state.
    pub saved_bytes: Vec<Option<usize>>,
    /// The state of each worker; stored in a table of its own.
    #[serde(skip)]
    pub saved: Vec<Option<Vec<u8>>>,
}

impl StageCheckpoint {
    /// Whether any worker saved state.
    pub fn has_saved(&self) -> bool {
        self.saved_bytes.iter().any(Option::is_some)
    }

    /// Whether records would be lost without it.
    pub fn holds_records(&self) -> bool {
        !self.finished && self.has_saved()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkCheckpoint {
    /// The type, as in the configuration, with the file that it writes.
    pub kind: String,
    /// None if it cannot be truncated.
    pub position: Option<Value>,
}
