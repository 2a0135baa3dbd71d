//! Rows of a batch that were refused.

use std::sync::Arc;

/// An input row that was refused, by the stage or by what happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub row: usize,
    /// Shared by all rows that were refused for it.
    pub reason: Arc<str>,
    pub retryable: bool,
    pub attempts: u32,
}
