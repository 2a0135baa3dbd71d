//! Dead letters: records that were rejected for good.

use serde::{Deserialize, Serialize};

use crate::Record;

/// A record that was rejected, and all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    pub record: Record,
    /// The input that the record came from, and its number in that input, from 1.
    pub place: String,
    pub number: u64,
    /// The pipeline, and the node in it that rejected the record.
    pub pipeline: String,
    pub stage: String,
    /// Index of the stage's input that it came in by.
    pub input: u32,
    pub reason: String,
    /// The number of attempts.
    pub attempts: u32,
    /// When it was rejected: nanoseconds since the Unix epoch.
    pub time: i64,
    /// SHA-256 of the component; empty if a source rejected it.
    pub component: String,
}
