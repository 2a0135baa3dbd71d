//! How far a source has been read, and how far it is behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a source has been read, in bytes or records.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    /// 0: the source has no known end.
    total: AtomicU64,
    /// What `done` is once all that is there now is read; [`UNKNOWN`] if nobody can tell.
    goal: AtomicU64,
    /// Whether the goal is one of records.
    of_records: AtomicBool,
}

const UNKNOWN: u64 = u64::MAX;

/// What a source could read now, and has not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// Of files.
    Bytes(u64),
    /// Of a table.
    Records(u64),
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            goal: AtomicU64::new(UNKNOWN),
            of_records: AtomicBool::new(false),
        }
    }
}

impl Progress {
    pub fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    /// Bytes or records read so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Sets how much the source has in all, if it has an end.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// The part read so far, from 0 to 1; `None` if the source has no known end.
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done() as f64 / total as f64).min(1.0))
    }

    /// Sets how many bytes are read once all that is there now is read.
    pub fn set_goal_bytes(&self, goal: u64) {
        self.goal.store(goal, Ordering::Relaxed);
    }

    /// Says that nobody can tell.
    pub fn forget_goal(&self) {
        self.goal.store(UNKNOWN, Ordering::Relaxed);
    }

    /// The same of records.
    pub fn set_goal_records(&self, goal: u64) {
        self.of_records.store(true, Ordering::Relaxed);
        self.goal.store(goal, Ordering::Relaxed);
    }

    /// What is there and not read; `None` if nobody can tell.
    pub fn lag(&self) -> Option<Lag> {
        let goal = Some(self.goal.load(Ordering::Relaxed)).filter(|goal| *goal != UNKNOWN)?;
        let lag = goal.saturating_sub(self.done());
        Some(if self.of_records.load(Ordering::Relaxed) {
            Lag::Records(lag)
        } else {
            Lag::Bytes(lag)
        })
    }
}
