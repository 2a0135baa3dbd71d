//! What a pipeline saves across restarts: its last checkpoint, in a directory of its own.
//!
//! A checkpoint records, for one point of the stream, the position of every source, the state of
//! every stage, and how much every sink had written. It is made with barriers that flow through the
//! graph with the data (Chandy and Lamport 1985; aligned at fan-in, as Flink does: Carbone et al.
//! 2015, "Lightweight Asynchronous Snapshots"), and written in one transaction.

mod fit;
mod store;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use fit::{Shape, SinkShape, SourceShape, StageShape, differences};
pub use store::{Changed, Store, exists, remove};

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

/// How the state of a stage is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Division {
    /// The stage keeps nothing.
    Nothing,
    /// Each of its workers has a part, which only as many workers can go on with.
    Workers { count: usize, partition: Option<String> },
    /// By key group: any number of lanes can go on with it.
    KeyGroups { count: u32 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCheckpoint {
    /// SHA-256 of the component.
    pub component: String,
    /// The version that the component describes.
    pub version: String,
    /// The configuration of the stage, a JSON object.
    pub config: String,
    pub division: Division,
    /// `finish` was called: it holds no records any more.
    pub finished: bool,
    /// As [`SourceCheckpoint::latest`].
    pub latest: Option<i64>,
    /// Bytes of the state of each worker or key group that has one.
    pub saved_bytes: BTreeMap<u32, usize>,
    /// The state of each worker or key group; stored in a table of its own.
    #[serde(skip)]
    pub saved: BTreeMap<u32, Bytes>,
}

impl StageCheckpoint {
    /// Whether there is a state.
    pub fn has_saved(&self) -> bool {
        !self.saved_bytes.is_empty()
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
