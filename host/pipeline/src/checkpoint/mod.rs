//! Checkpoints: started at the sources, reported by every node, written when all have reported.
//!
//! The same barriers acknowledge input whose senders wait for it (HTTP): once a checkpoint is
//! written, everything before its barrier is in the sinks, the dead letters or the saved states. So
//! no record needs a token of its own: when a barrier arrives, everything before it, however it was
//! split, retried or dropped, is settled.

mod coordinator;
mod letters;
mod reporter;

pub(crate) use coordinator::{CheckpointRequests, Coordinator, CoordinatorOptions};
pub(crate) use letters::Letters;
pub(crate) use reporter::{LaneStates, NodeState, Reporter};
