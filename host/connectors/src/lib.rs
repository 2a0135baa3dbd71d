//! Connectors: the sources that records come from and the sinks they go to; closed sets.
//!
//! A connector knows no stage and no pipeline: it opens what the configuration names, reads or
//! writes batches, and reports its position.

mod acknowledgements;
mod file;
mod generate;
mod http;
mod letters;
mod paced;
mod sink;
mod source;
mod sqlite;
mod stdio;

pub use acknowledgements::Acknowledgements;
pub use file::{Rename, WrittenFiles, written_extent};
pub use sink::{Resume, Sink, SinkError, Synced, described};
pub use source::{Extent, Progress, Source, extent};
