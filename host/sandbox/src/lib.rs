//! Sandboxed stages: from the bytes of a component to checked answers.

pub mod compile;
mod component;
pub mod contract;
pub mod engine;
mod host;
mod instance;
pub mod plugin;
mod program;
mod threads;
mod worker;

pub use component::Component;
pub use instance::{Description, Failure};
pub use program::{Program, describe};
pub use threads::guests;
#[cfg(feature = "native")]
pub use worker::Native;
pub use worker::{Breaker, Runner, Worker, WorkerOptions, WorkerState};
