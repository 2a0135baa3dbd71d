//! From TOML to sinks.

use anyhow::anyhow;
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::codec::encoding;
use super::node::{batching, input, name, on_error, path_of, retry};
use super::table::TableReader;
use crate::mistake::Mistake;
use crate::{
    At, Compression, FilePartition, FileSink, HttpSink, OnConflict, OnError, Retry, Rotate, Sink,
    SinkKind, SqliteColumn, SqliteSink, SqliteType,
};
use pipehost_record::template::Template;

/// Reads what is special to a kind of sink.
type ReadKind = fn(&mut TableReader<'_>, &Path) -> SinkKind;

/// Every kind of sink, and the function that reads its settings.
const KINDS: [(&str, ReadKind); 5] = [
    ("stdout", |table, _| SinkKind::Stdout { encoding: encoding(table) }),
    ("file", |table, base| SinkKind::File(file_sink(table, base))),
    ("http", |table, base| SinkKind::Http(http_sink(table, base))),
    ("sqlite", |table, base| SinkKind::Sqlite(sqlite_sink(table, base))),
    ("null", |_, _| SinkKind::Null),
];

pub(super) fn sink(mut table: TableReader<'_>, base: &Path) -> Option<Sink> {
    let name = name(&mut table);
    let read = table.required_choice("type", &KINDS);
    let kind = read.map(|read| read(&mut table, base));
    let input = input(&mut table);
    let batch = batching(&mut table);
    let rate = table.count("rate", 1);
    // All other sinks never reject a record.
    let on_error = match kind {
        Some(SinkKind::Http(_) | SinkKind::Sqlite(_)) => on_error(&mut table),
        _ => At::nowhere(OnError::Fail),
    };
    if kind.is_some() {
        table.finish();
    }
    Some(Sink { name: name?, kind: kind?, input, batch, rate, on_error })
}

fn file_sink(table: &mut TableReader<'_>, base: &Path) -> FileSink {
    let path = table.required("path", "the file to write");
    let partition = path.as_ref().filter(|path| path.value.contains(['{', '}'])).and_then(|text| {
        let path = table.parse("path", text, Template::parse)?;
        for name in ["value", "timestamp"] {
            if path.has_name(name) {
                let message = format!("there would be a file for each {name}");
                let mistake = Mistake::new(text.span.clone(), message);
                table.mistake(mistake.help("a path may have `{key}` and attributes"));
            }
        }
        Some(FilePartition { base: base.to_owned(), path })
    });
    let append = table.bool("append").unwrap_or(false);
    let encoding = encoding(table);
    let compression = compression(table);
    let rotate = table.table("rotate", "`rotate`", |mut table| {
        let rotate = Rotate {
            bytes: table.bytes("size").map(|bytes| bytes.max(1)),
            every: table.duration("every").map(|every| every.max(Duration::from_millis(1))),
        };
        table.finish();
        rotate
    });
    let (path, rotate) = (path_of(path, base), rotate.unwrap_or_default());
    FileSink { base: base.to_owned(), path, append, encoding, compression, rotate, partition }
}

fn compression(table: &mut TableReader<'_>) -> Option<Compression> {
    table.choice("compression", &[("gzip", Compression::Gzip), ("zstd", Compression::Zstd)])
}

/// The default retries of a sink.
fn sink_retry() -> Retry {
    Retry {
        attempts: Some(10),
        backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(30),
    }
}

fn http_sink(table: &mut TableReader<'_>, base: &Path) -> HttpSink {
    let url = table.required("url", "where to post to, such as \"https://example.com/logs\"");
    let url = url.and_then(|text| {
        let url = table.parse("url", &text, |text| match Url::parse(text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
            Ok(_) => Err(anyhow!("{text:?} is not a URL of http or https")),
            Err(error) => {
                Err(anyhow!("{text:?} is not a URL, such as \"https://example.com\": {error}"))
            }
        });
        Some(At::new(url?, text.span))
    });
    // Stands for a URL that is missing or invalid.
    let nowhere = || At::nowhere(Url::parse("http://localhost").expect("it is one"));
    HttpSink {
        url: url.unwrap_or_else(nowhere),
        encoding: encoding(table),
        compression: compression(table),
        token_env: table.string("token_env").map(|name| name.value),
        timeout: table.duration("timeout").unwrap_or(Duration::from_secs(30)),
        retry: table
            .table("retry", "`retry`", |table| retry(table, &sink_retry()))
            .unwrap_or_else(sink_retry),
        ca: table.string("ca").map(|path| base.join(path.value)),
    }
}

/// `NAME = "value"`, or `NAME = { from = "value", type = "integer" }`.
fn sqlite_column(name: &str, table: Result<At<String>, TableReader<'_>>) -> Option<SqliteColumn> {
    let name = name.to_owned();
    let mut table = match table {
        Ok(from) => return Some(SqliteColumn { name, from: from.value, ty: None }),
        Err(table) => table,
    };
    let from = table.required("from", "`value`, `key`, `timestamp`, or an attribute");
    let types = [
        ("text", SqliteType::Text),
        ("integer", SqliteType::Integer),
        ("real", SqliteType::Real),
        ("blob", SqliteType::Blob),
    ];
    let ty = table.choice("type", &types);
    if let Some(from) = from.as_ref().filter(|from| from.value == "timestamp")
        && matches!(ty, Some(SqliteType::Real | SqliteType::Blob))
    {
        let mistake =
            Mistake::new(from.span.clone(), "a time is no number with a fraction, nor bytes");
        table.mistake(mistake.help("\"text\" (RFC 3339), or \"integer\" (nanoseconds since 1970)"));
    }
    table.finish();
    Some(SqliteColumn { name, from: from?.value, ty })
}

fn sqlite_sink(table: &mut TableReader<'_>, base: &Path) -> SqliteSink {
    let path = table.required("path", "the file of the database, created if there is none");
    let into = table.required("table", "the table to insert into, created if there is none");
    let mut columns = table.named("columns", "a text in quotes or a table", sqlite_column);
    if columns.is_empty() {
        let column = |name: &str| {
            let (name, from) = (name.to_owned(), name.to_owned());
            SqliteColumn { name, from, ty: None }
        };
        columns = ["timestamp", "key", "value"].map(column).into();
    }
    let primary_key = table.strings("primary_key").unwrap_or_default();
    for key in &primary_key {
        if !columns.iter().any(|column| column.name == key.value) {
            let message = format!("`primary_key` names {:?}, which is no column", key.value);
            table.mistake(Mistake::new(key.span.clone(), message));
        }
    }
    let primary_key = primary_key.into_iter().map(|key| key.value).collect();
    let on_conflict = [
        ("fail", OnConflict::Fail),
        ("ignore", OnConflict::Ignore),
        ("replace", OnConflict::Replace),
    ];
    let on_conflict = table.choice("on_conflict", &on_conflict).unwrap_or(OnConflict::Fail);
    SqliteSink {
        base: base.to_owned(),
        path: path_of(path, base),
        table: into.map_or(String::new(), |table| table.value),
        columns,
        primary_key,
        on_conflict,
        retry: table
            .table("retry", "`retry`", |table| retry(table, &sink_retry()))
            .unwrap_or_else(sink_retry),
    }
}
