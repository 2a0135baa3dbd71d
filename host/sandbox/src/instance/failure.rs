//! Why a call into a sandbox failed.

use std::fmt;

use pipehost_observe::metrics::Cause;
use pipehost_record::foreign::Foreign;

/// A call that failed. Its instance must not be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: Foreign::new(&message.into()).to_string() }
    }
}
