//! What sources, stages and sinks have in common.

use std::time::Duration;

use crate::mistake::At;

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

/// How watermarks are made from the timestamps that a node sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// How far a record may be behind the latest timestamp without being late.
    pub lag: Duration,
    /// After this long without a record, the watermark follows the clock; `None`: it does not.
    pub idle: Option<Duration>,
    /// How far a record may be ahead of the clock and still move the watermark.
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

/// A batch is sent as soon as it reaches one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batching {
    pub records: usize,
    pub bytes: usize,
    /// Time since its first record.
    pub linger: Duration,
}

impl Default for Batching {
    fn default() -> Self {
        Self { records: 4096, bytes: 1 << 20, linger: Duration::from_millis(50) }
    }
}

/// What a node reads, and the queues in front of it.
#[derive(Debug, Clone)]
pub struct Input {
    /// `node` or `node.port`.
    pub from: Vec<At<String>>,
    /// Maximum batches in the queue of each edge.
    pub queue: usize,
    pub when_full: WhenFull,
}

impl From<At<String>> for Input {
    /// One edge, with the defaults.
    fn from(from: At<String>) -> Self {
        Self { from: vec![from], queue: DEFAULT_QUEUE, when_full: WhenFull::Block }
    }
}

/// The default of [`Input::queue`].
pub const DEFAULT_QUEUE: usize = 8;

/// How a retryable rejection is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, including the first; `None`: without end.
    pub attempts: Option<u32>,
    /// Wait before the second attempt; doubled for each further one, with jitter.
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

    /// The wait before attempt `attempt` (2 for the first retry): between half the backoff and the
    /// whole ("equal jitter").
    pub fn delay(&self, attempt: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << attempt.saturating_sub(2).min(30));
        doubled.min(self.max_backoff).mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}
