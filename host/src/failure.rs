//! Why a call into a sandbox failed.

use std::fmt;

use crate::foreign::Foreign;

/// Why a call failed: the label of a metric, and the first word of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An error of the guest: unreachable code, memory out of bounds, an exit.
    Trap,
    Fuel,
    Timeout,
    Memory,
    /// The guest's stack overflowed.
    Stack,
    /// The answer was too large.
    Output,
    /// The answer broke a rule of the contract.
    Contract,
    /// The guest returned an error.
    Error,
}

impl Cause {
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Fuel,
        Self::Timeout,
        Self::Memory,
        Self::Stack,
        Self::Output,
        Self::Contract,
        Self::Error,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Output => "output",
            Self::Contract => "contract",
            Self::Error => "error",
        }
    }
}

/// A call that failed. Its instance is not to be used again.
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
