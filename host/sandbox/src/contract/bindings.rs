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

pub use self::pipehost::stage::{declarations, records};

/// The shape with packed lists: see `wit/packed.wit`.
pub mod packed {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "packed-transform",
        ownership: Borrowing { duplicate_if_necessary: false },
        exports: { default: async },
        with: {
            "pipehost:stage/records": super::records,
            "pipehost:stage/declarations": super::declarations,
        },
    });

    pub use self::pipehost::stage::packed_records as records;
}

/// The version of the contract that components are built against.
pub const VERSION: &str = "0.2.0";
/// The interfaces that they export.
pub const STAGE: &str = "pipehost:stage/stage@0.2.0";
pub const PACKED_STAGE: &str = "pipehost:stage/packed-stage@0.2.0";
pub const CHECKPOINT: &str = "pipehost:stage/checkpoint@0.2.0";
pub const WATERMARK: &str = "pipehost:stage/watermark@0.2.0";
pub const PACKED_WATERMARK: &str = "pipehost:stage/packed-watermark@0.2.0";

/// What a component may import to tell metrics.
pub const METRICS: &str = "pipehost:stage/metrics@0.2.0";

/// The version of the contract that an exported name is of, if it is not ours.
pub fn other_version(name: &str) -> Option<&str> {
    let (interface, version) = name.split_once('@')?;
    // Until 1.0.0, the second number is that of incompatible versions.
    let compatible = |version: &str| version.split('.').take(2).eq(VERSION.split('.').take(2));
    (interface.starts_with("pipehost:stage/") && !compatible(version)).then_some(version)
}

/// What to do about a component of another version.
pub fn built_for_another(version: &str) -> String {
    format!(
        "it is built for version {version} of the contract pipehost:stage, and this pipehost runs \
         {VERSION}: build it again with the SDK or the wit/stage.wit of this pipehost"
    )
}
