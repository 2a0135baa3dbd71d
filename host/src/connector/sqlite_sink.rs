//! Records as rows of a table in SQLite.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};

use crate::config::{OnConflict, SqliteSink as Config};
use crate::record::Batch;
use crate::template::{key_or_attribute, rfc3339};

pub struct SqliteSink {
    /// Used by one write at a time, on a thread that may wait.
    connection: Arc<Mutex<Connection>>,
    insert: Arc<str>,
    /// What each column takes.
    columns: Arc<[String]>,
    what: Arc<str>,
}

impl SqliteSink {
    pub(super) fn open(config: &Config) -> Result<Self, String> {
        let Config { path, table, columns, on_conflict } = config;
        let what: Arc<str> = format!("the table {table} of {}", path.value.display()).into();
        let failed = |error: rusqlite::Error| format!("cannot write {what}: {error}");
        let connection = Connection::open(&path.value).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        // Readers do not wait for this writer; what is committed is on the disk.
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        let names: Vec<_> = columns.iter().map(|(name, _)| quoted(name)).collect();
        let create = format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(table), names.join(", "));
        connection.execute(&create, []).map_err(failed)?;
        let insert = format!(
            "INSERT {}INTO {} ({}) VALUES ({})",
            match on_conflict {
                OnConflict::Fail => "",
                OnConflict::Ignore => "OR IGNORE ",
                OnConflict::Replace => "OR REPLACE ",
            },
            quoted(table),
            names.join(", "),
            vec!["?"; names.len()].join(", ")
        );
        connection.prepare(&insert).map_err(failed)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            insert: insert.into(),
            columns: columns.iter().map(|(_, what)| what.clone()).collect(),
            what,
        })
    }

    /// Inserts a batch, whole or not at all; it is durable then.
    pub(super) async fn write(&self, batch: &Batch) -> Result<(), String> {
        let (connection, insert) = (self.connection.clone(), self.insert.clone());
        let (columns, batch) = (self.columns.clone(), batch.clone());
        let written = tokio::task::spawn_blocking(move || -> rusqlite::Result<()> {
            let mut connection = connection.lock().expect("inserting does not panic");
            let transaction = connection.transaction()?;
            {
                let mut statement = transaction.prepare_cached(&insert)?;
                for row in 0..batch.len {
                    let values = columns.iter().map(|what| value(&batch, row, what));
                    statement.execute(params_from_iter(values))?;
                }
            }
            transaction.commit()
        });
        let written = written.await.expect("inserting does not panic");
        written.map_err(|error| format!("cannot write {}: {error}", self.what))
    }
}

fn value<'a>(batch: &'a Batch, row: usize, what: &str) -> ToSqlOutput<'a> {
    let bytes = match what {
        "timestamp" => {
            let time = batch.timestamps.as_ref().and_then(|times| times.get(row));
            return time.map_or(Null.into(), |time| rfc3339(time).into());
        }
        "value" => batch.value.as_ref().and_then(|column| column.get(row)),
        name => key_or_attribute(batch, row, name),
    };
    match bytes {
        None => Null.into(),
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => {
            ToSqlOutput::Borrowed(ValueRef::Text(bytes))
        }
        Some(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
    }
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
