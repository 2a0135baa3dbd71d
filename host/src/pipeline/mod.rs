//! Running a prepared pipeline: tasks, queues, and how it all ends.

mod checkpoint;
mod inlet;
mod parallel;
mod queue;
mod rejections;
mod run;
mod sink;
mod source;
mod stage;
mod watermark;

pub use checkpoint::Acknowledgements;
pub use run::{Ending, Node, Nodes, Running, Stop, StoppedBy, start};

/// Why a task ended before its input did.
#[derive(Debug)]
enum Stopped {
    /// Something went wrong here: what the user is told.
    Cause(String),
    /// A neighbour has gone; its own task knows why.
    Neighbour,
}

type Ended = Result<(), Stopped>;
