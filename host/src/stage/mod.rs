//! Sandboxed stages: from the bytes of a component to checked answers.

mod failure;
mod grants;
mod guest_log;
mod host;
mod instance;
mod program;
mod worker;

pub use failure::{Cause, Failure};
pub use grants::{Folder, Grants};
pub use program::{Description, Plan, Program};
pub use worker::{Native, Retry, Runner, Worker};
