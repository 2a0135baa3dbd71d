//! From TOML to sources.

use anyhow::anyhow;
use std::path::Path;
use std::time::Duration;

use super::codec::decoding;
use super::node::{batching, name, on_error, path_of, watermark};
use super::table::TableReader;
use crate::mistake::Mistake;
use crate::{
    Ack, At, BeginAt, Charset, DecodeFormat, Decoding, FileSource, Generate, HttpSource, Metadata,
    Source, SourceKind, SqliteSource, Tls,
};
use pipehost_record::check_name;
use pipehost_record::template::Template;

/// Reads what is special to a kind of source.
type ReadKind = fn(&mut TableReader<'_>, &Path) -> SourceKind;

/// Every kind of source, and the function that reads its settings.
const KINDS: [(&str, ReadKind); 5] = [
    ("stdin", |table, _| SourceKind::Stdin { codec: with_metadata(table, false) }),
    ("file", |table, base| SourceKind::File(file_source(table, base))),
    ("http", |table, base| SourceKind::Http(http_source(table, base))),
    ("sqlite", |table, base| SourceKind::Sqlite(sqlite_source(table, base))),
    ("generate", |table, _| SourceKind::Generate(generate(table))),
];

pub(super) fn source(mut table: TableReader<'_>, base: &Path) -> Option<Source> {
    let name = name(&mut table);
    let read = table.required_choice("type", &KINDS);
    let kind = read.map(|read| read(&mut table, base));
    let batch = batching(&mut table).unwrap_or_default();
    let watermark = watermark(&mut table);
    let on_error = on_error(&mut table);
    if kind.is_some() {
        table.finish();
    }
    Some(Source { name: name?, kind: kind?, batch, watermark, on_error })
}

fn file_source(table: &mut TableReader<'_>, base: &Path) -> FileSource {
    let paths = table.strings("paths");
    if paths.as_ref().is_none_or(Vec::is_empty) {
        let mistake = Mistake::new(table.span(), "a file source needs `paths`")
            .help("one path or a list; `*`, `?` and `**` are patterns");
        table.mistake(mistake);
    }
    let paths = paths.unwrap_or_default().into_iter();
    let codec = with_metadata(table, true);
    let follow = table.bool("follow").unwrap_or(false);
    let begin_at = table.choice("begin_at", &[("begin", BeginAt::Begin), ("end", BeginAt::End)]);
    if begin_at == Some(BeginAt::End) && !follow {
        let message = "`begin_at = \"end\"` reads what is added, so it needs `follow = true`";
        table.mistake(Mistake::new(table.span(), message));
    }
    if begin_at == Some(BeginAt::End) && codec.format == DecodeFormat::Frames {
        let message = "`begin_at = \"end\"` is for texts: where a frame ends, only its begin says";
        table.mistake(Mistake::new(table.span(), message));
    }
    FileSource {
        base: base.to_owned(),
        paths: paths.map(|path| At::new(base.join(path.value), path.span)).collect(),
        follow,
        links: table.bool("follow_links").unwrap_or(false),
        rotate_wait: table.duration("rotate_wait").unwrap_or(Duration::from_secs(2)),
        exclude: table
            .strings("exclude")
            .unwrap_or_default()
            .into_iter()
            .map(|path| At::new(base.join(path.value), path.span))
            .collect(),
        begin_at: begin_at.unwrap_or_default(),
        ignore_older: table.duration("ignore_older"),
        codec,
    }
}

/// The codec, and the attributes that the source adds.
fn with_metadata(table: &mut TableReader<'_>, is_file: bool) -> Decoding {
    let mut codec = decoding(table);
    let metadata = table.table("metadata", "`metadata`", |mut table| {
        let mut name = |key| table.string(key).map(|name| name.value);
        let mut metadata =
            Metadata { host: name("host"), ingested: name("ingested"), ..Metadata::default() };
        if is_file {
            (metadata.path, metadata.offset) = (name("path"), name("offset"));
        }
        if metadata.offset.is_some() && codec.charset != Charset::Utf8 {
            let message = "`offset` is known in UTF-8 alone, not with another `charset`";
            table.mistake(Mistake::new(table.span(), message));
        }
        if codec.format == DecodeFormat::Frames {
            let message = "`frames` have all that a record has: nothing is added to it";
            table.mistake(Mistake::new(table.span(), message));
        }
        let Metadata { path, offset, host, ingested } = &metadata;
        let names: Vec<&String> = [path, offset, host, ingested].into_iter().flatten().collect();
        for (at, name) in names.iter().enumerate() {
            let why = match check_name(name) {
                Err(why) => why.to_string(),
                Ok(()) if names[..at].contains(name) => {
                    format!("two of them have the name {name:?}")
                }
                Ok(()) => continue,
            };
            table.mistake(Mistake::new(table.span(), format!("`metadata`: {why}")));
        }
        table.finish();
        metadata
    });
    codec.metadata = metadata.unwrap_or_default();
    codec
}

fn http_source(table: &mut TableReader<'_>, base: &Path) -> HttpSource {
    let listen = table.required("listen", "an address and a port, such as \"127.0.0.1:8080\"");
    let listen = listen.and_then(|text| {
        table.parse("listen", &text, |text| {
            text.parse().map_err(|_| {
                anyhow!("{text:?} is not an address and a port, as in \"127.0.0.1:8080\"")
            })
        })
    });
    let path = table.string("path").map_or("/".to_owned(), |path| {
        // axum would take these characters for parameters.
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
        codec: with_metadata(table, false),
        ack: table.choice("ack", &ack).unwrap_or(Ack::Durable),
        max_body_bytes: table.column_bytes("max_body").unwrap_or(10 << 20),
        queue: table.few("queue").unwrap_or(16),
        token_env: table.string("token_env").map(|name| name.value),
        tls: table.table("tls", "`tls`", |table| tls(table, base)).flatten(),
    }
}

fn tls(mut table: TableReader<'_>, base: &Path) -> Option<Tls> {
    let cert = table.required("cert", "the certificates, in PEM");
    let key = table.required("key", "the private key, in PEM");
    table.finish();
    Some(Tls { cert: base.join(cert?.value), key: base.join(key?.value) })
}

fn sqlite_source(table: &mut TableReader<'_>, base: &Path) -> SqliteSource {
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

fn generate(table: &mut TableReader<'_>) -> Generate {
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
