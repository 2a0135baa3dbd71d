//! How batches, barriers and watermarks move from node to node.

pub(crate) mod inlet;
pub(crate) mod queue;
mod stopped;
pub(crate) mod watermark;

pub(crate) use stopped::{TaskError, TaskResult};
