//! How a task ends.

/// Why a task ended before its input did.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// Something went wrong here: what the user is told.
    Failed(anyhow::Error),
    /// A neighbour has gone; its own task knows why.
    NeighbourGone,
}

pub(crate) type TaskResult = Result<(), TaskError>;
