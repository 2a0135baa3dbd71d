//! The errors of a stage.

use std::fmt::Display;

/// Why a stage does not open, finish, save, restore or advance: a text for the operator. `?` and
/// `.into()` make one of every error and of every text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What went wrong, and what to do.
    pub message: String,
}

impl<E: Display> From<E> for Error {
    fn from(error: E) -> Self {
        Self { message: error.to_string() }
    }
}

/// Why a record could not be processed. `?` and `.into()` make one of every error and of every
/// text; the record itself is at fault then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What is wrong with the record.
    pub reason: String,
    /// Whether the same record may succeed later.
    pub retryable: bool,
}

impl<E: Display> From<E> for Rejection {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl Rejection {
    /// The record itself is at fault; the same record will fail again.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retryable: false }
    }

    /// The same record may succeed later; the pipeline's `retry` applies.
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retryable: true }
    }
}
