//! Rules of the contract that were broken.

use pipehost_record::NameError;

/// The rule of the contract that a stage broke, in a sentence. Not an `anyhow::Error`, which may
/// capture a backtrace: a stage can break a rule in every call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub(super) String);

impl From<NameError> for Violation {
    fn from(error: NameError) -> Self {
        Self(error.to_string())
    }
}

/// As `format!`, but makes a [`Violation`].
macro_rules! violation {
    ($($text:tt)*) => { $crate::contract::violation::Violation(format!($($text)*)) };
}

pub(super) use violation;
