//! Sandboxed stages: from the bytes of a component to checked answers.

#[cfg(test)]
mod arbitrary_guests;
mod breaker;
mod failure;
mod files;
mod guest_log;
mod host;
mod instance;
mod program;
mod quota;
mod recovery;
mod room;
mod stopped;
mod threads;
mod turn;
mod wasi;
mod worker;

pub use breaker::Breaker;
pub use program::{Description, Program};
pub use threads::guests;
pub use worker::{Care, Native, Runner, Worker};
