//! What went wrong in a call, by its type.

use std::fmt;

use wasmtime::Trap;

use super::host::MemoryExceeded;

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

/// What a guest says, fit for a terminal and a log: nothing that moves a cursor, and not
/// without end.
pub(super) fn printable(text: &str) -> String {
    const MOST: usize = 1024;
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    let mut out: String = text.chars().take(MOST).map(shown).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}

impl Failure {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: printable(&message.into()) }
    }

    /// Classifies what wasmtime returned. `last_words` is what the guest wrote last:
    /// for Rust, the message of a panic.
    pub(super) fn classify(error: &wasmtime::Error, last_words: &str) -> Self {
        if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
            return Self::new(Cause::Memory, exceeded.to_string());
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                return Self::new(
                    Cause::Fuel,
                    "it used up its fuel (for a batch: limits.fuel and fuel_per_record)",
                );
            }
            Some(Trap::StackOverflow) => {
                return Self::new(Cause::Stack, "its stack overflowed");
            }
            _ => {}
        }
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            let how = if exit.0 == 0 { "it exited" } else { "it exited with an error" };
            return Self::new(Cause::Trap, how);
        }
        // Wasmtime keeps the type of this error to itself.
        if error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls")) {
            return Self::new(Cause::Output, "its answer has more bytes than limits.output allows");
        }
        let reason = error.root_cause().to_string();
        let reason = reason.strip_prefix("wasm trap: ").unwrap_or(&reason);
        let said =
            if last_words.is_empty() { String::new() } else { format!("; it said: {last_words}") };
        Self::new(Cause::Trap, format!("it trapped: {reason}{said}"))
    }
}
