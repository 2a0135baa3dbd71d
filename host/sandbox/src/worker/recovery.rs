//! What gives a stage its state back: what it saved last, and what it has seen since.

use crate::instance::Failure;
use crate::instance::Instance;
use pipehost_record::Batch;

/// Calls after which the state of a stage is saved anew, if no checkpoint does it before:
/// what a failure repeats.
const SAVE_EVERY: usize = 64;
/// Bytes of the batches of these calls that are kept at most, beside the last.
const KEPT_BYTES: usize = 32 << 20;

/// What the stage of one worker holds, for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// What it held at the last checkpoint.
    Unchanged,
    /// It keeps nothing.
    Nothing,
    /// What it saved.
    Saved(Vec<u8>),
}

#[derive(Default)]
pub(super) struct Recovery {
    saved: Option<Vec<u8>>,
    since: Vec<SeenCall>,
    /// Bytes that the batches in it hold.
    bytes: usize,
    /// Whether the stage has seen something that no checkpoint has.
    changed: bool,
}

/// A call that changed the state.
enum SeenCall {
    Batch(Batch),
    Watermark(i64),
}

impl Recovery {
    /// With the state of an earlier run.
    pub(super) fn new(saved: Option<Vec<u8>>) -> Self {
        Self { saved, since: Vec::new(), bytes: 0, changed: true }
    }

    pub(super) fn saw_batch(&mut self, batch: &Batch) {
        self.bytes += batch.held_bytes();
        self.since.push(SeenCall::Batch(batch.clone()));
        self.changed = true;
    }

    pub(super) fn saw_watermark(&mut self, watermark: i64) {
        self.since.push(SeenCall::Watermark(watermark));
        self.changed = true;
    }

    /// `finish` changed the state: save it again.
    pub(super) fn finished(&mut self) {
        self.changed = true;
    }

    pub(super) fn is_long(&self) -> bool {
        self.since.len() >= SAVE_EVERY || self.bytes >= KEPT_BYTES
    }

    /// Takes over what the stage saved.
    pub(super) fn save(&mut self, saved: Option<Vec<u8>>) {
        self.saved = saved;
        self.clear();
    }

    fn clear(&mut self) {
        self.since.clear();
        self.bytes = 0;
    }

    /// Whether there is something that no checkpoint has.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// The state as it is now, which is saved, for a checkpoint.
    pub(super) fn changed_state(&mut self) -> WorkerState {
        match (std::mem::take(&mut self.changed), &self.saved) {
            (false, _) => WorkerState::Unchanged,
            (true, None) => WorkerState::Nothing,
            (true, Some(saved)) => WorkerState::Saved(saved.clone()),
        }
    }

    /// Brings a new instance to where the old one was.
    pub(super) async fn restore(&mut self, instance: &mut Instance) -> Result<(), Failure> {
        if let Some(saved) = &self.saved {
            instance.restore(saved).await?;
        }
        for seen in &self.since {
            match seen {
                SeenCall::Batch(batch) => drop(instance.process(batch).await?),
                SeenCall::Watermark(watermark) => drop(instance.advance(*watermark).await?),
            }
        }
        if !self.since.is_empty() {
            // The next failure then repeats nothing of this.
            self.saved = instance.save().await?;
            self.clear();
        }
        Ok(())
    }
}
