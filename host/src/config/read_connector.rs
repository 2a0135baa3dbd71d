//! From TOML to sources and sinks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use toml::de::{DeTable, DeValue};

use super::read::{batching, head, input, name, on_error, retry, watermark};
use super::reader::{self, Reader};
use super::{
    Ack, At, DecodeFormat, Decoding, Encoding, FilePartition, FileSink, FileSource, Generate,
    HttpSink, HttpSource, JsonAttributes, JsonMembers, JsonNumbers, OnConflict, OnError, Retry,
    Rotate, Sink, SinkKind, Source, SourceKind, SqliteColumn, SqliteSink, SqliteSource, SqliteType,
    Tls,
};
use crate::mistake::Mistake;
use crate::template::{Template, without_prefix};

pub(super) fn source(mut table: Reader<'_>, base: &Path) -> Option<Source> {
    let name = name(&mut table);
    let help = "\"stdin\", \"file\", \"http\", \"sqlite\" or \"generate\"";
    let kinds = [("stdin", 0), ("file", 1), ("http", 2), ("sqlite", 3), ("generate", 4)];
    let kind = table.required("type", help).and_then(|kind| table.choose("type", &kind, &kinds));
    let known = kind.is_some();
    let kind = match kind {
        Some(0) => Some(SourceKind::Stdin { codec: decoding(&mut table) }),
        Some(1) => {
            let paths = table.strings("paths");
            if paths.as_ref().is_none_or(Vec::is_empty) {
                let mistake = Mistake::new(head(&table), "a file source needs `paths`")
                    .help("one path or a list; `*`, `?` and `**` are patterns");
                table.mistake(mistake);
            }
            let paths = paths.unwrap_or_default();
            let paths = paths.into_iter().map(|p| At::new(base.join(p.value), p.span)).collect();
            let follow = table.bool("follow").unwrap_or(false);
            let links = table.bool("follow_links").unwrap_or(false);
            let rotate_wait = table.duration("rotate_wait").unwrap_or(Duration::from_secs(2));
            let (base, codec) = (base.to_owned(), decoding(&mut table));
            Some(SourceKind::File(FileSource { base, paths, follow, rotate_wait, links, codec }))
        }
        Some(2) => Some(SourceKind::Http(http_source(&mut table, base))),
        Some(3) => Some(SourceKind::Sqlite(sqlite_source(&mut table, base))),
        Some(_) => Some(SourceKind::Generate(generate(&mut table))),
        None => None,
    };
    let batch = batching(&mut table).unwrap_or_default();
    let watermark = watermark(&mut table);
    let on_error = on_error(&mut table);
    if known {
        table.finish();
    }
    Some(Source { name: name?, kind: kind?, batch, watermark, on_error })
}

fn http_source(table: &mut Reader<'_>, base: &Path) -> HttpSource {
    let listen = table.required("listen", "an address and a port, such as \"127.0.0.1:8080\"");
    let listen = listen.and_then(|text| {
        table.parse("listen", &text, |text| {
            text.parse().map_err(|_| {
                format!("{text:?} is not an address and a port, as in \"127.0.0.1:8080\"")
            })
        })
    });
    let path = table.string("path").map_or("/".to_owned(), |path| {
        // What axum takes for a parameter would be a surprise.
        if !path.value.starts_with('/') || path.value.contains(['{', '}', '*', ':']) {
            let message = format!("{:?} is not the path of a URL, such as \"/logs\"", path.value);
            table.mistake(Mistake::new(path.span.clone(), message));
        }
        path.value
    });
    let ack = [("durable", Ack::Durable), ("queued", Ack::Queued)];
    HttpSource {
        listen: listen.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
        path,
        codec: decoding(table),
        ack: table.choice("ack", &ack).unwrap_or(Ack::Durable),
        max_body_bytes: table.column_bytes("max_body").unwrap_or(10 << 20),
        queue: table.few("queue").unwrap_or(16),
        token_env: table.string("token_env").map(|name| name.value),
        tls: table.table("tls", "`tls`", |table| tls(table, base)).flatten(),
    }
}

/// A file that is named; where it is not, that is a mistake already.
fn path_of(path: Option<At<String>>, base: &Path) -> At<PathBuf> {
    path.map_or(At::nowhere(PathBuf::new()), |path| At::new(base.join(path.value), path.span))
}

fn tls(mut table: Reader<'_>, base: &Path) -> Option<Tls> {
    let cert = table.required("cert", "the certificates, in PEM");
    let key = table.required("key", "the private key, in PEM");
    table.finish();
    Some(Tls { cert: base.join(cert?.value), key: base.join(key?.value) })
}

fn sqlite_source(table: &mut Reader<'_>, base: &Path) -> SqliteSource {
    let path = table.required("path", "the file of the database");
    let from = table.required("table", "the table to read");
    let mut name = |key| table.string(key).map(|name| name.value);
    let (order_by, value, key) = (name("order_by"), name("value"), name("key"));
    let attributes = table.strings("attributes");
    let poll = table.duration("poll").map(|poll| poll.max(Duration::from_millis(1)));
    SqliteSource {
        path: path_of(path, base),
        table: from.map_or(String::new(), |table| table.value),
        order_by: order_by.unwrap_or_else(|| "rowid".to_owned()),
        attributes: attributes.map(|names| names.into_iter().map(|name| name.value).collect()),
        value,
        key,
        poll,
    }
}

fn generate(table: &mut Reader<'_>) -> Generate {
    let mut template = |key| {
        let text = table.string(key)?;
        let template = table.parse(key, &text, Template::parse)?;
        if let Some(name) = template.names_except(&["n"]).next() {
            let message = format!("`{key}` has `{{{name}}}`, and only `{{n}}` is known here");
            table.mistake(Mistake::new(text.span.clone(), message));
        }
        Some(template)
    };
    let value = template("template");
    Generate {
        key: template("key"),
        template: value.unwrap_or_else(|| Template::parse("{n}").expect("a valid template")),
        count: table.count("count", 0),
        rate: table.count("rate", 1),
    }
}

fn decoding(table: &mut Reader<'_>) -> Decoding {
    let mut out = Decoding { format: DecodeFormat::Lines, max_line_bytes: 1 << 20 };
    codec(table, &DECODERS, |kind, table| {
        match kind {
            "csv" => {
                let delimiter = table.string("delimiter");
                let delimiter =
                    delimiter.and_then(|text| table.parse("delimiter", &text, csv_delimiter));
                out.format = DecodeFormat::Csv { delimiter: delimiter.unwrap_or(b',') };
            }
            "json" => {
                let attributes = table.strings("attributes").map(|names| match &names[..] {
                    [all] if all.value == "*" => JsonAttributes::All,
                    _ => JsonAttributes::Named(names.into_iter().map(|name| name.value).collect()),
                });
                let mut member = |key| table.string(key).map(|name| name.value);
                out.format = DecodeFormat::Json(JsonMembers {
                    key: member("key"),
                    timestamp: member("timestamp"),
                    value: member("value"),
                    attributes: attributes.unwrap_or_default(),
                });
            }
            "frames" => out.format = DecodeFormat::Frames,
            _ => {}
        }
        if let Some(bytes) = table.column_bytes("max_line") {
            out.max_line_bytes = bytes;
        }
    });
    out
}

fn encoding(table: &mut Reader<'_>) -> Encoding {
    let mut out = Encoding::Lines(None);
    codec(table, &ENCODERS, |kind, table| match kind {
        "json" => out = Encoding::Json(json_numbers(table)),
        "frames" => out = Encoding::Frames,
        _ => {
            let template = table.string("template");
            out = Encoding::Lines(
                template.and_then(|text| table.parse("template", &text, Template::parse)),
            );
        }
    });
    out
}

fn csv_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(format!("{text:?} is not one ASCII character that can stand between fields")),
    }
}

fn json_numbers(table: &mut Reader<'_>) -> JsonNumbers {
    let mut numbers = JsonNumbers::default();
    for name in table.strings("numbers").unwrap_or_default() {
        match &*name.value {
            "value" => numbers.value = true,
            "key" => numbers.key = true,
            attribute => numbers.attributes.push(without_prefix(attribute).to_owned()),
        }
    }
    numbers
}

const ENCODERS: [(&str, &str); 3] = [("lines", "lines"), ("json", "json"), ("frames", "frames")];
const DECODERS: [(&str, &str); 4] =
    [("lines", "lines"), ("csv", "csv"), ("json", "json"), ("frames", "frames")];

/// `codec = "lines"`, or `codec = { type = "lines", … }`.
fn codec(
    table: &mut Reader<'_>,
    codecs: &[(&'static str, &'static str)],
    read: impl FnOnce(&str, &mut Reader<'_>),
) {
    let Some(item) = table.get("codec") else { return };
    match item.get_ref() {
        DeValue::String(text) => {
            let text = At::new(text.to_string(), reader::span(item));
            let empty = DeTable::default();
            if let Some(kind) = table.choose("codec", &text, codecs) {
                let mut unused = Vec::new();
                read(kind, &mut Reader::new("`codec`", &empty, None, &mut unused));
            }
        }
        _ => {
            table.table("codec", "`codec`", |mut table| {
                let words: Vec<_> = codecs.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                let kind = table.required("type", &reader::any_of(&words));
                if let Some(kind) = kind.and_then(|kind| table.choose("type", &kind, codecs)) {
                    read(kind, &mut table);
                    table.finish();
                }
            });
        }
    }
}

pub(super) fn sink(mut table: Reader<'_>, base: &Path) -> Option<Sink> {
    let name = name(&mut table);
    let help = "\"stdout\", \"file\", \"http\", \"sqlite\" or \"null\"";
    let kinds = [("stdout", 0), ("file", 1), ("http", 2), ("sqlite", 3), ("null", 4)];
    let kind = table.required("type", help).and_then(|kind| table.choose("type", &kind, &kinds));
    let known = kind.is_some();
    let kind = match kind {
        Some(0) => Some(SinkKind::Stdout { encoding: encoding(&mut table) }),
        Some(1) => Some(SinkKind::File(file_sink(&mut table, base))),
        Some(2) => Some(SinkKind::Http(http_sink(&mut table, base))),
        Some(3) => Some(SinkKind::Sqlite(sqlite_sink(&mut table, base))),
        Some(_) => Some(SinkKind::Null),
        None => None,
    };
    let input = input(&mut table);
    let batch = batching(&mut table);
    let rate = table.count("rate", 1);
    // What others write to refuses nothing.
    let on_error = match kind {
        Some(SinkKind::Http(_) | SinkKind::Sqlite(_)) => on_error(&mut table),
        _ => At::nowhere(OnError::Fail),
    };
    if known {
        table.finish();
    }
    Some(Sink { name: name?, kind: kind?, input, batch, rate, on_error })
}

fn file_sink(table: &mut Reader<'_>, base: &Path) -> FileSink {
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
    let rotate = table.table("rotate", "`rotate`", |mut table| {
        let rotate = Rotate {
            bytes: table.bytes("size").map(|bytes| bytes.max(1)),
            every: table.duration("every").map(|every| every.max(Duration::from_millis(1))),
        };
        table.finish();
        rotate
    });
    let (path, rotate) = (path_of(path, base), rotate.unwrap_or_default());
    FileSink { base: base.to_owned(), path, append, encoding, rotate, partition }
}

/// How a sink tries again, if nothing is said.
fn sink_retry() -> Retry {
    Retry {
        attempts: Some(10),
        backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(30),
    }
}

fn http_sink(table: &mut Reader<'_>, base: &Path) -> HttpSink {
    let url = table.required("url", "where to post to, such as \"https://example.com/logs\"");
    let url = url.and_then(|text| {
        let url = table.parse("url", &text, |text| match Url::parse(text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
            Ok(_) => Err(format!("{text:?} is not a URL of http or https")),
            Err(error) => {
                Err(format!("{text:?} is not a URL, such as \"https://example.com\": {error}"))
            }
        });
        Some(At::new(url?, text.span))
    });
    // Stands for one that was a mistake.
    let nowhere = || At::nowhere(Url::parse("http://localhost").expect("it is one"));
    HttpSink {
        url: url.unwrap_or_else(nowhere),
        encoding: encoding(table),
        token_env: table.string("token_env").map(|name| name.value),
        timeout: table.duration("timeout").unwrap_or(Duration::from_secs(30)),
        retry: table
            .table("retry", "`retry`", |table| retry(table, &sink_retry()))
            .unwrap_or_else(sink_retry),
        ca: table.string("ca").map(|path| base.join(path.value)),
    }
}

/// `NAME = "value"`, or `NAME = { from = "value", type = "integer" }`.
fn sqlite_column(name: &str, table: Result<At<String>, Reader<'_>>) -> Option<SqliteColumn> {
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

fn sqlite_sink(table: &mut Reader<'_>, base: &Path) -> SqliteSink {
    let path = table.required("path", "the file of the database, made if there is none");
    let into = table.required("table", "the table to insert into, made if there is none");
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
