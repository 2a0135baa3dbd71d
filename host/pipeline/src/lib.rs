//! Runs a prepared pipeline: tasks, queues, checkpoints and shutdown.

mod builder;
mod checkpoint;
pub mod dead_letter;
mod flow;
pub mod prepare;
mod run;
pub mod state;
mod task;

pub use builder::start;
pub use run::{Node, Nodes, RunReport, Running, StopCause, StopRequest};
