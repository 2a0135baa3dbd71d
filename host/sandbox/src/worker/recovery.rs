//! Restores a stage: from the state that it saved last, and the calls since then.

use crate::contract::state::{GroupState, KeyGroups, Saved, SavedBy};
use crate::instance::Failure;
use crate::instance::Instance;
use pipehost_record::Batch;

/// Calls after which the state of a stage is saved, if no checkpoint saves it before. A failure
/// repeats at most these calls.
const SAVE_EVERY: usize = 64;
/// Maximum bytes of batches kept to repeat these calls, not counting the last batch.
const KEPT_BYTES: usize = 32 << 20;

/// The state of one worker, for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// The same as at the last checkpoint.
    Unchanged,
    /// The stage keeps no state.
    Nothing,
    /// What the stage saved, by key group.
    Saved(Vec<GroupState>),
}

pub(super) struct Recovery {
    groups: KeyGroups,
    saved: Option<Saved>,
    since: Vec<SeenCall>,
    /// Bytes that the batches in `since` hold.
    bytes: usize,
    /// Whether the state has changed since the last checkpoint.
    changed: bool,
}

/// A call that changed the state.
enum SeenCall {
    Batch(Batch),
    Watermark(i64),
}

impl Recovery {
    /// Starts with the state of an earlier run. If nothing was saved of its key groups, the instance
    /// begins anew: it is not asked to restore nothing.
    pub(super) fn new(groups: KeyGroups, saved: Option<Saved>) -> Self {
        let saved = saved.filter(|saved| !saved.groups.is_empty());
        Self { groups, saved, since: Vec::new(), bytes: 0, changed: true }
    }

    pub(super) fn groups(&self) -> &KeyGroups {
        &self.groups
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

    /// Stores a saved state; the calls before it need not be repeated any more.
    pub(super) fn save(&mut self, saved: Option<Saved>) {
        self.saved = saved;
        self.clear();
    }

    fn clear(&mut self) {
        self.since.clear();
        self.bytes = 0;
    }

    /// Whether the state has changed since the last checkpoint.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Whether there were calls since the state was saved.
    pub(super) fn has_calls(&self) -> bool {
        !self.since.is_empty()
    }

    pub(super) fn saved(&self) -> Option<&Saved> {
        self.saved.as_ref()
    }

    /// The state for a checkpoint. If it has changed, it must have been saved before.
    pub(super) fn changed_state(&mut self) -> WorkerState {
        match (std::mem::take(&mut self.changed), &self.saved) {
            (false, _) => WorkerState::Unchanged,
            (true, None) => WorkerState::Nothing,
            (true, Some(saved)) => WorkerState::Saved(saved.groups.clone()),
        }
    }

    /// Brings a new instance to the state of the old one.
    pub(super) async fn restore(
        &mut self,
        instance: &mut Instance,
        by: &SavedBy,
    ) -> Result<(), Failure> {
        if let Some(saved) = &self.saved {
            instance.restore(saved.clone()).await?;
        }
        for seen in &self.since {
            match seen {
                SeenCall::Batch(batch) => drop(instance.process(batch).await?),
                SeenCall::Watermark(watermark) => drop(instance.advance(*watermark).await?),
            }
        }
        if !self.since.is_empty() {
            // So that the next failure does not repeat these calls.
            let groups = instance.save(&self.groups).await?;
            self.saved = groups.map(|groups| Saved { groups, by: by.clone() });
            self.clear();
        }
        Ok(())
    }
}
