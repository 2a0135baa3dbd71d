//! SQLite: rows of a table as they are added, and inserted.

mod sink;
mod source;

pub(crate) use sink::SqliteSink;
pub(crate) use source::SqliteSource;
