//! Files, read and written.

mod sink;
mod source;
mod written;

pub(crate) use sink::FileSink;
pub use sink::Rename;
pub(crate) use source::{AtStop, Begin, BytesSource, Piece, open};
pub use written::Written;
