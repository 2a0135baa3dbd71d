//! Wasmtime's settings that compiled code depends on.

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Result};

/// How a guest that does not return is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metering {
    /// Work is counted, and a guest yields now and then by its own count.
    Fuel,
    /// Nothing is counted; a guest yields at each tick of a clock. Cheaper.
    Epochs,
}

/// Initial memory that is kept as one piece, however little of it is not zero; in bytes. What is
/// larger is kept so if it is mostly not zero.
const DENSE: u64 = 64 << 10;

/// An engine that compiles for another, and runs nothing.
pub(crate) fn compiler(metering: Metering, epochs: bool) -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(settings(metering).epoch_interruption(epochs))
}

/// What compiled code depends on.
pub(crate) fn settings(metering: Metering) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(metering == Metering::Fuel)
        // Halves the cost of a call; stages have no use for it.
        .concurrency_support(false)
        // A few bytes far apart are not to become a file of megabytes.
        .memory_guaranteed_dense_image_size(DENSE)
        // What wasmtime puts between composed components copies from memory to memory.
        .wasm_multi_memory(true)
        // Proposals that stages have no use for are attack surface, no more.
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false);
    config
}
