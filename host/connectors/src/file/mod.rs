//! Files, read and written.

mod sink;
mod source;
mod written;

pub(crate) use sink::FileSink;
pub use sink::written_extent;
pub(crate) use source::{AtStop, BytesSource, InputStart, Piece, open, read_extent};
pub use written::WrittenFiles;
