//! Runs a prepared pipeline: tasks, queues, checkpoints and shutdown.

mod builder;
mod checkpoint;
pub mod dead_letter;
mod flow;
pub mod prepare;
mod replace;
mod run;
pub mod state;
mod suspension;
mod task;
mod view;

pub use builder::start;
pub use replace::{Replaced, Replacement};
pub use run::{Replay, Request, RunReport, Running, StopCause};
pub use view::{Node, Nodes, View};
