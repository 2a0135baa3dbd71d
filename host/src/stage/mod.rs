//! Sandboxed stages: from the bytes of a component to checked answers.

mod failure;
mod guest_log;
mod host;
mod instance;
mod program;
mod worker;

pub use program::{Description, Plan, Program};
pub use worker::{Native, Runner, Worker};
