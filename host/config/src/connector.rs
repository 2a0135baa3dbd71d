//! Sources, sinks, and how bytes become records.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::mistake::At;
use crate::node::{Batching, Input, OnError, Retry, Watermark};
use pipehost_record::template::Template;

#[derive(Debug, Clone)]
pub struct Source {
    pub name: At<String>,
    pub kind: SourceKind,
    pub batch: Batching,
    pub watermark: Option<Watermark>,
    /// For what cannot be decoded.
    pub on_error: At<OnError>,
}

#[derive(Debug, Clone)]
pub enum SourceKind {
    Stdin { codec: Decoding },
    File(FileSource),
    Generate(Generate),
    Http(HttpSource),
    Sqlite(SqliteSource),
}

impl SourceKind {
    /// Whether somebody waits until its records are durable.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Self::Http(HttpSource { ack: Ack::Durable, .. }))
    }

    /// As it is typed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stdin { .. } => "stdin",
            Self::File(_) => "file",
            Self::Generate(_) => "generate",
            Self::Http(_) => "http",
            Self::Sqlite(_) => "sqlite",
        }
    }
}

/// Files, in this order; patterns are expanded when the run starts.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// The folder of the pipeline: where files lie is kept from there.
    pub base: PathBuf,
    pub paths: Vec<At<PathBuf>>,
    /// Waits for more at the end, as `tail -F` does.
    pub follow: bool,
    /// How long a file that was renamed or removed may be quiet before it is done with.
    pub rotate_wait: Duration,
    /// Whether a pattern also means links that lead out of its folder.
    pub links: bool,
    pub codec: Decoding,
}

/// Takes records that are posted.
#[derive(Debug, Clone)]
pub struct HttpSource {
    pub listen: SocketAddr,
    /// The path of the URL.
    pub path: String,
    pub codec: Decoding,
    pub ack: Ack,
    pub max_body_bytes: usize,
    /// Bodies that may wait for the pipeline; more are answered with 429.
    pub queue: usize,
    /// The environment variable that holds the bearer token.
    pub token_env: Option<String>,
    pub tls: Option<Tls>,
}

/// When a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Once the records are durable: in the sinks, the dead letters, or a saved state.
    Durable,
    /// Once they are in the pipeline.
    Queued,
}

/// Files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Reads the rows of a table as they are added.
#[derive(Debug, Clone)]
pub struct SqliteSource {
    pub path: At<PathBuf>,
    pub table: String,
    /// A column of whole numbers that only grow; by default SQLite's own number of the row.
    pub order_by: String,
    /// Columns that become attributes; none: all.
    pub attributes: Option<Vec<String>>,
    pub value: Option<String>,
    pub key: Option<String>,
    /// Looks for new rows so often; none: ends with the last row.
    pub poll: Option<Duration>,
}

/// Makes records up.
#[derive(Debug, Clone)]
pub struct Generate {
    /// None: without end.
    pub count: Option<u64>,
    /// Records a second; none: as fast as they are taken.
    pub rate: Option<u64>,
    /// The value; `{n}` is the number of the record, from 1.
    pub template: Template,
    pub key: Option<Template>,
}

/// Bytes to records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoding {
    pub format: DecodeFormat,
    /// A longer line is rejected.
    pub max_line_bytes: usize,
}

impl Default for Decoding {
    /// Lines of up to a mebibyte.
    fn default() -> Self {
        Self { format: DecodeFormat::Lines, max_line_bytes: 1 << 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeFormat {
    Lines,
    /// RFC 4180; fields may hold line breaks.
    Csv {
        delimiter: u8,
    },
    Json(JsonMembers),
    Frames,
}

/// What a JSON object's members become. The value is the whole line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonMembers {
    pub attributes: JsonAttributes,
    pub key: Option<String>,
    /// RFC 3339.
    pub timestamp: Option<String>,
    /// The value is this member instead of the line.
    pub value: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JsonAttributes {
    #[default]
    None,
    All,
    Named(Vec<String>),
}

/// Records to bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// A line a record: the value, or a template.
    Lines(Option<Template>),
    Json(JsonNumbers),
    Frames,
}

/// What becomes a number in JSON, if it is one: `value`, `key` or attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonNumbers {
    pub value: bool,
    pub key: bool,
    pub attributes: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Sink {
    pub name: At<String>,
    pub kind: SinkKind,
    pub input: Input,
    pub batch: Option<Batching>,
    /// Records a second at most.
    pub rate: Option<u64>,
    /// For what is refused where it is written.
    pub on_error: At<OnError>,
}

#[derive(Debug, Clone)]
pub enum SinkKind {
    Stdout { encoding: Encoding },
    File(FileSink),
    Http(HttpSink),
    Sqlite(SqliteSink),
    Null,
}

#[derive(Debug, Clone)]
pub struct FileSink {
    /// The folder of the pipeline: where files lie is kept from there.
    pub base: PathBuf,
    pub path: At<PathBuf>,
    pub append: bool,
    pub encoding: Encoding,
    pub rotate: Rotate,
    /// The path has places for the key or attributes: a file for each of their values.
    pub partition: Option<FilePartition>,
}

/// Where records go by what they hold.
#[derive(Debug, Clone)]
pub struct FilePartition {
    /// What the path is relative to.
    pub base: PathBuf,
    pub path: Template,
}

/// When a file gets a number, and a new one is begun.
#[derive(Debug, Clone, Default)]
pub struct Rotate {
    /// Once it has grown so large.
    pub bytes: Option<u64>,
    /// Once it is so old.
    pub every: Option<Duration>,
}

/// Posts batches.
#[derive(Debug, Clone)]
pub struct HttpSink {
    pub url: At<Url>,
    pub encoding: Encoding,
    /// The environment variable that holds the bearer token.
    pub token_env: Option<String>,
    /// Of one request.
    pub timeout: Duration,
    pub retry: Retry,
    /// Certificates in PEM that are trusted beside the system's.
    pub ca: Option<PathBuf>,
}

impl HttpSink {
    /// The URL without what may be a secret: a name, a password, parameters.
    pub fn shown(&self) -> String {
        let url = &self.url.value;
        format!("{}{}", url.origin().ascii_serialization(), url.path())
    }
}

/// Inserts records into a table.
#[derive(Debug, Clone)]
pub struct SqliteSink {
    /// The folder of the pipeline.
    pub base: PathBuf,
    pub path: At<PathBuf>,
    pub table: String,
    pub columns: Vec<SqliteColumn>,
    /// Of a table that is made: the columns that tell its rows apart.
    pub primary_key: Vec<String>,
    pub on_conflict: OnConflict,
    /// While somebody else has the database locked.
    pub retry: Retry,
}

/// A column of a table, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteColumn {
    pub name: String,
    /// `value`, `key`, `timestamp`, or an attribute.
    pub from: String,
    /// None: a text, or bytes that are no text.
    pub ty: Option<SqliteType>,
}

/// What a column holds. A record that is something else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteType {
    Text,
    /// 64 bits; of the timestamp, nanoseconds since the Unix epoch.
    Integer,
    Real,
    Blob,
}

/// What happens to a row that breaks a unique index of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The pipeline fails.
    Fail,
    /// The row that is there stays.
    Ignore,
    Replace,
}
