//! Dead letters: records that were refused for good.

use serde::{Deserialize, Serialize};

use crate::Record;

/// A record that was refused, and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    pub record: Record,
    /// The input that the record came from, and its number there, from 1.
    pub place: String,
    pub number: u64,
    /// The pipeline, and its source or stage, that refused it.
    pub pipeline: String,
    pub stage: String,
    /// By which of the inputs of the stage it came in.
    pub input: u32,
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was refused: nanoseconds since the Unix epoch.
    pub time: i64,
    /// SHA-256 of the component; empty where a source refused it.
    pub component: String,
}
