//! Files, read and written.

mod sink;
mod source;
mod written;

pub(crate) use sink::FileSink;
pub use sink::Rename;
pub(crate) use source::{AtStop, BytesSource, InputStart, Piece, open};
pub use written::WrittenFiles;
