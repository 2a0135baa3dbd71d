//! Running a prepared pipeline: tasks, queues, checkpoints, and how it all ends.

mod checkpoint;
pub mod dead_letter;
mod flow;
pub mod prepare;
mod run;
pub mod state;
mod task;

pub use run::{Ending, Node, Nodes, Running, Stop, StoppedBy, start};
