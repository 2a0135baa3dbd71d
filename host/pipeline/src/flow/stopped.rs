//! How a task ends.

/// Why a task ended before its input did.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Something went wrong here: what the user is told.
    Cause(String),
    /// A neighbour has gone; its own task knows why.
    Neighbour,
}

pub(crate) type Ended = Result<(), Stopped>;
