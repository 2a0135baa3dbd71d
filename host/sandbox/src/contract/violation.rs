//! Rules of the contract that were broken.

use pipehost_record::NameError;

/// Which rule of the contract a stage broke, in a sentence. Made for each call of a stage that
/// lies, which is why it is no `anyhow::Error`: those may keep a back trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub(super) String);

impl From<NameError> for Violation {
    fn from(error: NameError) -> Self {
        Self(error.to_string())
    }
}

/// As `format!`, and a [`Violation`] of it.
macro_rules! violation {
    ($($text:tt)*) => { $crate::contract::violation::Violation(format!($($text)*)) };
}

pub(super) use violation;
