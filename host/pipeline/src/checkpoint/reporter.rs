//! What a node reports at a checkpoint, and at its end.

use std::ops::Range;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::letters::Letters;
use crate::dead_letter::Encoded;
use crate::suspension::Suspension;
use pipehost_config::graph::NodeId;
use pipehost_connectors::Synced;
use pipehost_sandbox::WorkerState;

/// The state of a node at a checkpoint.
pub(crate) enum NodeState {
    Source { position: Option<Value>, latest: Option<i64> },
    Stage { lanes: LaneStates, finished: bool, latest: Option<i64> },
    Sink(Synced),
}

/// What the lanes or workers of a stage have saved.
pub(crate) enum LaneStates {
    /// By number of the worker.
    Workers(Vec<WorkerState>),
    /// With the key groups that each lane holds.
    KeyGroups(Vec<(Range<u32>, WorkerState)>),
}

/// A node's report to the coordinator.
pub(super) struct Report {
    pub(super) node: NodeId,
    /// The checkpoint that it belongs to; none if the node has ended, and this is its last report.
    pub(super) number: Option<u64>,
    pub(super) state: NodeState,
    pub(super) letters: Encoded,
}

/// A node's handle for sending reports.
#[derive(Clone)]
pub(crate) struct Reporter {
    node: NodeId,
    /// Whether checkpoints are made.
    active: bool,
    suspension: Suspension,
    reports: mpsc::UnboundedSender<Report>,
    letters: Letters,
    /// The number of the last checkpoint that is complete.
    durable: watch::Receiver<u64>,
}

impl Reporter {
    pub(super) fn new(
        node: NodeId,
        active: bool,
        suspension: Suspension,
        reports: mpsc::UnboundedSender<Report>,
        letters: Letters,
        durable: watch::Receiver<u64>,
    ) -> Self {
        Self { node, active, suspension, reports, letters, durable }
    }

    /// Waits until this checkpoint is complete, which the node has reached.
    pub(crate) async fn completed(&self, number: u64) {
        if self.active {
            // It fails if the run does.
            let _ = self.durable.clone().wait_for(|durable| *durable >= number).await;
        }
    }

    /// Whether a checkpoint is made of what the node reports: otherwise it need not save its state.
    pub(crate) fn is_heard(&self) -> bool {
        self.active || self.suspension.has_begun()
    }

    /// Whether checkpoints are made while the pipeline runs.
    pub(crate) fn makes_checkpoints(&self) -> bool {
        self.active
    }

    /// How the run is suspended, if it is.
    pub(crate) fn suspension(&self) -> &Suspension {
        &self.suspension
    }

    /// Reports that the node has reached a barrier, and has processed nothing behind it.
    pub(crate) fn reached(&self, number: u64, state: NodeState) {
        self.report(Some(number), state);
    }

    /// Reports that the node has ended.
    pub(crate) fn ended(&self, state: NodeState) {
        self.report(None, state);
    }

    fn report(&self, number: Option<u64>, state: NodeState) {
        let letters = self.letters.take();
        // The receiver is gone if no checkpoints are made, or if the run has failed.
        let _ = self.reports.send(Report { node: self.node, number, state, letters });
    }
}
