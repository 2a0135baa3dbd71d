//! Connectors: the sources that records come from and the sinks they go to; closed sets.
//!
//! A connector knows no stage and no pipeline: it opens what the configuration names, reads or
//! writes batches, and reports its position.

mod compressed;
mod connector;
mod file;
mod generate;
mod http;
mod letters;
mod paced;
mod sink;
mod source;
mod sqlite;
mod stdio;

pub use connector::{Resume, SinkError, Synced};
pub use file::{WrittenFiles, written_extent};
pub use http::Acknowledgements;
pub use sink::{Sink, described};
pub use source::{Extent, Source, extent};
