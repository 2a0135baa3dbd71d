//! Observing a run: metrics, the server that shows them, the log, profiles.

pub mod log;
pub mod metrics;
pub mod own;
pub mod pace;
pub mod profile;
pub mod server;
