//! SQLite: a source of the rows added to a table, and a sink that inserts rows.

mod sink;
mod source;

pub(crate) use sink::SqliteSink;
pub(crate) use source::SqliteSource;
