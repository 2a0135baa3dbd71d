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
            let message =
                "it used up its fuel (for a batch: limits.fuel, fuel_per_record and fuel_per_byte)";
            return Failure::new(Cause::Fuel, message).at(&place(error));
        }
        Some(Trap::StackOverflow) => {
            return Failure::new(Cause::Stack, "its stack overflowed").at(&place(error));
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
    Failure::new(Cause::Trap, format!("it trapped: {reason}{said}{}", place(error)))
}

/// In which functions of the guest an error happened, if it has names: the innermost first.
pub(super) fn place(error: &wasmtime::Error) -> String {
    const FUNCTIONS: usize = 4;
    const LONGEST: usize = 80;
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    let mut names: Vec<_> =
        names.map(|name| format!("{:#}", rustc_demangle::demangle(name))).collect();
    // How a panic ends is the same for all: what has panicked comes behind it.
    if let Some(last) = names.iter().rposition(|name| ends_a_panic(name)) {
        names.drain(..=last);
    }
    let shown = names.iter().take(FUNCTIONS).map(|name| match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("`{}…`", &name[..end]),
        None => format!("`{name}`"),
    });
    match shown.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [one] => format!(", in {one}"),
        [first, callers @ ..] => format!(", in {first}, called by {}", callers.join(", ")),
    }
}

/// Whether a function is one that the runtime of a language ends a program with.
fn ends_a_panic(name: &str) -> bool {
    const BEGIN: [&str; 8] = [
        "core::panicking::",
        "std::panicking::",
        "std::sys::",
        "std::process::abort",
        "core::result::unwrap_failed",
        "core::option::",
        "__rustc::",
        "abort",
    ];
    BEGIN.iter().any(|begin| name.starts_with(begin))
}
