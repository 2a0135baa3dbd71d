//! Sources, sinks, and how bytes become records.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
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
    /// For records that cannot be decoded.
    pub on_error: At<OnError>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    Stdin { codec: Decoding },
    File(FileSource),
    Generate(Generate),
    Http(HttpSource),
    Sqlite(SqliteSource),
}

impl SourceKind {
    /// Whether its clients wait until their records are durable.
    pub fn acknowledges(&self) -> bool {
        matches!(self, Self::Http(HttpSource { ack: Ack::Durable, .. }))
    }

    /// The kind, as it is written in the configuration.
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

/// Files, read in this order; patterns are expanded when the run starts.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSource {
    /// The folder of the pipeline: paths in checkpoints are relative to it.
    pub base: PathBuf,
    pub paths: Vec<At<PathBuf>>,
    /// Waits for more at the end of a file, as `tail -F` does.
    pub follow: bool,
    /// How long a file that was renamed or removed must be quiet until it is closed.
    pub rotate_wait: Duration,
    /// Whether a pattern also matches links that lead out of its folder.
    pub links: bool,
    /// What the patterns find and these find too is left out.
    pub exclude: Vec<At<PathBuf>>,
    /// Where reading begins in a file that is there when the first run begins.
    pub begin_at: BeginAt,
    /// Files that were last changed longer ago than this are left out.
    pub ignore_older: Option<Duration>,
    pub codec: Decoding,
}

impl FileSource {
    /// Reads one file from its begin to its end.
    pub fn once(base: PathBuf, path: PathBuf, codec: Decoding) -> Self {
        Self {
            base,
            paths: vec![At::nowhere(path)],
            follow: false,
            rotate_wait: Duration::ZERO,
            links: false,
            exclude: Vec::new(),
            begin_at: BeginAt::Begin,
            ignore_older: None,
            codec,
        }
    }
}

/// Where reading begins in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BeginAt {
    #[default]
    Begin,
    /// Behind its last line end: only what is added is read.
    End,
}

/// Takes records from HTTP POST requests.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSource {
    pub listen: SocketAddr,
    /// The path of the URL.
    pub path: String,
    pub codec: Decoding,
    pub ack: Ack,
    pub max_body_bytes: usize,
    /// Bodies that may wait for the pipeline; further ones are answered with 429.
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

/// Paths of files in PEM.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Reads the rows of a table as they are added.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteSource {
    pub path: At<PathBuf>,
    pub table: String,
    /// A column of integers that only grow; by default SQLite's rowid.
    pub order_by: String,
    /// Columns that become attributes; `None`: all.
    pub attributes: Option<Vec<String>>,
    pub value: Option<String>,
    pub key: Option<String>,
    /// How often it looks for new rows; `None`: it ends after the last row.
    pub poll: Option<Duration>,
}

/// Generates records.
#[derive(Debug, Clone, PartialEq)]
pub struct Generate {
    /// `None`: without end.
    pub count: Option<u64>,
    /// Records a second; `None`: as fast as they are taken.
    pub rate: Option<u64>,
    /// The value; `{n}` is the number of the record, from 1.
    pub template: Template,
    pub key: Option<Template>,
}

/// How bytes become records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoding {
    pub format: DecodeFormat,
    pub max_line_bytes: usize,
    /// What becomes of a longer line.
    pub too_long: TooLong,
    pub charset: Charset,
    pub metadata: Metadata,
}

/// What becomes of a line that is longer than allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TooLong {
    #[default]
    Reject,
    /// Its begin is a record, with its length in the attribute `truncated`.
    Truncate,
}

/// The characters of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Charset {
    #[default]
    Utf8,
    /// The byte order mark says which byte comes first; without one, the lower one does.
    Utf16,
    /// One byte for each character, or UTF-16 with its byte order.
    Other(&'static encoding_rs::Encoding),
}

/// Attributes that a source adds to each record, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The path of the file.
    pub path: Option<String>,
    /// Bytes of the file before the record.
    pub offset: Option<String>,
    /// The name of this machine.
    pub host: Option<String>,
    /// When the record was read, in RFC 3339.
    pub ingested: Option<String>,
}

impl Default for Decoding {
    /// Lines of up to a mebibyte.
    fn default() -> Self {
        Self {
            format: DecodeFormat::Lines,
            max_line_bytes: 1 << 20,
            too_long: TooLong::Reject,
            charset: Charset::Utf8,
            metadata: Metadata::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeFormat {
    Lines,
    /// Several lines make a record.
    Multiline(Multiline),
    Csv(Csv),
    Json(JsonMembers),
    Frames,
}

/// Which lines make a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multiline {
    pub rule: LineRule,
    /// A record is given after so long without another line; `None`: it waits for one.
    pub timeout: Option<Duration>,
    /// Lines of a record at most.
    pub most: u64,
}

/// A regular expression, which is valid, and what a line does in which it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineRule {
    /// It begins a record.
    Begins(String),
    /// It belongs to the record before it.
    Continues(String),
    /// It ends a record.
    Ends(String),
}

/// RFC 4180: fields may hold line breaks. The value of a record is the CSV record as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Csv {
    pub delimiter: u8,
    pub columns: CsvColumns,
    /// The column that becomes the key.
    pub key: Option<String>,
}

/// Whose names the attributes have that take the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CsvColumns {
    /// There are no such attributes.
    #[default]
    None,
    /// Those of the first record.
    Header,
    /// These; `""` skips a field.
    Named(Vec<String>),
}

/// What the members of a JSON object become. By default, the value is the whole line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonMembers {
    pub attributes: JsonAttributes,
    pub key: Option<String>,
    /// The member with the timestamp, in RFC 3339.
    pub timestamp: Option<String>,
    /// The member that becomes the value, instead of the line.
    pub value: Option<String>,
    pub layout: JsonLayout,
}

/// How the objects of an input stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JsonLayout {
    /// One in each line.
    #[default]
    Lines,
    /// One behind the other, each over any number of lines, or in an array.
    Values,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum JsonAttributes {
    #[default]
    None,
    All,
    Named(Vec<String>),
}

/// How records become bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// One line per record: the value, or a template.
    Lines(Option<Template>),
    Json(JsonParts),
    Csv(CsvFields),
    Frames,
}

/// Parts of a record that do not become JSON texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonParts {
    /// Numbers, where they are.
    pub numbers: PartSet,
    /// What they are in JSON, where they are JSON.
    pub raw: PartSet,
}

/// Some of `value`, `key` and attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartSet {
    pub value: bool,
    pub key: bool,
    pub attributes: Vec<String>,
}

/// The fields of a CSV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFields {
    pub delimiter: u8,
    /// What each takes: `value`, `key`, `timestamp`, or an attribute.
    pub columns: Vec<String>,
    /// Whether a record with their names comes first.
    pub header: bool,
    /// Whether each field is quoted, and not those alone that need it.
    pub quotes_all: bool,
}

#[derive(Debug, Clone)]
pub struct Sink {
    pub name: At<String>,
    pub kind: SinkKind,
    pub input: Input,
    pub batch: Option<Batching>,
    /// Records a second at most.
    pub rate: Option<u64>,
    /// For records that the destination refuses.
    pub on_error: At<OnError>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SinkKind {
    Stdout { encoding: Encoding },
    File(FileSink),
    Http(HttpSink),
    Sqlite(SqliteSink),
    Null,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FileSink {
    /// The folder of the pipeline: paths in checkpoints are relative to it.
    pub base: PathBuf,
    pub path: At<PathBuf>,
    pub append: bool,
    pub encoding: Encoding,
    pub compression: Option<Compression>,
    pub rotate: Rotate,
    /// Set if the path contains the key or attributes: one file for each of their values.
    pub partition: Option<FilePartition>,
}

/// How what is written is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// The file of a record, by the record's key or attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePartition {
    /// The folder that the path is relative to.
    pub base: PathBuf,
    pub path: Template,
}

/// When a file gets a number, and a new one is started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rotate {
    /// Once it is this large.
    pub bytes: Option<u64>,
    /// Once it is this old.
    pub every: Option<Duration>,
}

/// Sends batches in HTTP POST requests.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSink {
    pub url: At<Url>,
    pub encoding: Encoding,
    pub compression: Option<Compression>,
    /// The environment variable that holds the bearer token.
    pub token_env: Option<String>,
    /// Time limit of one request.
    pub timeout: Duration,
    pub retry: Retry,
    /// A file of certificates in PEM that are trusted besides the system's.
    pub ca: Option<PathBuf>,
}

impl HttpSink {
    /// The URL without what may be secret: user name, password, parameters.
    pub fn shown(&self) -> String {
        let url = &self.url.value;
        format!("{}{}", url.origin().ascii_serialization(), url.path())
    }
}

/// Inserts records into a table.
#[derive(Debug, Clone, PartialEq)]
pub struct SqliteSink {
    /// The folder of the pipeline.
    pub base: PathBuf,
    pub path: At<PathBuf>,
    pub table: String,
    pub columns: Vec<SqliteColumn>,
    /// If the sink creates the table: the columns of its primary key.
    pub primary_key: Vec<String>,
    pub on_conflict: OnConflict,
    /// For a database that another process has locked.
    pub retry: Retry,
}

/// A column of a table, and the part of a record that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteColumn {
    pub name: String,
    /// `value`, `key`, `timestamp`, or an attribute.
    pub from: String,
    /// `None`: text, or a blob if the bytes are not text.
    pub ty: Option<SqliteType>,
}

/// The type of a column. A record whose part has another type is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteType {
    Text,
    /// 64 bits; for the timestamp, nanoseconds since the Unix epoch.
    Integer,
    Real,
    Blob,
}

/// What happens to a row that breaks a unique index of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The pipeline fails.
    Fail,
    /// The existing row stays.
    Ignore,
    Replace,
}
