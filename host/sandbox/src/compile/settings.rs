//! Wasmtime's settings that compiled code depends on.

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Result};

/// How a guest that does not return is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metering {
    /// Fuel is counted, and a guest yields after a fixed amount of it.
    Fuel,
    /// No fuel is counted; a guest yields at each tick of a clock. Cheaper.
    Epochs,
}

/// Initial memory up to this many bytes is stored as one piece, even if most of it is zero. Larger
/// memory is stored as one piece if most of it is not zero.
const DENSE: u64 = 64 << 10;

/// An engine that compiles for another one, and runs nothing.
pub(crate) fn compiler(metering: Metering, epochs: bool) -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(settings(metering).epoch_interruption(epochs))
}

/// Wasmtime's settings that compiled code depends on.
pub(crate) fn settings(metering: Metering) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(metering == Metering::Fuel)
        // Halves the cost of a call; stages do not use it.
        .concurrency_support(false)
        // Keeps a few bytes far apart from becoming a file of megabytes.
        .memory_guaranteed_dense_image_size(DENSE)
        // Wasmtime's adapters between composed components copy from memory to memory.
        .wasm_multi_memory(true)
        // Proposals that stages do not use are only attack surface.
        .wasm_gc(false)
        .wasm_exceptions(false)
        .wasm_function_references(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false);
    config
}
