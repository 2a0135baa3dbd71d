//! How a task ends.

/// Why a task ended before its input did.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// This task failed: the error to show to the user.
    Failed(anyhow::Error),
    /// A neighbouring task has ended, and reports the cause itself.
    NeighbourGone,
}

pub(crate) type TaskResult = Result<(), TaskError>;
