//! Runs a prepared pipeline: tasks, queues, checkpoints and shutdown.

mod builder;
mod checkpoint;
mod course;
pub mod dead_letter;
mod flow;
mod letters;
pub mod prepare;
mod replace;
mod run;
pub mod state;
mod suspension;
mod task;
mod view;

pub use builder::start;
pub use letters::Replay;
pub use replace::{Replaced, Replacement};
pub use run::{Request, RunReport, Running, StopCause};
pub use view::{Node, Nodes, View};
