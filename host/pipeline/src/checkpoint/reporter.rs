//! What a node says of itself at a checkpoint, and at its end.

use serde_json::Value;
use tokio::sync::mpsc;

use super::letters::Letters;
use crate::dead_letter::Encoded;
use pipehost_config::graph::NodeId;
use pipehost_connectors::Synced;
use pipehost_sandbox::WorkerState;

/// A node at a checkpoint.
pub(crate) enum NodeState {
    Source {
        position: Option<Value>,
        latest: Option<i64>,
    },
    Stage {
        /// By worker.
        workers: Vec<WorkerState>,
        finished: bool,
        latest: Option<i64>,
    },
    Sink(Synced),
}

/// What a node says of itself.
pub(super) struct Report {
    pub(super) node: NodeId,
    /// The checkpoint that it belongs to; none if the node has ended, and this is its last.
    pub(super) number: Option<u64>,
    pub(super) state: NodeState,
    pub(super) letters: Encoded,
}

/// The end of a node at which it reports.
#[derive(Clone)]
pub(crate) struct Reporter {
    node: NodeId,
    /// Whether checkpoints are made.
    active: bool,
    reports: mpsc::UnboundedSender<Report>,
    letters: Letters,
}

impl Reporter {
    pub(super) fn new(
        node: NodeId,
        active: bool,
        reports: mpsc::UnboundedSender<Report>,
        letters: Letters,
    ) -> Self {
        Self { node, active, reports, letters }
    }

    /// Whether anybody listens: only then is a state worth to be saved.
    pub(crate) fn is_heard(&self) -> bool {
        self.active
    }

    /// The node has come to a barrier, and not further.
    pub(crate) fn reached(&self, number: u64, state: NodeState) {
        self.report(Some(number), state);
    }

    /// The node has ended.
    pub(crate) fn ended(&self, state: NodeState) {
        self.report(None, state);
    }

    fn report(&self, number: Option<u64>, state: NodeState) {
        let letters = self.letters.take();
        // Nobody listens where no checkpoints are made, or if the run has failed.
        let _ = self.reports.send(Report { node: self.node, number, state, letters });
    }
}
