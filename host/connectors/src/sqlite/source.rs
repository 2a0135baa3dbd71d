//! Reads the rows of a table in SQLite, as they are added.

use anyhow::{Context as _, Result, anyhow, bail};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::connector::SourceConnector;
use crate::sqlite::sink::quoted;
use pipehost_codec::Decoded;
use pipehost_config::SqliteSource as Config;
use pipehost_observe::progress::Progress;
use pipehost_record::{MAX_ATTRIBUTES, Record};

/// The most rows of a read, and the bytes after which it ends.
const ROWS: usize = 1000;
const BYTES: usize = 1 << 20;
/// The largest text or blob that is read, in bytes.
const LARGEST: i32 = 64 << 20;
/// How often the rows that are not read yet are counted, and how many of them at most.
const COUNT: Duration = Duration::from_secs(10);
const COUNTED: usize = 1_000_000;
/// How long that may take.
const COUNTING: Duration = Duration::from_millis(100);
/// How long the check may take that every row has a number to order by.
const CHECK: Duration = Duration::from_secs(5);

/// A row, and the number that orders it.
type Row = (i64, Record);

pub struct SqliteSource {
    rows: mpsc::Receiver<Result<Vec<Row>>>,
    current: std::vec::IntoIter<Row>,
    /// The number of the last row that was given out.
    last: Option<i64>,
    place: Arc<str>,
    progress: Arc<Progress>,
}

impl SqliteSource {
    /// `position` is the number of the last row that an earlier run gave.
    pub(crate) fn open(
        config: &Config,
        position: Option<&Value>,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let last = position.and_then(Value::as_i64);
        let reader = RowReader::open(config)?;
        let (send, rows) = mpsc::channel(2);
        let poll = config.poll;
        let told = progress.clone();
        std::thread::spawn(move || reader.run(last, poll, &told, &send));
        let place = format!("{}:{}", config.path.value.display(), config.table).into();
        Ok(Self { rows, current: Vec::new().into_iter(), last, place, progress })
    }
}

impl SourceConnector for SqliteSource {
    async fn ready(&mut self) -> Result<bool> {
        while self.current.len() == 0 {
            match self.rows.recv().await.transpose()? {
                None => return Ok(false),
                Some(rows) => self.current = rows.into_iter(),
            }
        }
        Ok(true)
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        while !full(out) {
            let Some((number, record)) = self.current.next() else { break };
            self.last = Some(number);
            self.progress.add(1);
            out.batch.push_record(&self.place, number.unsigned_abs(), &record);
        }
        Ok(())
    }

    fn position(&self) -> Option<Value> {
        Some(self.last.map_or(Value::Null, Value::from))
    }

    fn place(&self) -> Arc<str> {
        self.place.clone()
    }
}

struct RowReader {
    connection: Connection,
    query: String,
    count: String,
    /// What each column becomes, in the order of the query behind the number.
    columns: Vec<Becomes>,
    what: String,
}

enum Becomes {
    Attribute(String),
    Key,
    Value,
}

impl RowReader {
    fn open(config: &Config) -> Result<Self> {
        let Config { path, table, order_by, .. } = config;
        let what = format!("the table {table} of {}", path.value.display());
        let failed = |error: rusqlite::Error| anyhow!("cannot read {what}: {error}");
        let mut connection = Connection::open_with_flags(
            &path.value,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST).map_err(failed)?;
        let names: Vec<String> = {
            let statement = connection.prepare(&format!("SELECT * FROM {} LIMIT 0", quoted(table)));
            let statement = statement.map_err(failed)?;
            statement.column_names().map(str::to_owned).collect()
        };
        let mut columns = Vec::new();
        for (name, becomes) in [(&config.key, Becomes::Key), (&config.value, Becomes::Value)] {
            columns.extend(name.clone().map(|name| (name, becomes)));
        }
        let attributes = match &config.attributes {
            Some(attributes) => attributes.clone(),
            None => {
                let taken = |name: &String| columns.iter().any(|(column, _)| column == name);
                names.iter().filter(|name| !taken(name)).cloned().collect()
            }
        };
        columns.extend(attributes.into_iter().map(|name| (name.clone(), Becomes::Attribute(name))));
        let is_there = |name: &str| names.iter().any(|there| there.eq_ignore_ascii_case(name));
        let missing: Vec<_> = (columns.iter().map(|(name, _)| name))
            .chain(Some(order_by).filter(|name| *name != "rowid"))
            .filter(|name| !is_there(name))
            .map(|name| format!("`{name}`"))
            .collect();
        if !missing.is_empty() {
            bail!(
                "{what} has no column {}; it has {}",
                missing.join(", "),
                names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            );
        }
        let order = quoted(order_by);
        let selected: String =
            columns.iter().map(|(name, _)| format!(", {}", quoted(name))).collect();
        let query = format!(
            "SELECT {order}{selected} FROM {} WHERE {order} >= ?1 ORDER BY {order} LIMIT {ROWS}",
            quoted(table)
        );
        connection.prepare(&query).map_err(failed)?;
        let count = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} WHERE {order} > ?1 LIMIT {COUNTED})",
            quoted(table)
        );
        let without = format!("SELECT 1 FROM {} WHERE {order} IS NULL", quoted(table));
        // Limits the check: a view may have rows without end.
        let start = Instant::now();
        let too_long = move || start.elapsed() > CHECK;
        connection.progress_handler(10_000, Some(too_long)).map_err(failed)?;
        if connection.prepare(&without).and_then(|mut q| q.exists([])).map_err(failed)? {
            bail!("{what} has rows without `{order_by}`, which would not be read");
        }
        connection.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
        if columns.len() > MAX_ATTRIBUTES {
            let count = columns.len();
            bail!(
                "{what} has {count} columns, and a record has at most {MAX_ATTRIBUTES} attributes: \
                 name those that are wanted (attributes)"
            );
        }
        let columns = columns.into_iter().map(|(_, becomes)| becomes).collect();
        Ok(Self { connection, query, count, columns, what })
    }

    /// Sends rows until there are no more; with `poll`, until the receiver is dropped.
    fn run(
        mut self,
        last: Option<i64>,
        poll: Option<Duration>,
        progress: &Progress,
        send: &mpsc::Sender<Result<Vec<Row>>>,
    ) {
        let (mut last, mut given) = (last, progress.done());
        let mut counted: Option<Instant> = None;
        loop {
            let rows = self.rows_after(last).with_context(|| format!("cannot read {}", self.what));
            let read = rows.as_ref().map_or(0, Vec::len);
            if let Ok(Some((number, _))) = rows.as_ref().map(|rows| rows.last()) {
                last = Some(*number);
            }
            given += read as u64;
            if read == 0 {
                progress.set_goal_records(given);
            } else if counted.is_none_or(|at| at.elapsed() > COUNT) {
                counted = Some(Instant::now());
                if let Ok(rest) = self.count_after(last) {
                    progress.set_goal_records(given + rest);
                }
            }
            let failed = rows.is_err();
            let nothing = !failed && read == 0;
            if !nothing && send.blocking_send(rows).is_err() || failed {
                return;
            }
            match poll {
                _ if read > 0 => {}
                Some(poll) if !send.is_closed() => std::thread::sleep(poll),
                _ => return,
            }
        }
    }

    /// How many rows come behind this one, [`COUNTED`] at most.
    ///
    /// # Errors
    /// If that takes longer than [`COUNTING`], as with a view that is slow.
    fn count_after(&mut self, last: Option<i64>) -> rusqlite::Result<u64> {
        let start = Instant::now();
        let too_long = move || start.elapsed() > COUNTING;
        self.connection.progress_handler(10_000, Some(too_long))?;
        let counted = self.connection.prepare_cached(&self.count).and_then(|mut statement| {
            statement.query_row([last.unwrap_or(i64::MIN)], |row| row.get::<_, i64>(0))
        });
        self.connection.progress_handler(0, None::<fn() -> bool>)?;
        counted.map(i64::unsigned_abs)
    }

    /// The next rows. Reads the last row again: a second row of its number would be lost unnoticed.
    fn rows_after(&self, last: Option<i64>) -> Result<Vec<Row>> {
        let failed = |error: rusqlite::Error| anyhow!("{error}");
        let mut statement = self.connection.prepare_cached(&self.query).map_err(failed)?;
        let mut found = statement.query([last.unwrap_or(i64::MIN)]).map_err(failed)?;
        let mut before = None;
        let mut rows = Vec::new();
        let mut held = 0;
        while let Some(row) = found.next().map_err(failed)? {
            let number: i64 = row.get(0).map_err(|_| {
                anyhow!("the column that it is ordered by must hold whole numbers (order_by)")
            })?;
            if before.replace(number) == Some(number) {
                bail!(
                    "{number} is there twice in the column that it is ordered by, which must be unique (order_by)"
                );
            }
            if last == Some(number) {
                continue;
            }
            let mut record = Record::default();
            for (index, becomes) in self.columns.iter().enumerate() {
                let Some(bytes) = bytes(row.get_ref(index + 1).map_err(failed)?) else { continue };
                held += bytes.len();
                match becomes {
                    Becomes::Key => record.key = Some(bytes),
                    Becomes::Value => record.value = Some(bytes),
                    Becomes::Attribute(name) => record.attributes.push((name.clone(), bytes)),
                }
            }
            rows.push((number, record));
            if held > BYTES {
                break;
            }
        }
        Ok(rows)
    }
}

fn bytes(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(number) => Some(number.to_string().into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
    }
}
