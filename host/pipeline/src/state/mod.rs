//! What a pipeline keeps over restarts: its checkpoints, in a directory of its own.
//!
//! A checkpoint says, for one moment of the stream, where every source was, what every stage
//! held, and how much every sink had written. It is made with barriers that flow
//! through the graph with the data (Chandy and Lamport 1985; aligned at fan-in, as Flink
//! does: Carbone et al. 2015, "Lightweight Asynchronous Snapshots"), and written in one
//! transaction.

mod fit;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use fit::{Shape, SinkShape, SourceShape, StageShape, differences};
pub use store::{Store, exists, remove};

/// All that is needed to go on.
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
    /// How far the dead letters had come.
    pub dead_letters: Option<Value>,
    /// Those that there was no room for, as [`crate::dead_letter::Encoded`] keeps them; stored
    /// apart.
    #[serde(skip)]
    pub letters: Vec<u8>,
}

impl Checkpoint {
    /// Of all sources, stages and sinks.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.sources.keys().chain(self.stages.keys()).chain(self.sinks.keys());
        names.map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceCheckpoint {
    /// As in the configuration.
    pub kind: String,
    /// None if it cannot go back: stdin, http.
    pub position: Option<Value>,
    /// The latest timestamp that it sent on, where it makes watermarks of them.
    pub latest: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCheckpoint {
    /// SHA-256 of the component.
    pub component: String,
    /// SHA-256 of each setting of its configuration, by name: what is in them may be a secret.
    pub config: BTreeMap<String, String>,
    pub workers: usize,
    pub partition: Option<String>,
    /// It was asked to finish, and holds no records any more.
    pub finished: bool,
    /// As [`SourceCheckpoint::latest`].
    pub latest: Option<i64>,
    /// Bytes of what each worker saved; none where it keeps nothing.
    pub saved_bytes: Vec<Option<usize>>,
    /// What each worker saved; stored apart.
    #[serde(skip)]
    pub saved: Vec<Option<Vec<u8>>>,
}

impl StageCheckpoint {
    /// Whether it kept anything.
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
    /// As in the configuration, with the file that it writes.
    pub kind: String,
    /// None if it cannot be truncated.
    pub position: Option<Value>,
}
