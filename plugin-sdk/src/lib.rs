//! Write a pipehost stage in Rust: a type, its configuration, and a method that
//! sees one record at a time.
//!
//! ```
//! use pipehost_plugin::{Field, Out, Record, Rejection, Setup, Stage};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// The records of this level go on.
//!     level: String,
//! }
//!
//! struct OnlyLevel {
//!     level: Field,
//!     wanted: String,
//! }
//!
//! impl Stage for OnlyLevel {
//!     type Config = Config;
//!
//!     fn open(config: Config, setup: &mut Setup) -> Result<Self, String> {
//!         Ok(Self { level: setup.attribute("level"), wanted: config.level })
//!     }
//!
//!     fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
//!         if record.get(self.level) == Some(self.wanted.as_bytes()) {
//!             out.keep();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! pipehost_plugin::export!(OnlyLevel);
//! ```
//!
//! What a stage reads, it declares in [`Stage::open`], and holds the handles: a
//! column without a handle cannot be read, and never enters the sandbox. What it
//! does not change, it does not touch: the host joins it to the output by itself.
//!
//! Build with `cargo build --release --target wasm32-wasip2` and a crate type of
//! `cdylib`; or name the source folder in a pipeline, and pipehost builds it. Name,
//! version and summary come from the crate's own manifest.

mod changed;
mod export;
pub mod json;
mod opened;
mod output;
mod period;
mod record;
mod setup;
pub mod state;
pub mod testing;
mod time;

pub use opened::Opened;
pub use output::{Out, Row};
pub use period::Period;
pub use record::{Column, Input, Record};
pub use setup::{Field, From, Plan, Port, Setup, Time};
pub use time::{TimeError, parse_rfc3339, rfc3339};

/// The contract's own types, for whoever drives a stage without the macro.
pub use export::bindings::transform::pipehost::stage::records as contract;

#[doc(hidden)]
pub use export::{bindings, describe, glue};

/// Stands for "no time" in a column of times.
pub const NO_TIME: i64 = i64::MIN;

/// A stage: what happens to each record.
pub trait Stage: Sized {
    /// What the pipeline's `config` table holds. Its JSON Schema is shown by
    /// `pipehost inspect` and checked before anything runs, so doc comments on its
    /// fields are documentation for operators.
    type Config: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// Builds the stage and declares, through `setup`, what it reads and which
    /// ports it has. An error is shown to the operator, and nothing runs.
    fn open(config: Self::Config, setup: &mut Setup) -> Result<Self, String>;

    /// Sees one record. It goes on if it is [kept](Out::keep), once for each time;
    /// else it is dropped. Records that descend from no single one are
    /// [created](Out::create). An error rejects the record, and takes back what was
    /// emitted for it.
    fn process(&mut self, record: &Record<'_>, out: &mut Out) -> Result<(), Rejection>;

    /// After the last record: what the stage still holds. The records emitted here
    /// are new ones and inherit nothing.
    fn finish(&mut self, _out: &mut Out) -> Result<(), String> {
        Ok(())
    }
}

/// A [`Stage`] whose state outlives its instance: exported with
/// `export!(Type, checkpoint)`.
pub trait Checkpoint: Stage {
    /// The state, in whatever encoding [`Checkpoint::restore`] understands.
    fn save(&self) -> Result<Vec<u8>, String>;
    /// Takes over a saved state; called after `open`, before the first record.
    fn restore(&mut self, saved: &[u8]) -> Result<(), String>;
}

/// A [`Checkpoint`] that sees time pass: exported with `export!(Type, timed)`. The pipeline
/// must say where watermarks come from.
pub trait Timed: Checkpoint {
    /// The records before `watermark`, in nanoseconds since the Unix epoch, have come; one
    /// that still comes is late. The records emitted here are new ones and inherit
    /// nothing. After a failure or a restart, the same watermark may come a second time.
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), String>;
}

/// Why a record could not be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub retryable: bool,
}

impl Rejection {
    /// The record itself is at fault; the same record will fail again.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retryable: false }
    }

    /// The same record may succeed later; the pipeline's `retry` applies.
    pub fn retryable(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retryable: true }
    }
}
