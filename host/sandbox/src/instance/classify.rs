//! The cause of a failed call, by the type of wasmtime's error.

use wasmtime::{Trap, WasmBacktrace};

use super::failure::Failure;
use crate::host::MemoryExceeded;
use pipehost_observe::metrics::Cause;

/// Classifies wasmtime's error. `last_words` is what the call wrote to stderr, such as the message
/// of a panic.
pub(super) fn classify(error: &wasmtime::Error, last_words: &str) -> Failure {
    if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
        return Failure::new(Cause::Memory, exceeded.to_string());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => {
            return Failure::new(
                Cause::Fuel,
                "it used up its fuel (for a batch: limits.fuel, fuel_per_record and fuel_per_byte)",
            );
        }
        Some(Trap::StackOverflow) => {
            return Failure::new(Cause::Stack, "its stack overflowed");
        }
        _ => {}
    }
    let said =
        if last_words.is_empty() { String::new() } else { format!("; it said: {last_words}") };
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::new(Cause::Trap, format!("it exited with code {}{said}", exit.0));
    }
    // Wasmtime keeps the type of this error private, so its text is compared.
    if error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls")) {
        // With a backtrace, the guest was in a host call: an answer is read after the guest has
        // returned.
        if error.downcast_ref::<WasmBacktrace>().is_some() {
            return Failure::new(Cause::Trap, "it passed more than 1 MiB to one call of the host");
        }
        return Failure::new(Cause::Output, "its answer has more bytes than limits.output allows");
    }
    let reason = error.root_cause().to_string();
    let reason = reason.strip_prefix("wasm trap: ").unwrap_or(&reason);
    Failure::new(Cause::Trap, format!("it trapped: {reason}{said}"))
}
