//! The contract, as wasmtime's types.
//!
//! Parameters borrow (`&[u8]`, `&[u32]`), so that a batch is lowered straight from
//! the shared columns into the memory of the guest.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "transform",
    ownership: Borrowing { duplicate_if_necessary: false },
    exports: { default: async },
});

pub use self::pipehost::stage::records;

/// The package and version that components are built against.
pub const STAGE: &str = "pipehost:stage/stage@0.1.0";
pub const CHECKPOINT: &str = "pipehost:stage/checkpoint@0.1.0";
pub const WATERMARK: &str = "pipehost:stage/watermark@0.1.0";
