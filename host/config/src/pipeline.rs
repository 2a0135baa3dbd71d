//! A pipeline, as it is typed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::connector::{Sink, Source};
use crate::grants::Grants;
use crate::limits::Limits;
use crate::mistake::{At, Span};

/// A whole pipeline. Paths are already relative to the working directory.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// For the whole run.
    pub deadline: Option<Duration>,
    /// How long a run may take to drain after it was told to stop.
    pub shutdown_grace: Duration,
    pub dead_letters: Option<At<DeadLetters>>,
    /// The directory in which cuts are kept.
    pub state: Option<At<PathBuf>>,
    /// From one cut to the next.
    pub checkpoint_interval: Duration,
    pub sources: Vec<Source>,
    pub stages: Vec<Stage>,
    pub sinks: Vec<Sink>,
    /// A source, stage or sink was left out because of a mistake in it: what seems to be
    /// missing may be there.
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
            sources: Vec::new(),
            stages: Vec::new(),
            sinks: Vec::new(),
            incomplete: false,
        }
    }
}

/// What happens to a record that is rejected for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// The pipeline fails.
    Fail,
    /// It is counted and dropped.
    Skip,
    /// It goes to the dead letters.
    DeadLetter,
}

/// The files of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    pub path: PathBuf,
    /// All files together.
    pub max_bytes: u64,
    /// A file that has grown so large gets a number, and a new one is begun.
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
    /// It waits until somebody has taken letters away.
    Wait,
}

/// When a stage that keeps failing is no longer called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Calls that failed within the window.
    pub failures: usize,
    pub window: Duration,
    pub on_open: OnOpen,
    /// From when it opens to the call that probes.
    pub cool_down: Duration,
}

/// What happens while a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOpen {
    /// The pipeline fails.
    Fail,
    /// All records are rejected, as the stage's `on_error` says.
    DeadLetter,
    /// The stage takes nothing, until a probe may be made.
    Pause,
}

/// How watermarks are made of the timestamps that a node sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// How far behind the latest timestamp a record may come and not be late.
    pub lag: Duration,
    /// After so long without a record, time goes on with the clock; none: it does not.
    pub idle: Option<Duration>,
    /// How far ahead of the clock a record may be and still move time.
    pub max_ahead: Duration,
}

/// What happens when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender waits: back-pressure.
    Block,
    /// The batch is dropped and counted.
    Drop,
}

/// When a batch is sent on: at the first of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batching {
    pub records: usize,
    pub bytes: usize,
    /// After its first record.
    pub linger: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { records: 4096, bytes: 1 << 20, linger: Duration::from_millis(50) }
    }
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub name: At<String>,
    /// A `.wasm`, a `.wat` or a source folder.
    pub plugin: At<PathBuf>,
    pub input: Input,
    pub workers: usize,
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

/// What a node reads, and how it waits for it.
#[derive(Debug, Clone)]
pub struct Input {
    /// `node` or `node.port`.
    pub from: Vec<At<String>>,
    /// Batches that each edge holds.
    pub queue: usize,
    pub when_full: WhenFull,
}

pub const DEFAULT_QUEUE: usize = 8;

/// How often a retryable rejection is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, the first included; none: without end.
    pub attempts: Option<u32>,
    /// Before the second attempt; doubled for each further one, with jitter.
    pub backoff: Duration,
    pub max_backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: Some(3),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
        }
    }
}

impl Retry {
    /// Whether attempt `attempt` was the last.
    pub fn is_over(&self, attempt: u32) -> bool {
        self.attempts.is_some_and(|attempts| attempt >= attempts)
    }

    /// Waits before attempt `attempt` (2 for the first retry): between half the
    /// backoff and the whole ("equal jitter").
    pub fn delay(&self, attempt: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << attempt.saturating_sub(2).min(30));
        doubled.min(self.max_backoff).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// By what records are spread over workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    Key,
    Attribute(String),
}

impl fmt::Display for Partition {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Attribute(name) => write!(f, "attribute:{name}"),
        }
    }
}

/// A stage's own configuration.
#[derive(Debug, Clone)]
pub struct StageConfig {
    pub value: Value,
    pub span: Span,
    /// Where each part stands, by JSON pointer; with `#` behind it, its name.
    pub places: Vec<(String, Span)>,
}

impl StageConfig {
    pub fn new(value: Value) -> Self {
        Self { value, span: None, places: Vec::new() }
    }

    /// The place of the part that a JSON pointer names.
    pub fn place(&self, pointer: &str) -> Span {
        let found = self.places.iter().find(|(place, _)| place == pointer);
        found.map_or_else(|| self.span.clone(), |(_, span)| span.clone())
    }
}
