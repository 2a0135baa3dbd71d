//! Inserts records as rows of a table in SQLite.

use anyhow::{Result, anyhow, bail};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::connector::{SinkConnector, SinkError};
use pipehost_config::{OnConflict, Retry, SqliteColumn, SqliteSink as Config, SqliteType};
use pipehost_observe::metrics::{Activity, NodeMetrics};
use pipehost_record::template::key_or_attribute;
use pipehost_record::time::rfc3339;
use pipehost_record::{Batch, Rejected};

pub struct SqliteSink {
    /// Used by one write at a time, on a blocking thread.
    connection: Arc<Mutex<Connection>>,
    insert: Arc<str>,
    columns: Arc<[SqliteColumn]>,
    what: Arc<str>,
    name: Arc<str>,
    retry: Retry,
    metrics: Arc<NodeMetrics>,
}

/// How long an attempt waits for the lock of another process before it warns.
const LOCKED: Duration = Duration::from_secs(1);
/// The same when the database is opened.
const LOCKED_AT_FIRST: Duration = Duration::from_secs(10);

impl SqliteSink {
    pub(crate) fn open(name: Arc<str>, config: &Config, metrics: Arc<NodeMetrics>) -> Result<Self> {
        let Config { path, table, columns, primary_key, on_conflict, retry, .. } = config;
        let what: Arc<str> = format!("the table {table} of {}", path.value.display()).into();
        let failed = |error: rusqlite::Error| anyhow!("cannot write {what}: {error}");
        let connection = Connection::open(&path.value).map_err(failed)?;
        connection.busy_timeout(LOCKED_AT_FIRST).map_err(failed)?;
        // Readers do not wait for this writer; a commit is on the disk when it returns.
        connection.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        let names: Vec<_> = columns.iter().map(|column| quoted(&column.name)).collect();
        connection.execute(&create_table(config), []).map_err(failed)?;
        let keys = keys(&connection, table).map_err(failed)?;
        if !primary_key.is_empty() && !keys.iter().any(|key| is_same(key, primary_key)) {
            bail!(
                "cannot write {what}: it is there already, and `primary_key` is none of its keys. \
                 Make a unique index of those columns, or leave `primary_key` out"
            );
        }
        if *on_conflict != OnConflict::Fail && keys.is_empty() {
            bail!(
                "cannot write {what}: without a key no row of it conflicts with another, and \
                 on_conflict = \"{}\" would add one for each record. Make a unique index, or name \
                 the key of a new table: primary_key = [\"COLUMN\"]",
                if *on_conflict == OnConflict::Ignore { "ignore" } else { "replace" }
            );
        }
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
        connection.busy_timeout(LOCKED).map_err(failed)?;
        Ok(Self {
            name,
            retry: retry.clone(),
            metrics,
            connection: Arc::new(Mutex::new(connection)),
            insert: insert.into(),
            columns: columns.clone().into(),
            what,
        })
    }

    /// Inserts a batch, whole or not at all; it is durable then. With `refusals`, leaves out the
    /// rows that the table refuses. Retries while another process holds a lock.
    async fn insert_batch(&self, batch: &Batch, refusals: bool) -> Result<Vec<Rejected>> {
        for attempt in 1.. {
            let error = match self.insert(batch, refusals).await {
                Ok(rejected) => return Ok(rejected),
                Err(error) => error,
            };
            let why = format!("cannot write {}: {error}", self.what);
            if !is_locked(&error) {
                return Err(anyhow!(why));
            }
            if self.retry.is_over(attempt) {
                bail!("{why}, after {attempt} attempts");
            }
            self.metrics.retries.inc_by(1);
            let wait = self.retry.delay(attempt + 1);
            tracing::warn!("sink `{}`: {why}; retrying in {wait:?}", self.name);
            // Its caller counts all of a write as work.
            let _waits = self.metrics.interrupt(Activity::Working, Activity::WaitingToRetry);
            tokio::time::sleep(wait).await;
        }
        unreachable!("attempts do not end by themselves")
    }

    async fn insert(&self, batch: &Batch, refusals: bool) -> rusqlite::Result<Vec<Rejected>> {
        let (connection, insert) = (self.connection.clone(), self.insert.clone());
        let (columns, batch, what) = (self.columns.clone(), batch.clone(), self.what.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().expect("inserting does not panic");
            let transaction = connection.transaction()?;
            let mut rejected = Vec::new();
            {
                let mut statement = transaction.prepare_cached(&insert)?;
                for row in 0..batch.len {
                    let values = columns.iter().map(|column| value(&batch, row, column));
                    let values = match values.collect::<Result<Vec<_>, _>>() {
                        Ok(values) => values,
                        Err(reason) if refusals => {
                            let reason = format!("{what}: {reason}").into();
                            rejected.push(Rejected { row, reason, retryable: false, attempts: 1 });
                            continue;
                        }
                        Err(reason) => {
                            let origin = batch.origin(row);
                            return Err(rusqlite::Error::ToSqlConversionFailure(
                                format!("record {} of {}: {reason}", origin.number, origin.place)
                                    .into(),
                            ));
                        }
                    };
                    match statement.execute(params_from_iter(values)) {
                        // A constraint may roll back all rows: then nothing is written.
                        Err(error)
                            if refusals
                                && is_of_the_row(&error)
                                && !transaction.is_autocommit() =>
                        {
                            rejected.push(Rejected {
                                row,
                                reason: format!("{what} does not take it: {error}").into(),
                                retryable: false,
                                attempts: 1,
                            })
                        }
                        executed => drop(executed?),
                    }
                }
            }
            transaction.commit()?;
            Ok(rejected)
        });
        written.await.expect("inserting does not panic")
    }
}

impl SinkConnector for SqliteSink {
    async fn write(&mut self, batch: &Batch, refusals: bool) -> Result<Vec<Rejected>, SinkError> {
        self.insert_batch(batch, refusals).await.map_err(SinkError::Failed)
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the error concerns this row only, so that others may succeed.
fn is_of_the_row(error: &rusqlite::Error) -> bool {
    use ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
}

fn create_table(config: &Config) -> String {
    let Config { table, columns, primary_key, .. } = config;
    let mut parts: Vec<String> = (columns.iter())
        .map(|column| match column.ty {
            None => quoted(&column.name),
            Some(ty) => format!("{} {}", quoted(&column.name), name_of(ty)),
        })
        .collect();
    if !primary_key.is_empty() {
        let key: Vec<_> = primary_key.iter().map(|name| quoted(name)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    // WITHOUT ROWID: a row that lacks its key is refused; otherwise SQLite may make up a key.
    let rowid = if primary_key.is_empty() { "" } else { " WITHOUT ROWID" };
    format!("CREATE TABLE IF NOT EXISTS {} ({}){rowid}", quoted(table), parts.join(", "))
}

fn name_of(ty: SqliteType) -> &'static str {
    match ty {
        SqliteType::Text => "TEXT",
        SqliteType::Integer => "INTEGER",
        SqliteType::Real => "REAL",
        SqliteType::Blob => "BLOB",
    }
}

/// The columns of each key of a table: of its primary key, and of its unique indexes.
fn keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Vec<String>>> {
    let names = |query: &str, of: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(query)?.query_map([of], |row| row.get(0))?.collect()
    };
    let mut keys = vec![names("SELECT name FROM pragma_table_info(?) WHERE pk > 0", table)?];
    for index in names("SELECT name FROM pragma_index_list(?) WHERE \"unique\"", table)? {
        keys.push(names("SELECT name FROM pragma_index_info(?)", &index)?);
    }
    keys.retain(|key| !key.is_empty());
    Ok(keys)
}

fn is_same(key: &[String], columns: &[String]) -> bool {
    let has = |columns: &[String], name: &String| {
        columns.iter().any(|column| column.eq_ignore_ascii_case(name))
    };
    key.iter().all(|name| has(columns, name)) && columns.iter().all(|name| has(key, name))
}

/// Why a record cannot be a row of a table. Not an `anyhow::Error`, which may hold a backtrace:
/// there may be many.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongType(String);

/// The value that a column gets from a record.
///
/// # Errors
/// If it does not have the type of the column.
fn value<'a>(
    batch: &'a Batch,
    row: usize,
    column: &SqliteColumn,
) -> Result<ToSqlOutput<'a>, WrongType> {
    let bytes = match &*column.from {
        "timestamp" => {
            let time = batch.timestamps.as_ref().and_then(|times| times.get(row));
            return Ok(match (time, column.ty) {
                (None, _) => Null.into(),
                (Some(time), Some(SqliteType::Integer)) => time.into(),
                (Some(time), _) => rfc3339(time).into(),
            });
        }
        "value" => batch.value.as_ref().and_then(|column| column.get(row)),
        name => key_or_attribute(batch, row, name),
    };
    let Some(bytes) = bytes else { return Ok(Null.into()) };
    let text = std::str::from_utf8(bytes);
    let wrong = |what: &str| {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
        WrongType(format!("{shown:?} is no {what}, for the column {:?}", column.name))
    };
    let value = match column.ty {
        None => match text {
            Ok(_) => ValueRef::Text(bytes),
            Err(_) => ValueRef::Blob(bytes),
        },
        Some(SqliteType::Text) => {
            text.map_err(|_| wrong("text in UTF-8"))?;
            ValueRef::Text(bytes)
        }
        Some(SqliteType::Blob) => ValueRef::Blob(bytes),
        Some(SqliteType::Integer) => {
            let number = text.ok().and_then(|text| text.parse::<i64>().ok());
            ValueRef::Integer(number.ok_or_else(|| wrong("whole number of 64 bits"))?)
        }
        Some(SqliteType::Real) => {
            let number = text.ok().and_then(|text| text.parse::<f64>().ok());
            let number = number.filter(|number| number.is_finite());
            ValueRef::Real(number.ok_or_else(|| wrong("number"))?)
        }
    };
    Ok(ToSqlOutput::Borrowed(value))
}

/// A name as a quoted identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
