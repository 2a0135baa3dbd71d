//! Why a call into a sandbox failed.

use std::fmt;

use pipehost_observe::metrics::Cause;
use pipehost_record::foreign::Foreign;

/// A call that failed. Its instance must not be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    pub message: String,
    /// Where in the guest it happened, if that is known: the end of the message.
    pub(crate) place: String,
    /// Fuel that the guest used in the call.
    pub(crate) fuel: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        let message = Foreign::new(&message.into()).to_string();
        Self { cause, message, place: String::new(), fuel: 0 }
    }

    /// The same, which also says where in the guest it happened: see [`super::classify::place`].
    pub(crate) fn at(mut self, place: &str) -> Self {
        self.place = Foreign::new(place).to_string();
        self.message.push_str(&self.place);
        self
    }
}
