//! A tap: shows somebody what a stage is given and what it answers, and never slows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::contract::outcome::{Answer, Emitted};
use pipehost_record::{Batch, Rejected};

/// Where a stage sends what it does. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tap {
    send: mpsc::Sender<Seen>,
    skipped: Arc<AtomicU64>,
}

/// A batch, and the answer to it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The stage.
    pub stage: Arc<str>,
    pub before: Batch,
    pub after: Vec<Emitted>,
    pub rejected: Vec<Rejected>,
}

impl Tap {
    /// A tap, and its other end, which holds up to `most` batches.
    pub fn new(most: usize) -> (Self, mpsc::Receiver<Seen>) {
        let (send, receive) = mpsc::channel(most);
        (Self { send, skipped: Arc::default() }, receive)
    }

    /// Records that nobody took in time, since the last time this was asked.
    pub fn skipped(&self) -> u64 {
        self.skipped.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn saw(&self, stage: &Arc<str>, before: &Batch, answer: &Answer) {
        let Ok(place) = self.send.try_reserve() else {
            self.skipped.fetch_add(before.len as u64, Ordering::Relaxed);
            return;
        };
        place.send(Seen {
            stage: stage.clone(),
            before: before.clone(),
            after: answer.emitted.clone(),
            rejected: answer.rejected.clone(),
        });
    }
}
