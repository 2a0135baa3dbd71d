//! Rows of a batch that were rejected.

use std::sync::Arc;

/// An input row that was rejected: by the stage, or because a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub row: usize,
    /// Shared by all rows that were rejected for this reason.
    pub reason: Arc<str>,
    pub retryable: bool,
    pub attempts: u32,
}
