//! The configuration of a pipeline.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::connector::{Sink, SinkKind, Source, SourceKind};
use crate::grants::Grants;
use crate::limits::Limits;
use crate::mistake::{At, Span};
use crate::node::{Batching, Input, OnError, Retry, Watermark};

/// A whole pipeline. Relative paths are already joined with the folder of its file.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// Time limit of the whole run.
    pub deadline: Option<Duration>,
    /// How long a run may take to drain after it was asked to stop.
    pub shutdown_grace: Duration,
    pub dead_letters: Option<At<DeadLetters>>,
    /// The directory in which checkpoints are kept.
    pub state: Option<At<PathBuf>>,
    /// Time from one checkpoint to the next.
    pub checkpoint_interval: Duration,
    /// Into how many groups the keys of stages that keep by key are divided; `None` for the
    /// number that the state has, or the default.
    pub key_groups: Option<u32>,
    pub sources: Vec<Source>,
    pub stages: Vec<Stage>,
    pub sinks: Vec<Sink>,
    /// A source, stage or sink was left out because of a mistake in it. Then missing nodes are not
    /// reported.
    pub incomplete: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "pipeline".to_owned(),
            deadline: None,
            shutdown_grace: Duration::from_secs(10),
            dead_letters: None,
            state: None,
            checkpoint_interval: Duration::from_secs(1),
            key_groups: None,
            sources: Vec::new(),
            stages: Vec::new(),
            sinks: Vec::new(),
            incomplete: false,
        }
    }
}

impl Config {
    /// Whether it has a source of this name that reads the same.
    pub fn has_source(&self, name: &str, kind: &SourceKind) -> bool {
        self.sources.iter().any(|source| source.name.value == name && source.kind == *kind)
    }

    /// Whether it has a sink of this name that writes the same.
    pub fn has_sink(&self, name: &str, kind: &SinkKind) -> bool {
        self.sinks.iter().any(|sink| sink.name.value == name && sink.kind == *kind)
    }
}

/// The files of dead letters, and their limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub path: PathBuf,
    /// Of all files together.
    pub max_bytes: u64,
    /// A file of this size gets a number, and a new one is started.
    pub rotate_bytes: u64,
    pub when_full: WhenLettersFull,
}

impl DeadLetters {
    pub fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: 1 << 30, rotate_bytes: 64 << 20, when_full: WhenLettersFull::Fail }
    }
}

/// What happens when there is no room for another dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLettersFull {
    /// The pipeline fails.
    Fail,
    /// It waits until dead letters are taken away.
    Wait,
}

/// When a stage that keeps failing is not called any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Calls that must fail within the window.
    pub failures: usize,
    pub window: Duration,
    pub on_open: OnOpen,
    /// Time from when it opens until a call probes the stage.
    pub cool_down: Duration,
}

/// What happens while a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOpen {
    /// The pipeline fails.
    Fail,
    /// All records are rejected; the stage's `on_error` says what becomes of them.
    DeadLetter,
    /// The stage takes no batches until a probe may be made.
    Pause,
}

/// Names the component of a stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugin {
    /// A `.wasm`, a `.wat` or a source folder.
    pub path: PathBuf,
    /// Name of a bundled stage, if it can be one; an existing path takes precedence.
    pub name: Option<String>,
    /// Where it is in a registry, `oci://…`; the path is then none.
    pub reference: Option<String>,
}

impl Plugin {
    /// `typed` is relative to `base`, if it is a path.
    pub fn new(base: &Path, typed: &Path) -> Self {
        if let Some(reference) = typed.to_str().filter(|text| text.starts_with("oci://")) {
            let reference = Some(reference.to_owned());
            return Self { path: typed.to_owned(), name: None, reference };
        }
        let name = typed.to_str().filter(|text| {
            let is_file = [".wasm", ".wat"].iter().any(|ending| text.ends_with(ending));
            !text.is_empty() && !text.contains('/') && !is_file
        });
        Self { path: base.join(typed), name: name.map(str::to_owned), reference: None }
    }

    /// What a stage is called that is made of it, if nobody says otherwise.
    pub fn stem(&self) -> String {
        // `.` and `..` are folders with names.
        let canonical = match self.path.file_name() {
            Some(_) => None,
            None => self.path.canonicalize().ok(),
        };
        let path = canonical.as_ref().unwrap_or(&self.path);
        let file = path.file_stem().map_or("stage".into(), |stem| stem.to_string_lossy());
        let stem = match &self.reference {
            Some(reference) => reference.rsplit('/').next().unwrap_or_default(),
            None => &*file,
        };
        // A dot would separate a stage from its port.
        stem.split([':', '@']).next().unwrap_or("stage").replace('.', "-")
    }
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub name: At<String>,
    pub plugin: At<Plugin>,
    pub input: Input,
    /// The most lanes or workers it may have; `None` if the stage and the machine decide.
    pub workers: Option<usize>,
    pub partition: Option<Partition>,
    pub ordered: bool,
    pub batch: Option<Batching>,
    pub on_error: At<OnError>,
    pub retry: Option<Retry>,
    pub breaker: Option<Breaker>,
    pub watermark: Option<Watermark>,
    pub limits: Limits,
    pub grants: Grants,
    pub config: StageConfig,
}

/// What decides to which worker a record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    Key,
    Value,
    Attribute(String),
}

impl fmt::Display for Partition {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Value => f.write_str("value"),
            Self::Attribute(name) => write!(f, "attribute:{name}"),
        }
    }
}

impl Stage {
    /// A stage with the defaults for everything else.
    pub fn new(name: At<String>, plugin: At<Plugin>, input: Input) -> Self {
        Self {
            name,
            plugin,
            input,
            workers: None,
            partition: None,
            ordered: true,
            batch: None,
            on_error: At::nowhere(OnError::Fail),
            retry: None,
            breaker: None,
            watermark: None,
            limits: Limits::default(),
            grants: Grants::default(),
            config: StageConfig::new(serde_json::json!({})),
        }
    }
}

/// A stage's own configuration.
#[derive(Debug, Clone)]
pub struct StageConfig {
    pub value: Value,
    pub span: Span,
    /// Span of each part, by JSON pointer; with `#` appended, the span of its name.
    pub places: Vec<(String, Span)>,
    /// Texts that may stand for a number or a boolean, by JSON pointer: they came from references.
    pub references: Vec<String>,
}

impl StageConfig {
    pub fn new(value: Value) -> Self {
        Self { value, span: None, places: Vec::new(), references: Vec::new() }
    }

    /// The span of the part that a JSON pointer names.
    pub fn place(&self, pointer: &str) -> Span {
        let found = self.places.iter().find(|(place, _)| place == pointer);
        found.map_or_else(|| self.span.clone(), |(_, span)| span.clone())
    }
}
